"""The gated recurrent unit in both published forms of its reset gate."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.engines.fused import Pointwise, fused_scan
from rnn_research.layers import affine, matmul
from rnn_research.typing import Array


class GRUParams(NamedTuple):
  w_x: Any  # [F, 3H] float32, in the order r z n
  w_h: Any  # [H, 3H] float32; [H, 2H] of r and z where the reset comes before the product
  b: Array  # [3H] float32
  b_hn: Array | None = None  # [H] float32, inside the reset product
  w_hn: Any = None  # [H, H] float32, where the reset comes before the product


class GRUState(NamedTuple):
  h: Array  # [B, H] float32


def gru(
    hidden_size: int,
    *,
    reset: str = 'after',
    w_x_init: Callable = lecun_normal(),
    w_h_init: Callable = orthogonal(),
    dtype=jnp.float32,
) -> Cell:
  """The gated recurrent unit. The two reset forms are different functions: weights do not transfer.

    r = sigmoid(x_t W_r + h_{t-1} U_r + b_r)                      reset gate
    z = sigmoid(x_t W_z + h_{t-1} U_z + b_z)                      update gate
    n = tanh(x_t W_n + b_n + r * (h_{t-1} U_n + b_hn))            reset='after', one recurrent product, as in cuDNN
    n = tanh(x_t W_n + b_n + (r * h_{t-1}) U_n)                   reset='before', as in the paper
    h_t = z * h_{t-1} + (1 - z) * n,    y_t = h_t

  Args:
    hidden_size: H.
    reset: 'after' or 'before' the recurrent product of the candidate.
    w_x_init: initialiser of [F, 3H].
    w_h_init: initialiser of one gate's [H, H].
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Raises:
    ValueError: `reset` is neither form.

  Source: Cho et al. 2014 (arXiv 1406.1078: version 3 resets before, version 1 after). Deviates from the paper: biases.
  """
  if reset not in ('after', 'before'):
    raise ValueError(f"reset is {reset!r}, expected 'after' or 'before'")
  after = reset == 'after'

  def init(key, x, ctx=None):
    key_x, key_h = jax.random.split(key)
    blocks = [w_h_init(k, (hidden_size, hidden_size), jnp.float32) for k in jax.random.split(key_h, 3)]
    return GRUParams(
        w_x=w_x_init(key_x, (x.shape[-1], 3 * hidden_size), jnp.float32),
        w_h=jnp.concatenate(blocks if after else blocks[:2], 1),
        b=jnp.zeros(3 * hidden_size, jnp.float32),
        b_hn=jnp.zeros(hidden_size, jnp.float32) if after else None,
        w_hn=None if after else blocks[2])

  def initial_state(params, batch_size):
    return GRUState(jnp.zeros((batch_size, hidden_size), params.b.dtype))

  def project(params, xs):
    return affine(xs, params.w_x, params.b, dtype)

  def step_after(params, state, u, *, key=None, ctx=None):
    m = affine(state.h, params.w_h, _recurrent_bias(params), dtype)
    state, _ = _forward(u, m, state)
    return state, state.h.astype(dtype)

  def step_before(params, state, u, *, key=None, ctx=None):
    u_gates, u_n = u[..., :2 * hidden_size], u[..., 2 * hidden_size:]
    r, z = jnp.split(jax.nn.sigmoid(u_gates + matmul(state.h, params.w_h, dtype)), 2, -1)
    n = jnp.tanh(u_n + matmul(r * state.h, params.w_hn, dtype))
    h = n + z * (state.h - n)
    return GRUState(h), h.astype(dtype)

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    state, hs = fused_scan(_POINTWISE, project(params, xs), params.w_h, state, b_h=_recurrent_bias(params),
                           mask=mask, reset=reset, reset_state=reset_state, dtype=dtype)
    return state, hs.astype(dtype)

  return Cell(init, initial_state, project, step_after if after else step_before, scan if after else None)


def _recurrent_bias(params):
  return jnp.pad(params.b_hn, (2 * params.b_hn.shape[0], 0))


def _forward(u, m, state):
  """The step with the reset after the product. Residuals are its linearisation."""
  u_gates, u_n = jnp.split(u, [2 * state.h.shape[-1]], -1)
  m_gates, m_n = jnp.split(m, [2 * state.h.shape[-1]], -1)
  r, z = jnp.split(0.5 * jnp.tanh(0.5 * (u_gates + m_gates)) + 0.5, 2, -1)
  n = jnp.tanh(u_n + r * m_n)
  difference = state.h - n
  dn = (1.0 - z) * (1.0 - n * n)
  residuals = dn, dn * r, dn * m_n * r * (1.0 - r), difference * z * (1.0 - z), z
  return GRUState(n + z * difference), residuals


def _backward(residuals, dstate):
  n_factor, m_factor, r_factor, z_factor, z = residuals
  dh = dstate.h
  dr, dz = dh * r_factor, dh * z_factor
  du = jnp.concatenate([dr, dz, dh * n_factor], -1)
  dm = jnp.concatenate([dr, dz, dh * m_factor], -1)
  return du, dm, GRUState(dh * z)


_POINTWISE = Pointwise(_forward, _backward)
