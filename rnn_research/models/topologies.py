"""The ways a recurrent network relates inputs to outputs, over any cell.

one-to-one    one-to-many       many-to-one       aligned           encoder-decoder
   y          y   y   y                  y        y   y   y                  y   y
   |          |   |   |                  |        |   |   |                  |   |
   h          h - h - h          h - h - h        h - h - h          h - h - h - h
   |          |                  |   |   |        |   |   |          |   |   |   |
   x          x                  x   x   x        x   x   x          x   x  <s>  y
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnn_research.cell import Cell
from rnn_research.stepping import free_run
from rnn_research.typing import Array, Key, Params, PyTree, State
from rnn_research.unroll import unroll


def one_to_one(
  cell: Cell, params: Params, x: PyTree, state: State | None = None
) -> tuple[State, PyTree]:
  """One input, one output: a single step.

  Args:
    cell: the recurrence.
    params: its parameters.
    x: [B, F] the input.
    state: [B, ...] state before it; default the initial one.

  Returns:
    The new state, and the output [B, H].
  """
  state, ys = unroll(cell, params, _lead(x), state)
  return state, _last(ys)


def one_to_many_zeros(
  cell: Cell, params: Params, x: PyTree, num_steps: int
) -> tuple[State, PyTree]:
  """One input, T outputs; every later input is zero. Returns the state and outputs [T, B, H]."""
  later = jax.tree.map(lambda a: jnp.zeros((num_steps - 1, *a.shape), a.dtype), x)
  return unroll(cell, params, jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), x, later))


def one_to_many_repeat(
  cell: Cell, params: Params, x: PyTree, num_steps: int
) -> tuple[State, PyTree]:
  """One input, T outputs; the same input enters at every step. Returns the state and outputs [T, B,
  H]."""
  return unroll(cell, params, jax.tree.map(lambda a: jnp.broadcast_to(a, (num_steps, *a.shape)), x))


def one_to_many_feedback(
  cell: Cell,
  params: Params,
  x: PyTree,
  num_steps: int,
  feed: Callable[[PyTree, Key | None], tuple[PyTree, PyTree]] = lambda y, key: (y, y),
  *,
  key: Key | None = None,
  feed_key: Key | None = None,
) -> tuple[State, PyTree]:
  """One input, T outputs; the model's own output is the next input.

  Args:
    cell: the recurrence.
    params: its parameters.
    x: [B, F] the first input.
    num_steps: T.
    feed: maps an output to the next input and to what is recorded; see `free_run`. By default the
      output itself, whose size must then be that of the input.
    key: of the cell's noise, see `free_run`.
    feed_key: split per step and handed to `feed`, which gets None without it.

  Returns:
    The state, and what `feed` recorded [T, B, ...].
  """
  state = cell.initial_state(params, jax.tree.leaves(x)[0].shape[0])
  feed_keys = None if feed_key is None else jax.random.split(feed_key, num_steps)
  return free_run(cell, params, state, x, feed, num_steps, key=key, feed_inputs=feed_keys)


def many_to_one(
  cell: Cell, params: Params, xs: PyTree, *, mask: Array | None = None
) -> tuple[State, PyTree]:
  """T inputs, one output: that of the last real step of each row, 0 where there is none.

  Args:
    cell: the recurrence.
    params: its parameters.
    xs: [T, B, F] inputs.
    mask: [T, B] bool, False is padding.

  Returns:
    The state, and the last outputs [B, H].
  """
  state, ys = unroll(cell, params, xs, mask=mask)
  if mask is None:
    return state, _last(ys)
  last = mask.shape[0] - 1 - jnp.argmax(mask[::-1], 0)
  return state, jax.tree.map(lambda a: a[last, jnp.arange(a.shape[1])], ys)


def many_to_many(
  cell: Cell, params: Params, xs: PyTree, *, mask: Array | None = None
) -> tuple[State, PyTree]:
  """T inputs, T outputs, aligned: an output at every step. Returns the state and outputs [T, B,
  H]."""
  return unroll(cell, params, xs, mask=mask)


def encoder_decoder(
  encoder: Cell,
  decoder: Cell,
  params: tuple[Params, Params],
  xs: PyTree,
  targets: PyTree,
  *,
  mask: Array | None = None,
  target_mask: Array | None = None,
) -> tuple[State, PyTree]:
  """T inputs, then S outputs: the decoder starts in the encoder's last state and reads its targets
  (teacher forcing).

  Args:
    encoder: reads `xs`.
    decoder: its state has the structure of the encoder's.
    params: (encoder, decoder) parameters.
    xs: [T, B, F] inputs.
    targets: [S, B, G] decoder inputs: the start symbol and the outputs shifted by one.
    mask: [T, B] bool, False is padding; the summary is the state at each row's last real input.
    target_mask: [S, B] bool.

  Returns:
    The decoder's state, and its outputs [S, B, H].

  Source: Sutskever et al. 2014, equation 1. Deviates from the paper: any cell, one layer unless
  stacked, and the source is not reversed.
  """
  state, _ = unroll(encoder, params[0], xs, mask=mask)
  return unroll(decoder, params[1], targets, state, mask=target_mask)


def _lead(tree):
  return jax.tree.map(lambda a: a[None], tree)


def _last(tree):
  return jax.tree.map(lambda a: a[-1], tree)
