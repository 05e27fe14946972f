"""Everything that the gradient-flow report measures of one network, trained or not."""

from collections.abc import Sequence

import jax
import numpy as np

from rnn_research.analysis.measures.gradients import (
  direct_share,
  lstm_paths,
  norms,
  random_readout,
  state_gradients,
)
from rnn_research.analysis.measures.jacobians import product_singular_values, step_jacobians
from rnn_research.analysis.measures.linear_case import linear, normal_matrix
from rnn_research.analysis.measures.traces import saturation, trace_layers, without_candidates
from rnn_research.cell import Cell
from rnn_research.cells.elman import elman
from rnn_research.cells.lstm import LSTMParams
from rnn_research.combinators.depth import stack
from rnn_research.experiment import Recurrence
from rnn_research.typing import Key

NUM_INPUTS = 8


def untrained(
  cell: Cell, hidden_size: int, num_steps: int, batch_size: int, key: Key
) -> Recurrence:
  """Returns a freshly initialised cell that reads N(0, 1) inputs, with a random readout of its last
  output as loss."""
  params_key, inputs_key, loss_key = jax.random.split(key, 3)
  xs = jax.random.normal(inputs_key, (num_steps, batch_size, NUM_INPUTS))
  return Recurrence(
    (cell,), (cell.init(params_key, xs[0]),), xs, random_readout(loss_key, batch_size, hidden_size)
  )


def lag_norms(name: str, networks: Sequence[Recurrence], num_lags: int) -> dict[str, np.ndarray]:
  """Returns label -> norms of dL_T/ds_{T-k}, [K, S] float64, for every leaf of every layer's state.

  Args:
    name: begins the labels.
    networks: draws of one network; S counts their rows.
    num_lags: K.
  """
  # One cell for all draws: what is compiled belongs to it.
  whole = stack(*networks[0].cells)
  found: dict[str, list[np.ndarray]] = {}
  for network in networks:
    gradient = state_gradients(whole, network.params, network.xs, network.loss)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
      layer = f' layer {path[0].idx + 1}' if len(gradient) > 1 else ''
      part = f': {path[-1].name}' if len(jax.tree.leaves(gradient[path[0].idx])) > 1 else ''
      found.setdefault(f'{name}{layer}{part}', []).append(norms(leaf[:num_lags]))
  return {label: np.concatenate(rows, 1) for label, rows in found.items()}


def last_layer(network: Recurrence) -> Recurrence:
  """Returns the last layer alone, with what it reads: the one whose state reaches the loss through
  itself only."""
  below = trace_layers(network.cells[:-1], network.params[:-1], network.xs)
  xs = below[-1].ys if below else network.xs
  return network._replace(cells=network.cells[-1:], params=network.params[-1:], xs=xs)


def spectra(network: Recurrence, lags: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
  """Returns log singular values of the last layer: of ten steps [10, N], and of the product over
  `lags` [K, N].

  The first row of the batch is taken. The steps are spread evenly: each SVD of a thousand numbers
  takes a second.
  """
  (cell,), (params,), xs, _ = last_layer(network)
  jacobians = np.asarray(step_jacobians(cell, params, xs), np.float64)
  some = np.linspace(0, len(jacobians) - 1, min(10, len(jacobians))).astype(int)
  with np.errstate(divide='ignore'):
    steps = np.log(np.linalg.svd(jacobians[some], compute_uv=False))
  return steps, product_singular_values(jacobians, tuple(lags))


def path_norms(
  networks: Sequence[Recurrence], num_lags: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
  """Returns norms of total, direct and rest, and the direct share, [K, S] each, of the last layer;
  None if no LSTM."""
  layers = [last_layer(network) for network in networks]
  if not isinstance(layers[0].params[0], LSTMParams):
    return None
  paths = [lstm_paths(layer.cells[0], layer.params[0], layer.xs, layer.loss) for layer in layers]
  columns = [
    (*(norms(part[:num_lags]) for part in path), direct_share(path)[:num_lags]) for path in paths
  ]
  total, direct, rest, share = (np.concatenate(parts, 1) for parts in zip(*columns, strict=True))
  return total, direct, rest, share


def saturated(
  name: str, network: Recurrence
) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
  """Returns label -> gate -> left- and right-saturated fractions, [H] each, for every layer that
  has gates."""
  found = {}
  for layer, trace in enumerate(trace_layers(*network[:3])):
    label = f'{name} layer {layer + 1}' if len(network.cells) > 1 else name
    gates = without_candidates(trace.gates)
    if gates:
      found[label] = {gate: jax.device_get(saturation(values)) for gate, values in gates.items()}
  return found


def linear_norms(
  sizes: Sequence[float],
  hidden_size: int,
  num_lags: int,
  batch_size: int,
  input_scale: float,
  key: Key,
) -> dict[tuple[float, str], np.ndarray]:
  """Returns (s, 'linear' or 'tanh') -> median norm of dL_T/dh_{T-k} over rows, [K], for a normal
  W_h."""
  found = {}
  for kind, cell in (('linear', linear(hidden_size)), ('tanh', elman(hidden_size))):
    network = untrained(cell, hidden_size, num_lags, batch_size, key)
    for s in sizes:
      params = network.params[0]._replace(w_h=normal_matrix(s)(key, (hidden_size, hidden_size)))
      gradient = state_gradients(cell, params, input_scale * network.xs, network.loss)
      found[s, kind] = np.median(norms(gradient.h), axis=1)
  return found
