"""Long short-term memory, with an optional projection."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import lecun_normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.engines.dispatch import Auto, Form, with_engine
from rnn_research.engines.fused import Pointwise, Weights, fused_scan
from rnn_research.engines.gpu import elementwise
from rnn_research.engines.gpu.forms import cudnn_form, pallas_form
from rnn_research.errors import require_size
from rnn_research.initializers import chrono
from rnn_research.layers import input_product, matmul
from rnn_research.typing import Array


class LSTMParams(NamedTuple):
  """Parameters of `lstm`."""

  w_x: Any  # [F, 4H] float32, gates in the order i f g o
  w_h: Any  # [H or P, 4H] float32
  b: Array  # [4H] float32
  w_p: Any = None  # [H, P] float32


class LSTMState(NamedTuple):
  """State of `lstm`."""

  c: Array  # [B, H] float32
  h: Array  # [B, H or P] float32


def lstm(
  hidden_size: int,
  *,
  forget_bias: float = 1.0,
  chrono_steps: int = 0,
  projection_size: int | None = None,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  engine: str = 'auto',
  dtype=jnp.float32,
) -> Cell:
  """Long short-term memory with a forget gate.

    i = sigmoid(x_t W_i + h_{t-1} R_i + b_i)    input gate
    f = sigmoid(x_t W_f + h_{t-1} R_f + b_f)    forget gate
    g = tanh(x_t W_g + h_{t-1} R_g + b_g)       candidate
    o = sigmoid(x_t W_o + h_{t-1} R_o + b_o)    output gate
    c_t = f * c_{t-1} + i * g
    h_t = (o * tanh(c_t)) W_p,    y_t = h_t

  W_p exists with `projection_size`, and then the only engines are 'newton', 'shooting' and 'scan'.
  With peepholes it is `lstm_variant`.

  Args:
    hidden_size: H.
    forget_bias: added to b_f at initialisation.
    chrono_steps: T of b_f = log U[1, T - 1] and b_i = -b_f at initialisation, in place of
      `forget_bias`; 0: off.
    projection_size: P, the size of h; None leaves h at size H.
    w_x_init: initialiser of [F, 4H].
    w_h_init: initialiser of one gate's [H, H].
    engine: 'auto', 'fused', 'cudnn', 'pallas', 'newton', 'shooting' or 'scan'; see
      `rnn_research.engines.dispatch`.
    dtype: precision of the products; parameters, c and h are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H or P] of `dtype`.

  Raises:
    InputError: there is no such engine.
    ValueError: at `init`, `chrono_steps` is neither 0 nor at least 3.

  Source: Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000; projection Sak et al. 2014;
  chrono initialisation Tallec and Ollivier 2018. Deviates from the papers: gradients are not
  truncated; the state starts at zero.
  """
  require_size('hidden_size', hidden_size)
  if projection_size is not None:
    require_size('projection_size', projection_size)
  output_size = projection_size or hidden_size

  def init(key, x, ctx=None):
    key_x, key_h, key_p, key_b = jax.random.split(key, 4)
    blocks = [
      w_h_init(k, (output_size, hidden_size), jnp.float32) for k in jax.random.split(key_h, 4)
    ]
    return LSTMParams(
      w_x=w_x_init(key_x, (x.shape[-1], 4 * hidden_size), jnp.float32),
      w_h=jnp.concatenate(blocks, 1),
      b=gate_biases(key_b, 'ifgo', hidden_size, forget_bias, chrono_steps),
      w_p=lecun_normal()(key_p, (hidden_size, output_size), jnp.float32)
      if projection_size
      else None,
    )

  def initial_state(params, batch_size):
    def zeros(size):
      return jnp.zeros((batch_size, size), params.b.dtype)

    return LSTMState(zeros(hidden_size), zeros(output_size))

  def project(params, xs):
    return input_product(xs, params.w_x, params.b, dtype)

  def step(params, state, u, *, key=None, ctx=None):
    state, _ = _forward((u,), lambda i, a: matmul(a, params.w_h, dtype), state)
    if projection_size:
      state = state._replace(h=matmul(state.h, params.w_p, dtype))
    return state, state.h.astype(dtype)

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    weights = Weights((params.w_x,), (params.w_h,), (params.b,), (None,))
    state, hs = fused_scan(
      _POINTWISE, weights, xs, state, mask=mask, reset=reset, reset_state=reset_state, dtype=dtype
    )
    return state, hs.astype(dtype)

  def gates(params, state, u):
    values, _ = activate(u + matmul(state.h, params.w_h, dtype))
    return dict(zip('ifgo', jnp.split(values, 4, -1), strict=True))

  cell = Cell(init, initial_state, project, step, gates=gates)
  if not projection_size:
    fused = cell._replace(scan=scan)
    for_gpus = (
      cudnn_form(hidden_size, dtype, fused),
      pallas_form(elementwise.LSTM, hidden_size, dtype, fused),
    )
    cell = cell._replace(scan=Auto('lstm', (Form('fused', scan), *for_gpus)))
  return with_engine(cell, engine)


def gate_biases(key, blocks, hidden_size, forget_bias, chrono_steps, input_bias=0.0):
  """Returns [KH] float32 for K blocks such as 'ifgo', zero but for f and i; both follow
  `chrono_steps` if it is set."""
  b_f = (
    chrono(key, (hidden_size,), chrono_steps)
    if chrono_steps
    else jnp.full(hidden_size, forget_bias, jnp.float32)
  )
  b = {'f': b_f, 'i': -b_f if chrono_steps else jnp.full(hidden_size, input_bias, jnp.float32)}
  return jnp.concatenate([b.get(name, jnp.zeros(hidden_size, jnp.float32)) for name in blocks])


def activate(z):
  """Returns gates and the derivative of each, from pre-activations [B, 4H] in the order i f g o.

  One tanh over the whole contiguous block, with sigmoid(x) = (tanh(x / 2) + 1) / 2 as a scale per
  column: XLA does not vectorise several nonlinearities of slices inside a loop body on CPU.
  """
  scale = jnp.asarray(np.repeat([0.5, 0.5, 1.0, 0.5], z.shape[-1] // 4), z.dtype)[None]
  t = jnp.tanh(z * scale)
  return t * scale + (1.0 - scale), scale * scale * (1.0 - t * t)


def _forward(us, product, state):
  """The step of one block i f g o. Residuals are its linearisation: dc/dh, dc/dc_{t-1}, and the
  factors of dz."""
  gates, slopes = activate(us[0] + product(0, state.h))
  i, f, g, o = jnp.split(gates, 4, -1)
  c = f * state.c + i * g
  tanh_c = jnp.tanh(c)
  residuals = o * (1.0 - tanh_c * tanh_c), f, slopes * jnp.concatenate([g, state.c, i, tanh_c], -1)
  return LSTMState(c, o * tanh_c), residuals


def _backward(residuals, dstate, product_t):
  dc_dh, f, factors = residuals
  dc = dstate.c + dstate.h * dc_dh
  dz = jnp.concatenate([dc, dc, dc, dstate.h], -1) * factors
  return (dz,), LSTMState(dc * f, product_t(0, dz))


_POINTWISE = Pointwise(_forward, _backward)
