"""Figures of any numbers: a run that diverges, stands still or is measured once has its pictures, too."""

import numpy as np
import pytest

from rnn_research.analysis.reports import gradient_figures, plots
from rnn_research.analysis.reports.curve_figure import curve_figure
from rnn_research.analysis.reports.length_figure import length_figure
from rnn_research.analysis.reports.run_curves import Curves
from rnn_research.benchmark import figures
from rnn_research.benchmark.contenders import Setting
from rnn_research.metrics.bleu import LengthGroup
from rnn_research.tasks.gradient_flow.clipping_figure import clipping_figure
from rnn_research.tasks.translation.alignment_figure import alignment_figure
from rnn_research.tasks.translation.report import score_curve
from rnn_research.tasks.translation.translator import Translation

SETTING = Setting('lstm', 4, 2, 2, 3)
LOG = (
  'train/epoch',
  'train/loss',
  'train/gradient_norm',
  'train/largest_gradient_norm',
  'train/clipped',
  'learning_rate',
  'valid/nats_per_symbol',
  'valid/bleu',
)


NUMBERS = {
  'zeros': [0.0] * 6,
  'a constant': [0.3] * 6,
  'one point': [0.5],
  'one zero': [0.0],
  'one that is huge': [1e30],
  'huge and tiny': [1e30, 1e33, 1e-30, 1e-33, 1.0, 2.0],
  'zeros among others': [0.5, 300.0, 0.0, 0.1, 0.5, 0.0],
  'infinities': [np.inf] * 6,
  'infinities among others': [np.inf, 0.5, -np.inf, 1.0, np.nan, np.inf],
  'no numbers': [np.nan] * 6,
}


def repeat(numbers):
  """Returns a maker of arrays, and how long they are to be."""
  return lambda *shape: np.resize(np.array(numbers), shape), len(numbers)


def log(make, count):
  values = make(count)
  return [
    {'step': step + 1} | dict.fromkeys(LOG, float(value)) for step, value in enumerate(values)
  ]


def curves(make, count):
  return [
    Curves(str(i), np.arange(count), make(2, count) if i else make(2, count)[:, ::-1])
    for i in range(4)
  ]


def lengths(make, count):
  return [LengthGroup(i, i + 1, 1, float(bleu)) for i, bleu in enumerate(make(count))]


def ratios(make, count):
  rows = {f'{i}': {'ratios': {'step': float(ratio)}} for i, ratio in enumerate(make(count))}
  return [{'setting': SETTING, 'rows': rows}]


def scaling(make, count):
  return {
    'hidden_size': [
      {'factor': i + 1, 'size': i, 'step': {'median': t, 'lower': t, 'upper': t}}
      for i, t in enumerate(map(float, make(count)))
    ]
  }


def linear(make, count):
  return {(s, kind): make(count) for s in (0.9, 1.2) for kind in ('linear', 'tanh')}


def gates(make, count):
  return {'lstm': {'i': (make(count), make(count))}}


def logs(make, *shape):
  with np.errstate(all='ignore'):
    return np.log(make(*shape))


def attention(make, count):
  return [Translation('', ['a'] * count, 0.0, make(count, count), ['b'] * count, False)]


FIGURES = {
  'loss': lambda make, n: plots.loss_curves(log(make, n)),
  'gradients': lambda make, n: plots.gradient_figure(log(make, n)),
  'score': lambda make, n: score_curve(log(make, n), 'bleu'),
  'curves': lambda make, n: curve_figure(curves(make, n), ('valid', 'mse', 'min'), None),
  'curves, baseline': lambda make, n: curve_figure(
    curves(make, n), ('valid', 'mse', 'min'), float(make(1)[0])
  ),
  'curves, highest': lambda make, n: curve_figure(curves(make, n), ('valid', 'bleu', 'max'), None),
  'lengths': lambda make, n: length_figure(
    {'a': lengths(make, n), 'b': lengths(make, n)}, '', 'words'
  ),
  'clipping': lambda make, n: clipping_figure({'a': (make(2, n), make(2, n))}, 1.0, ''),
  'lags': lambda make, n: gradient_figures.lag_figure({'a': make(n, 3)}, ''),
  'linear': lambda make, n: gradient_figures.linear_figure(linear(make, n), ''),
  'jacobians': lambda make, n: gradient_figures.jacobian_figure(
    {'a': logs(make, 10, 4)}, {'a': logs(make, n, 4)}, list(range(1, n + 1)), ''
  ),
  'paths': lambda make, n: gradient_figures.paths_figure(*(make(n, 3) for _ in range(4)), ''),
  'gates': lambda make, n: gradient_figures.gate_figure(gates(make, n), ''),
  'attention': lambda make, n: alignment_figure(attention(make, n), ''),
  'ratios': lambda make, n: figures.ratio_figure(ratios(make, n)),
  'scaling': lambda make, n: figures.scaling_figure(scaling(make, n)),
}


@pytest.mark.parametrize('numbers', NUMBERS.values(), ids=NUMBERS.keys())
@pytest.mark.parametrize('draw', FIGURES.values(), ids=FIGURES.keys())
def test_any_numbers_have_their_figure(draw, numbers, caplog):
  plot = draw(*repeat(numbers))
  plot.figure.set_dpi(20)
  plot.figure.canvas.draw()
  assert plot.table and not caplog.records
  assert all(len(column) == len(next(iter(plot.table.values()))) for column in plot.table.values())
  for axes in plot.figure.axes:
    low, high = axes.get_ylim()
    assert np.isfinite([low, high]).all() and low != high


def placed(figure):
  """Returns the heights of the thick lines of a figure, as shares of its first axes."""
  axes = figure.axes[0]
  points = [
    axes.transData.transform(line.get_xydata()) for line in axes.lines if line.get_linewidth() > 2
  ]
  return [axes.transAxes.inverted().transform(line)[:, 1] for line in points]


def test_runs_without_an_error_are_drawn_beside_one_with():
  steps = np.arange(3)
  solved = [Curves(str(i), steps, np.array([[0.5, 0.01, 0.0]])) for i in range(3)]
  plot = curve_figure(
    [*solved, Curves('3', steps, np.array([[0.5, 0.4, 0.3]]))], ('valid', 'mse', 'min'), None
  )
  assert plot.figure.axes[0].get_yscale() == 'log'
  *ends, last = (line[-1] for line in placed(plot.figure))
  assert all(0.01 < end < 0.1 for end in ends) and 0.1 < last < 1.0
