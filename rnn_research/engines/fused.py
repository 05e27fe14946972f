"""A fused time loop for cells that are one recurrent product and elementwise work, with a hand-written backward pass.

    m_t = h_{t-1} W_h + b_h,    s_t = pointwise(u_t, m_t, s_{t-1})

Backpropagation through a plain `lax.scan` stores every intermediate value, recomputes derivatives inside the reverse
loop and adds to the weight gradient at every step. Here the forward pass stores the linearised step, so the reverse
loop is elementwise products and one matrix product, and the weight gradient is one product over all steps:

    dW_h = sum_t h_{t-1}^T dm_t = [h_0 .. h_{T-1}]^T [dm_1 .. dm_T]
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.layers import matmul
from rnn_research.typing import Array, State
from rnn_research.unroll import select


class Pointwise(NamedTuple):
  """The elementwise part of a step and its transpose. States are NamedTuples with a field `h [B, H]`.

  Attributes:
    forward: `(u, m, state) -> (state, residuals)`.
    backward: `(residuals, dstate) -> (du, dm, dstate_previous)`, the last without the path through `m`. It may
      return the same array as `du` and `dm`, which is then stored once.
  """

  forward: Callable
  backward: Callable


class _Operands(NamedTuple):
  us: Array  # [T, B, G] float32, projected inputs
  w_h: Array  # [H, G] float32
  b_h: Array | None  # [G] float32
  state: State
  reset_state: State | None


def fused_scan(
    pointwise: Pointwise,
    us: Array,
    w_h: Array,
    state: State,
    *,
    b_h: Array | None = None,
    mask: Array | None = None,
    reset: Array | None = None,
    reset_state: State | None = None,
    dtype=jnp.float32,
) -> tuple[State, Array]:
  """Runs the recurrence over all steps.

  Args:
    pointwise: the elementwise part of a step.
    us: [T, B, G] float32, projected inputs.
    w_h: [H, G] float32, recurrent weights.
    state: [B, H] leaves, the state before the first step.
    b_h: [G] float32, bias inside the recurrent product, or None.
    mask: [T, B] bool, False holds the state and gives 0; or None.
    reset: [T, B] bool, True puts `reset_state` in place before the step; or None.
    reset_state: [B, H] leaves, needed with `reset`.
    dtype: precision of the factors of the recurrent product.

  Returns:
    The state after the last step, and `h` of every step, [T, B, H] float32.

  Raises:
    ValueError: `reset` without `reset_state`.
  """
  if reset is not None and reset_state is None:
    raise ValueError('reset needs a reset_state')
  operands = _Operands(us, w_h, b_h, state, None if reset is None else reset_state)
  return _fused(pointwise, dtype, operands, mask, reset)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _fused(pointwise, dtype, operands, mask, reset):
  return _forward(pointwise, dtype, operands, mask, reset, lambda previous, residuals: None)[:2]


def _forward(pointwise, dtype, operands, mask, reset, keep):
  """Returns the last state, the outputs, and `keep(h_{t-1}, residuals)` of every step."""
  weights = operands.w_h.astype(dtype)

  def body(state, inputs):
    u, mask_t, reset_t = inputs
    if reset_t is not None:
      state = select(reset_t, operands.reset_state, state)
    m = matmul(state.h, weights, dtype).astype(u.dtype)
    m = m if operands.b_h is None else m + operands.b_h[None]
    new_state, residuals = pointwise.forward(u, m, state)
    y = new_state.h
    if mask_t is not None:
      new_state = select(mask_t, new_state, state)
      y = jnp.where(mask_t[:, None], y, 0.0)
    return new_state, (y, keep(state.h, residuals))

  end, (ys, kept) = lax.scan(body, operands.state, (operands.us, mask, reset))
  return end, ys, kept


def _forward_rule(pointwise, dtype, operands, mask, reset):
  plain = mask is None and reset is None
  keep = lambda previous, residuals: (None if plain else previous, residuals)
  end, ys, (previous, residuals) = _forward(pointwise, dtype, operands, mask, reset, keep)
  if plain:  # then h_{t-1} is the output of the step before, and need not be stored twice
    previous = jnp.concatenate([operands.state.h[None], ys])[:-1]
  return (end, ys), (operands, mask, reset, previous, residuals)


def _backward_rule(pointwise, dtype, saved, cotangents):
  operands, mask, reset, previous, residuals = saved
  dend, dys = cotangents
  transposed = operands.w_h.T.astype(dtype)
  zeros = None if reset is None else jax.tree.map(jnp.zeros_like, dend)

  def body(carry, inputs):
    dstate, dreset = carry
    dy, residual, mask_t, reset_t = inputs
    if mask_t is None:
      dnew, dheld = dstate._replace(h=dstate.h + dy), None
    else:
      nothing = jax.tree.map(jnp.zeros_like, dstate)
      dnew = select(mask_t, dstate._replace(h=dstate.h + dy), nothing)
      dheld = select(mask_t, nothing, dstate)
    du, dm, dprevious = pointwise.backward(residual, dnew)
    dprevious = dprevious._replace(h=dprevious.h + matmul(dm, transposed, dtype).astype(dm.dtype))
    if dheld is not None:
      dprevious = jax.tree.map(jnp.add, dprevious, dheld)
    if reset_t is not None:
      nothing = jax.tree.map(jnp.zeros_like, dprevious)
      dreset = jax.tree.map(jnp.add, dreset, select(reset_t, dprevious, nothing))
      dprevious = select(reset_t, nothing, dprevious)
    return (dprevious, dreset), (dm, None if du is dm else du)

  (dstate, dreset), (dms, dus) = lax.scan(body, (dend, zeros), (dys, residuals, mask, reset), reverse=True)
  dw_h = _weight_gradient(previous, dms, dtype).astype(operands.w_h.dtype)
  db_h = None if operands.b_h is None else dms.sum((0, 1))
  return _Operands(dms if dus is None else dus, dw_h, db_h, dstate, dreset), None, None


def _weight_gradient(previous, dms, dtype):
  rows = lambda a: a.reshape(-1, a.shape[-1])
  return matmul(rows(previous).T, rows(dms), dtype)


_fused.defvjp(_forward_rule, _backward_rule)
