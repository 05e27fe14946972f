"""Figures of a trained DRAW: canvases step by step, images beside their like, the bound."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnn_research.analysis.reports.plots import BLUE, LABEL, TICK, VERMILLION, Plot, caption, finish
from rnn_research.analysis.reports.tables import Table
from rnn_research.analysis.reports.tiles import as_rgb, enlarged
from rnn_research.tasks.draw.drawing import Drawing
from rnn_research.tasks.draw.frames import READ, WROTE, framed

_COLUMNS = 10  # of steps that are shown
_HIGH = 4  # pairs, one above the other
_SCALE = 6  # pixels of a figure to a pixel of an image


def steps_figure(drawing: Drawing, given: np.ndarray | None, text: str) -> Plot:
  """Draws a row per image: what was given, if anything, and the canvas after up to ten steps.

  Args:
    drawing: of a few images.
    given: [N, S, S, C] in [0, 1], or None.
    text: the caption of the figure.
  """
  count, total = drawing.canvases.shape[1], len(drawing.canvases)
  steps = np.unique(np.linspace(0, total - 1, min(total, _COLUMNS)).round().astype(int))
  columns = [] if given is None else [('given', enlarged(as_rgb(given), _SCALE))]
  columns += [(f'{step + 1}', _canvas(drawing, step)) for step in steps]
  return Plot(_grid(columns, text), _table(drawing, steps, count))


def _canvas(drawing, step):
  tiles = enlarged(as_rgb(drawing.canvases[step]), _SCALE)
  for boxes, colour in ((drawing.read, READ), (drawing.wrote, WROTE)):
    if boxes is not None:
      tiles = framed(tiles, boxes, step, _SCALE, colour)
  return tiles


def _table(drawing, steps, count):
  rows = [(n + 1, step + 1) for n in range(count) for step in steps]
  table = dict(zip(('image', 'step'), map(list, zip(*rows, strict=True)), strict=True))
  ink = drawing.canvases.mean((2, 3, 4))
  table['mean level'] = [ink[step - 1, n - 1] for n, step in rows]
  for name, boxes in (('read', drawing.read), ('wrote', drawing.wrote)):
    for side in boxes._fields if boxes is not None else ():
      table[f'{name}, {side}'] = [getattr(boxes, side)[step - 1, n - 1] for n, step in rows]
  return table


def images_figure(columns: Sequence[tuple[str, np.ndarray]], text: str) -> Plot:
  """Draws images side by side, a row for each: columns are title -> [N, S, S, C] in [0, 1]."""
  figure = _grid([(title, enlarged(as_rgb(images), _SCALE)) for title, images in columns], text)
  means = {title: images.mean((1, 2, 3)) for title, images in columns}
  return Plot(figure, {'image': np.arange(1, len(columns[0][1]) + 1), **means})


def pairs_figure(images: np.ndarray, others: np.ndarray, names: tuple[str, str], text: str) -> Plot:
  """Draws images [N, S, S, C] in [0, 1], each beside another, in columns of `_HIGH` pairs."""
  pairs = zip(images, others, strict=True)
  distances = [np.square(image - other).sum() for image, other in pairs]
  columns = [
    (name, enlarged(as_rgb(part[start : start + _HIGH]), _SCALE))
    for start in range(0, len(images), _HIGH)
    for name, part in zip(names, (images, others), strict=True)
  ]
  table: Table = {
    'image': np.arange(1, len(images) + 1),
    'squared distance': distances,
  }
  return Plot(_grid(columns, text), table)


def _grid(columns, text) -> Figure:
  rows = len(columns[0][1])
  figure = Figure(figsize=(1.1 * len(columns) + 0.4, 1.1 * rows + 1.3), layout='constrained')
  axes = figure.subplots(rows, len(columns), squeeze=False)
  for column, (title, images) in enumerate(columns):
    axes[0, column].set_title(title, fontsize=TICK)
    for panel, image in zip(axes[:, column], images, strict=True):
      panel.imshow(image)
      panel.set_axis_off()
  caption(figure, text, int(9.5 * figure.get_figwidth()))
  return figure


def bound_figure(kl: np.ndarray, text: str) -> Plot:
  """Draws the nats that each step takes from the encoder, and their sum so far.

  Args:
    kl: [T] nats, the mean over images.
    text: the caption of the figure.
  """
  figure = Figure(figsize=(11, 5.4), layout='constrained')
  axes = figure.subplots()
  steps = np.arange(1, len(kl) + 1)
  axes.bar(steps, kl, color=BLUE, label='KL of the step')
  axes.plot(steps, np.cumsum(kl), color=VERMILLION, marker='o', label='KL so far')
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))
  axes.set_xlabel('step', fontsize=LABEL)
  axes.set_ylabel('nats per image', fontsize=LABEL)
  finish(axes)
  axes.legend(fontsize=TICK, frameon=False, loc='upper left')
  caption(figure, text)
  return Plot(figure, {'step': steps, 'kl': kl, 'kl so far': np.cumsum(kl)})
