"""Scenes of two shapes with captions that are known to be right: pictures to learn from without
data, where it is known which place each word is about."""

import functools
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

SIZE = 56  # pixels of a side
COLOURS = {
  'red': (214, 39, 40),
  'green': (44, 160, 44),
  'blue': (31, 119, 180),
  'yellow': (240, 200, 40),
  'purple': (148, 103, 189),
  'white': (245, 245, 245),
}
SHAPES = ('circle', 'square', 'triangle')
_CELLS = 3  # of a side: no two shapes lie in one
_OPPOSITE = {'above': 'below', 'below': 'above', 'left of': 'right of', 'right of': 'left of'}


class Thing(NamedTuple):
  """A shape in a scene.

  Attributes:
    colour: of `COLOURS`.
    shape: of `SHAPES`.
    box: left, top, right and bottom, in parts of the picture's sides.
  """

  colour: str
  shape: str
  box: tuple[float, float, float, float]


class Scene(NamedTuple):
  """A picture of two things.

  Attributes:
    picture: [56, 56, 3] uint8.
    things: both.
    captions: the two that are right.
  """

  picture: np.ndarray
  things: tuple[Thing, Thing]
  captions: tuple[str, str]


@functools.cache
def draw_scenes(count: int, seed: int) -> tuple[Scene, ...]:
  """Returns `count` scenes.

  Two shapes that differ in colour lie in different cells of a grid of 3 x 3 that share a row or a
  column, each somewhere in its cell and of its own size, on dark grey.
  """
  rng = np.random.default_rng(seed)
  return tuple(_scene(rng) for _ in range(count))


def _scene(rng: np.random.Generator) -> Scene:
  line, first, second = rng.integers(_CELLS), *rng.choice(_CELLS, 2, replace=False)
  upright = bool(rng.integers(2))
  cells = [(line, place) if upright else (place, line) for place in (first, second)]
  colours = rng.choice(list(COLOURS), 2, replace=False)
  shapes = rng.choice(SHAPES, 2)
  image = Image.new('RGB', (SIZE, SIZE), (40, 40, 40))
  things = [
    _draw(image, str(colour), str(shape), cell, rng)
    for colour, shape, cell in zip(colours, shapes, cells, strict=True)
  ]
  before = ('above', 'below') if upright else ('left of', 'right of')
  relation = before[int(first > second)]
  one, other = (f'a {thing.colour} {thing.shape}' for thing in things)
  captions = f'{one} {relation} {other}', f'{other} {_OPPOSITE[relation]} {one}'
  return Scene(np.asarray(image), (things[0], things[1]), captions)


def _draw(image, colour, shape, cell, rng) -> Thing:
  """Draws a shape into a cell (column, row)."""
  side = SIZE / _CELLS
  size = side * rng.uniform(0.6, 0.9)
  left, top = (float(side * place + rng.uniform(0, side - size)) for place in cell)
  box = left, top, left + size, top + size
  draw = ImageDraw.Draw(image)
  if shape == 'circle':
    draw.ellipse(box, COLOURS[colour])
  elif shape == 'square':
    draw.rectangle(box, COLOURS[colour])
  else:
    draw.polygon([(left, box[3]), (box[2], box[3]), (left + size / 2, top)], COLOURS[colour])
  return Thing(colour, shape, (left / SIZE, top / SIZE, box[2] / SIZE, box[3] / SIZE))


def mass_inside(words: list[str], weights: np.ndarray, things: tuple[Thing, ...]) -> list[float]:
  """Returns for each shape that a caption names rightly how much of the attention of its word lies
  in the places of the grid that the shape reaches into.

  Args:
    words: T of the caption.
    weights: [T, h, w], where the model looked for each.
    things: of the scene.
  """
  shapes = {(thing.colour, thing.shape): thing for thing in things}
  named = ((t, shapes.get((words[t - 1], words[t]))) for t in range(1, len(words)))
  return [
    float(weights[t][_cells(thing.box, weights.shape[1:])].sum()) for t, thing in named if thing
  ]


def _cells(box, shape) -> tuple[slice, slice]:
  """Returns the rows and columns of a grid that a box reaches into."""
  left, top, right, bottom = box
  height, width = shape
  rows = slice(int(top * height), int(np.ceil(bottom * height)))
  return rows, slice(int(left * width), int(np.ceil(right * width)))
