"""Engines for NVIDIA GPUs as forms of the cells, and what they ask of the machine."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnn_research.cell import ScanFn
from rnn_research.engines.choice import Engine
from rnn_research.errors import InputError
from rnn_research.layers import affine


def compute_capability() -> tuple[int, int] | None:
  """Returns the CUDA compute capability of the default device, (9, 0) for Hopper; None where it is no CUDA device."""
  major, dot, minor = getattr(jax.local_devices()[0], 'compute_capability', '').partition('.')
  return (int(major), int(minor)) if dot else None


def lstm_engines(hidden_size: int, dtype, fused: ScanFn) -> dict[str, Engine]:
  """Returns the engines of an LSTM without peepholes or projection; masks and resets go to `fused`."""
  def cudnn(params, state, xs):
    from rnn_research.engines.cudnn import cudnn_lstm
    (c, h), hs = cudnn_lstm(xs, params.w_x, params.w_h, params.b, state.c, state.h)
    return state._replace(c=c, h=h), hs

  def pallas(params, state, xs):
    from rnn_research.engines import pallas, pallas_gates  # Pallas is slow to load
    us = affine(xs, params.w_x, params.b, dtype)
    return pallas.pallas_scan(pallas_gates.LSTM, us, params.w_h, state, dtype=dtype)

  return {'cudnn': _unmasked('cudnn', cudnn, lambda: _cudnn_unavailable(dtype), fused, dtype),
          'pallas': _unmasked('pallas', pallas, lambda: _pallas_unavailable('LSTM', hidden_size, dtype), fused, dtype)}


def gru_engines(hidden_size: int, dtype, fused: ScanFn) -> dict[str, Engine]:
  """Returns the engines of a GRU with the reset after the product; see `lstm_engines`."""
  def pallas(params, state, xs):
    from rnn_research.engines import pallas, pallas_gates
    us, b_h = affine(xs, params.w_x, params.b, dtype), jnp.pad(params.b_hn, (2 * hidden_size, 0))
    return pallas.pallas_scan(pallas_gates.GRU, us, params.w_h, state, b_h=b_h, dtype=dtype)

  return {'pallas': _unmasked('pallas', pallas, lambda: _pallas_unavailable('GRU', hidden_size, dtype), fused, dtype)}


def _unmasked(name: str, engine: Callable, unavailable: Callable[[], str | None], fused: ScanFn, dtype) -> Engine:
  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    reason = unavailable()
    if reason:
      raise InputError(f'engine {name!r} cannot run: {reason}')
    if mask is not None or reset is not None:
      return fused(params, state, xs, mask=mask, reset=reset, reset_state=reset_state)
    state, hs = engine(params, state, xs)
    return state, hs.astype(dtype)

  return Engine(scan, unavailable)


def _cudnn_unavailable(dtype):
  from rnn_research.engines import cudnn
  return cudnn.unavailable(dtype)


def _pallas_unavailable(gates, hidden_size, dtype):
  from rnn_research.engines import pallas, pallas_check, pallas_gates
  gates = getattr(pallas_gates, gates)
  return pallas.unavailable(gates, hidden_size, dtype) or pallas_check.disagreement(gates, hidden_size, dtype)
