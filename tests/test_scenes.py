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


def relations(one, other):
  """Returns what is true of two things: one or both of a pair of opposites."""
  (x, y), (u, v) = centre(one), centre(other)
  return {'left of' if x < u else 'right of', 'above' if y < v else 'below'}


def apart(one, other):
  """Returns along which axes two boxes do not overlap."""
  across = lambda a, b: one.box[b] <= other.box[a] or other.box[b] <= one.box[a]
  return across(0, 2), across(1, 3)


def test_captions_are_right():
  said = Counter()
  for scene in SCENES:
    for caption, things in zip(scene.captions, (scene.things, scene.things[::-1]), strict=True):
      one, other = (f'a {thing.colour} {thing.shape}' for thing in things)
      relation = caption.removeprefix(f'{one} ').removesuffix(f' {other}')
      assert relation in relations(*things)
      # Along the axis that it is about they do not overlap.
      assert apart(*things)[relation in ('above', 'below')]
      said[relation] += 1
  assert said.keys() == {'above', 'below', 'left of', 'right of'}
  assert min(said.values()) > 60  # of 400


def test_both_captions_say_the_same():
  opposite = {'above': 'below', 'below': 'above', 'left': 'right', 'right': 'left'}
  for scene in SCENES:
    assert scene.things[0].colour != scene.things[1].colour
    (words, turned) = (caption.split() for caption in scene.captions)
    assert [words[:3], words[-3:]] == [turned[-3:], turned[:3]]
    assert opposite[words[3]] == turned[3]


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
    assert (scene.things, scene.captions) == (other.things, other.captions)
    np.testing.assert_array_equal(scene.picture, other.picture)
  assert [scene.captions for scene in draw_scenes(5, 8)] != [scene.captions for scene in first]


THINGS = (
  Thing('red', 'circle', (0.1, 0.3, 0.45, 0.5)),  # columns 0 and 1, row 1
  Thing('blue', 'square', (0.5, 0.6, 1.0, 1.0)),  # columns 2 and 3, rows 2 and 3
)


@pytest.mark.parametrize(
  ('caption', 'places'),
  [
    ('a red circle above a blue square <eos>', [(2, (1, [0, 1])), (6, ([2, 3], [2, 3]))]),
    ('a blue square below a red circle <eos>', [(2, ([2, 3], [2, 3])), (6, (1, [0, 1]))]),
    ('a red square above a blue square <eos>', [(6, ([2, 3], [2, 3]))]),
    ('a blue circle below a red square <eos>', []),
    ('circle a red circle', [(3, (1, [0, 1]))]),
    ('circle', []),
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
    words = scene.captions[0].split()
    looks = np.zeros((len(words), SIZE, SIZE))
    painted = [(scene.picture == COLOURS[thing.colour]).all(-1) for thing in scene.things]
    looks[2], looks[-1] = (shape / shape.sum() for shape in painted)
    mass = mass_inside(words, looks, scene.things)
    # The last pixels may begin where the box ends.
    assert len(mass) == 2 and min(mass) > 0.8
