"""The minimal gated recurrent unit, whose gate does not see the state: a linear recurrence."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal

from rnn_research.cell import Cell, InitFn, ProjectFn
from rnn_research.engines.dispatch import Auto, Form, with_engine
from rnn_research.engines.parallel.linear import diagonal_scan
from rnn_research.errors import require_size
from rnn_research.layers import input_product
from rnn_research.typing import Array
from rnn_research.unroll import select


class MinGRUParams(NamedTuple):
  """Parameters of `min_gru`."""

  w_x: Any  # [F, 2H] float32, in the order z h
  b: Array  # [2H] float32


class LinearInput(NamedTuple):
  """Projected input of a linear cell."""

  a: Array  # [T, B, H] float32
  b: Array  # [T, B, H] float32
  gates: dict[str, Array]  # [T, B, H] float32, which are known before any state is


class LinearState(NamedTuple):
  """State of a linear cell."""

  h: Array  # [B, H] float32


def min_gru(
  hidden_size: int,
  *,
  w_x_init: Callable = lecun_normal(),
  engine: str = 'auto',
  dtype=jnp.float32,
) -> Cell:
  """The minimal gated recurrent unit.

    z_t = sigmoid(x_t W_z + b_z),    n_t = x_t W_n + b_n
    h_t = (1 - z_t) * h_{t-1} + z_t * n_t,    y_t = h_t

  The scan multiplies factors in (0, 1) and adds: a long product that underflows is a state
  forgotten, so plain space is exact enough. Log space is needed only by a scan of cumulative sums,
  which divides by such a product.

  Args:
    hidden_size: H.
    w_x_init: initialiser of [F, 2H].
    engine: 'auto', 'linear', 'newton', 'shooting' or 'scan'; see `rnn_research.engines.dispatch`.
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Raises:
    InputError: there is no such engine.

  Source: Feng et al. 2024 (arXiv 2410.01201), section 3.1. Deviates from the paper: the candidate
  is n_t itself, not the positive g(n_t) that the paper's log-space training takes in its place.
  """

  def init(key, x, ctx=None):
    return MinGRUParams(
      w_x=w_x_init(key, (x.shape[-1], 2 * hidden_size), jnp.float32),
      b=jnp.zeros(2 * hidden_size, jnp.float32),
    )

  def project(params, xs):
    a, n = jnp.split(input_product(xs, params.w_x, params.b, dtype), 2, -1)
    z = jax.nn.sigmoid(a)
    return LinearInput(jax.nn.sigmoid(-a), z * n, {'z': z, 'n': n})

  return with_engine(linear_cell('min_gru', hidden_size, init, project, dtype), engine)


def linear_cell(
  name: str, hidden_size: int, init: InitFn, project: ProjectFn, dtype=jnp.float32
) -> Cell:
  """Makes the cell `h_t = a_t * h_{t-1} + b_t, y_t = h_t`, whose coefficients depend on the input
  alone.

  Args:
    name: of the cell.
    hidden_size: H.
    init: draws parameters, which have a field `b`.
    project: `(params, xs [T, B, F]) -> LinearInput`.
    dtype: of the outputs.

  Raises:
    InputError: `hidden_size` is no integer of 1 or more.
  """
  require_size('hidden_size', hidden_size)

  def initial_state(params, batch_size):
    return LinearState(jnp.zeros((batch_size, hidden_size), params.b.dtype))

  def step(params, state, u, *, key=None, ctx=None):
    h = u.a * state.h + u.b
    return LinearState(h), h.astype(dtype)

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    a, b, _ = project(params, xs)
    start = None if reset is None else reset_state.h
    h, hs = diagonal_scan(a, b, state.h, mask=mask, reset=reset, reset_state=start)
    ys = hs if mask is None else select(mask, hs, jnp.zeros_like(hs))
    return LinearState(h), ys.astype(dtype)

  def gates(params, state, u):
    return u.gates

  auto = Auto(name, (Form('linear', scan),))
  return Cell(init, initial_state, project, step, auto, gates=gates)
