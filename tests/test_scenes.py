"""Scenes of two shapes: what their captions say is what is drawn."""

from collections import Counter

import numpy as np
import pytest

from rnn_research.tasks.captioning.scenes import (
  COLOURS,
  SHAPES,
  SIZE,
  Thing,
  draw_scenes,
  mass_inside,
)

SCENES = draw_scenes(200, 7)
GROUND = (40, 40, 40)


def centre(thing):
  left, top, right, bottom = thing.box
  return (left + right) / 2, (top + bottom) / 2


def apart(one, other):
  """Returns along which axes two boxes do not overlap."""
  across = lambda a, b: one.box[b] <= other.box[a] or other.box[b] <= one.box[a]
  return across(0, 2), across(1, 3)


def test_captions_are_right_and_begin_with_the_upper_or_the_left_thing():
  said = Counter()
  for scene in SCENES:
    one, other = scene.things
    first, second = (f'a {thing.colour} {thing.shape}' for thing in scene.things)
    relation = scene.caption.removeprefix(f'{first} ').removesuffix(f' {second}')
    (x, y), (u, v) = centre(one), centre(other)
    assert {'left of': x < u, 'above': y < v}[relation]
    # Along the axis that it is about they do not overlap.
    assert apart(one, other)[relation == 'above']
    assert one.colour != other.colour
    said[relation] += 1
  assert said.keys() == {'above', 'left of'}
  assert min(said.values()) > 60  # of 200


def test_pictures_show_the_colours_inside_of_the_boxes():
  shown = Counter()
  for scene in SCENES:
    assert (scene.picture.shape, scene.picture.dtype) == ((SIZE, SIZE, 3), np.uint8)
    free = np.ones((SIZE, SIZE), bool)
    for thing in scene.things:
      left, top, right, bottom = (int(edge * SIZE) for edge in thing.box)
      painted = (scene.picture == COLOURS[thing.colour]).all(-1)
      rows, columns = np.nonzero(painted)
      edges = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
      # The pixels that its edges lie in; a neighbour may cover one, and a circle only touches them.
      assert np.abs(edges - (left, top, right, bottom)).max() <= 1
      share = painted[top : bottom + 1, left : right + 1].mean()
      low, high = {'circle': (0.7, 0.87), 'square': (0.9, 1.0), 'triangle': (0.45, 0.6)}[
        thing.shape
      ]
      assert low <= share <= high
      free &= ~painted
      shown[thing.colour] += 1
      shown[thing.shape] += 1
    assert (scene.picture[free] == GROUND).all()
  assert shown.keys() == {*COLOURS, *SHAPES}


def test_a_seed_decides_all_and_more_scenes_begin_alike():
  first = draw_scenes(5, 7)
  for scene, other in zip(first, SCENES, strict=False):
    assert (scene.things, scene.caption) == (other.things, other.caption)
    np.testing.assert_array_equal(scene.picture, other.picture)
  assert [scene.caption for scene in draw_scenes(5, 8)] != [scene.caption for scene in first]


THINGS = (
  Thing('red', 'circle', (0.1, 0.3, 0.45, 0.5)),  # columns 0 and 1, row 1
  Thing('blue', 'square', (0.5, 0.6, 1.0, 1.0)),  # columns 2 and 3, rows 2 and 3
)


ONE, TWO = (1, [0, 1]), ([2, 3], [2, 3])  # rows and columns


@pytest.mark.parametrize(
  ('caption', 'places'),
  [
    ('a red circle above a blue square <eos>', [(1, ONE), (2, ONE), (5, TWO), (6, TWO)]),
    ('a blue square below a red circle <eos>', [(1, TWO), (2, TWO), (5, ONE), (6, ONE)]),
    ('a red square above a blue square <eos>', [(5, TWO), (6, TWO)]),
    ('a blue circle below a red square <eos>', []),
    ('circle a red circle', [(2, ONE), (3, ONE)]),
    ('red', []),
  ],
)
def test_mass_inside_by_hand(caption, places):
  words = caption.split()
  weights = np.random.default_rng(0).dirichlet(np.ones(16), len(words)).reshape(-1, 4, 4)
  expected = [sum(weights[t][r, c] for r in np.ravel(rows) for c in np.ravel(columns))
              for t, (rows, columns) in places]  # fmt: skip
  np.testing.assert_allclose(mass_inside(words, weights, THINGS), expected, rtol=1e-6)


def test_mass_of_a_look_at_the_thing_itself_is_nearly_1():
  for scene in SCENES[:20]:
    words = scene.caption.split()
    looks = np.zeros((len(words), SIZE, SIZE))
    painted = [(scene.picture == COLOURS[thing.colour]).all(-1) for thing in scene.things]
    looks[1], looks[-2] = (shape / shape.sum() for shape in painted)
    looks[2], looks[-1] = looks[1], looks[-2]
    mass = mass_inside(words, looks, scene.things)
    # The last pixels may begin where the box ends.
    assert len(mass) == 4 and min(mass) > 0.8
