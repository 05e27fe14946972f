"""The multiplicative LSTM, whose recurrent matrix depends on the input."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.cells.lstm import lstm
from rnn_research.errors import require_size
from rnn_research.layers import matmul
from rnn_research.typing import Array


class MLSTMParams(NamedTuple):
  """Parameters of `mlstm`."""

  w_x: Any  # [F, 4H] float32, gates in the order i f g o
  w_h: Any  # [H, 4H] float32, of m_t, which the gates see in place of h_{t-1}
  b: Array  # [4H] float32
  w_xm: Any  # [F, H] float32, of m_t
  w_hm: Any  # [H, H] float32, of m_t


def mlstm(
  hidden_size: int,
  *,
  forget_bias: float = 1.0,
  chrono_steps: int = 0,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  dtype=jnp.float32,
) -> Cell:
  """The multiplicative LSTM: gates see the state through a matrix U_m diag(x_t V_m) R of their
  input.

    m_t = (x_t V_m) * (h_{t-1} U_m)
    [i f g o] = [sigmoid sigmoid tanh sigmoid](x_t W + m_t R + b)
    c_t = f * c_{t-1} + i * g,    h_t = o * tanh(c_t),    y_t = h_t

  To a combinator m_t is a state, so that one that changes recurrent weights or their inputs changes
  both U_m and R.

  Args:
    hidden_size: H.
    forget_bias: added to b_f at initialisation.
    chrono_steps: see `lstm`.
    w_x_init: initialiser of W, [F, 4H], and V_m, [F, H].
    w_h_init: initialiser of U_m and of one gate's R, [H, H] each.
    dtype: precision of the products; parameters, c and h are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Source: Krause et al. 2016 (arXiv 1609.07959). Deviates from the paper: biases; the forget bias is
  1; the output gate multiplies tanh(c_t), as in `lstm`, not its argument.
  """
  require_size('hidden_size', hidden_size)
  gated = lstm(
    hidden_size,
    forget_bias=forget_bias,
    chrono_steps=chrono_steps,
    w_x_init=w_x_init,
    w_h_init=w_h_init,
    engine='scan',
    dtype=dtype,
  )

  def init(key, x, ctx=None):
    key, key_x, key_h = jax.random.split(key, 3)
    gates = gated.init(key, x)
    return MLSTMParams(
      w_x=gates.w_x,
      w_h=gates.w_h,
      b=gates.b,
      w_xm=w_x_init(key_x, (x.shape[-1], hidden_size), jnp.float32),
      w_hm=w_h_init(key_h, (hidden_size, hidden_size), jnp.float32),
    )

  def project(params, xs):
    return gated.project(params, xs), matmul(xs, params.w_xm, dtype)

  def multiplied(params, state, u_m):
    return state._replace(h=u_m * matmul(state.h, params.w_hm, dtype))

  def step(params, state, u, *, key=None, ctx=None):
    u, u_m = u
    return gated.step(params, multiplied(params, state, u_m), u)

  def gates(params, state, u):
    u, u_m = u
    return gated.gates(params, multiplied(params, state, u_m), u)

  return Cell(init, gated.initial_state, project, step, gates=gates)
