"""The gated recurrent unit in both published forms of its reset gate."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.engines.dispatch import Auto, Form, with_engine
from rnn_research.engines.fused import Pointwise, Weights, fused_scan, joined
from rnn_research.engines.gpu import elementwise
from rnn_research.engines.gpu.forms import pallas_form
from rnn_research.errors import require_size
from rnn_research.initializers import chrono
from rnn_research.layers import affine, input_product, matmul, sigmoid
from rnn_research.typing import Array


class GRUParams(NamedTuple):
  """Parameters of `gru`."""

  w_x: Any  # [F, 3H] float32, in the order r z n
  w_h: Any  # [H, 3H] float32; [H, 2H] of r and z where the reset comes before the product
  b: Array  # [3H] float32
  b_hn: Any = None  # [H] float32, inside the reset product
  w_hn: Any = None  # [H, H] float32, where the reset comes before the product


class GRUState(NamedTuple):
  """State of `gru`."""

  h: Array  # [B, H] float32


def gru(
  hidden_size: int,
  *,
  reset: str = 'after',
  chrono_steps: int = 0,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  engine: str = 'auto',
  dtype=jnp.float32,
) -> Cell:
  """The gated recurrent unit. The two reset forms are different functions: weights do not transfer.

    r = sigmoid(x_t W_r + h_{t-1} U_r + b_r)                      reset gate
    z = sigmoid(x_t W_z + h_{t-1} U_z + b_z)                      update gate
    n = tanh(x_t W_n + b_n + r * (h_{t-1} U_n + b_hn))            reset='after', as in cuDNN
    n = tanh(x_t W_n + b_n + (r * h_{t-1}) U_n)                   reset='before', as in the paper
    h_t = z * h_{t-1} + (1 - z) * n,    y_t = h_t

  Args:
    hidden_size: H.
    reset: 'after' or 'before' the recurrent product of the candidate.
    chrono_steps: T of b_z = log U[1, T - 1] at initialisation, since z keeps the old state; 0: off,
      b_z = 0.
    w_x_init: initialiser of [F, 3H].
    w_h_init: initialiser of one gate's [H, H].
    engine: 'auto', 'fused', 'pallas' (reset after), 'newton', 'shooting' or 'scan'; see
      `rnn_research.engines.dispatch`.
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Raises:
    ValueError: `reset` is neither form; at `init`, `chrono_steps` is neither 0 nor at least 3.
    InputError: there is no such engine.

  Source: Cho et al. 2014 (arXiv 1406.1078: version 3 resets before, version 1 after); chrono
  initialisation Tallec and Ollivier 2018. Deviates from the paper: biases.
  """
  require_size('hidden_size', hidden_size)
  if reset not in _FORMS:
    raise ValueError(f"reset is {reset!r}, expected 'after' or 'before'")
  (pointwise, compute_gates), after = _FORMS[reset], reset == 'after'
  whole = joined(pointwise, ((0, 1, 2),) if after else ((0, 1), (2,)))

  def init(key, x, ctx=None):
    key_x, key_h, key_z = jax.random.split(key, 3)
    b_z = chrono(key_z, (hidden_size,), chrono_steps) if chrono_steps else 0.0
    blocks = [
      w_h_init(k, (hidden_size, hidden_size), jnp.float32) for k in jax.random.split(key_h, 3)
    ]
    return GRUParams(
      w_x=w_x_init(key_x, (x.shape[-1], 3 * hidden_size), jnp.float32),
      w_h=jnp.concatenate(blocks if after else blocks[:2], 1),
      b=jnp.zeros(3 * hidden_size, jnp.float32).at[hidden_size : 2 * hidden_size].set(b_z),
      b_hn=jnp.zeros(hidden_size, jnp.float32) if after else None,
      w_hn=None if after else blocks[2],
    )

  def initial_state(params, batch_size):
    return GRUState(jnp.zeros((batch_size, hidden_size), params.b.dtype))

  def project(params, xs):
    return input_product(xs, params.w_x, params.b, dtype)

  def products(params, h):
    if after:
      ms = jnp.split(affine(h, params.w_h, _recurrent_bias(params), dtype), 3, -1)
      return lambda i, a: ms[i]
    ms = jnp.split(matmul(h, params.w_h, dtype), 2, -1)
    return lambda i, a: ms[i] if i < 2 else matmul(a, params.w_hn, dtype)

  def step(params, state, u, *, key=None, ctx=None):
    state, _ = pointwise.forward(jnp.split(u, 3, -1), products(params, state.h), state)
    return state, state.h.astype(dtype)

  def gates(params, state, u):
    r, z, n, *_ = compute_gates(jnp.split(u, 3, -1), products(params, state.h), state.h)
    return {'r': r, 'z': z, 'n': n}

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    weights, form = (_separate, pointwise) if jax.default_backend() == 'cpu' else (_joined, whole)
    state, hs = fused_scan(
      form, weights(params), xs, state, mask=mask, reset=reset, reset_state=reset_state, dtype=dtype
    )
    return state, hs.astype(dtype)

  fused = Cell(init, initial_state, project, step, scan, gates=gates)
  forms: tuple[Form, ...] = (Form('fused', scan),)
  if after:
    forms += (pallas_form(elementwise.GRU, hidden_size, dtype, fused, _recurrent_bias),)
  auto = Auto('gru' if after else 'gru_reset_before', forms)
  return with_engine(fused._replace(scan=auto), engine)


def _recurrent_bias(params: GRUParams) -> Array:
  """Returns b_hn as the bias of h W_h, [3H] float32, where the reset comes after the product: zeros
  for r and z."""
  return jnp.pad(params.b_hn, (2 * params.b_hn.shape[0], 0))


def _separate(params):
  """Returns the weights of a fused scan with a block per gate."""
  w_h = _gates(params.w_h) if params.w_hn is None else (*jnp.split(params.w_h, 2, -1), params.w_hn)
  return Weights(_gates(params.w_x), w_h, _gates(params.b), (None, None, params.b_hn))


def _gates(a):
  return tuple(jnp.split(a, 3, -1))


def _joined(params):
  """Returns the weights of a fused scan with a block per factor of the recurrent products, h or
  r * h."""
  if params.w_hn is None:
    return Weights((params.w_x,), (params.w_h,), (params.b,), (_recurrent_bias(params),))
  at = [params.w_h.shape[-1]]
  return Weights(
    tuple(jnp.split(params.w_x, at, -1)),
    (params.w_h, params.w_hn),
    tuple(jnp.split(params.b, at, -1)),
    (None, None),
  )


# XLA vectorises these steps on a CPU because every gate is an array of its own, not a slice of one
# product.


def _gates_after(us, product, h):
  r = sigmoid(us[0] + product(0, h))
  z = sigmoid(us[1] + product(1, h))
  m = product(2, h)
  return r, z, jnp.tanh(us[2] + r * m), m


def _forward_after(us, product, state):
  """The step with the reset after the product. Residuals are its linearisation."""
  r, z, n, m = _gates_after(us, product, state.h)
  difference = state.h - n
  dn = (1.0 - z) * (1.0 - n * n)
  return GRUState(n + z * difference), (
    dn,
    r,
    dn * m * r * (1.0 - r),
    difference * z * (1.0 - z),
    z,
  )


def _backward_after(residuals, dstate, product_t):
  n_factor, r, r_factor, z_factor, z = residuals
  dh = dstate.h
  dr, dz, dn = dh * r_factor, dh * z_factor, dh * n_factor
  return (dr, dz, dn), GRUState(dh * z + product_t(0, dr) + product_t(1, dz) + product_t(2, dn * r))


def _gates_before(us, product, h):
  r = sigmoid(us[0] + product(0, h))
  z = sigmoid(us[1] + product(1, h))
  return r, z, jnp.tanh(us[2] + product(2, r * h))


def _forward_before(us, product, state):
  """The step with the reset before the product."""
  r, z, n = _gates_before(us, product, state.h)
  difference = state.h - n
  residuals = (1.0 - z) * (1.0 - n * n), r, state.h * r * (1.0 - r), difference * z * (1.0 - z), z
  return GRUState(n + z * difference), residuals


def _backward_before(residuals, dstate, product_t):
  n_factor, r, r_factor, z_factor, z = residuals
  dh = dstate.h
  dz, dn = dh * z_factor, dh * n_factor
  dreset = product_t(2, dn)
  dr = dreset * r_factor
  return (dr, dz, dn), GRUState(dh * z + dreset * r + product_t(0, dr) + product_t(1, dz))


_FORMS = {
  'after': (Pointwise(_forward_after, _backward_after), _gates_after),
  'before': (Pointwise(_forward_before, _backward_before), _gates_before),
}
