"""The layer-normalised LSTM."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.cells.lstm import LSTMState, lstm
from rnn_research.combinators.weights import layer_norm
from rnn_research.errors import require_size
from rnn_research.layers import normalize
from rnn_research.typing import Array


class LayerNormLSTMParams(NamedTuple):
  """Parameters of `layer_norm_lstm`."""

  w_x: Any  # `layers.Normalized` of [F, 4H] float32, gates in the order i f g o
  w_h: Any  # `layers.Normalized` of [H, 4H] float32
  b: Array  # [4H] float32
  c_scale: Array  # [H] float32
  c_offset: Array  # [H] float32


def layer_norm_lstm(
  hidden_size: int,
  *,
  forget_bias: float = 1.0,
  chrono_steps: int = 0,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  dtype=jnp.float32,
) -> Cell:
  """The LSTM with layer normalisation of both products, and of the cell on its way to the output.

    [i f g o] = [sigmoid sigmoid tanh sigmoid](LN(x_t W; a_x, b_x) + LN(h_{t-1} R; a_h, b_h) + b)
    c_t = f * c_{t-1} + i * g                                   carried on as it is
    h_t = o * tanh(LN(c_t; a_c, b_c)),    y_t = h_t
    LN(v; a, b) = a * (v - mean(v)) / sqrt(var(v) + 1e-5) + b,  statistics over all four gates

  `combinators.layer_norm(lstm(H))` is this cell without the LN of c_t; that combinator does not
  apply once more.

  Args:
    hidden_size: H.
    forget_bias: added to b_f at initialisation.
    chrono_steps: see `lstm`.
    w_x_init: initialiser of W, [F, 4H].
    w_h_init: initialiser of one gate's R, [H, H].
    dtype: precision of the products; parameters, c and h are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Source: Ba et al. 2016 (arXiv 1607.06450), equations 20-22. Deviates from the paper: the forget
  bias is 1.
  """
  require_size('hidden_size', hidden_size)
  normalized = layer_norm(
    lstm(
      hidden_size,
      forget_bias=forget_bias,
      chrono_steps=chrono_steps,
      w_x_init=w_x_init,
      w_h_init=w_h_init,
      engine='scan',
      dtype=dtype,
    )
  )

  def init(key, x, ctx=None):
    params = normalized.init(key, x)
    return LayerNormLSTMParams(
      params.w_x,
      params.w_h,
      params.b,
      c_scale=jnp.ones(hidden_size, jnp.float32),
      c_offset=jnp.zeros(hidden_size, jnp.float32),
    )

  def step(params, state, u, *, key=None, ctx=None):
    gates = normalized.gates(params, state, u)
    c = gates['f'] * state.c + gates['i'] * gates['g']
    h = gates['o'] * jnp.tanh(params.c_scale[None] * normalize(c) + params.c_offset[None])
    return LSTMState(c, h), h.astype(dtype)

  return Cell(init, normalized.initial_state, normalized.project, step, gates=normalized.gates)
