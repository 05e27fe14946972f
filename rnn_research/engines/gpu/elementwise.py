"""The elementwise part of a step as the Pallas kernels want it: one array per gate, since a kernel
cannot join arrays.

The same mathematics as the `Pointwise` of `cells/lstm.py` and `cells/gru.py`, which work on all
gates as one array.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from rnn_research.layers import sigmoid


class Elementwise(NamedTuple):
  """The elementwise part of a step and its transpose. States are NamedTuples with a field `h`; any
  shapes that agree.

  Attributes:
    forward: `(us, ms, state) -> (state, residuals)`, with u and m = h W_h + b_h of every gate.
    backward: `(residuals, dstate) -> (dms, dus, dstate_previous)`, the last without the path
      through m. `dus` are those of `apart`; for the other gates du = dm.
    num_gates: length of `us`, `ms` and `dms`.
    num_residuals: length of `residuals`.
    apart: indices of gates where u and m do not just add up.
  """

  forward: Callable
  backward: Callable
  num_gates: int
  num_residuals: int
  apart: tuple[int, ...]


def _lstm_forward(us, ms, state):
  z_i, z_f, z_g, z_o = (u + m for u, m in zip(us, ms, strict=True))
  i, f, g, o = sigmoid(z_i), sigmoid(z_f), jnp.tanh(z_g), sigmoid(z_o)
  c = f * state.c + i * g
  tanh_c = jnp.tanh(c)
  slopes = g * i * (1.0 - i), state.c * f * (1.0 - f), i * (1.0 - g * g), tanh_c * o * (1.0 - o)
  return state._replace(c=c, h=o * tanh_c), (o * (1.0 - tanh_c * tanh_c), f, *slopes)


def _lstm_backward(residuals, dstate):
  dc_dh, f, *slopes = residuals
  dc = dstate.c + dstate.h * dc_dh
  dms = [d * slope for d, slope in zip((dc, dc, dc, dstate.h), slopes, strict=True)]
  return dms, (), dstate._replace(c=dc * f, h=jnp.zeros_like(dc))


def _gru_forward(us, ms, state):
  r, z = sigmoid(us[0] + ms[0]), sigmoid(us[1] + ms[1])
  n = jnp.tanh(us[2] + r * ms[2])
  difference = state.h - n
  dn = (1.0 - z) * (1.0 - n * n)
  residuals = dn, dn * r, dn * ms[2] * r * (1.0 - r), difference * z * (1.0 - z), z
  return state._replace(h=n + z * difference), residuals


def _gru_backward(residuals, dstate):
  n_factor, m_factor, r_factor, z_factor, z = residuals
  dh = dstate.h
  return (dh * r_factor, dh * z_factor, dh * m_factor), (dh * n_factor,), dstate._replace(h=dh * z)


LSTM = Elementwise(_lstm_forward, _lstm_backward, num_gates=4, num_residuals=6, apart=())
GRU = Elementwise(_gru_forward, _gru_backward, num_gates=3, num_residuals=5, apart=(2,))
