"""Engines for NVIDIA GPUs as forms of the cells, and what they ask of the machine."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnn_research.cell import Cell
from rnn_research.engines.dispatch import Engine
from rnn_research.errors import InputError
from rnn_research.layers import affine


def compute_capability() -> tuple[int, int] | None:
  """Returns the CUDA compute capability of the default device, (9, 0) for Hopper; None where it is
  no CUDA device."""
  device = jax.config.jax_default_device or jax.local_devices()[0]
  major, dot, minor = getattr(device, 'compute_capability', '').partition('.')
  return (int(major), int(minor)) if dot else None


def lstm_engines(hidden_size: int, dtype, cell: Cell) -> dict[str, Engine]:
  """Returns the engines of an LSTM without peepholes or projection.

  What they do not know goes to the fused scan: masks, resets, sequences or batches of length 0, and
  parameters or states that are not float32. Second derivatives are not defined.

  Args:
    hidden_size: H.
    dtype: precision of the products.
    cell: its `scan` is the fused scan.
  """

  def cudnn(params, state, xs):
    from rnn_research.engines.gpu.cudnn import cudnn_lstm

    (c, h), hs = cudnn_lstm(xs, params.w_x, params.w_h, params.b, state.c, state.h)
    return state._replace(c=c, h=h), hs

  def pallas(params, state, xs):
    from rnn_research.engines.gpu import pallas, pallas_gates  # Pallas is slow to load

    us = affine(xs, params.w_x, params.b, dtype)
    return pallas.pallas_scan(pallas_gates.LSTM, us, params.w_h, state, dtype=dtype)

  key = 'lstm', hidden_size, jnp.dtype(dtype)
  return {
    'cudnn': _engine('cudnn', cudnn, lambda: _cudnn_unavailable(dtype), cell, key),
    'pallas': _engine(
      'pallas', pallas, lambda: _pallas_unavailable('LSTM', hidden_size, dtype), cell, key
    ),
  }


def gru_engines(hidden_size: int, dtype, cell: Cell) -> dict[str, Engine]:
  """Returns the engines of a GRU with the reset after the product; see `lstm_engines`."""

  def pallas(params, state, xs):
    from rnn_research.cells.gru import recurrent_bias
    from rnn_research.engines.gpu import pallas, pallas_gates

    us = affine(xs, params.w_x, params.b, dtype)
    return pallas.pallas_scan(
      pallas_gates.GRU, us, params.w_h, state, b_h=recurrent_bias(params), dtype=dtype
    )

  key = 'gru', hidden_size, jnp.dtype(dtype)
  return {
    'pallas': _engine(
      'pallas', pallas, lambda: _pallas_unavailable('GRU', hidden_size, dtype), cell, key
    )
  }


def _engine(
  name: str, run: Callable, unavailable: Callable[[], str | None], cell: Cell, key: tuple
) -> Engine:
  *_, dtype = key

  def plain(params, state, xs):
    state, hs = run(params, state, xs)
    return state, hs.astype(dtype)

  def reason():
    from rnn_research.engines.gpu.check import disagreement

    tolerance = 1e-4 if dtype == jnp.float32 else 2e-2
    return unavailable() or disagreement((name, *key), plain, cell, tolerance)

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    found = reason()
    if found:
      raise InputError(f'engine {name!r} cannot run: {found}')
    if mask is not None or reset is not None or not _suits(params, state, xs):
      return cell.scan(params, state, xs, mask=mask, reset=reset, reset_state=reset_state)
    return plain(params, state, xs)

  return Engine(scan, reason)


def _suits(params, state, xs):
  return all(xs.shape[:2]) and all(a.dtype == jnp.float32 for a in jax.tree.leaves((params, state)))


def _cudnn_unavailable(dtype):
  from rnn_research.engines.gpu import cudnn

  return cudnn.unavailable(dtype)


def _pallas_unavailable(gates, hidden_size, dtype):
  from rnn_research.engines.gpu import pallas, pallas_gates

  return pallas.unavailable(getattr(pallas_gates, gates), hidden_size, dtype)
