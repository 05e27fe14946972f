"""The table of cells that every law is tested on, and the tools that build and compare them.

`CASES[name](dtype)` makes a cell over inputs `[B, 4]`; every cell of the registry and every combinator is in it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research import (
  CELLS,
  Cell,
  elman,
  gru,
  highway,
  layer_norm,
  learned_initial_state,
  lstm,
  residual,
  stack,
  unroll,
  variational_dropout,
  weight_dropout,
  zoneout,
)
from rnn_research.cells.attention_decoders import bahdanau
from rnn_research.cells.dnc import dnc
from rnn_research.cells.entnet import entnet
from rnn_research.cells.lstm import LSTMState
from rnn_research.cells.ntm import ntm
from rnn_research.cells.tpr_rnn import tpr_rnn
from rnn_research.cells.tree import Tree, tree_cell
from rnn_research.cells.visual_attention import hard_attention, soft_attention
from rnn_research.memory.attention import Memory, additive
from rnn_research.unroll import length_mask

NUM_STEPS, BATCH, NUM_INPUTS, HIDDEN = 8, 3, 4, 5
HALF = NUM_STEPS // 2
# The worked example of Zoph and Le 2017.
BASE_2 = Tree(
  (('add', 'tanh'), ('multiply', 'relu'), ('multiply', 'sigmoid')),
  ('add', 'relu'),
  inject_at=0,
  read_at=1,
)
LENGTHS = (NUM_STEPS, 0, HALF)


def _registered(name):
  return lambda dtype=jnp.float32: CELLS[name](HIDDEN, dtype=dtype)


def _stochastic_stack(dtype=jnp.float32):
  return stack(
    variational_dropout(lstm(HIDDEN, dtype=dtype), input_rate=0.3, state_rate=0.3),
    zoneout(gru(3, dtype=dtype), 0.4),
  )


def _attending(decoder, dtype=jnp.float32):
  """Returns a decoder that reads a memory of its own, since the laws know no `ctx`."""
  cell = decoder(gru(HIDDEN, dtype=dtype), additive(3, dtype=dtype))

  def memory(batch_size):
    values = jnp.sin(jnp.arange(batch_size * 12.0).reshape(batch_size, 4, 3))
    return Memory(values, length_mask(jnp.arange(batch_size) + 2, 4).T)

  def init(key, x, ctx=None):
    return cell.init(key, x, memory(x.shape[0]))

  def step(params, state, u, *, key=None, ctx=None):
    state, y = cell.step(params, state, u, key=key, ctx=ctx)
    return state, y.h

  def prepare(params, ctx, batch_size, *, key=None):
    return cell.prepare(params, memory(batch_size), batch_size, key=key)

  return cell._replace(init=init, step=step, prepare=prepare)


def _remembering(machine, dtype=jnp.float32, **sizes):
  """Returns a memory machine whose output is one array, as the laws know it."""
  controller = stack(lstm(HIDDEN, dtype=dtype), gru(3, dtype=dtype))
  cell = machine(controller, num_rows=6, row_size=3, dtype=dtype, **sizes)

  def step(params, state, u, *, key=None, ctx=None):
    state, y = cell.step(params, state, u, key=key, ctx=ctx)
    return state, y.h

  return cell._replace(step=step)


CASES = {name: _registered(name) for name in CELLS} | {
  'lstm_projection': lambda dtype=jnp.float32: lstm(HIDDEN, projection_size=3, dtype=dtype),
  'stack': lambda dtype=jnp.float32: stack(lstm(HIDDEN, dtype=dtype), gru(3, dtype=dtype)),
  'stack_stochastic': _stochastic_stack,
  'residual': lambda dtype=jnp.float32: residual(gru(NUM_INPUTS, dtype=dtype)),
  'zoneout': lambda dtype=jnp.float32: zoneout(lstm(HIDDEN, dtype=dtype), LSTMState(0.5, 0.25)),
  'variational_dropout': lambda dtype=jnp.float32: variational_dropout(
    lstm(HIDDEN, dtype=dtype), input_rate=0.3, state_rate=0.4
  ),
  'weight_dropout': lambda dtype=jnp.float32: weight_dropout(
    gru(HIDDEN, reset='before', dtype=dtype), 0.4
  ),
  'layer_norm': lambda dtype=jnp.float32: layer_norm(lstm(HIDDEN, dtype=dtype)),
  'layer_norm_before': lambda dtype=jnp.float32: layer_norm(
    gru(HIDDEN, reset='before', dtype=dtype)
  ),
  'learned_initial_state': lambda dtype=jnp.float32: learned_initial_state(
    lstm(HIDDEN, dtype=dtype)
  ),
  'learned_stack': lambda dtype=jnp.float32: stack(
    learned_initial_state(gru(HIDDEN, dtype=dtype)), residual(lstm(HIDDEN, dtype=dtype))
  ),
  'attending': functools.partial(_attending, bahdanau),
  'soft_attention': functools.partial(_attending, soft_attention),
  'hard_attention': functools.partial(_attending, hard_attention),
  'ntm': functools.partial(_remembering, ntm, num_heads=2),
  'dnc': functools.partial(_remembering, dnc, num_reads=2),
  'entnet': lambda dtype=jnp.float32: entnet(HIDDEN, dtype=dtype),
  'tpr_rnn': lambda dtype=jnp.float32: tpr_rnn(HIDDEN, 2, hidden_size=4, dtype=dtype),
  'highway': lambda dtype=jnp.float32: highway(elman(NUM_INPUTS, dtype=dtype), dtype=dtype),
  'tree_base2': lambda dtype=jnp.float32: tree_cell(HIDDEN, BASE_2, dtype=dtype),
}


@functools.cache
def make(name: str, dtype=jnp.float32) -> Cell:
  """Returns the cell of this name; the same object every time, so that jits are shared."""
  return CASES[name](dtype)


FUSED = [name for name in CASES if make(name).scan is not None]
STOCHASTIC = [
  'hard_attention',
  'stack_stochastic',
  'variational_dropout',
  'weight_dropout',
  'zoneout',
]


def perturbed(cell: Cell, num_inputs: int = NUM_INPUTS, seed: int = 1, scale: float = 0.3):
  """Returns parameters of the size of first ones, without their zeros, ones and symmetries."""
  spec = jax.ShapeDtypeStruct((BATCH, num_inputs), jnp.float32)
  return noisy(drawn(cell.init, spec, seed=seed), seed + 1, scale)


def drawn(init, *args, seed: int = 1):
  """Returns parameters of the size of those that `init(key, *args)` makes, biases 0.

  NumPy draws them: of the programs of small tests, those that draw first weights take longest to compile.
  """
  shapes = jax.eval_shape(init, jax.random.key(0), *args)
  rng = np.random.default_rng(seed)
  draw = lambda a: rng.normal(0.0, a.shape[0] ** -0.5, a.shape) if a.ndim > 1 else np.zeros(a.shape)
  return jax.tree.map(lambda a: draw(a).astype(a.dtype), shapes)


def noisy(tree, seed: int, scale: float = 0.3):
  """Returns `tree` with a different normal number added to every element."""
  leaves, structure = jax.tree.flatten(tree)
  rng = np.random.default_rng(seed)
  return jax.tree.unflatten(
    structure,
    # Added by NumPy, which needs no program for every shape.
    [jnp.asarray(np.asarray(a) + rng.normal(0.0, scale, a.shape).astype(a.dtype)) for a in leaves],
  )


def inputs(
  num_steps: int = NUM_STEPS, batch_size: int = BATCH, num_inputs: int = NUM_INPUTS, seed: int = 0
):
  """Returns `[T, B, F] float32`."""
  return jnp.asarray(
    np.random.default_rng(seed).normal(size=(num_steps, batch_size, num_inputs)), jnp.float32
  )


def stepped(cell: Cell) -> Cell:
  """Returns the cell without its whole-sequence form."""
  return cell._replace(scan=None)


def loss_from(end, ys):
  """Returns a scalar that depends on every output and every leaf of the last state, in different ways."""
  weights = 1.0 + jnp.arange(ys.size, dtype=jnp.float32).reshape(ys.shape) / ys.size
  return jnp.sum(weights * jnp.sin(ys.astype(jnp.float32))) + sum(
    jnp.sum(a * a) for a in jax.tree.leaves(end)
  )


def loss_of(cell: Cell, **keywords):
  """Returns `(params, xs, state) -> (loss, (end, ys))`."""

  def loss(params, xs, state):
    end, ys = unroll(cell, params, xs, state, **keywords)
    return loss_from(end, ys), (end, ys)

  return loss


def assert_close(got, expected, rtol: float = 2e-5, atol: float = 2e-6):
  """Asserts one structure and values equal within the tolerance; where elements are larger than 1, as a tensor's, small
  ones are their differences, and as far off as the large ones are rounded."""
  assert jax.tree.structure(got) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    largest = np.nanmax(np.abs(b), initial=1.0)
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol * largest)


def assert_near(got, expected, tolerance):
  """Asserts equality relative to the largest element of every leaf."""
  assert jax.tree.structure(got) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max(initial=0.0))


def assert_same(got, expected):
  """Asserts one structure and bitwise equal values, NaN included."""
  assert jax.tree.structure(got) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_array_equal(a, b)


_unroll = jax.jit(unroll, static_argnums=0, static_argnames='reverse')


def run(cell, params, xs, state, *, mask=None, reset=None, reverse=False):
  """`unroll`, always with a mask and a reset, so that one compiled program serves most laws."""
  mask = np.ones(xs.shape[:2], bool) if mask is None else mask
  reset = np.zeros(xs.shape[:2], bool) if reset is None else reset
  return _unroll(cell, params, xs, state, mask=mask, reset=reset, reverse=reverse)


@functools.partial(jax.jit, static_argnums=0, static_argnames='remat_every')
def gradients(cell, params, xs, state, **keywords):
  """Returns ((loss, (end, ys)), gradients with respect to params, xs and state)."""
  return jax.value_and_grad(loss_of(cell, **keywords), (0, 1, 2), has_aux=True)(params, xs, state)
