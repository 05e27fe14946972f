"""Figures of a comparison: ratios as bars, the cost of a step as lines; each tells its parts apart
without colour."""

from collections.abc import Mapping, Sequence
from typing import Any

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
_BARS = (
  (BLUE, ''),
  ('#E69F00', '//'),
  ('#56B4E9', ''),
  ('#F0E442', '..'),
  (VERMILLION, '\\\\'),
  ('#CC79A7', 'xx'),
)
_LINES = {
  'hidden_size': ('hidden units', BLUE, 'o', '-'),
  'num_layers': ('layers', VERMILLION, 's', '--'),
  'batch_size': ('batch', '#000000', '^', '-.'),
  'unroll_length': ('unroll', '#E69F00', 'D', ':'),
}


def ratio_figure(comparisons: Sequence[Mapping[str, Any]]) -> Plot:
  """Draws the training step of every contender against ours, one panel per cell, one group of bars
  per shape.

  Args:
    comparisons: {'setting': Setting, 'rows': as of `tables.shown`} each.
  """
  labels = list(
    dict.fromkeys(
      label
      for comparison in comparisons
      for label, values in comparison['rows'].items()
      if 'step' in values.get('ratios', {})
    )
  )
  cells = list(dict.fromkeys(comparison['setting'].cell for comparison in comparisons))
  figure = Figure(figsize=(11, 1.6 + 3.6 * len(cells)), layout='constrained')
  panels = figure.subplots(len(cells), squeeze=False)[:, 0]
  for axes, cell in zip(panels, cells, strict=True):
    _bars(
      axes,
      cell,
      [comparison for comparison in comparisons if comparison['setting'].cell == cell],
      labels,
    )
  if labels:
    figure.legend(
      *panels[0].get_legend_handles_labels(),
      loc='outside upper center',
      ncols=min(len(labels), 4),
      fontsize=TICK,
      frameon=False,
    )
  caption(
    figure,
    'Training step, median time divided by that of ours in the same precision: above the line at 1 '
    'ours '
    'is quicker. Shapes: layers x hidden units, batch, unroll.',
  )
  table = {
    'cell': [c['setting'].cell for c in comparisons],
    'shape': [_shape(c['setting']) for c in comparisons],
    **{label: [_ratio(c, label) for c in comparisons] for label in labels},
  }
  return Plot(figure, table)


def scaling_figure(scaling: Mapping[str, Sequence[Mapping[str, Any]]]) -> Plot:
  """Draws our training step over the multiple of each size, log-log, one line per axis.

  Args:
    scaling: axis -> [{'factor', 'size', 'step': spread, or 'failed'}, ..].
  """
  figure = Figure(figsize=(11, 6.6), layout='constrained')
  measured = {
    axis: [point for point in points if 'step' in point] for axis, points in scaling.items()
  }
  rows = [(axis, point) for axis, points in measured.items() for point in points]
  if rows:
    _lines(figure.subplots(), measured, [point for _, point in rows])
  caption(
    figure,
    'Median time of our training step when one size grows and the others stay at their smallest.',
  )
  return Plot(
    figure,
    {
      'axis': [axis for axis, _ in rows],
      'size': [point['size'] for _, point in rows],
      **{name: [point['step'][name] for _, point in rows] for name in ('median', 'lower', 'upper')},
    },
  )


def _lines(axes, measured, all_points):
  for axis, points in measured.items():
    name, colour, marker, style = _LINES[axis]
    sizes = ', '.join(str(point['size']) for point in points)
    axes.plot(
      [point['factor'] for point in points],
      [1e3 * point['step']['median'] for point in points],
      color=colour,
      marker=marker,
      linestyle=style,
      linewidth=2.5,
      markersize=9,
      label=f'{name}: {sizes}',
    )
  factors = sorted({point['factor'] for point in all_points})
  first = min(all_points, key=lambda point: point['factor'])
  axes.plot(
    factors,
    [1e3 * first['step']['median'] * factor / first['factor'] for factor in factors],
    color=GREY,
    linewidth=1.2,
    zorder=1.5,
    label='proportional',
  )
  axes.set_xscale('log')
  logarithmic(axes, np.array([1e3 * point['step']['median'] for point in all_points]))
  axes.set_xticks(factors, [f'x {factor}' for factor in factors])
  axes.xaxis.set_minor_locator(NullLocator())
  axes.set_xlabel('size, as a multiple of the smallest', fontsize=LABEL)
  axes.set_ylabel('training step, ms', fontsize=LABEL)
  finish(axes)
  axes.legend(fontsize=TICK, frameon=False, loc='upper left')


def _bars(axes, cell, comparisons, labels):
  width = min(0.8 / max(len(labels), 1), 0.2)
  for i, (label, (colour, hatch)) in enumerate(zip(labels, _BARS, strict=False)):
    places = np.arange(len(comparisons)) + (i - (len(labels) - 1) / 2) * width
    heights = np.array([_ratio(comparison, label) for comparison in comparisons])
    bars = axes.bar(
      places,
      np.where(np.isfinite(heights), heights, 0.0),
      width,
      color=colour,
      hatch=hatch,
      edgecolor='black',
      linewidth=0.8,
      label=label,
    )
    texts = [
      '' if label not in comparison['rows'] else 'failed' if np.isnan(height) else f'{height:.2f}'
      for comparison, height in zip(comparisons, heights, strict=True)
    ]
    axes.bar_label(
      bars,
      texts,
      fontsize=TICK - 3,
      padding=2,
      rotation=90 if len(labels) > 4 else 0,
      bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 0.5, 'alpha': 0.8},
    )
  axes.axhline(
    1.0, color='black', linewidth=1.5, linestyle='--', zorder=0.9
  )  # behind the bars and their numbers
  axes.set_xlim(-0.6, len(comparisons) - 0.4)
  axes.set_xticks(
    range(len(comparisons)), [_shape(comparison['setting']) for comparison in comparisons]
  )
  axes.set_ylabel(f'{cell}:\ntime / ours', fontsize=LABEL)
  axes.tick_params(labelsize=TICK)
  axes.grid(axis='y', alpha=0.3)
  axes.set_axisbelow(True)
  axes.margins(y=0.12)
  axes.spines[['top', 'right']].set_visible(False)


def _shape(setting):
  return (
    f'{setting.num_layers} x {setting.hidden_size}, {setting.batch_size}, {setting.unroll_length}'
  )


def _ratio(comparison, label):
  return comparison['rows'].get(label, {}).get('ratios', {}).get('step', np.nan)
