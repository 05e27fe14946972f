"""Where a gradient goes: dL_T / ds_{T-k} over the lag k, and the part of it that an LSTM carries
through c alone."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial

from rnn_research.analysis.measures.traces import trace
from rnn_research.cell import Cell
from rnn_research.cells.lstm import LSTMParams
from rnn_research.errors import InputError
from rnn_research.stepping import take_step
from rnn_research.typing import Array, Key, Params, PyTree, State


class Paths(NamedTuple):
  """dL_T / dc_{T-k} of an LSTM and its two parts, `total = direct + gates`; entry k - 1 belongs to
  lag k.

  Attributes:
    total: [K, B, H] float32.
    direct: [K, B, H] float32, through c_{T-k+1}, .., c_T alone: only forget gates multiply it.
    gates: [K, B, H] float32, the rest: through some h_t, the recurrent weights and the gates that
      read them.
  """

  total: Array
  direct: Array
  gates: Array


def state_gradients(
  cell: Cell, params: Params, xs: PyTree, loss: Callable[[Array], Array]
) -> State:
  """Returns the total derivative of a loss at the last step with respect to the state after every
  earlier step.

    s_t = step(s_{t-1} + d_{t-1}, x_t),    dL_T / ds_{T-k} = dL_T / dd_{T-k} at d = 0,    k = 1..T

  The leaves of a state are independent here: a change of c_t does not change the h_t beside it.

  Args:
    cell: any recurrence; `stack(*cells)` for several layers.
    params: its parameters.
    xs: [T, B, F] inputs; the state before the first step is the initial one.
    loss: `(y_T [B, H]) -> [B]`. Give numbers that change to a `jax.tree_util.Partial`, else each is
      compiled anew.

  Returns:
    A state with leaves [T, B, ...]; entry k - 1 belongs to lag k.

  Source: standard (backpropagation through time). Deviates from the paper: nothing.
  """
  # A Partial of a Partial is another function each time, and would be compiled each time.
  return _state_gradients(cell, params, xs, loss if isinstance(loss, Partial) else Partial(loss))


@functools.partial(jax.jit, static_argnums=0)
def _state_gradients(cell, params, xs, loss):
  num_steps, batch_size = jax.tree.leaves(xs)[0].shape[:2]
  start = cell.initial_state(params, batch_size)

  def total(changes):
    def body(state, inputs):
      x, change = inputs
      state, y = take_step(cell, params, jax.tree.map(jnp.add, state, change), x)
      return state, y

    return jnp.sum(loss(lax.scan(body, start, (xs, changes))[1][-1]))

  zeros = jax.tree.map(lambda a: jnp.zeros((num_steps, *a.shape), a.dtype), start)
  return jax.tree.map(lambda a: jnp.flip(a, 0), jax.grad(total)(zeros))


def random_readout(key: Key, batch_size: int, size: int) -> Partial:
  """Returns the loss `L = v . y_T` with one v per row, drawn uniformly from directions: a network
  without a task."""
  v = jax.random.normal(key, (batch_size, size), jnp.float32)
  v /= jnp.linalg.norm(v, axis=-1, keepdims=True)
  return Partial(_readout, v)


def _readout(v, ys):
  return jnp.sum(v * ys, -1)


def lstm_paths(cell: Cell, params: LSTMParams, xs: Array, loss: Callable[[Array], Array]) -> Paths:
  """Splits the gradient with respect to the cell of an LSTM by the path that it takes back.

    direct_{T-k} = dL_T / dh_T * o_T * (1 - tanh^2 c_T) * prod_{t = T-k+1..T} f_t

  Everything else passes a gate or the candidate at least once, and with it the weights. The sum is
  exact.

  Args:
    cell: an LSTM.
    params: its parameters.
    xs: [T, B, F] inputs.
    loss: see `state_gradients`.

  Returns:
    Parts with leaves [T, B, H].

  Raises:
    InputError: the cell is no LSTM.

  Source: Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000, whose product replaces the
  constant error carousel. Deviates from the papers: their gradients are truncated at the gates,
  which leaves `direct` alone.
  """
  if not isinstance(params, LSTMParams):
    raise InputError(
      f'the gradient of {type(params).__name__} cannot be split, expected an LSTM, which has a '
      'cell c'
    )
  total = state_gradients(cell, params, xs, loss).c
  found = trace(cell, params, xs)
  dh = jax.grad(lambda y: jnp.sum(loss(y)))(found.ys[-1]).astype(jnp.float32)
  dh = dh if params.w_p is None else dh @ params.w_p.T
  dc = dh * found.gates['o'][-1] * (1.0 - jnp.tanh(found.states['c'][-1]) ** 2)
  direct = dc[None] * jnp.cumprod(jnp.flip(found.gates['f'], 0), 0)
  return Paths(total, direct, total - direct)


def direct_share(paths: Paths) -> np.ndarray:
  """Returns what part of the gradient the direct path makes up, [K, B] float64:
  `<direct, total> / <total, total>`.

  The same ratio of the other part adds up to 1 with it. Either may leave [0, 1] where the parts
  cancel.
  """
  direct, total = np.asarray(paths.direct, np.float64), np.asarray(paths.total, np.float64)
  return np.sum(direct * total, -1) / np.sum(total * total, -1)


def norms(gradient: Array) -> np.ndarray:
  """Returns the norm per lag and row, [K, B] float64, of [K, B, H]: the square of 1e-20 is no
  number of float32."""
  return np.linalg.norm(np.asarray(gradient, np.float64), axis=-1)
