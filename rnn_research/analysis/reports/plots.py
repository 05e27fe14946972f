"""Figures of a training run, sized for a slide; colours, line styles and markers each tell the
curves apart."""

import math
import os
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from rnn_research.analysis.reports.tables import Rows, Table, columns, running_mean, write_csv

# Okabe and Ito 2008, ordered so that neighbours differ in lightness too.
BLUE, VERMILLION, GREY = '#0072B2', '#D55E00', '#767676'
_COLOURS = (BLUE, VERMILLION, '#000000', '#E69F00', '#009E73', '#CC79A7', '#56B4E9')
_LINES, _MARKERS = ('-', '--', '-.', ':', (0, (5, 1, 1, 1, 1, 1))), 'os^DvPX*<>'
LABEL, TICK, _CAPTION = 18, 15, 13
DPI = 120  # of a saved figure


class Plot(NamedTuple):
  """A figure, and the numbers that it shows: name -> [N] float64, or N names."""

  figure: Figure
  table: Table


def loss_curves(
  rows: Rows, validation: str = 'the whole validation text in parallel streams'
) -> Plot:
  """Draws training loss and validation loss over steps and epochs, in nats and bits per symbol.

  Args:
    rows: lines of a log with `train/epoch`, `train/loss` and, where there was an evaluation,
      `valid/nats_per_symbol`. `train/nats_per_symbol` takes the place of a `train/loss` that has
      more in it.
    validation: what the validation loss is of, for the caption.
  """
  figure = Figure(figsize=(11, 6.6), layout='constrained')
  axes = figure.subplots()
  table = draw_losses(axes, rows)
  _second_axes(axes, _steps_per_epoch(table))
  finish(axes)
  name = _training_loss(rows)
  steps = table['step'][~np.isnan(table[name])]
  loss = 'loss' if name == 'train/loss' else 'nats per symbol, without label smoothing,'
  caption(
    figure,
    f'Training: mean {loss} {_window(steps)}, before each update, dropout on if there is any'
    f'{_smoothing(_width(steps))}.{_validation(table, validation)}'
    f'{of_grid(rows, "validation: its best member")}',
  )
  return Plot(figure, table)


def draw_losses(axes: Axes, rows: Rows) -> dict[str, np.ndarray]:
  """Draws training and validation loss over steps, in nats per symbol, of a log as `loss_curves`
  takes; returns the numbers that it shows."""
  name = _training_loss(rows)
  table = columns(rows, ['train/epoch', name, 'valid/nats_per_symbol'])
  logged = ~np.isnan(table[name])
  steps, losses = table['step'][logged], table[name][logged]
  smooth = np.full(len(logged), np.nan)
  smooth[logged] = running_mean(losses, _width(steps))
  if _width(steps) > 1:
    axes.plot(steps, losses, color=BLUE, alpha=0.45, linewidth=1)
  if len(steps):
    axes.plot(
      steps,
      smooth[logged],
      color=BLUE,
      linewidth=2.5,
      marker=_marker(steps),
      markersize=10,
      label='training',
    )
  _validation_points(
    axes, table['step'], table['valid/nats_per_symbol'], losses[-1] if len(losses) else -np.inf
  )
  axes.set_xlabel('training step', fontsize=LABEL)
  axes.set_ylabel('nats per symbol', fontsize=LABEL)
  return {**table, f'{name}_smoothed': smooth}


def _training_loss(rows):
  """Returns the name of the training loss in a log."""
  without_smoothing = 'train/nats_per_symbol'
  return without_smoothing if any(without_smoothing in row for row in rows) else 'train/loss'


def _width(steps):
  """Returns over how many of the losses at so many steps the thick line is a running mean."""
  return 2 * (len(steps) // 50) + 1


def gradient_figure(rows: Rows) -> Plot:
  """Draws the gradient norm before clipping (mean and largest per window), the share clipped, and
  the learning rate.

  Args:
    rows: lines of a log with `train/gradient_norm`, `train/largest_gradient_norm`, `train/clipped`,
      `learning_rate`.
  """
  names = ['train/gradient_norm', 'train/largest_gradient_norm', 'train/clipped', 'learning_rate']
  table = columns(rows, names)
  steps, mean, largest, clipped, rate = table.values()
  figure = Figure(figsize=(11, 8.2), layout='constrained')
  norms, shares, rates = figure.subplots(3, sharex=True, height_ratios=(3, 1.2, 1.2))
  _norm_panel(norms, steps, mean, largest)
  shares.plot(steps, clipped, color=BLUE, linewidth=2, marker=_marker(steps))
  shares.fill_between(steps, clipped, color=BLUE, alpha=0.25)
  shares.set_ylim(0, 1)
  shares.yaxis.set_major_formatter(PercentFormatter(1.0))
  shares.set_ylabel('clipped', fontsize=LABEL)
  rates.plot(steps, rate, color=GREY, linewidth=2.5, marker=_marker(steps))
  rates.set_ylim(bottom=0)
  rates.set_ylabel('learning\nrate', fontsize=LABEL)
  rates.set_xlabel('training step', fontsize=LABEL)
  for axes in (norms, shares, rates):
    finish(axes)
  caption(
    figure,
    f'Global norm of the gradient before clipping, {_window(steps)}: mean and largest. '
    'Clipped: share of steps whose norm was cut, or of gradient elements where each element is '
    'cut. Learning rate: that of the last step of a window.'
    f'{of_grid(rows, "rate: optimizer.learning_rate")}',
  )
  return Plot(figure, table)


def save(plot: Plot, path: str | os.PathLike) -> None:
  """Writes the figure to `path`, a .png, and its numbers beside it as .csv."""
  plot.figure.savefig(path, dpi=DPI)
  write_csv(Path(path).with_suffix('.csv'), plot.table)


def _norm_panel(axes: Axes, steps: np.ndarray, mean: np.ndarray, largest: np.ndarray) -> None:
  axes.plot(
    steps, largest, color=VERMILLION, linestyle='', marker='D', markersize=4, label='largest'
  )
  axes.plot(
    steps, mean, color=BLUE, linewidth=2.5, marker=_marker(steps), markersize=10, label='mean'
  )
  axes.set_ylabel('gradient norm', fontsize=LABEL)
  logarithmic(axes, np.concatenate([mean, largest]))


def logarithmic(axes: Axes, values: np.ndarray) -> bool:
  """Makes the y axis logarithmic, from the 1, 2 or 5 below all positive finite `values` to the one
  above them; returns whether there are any, since without them it stays linear."""
  shown = values[np.isfinite(values) & (values > 0)]
  if not len(shown):
    return False
  shown = np.clip(shown, 1e-300, 1e300)
  ends = np.floor(np.log10([shown.min(), shown.max()])).astype(int)
  ladder = np.outer(10.0 ** np.arange(ends[0] - 1, ends[1] + 2), (1, 2, 5)).ravel()
  low, high = ladder[ladder <= shown.min()][-1], ladder[ladder >= shown.max()][0]
  if low == high:
    low, high = ladder[ladder < low][-1], ladder[ladder > high][0]
  axes.set_yscale('log')
  axes.set_ylim(low, high)
  axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
  axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
  axes.yaxis.set_minor_formatter(NullFormatter())
  return True


def _validation_points(axes: Axes, steps: np.ndarray, values: np.ndarray, training: float) -> None:
  """Draws validation over steps, with the last number away from `training`, the last training
  loss."""
  measured = ~np.isnan(values)
  if not measured.any():
    return
  axes.plot(
    steps[measured],
    values[measured],
    color=VERMILLION,
    linestyle=':',
    linewidth=2,
    marker='o',
    markersize=10,
    markeredgecolor='white',
    label='validation',
  )
  last = steps[measured][-1], values[measured][-1]
  axes.margins(y=0.1)
  axes.annotate(
    f'{last[1]:.3f}',
    last,
    (0, -24 if training > last[1] else 12),
    textcoords='offset points',
    ha='right',
    fontsize=TICK,
    color=VERMILLION,
  )


def _second_axes(axes: Axes, steps_per_epoch: float | None) -> None:
  bits = axes.secondary_yaxis('right', functions=_in_units_of(math.log(2)))
  bits.set_ylabel('bits per symbol', fontsize=LABEL)
  bits.tick_params(labelsize=TICK)
  if steps_per_epoch:
    second_x(axes, steps_per_epoch, 'epochs')


def second_x(axes: Axes, unit: float, name: str) -> None:
  """Adds an axis along the upper edge that counts what `unit` of the lower axis make one of."""
  upper = axes.secondary_xaxis('top', functions=_in_units_of(unit))
  upper.set_xlabel(name, fontsize=LABEL)
  upper.tick_params(labelsize=TICK)


def _in_units_of(unit: float) -> tuple[Callable, Callable]:
  """Returns the functions from an axis to a second one, and back."""
  return lambda values: values / unit, lambda values: values * unit


def _steps_per_epoch(table: Mapping[str, np.ndarray]) -> float | None:
  """Returns the steps of one epoch, None where no line tells."""
  known = table['train/epoch'] > 0
  return table['step'][known][-1] / table['train/epoch'][known][-1] if known.any() else None


def _marker(steps: np.ndarray) -> str:
  return '.' if len(steps) <= 20 else ''


def _window(steps: np.ndarray) -> str:
  width = int(np.median(np.diff(steps, prepend=0))) if len(steps) else 1
  return f'over windows of {width} steps' if width > 1 else 'at each step'


def _smoothing(width: int) -> str:
  return f'; thick: running mean over up to {width} of these' if width > 1 else ''


def _validation(table: Mapping[str, np.ndarray], what: str) -> str:
  measured = ~np.isnan(table['valid/nats_per_symbol'])
  return f' Validation: {what}, without dropout.' if measured.any() else ''


def finish(axes: Axes) -> None:
  """Gives axes the sizes and the grid of all figures, and a legend where anything is labelled."""
  axes.tick_params(labelsize=TICK)
  axes.grid(alpha=0.3)
  axes.margins(x=0.02)
  axes.spines[['top', 'right']].set_visible(False)
  if axes.get_legend_handles_labels()[0]:
    axes.legend(fontsize=TICK, frameon=False, loc='upper right')


def styles(count: int) -> list[tuple[str, Any, str]]:
  """Returns colour, line style and marker of so many curves, any two of which differ in two of
  these at least."""
  return [(_cycle(_COLOURS, i), _cycle(_LINES, i), _cycle(_MARKERS, i)) for i in range(count)]


def _cycle(values, i):
  return values[i % len(values)]


def of_grid(rows: Rows, rest: str) -> str:
  """Returns the caption's last sentence where the run is a grid; `rest` says what else is drawn of
  it."""
  grid = any('train/finite_members' in row for row in rows)
  return (
    f' The run is a grid; training figures: the median over its members; {rest}.' if grid else ''
  )


def legend_beside(axes: Axes) -> None:
  """Moves the legend to the right of the axes, where no curve runs."""
  handles, labels = axes.get_legend_handles_labels()
  axes.legend(
    handles,
    [textwrap.fill(label, 30) for label in labels],
    fontsize=TICK,
    frameon=False,
    loc='upper left',
    bbox_to_anchor=(1.0, 1.0),
  )


def caption(figure: Figure, text: str, width: int = 106) -> None:
  """Writes the explanation of a figure under it, `width` letters in a line: 106 fit a figure 11
  inches wide."""
  figure.supxlabel(
    '\n'.join(textwrap.wrap(text, width)), x=0.02, ha='left', fontsize=_CAPTION, color='#404040'
  )
