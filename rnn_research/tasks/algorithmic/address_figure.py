"""A memory machine at work: what it reads and answers, and where its heads look meanwhile."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnn_research.analysis.reports.plots import LABEL, TICK, VERMILLION, Plot, caption
from rnn_research.tasks.algorithmic.addresses import Addresses
from rnn_research.tasks.algorithmic.sequences import Examples

_USED, _SHORT_GAP, _FEWEST_ROWS = 0.3, 0.1, 8
_SHOWN = 0.005  # smaller numbers are not in the table
_INCHES_PER_ROW, _LOWEST, _HIGHEST = 0.16, 0.9, 3.4  # of a panel
_ROW = 11  # font size of what names a row
_SHADES = PowerNorm(0.5, 0, 1)  # a weight that is spread over 20 rows is grey, not white


class Panel(NamedTuple):
  """One heat map.

  Attributes:
    name: what it shows.
    values: [R, T], a row of each channel or of each row of the memory.
    rows: [R] names.
    named: places of those that are named at the axis.
    wrong: [R, T] bool, where a wrong answer is marked.
  """

  name: str
  values: np.ndarray
  rows: Sequence[str]
  named: Sequence[int]
  wrong: np.ndarray | None = None


def address_figure(
  asked: Examples, found: Addresses, text: str, channels: Sequence[str] = ()
) -> Plot:
  """Draws inputs, answers, targets and the weights of each head over time, from top to bottom.

  Of the memory, a ring, the longest run of rows that no head ever looks at is left out.

  Args:
    asked: one sequence, B = 1.
    found: what the model made of it.
    text: the caption's first sentences: of what model, what sequence.
    channels: names of the inputs behind the bits.
  """
  rows = used_rows(
    np.concatenate([found.write_weights[0], found.read_weights[0]], 1).swapaxes(0, 1)
  )
  panels = _panels(asked, found, channels, rows)
  heights = [np.clip(_INCHES_PER_ROW * len(p.values), _LOWEST, _HIGHEST) for p in panels]
  figure = Figure(figsize=(12.5, 1.9 + sum(heights) + 0.12 * len(panels)), layout='constrained')
  axes = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
  for one, panel in zip(axes, panels, strict=True):
    _draw(one, panel)
  axes[-1].set_xlabel('step', fontsize=LABEL)
  axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
  bar = figure.colorbar(ScalarMappable(_SHADES, 'Greys'), ax=axes, shrink=0.5, aspect=30, pad=0.01)
  bar.set_ticks([0.0, 0.05, 0.2, 0.5, 1.0])
  bar.ax.tick_params(labelsize=TICK)
  caption(figure, f'{text} {_about(asked, found, panels[1], rows)}', 118)
  return Plot(figure, _table(panels))


def _about(asked, found, answers, rows):
  """Returns what a caption says of every such figure."""
  wrong, total = int(answers.wrong.sum()), int(asked.weights.sum()) * asked.targets.shape[-1]
  negative = ' Inputs below 0 are white.' if (asked.inputs < 0).any() else ''
  marked = (
    f'Orange: the {wrong:,} wrong of {total:,}.' if wrong else f'No bit of {total:,} is wrong.'
  )
  num_rows = found.read_weights.shape[-1]
  left_out = (
    f' Left out: the {num_rows - len(rows)} of {num_rows} rows after row {rows[-1] + 1}, none of '
    f'which has a weight above {_USED}.'
    if len(rows) < num_rows
    else ''
  )
  looks = (
    ' Below: the weight that each head gives to each row of the memory; after the last comes the '
    f'first.{left_out}'
    if num_rows
    else ''
  )
  return (
    f'A column is a step.{negative} Answers: the probability of a one, where one is asked for. '
    f'{marked}{looks}'
  )


def _panels(asked, found, channels, rows):
  asks = asked.weights[0][:, None]
  answers, targets = found.answers[0] * asks, asked.targets[0] * asks
  wrong = ((found.answers[0] > 0.5) != (targets > 0.5)) & (asks > 0)
  heads = [
    (kind, weights[0].swapaxes(0, 1))
    for kind, weights in (
      ('writes to row', found.write_weights),
      ('reads from row', found.read_weights),
    )
  ]
  names = [str(row + 1) for row in rows]
  named = np.unique(np.linspace(0, max(len(rows) - 1, 0), 4).round().astype(int))
  return [
    _bits('inputs', asked.inputs[0], channels),
    _bits('answers', answers)._replace(wrong=wrong.T),
    _bits('targets', targets),
    *(
      Panel(kind if len(weights) == 1 else f'head {i} {kind}', head.T[rows], names, named)
      for kind, weights in heads
      for i, head in enumerate(weights, 1)
    ),
  ]


def _bits(name, values, channels=()):
  """Returns the panel of values [T, R], bits and then the channels of these names."""
  bits = values.shape[1] - len(channels)
  rows = [*map(str, range(1, bits + 1)), *channels]
  return Panel(name, values.T, rows, sorted({0, *range(bits - 1, len(rows))}))


def used_rows(weights: np.ndarray) -> np.ndarray:
  """Returns the rows of a memory without the longest run of those that no head looks at, in the
  order of the ring; all, from the first one that a head looks at, where that run is short.

  Args:
    weights: [heads, T, N], all heads over time.

  Returns:
    [R] int, R >= min(8, N).
  """
  num_rows = weights.shape[-1]
  if not weights.size:
    return np.arange(0)
  used = np.flatnonzero(weights.max((0, 1)) > _USED)
  if not len(used):
    return np.arange(num_rows)
  gaps = np.diff(used, append=used[0] + num_rows)  # from each to the next one, around the ring
  widest = int(gaps.argmax())
  first, count = used[(widest + 1) % len(used)], num_rows - gaps[widest] + 1
  if gaps[widest] < _SHORT_GAP * num_rows:  # what moves around the ring is then cut least there
    looked_at = weights.max(0)  # [T, N]
    first, count = looked_at[(looked_at > _USED).any(1).argmax()].argmax(), num_rows
  return (first + np.arange(max(count, min(_FEWEST_ROWS, num_rows)))) % num_rows


def _draw(axes: Axes, panel: Panel) -> None:
  size, num_steps = panel.values.shape
  axes.imshow(
    panel.values,
    cmap='Greys',
    norm=_SHADES,
    aspect='auto',
    interpolation='nearest',
    extent=(0.5, num_steps + 0.5, size - 0.5, -0.5),
  )
  if panel.wrong is not None and panel.wrong.any():
    row, step = np.nonzero(panel.wrong)
    axes.scatter(step + 1, row, s=16, c=VERMILLION, marker='s', linewidths=0)
  name = textwrap.fill(panel.name, 9)
  axes.set_ylabel(name, fontsize=LABEL, rotation=0, ha='right', va='center')
  axes.set_yticks(panel.named, [panel.rows[place] for place in panel.named])
  axes.tick_params(labelsize=TICK)
  axes.tick_params('y', labelsize=_ROW)


def _table(panels):
  cells = [
    (panel.name, panel.rows[row], int(step) + 1, float(panel.values[row, step]))
    for panel in panels
    for row, step in np.argwhere(np.abs(panel.values) >= _SHOWN)
  ]
  return dict(zip(('panel', 'row', 'step', 'value'), zip(*cells, strict=True), strict=True))
