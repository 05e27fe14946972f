"""The minimal gated unit: a gated recurrent unit whose two gates are one."""

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


class MGUParams(NamedTuple):
  """Parameters of `mgu`."""

  w_x: Any  # [F, 2H] float32, in the order f n
  w_h: Any  # [H, H] float32, of f
  w_hn: Any  # [H, H] float32, of n, after the reset
  b: Array  # [2H] float32, in the order f n


def mgu(
  hidden_size: int,
  *,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  dtype=jnp.float32,
) -> Cell:
  """The minimal gated unit.

    f = sigmoid(x_t W_f + h_{t-1} U_f + b_f)                    forget gate: both reset and update
    n = tanh(x_t W_n + (f * h_{t-1}) U_n + b_n)
    h_t = (1 - f) * h_{t-1} + f * n,    y_t = h_t

  Args:
    hidden_size: H.
    w_x_init: initialiser of [F, 2H].
    w_h_init: initialiser of one [H, H].
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Source: Zhou et al. 2016 (arXiv 1603.09420). Deviates from the paper: nothing.
  """
  require_size('hidden_size', hidden_size)

  def init(key, x, ctx=None):
    key_x, key_f, key_n = jax.random.split(key, 3)
    return MGUParams(
      w_x=w_x_init(key_x, (x.shape[-1], 2 * hidden_size), jnp.float32),
      w_h=w_h_init(key_f, (hidden_size, hidden_size), jnp.float32),
      w_hn=w_h_init(key_n, (hidden_size, hidden_size), jnp.float32),
      b=jnp.zeros(2 * hidden_size, jnp.float32),
    )

  def initial_state(params, batch_size):
    return GRUState(jnp.zeros((batch_size, hidden_size), params.b.dtype))

  def project(params, xs):
    return input_product(xs, params.w_x, params.b, dtype)

  def gates(params, state, u):
    u_f, u_n = jnp.split(u, 2, -1)
    f = sigmoid(u_f + matmul(state.h, params.w_h, dtype))
    return {'f': f, 'n': jnp.tanh(u_n + matmul(f * state.h, params.w_hn, dtype))}

  def step(params, state, u, *, key=None, ctx=None):
    found = gates(params, state, u)
    h = (1.0 - found['f']) * state.h + found['f'] * found['n']
    return GRUState(h), h.astype(dtype)

  return Cell(init, initial_state, project, step, gates=gates)
