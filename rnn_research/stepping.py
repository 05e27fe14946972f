"""Single steps of a cell, and cells that run on their own outputs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.cell import Cell
from rnn_research.errors import InputError
from rnn_research.typing import Array, Key, Params, PyTree, State


def free_run(
  cell: Cell,
  params: Params,
  state: State,
  x: PyTree,
  feed: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
  num_steps: int,
  *,
  key: Key | None = None,
  feed_inputs: PyTree = None,
  ctx: PyTree = None,
) -> tuple[State, PyTree]:
  """Lets a cell run on its own outputs: `y_t = step(x_t)`, `(x_{t+1}, out_t) = feed(y_t, r_t)`.

  Args:
    cell: the recurrence; `stack(*cells)` for several layers.
    params: its parameters.
    state: [B, ...] state before the first step.
    x: [B, ...] first input.
    feed: maps an output and r_t to the next input and to what is recorded, e.g. a sampled symbol.
    num_steps: T.
    key: consumed by `prepare` and by each step of the cell; None means a deterministic cell.
    feed_inputs: [T, ...] leaves, of which `feed` gets one per step: keys, or random numbers drawn
      all at once.
    ctx: see `unroll`.

  Returns:
    The state after T steps, and the recorded values `[T, ...]`.
  """
  prepare_key, steps_key = (None, None) if key is None else jax.random.split(key)
  params, ctx = prepare_cell(cell, params, ctx, jax.tree.leaves(x)[0].shape[0], prepare_key)

  def body(carry, inputs):
    state, x = carry
    cell_key, feed_input = inputs
    state, y = cell.step(params, state, project_one(cell, params, x), key=cell_key, ctx=ctx)
    x, out = feed(y, feed_input)
    return (state, x), out

  keys = None if steps_key is None else jax.random.split(steps_key, num_steps)
  (state, _), outs = lax.scan(body, (state, x), (keys, feed_inputs), length=num_steps)
  return state, outs


def project_one(cell: Cell, params: Params, x: PyTree) -> PyTree:
  """Returns what `cell.step` reads for inputs of one step, leaves [B, ...]."""
  return jax.tree.map(lambda a: a[0], cell.project(params, jax.tree.map(lambda a: a[None], x)))


def take_step(
  cell: Cell, params: Params, state: State, x: PyTree, ctx: PyTree = None
) -> tuple[State, PyTree]:
  """Takes one deterministic step from raw inputs, leaves [B, ...]; the same as an `unroll` of
  length 1."""
  params, ctx = prepare_cell(cell, params, ctx, jax.tree.leaves(x)[0].shape[0], None)
  return cell.step(params, state, project_one(cell, params, x), ctx=ctx)


def output_shapes(cell: Cell, params: Params, x: PyTree, ctx: PyTree = None) -> PyTree:
  """Returns the shapes of a cell's outputs, as `jax.ShapeDtypeStruct`, for inputs of one step."""
  start = lambda params: cell.initial_state(params, jax.tree.leaves(x)[0].shape[0])
  return jax.eval_shape(
    lambda params, x: take_step(cell, params, start(params), x, ctx)[1], params, x
  )


def prepare_cell(
  cell: Cell, params: Params, ctx: PyTree, batch_size: int, key: Key | None
) -> tuple[Params, PyTree]:
  """Returns parameters and constants as the steps of one unroll read them; see `Cell.prepare`."""
  if cell.prepare is None:
    return params, ctx
  return cell.prepare(params, ctx, batch_size, key=key)


def last_h(state: State) -> Array:
  """Returns h of a state, of the last layer where it is that of a stack: [B, H]; raises InputError
  where there is none, as of linear recurrences over complex numbers."""
  if hasattr(state, 'h'):
    return state.h
  if not isinstance(state, tuple) or not state:
    raise InputError('the state of this cell has no h, expected a cell whose state has one')
  return last_h(state[-1])


def repeat_rows(tree: PyTree, times: int) -> PyTree:
  """Returns leaves [B, ...] as [B * times, ...]: row b becomes rows b * times to
  (b + 1) * times - 1."""
  return jax.tree.map(lambda a: jnp.repeat(a, times, 0), tree)
