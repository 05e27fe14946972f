"""Whether the Pallas kernels compute what they should on this machine: they run once before anybody relies on them."""

import functools
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.cells.gru import GRUState
from rnn_research.cells.lstm import LSTMState
from rnn_research.engines.pallas import pallas_scan
from rnn_research.engines.pallas_gates import GRU, LSTM, Gates

_NUM_STEPS, _BATCH_SIZE = 5, 17  # each buffer of the factor is used again, and there is a second cluster
_STATES = {LSTM: LSTMState, GRU: GRUState}


def disagreement(gates: Gates, hidden_size: int, dtype) -> str | None:
  """Returns in one sentence how far the kernels are from stepping on this machine, or None where they agree."""
  found = _deviation_here(gates, hidden_size, jnp.dtype(dtype))
  if found <= (1e-4 if jnp.dtype(dtype) == jnp.float32 else 2e-2):
    return None
  return f'on this machine the Pallas kernels differ from stepping, by {found:.1e} of the norm: please report it'


@functools.cache
def _deviation_here(gates, hidden_size, dtype):
  # Where a caller's function is being traced nothing can be run in its thread.
  with ThreadPoolExecutor(1) as pool:
    return pool.submit(deviation, gates, hidden_size, dtype).result()


def deviation(gates: Gates, hidden_size: int, dtype, interpret=None) -> float:
  """Returns the largest error of the kernels' outputs, last states and gradients, relative to their norms.

  Args:
    gates: the elementwise part of the cell.
    hidden_size: H.
    dtype: precision of the factors.
    interpret: as of `pallas_scan`.
  """
  given = _example(gates, hidden_size)
  kernels = functools.partial(pallas_scan, gates, dtype=dtype, interpret=interpret)
  with jax.default_matmul_precision('highest'):
    got, expected = (jax.jit(functools.partial(_results, run))(*given)
                     for run in (kernels, functools.partial(_step_by_step, gates)))
  errors = jax.tree.map(lambda a, b: jnp.linalg.norm(a - b) / jnp.linalg.norm(b), got, expected)
  return float(jnp.stack(jax.tree.leaves(errors)).max())


def _example(gates, hidden_size):
  keys = jax.random.split(jax.random.key(0), 5)
  normal = lambda key, *shape: jax.random.normal(key, shape, jnp.float32)
  size = gates.num_gates * hidden_size
  state_type = _STATES[gates]
  state = [0.5 * normal(key, _BATCH_SIZE, hidden_size) for key in jax.random.split(keys[3], len(state_type._fields))]
  return (normal(keys[0], _NUM_STEPS, _BATCH_SIZE, size), normal(keys[1], hidden_size, size) / hidden_size**0.5,
          state_type(*state), normal(keys[2], size), normal(keys[4], _NUM_STEPS, _BATCH_SIZE, hidden_size))


def _results(run, us, w_h, state, b_h, weights):
  def loss(us, w_h, state, b_h):
    end, hs = run(us, w_h, state, b_h=b_h)
    return (hs * weights).sum() + sum(jnp.sin(leaf).sum() for leaf in end), (end, hs)

  grads, results = jax.grad(loss, (0, 1, 2, 3), has_aux=True)(us, w_h, state, b_h)
  return results, grads


def _step_by_step(gates, us, w_h, state, *, b_h):
  split = lambda a: jnp.split(a, gates.num_gates, -1)

  def step(state, u):
    state, _ = gates.forward(split(u), split(state.h @ w_h + b_h), state)
    return state, state.h

  return lax.scan(step, state, us)
