"""Singular values of the step Jacobian J_t = ds_t / ds_{t-1}, and of its product over many
steps."""

import functools

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from rnn_research.analysis.measures.traces import step_through
from rnn_research.cell import Cell
from rnn_research.stepping import take_step
from rnn_research.typing import Array, Params, PyTree


@functools.partial(jax.jit, static_argnums=0)
def step_jacobians(cell: Cell, params: Params, xs: PyTree, row: int = 0) -> Array:
  """Returns the Jacobians of all steps of one row, [T, N, N] float32: entry [t, i, j] is
  ds_t[i] / ds_{t-1}[j].

  N counts all numbers of the state, c and h of an LSTM, in the order of `ravel_pytree`.

  Args:
    cell: any recurrence.
    params: its parameters.
    xs: [T, B, F] inputs; the state before the first step is the initial one.
    row: which row of the batch.
  """
  xs = jax.tree.map(lambda a: a[:, row][:, None], xs)
  before, _, _ = step_through(cell, params, xs)
  unflatten = ravel_pytree(jax.tree.map(lambda a: a[0], before))[1]

  def step(flat, x):
    return ravel_pytree(take_step(cell, params, unflatten(flat), x)[0])[0]

  # One step at a time: a layer of 512 LSTM units has a million entries per step already.
  return jax.lax.map(
    lambda inputs: jax.jacfwd(step)(ravel_pytree(inputs[0])[0], inputs[1]), (before, xs)
  )


def product_singular_values(jacobians: np.ndarray, lags: tuple[int, ...]) -> np.ndarray:
  """Returns log singular values of `ds_T / ds_{T-k} = J_T J_{T-1} .. J_{T-k+1}` for every lag k.

  The product is multiplied out in float64 and divided by its norm after each factor, whose
  logarithm is kept apart, so that it neither overflows nor vanishes however many factors there are.
  That leaves one limit, that of the SVD: a value below 1e-13 of the largest is rounding and comes
  back as not-a-number.

  Args:
    jacobians: [T, N, N].
    lags: increasing numbers of steps, at most T.

  Returns:
    [K, N] float64, in nats, falling.

  Source: Pascanu, Mikolov and Bengio 2013 (arXiv 1211.5063), equations 5-7. Deviates from the
  paper: nothing.
  """
  product, log_scale, found = np.eye(jacobians.shape[-1]), 0.0, {}
  for k in range(1, max(lags) + 1):
    product = product @ np.asarray(jacobians[-k], np.float64)
    norm = np.linalg.norm(product)
    if norm == 0.0:  # a ReLU network whose units are all off: nothing comes through from here on
      break
    product, log_scale = product / norm, log_scale + np.log(norm)
    if k in lags:
      values = np.linalg.svd(product, compute_uv=False)
      found[k] = np.log(np.where(values > 1e-13 * values[0], values, np.nan)) + log_scale
  return np.array([found.get(k, np.full(jacobians.shape[-1], np.nan)) for k in lags])
