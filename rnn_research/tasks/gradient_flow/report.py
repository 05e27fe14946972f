"""The report of gradient flow: one section per figure, each measured, drawn and put into words
here."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from rnn_research.analysis.measures import flow
from rnn_research.analysis.measures.linear_case import slope
from rnn_research.analysis.reports import gradient_figures
from rnn_research.analysis.reports.sections import Section
from rnn_research.experiment import Recurrence
from rnn_research.tasks.gradient_flow import clipping
from rnn_research.tasks.gradient_flow.clipping_figure import clipping_figure
from rnn_research.training.progress import show
from rnn_research.typing import Key

Networks = Mapping[str, Sequence[Recurrence]]  # name -> draws of one network
_INPUT_SCALE = 0.1  # of the linear case: small states, so that tanh begins nearly linear


def gradients(networks: Networks, num_lags: int, about: str) -> Section:
  """Measures and draws the gradient norm over the lag."""
  curves: dict[str, np.ndarray] = {}
  for name, draws in networks.items():
    curves |= flow.lag_norms(name, draws, num_lags)
  lags = np.arange(1, num_lags + 1)
  metrics = {
    label: {
      'gradient_slope': slope(lags, np.median(norms, 1)),
      f'gradient_lag_{num_lags}': float(np.median(norms[-1])),
    }
    for label, norms in curves.items()
  }
  text = (
    'Norm of the total derivative of the loss at step T with respect to the state k steps '
    f'before. {about}'
  )
  plot = gradient_figures.lag_figure(curves, text)
  return _section('How far back a gradient reaches', 'gradient_by_lag', plot, metrics)


def jacobians(networks: Networks, num_lags: int, about: str) -> Section:
  """Measures and draws the singular values of step Jacobians and of their product."""
  lags = np.unique(np.linspace(1, num_lags, 11).astype(int)).tolist()
  found = {name: flow.spectra(draws[0], lags) for name, draws in networks.items()}
  steps, products = ({name: pair[i] for name, pair in found.items()} for i in range(2))
  metrics = {
    name: {
      'largest_singular_value': float(np.exp(np.median(steps[name][:, 0]))),
      'product_slope': slope(lags, np.exp(products[name][:, 0])),
    }
    for name in networks
  }
  plot = gradient_figures.jacobian_figure(
    steps, products, lags, f'{about} Whole state of the last layer, one row.'
  )
  return _section('Jacobians', 'jacobians', plot, metrics)


def paths(name: str, draws: Sequence[Recurrence], num_lags: int, about: str) -> list[Section]:
  """Measures and draws the two paths of an LSTM's gradient; nothing for another cell."""
  found = flow.path_norms(draws, num_lags)
  if found is None:
    return []
  share = np.median(found[3], axis=1)
  metrics = {
    f'{name}: share through c': {
      f'lag_{k}': float(share[k - 1]) for k in (1, 10, num_lags) if k <= num_lags
    }
  }
  text = f'Gradient of the loss at step T with respect to c k steps before, in two parts. {about}'
  plot = gradient_figures.paths_figure(*found, text)
  return [_section(f'The two paths of the gradient: {name}', f'paths_{name}', plot, metrics)]


def gates(networks: Networks, about: str) -> list[Section]:
  """Counts and draws how often gates are open and shut, in the first draw; nothing where no layer
  has gates."""
  fractions: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
  for name, draws in networks.items():
    fractions |= flow.saturated(name, draws[0])
  if not fractions:
    return []
  metrics = {
    f'{label}, gate {gate}': {
      'left_saturated': float(left.mean()),
      'right_saturated': float(right.mean()),
    }
    for label, found in fractions.items()
    for gate, (left, right) in found.items()
  }
  return [
    _section(
      'Open and shut gates', 'gates', gradient_figures.gate_figure(fractions, about), metrics
    )
  ]


def linear_case(
  sizes: Sequence[float], hidden_size: int, num_lags: int, batch_size: int, key: Key
) -> Section:
  """Measures and draws the gradient through one normal matrix, with and without tanh."""
  curves = flow.linear_norms(sizes, hidden_size, num_lags, batch_size, _INPUT_SCALE, key)
  lags = np.arange(1, num_lags + 1)
  metrics = {
    kind: {f'slope_{s:g}': slope(lags, curves[s, kind]) for s in sizes}
    for kind in ('linear', 'tanh')
  }
  metrics['log s'] = {f'slope_{s:g}': float(np.log(s)) for s in sizes}
  text = (
    'Solid: h_t = W h_(t-1) + x_t; dashed: h_t = tanh(W h_(t-1) + x_t); W normal with singular '
    f'values from s/2 to s, {hidden_size} units, inputs N(0, {_INPUT_SCALE}^2), median over '
    f'{batch_size} rows.'
  )
  return _section(
    'The linear case', 'linear_case', gradient_figures.linear_figure(curves, text), metrics
  )


def clipped_training(settings: Mapping[str, Any], seed: int) -> Section:
  """Trains a network that explodes with and without clipping and draws both."""
  options = {
    'largest': settings['largest_singular_value'],
    'learning_rate': settings['learning_rate'],
    'hidden_size': 32,
  }
  keys, clip_norm = jax.random.split(jax.random.key(seed), settings['seeds']), settings['clip_norm']
  batches = clipping.adding_batches(seed, settings['updates'], batch_size=20, num_steps=20)
  curves = {
    label: clipping.train(keys, batches, clip_norm=norm, **options)
    for label, norm in (('without clipping', np.inf), (f'clipped at {clip_norm:g}', clip_norm))
  }
  runs = {
    label: (np.asarray(c.loss, np.float64), np.asarray(c.norm, np.float64))
    for label, c in curves.items()
  }
  metrics = {
    label: {
      'diverged_seeds': sum(clipping.diverged_at(row) is not None for row in loss),
      'share_above_clip_norm': float(np.mean(norm[np.isfinite(norm)] > clip_norm)),
      'last_loss_median': float(
        np.median(np.where(np.isfinite(loss), loss, np.inf)[:, -50:].mean(1))
      ),
    }
    for label, (loss, norm) in runs.items()
  }
  without, clipped = metrics.values()
  text = (
    f'A tanh network of {options["hidden_size"]} units, all singular values of W_h '
    f'{options["largest"]:g} at first, on the adding problem of {batches.inputs.shape[2]} steps; '
    f'gradient descent at rate {options["learning_rate"]:g}, {settings["seeds"]} seeds. '
    'Left: loss, mean of the last 25 updates; a cross is a seed that diverged: '
    f'{without["diverged_seeds"]} without clipping, {clipped["diverged_seeds"]} with. '
    'Right: norms of all updates, above 10^6 at 10^6; of those of the clipped runs '
    f'{clipped["share_above_clip_norm"]:.0%} were cut.'
  )
  plot = clipping_figure(runs, clip_norm, text)
  return _section('Clipping what explodes', 'clipping', plot, metrics)


def _section(title, stem, plot, metrics):
  show(f'{title}: done')
  return Section(title, stem, plot, metrics=metrics)
