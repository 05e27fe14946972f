"""Linear recurrences in parallel over time.

    h_t = a_t * h_{t-1} + b_t    (elementwise, real or complex),
    h_t = A_t h_{t-1} + b_t    (matrices)

Steps compose associatively, `(a, b) then (a', b') = (a' a, a' b + b')`, so all prefixes take O(log
T) dependent operations (Blelloch 1990). The reverse pass is the transposed recurrence run
backwards:

    l_t = dh_t + a_{t+1}^T l_{t+1},    db_t = l_t,    da_t = l_t h_{t-1}^T

It keeps a and h alone, where differentiating the associative scan keeps the partial products of
every level.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.typing import Array
from rnn_research.unroll import check_flags, select


class _Form(NamedTuple):
  """The algebra of the coefficients, which are vectors of factors or matrices."""

  apply: Callable  # (a, h) -> a h
  compose: Callable  # (a', a) -> a' a
  transpose: Callable  # a -> a^T
  outer: Callable  # (dh, h) -> the cotangent of a where dh is that of a h
  identity: Callable  # a -> the neutral coefficients of its shape


def diagonal_scan(
  a: Array,
  b: Array,
  state: Array,
  *,
  mask: Array | None = None,
  reset: Array | None = None,
  reset_state: Array | None = None,
) -> tuple[Array, Array]:
  """Runs `h_t = a_t * h_{t-1} + b_t` over all steps.

  Args:
    a: [T, B, H] real or complex, factors.
    b: [T, B, H] of the same dtype, inputs.
    state: [B, H] of the same dtype, h_0.
    mask: [T, B] bool, False holds the state; or None.
    reset: [T, B] bool, True puts `reset_state` in place before the step, also at a masked one; or
      None.
    reset_state: [B, H], needed with `reset`.

  Returns:
    The state after the last step, and h of every step, [T, B, H]. T may be 0. A number that
    overflows inside the sequence passes through later resets, which multiply it by 0; in `state` it
    does not pass a reset of the first step.

  Raises:
    ValueError: see `unroll.check_flags`.

  Source: Martin and Cundy 2018 (arXiv 1709.04057), section 2. Deviates from the paper: nothing.
  """
  return _scan(_DIAGONAL, a, b, state, mask, reset, reset_state)


def matrix_scan(
  a: Array,
  b: Array,
  state: Array,
  *,
  mask: Array | None = None,
  reset: Array | None = None,
  reset_state: Array | None = None,
) -> tuple[Array, Array]:
  """Runs `h_t = A_t h_{t-1} + b_t` over all steps; O(T B H^3) work and O(T B H^2) memory.

  Args:
    a: [T, B, H, H], matrices that multiply a column from the left.
    b: [T, B, H], inputs. For the rest see `diagonal_scan`.
  """
  return _scan(_MATRIX, a, b, state, mask, reset, reset_state)


def matrix_adjoint(a: Array, dhs: Array) -> Array:
  """Returns l of `l_t = dh_t + A_{t+1}^T l_{t+1}`, [T, B, H]: the cotangent of `b` in
  `matrix_scan`.

  Args:
    a: [T, B, H, H].
    dhs: [T, B, H], cotangents of h of every step.
  """
  return _adjoint(_MATRIX, a, dhs) if a.shape[0] else dhs


def _scan(form, a, b, state, mask, reset, reset_state):
  check_flags(mask, reset, reset_state, a.shape[:2])
  if mask is not None:
    a = select(mask, a, form.identity(a))
    b = select(mask, b, jnp.zeros_like(b))
  if reset is not None:
    if len(reset):
      # Not by a product with 0, which would keep a NaN.
      state = select(reset[0], reset_state, state)
    b = select(reset, form.apply(a, jnp.broadcast_to(reset_state, b.shape)) + b, b)
    a = select(reset, jnp.zeros_like(a), a)
  hs = _prefixes(
    form,
    jnp.concatenate([jnp.zeros((1, *a.shape[1:]), a.dtype), a]),
    jnp.concatenate([state[None], b]),
  )
  return last_state(hs, mask, reset), hs[1:]


def last_state(hs: Array, mask: Array | None, reset: Array | None) -> Array:
  """Returns the state of every row after its last step that is real or reset.

  Neutral steps at the end change a state's rounding, since every prefix is summed in an order of
  its own; this holds it bit for bit.

  Args:
    hs: [T + 1, B, H], states from before the first step on.
    mask: [T, B] bool or None.
    reset: [T, B] bool or None.

  Returns:
    [B, H].
  """
  if mask is None:
    return hs[-1]
  changed = mask if reset is None else mask | reset
  index = jnp.max(jnp.where(changed, jnp.arange(1, hs.shape[0])[:, None], 0), 0, initial=0)
  return hs[index, jnp.arange(hs.shape[1])]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _prefixes(form, a, b):
  """h_t of `h_t = a_t h_{t-1} + b_t` from h_{-1} = 0, for at least one step."""

  def compose(earlier, later):
    (a, b), (a_later, b_later) = earlier, later
    return form.compose(a_later, a), form.apply(a_later, b) + b_later

  return lax.associative_scan(compose, (a, b))[1]


def _forward_rule(form, a, b):
  hs = _prefixes(form, a, b)
  return hs, (a, hs)


def _backward_rule(form, saved, dhs):
  a, hs = saved
  db = _adjoint(form, a, dhs)
  return form.outer(db, jnp.concatenate([jnp.zeros_like(hs[:1]), hs[:-1]])), db


def _adjoint(form, a, dhs):
  # In reverse time step t takes a_{t+1}; a_0, rolled to the first place, meets a state of 0.
  factors = jnp.roll(jnp.flip(form.transpose(a), 0), 1, 0)
  return jnp.flip(_prefixes(form, factors, jnp.flip(dhs, 0)), 0)


_prefixes.defvjp(_forward_rule, _backward_rule)

# Products of many factors need every bit of float32: some accelerators multiply with fewer by
# default.
_matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)

_DIAGONAL = _Form(jnp.multiply, jnp.multiply, lambda a: a, jnp.multiply, jnp.ones_like)
_MATRIX = _Form(
  apply=lambda a, h: _matmul(a, h[..., None])[..., 0],
  compose=_matmul,
  transpose=lambda a: jnp.swapaxes(a, -1, -2),
  outer=lambda dh, h: dh[..., :, None] * h[..., None, :],
  identity=lambda a: jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape),
)
