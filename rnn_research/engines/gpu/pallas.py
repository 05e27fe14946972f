"""A recurrence over a whole sequence in one kernel, in Pallas with the Mosaic GPU backend; see
`kernels.py`.

    m_t = h_{t-1} W_h + b_h,    s_t = gates(u_t, m_t, s_{t-1})

As in `engines/fused.py` the forward pass stores the linearised step, the backward pass is the same
loop in reverse with W_h^T, and dW_h is one product over all steps; here each loop is one kernel
that keeps the weights on the chip. Under `jax.vmap` the kernels run one after the other. Second
derivatives need another engine.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap

from rnn_research.engines.gpu.block import ROWS
from rnn_research.engines.gpu.device import compute_capability
from rnn_research.engines.gpu.elementwise import Elementwise
from rnn_research.engines.gpu.kernels import misfit, num_parts, run_backward, run_forward
from rnn_research.typing import Array, State


class _Operands(NamedTuple):
  us: Array  # [T, B, G] float32, projected inputs
  w_h: Array  # [H, G] float32
  b_h: Array | None  # [G] float32
  state: State


def unavailable(cell: Elementwise, hidden_size: int, dtype=jnp.float32) -> str | None:
  """Returns the reason in one sentence why `pallas_scan` cannot be used, or None where it can.

  Args:
    cell: the elementwise part of the cell.
    hidden_size: H.
    dtype: precision of the products that the caller wants.
  """
  if compute_capability() != (9, 0):
    return (
      'the Pallas kernels need an NVIDIA Hopper GPU (compute capability 9.0) and the CUDA build '
      'of JAX'
    )
  if jnp.dtype(dtype) not in (jnp.float32, jnp.bfloat16, jnp.float16):
    return (
      f'the Pallas kernels multiply in float32, bfloat16 or float16, not in {jnp.dtype(dtype).name}'
    )
  return misfit(cell, hidden_size, dtype)


def pallas_scan(
  cell: Elementwise,
  us: Array,
  w_h: Array,
  state: State,
  *,
  b_h: Array | None = None,
  dtype=jnp.bfloat16,
  interpret=None,
) -> tuple[State, Array]:
  """Runs the recurrence over all steps, differentiable with respect to every array.

  Args:
    cell: the elementwise part of the cell.
    us: [T, B, G] float32, projected inputs; G is H per gate.
    w_h: [H, G] float32.
    state: [B, H] float32 leaves of a NamedTuple with a field `h`.
    b_h: [G] float32, added to the recurrent product; or None.
    dtype: precision of the factors of the recurrent product, 16 bits wide or float32; sums are
      float32.
    interpret: parameters of Pallas's GPU interpreter, which runs the kernels slowly on any machine;
      or None.

  Returns:
    The state after the last step, and `h` of every step, [T, B, H] float32.

  Raises:
    ValueError: H is no multiple of 64, or its weights do not fit into shared memory.
  """
  reason = misfit(cell, w_h.shape[0], dtype)
  if reason:
    raise ValueError(reason)
  return _scan(cell, dtype, interpret, _Operands(us, w_h, b_h, state))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _scan(cell, dtype, interpret, operands):
  return _forward(cell, dtype, interpret, operands, keep=False)[0]


def _forward(cell, dtype, interpret, operands, keep):
  """Returns (last state, outputs), and what the backward pass needs in the layout of the
  kernels."""
  us, w_h, b_h, state = operands
  batch_size = us.shape[1]
  start = jax.tree.map(_inward, state)
  biases = None if b_h is None else _inward(jnp.broadcast_to(b_h, us.shape[1:]))
  run = functools.partial(run_forward, cell, keep=keep, interpret=interpret)
  end, hs, residuals = sequential_vmap(run)(_parts(w_h, dtype), _inward(us), start, biases)
  outputs = jax.tree.map(functools.partial(_outward, batch_size), (end, hs))
  return outputs, (jnp.concatenate([start.h[None], hs[:-1]]), residuals)


def _forward_rule(cell, dtype, interpret, operands):
  outputs, kept = _forward(cell, dtype, interpret, operands, keep=True)
  return outputs, (operands.w_h, operands.b_h, *kept)


def _backward_rule(cell, dtype, interpret, saved, cotangents):
  w_h, b_h, previous, residuals = saved
  dend, dhs = cotangents
  weights = _parts(w_h, dtype)
  run = functools.partial(run_backward, cell, interpret=interpret)
  dstart, dms, apart = sequential_vmap(run)(
    weights, _inward(dhs), residuals, jax.tree.map(_inward, dend)
  )
  dw_h = jnp.einsum(
    'tnhr,tngr->hg', previous.astype(dtype), dms.astype(dtype), preferred_element_type=jnp.float32
  )
  db_h = None if b_h is None else dms.sum((0, 1, 3))
  outward = functools.partial(_outward, dhs.shape[1])
  return (_Operands(outward(_join(cell, dms, apart)), dw_h, db_h, jax.tree.map(outward, dstart)),)


_scan.defvjp(_forward_rule, _backward_rule)


def _parts(a, dtype):
  """Returns the 16-bit numbers that `a` is the sum of, first the largest: [parts, ...]."""
  if num_parts(dtype) == 1:
    return a.astype(dtype)[None]
  # XLA might remove a cast to bfloat16 and back.
  first = lax.reduce_precision(a, exponent_bits=8, mantissa_bits=7)
  return jnp.stack([first, a - first]).astype(jnp.bfloat16)


def _join(cell, dms, apart):
  """Returns the gradient of `us`, [T, N, G, R]: that of the products but for the gates that are
  apart."""
  if not cell.apart:
    return dms
  parts = jnp.split(dms, cell.num_gates, 2)
  for g, part in zip(cell.apart, jnp.split(apart, len(cell.apart), 2), strict=True):
    parts[g] = part
  return jnp.concatenate(parts, 2)


def _inward(a):
  """Returns `[..., B, X]` as the kernels want it: [..., N, X, R], with zeros up to N whole
  clusters."""
  *leading, batch_size, size = a.shape
  num_clusters = -(-batch_size // ROWS)
  a = jnp.pad(a, [(0, 0)] * len(leading) + [(0, num_clusters * ROWS - batch_size), (0, 0)])
  return jnp.swapaxes(a.reshape(*leading, num_clusters, ROWS, size), -1, -2)


def _outward(batch_size, a):
  *leading, num_clusters, size, _ = a.shape
  return jnp.swapaxes(a, -1, -2).reshape(*leading, num_clusters * ROWS, size)[..., :batch_size, :]
