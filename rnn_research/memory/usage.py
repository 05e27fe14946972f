"""What a differentiable neural computer knows of its memory beside the content: which rows are
free, and in which order they were written. Axes are those of `memory.addressing`."""

import jax.numpy as jnp

from rnn_research.memory.addressing import einsum
from rnn_research.typing import Array

# A row that was never used counts as used this much: its logarithm is needed.
USAGE_EPSILON = 1e-6


def retention(read_weights: Array, free_gates: Array) -> Array:
  """Returns how much of each row is not freed, `psi_i = prod_r (1 - f_r w_ri)`, [B, N] float32.

  Args:
    read_weights: [B, R, N] float32, of the step before.
    free_gates: [B, R] float32, f in [0, 1].

  Source: Graves et al. 2016 (Nature 538), methods, dynamic memory allocation. Deviates from the
  paper: nothing.
  """
  return jnp.prod(1.0 - free_gates[..., None] * read_weights, 1)


def usage(old: Array, write_weights: Array, kept: Array) -> Array:
  """Returns `u_i = (u_i + w_i - u_i w_i) psi_i`, [B, N] float32 in [0, 1].

  Args:
    old: [B, N] float32, usage before.
    write_weights: [B, N] float32, of the step before.
    kept: [B, N] float32, of `retention`.

  Source: Graves et al. 2016, methods. Deviates from the paper: nothing.
  """
  return (old + write_weights - old * write_weights) * kept


def allocation(used: Array) -> Array:
  """Returns the weighting of the rows that are free, the least used first.

    a_i = (1 - u_i) prod_{j before i} u_j

  Rows come in the order of their usage, and equal ones in that of their numbers; the order has no
  gradient. The product is a sum of logarithms over a comparison of all pairs: on a CPU that took a
  quarter (128 rows) to an eighth (16 and 64 rows) of the time of a sort, a product and the way
  back.

  Args:
    used: [B, N] float32, u of `usage`.

  Returns:
    [B, N] float32, with a sum of at most 1.

  Source: Graves et al. 2016, methods, equation 1. Deviates from the paper: eps + (1 - eps) u
  in place of u, eps = 1e-6.
  """
  used = USAGE_EPSILON + (1.0 - USAGE_EPSILON) * used
  one, other = used[:, :, None], used[:, None, :]
  places = jnp.arange(used.shape[-1])
  earlier = (places[None, :] < places[:, None])[None]
  before = (other < one) | ((other == one) & earlier)
  # Half of it, so that the maximum changes neither a value nor a gradient of a usage >= 0.
  logs = jnp.log(jnp.maximum(used, 0.5 * USAGE_EPSILON))
  return (1.0 - used) * jnp.exp(einsum('bij,bj->bi', before.astype(used.dtype), logs))


def linked(links: Array, precedence: Array, write_weights: Array) -> Array:
  """Returns the temporal links: how much row i was written right after row j.

    L_ij <- (1 - w_i - w_j) L_ij + w_i p_j,    L_ii = 0

  Args:
    links: [B, N, N] float32, L of the step before.
    precedence: [B, N] float32, p of the step before.
    write_weights: [B, N] float32, w of this step.

  Returns:
    [B, N, N] float32.

  Source: Graves et al. 2016, methods, temporal memory linkage. Deviates from the paper: nothing.
  """
  to, since = write_weights[:, :, None], write_weights[:, None, :]
  new = (1.0 - to - since) * links + to * precedence[:, None, :]
  return new * (1.0 - jnp.eye(new.shape[-1], dtype=new.dtype))[None]


def preceding(precedence: Array, write_weights: Array) -> Array:
  """Returns how much each row was the last to be written, `p <- (1 - sum_i w_i) p + w`, [B, N]
  float32 with a sum of at most 1.

  Args:
    precedence: [B, N] float32, of the step before.
    write_weights: [B, N] float32, of this step.

  Source: Graves et al. 2016, methods. Deviates from the paper: nothing.
  """
  return (1.0 - jnp.sum(write_weights, -1, keepdims=True)) * precedence + write_weights


def forward_weights(links: Array, read_weights: Array) -> Array:
  """Returns the rows written after those read, `f_r = L w_r`, [B, R, N] float32.

  Args:
    links: [B, N, N] float32, of this step.
    read_weights: [B, R, N] float32, of the step before.

  Source: Graves et al. 2016, methods. Deviates from the paper: nothing.
  """
  return einsum('bij,brj->bri', links, read_weights)


def backward_weights(links: Array, read_weights: Array) -> Array:
  """Returns the rows written before those read, `b_r = L^T w_r`; see `forward_weights`."""
  return einsum('bji,brj->bri', links, read_weights)
