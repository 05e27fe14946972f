"""The memory of the recurrent entity network: slots with keys, each behind a gate of its own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import normal

from rnn_research.cell import Cell
from rnn_research.engines.entity import EntityInputs, EntityWeights, candidate, entity_scan, update
from rnn_research.errors import require_size
from rnn_research.layers import check_features, matmul
from rnn_research.typing import Array
from rnn_research.unroll import without_resets


class EntNetParams(NamedTuple):
  """Parameters of `entnet`."""

  keys: Array  # [M, D] float32, w_j
  u: Array  # [D, D] float32
  v: Array  # [D, D] float32
  w: Array  # [D, D] float32
  b: Array  # [D] float32
  b_g: Array  # [M] float32
  slope: Array  # [D] float32, of the PReLU


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

    def draw(key, rows):
      return normal(0.1)(key, (rows, size), jnp.float32)

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

  def weights(params):
    bias = jnp.broadcast_to(params.b, params.keys.shape)
    return EntityWeights(params.u, matmul(params.keys, params.v, dtype) + bias, params.slope)

  def project(params, xs):
    check_features(xs)
    xs = jnp.asarray(xs)  # the vectors of `layers.OneHot`
    scores = xs @ params.keys.T
    return EntityInputs(
      xs, matmul(xs, params.w, dtype), scores + jnp.broadcast_to(params.b_g, scores.shape)
    )

  def step(params, state, u, *, key=None, ctx=None):
    own = weights(params)
    g, z, r = update(own, state.h, candidate(own, state.h, u.w_s, dtype), u.s, u.c)
    return EntNetState(z * r), g.astype(dtype)

  def form(params, state, xs, mask):
    h, gs = entity_scan(dtype, weights(params), state.h, project(params, xs), mask)
    return EntNetState(h), gs.astype(dtype)

  return without_resets(Cell(init, initial_state, project, step), form)
