"""A fused time loop for cells made of products and elementwise work, with a hand-written backward
pass.

    u^i_t = x_t W_x^i + b^i,    m^i_t = a^i_t W_h^i + b_h^i,    s_t = pointwise(u_t, m_t, s_{t-1})

for one or more blocks i of gates; a^i_t is h_{t-1}, or something made of it. Backpropagation
through a plain `lax.scan` stores every intermediate value, recomputes derivatives inside the
reverse loop and adds to the weight gradients at every step. Here the forward pass stores the
linearised step, so the reverse loop is elementwise products and one matrix product per block, and a
weight gradient is one product over many steps:

    dW_h^i = sum_t a_t^T dm_t = [a_1 .. a_T]^T [dm_1 .. dm_T],
    dW_x^i = [x_1 .. x_T]^T [du_1 .. du_T]

On a CPU time is cut into chunks whose gates stay in cache. Every chunk adds to the gradient of the
recurrent matrix, so where that fills the cache by itself, chunks are large beside it. Derivatives
of derivatives come from `jax.grad` of `jax.grad` or from `jax.hessian`; forward mode by itself
(`jax.jvp`, `jax.jacfwd`) needs a cell with `engine='scan'`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.layers import OneHot, check_features, matmul, matmul_transposed
from rnn_research.products import transposed
from rnn_research.typing import Array, State
from rnn_research.unroll import Steps, check_flags, in_blocks, select

_CACHE_BYTES = 2**20  # what a core's second-level cache holds
# On a GPU an iteration of a loop costs about as much as a small kernel, and a copy to the host.
_STEPS_PER_ITERATION = 8


class Pointwise(NamedTuple):
  """A step and its transpose, without the parameters. States are NamedTuples with a field
  `h [B, H]`.

  Attributes:
    forward: `(us, product, state) -> (state, residuals)`, us one [B, G] per block, `product(i, a)`
      is `a W_h^i + b_h^i` and is called once for every block.
    backward: `(residuals, dstate, product_t) -> (dus, dstate_previous)`, where `product_t(i, dm)`
      is `dm W_h^i^T` and is called once for every block. Where du^i is dm^i return the same array:
      it is then stored once.
  """

  forward: Callable
  backward: Callable


class Weights(NamedTuple):
  """Parameters of a step, one of each per block of gates; arrays float32."""

  x: tuple[Array, ...]  # [F, G]
  h: tuple[Array, ...]  # [H, G]
  b: tuple[Array, ...]  # [G]
  b_h: tuple[Array | None, ...]  # [G], inside the recurrent product, or None


def joined(pointwise: Pointwise, blocks: tuple[tuple[int, ...], ...]) -> Pointwise:
  """Returns the same step with gates of one size joined to blocks: fewer and larger products, which
  a GPU wants.

  Args:
    pointwise: with every gate a block of its own.
    blocks: indices of the gates of each block, in order; the gates of a block multiply the same
      factor.
  """
  block_of = {i: b for b, block in enumerate(blocks) for i in block}

  def forward(us, product, state):
    ms = {}

    def gate_product(i, a):
      block = blocks[block_of[i]]
      if i not in ms:
        ms.update(zip(block, jnp.split(product(block_of[i], a), len(block), -1), strict=True))
      return ms[i]

    us = [
      u for block, joint in zip(blocks, us, strict=True) for u in jnp.split(joint, len(block), -1)
    ]
    return pointwise.forward(us, gate_product, state)

  def backward(residuals, dstate, product_t):
    dms, joint = {}, {}

    def gate_product_t(i, dm):  # what the gates of a block add up to comes with the last of them
      dms[i], b = dm, block_of[i]
      if any(j not in dms for j in blocks[b]):
        return 0.0
      joint[b] = jnp.concatenate([dms[j] for j in blocks[b]], -1)
      return product_t(b, joint[b])

    dus, dprevious = pointwise.backward(residuals, dstate, gate_product_t)
    same = lambda block: all(dus[i] is dms[i] for i in block)
    return tuple(
      joint[b] if same(block) else jnp.concatenate([dus[i] for i in block], -1)
      for b, block in enumerate(blocks)
    ), dprevious

  return Pointwise(forward, backward)


class _Start(NamedTuple):
  state: State
  reset_state: State | None


def fused_scan(
  pointwise: Pointwise,
  weights: Weights,
  xs: Array,
  state: State,
  *,
  mask: Array | None = None,
  reset: Array | None = None,
  reset_state: State | None = None,
  dtype=jnp.float32,
) -> tuple[State, Array]:
  """Runs the recurrence over all steps.

  Args:
    pointwise: the elementwise part of a step.
    weights: its parameters.
    xs: [T, B, F] float32, inputs, or `layers.OneHot`.
    state: [B, H] leaves, the state before the first step.
    mask: [T, B] bool, False holds the state and gives 0; or None.
    reset: [T, B] bool, True puts `reset_state` in place before the step; or None.
    reset_state: [B, H] leaves, needed with `reset`.
    dtype: precision of the factors of all products.

  Returns:
    The state after the last step, and `h` of every step, [T, B, H] float32.

  Raises:
    ValueError: `xs` is not [T, B, F]; the state has no `h`; see `unroll.check_flags` for `mask` and
      `reset`.
  """
  check_features(xs)
  if not hasattr(state, 'h'):
    raise ValueError(f'{type(state).__name__} has no field h, which a fused scan gives as output')
  num_steps, batch_size, _ = xs.shape
  check_flags(mask, reset, reset_state, (num_steps, batch_size))

  def chunk(state, steps):
    start = _Start(state, None if reset is None else reset_state)
    return _fused(pointwise, dtype, weights, start, steps.xs, steps.mask, steps.reset)

  every = _chunk_length(num_steps, batch_size, weights.h)
  return in_blocks(chunk, state, Steps(xs, mask, reset, None), every)


def _chunk_length(num_steps, batch_size, w_h):
  if jax.default_backend() != 'cpu':
    return max(1, num_steps)
  matrix_bytes, row_bytes = 4 * sum(w.size for w in w_h), 4 * sum(w.shape[-1] for w in w_h)
  budget = _CACHE_BYTES if matrix_bytes < _CACHE_BYTES else 16 * matrix_bytes
  longest = max(1, min(num_steps, budget // (row_bytes * max(1, batch_size))))
  # A shorter last chunk is a second program, and its results are copied behind those of the others.
  return next((n for n in range(longest, (longest - 1) // 2, -1) if num_steps % n == 0), longest)


def _unrolled():
  return 1 if jax.default_backend() == 'cpu' else _STEPS_PER_ITERATION


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _fused(pointwise, dtype, weights, start, xs, mask, reset):
  return _forward(
    pointwise, dtype, weights, start, xs, mask, reset, lambda previous, others, residuals: None
  )[:2]


def _forward(pointwise, dtype, weights, start, xs, mask, reset, keep):
  """Returns the last state, the outputs, and of every step `keep(h_{t-1}, other inputs of products,
  residuals)`."""
  us = tuple(matmul(xs, w, dtype) for w in weights.x)
  w_h = tuple(w.astype(dtype) for w in weights.h)

  def body(state, inputs):
    us_t, mask_t, reset_t = inputs
    us_t = tuple(u + b[None] for u, b in zip(us_t, weights.b, strict=True))
    if reset_t is not None:
      state = select(reset_t, start.reset_state, state)
    factors = [None] * len(w_h)

    def product(i, a):
      factors[i] = None if a is state.h else a
      m = matmul(a, w_h[i], dtype).astype(a.dtype)
      return m if weights.b_h[i] is None else m + weights.b_h[i][None]

    new_state, residuals = pointwise.forward(us_t, product, state)
    y = new_state.h
    if mask_t is not None:
      new_state = select(mask_t, new_state, state)
      y = jnp.where(mask_t[:, None], y, 0.0)
    return new_state, (y, keep(state.h, tuple(factors), residuals))

  end, (ys, kept) = lax.scan(body, start.state, (us, mask, reset), unroll=_unrolled())
  return end, ys, kept


def _forward_rule(pointwise, dtype, weights, start, xs, mask, reset):
  plain = mask is None and reset is None
  keep = lambda previous, others, residuals: (None if plain else previous, others, residuals)
  end, ys, (previous, others, residuals) = _forward(
    pointwise, dtype, weights, start, xs, mask, reset, keep
  )
  if plain:  # then h_{t-1} is the output of the step before, and need not be stored twice
    previous = jnp.concatenate([start.state.h[None], ys])[:-1]
  factors = tuple(previous if other is None else other for other in others)
  return (end, ys), (weights, xs, mask, reset, factors, residuals)


def _backward_rule(pointwise, dtype, saved, cotangents):
  weights, xs, mask, reset, factors, residuals = saved
  dend, dys = cotangents
  w_h_t = tuple(w.T.astype(dtype) for w in weights.h)

  def body(carry, inputs):
    dstate, dreset = carry
    dy, residual, mask_t, reset_t = inputs
    dnew, dheld = _split_by_mask(dstate._replace(h=dstate.h + dy), dstate, mask_t)
    dms = [None] * len(w_h_t)

    def product_t(i, dm):
      dms[i] = dm
      return matmul(dm, w_h_t[i], dtype).astype(dm.dtype)

    dus, dprevious = pointwise.backward(residual, dnew, product_t)
    if dheld is not None:
      dprevious = jax.tree.map(jnp.add, dprevious, dheld)
    if reset_t is not None:
      dprevious, from_reset = _split_by_mask(dprevious, dprevious, ~reset_t)
      dreset = jax.tree.map(jnp.add, dreset, from_reset)
    return (dprevious, dreset), (
      dms,
      [None if du is dm else du for du, dm in zip(dus, dms, strict=True)],
    )

  zeros = None if reset is None else jax.tree.map(jnp.zeros_like, dend)
  (dstate, dreset), (dms, dus) = lax.scan(
    body, (dend, zeros), (dys, residuals, mask, reset), reverse=True, unroll=_unrolled()
  )
  dus = [dm if du is None else du for du, dm in zip(dus, dms, strict=True)]
  dxs = _input_gradient(weights, xs, dus, dtype)
  return (
    _weight_gradients(weights, xs, factors, dus, dms, dtype),
    _Start(dstate, dreset),
    dxs,
    None,
    None,
  )


def _split_by_mask(taken, held, mask):
  """Returns the cotangents of a step that is taken and of one that is held."""
  if mask is None:
    return taken, None
  zeros = jax.tree.map(jnp.zeros_like, held)
  return select(mask, taken, zeros), select(mask, zeros, held)


def _input_gradient(weights, xs, dus, dtype):
  if isinstance(xs, OneHot):
    return None
  return sum(matmul(du, transposed(w), dtype) for du, w in zip(dus, weights.x, strict=True)).astype(
    xs.dtype
  )


def _weight_gradients(weights, xs, factors, dus, dms, dtype):

  def product(a, d, w):
    return matmul_transposed(a, d, dtype).astype(w.dtype)

  return Weights(
    x=tuple(product(xs, du, w) for du, w in zip(dus, weights.x, strict=True)),
    h=tuple(product(a, dm, w) for a, dm, w in zip(factors, dms, weights.h, strict=True)),
    b=tuple(_flat(du).sum(0) for du in dus),
    b_h=tuple(
      None if b is None else _flat(dm).sum(0) for b, dm in zip(weights.b_h, dms, strict=True)
    ),
  )


def _flat(a):
  return a.reshape(-1, a.shape[-1])


_fused.defvjp(_forward_rule, _backward_rule)
