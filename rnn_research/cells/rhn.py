"""The recurrent highway network: several layers per time step, each of which may carry its input
on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.errors import require_size
from rnn_research.layers import input_product, matmul, sigmoid
from rnn_research.typing import Array


class RHNParams(NamedTuple):
  """Parameters of `recurrent_highway`."""

  w_x: Any  # [F, 2H] float32, in the order n t
  w_h: tuple[Any, ...]  # L of [H, 2H] float32
  b: Array  # [L, 2H] float32


class RHNState(NamedTuple):
  """State of `recurrent_highway`."""

  h: Array  # [B, H] float32


def recurrent_highway(
  hidden_size: int,
  *,
  depth: int = 3,
  transform_bias: float = -2.0,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  dtype=jnp.float32,
) -> Cell:
  """The recurrent highway network with L layers per time step and a carry gate of 1 - t.

    s_0 = h_{t-1},    m_l = s_{l-1} U_l + b_l,  plus x_t W in the first layer, l = 1
    n_l = tanh(m_l[:H]),    t_l = sigmoid(m_l[H:])
    s_l = n_l * t_l + s_{l-1} * (1 - t_l),    h_t = y_t = s_L

  Args:
    hidden_size: H.
    depth: L, at least 1. The language models of the paper have up to 10.
    transform_bias: initial bias of t; below 0 a step starts near a copy of the state.
    w_x_init: initialiser of [F, 2H].
    w_h_init: initialiser of one gate's [H, H].
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Raises:
    ValueError: `depth` is below 1.

  Source: Zilly et al. 2017 (arXiv 1607.03474). Deviates from the paper: nothing; the carry gate is
  the coupled one of its experiments.
  """
  require_size('hidden_size', hidden_size)
  if depth < 1:
    raise ValueError(f'depth is {depth}, expected at least 1')

  def init(key, x, ctx=None):
    key_x, key_h = jax.random.split(key)
    squares = lambda key: [
      w_h_init(k, (hidden_size, hidden_size), jnp.float32) for k in jax.random.split(key)
    ]
    bias = jnp.repeat(jnp.array([0.0, transform_bias], jnp.float32), hidden_size)
    return RHNParams(
      w_x=w_x_init(key_x, (x.shape[-1], 2 * hidden_size), jnp.float32),
      w_h=tuple(jnp.concatenate(squares(k), 1) for k in jax.random.split(key_h, depth)),
      b=jnp.tile(bias, (depth, 1)),
    )

  def initial_state(params, batch_size):
    return RHNState(jnp.zeros((batch_size, hidden_size), params.b.dtype))

  def project(params, xs):
    return input_product(xs, params.w_x, params.b[0], dtype)

  def step(params, state, u, *, key=None, ctx=None):
    s, _ = _output_and_gates(params, state, u, dtype)
    return RHNState(s), s.astype(dtype)

  def gates(params, state, u):
    return _output_and_gates(params, state, u, dtype)[1]

  return Cell(init, initial_state, project, step, gates=gates)


def _output_and_gates(
  params: RHNParams, state: RHNState, u: Array, dtype
) -> tuple[Array, dict[str, Array]]:
  """Returns s_L, and n_l and t_l by the names n1 t1 .. nL tL, [B, H] each; `u` [B, 2H] is
  x_t W + b_1."""
  s = state.h
  gates: dict[str, Array] = {}
  for layer, w_h in enumerate(params.w_h, 1):
    given = u if layer == 1 else jnp.broadcast_to(params.b[layer - 1], u.shape)
    n, t = jnp.split(given + matmul(s, w_h, dtype), 2, -1)
    n, t = jnp.tanh(n), sigmoid(t)
    s = n * t + s * (1.0 - t)
    gates |= {f'n{layer}': n, f't{layer}': t}
  return s, gates
