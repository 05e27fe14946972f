"""A metric over training steps, of one run's members or of several runs side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnn_research.analysis.reports import plots
from rnn_research.analysis.reports.plots import LABEL, Plot
from rnn_research.analysis.reports.run_curves import Curves
from rnn_research.analysis.reports.tables import finite, metric_name, quantiles


def curve_figure(
  curves: Sequence[Curves],
  headline: tuple[str, str, str],
  baseline: float | None,
  batch_size: int | None = None,
) -> Plot:
  """Draws a metric over training steps: thick the median over seeds, thin every seed.

  Args:
    curves: what is compared.
    headline: what it is measured on, its name, and 'min' or 'max', the better end.
    baseline: what needs no memory, drawn as a line across; or None.
    batch_size: examples of a step, counted along the upper edge; None counts none.
  """
  split, metric, sense = headline
  figure = Figure(figsize=(11, 6.6), layout='constrained')
  axes, top = figure.subplots(), _ceiling(curves, sense, baseline)
  lowest = _limits(axes, curves, sense, baseline, top)
  for curve, style in zip(curves, plots.styles(len(curves)), strict=True):
    _draw(axes, curve, style, lowest)
  if baseline is not None:
    axes.axhline(
      baseline,
      color='black',
      linewidth=2,
      linestyle=(0, (1, 1)),
      label=f'without memory: {baseline:.4f}',
    )
  axes.set_xlabel('training step', fontsize=LABEL)
  if batch_size:
    plots.second_x(axes, 1.0 / batch_size, 'examples seen')
  axes.set_ylabel(metric_name(metric), fontsize=LABEL)
  plots.finish(axes)
  plots.legend_beside(axes)
  plots.caption(figure, _text(curves, split, metric, baseline, top, lowest))
  return Plot(figure, _table(curves, metric))


def _draw(axes: Axes, curve: Curves, style, lowest: float | None) -> None:
  colour, line, marker = style

  def shown(values):
    return finite(values) if lowest is None else np.maximum(finite(values), lowest)

  for values in curve.values:
    axes.plot(curve.steps, shown(values), color=colour, alpha=0.35, linewidth=1)
  axes.plot(
    curve.steps,
    shown(quantiles(curve.values.T, (0.5,))[0]),
    label=curve.label,
    color=colour,
    linestyle=line,
    linewidth=2.5,
    marker=marker,
    markersize=8,
    markevery=max(1, len(curve.steps) // 8),
  )


def _limits(axes, curves, sense, baseline, top):
  """Sets the y axis, and returns where on it zeros are drawn, None where each has a place of its
  own."""
  values = np.concatenate([[np.nan if baseline is None else baseline], *_numbers(curves)])
  values = values[np.isfinite(values) & (values <= top)]
  positive = values[values > 0]
  if sense == 'min' and len(positive) and positive.max() > 10 * positive.min():
    plots.logarithmic(axes, positive)
    if values.min() > 0:
      return None
    low, high = axes.get_ylim()
    axes.set_ylim(0.4 * low, high)
    return 0.5 * low
  if np.isfinite(top):
    axes.set_ylim(0.98 * values.min(), 1.02 * values.max())
  return None


def _ceiling(curves, sense, baseline):
  """Returns where the axis ends: infinity, unless a few of many curves lie so far off that they
  flatten the others."""
  ends = np.array([end for curve in curves for end in curve.values[:, -1] if np.isfinite(end)])
  if sense != 'min' or len(curves) < 4 or not len(ends):
    return np.inf
  top = max(1.5 * np.median(ends), 1.2 * (baseline or 0.0))
  return top if 0.0 < 3.0 * top < ends.max() else np.inf


def _text(curves, split, metric, baseline, top, lowest):
  counts, name = {len(curve.values) for curve in curves}, metric_name(metric)
  seeds = f'{max(counts)} seeds' if len(counts) == 1 else 'its seeds'
  where = '' if split == 'train' else 'on held-out examples '
  return (
    f'{name[0].upper()}{name[1:]} {where}while training'
    + (f'; thick: median over {seeds}, thin: each seed.' if max(counts) > 1 else '.')
    + (' Dotted line: what needs no memory.' if baseline is not None else '')
    + (f' What is above {top:.2g} is not drawn.' if np.isfinite(top) else '')
    + (' What is 0 is drawn at the lower edge.' if lowest is not None else '')
  )


def _numbers(curves):
  return [curve.values.ravel() for curve in curves]


def _table(curves, metric):
  rows = [
    (curve.label, seed, step, value)
    for curve in curves
    for seed, values in enumerate(curve.values)
    for step, value in zip(curve.steps, values, strict=True)
  ]
  return dict(zip(('label', 'seed', 'step', metric), zip(*rows, strict=True), strict=True))
