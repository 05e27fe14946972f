"""Figures of a comparison: ratios as bars, the cost of a step as lines; each tells its parts apart
without colour."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from rnn_research.analysis.reports.plots import (
  BLUE,
  GREY,
  LABEL,
  TICK,
  VERMILLION,
  Plot,
  caption,
  finish,
  logarithmic,
)

# Okabe and Ito 2008, from dark to light so that neighbours differ in grey too; hatches are the
# second sign.
_COLOURS = (BLUE, '#E69F00', '#56B4E9', '#F0E442', VERMILLION, '#CC79A7')
_HATCHES = ('', '//', '', '..', '\\\\', 'xx')
_LINES = {
  'hidden_size': ('hidden units', BLUE, 'o', '-'),
  'num_layers': ('layers', VERMILLION, 's', '--'),
  'batch_size': ('batch', '#000000', '^', '-.'),
  'unroll_length': ('unroll', '#E69F00', 'D', ':'),
}


def ratio_figure(comparisons: Sequence[Mapping]) -> Plot:
  """Draws the training step of every contender against ours, one panel per cell, one group of bars
  per shape, of comparisons {'setting': Setting, 'rows': as of `report.shown`}."""
  rows = [row for one in comparisons for row in one['rows'].items()]
  has_ratio = [label for label, values in rows if 'step' in values.get('ratios', {})]
  labels = list(dict.fromkeys(has_ratio))
  by_cell: dict[str, list[Mapping]] = {}
  for one in comparisons:
    by_cell.setdefault(one['setting'].cell, []).append(one)
  figure = Figure(figsize=(11, 1.6 + 3.6 * len(by_cell)), layout='constrained')
  panels = figure.subplots(len(by_cell), squeeze=False)[:, 0]
  for axes, (cell, of_cell) in zip(panels, by_cell.items(), strict=True):
    _bars(axes, of_cell, labels)
    _dress(axes, cell, of_cell)
  if labels:
    handles, columns = panels[0].get_legend_handles_labels(), min(len(labels), 4)
    figure.legend(*handles, loc='outside upper center', ncols=columns, fontsize=TICK, frameon=False)
  caption(
    figure,
    'Training step, median time divided by that of ours in the same precision: above the line at 1 '
    'ours is quicker. Shapes: layers x hidden units, batch, unroll.',
  )
  table = {
    'cell': [one['setting'].cell for one in comparisons],
    'shape': [_shape(one['setting']) for one in comparisons],
    **{label: [_ratio(one, label) for one in comparisons] for label in labels},
  }
  return Plot(figure, table)


def _bars(axes, comparisons, labels):
  width = min(0.8 / max(len(labels), 1), 0.2)
  for i, (label, colour, hatch) in enumerate(zip(labels, _COLOURS, _HATCHES, strict=False)):
    places = np.arange(len(comparisons)) + (i - (len(labels) - 1) / 2) * width
    ratios = np.array([_ratio(one, label) for one in comparisons])
    heights = np.where(np.isfinite(ratios), ratios, 0.0)
    style = {'color': colour, 'hatch': hatch, 'edgecolor': 'black', 'linewidth': 0.8}
    bars = axes.bar(places, heights, width, label=label, **style)
    texts = [
      '' if label not in one['rows'] else 'failed' if np.isnan(ratio) else f'{ratio:.2f}'
      for one, ratio in zip(comparisons, ratios, strict=True)
    ]
    box = {'facecolor': 'white', 'edgecolor': 'none', 'pad': 0.5, 'alpha': 0.8}
    rotation = 90 if len(labels) > 4 else 0
    axes.bar_label(bars, texts, fontsize=TICK - 3, padding=2, rotation=rotation, bbox=box)


def _dress(axes, cell, comparisons):
  # Behind the bars and their numbers.
  axes.axhline(1.0, color='black', linewidth=1.5, linestyle='--', zorder=0.9)
  axes.set_xlim(-0.6, len(comparisons) - 0.4)
  axes.set_xticks(range(len(comparisons)), [_shape(one['setting']) for one in comparisons])
  axes.set_ylabel(f'{cell}:\ntime / ours', fontsize=LABEL)
  axes.tick_params(labelsize=TICK)
  axes.grid(axis='y', alpha=0.3)
  axes.set_axisbelow(True)
  axes.margins(y=0.12)
  axes.spines[['top', 'right']].set_visible(False)


def _shape(setting):
  sizes = f'{setting.num_layers} x {setting.hidden_size}'
  return f'{sizes}, {setting.batch_size}, {setting.unroll_length}'


def _ratio(comparison, label):
  return comparison['rows'].get(label, {}).get('ratios', {}).get('step', np.nan)


def scaling_figure(scaling: Mapping[str, Sequence[Mapping]]) -> Plot:
  """Draws our training step over the multiple of each size, log-log, one line per axis, of what
  `groups.scaling` returns."""
  figure = Figure(figsize=(11, 6.6), layout='constrained')
  rows = [(axis, point) for axis, points in scaling.items() for point in points if 'step' in point]
  if rows:
    _lines(figure.subplots(), rows)
  caption(
    figure,
    'Median time of our training step when one size grows and the others stay at their smallest.',
  )
  table = {'axis': [axis for axis, _ in rows], 'size': [point['size'] for _, point in rows]}
  for name in ('median', 'lower', 'upper'):
    table[name] = [point['step'][name] for _, point in rows]
  return Plot(figure, table)


def _lines(axes, rows):
  factors = np.array([point['factor'] for _, point in rows])
  times = np.array([1e3 * point['step']['median'] for _, point in rows])
  for axis in dict.fromkeys(axis for axis, _ in rows):
    name, colour, marker, style = _LINES[axis]
    own = [i for i, row in enumerate(rows) if row[0] == axis]
    label = f'{name}: {", ".join(str(rows[i][1]["size"]) for i in own)}'
    look = {'color': colour, 'marker': marker, 'linestyle': style}
    axes.plot(factors[own], times[own], linewidth=2.5, markersize=9, label=label, **look)
  ticks, first = np.unique(factors), np.argmin(factors)
  proportional = times[first] * ticks / factors[first]
  axes.plot(ticks, proportional, color=GREY, linewidth=1.2, zorder=1.5, label='proportional')
  axes.set_xscale('log')
  logarithmic(axes, times)
  axes.set_xticks(ticks, [f'x {factor}' for factor in ticks])
  axes.xaxis.set_minor_locator(NullLocator())
  axes.set_xlabel('size, as a multiple of the smallest', fontsize=LABEL)
  axes.set_ylabel('training step, ms', fontsize=LABEL)
  finish(axes)
  axes.legend(fontsize=TICK, frameon=False, loc='upper left')
