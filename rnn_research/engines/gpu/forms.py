"""Forms of cells for NVIDIA GPUs, and what they leave to the fused scan."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnn_research.cell import Cell
from rnn_research.engines.dispatch import Form
from rnn_research.engines.gpu.elementwise import Elementwise
from rnn_research.errors import InputError
from rnn_research.typing import Array, Params


def cudnn_form(hidden_size: int, dtype, cell: Cell) -> Form:
  """Returns cuDNN's form of an LSTM without a projection.

  What it does not know goes to the fused scan: masks, resets, sequences or batches of length 0, and
  parameters or states that are not float32. Second derivatives are not defined.

  Args:
    hidden_size: H.
    dtype: precision of the products.
    cell: its `scan` is the fused scan.
  """

  def run(params, state, xs):
    from rnn_research.engines.gpu.cudnn import cudnn_lstm

    (c, h), hs = cudnn_lstm(xs, params.w_x, params.w_h, params.b, state.c, state.h)
    return state._replace(c=c, h=h), hs

  def unavailable():
    from rnn_research.engines.gpu import cudnn

    return cudnn.unavailable(dtype)

  return _checked('cudnn', run, unavailable, cell, (hidden_size, jnp.dtype(dtype)))


def pallas_form(
  elementwise: Elementwise,
  hidden_size: int,
  dtype,
  cell: Cell,
  recurrent_bias: Callable[[Params], Array | None] = lambda params: None,
) -> Form:
  """Returns the form of a cell in one Pallas kernel; see `cudnn_form`.

  Args:
    elementwise: the elementwise part of the cell's step.
    hidden_size: H.
    dtype: precision of the products.
    cell: its one recurrent matrix is `w_h`, and its `scan` is the fused scan.
    recurrent_bias: what is added to the recurrent product, `params -> [G] float32`, or None.
  """

  def run(params, state, xs):
    from rnn_research.engines.gpu import pallas  # slow to load

    us, b_h = cell.project(params, xs), recurrent_bias(params)
    return pallas.pallas_scan(elementwise, us, params.w_h, state, b_h=b_h, dtype=dtype)

  def unavailable():
    from rnn_research.engines.gpu import pallas

    return pallas.unavailable(elementwise, hidden_size, dtype)

  key = elementwise, hidden_size, jnp.dtype(dtype)
  return _checked('pallas', run, unavailable, cell, key)


def _checked(
  name: str, run: Callable, unavailable: Callable[[], str | None], cell: Cell, key: tuple
) -> Form:
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

  return Form(name, scan, reason)


def _suits(params, state, xs):
  return all(xs.shape[:2]) and all(a.dtype == jnp.float32 for a in jax.tree.leaves((params, state)))
