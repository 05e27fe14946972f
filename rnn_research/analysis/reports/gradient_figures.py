"""Figures of gradients over time: colours, line styles and markers each tell the curves apart."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, PercentFormatter

from rnn_research.analysis.measures.linear_case import slope
from rnn_research.analysis.reports.plots import (
  GREY,
  LABEL,
  TICK,
  VERMILLION,
  Plot,
  caption,
  finish,
  legend_beside,
  logarithmic,
  styles,
)
from rnn_research.analysis.reports.tables import finite, quantiles

_FLOOR = 1e-12  # what is smaller is not drawn; the CSV has it


def lag_figure(curves: Mapping[str, np.ndarray], text: str) -> Plot:
  """Draws the norm of a gradient over the lag, log scale: median, and a band from the 10th to the
  90th percentile.

  Args:
    curves: label -> [K, S], norms at lags 1..K in S samples.
    text: the caption's first sentences: of what network and loss.
  """
  figure, axes = _lag_axes(r'$\|\,\partial L_T / \partial s_{T-k}\|$')
  lags = np.arange(1, len(next(iter(curves.values()))) + 1)
  table, drawn = {'lag': lags}, []
  for (label, norms), style in zip(curves.items(), styles(len(curves)), strict=True):
    low, middle, high = quantiles(norms, (0.1, 0.5, 0.9))
    _line(axes, lags, middle, style, label)
    axes.fill_between(
      lags,
      np.maximum(low, _FLOOR),
      np.maximum(high, _FLOOR),
      color=style[0],
      alpha=0.13,
      linewidth=0,
    )
    table |= {f'{label}: median': middle, f'{label}: 10 %': low, f'{label}: 90 %': high}
    drawn += [low, high]
  _log_from_floor(axes, np.concatenate(drawn))
  legend_beside(axes)
  caption(figure, f'{text} Line: median; band: 10th to 90th percentile over rows and draws.')
  return Plot(figure, table)


def linear_figure(curves: Mapping[tuple[float, str], np.ndarray], text: str) -> Plot:
  """Draws what a normal W_h of a given largest singular value does to a gradient, with and without
  tanh.

  Args:
    curves: (s, 'linear' or 'tanh') -> [K] median norms at lags 1..K; the exact line s^k is drawn
      beside them.
    text: the caption's first sentences.
  """
  figure, axes = _lag_axes(r'$\|\,\partial L_T / \partial h_{T-k}\|$')
  lags = np.arange(1, len(next(iter(curves.values()))) + 1)
  sizes = sorted({s for s, _ in curves}, reverse=True)
  table = {'lag': lags}
  for s, (colour, _, marker) in zip(sizes, styles(len(sizes)), strict=True):
    start = curves[s, 'linear'][len(lags) // 2] / s ** lags[len(lags) // 2]
    axes.plot(lags, start * s**lags, color=GREY, linewidth=6, alpha=0.4, zorder=1)
    for kind, line in (('linear', '-'), ('tanh', '--')):
      norms = curves[s, kind]
      exact = f', log s {np.log(s):+.4f}' if kind == 'linear' else ''
      label = f's = {s:g}, {kind}: slope {slope(lags, norms):+.4f}{exact}'
      _line(axes, lags, norms, (colour, line, marker), label, filled=kind == 'linear')
      table[f's = {s:g}, {kind}'] = norms
  _log_from_floor(axes, np.concatenate(list(curves.values())))
  axes.get_legend().remove()
  handles, labels = axes.get_legend_handles_labels()
  figure.legend(
    handles[::2] + handles[1::2],
    labels[::2] + labels[1::2],
    loc='outside upper center',
    ncols=2,
    fontsize=TICK,
    frameon=False,
  )
  caption(
    figure,
    f'{text} Wide grey lines: a slope of exactly log s. Slopes: least squares over the second half '
    'of the lags, nats per step.',
  )
  return Plot(figure, table)


def jacobian_figure(
  steps: Mapping[str, np.ndarray],
  products: Mapping[str, np.ndarray],
  lags: Sequence[int],
  text: str,
) -> Plot:
  """Draws singular values of step Jacobians, and the largest of their product over the lag.

  Args:
    steps: label -> [S, N] log singular values of S steps, falling.
    products: label -> [K, N] log singular values of the product of the last k Jacobians.
    lags: K numbers.
    text: the caption's first sentences.
  """
  figure = Figure(figsize=(12.5, 6.6), layout='constrained')
  left, right = figure.subplots(1, 2)
  rows: dict[str, list] = {'cell': [], 'what': [], 'place': [], 'log singular value': []}
  for (label, values), style in zip(steps.items(), styles(len(steps)), strict=True):
    middle = _medians(values.T)
    places = (np.arange(len(middle)) + 0.5) / len(middle)
    _line(left, places, np.exp(middle), style, label)
    _line(right, lags, np.exp(products[label][:, 0]), style, label)
    for what, where, numbers in (
      ('step, median over ten, by rank', places, middle),
      ('largest of the product, by lag', lags, products[label][:, 0]),
    ):
      rows['cell'] += [label] * len(numbers)
      rows['what'] += [what] * len(numbers)
      rows['place'] += list(where)
      rows['log singular value'] += list(numbers)
  for axes, drawn, words in (
    (
      left,
      [_medians(v.T) for v in steps.values()],
      ('rank / size of the state', 'singular values of a step'),
    ),
    (
      right,
      [v[:, 0] for v in products.values()],
      ('lag k, steps', 'largest singular value of k steps'),
    ),
  ):
    axes.axhline(1.0, color='black', linewidth=1.2, zorder=1)
    axes.set_xlabel(words[0], fontsize=LABEL)
    axes.set_ylabel(words[1], fontsize=LABEL)
    _log_from_floor(axes, np.exp(np.concatenate(drawn)), 1e-8)
  right.get_legend().remove()
  left.legend(fontsize=TICK, frameon=False, loc='lower left')
  caption(
    figure,
    f'{text} Left: all singular values of ds_t/ds_(t-1), median over ten steps. Right: the largest '
    'of ds_T/ds_(T-k); above 1 a gradient can grow over k steps, below 1 it must shrink.',
    122,
  )
  return Plot(figure, rows)


def paths_figure(
  total: np.ndarray, direct: np.ndarray, gates: np.ndarray, share: np.ndarray, text: str
) -> Plot:
  """Draws the two paths of the gradient of an LSTM's cell, and the share of the direct one.

  Args:
    total: [K, S] norms of dL_T/dc_{T-k}, as `direct` and `gates` of its parts.
    share: [K, S] `<direct, total> / <total, total>`.
    text: the caption's first sentences.
  """
  figure = Figure(figsize=(11, 8.2), layout='constrained')
  upper, lower = figure.subplots(2, sharex=True, height_ratios=(1.5, 1))
  lags, table = np.arange(1, len(total) + 1), {}
  gate_style, direct_style = styles(2)
  table['total'] = _medians(total)
  upper.plot(lags, table['total'], color=GREY, linewidth=7, alpha=0.45, label='total')
  table['through c alone'] = _medians(direct)
  _line(upper, lags, table['through c alone'], direct_style, 'through c alone')
  table['through gates and W'] = through = _medians(gates)
  # At lag 1 there is no gate on the way: what is left of the difference is rounding.
  shown = np.where(through > 1e-6 * table['total'], through, np.nan)
  _line(upper, lags, shown, gate_style, 'through gates and W')
  _log_from_floor(upper, np.concatenate([table['total'], table['through c alone']]))
  upper.set_ylabel(r'$\|\,\partial L_T / \partial c_{T-k}\|$', fontsize=LABEL)
  low, middle, high = quantiles(share, (0.1, 0.5, 0.9))
  _line(lower, lags, middle, direct_style, '')
  lower.fill_between(lags, low, high, color=VERMILLION, alpha=0.2, linewidth=0)
  lower.axhline(1.0, color='black', linewidth=1)
  shown = np.clip([-0.05, 1.1, *finite(low), *finite(high)], -1.0, 2.0)
  lower.set_ylim(np.nanmin(shown), np.nanmax(shown))
  lower.yaxis.set_major_formatter(PercentFormatter(1.0))
  lower.set_ylabel('share through\nc alone', fontsize=LABEL)
  lower.set_xlabel('lag k, steps', fontsize=LABEL)
  for axes in (upper, lower):
    finish(axes)
  upper.legend(fontsize=TICK, frameon=False, loc='lower left')
  caption(
    figure,
    f'{text} Through c alone: dL_T/dc_T times the product of the last k forget gates. The rest '
    'passes a gate or the candidate, and with it W. Medians; share: <direct, total> / <total, '
    'total>, band 10th to 90th percentile.',
  )
  return Plot(
    figure, {'lag': lags, **table, 'share': middle, 'share: 10 %': low, 'share: 90 %': high}
  )


def gate_figure(
  fractions: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], text: str
) -> Plot:
  """Draws how often each unit's gates are shut and open: one panel per layer, one point per unit
  and gate.

  Args:
    fractions: label -> gate -> left- and right-saturated fractions, [H] each.
    text: the caption's first sentences.
  """
  figure = Figure(figsize=(max(8.0, 5.4 * len(fractions)), 6.6), layout='constrained')
  names = 'cell', 'gate', 'unit', 'left-saturated', 'right-saturated'
  table: dict[str, list] = {name: [] for name in names}
  for axes, (label, gates) in zip(
    figure.subplots(1, len(fractions), squeeze=False)[0], fractions.items(), strict=True
  ):
    for (gate, (left, right)), (colour, _, marker) in zip(
      gates.items(), styles(len(gates)), strict=True
    ):
      axes.plot(
        left,
        right,
        color=colour,
        linestyle='',
        marker=marker,
        markersize=6,
        alpha=0.55,
        label=f'gate {gate}',
        clip_on=False,
      )
      table['cell'] += [label] * len(left)
      table['gate'] += [gate] * len(left)
      table['unit'] += list(range(len(left)))
      table['left-saturated'] += list(left)
      table['right-saturated'] += list(right)
    axes.plot([0, 1], [1, 0], color=GREY, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect='equal')
    axes.set_title(label, fontsize=LABEL)
    axes.set_xlabel('share of time below 0.1', fontsize=LABEL)
    axes.set_ylabel('share of time above 0.9', fontsize=LABEL)
    finish(axes)
  caption(
    figure,
    f'{text} One point per unit: the share of steps and rows in which its gate is below 0.1 '
    '(left-saturated: shut) and above 0.9 (right-saturated: open). On the grey line it is always '
    'one of them.',
    max(80, 54 * len(fractions)),
  )
  return Plot(figure, table)


def _medians(rows):
  return quantiles(rows, (0.5,))[0]


def _lag_axes(ylabel):
  figure = Figure(figsize=(11, 6.6), layout='constrained')
  axes = figure.subplots()
  axes.set_xlabel('lag k, steps', fontsize=LABEL)
  axes.set_ylabel(ylabel, fontsize=LABEL)
  return figure, axes


def _line(axes, xs, ys, style, label, filled=True):
  colour, line, marker = style
  axes.plot(
    xs,
    ys,
    color=colour,
    linestyle=line,
    linewidth=2.5,
    marker=marker,
    markersize=8,
    markevery=max(1, len(xs) // 10),
    markerfacecolor=colour if filled else 'white',
    label=label,
  )


def _log_from_floor(axes, values, floor=_FLOOR):
  shown = values[np.isfinite(values) & (values > 0)]
  if logarithmic(axes, np.clip(shown, floor, 1.0 / floor)):
    axes.set_ylim(top=2.0 * axes.get_ylim()[1])  # a norm of 1 is not drawn on the frame
    axes.yaxis.set_major_formatter(LogFormatterSciNotation())
  finish(axes)
