"""Scores of attention against boxes, by hand-made boxes where the answer is known."""

import gzip

import jax
import numpy as np
import pytest

from rnn_research.errors import InputError
from rnn_research.tasks.captioning.boxes import Phrase, read_boxes
from rnn_research.tasks.captioning.nouns import head_noun, singular
from rnn_research.tasks.captioning.pointing import (
  WIDTHS,
  Pointed,
  best_width,
  boxes_of,
  coverage,
  inside,
  pointed,
  pointing_scores,
  smoothed,
)

HEADER = 'image\tphrase\tx1\ty1\tx2\ty2\twidth\theight'
LEFT, RIGHT, MIDDLE = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.25, 0.25, 0.75, 0.75]


def phrase(head, *boxes):
  return Phrase(f'the {head}', head, np.array(boxes))


@pytest.mark.parametrize(
  ('text', 'head'),
  [
    ('A brown Dog', 'dog'),
    ('two dogs', 'dog'),
    ('a group of people', 'person'),
    ('the arm of a swimmer', 'arm'),
    ('the edge of a group of trees', 'edge'),
    ('a crowd of men in front of a shop', 'front'),
    ('a bunch of the leaves of a tree', 'leaf'),
    ("the man 's", 'man'),
    ('white', ''),
    ('something', ''),
    ('. ,', ''),
  ],
)
def test_heads(text, head):
  assert head_noun(text) == head


@pytest.mark.parametrize(
  ('plural', 'one'),
  [
    *(('men', 'man'), ('women', 'woman'), ('firemen', 'fireman'), ('children', 'child')),
    *(('people', 'person'), ('puppies', 'puppy'), ('boxes', 'box'), ('benches', 'bench')),
    *(('bushes', 'bush'), ('dresses', 'dress'), ('horses', 'horse'), ('shoes', 'shoe')),
    *((word, word) for word in ('bus', 'grass', 'tennis', 'is', 'as', 'shorts')),
    *(('leaves', 'leaf'), ('ties', 'tie')),
  ],
)
def test_singular(plural, one):
  assert singular(plural) == one
  assert singular(one) == one


def write(folder, *rows):
  path = folder / 'boxes.tsv.gz'
  path.write_bytes(gzip.compress('\n'.join([HEADER, *rows, '']).encode()))
  return str(path)


def test_boxes_are_shares_of_the_photo(tmp_path):
  path = write(
    tmp_path,
    'a.jpg\tThe Dog\t1\t1\t100\t40\t200\t40',
    'a.jpg\tthe dog\t101\t21\t200\t40\t200\t40',
    'a.jpg\tthe dog\t1\t1\t100\t40\t200\t40',
    'a.jpg\tgrass\t200\t40\t200\t40\t200\t40',
    'b.jpg\ta man\t1\t1\t9\t9\t\t',
  )
  found = read_boxes(path)
  assert [(p.text, p.head) for p in found['a.jpg']] == [('the dog', 'dog'), ('grass', 'grass')]
  np.testing.assert_allclose(found['a.jpg'][0].boxes, [[0, 0, 0.5, 1], [0.5, 0.5, 1, 1]])
  np.testing.assert_allclose(found['a.jpg'][1].boxes, [[199 / 200, 39 / 40, 1, 1]])
  assert list(found) == ['a.jpg']


@pytest.mark.parametrize(
  ('row', 'text'),
  [
    ('a.jpg\tdog\t1\t1\t9\t9\t9', 'boxes.tsv.gz has 7 columns in line 2, expected 8'),
    ('a.jpg\tdog\t0\t1\t9\t9\t9\t9', r'line 2 has .*expected 1 <= x1 <= x2 <= width'),
    ('a.jpg\tdog\t1\t1\t9\t10\t9\t9', r'line 2 has .*and y alike'),
    ('a.jpg\tdog\t1\t1\t9\tnine\t9\t9', r"line 2 has .*'nine'.*expected six whole numbers"),
  ],
)
def test_files_that_are_no_boxes(tmp_path, row, text):
  with pytest.raises(InputError, match=f'^data.boxes: .*{text}'):
    read_boxes(write(tmp_path, row))


def test_a_file_of_something_else(tmp_path):
  (tmp_path / 'x.tsv').write_text('dog\t1\n')
  with pytest.raises(InputError, match='expected the columns'):
    read_boxes(str(tmp_path / 'x.tsv'))
  with pytest.raises(FileNotFoundError):
    read_boxes(str(tmp_path / 'none.tsv'))


def test_coverage_of_a_union():
  # Two boxes that overlap in a quarter of the photo; a grid whose lines are not theirs.
  boxes = np.array([[0, 0, 0.5, 1], [0.25, 0, 0.75, 0.5]])
  np.testing.assert_allclose(coverage(boxes, 1, 1), [[0.5 + 0.125]])
  np.testing.assert_allclose(coverage(boxes, 2, 2), [[1, 0.5], [1, 0]])
  np.testing.assert_allclose(coverage(boxes, 1, 3), [[1, 0.5 + 0.25, 0.125]])
  np.testing.assert_allclose(coverage(np.array([MIDDLE]), 4, 4)[1:3, 1:3], 1)
  assert coverage(np.zeros((0, 4)), 3, 5).sum() == 0


def test_coverage_against_many_points():
  rng = np.random.default_rng(0)
  corners = np.sort(rng.random((5, 2, 2)), 1)
  boxes = corners.reshape(5, 4) * 0.7
  points = (np.arange(840) + 0.5) / 840
  dense = np.array([[inside(x, y, boxes) for x in points[::4]] for y in points[::4]])
  means = dense.reshape(7, 30, 6, 35).mean((1, 3))
  np.testing.assert_allclose(coverage(boxes, 7, 6), means, atol=0.04)


def test_the_maximum_of_the_enlarged_map_is_the_centre_of_the_largest_cell():
  rng = np.random.default_rng(1)
  grid = rng.random((7, 5))
  grid[2, 3] = 1.5
  large = jax.image.resize(grid, (7 * 33, 5 * 33), 'bilinear')
  assert np.unravel_index(np.argmax(large), large.shape) == (2 * 33 + 16, 3 * 33 + 16)
  box = np.array([[3.45 / 5, 2.45 / 7, 3.55 / 5, 2.55 / 7]])
  for boxes, hit in ((box, True), (box + 0.1 / 5, False)):
    found = pointed([['dog']], [grid[None]], [[phrase('dog', *boxes)]])
    assert found.hits.tolist() == [hit]


def test_known_answers():
  # Cells of a photo of 2 x 2; the left dog is looked at, the man is not.
  grids = np.array([[[0, 1], [0, 0]], [[0.6, 0.2], [0.1, 0.1]], [[1, 0], [0, 0]], [[1, 1], [1, 1]]])
  caption = ['a', 'dogs', 'men', 'grass']
  named = [phrase('dog', LEFT), phrase('man', RIGHT), phrase('dog', MIDDLE), phrase('sky', LEFT)]
  found = pointed([['x'], caption], [np.ones((1, 1, 1)), grids], [[], named])
  assert found.photos.tolist() == [1, 1]
  assert found.hits.tolist() == [True, False]
  # Left half, and a quarter of the cells at the right.
  np.testing.assert_allclose(found.masses, [0.7 + 0.3 / 4, 0])
  assert found.centres.tolist() == [True, True]
  np.testing.assert_allclose(found.areas, [0.5 + 0.125, 0.5])


def test_nouns_are_matched_in_singular_and_plural():
  named = [phrase('child', LEFT), phrase('child', RIGHT), Phrase('white', '', np.array([MIDDLE]))]
  assert len(boxes_of('children', named)) == len(boxes_of('child', named)) == 2
  assert len(boxes_of('kid', named)) == 0


def test_uniform_attention_has_the_mass_of_the_area():
  rng = np.random.default_rng(2)
  named = [phrase('dog', *np.sort(rng.random((3, 2, 2)), 1).reshape(3, 4))]
  found = pointed([['dog']], [np.full((1, 7, 9), 0.3)], [named])
  np.testing.assert_allclose(found.masses, found.areas)


def test_attention_that_is_none():
  named = [[phrase('dog', LEFT)]]
  with pytest.raises(ValueError, match='caption 0 has 1 words and 2 grids'):
    pointed([['dog']], [np.ones((2, 3, 3))], named)
  for bad in (np.zeros((1, 3, 3)), np.full((1, 3, 3), np.nan), -np.eye(3)[None]):
    with pytest.raises(ValueError, match="attention at 'dog' in caption 0 sums to"):
      pointed([['dog']], [bad], named)
  with pytest.raises(ValueError, match='shorter'):
    pointed([['dog']], [], named)


def found_in(photos, hits, centres):
  shares = np.linspace(0, 1, len(photos))
  return Pointed(np.array(photos), np.array(hits), shares, np.array(centres), shares / 2)


def test_means_and_interval():
  # Three photos of one word each, of which attention gains 1, 0 and -1, and one of two.
  found = found_in(
    [0, 1, 2, 7, 7], [True, True, False, True, True], [False, True, True, False, False]
  )
  scores = pointing_scores(found, seed=3)
  assert scores[:2] == (5, 4)
  assert scores[2:7] == pytest.approx((0.8, 0.4, 0.5, 0.25, 0.4))
  assert scores == pointing_scores(found, seed=3)
  # By another way to draw: the photos themselves.
  rng = np.random.default_rng(0)
  gains, counts = np.array([1, 0, -1, 2]), np.array([1, 1, 1, 2])
  drawn = rng.integers(0, 4, (100_000, 4))
  means = gains[drawn].sum(1) / counts[drawn].sum(1)
  np.testing.assert_allclose(scores[-2:], np.quantile(means, [0.025, 0.975]), atol=0.03)


def test_the_interval_is_paired():
  # Attention is right where the centre is right, in half of the photos: no doubt about the gain.
  right = np.arange(40) % 2 == 0
  scores = pointing_scores(found_in(np.arange(40), right, right))
  assert (scores.low, scores.gain, scores.high) == (0, 0, 0)


def test_no_matched_noun():
  assert pointing_scores(pointed([['a']], [np.ones((1, 2, 2))], [[]])) is None


def test_the_boxes_of_flickr8k(data_dir):
  photos = read_boxes(str(data_dir / 'flickr8k_boxes' / 'flickr8k_boxes.tsv.gz'))
  every = np.concatenate([p.boxes for phrases in photos.values() for p in phrases])
  assert len(photos) == 1649
  assert len(every) == 8397
  assert np.all((every >= 0) & (every <= 1) & (every[:, [2, 3, 2, 3]] >= every))
  hits = np.mean([inside(0.5, 0.5, box[None]) for box in every])
  assert hits == pytest.approx(0.386, abs=0.002)


def test_smoothing_is_gaussian_and_nothing_lies_outside():
  grid = np.random.default_rng(0).random((2, 3, 5))
  np.testing.assert_array_equal(smoothed(grid, 0.0), grid)
  found, width = smoothed(grid, 0.2), 0.2
  for n, y, x in np.ndindex(grid.shape):
    expected = sum(
      grid[n, i, j] * np.exp(-(((y - i) / (3 * width)) ** 2 + ((x - j) / (5 * width)) ** 2) / 2)
      for i, j in np.ndindex(3, 5)
    )
    assert found[n, y, x] == pytest.approx(expected, rel=1e-12)
  assert np.argmax(smoothed(np.ones((5, 5)), 0.2)) == 12  # even weights point to the middle


def test_the_narrowest_width_with_most_hits_is_chosen():
  left = [Phrase('a dog', 'dog', np.array([[0.0, 0.0, 1 / 3, 1.0]]))]
  # Most weight lies left, in two places, but the largest is one at the right.
  spread = np.array([[[0.3, 0.0, 0.32], [0.3, 0.0, 0.0]]])
  width = best_width([['dog']], [spread], [left])
  assert 0 < width < max(WIDTHS)
  assert [bool(pointed([['dog']], [smoothed(spread, w)], [left]).hits) for w in WIDTHS] == [
    w >= width for w in WIDTHS
  ]
  assert best_width([['dog']], [spread[..., ::-1]], [left]) == 0.0  # all hit
  assert best_width([['cat']], [spread], [left]) == 0.0  # none to hit
  assert best_width([], [], []) == 0.0
