"""The minimal long short-term memory, whose gates do not see the state: a linear recurrence."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal

from rnn_research.cell import Cell
from rnn_research.cells.min_gru import LinearInput, linear_cell
from rnn_research.engines.dispatch import with_engine
from rnn_research.layers import input_product
from rnn_research.typing import Array


class MinLSTMParams(NamedTuple):
  """Parameters of `min_lstm`."""

  w_x: Any  # [F, 3H] float32, in the order f i g
  b: Array  # [3H] float32


def min_lstm(
  hidden_size: int,
  *,
  w_x_init: Callable = lecun_normal(),
  engine: str = 'auto',
  dtype=jnp.float32,
) -> Cell:
  """The minimal long short-term memory.

    f_t = sigmoid(x_t W_f + b_f),    i_t = sigmoid(x_t W_i + b_i),    g_t = x_t W_g + b_g
    h_t = f_t / (f_t + i_t) * h_{t-1} + i_t / (f_t + i_t) * g_t,    y_t = h_t

  Like `min_gru` it needs no log space.

  Args:
    hidden_size: H.
    w_x_init: initialiser of [F, 3H].
    engine: 'auto', 'linear', 'newton', 'shooting' or 'scan'; see `rnn_research.engines.dispatch`.
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Raises:
    InputError: there is no such engine.

  Source: Feng et al. 2024 (arXiv 2410.01201), section 3.2. Deviates from the paper: the candidate
  is g_t itself, not the positive function of it that the paper's log-space training takes in its
  place.
  """

  def init(key, x, ctx=None):
    return MinLSTMParams(
      w_x=w_x_init(key, (x.shape[-1], 3 * hidden_size), jnp.float32),
      b=jnp.zeros(3 * hidden_size, jnp.float32),
    )

  def project(params, xs):
    f, i, g = jnp.split(input_product(xs, params.w_x, params.b, dtype), 3, -1)
    # f_t / (f_t + i_t) as a sigmoid of log f_t - log i_t: the quotient would be 0 / 0 where both
    # gates close.
    odds = jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i)
    gates = {'f': jax.nn.sigmoid(f), 'i': jax.nn.sigmoid(i), 'g': g}
    return LinearInput(jax.nn.sigmoid(odds), jax.nn.sigmoid(-odds) * g, gates)

  return with_engine(linear_cell('min_lstm', hidden_size, init, project, dtype), engine)
