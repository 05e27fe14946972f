"""The linear recurrent unit: a complex diagonal recurrence that starts on a ring."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import lecun_normal

from rnn_research.cell import Cell
from rnn_research.engines.dispatch import Auto, Form, with_engine
from rnn_research.engines.parallel.linear import diagonal_scan
from rnn_research.errors import require_size
from rnn_research.layers import input_product, matmul
from rnn_research.typing import Array
from rnn_research.unroll import select


class LRUParams(NamedTuple):
  """Parameters of `lru`."""

  nu_log: Array  # [H] float32, log of -log |lambda|
  theta_log: Array  # [H] float32, log of the phase in radians
  gamma_log: Array  # [H] float32, log of the scale of the input
  w_x: Any  # [F, 2H] float32, Re B then Im B
  w_xd: Any  # [F, H] float32, D
  w_c: Any  # [2H, H] float32, Re C above -Im C


class LRUState(NamedTuple):
  """State of `lru`."""

  re: Array  # [B, H] float32, Re s
  im: Array  # [B, H] float32, Im s


def lru(
  hidden_size: int,
  *,
  r_min: float = 0.0,
  r_max: float = 1.0,
  max_phase: float = 2.0 * math.pi,
  w_x_init: Callable = lecun_normal(),
  engine: str = 'auto',
  dtype=jnp.float32,
) -> Cell:
  """The linear recurrent unit.

    lambda = exp(-exp(nu) + i exp(theta)),
    |lambda| in [r_min, r_max] and phase in [0, max_phase] at first
    s_t = lambda * s_{t-1} + exp(gamma) * (x_t B),    exp(gamma) = sqrt(1 - |lambda|^2) at first
    y_t = Re(s_t C) + x_t D

  The recurrence has no product with weights: `variational_dropout` and `layer_norm` of a recurrent
  product, and `zoneout`, which needs a state that is the output, refuse this cell.

  Args:
    hidden_size: H, the number of complex units and of outputs.
    r_min: inner radius of the ring from which lambda is drawn uniformly.
    r_max: outer radius.
    max_phase: largest angle of lambda, in radians.
    w_x_init: initialiser of Re B, Im B and D, [F, H] each; B is then divided by sqrt(2), which
      keeps E |x_t B|^2.
    engine: 'auto', 'linear', 'newton', 'shooting' or 'scan'; see `rnn_research.engines.dispatch`.
    dtype: precision of the products; parameters, state and recurrence are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Raises:
    ValueError: not 0 <= r_min < r_max <= 1.
    InputError: there is no such engine.

  Source: Orvieto et al. 2023 (arXiv 2303.06349), equations 4-7 and lemma 3.2. Deviates from the
  paper: D is a matrix, since inputs need not be H wide; it starts like B.
  """
  require_size('hidden_size', hidden_size)
  if not 0.0 <= r_min < r_max <= 1.0:
    raise ValueError(f'r_min is {r_min} and r_max is {r_max}, expected 0 <= r_min < r_max <= 1')

  def init(key, x, ctx=None):
    radius_key, phase_key, re_key, im_key, d_key, c_key = jax.random.split(key, 6)
    squared = jax.random.uniform(radius_key, (hidden_size,), jnp.float32, r_min**2, r_max**2)
    squared = jnp.clip(squared, 1e-12, 1.0 - 1e-6)  # both logarithms finite
    phase = max_phase * jax.random.uniform(phase_key, (hidden_size,), jnp.float32, 1e-6)
    inputs = [w_x_init(k, (x.shape[-1], hidden_size), jnp.float32) for k in (re_key, im_key, d_key)]
    return LRUParams(
      nu_log=jnp.log(-0.5 * jnp.log(squared)),
      theta_log=jnp.log(phase),
      gamma_log=0.5 * jnp.log1p(-squared),
      w_x=jnp.concatenate(inputs[:2], 1) / math.sqrt(2.0),
      w_xd=inputs[2],
      # Var[Re(s C)] = Var[s], since a complex number of variance 1 has parts of variance 1/2.
      w_c=jax.random.normal(c_key, (2 * hidden_size, hidden_size), jnp.float32)
      / math.sqrt(hidden_size),
    )

  def initial_state(params, batch_size):
    def zeros():
      return jnp.zeros((batch_size, hidden_size), params.nu_log.dtype)

    return LRUState(zeros(), zeros())  # two arrays: one buffer cannot be donated twice

  def project(params, xs):
    re, im = jnp.split(input_product(xs, params.w_x, dtype=dtype), 2, -1)
    gamma = jnp.broadcast_to(jnp.exp(params.gamma_log), re.shape)
    return gamma * re, gamma * im, matmul(xs, params.w_xd, dtype)

  def output(params, s, feedthrough):
    parts = jnp.concatenate([s.real, s.imag], -1)
    return (matmul(parts, params.w_c, dtype) + feedthrough).astype(dtype)

  def step(params, state, u, *, key=None, ctx=None):
    re, im, feedthrough = u
    s = _eigenvalues(params, state.re.shape) * lax.complex(*state) + lax.complex(re, im)
    return LRUState(s.real, s.imag), output(params, s, feedthrough)

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    re, im, feedthrough = project(params, xs)
    start = None if reset is None else lax.complex(*reset_state)
    s, all_s = diagonal_scan(
      _eigenvalues(params, re.shape),
      lax.complex(re, im),
      lax.complex(*state),
      mask=mask,
      reset=reset,
      reset_state=start,
    )
    ys = output(params, all_s, feedthrough)
    ys = ys if mask is None else select(mask, ys, jnp.zeros_like(ys))
    return LRUState(s.real, s.imag), ys

  auto = Auto('lru', (Form('linear', scan),))
  return with_engine(Cell(init, initial_state, project, step, auto), engine)


def _eigenvalues(params, shape):
  modulus, phase = jnp.exp(-jnp.exp(params.nu_log)), jnp.exp(params.theta_log)
  return jnp.broadcast_to(lax.complex(modulus * jnp.cos(phase), modulus * jnp.sin(phase)), shape)
