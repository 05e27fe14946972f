"""The memory of the recurrent entity network: slots with keys, each behind a gate of its own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import normal

from rnn_research.cell import Cell
from rnn_research.errors import require_size
from rnn_research.layers import check_features, matmul
from rnn_research.typing import Array

_EPSILON = 1e-12  # under the root of a norm, whose gradient at 0 is finite so


class EntNetParams(NamedTuple):
  """Parameters of `entnet`."""

  keys: Array  # [M, D] float32, w_j
  u: Array  # [D, D] float32
  v: Array  # [D, D] float32
  w: Array  # [D, D] float32
  b: Array  # [D] float32
  b_g: Array  # [M] float32
  slope: Array  # [D] float32, of the PReLU


class EntNetInput(NamedTuple):
  """Projected input of `entnet`."""

  s: Array  # [T, B, D] float32, the sentence
  w_s: Array  # [T, B, D] float32


class EntNetState(NamedTuple):
  """State of `entnet`."""

  h: Array  # [B, M, D] float32, the slots, each of length 1 after the first step


def entnet(num_slots: int, *, dtype=jnp.float32) -> Cell:
  """Makes the cell: for sentences s_t, slots h_j with keys w_j, and all slots at once,

    g_j = sigmoid(s_t . h_j + s_t . w_j + b_g_j)
    n_j = phi(h_j U + w_j V + s_t W + b)
    h_j <- h_j + g_j n_j,    h_j <- h_j / |h_j|,    y_t = g

  with phi a PReLU, one slope per coordinate, and h_j = w_j before the first step. Padding leaves
  the slots as they are, by the mask of `unroll`.

  Args:
    num_slots: M.
    dtype: precision of the products with weights; parameters and state are float32.

  Returns:
    A cell over sentences [B, D] with outputs [B, M] of `dtype`, the gates.

  Raises:
    InputError: `num_slots` is no integer of 1 or more.

  Source: Henaff et al. 2017 (arXiv 1612.03969), equations 2 to 5. Deviates from the paper: as in
  the released code the gate has a bias b_g, U has a bias, phi's slopes are learned, from 1, and the
  slots start at the keys; V and W are named as in the paper, the code exchanges them.
  """
  require_size('num_slots', num_slots)

  def init(key, x, ctx=None):
    size = x.shape[-1]
    keys = jax.random.split(key, 4)
    draw = lambda key, rows: normal(0.1)(key, (rows, size), jnp.float32)
    return EntNetParams(
      keys=draw(keys[0], num_slots),
      u=draw(keys[1], size),
      v=draw(keys[2], size),
      w=draw(keys[3], size),
      b=jnp.zeros(size, jnp.float32),
      b_g=jnp.zeros(num_slots, jnp.float32),
      slope=jnp.ones(size, jnp.float32),
    )

  def initial_state(params, batch_size):
    return EntNetState(jnp.broadcast_to(params.keys, (batch_size, *params.keys.shape)))

  def project(params, xs):
    check_features(xs)
    return EntNetInput(xs, matmul(xs, params.w, dtype))

  def step(params, state, u, *, key=None, ctx=None):
    scores = jnp.einsum('bd,bmd->bm', u.s, state.h) + u.s @ params.keys.T
    g = jax.nn.sigmoid(scores + jnp.broadcast_to(params.b_g, scores.shape))
    own = matmul(params.keys, params.v, dtype) + jnp.broadcast_to(params.b, params.keys.shape)
    n = prelu(matmul(state.h, params.u, dtype) + own[None] + u.w_s[:, None], params.slope)
    h = state.h + g[:, :, None] * n
    h = h * lax.rsqrt((h * h).sum(-1, keepdims=True) + _EPSILON)
    return EntNetState(h), g.astype(dtype)

  return Cell(init, initial_state, project, step)


def prelu(x: Array, slope: Array) -> Array:
  """Returns x where it is positive, else x times the slope of its coordinate, [..., D]."""
  return jnp.maximum(x, 0.0) + jnp.broadcast_to(slope, x.shape) * jnp.minimum(x, 0.0)
