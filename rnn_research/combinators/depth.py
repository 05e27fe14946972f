"""Depth: functions that put cells on top of each other, or lead paths around them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal

from rnn_research.cell import Cell
from rnn_research.layers import affine, check_output, sigmoid
from rnn_research.layers import dropout as dropped
from rnn_research.stepping import output_shapes, prepare_cell, project_one
from rnn_research.typing import Array, Params
from rnn_research.unroll import Steps, check_flags, run_layers, select


def stack(*cells: Cell, dropout: float = 0.0) -> Cell:
  """One cell made of several, each reading the output of the one below.

    h^0_t = x_t,    h^l_t = cell_l(h^{l-1}_t, h^l_{t-1}),    y_t = h^L_t

  Parameters and states are tuples, the same trees as `unroll_layers` uses: train layer by layer,
  sample step by step.

  Args:
    *cells: at least one, the first reads the input.
    dropout: rate on the outputs of every layer but the last, drawn anew at every step where there
      is a key; with it there is no whole-sequence form, `unroll_layers` has one.

  Raises:
    InputError: at `init`, the output of a cell below another is no array.

  Source: standard. Deviates from the paper: nothing.
  """
  prepared = any(cell.prepare for cell in cells)

  def init(key, x, ctx=None):
    params = []
    for i, (cell, k) in enumerate(zip(cells, jax.random.split(key, len(cells)), strict=True)):
      if i > 0:
        check_output('stack', x)
      params.append(cell.init(k, x, ctx))
      x = output_shapes(cell, params[-1], x, ctx)
    return tuple(params)

  def initial_state(params, batch_size):
    return tuple(cell.initial_state(p, batch_size) for cell, p in zip(cells, params, strict=True))

  def project(params, xs):
    return cells[0].project(params[0], xs)

  def step(params, state, u, *, key=None, ctx=None):
    contexts = ctx if prepared and ctx is not None else (ctx,) * len(cells)
    states, y = [], None
    for i, cell in enumerate(cells):
      if i > 0:
        drop_key = None if key is None else jax.random.fold_in(key, len(cells) + i)
        u = project_one(cell, params[i], dropped(drop_key, y, dropout))
      cell_key = None if key is None else jax.random.fold_in(key, i)
      new_state, y = cell.step(params[i], state[i], u, key=cell_key, ctx=contexts[i])
      states.append(new_state)
    return tuple(states), y

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    check_flags(mask, reset, reset_state, jax.tree.leaves(xs)[0].shape[:2])
    bare = [cell._replace(prepare=None) for cell in cells]
    resets = (None,) * len(cells) if reset_state is None else reset_state
    return run_layers(
      bare, params, state, Steps(xs, mask, reset, None), resets, keys=[None] * len(cells)
    )

  def prepare(params, ctx, batch_size, *, key=None):
    outcomes = []
    for i, cell in enumerate(cells):
      cell_key = None if key is None else jax.random.fold_in(key, i)
      outcomes.append(prepare_cell(cell, params[i], ctx, batch_size, cell_key))
    params, contexts = zip(*outcomes, strict=True)
    return params, None if all(c is None for c in contexts) else contexts

  whole = scan if all(cell.scan for cell in cells) and not dropout else None
  noisy = dropout > 0 or any(cell.noisy for cell in cells)
  return Cell(init, initial_state, project, step, whole, prepare if prepared else None, noisy=noisy)


def residual(cell: Cell) -> Cell:
  """Adds the input to the output: `y_t = x_t + cell(x_t, h_{t-1})`. Input and output sizes must
  agree.

  Raises:
    ValueError: at `init`, when they do not.
    InputError: at `init`, the output of the cell is no array.

  Source: Wu et al. 2016 (arXiv 1609.08144), equation 6. Deviates from the paper: nothing.
  """

  def init(key, x, ctx=None):
    params = cell.init(key, x, ctx)
    _check_same_shape('residual', cell, params, x, ctx)
    return params

  def project(params, xs):
    return cell.project(params, xs), xs

  def step(params, state, u, *, key=None, ctx=None):
    u, x = u
    state, y = cell.step(params, state, u, key=key, ctx=ctx)
    return state, x.astype(y.dtype) + y

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    state, ys = cell.scan(params, state, xs, mask=mask, reset=reset, reset_state=reset_state)
    return state, _masked(xs, mask).astype(ys.dtype) + ys

  def gates(params, state, u):
    return cell.gates(params, state, u[0])

  return cell._replace(
    init=init, project=project, step=step, scan=cell.scan and scan, gates=cell.gates and gates
  )


class HighwayParams(NamedTuple):
  """Parameters of `highway`."""

  cell: Params
  w_t: Array  # [F, F] float32
  b_t: Array  # [F] float32


def highway(cell: Cell, *, transform_bias: float = -1.0, dtype=jnp.float32) -> Cell:
  """Mixes the output with the input, unit by unit. Input and output sizes must agree.

    T_t = sigmoid(x_t W_T + b_T),    y_t = cell(x_t, h_{t-1}) * T_t + x_t * (1 - T_t)

  A combinator that changes weights of the cell goes inside: `highway(weight_dropout(cell, 0.5))`.

  Args:
    cell: the recurrence.
    transform_bias: initial b_T; below 0 the layer starts near a copy of its input.
    dtype: precision of the product with W_T.

  Raises:
    ValueError: at `init`, when the sizes do not agree.
    InputError: at `init`, the output of the cell is no array.

  Source: Srivastava et al. 2015 (arXiv 1505.00387). Deviates from the paper: the transform is a
  recurrent cell.
  """

  def init(key, x, ctx=None):
    key_cell, key_t = jax.random.split(key)
    params, size = cell.init(key_cell, x, ctx), x.shape[-1]
    _check_same_shape('highway', cell, params, x, ctx)
    w_t = lecun_normal()(key_t, (size, size), jnp.float32)
    return HighwayParams(params, w_t, jnp.full(size, transform_bias, jnp.float32))

  def initial_state(params, batch_size):
    return cell.initial_state(params.cell, batch_size)

  def gate(params, xs):
    return sigmoid(affine(xs, params.w_t, params.b_t, dtype))

  def project(params, xs):
    return cell.project(params.cell, xs), xs, gate(params, xs)

  def step(params, state, u, *, key=None, ctx=None):
    u, x, t = u
    state, y = cell.step(params.cell, state, u, key=key, ctx=ctx)
    return state, _mix(y, x, t)

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    state, ys = cell.scan(params.cell, state, xs, mask=mask, reset=reset, reset_state=reset_state)
    xs = _masked(xs, mask)
    return state, _mix(ys, xs, gate(params, xs))

  def prepare(params, ctx, batch_size, *, key=None):
    inner, ctx = cell.prepare(params.cell, ctx, batch_size, key=key)
    return params._replace(cell=inner), ctx

  def gates(params, state, u):
    return cell.gates(params.cell, state, u[0])

  return Cell(
    init,
    initial_state,
    project,
    step,
    cell.scan and scan,
    cell.prepare and prepare,
    cell.gates and gates,
    cell.noisy,
  )


def _mix(y, x, t):
  return (y * t + x * (1.0 - t)).astype(y.dtype)


def _masked(xs, mask):
  """Returns the inputs with 0 at masked steps, where the cell's output is 0 and the sum of both
  must be."""
  xs = jnp.asarray(xs)  # the vectors of `layers.OneHot`
  return xs if mask is None else select(mask, xs, jnp.zeros_like(xs))


def _check_same_shape(name, cell, params, x, ctx):
  y = output_shapes(cell, params, x, ctx)
  check_output(name, y)
  if y.shape != x.shape:
    raise ValueError(f'{name} needs outputs of the input shape {x.shape}, the cell gives {y.shape}')
