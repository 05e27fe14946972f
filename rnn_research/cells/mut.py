"""MUT1, MUT2 and MUT3: the three best gated units of a search over ten thousand."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.cells.gru import GRUState
from rnn_research.errors import require_size
from rnn_research.layers import input_product, matmul, sigmoid
from rnn_research.typing import Array


class MUTParams(NamedTuple):
  """Parameters of `mut1`."""

  w_x: Any  # [F, KH] float32, in the order z r n, without the block that reads x_t itself
  w_h: Any  # [H, H] float32, of r
  w_hn: Any  # [H, H] float32, of n, after the reset
  b: Array  # [3H] float32, in the order z r n
  w_hz: Any = None  # [H, H] float32, of z
  w_x_bare: Any = None  # [F, H] float32, in place of the identity where F is not H


class Unit(NamedTuple):
  """What tells one of the three units from the others."""

  blocks: str  # which of z r n have a matrix W_x
  bare: Callable | None = None  # of x_t itself, in the place of the block that has none
  seen: Callable | None = None  # of h_{t-1}, what the update gate multiplies; None: nothing


UNITS = {
  'mut1': Unit('zr', bare=jnp.tanh),
  'mut2': Unit('zn', bare=lambda x: x, seen=lambda h: h),
  'mut3': Unit('zrn', seen=jnp.tanh),
}


def mut1(
  hidden_size: int,
  *,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  dtype=jnp.float32,
) -> Cell:
  """The first of three mutated gated units, whose update gate does not see the state.

    z = sigmoid(x_t W_z + b_z)                                  update gate, of the new value
    r = sigmoid(x_t W_r + h_{t-1} U_r + b_r)                    reset gate
    n = tanh(tanh(x_t) + (r * h_{t-1}) U_n + b_n)
    h_t = z * n + (1 - z) * h_{t-1},    y_t = h_t

  A `gru` has z and 1 - z the other way round.

  Args:
    hidden_size: H.
    w_x_init: initialiser of W_x, [F, 2H] (mut3: [F, 3H]), and of what stands for a bare x_t.
    w_h_init: initialiser of one [H, H].
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Source: Jozefowicz et al. 2015. Deviates from the paper: its bare x_t needs F = H; for any other F
  a learned x_t W of H columns, without a bias, stands in its place, and costs F H more parameters.
  """
  return _mut('mut1', hidden_size, w_x_init, w_h_init, dtype)


def mut2(
  hidden_size: int,
  *,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  dtype=jnp.float32,
) -> Cell:
  """The second of three mutated gated units, whose reset gate reads the input itself.

    z = sigmoid(x_t W_z + h_{t-1} U_z + b_z)                    update gate, of the new value
    r = sigmoid(x_t + h_{t-1} U_r + b_r)                        reset gate
    n = tanh(x_t W_n + (r * h_{t-1}) U_n + b_n)
    h_t = z * n + (1 - z) * h_{t-1},    y_t = h_t

  See `mut1` for arguments, the source and what happens where F is not H.
  """
  return _mut('mut2', hidden_size, w_x_init, w_h_init, dtype)


def mut3(
  hidden_size: int,
  *,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  dtype=jnp.float32,
) -> Cell:
  """The third of three mutated gated units, whose update gate sees the state through a tanh.

    z = sigmoid(x_t W_z + tanh(h_{t-1}) U_z + b_z)              update gate, of the new value
    r = sigmoid(x_t W_r + h_{t-1} U_r + b_r)                    reset gate
    n = tanh(x_t W_n + (r * h_{t-1}) U_n + b_n)
    h_t = z * n + (1 - z) * h_{t-1},    y_t = h_t

  See `mut1` for arguments and the source. Deviates from the paper: nothing.
  """
  return _mut('mut3', hidden_size, w_x_init, w_h_init, dtype)


def _mut(name, hidden_size, w_x_init, w_h_init, dtype):
  require_size('hidden_size', hidden_size)
  unit = UNITS[name]

  def init(key, x, ctx=None):
    key_x, key_bare, *keys = jax.random.split(key, 5)
    num_inputs = x.shape[-1]

    def square(k):
      return w_h_init(k, (hidden_size, hidden_size), jnp.float32)

    projected = unit.bare and num_inputs != hidden_size
    return MUTParams(
      w_x=w_x_init(key_x, (num_inputs, len(unit.blocks) * hidden_size), jnp.float32),
      w_h=square(keys[0]),
      w_hn=square(keys[1]),
      b=jnp.zeros(3 * hidden_size, jnp.float32),
      w_hz=square(keys[2]) if unit.seen else None,
      w_x_bare=w_x_init(key_bare, (num_inputs, hidden_size), jnp.float32) if projected else None,
    )

  def initial_state(params, batch_size):
    return GRUState(jnp.zeros((batch_size, hidden_size), params.b.dtype))

  def project(params, xs):
    return _project(unit, params, xs, dtype)

  def gates(params, state, u):
    u_z, u_r, u_n = jnp.split(u, 3, -1)
    h = state.h
    z = sigmoid(u_z + matmul(unit.seen(h), params.w_hz, dtype) if unit.seen else u_z)
    r = sigmoid(u_r + matmul(h, params.w_h, dtype))
    return {'z': z, 'r': r, 'n': jnp.tanh(u_n + matmul(r * h, params.w_hn, dtype))}

  def step(params, state, u, *, key=None, ctx=None):
    found = gates(params, state, u)
    h = found['z'] * found['n'] + (1.0 - found['z']) * state.h
    return GRUState(h), h.astype(dtype)

  return Cell(init, initial_state, project, step, gates=gates)


def _project(unit: Unit, params: MUTParams, xs: Array, dtype) -> Array:
  """Returns the part of z r n that needs no state, biases included, [..., 3H] from inputs
  [..., F]."""
  blocks = jnp.split(input_product(xs, params.w_x, dtype=dtype), len(unit.blocks), -1)
  parts = dict(zip(unit.blocks, blocks, strict=True))
  if unit.bare:
    x = xs.astype(params.b.dtype) if params.w_x_bare is None else matmul(xs, params.w_x_bare, dtype)
    parts |= {name: unit.bare(x) for name in 'zrn' if name not in parts}
  u = jnp.concatenate([parts[name] for name in 'zrn'], -1)
  return u + jnp.broadcast_to(params.b, u.shape)
