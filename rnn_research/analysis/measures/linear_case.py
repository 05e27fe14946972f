"""The linear case: what one matrix does to a gradient that passes it again and again."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import orthogonal

from rnn_research.cell import Cell
from rnn_research.cells.elman import ElmanState, elman
from rnn_research.layers import matmul


def linear(hidden_size: int, *, w_h_init: Callable = orthogonal()) -> Cell:
  """The Elman network without its nonlinearity.

    h_t = x_t W_x + h_{t-1} W_h + b,    so  dL/dh_{t-1} = dL/dh_t W_h^T  and  |dL/dh_{T-k}| ~ s^k

  with s the largest singular value of a normal W_h (W W^T = W^T W), whose singular values are the
  moduli of its eigenvalues; of any other W_h, s^k is only an upper bound. tanh multiplies every
  step by 1 - h_t^2 <= 1 too.

  Args:
    hidden_size: H.
    w_h_init: initialiser of [H, H], such as `normal_matrix(1.2)`.

  Source: Pascanu, Mikolov and Bengio 2013 (arXiv 1211.5063), section 2.1. Deviates from the paper:
  nothing.
  """
  cell = elman(hidden_size, w_h_init=w_h_init)

  def step(params, state, u, *, key=None, ctx=None):
    h = u + matmul(state.h, params.w_h)
    return ElmanState(h), h

  return cell._replace(step=step, scan=None)


def normal_matrix(largest: float, smallest: float = 0.5):
  """Returns an initialiser of normal matrices `Q D Q^T` with evenly spread singular values.

  Q is a random orthogonal matrix, D consists of 2 x 2 rotations by random angles times singular
  values that fall from `largest` to `smallest * largest`; where H is odd, a 1 x 1 block is left
  over.
  """

  def init(key, shape, dtype=jnp.float32):
    size = shape[0]
    q_key, angle_key = jax.random.split(key)
    q = orthogonal()(q_key, shape, dtype)
    angles = jax.random.uniform(angle_key, (size // 2,), dtype, 0.0, 2.0 * np.pi)
    scales = jnp.linspace(largest, smallest * largest, -(-size // 2), dtype=dtype)
    rotations = jnp.array([[jnp.cos(angles), -jnp.sin(angles)], [jnp.sin(angles), jnp.cos(angles)]])
    blocks = [
      *(scales[None, None, : size // 2] * rotations).transpose(2, 0, 1),
      *([scales[-1:, None]] * (size % 2)),
    ]
    return q @ jax.scipy.linalg.block_diag(*blocks) @ q.T

  return init


def slope(lags: np.ndarray, values: np.ndarray) -> float:
  """Returns the least-squares slope of log values over the second half of the lags, in nats per
  step.

  The first half is left out: there smaller singular values, which die out faster, still take part.

  Args:
    lags: [K], increasing.
    values: [K] norms; zeros, which have vanished below float32, and what is not finite are left
      out.

  Returns:
    The slope; not-a-number where fewer than two norms remain.
  """
  lags, values = (
    np.asarray(lags)[len(lags) // 2 :],
    np.asarray(values, np.float64)[len(lags) // 2 :],
  )
  known = np.isfinite(values) & (values > 0)
  lags, values = lags[known], values[known]
  return float(np.polyfit(lags, np.log(values), 1)[0]) if len(lags) > 1 else np.nan
