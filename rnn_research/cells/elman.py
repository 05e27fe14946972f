"""The simple recurrent network of Elman, and its ReLU forms that start from an identity (IRNN) or
keep one (RIN)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.engines.dispatch import Auto, Form, with_engine
from rnn_research.engines.fused import Pointwise, Weights, fused_scan
from rnn_research.errors import require_size
from rnn_research.initializers import identity
from rnn_research.layers import input_product, matmul
from rnn_research.typing import Array


class ElmanParams(NamedTuple):
  """Parameters of `elman`."""

  w_x: Any  # [F, H] float32
  w_h: Any  # [H, H] float32
  b: Array  # [H] float32


class ElmanState(NamedTuple):
  """State of `elman`."""

  h: Array  # [B, H] float32


def elman(
  hidden_size: int,
  *,
  activation: str = 'tanh',
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  engine: str = 'auto',
  dtype=jnp.float32,
) -> Cell:
  """The vanilla recurrent network.

    h_t = phi(x_t W_x + h_{t-1} W_h + b),    y_t = h_t

  Args:
    hidden_size: H.
    activation: phi, 'tanh' or 'relu'.
    w_x_init: initialiser of [F, H].
    w_h_init: initialiser of [H, H].
    engine: 'auto', 'fused', 'newton', 'shooting' or 'scan'; see `rnn_research.engines.dispatch`.
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Raises:
    ValueError: `activation` is neither.
    InputError: there is no such engine.

  Source: Elman 1990. Deviates from the paper: biases; trained by backpropagation through time.
  """
  if activation not in _POINTWISE:
    raise ValueError(f'activation is {activation!r}, expected one of {sorted(_POINTWISE)}')
  return _elman('elman', hidden_size, _POINTWISE[activation], w_x_init, w_h_init, engine, dtype)


def irnn(hidden_size: int, *, engine: str = 'auto', dtype=jnp.float32) -> Cell:
  """The Elman network with ReLU, identity recurrent weights and small input weights, N(0, 0.001^2).

    h_t = max(0, x_t W_x + h_{t-1} W_h + b),    W_h = I and b = 0 at first

  Args:
    hidden_size: H.
    engine: see `elman`.
    dtype: precision of the products.

  Source: Le, Jaitly and Hinton 2015, section 2. Deviates from the paper: 0.001 is taken as a
  standard deviation.
  """
  return _elman('irnn', hidden_size, _POINTWISE['relu'], normal(0.001), identity, engine, dtype)


def rin(hidden_size: int, *, engine: str = 'auto', dtype=jnp.float32) -> Cell:
  """The recurrent identity network: the IRNN whose identity is fixed, so that only the rest U is
  learned.

    h_t = max(0, x_t W_x + h_{t-1} (U + I) + b),    U and W_x ~ N(0, 0.001^2) and b = 0 at first

  `w_h` is U, hence weight decay pulls towards the identity; combinators change h U alone, not h I.

  Args:
    hidden_size: H.
    engine: see `elman`.
    dtype: precision of the products; h I is none.

  Source: Hu et al. 2018, equations 12-13 and section 3.1. Deviates from the paper: its 10^-3 is
  taken as a standard deviation.
  """
  return _elman('rin', hidden_size, _IDENTITY_RELU, normal(0.001), normal(0.001), engine, dtype)


def _elman(name, hidden_size, pointwise, w_x_init, w_h_init, engine, dtype):
  require_size('hidden_size', hidden_size)

  def init(key, x, ctx=None):
    key_x, key_h = jax.random.split(key)
    return ElmanParams(
      w_x=w_x_init(key_x, (x.shape[-1], hidden_size), jnp.float32),
      w_h=w_h_init(key_h, (hidden_size, hidden_size), jnp.float32),
      b=jnp.zeros(hidden_size, jnp.float32),
    )

  def initial_state(params, batch_size):
    return ElmanState(jnp.zeros((batch_size, hidden_size), params.b.dtype))

  def project(params, xs):
    return input_product(xs, params.w_x, params.b, dtype)

  def step(params, state, u, *, key=None, ctx=None):
    state, _ = pointwise.forward((u,), lambda i, a: matmul(a, params.w_h, dtype), state)
    return state, state.h.astype(dtype)

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    weights = Weights((params.w_x,), (params.w_h,), (params.b,), (None,))
    state, hs = fused_scan(
      pointwise, weights, xs, state, mask=mask, reset=reset, reset_state=reset_state, dtype=dtype
    )
    return state, hs.astype(dtype)

  auto = Auto(name, (Form('fused', scan),))
  return with_engine(Cell(init, initial_state, project, step, auto), engine)


def _tanh_forward(us, product, state):
  h = jnp.tanh(us[0] + product(0, state.h))
  return ElmanState(h), 1.0 - h * h


def _relu_forward(us, product, state):
  a = us[0] + product(0, state.h)
  return ElmanState(jax.nn.relu(a)), (a > 0.0).astype(a.dtype)  # both take the derivative 0 at 0


def _backward(slope, dstate, product_t):
  da = dstate.h * slope
  return (da,), ElmanState(product_t(0, da))


def _identity_relu_forward(us, product, state):
  a = us[0] + product(0, state.h) + state.h
  return ElmanState(jax.nn.relu(a)), (a > 0.0).astype(a.dtype)


def _identity_backward(slope, dstate, product_t):
  da = dstate.h * slope
  return (da,), ElmanState(product_t(0, da) + da)


_POINTWISE = {
  'tanh': Pointwise(_tanh_forward, _backward),
  'relu': Pointwise(_relu_forward, _backward),
}
_IDENTITY_RELU = Pointwise(_identity_relu_forward, _identity_backward)
