"""Functions from a cell to a cell that change its weights, its noise or its start; `depth` has
those that add layers.

Weights are found by name: fields that begin with `w_x` multiply the input, fields that begin with
`w_h` the state; a field may hold a tuple of matrices.
"""

from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.errors import InputError
from rnn_research.layers import Masked, Normalized
from rnn_research.stepping import prepare_cell, project_one
from rnn_research.typing import Params, PyTree


def zoneout(cell: Cell, rates: PyTree) -> Cell:
  """Keeps each unit's old value with some probability instead of updating it.

    s_t = d * s_{t-1} + (1 - d) * cell(s_{t-1}, x_t),   d ~ Bernoulli(z) anew at every step;
    without a key d = z

  The output is the zoned-out h.

  Args:
    cell: its state has a field `h`, which is its output; what leads around it, such as `residual`,
      goes outside: `residual(zoneout(cell, 0.1))`.
    rates: z, a number, or a state of numbers such as `LSTMState(c=0.5, h=0.05)`.

  Raises:
    ValueError: a rate is outside [0, 1], or the state has no field `h`.
    InputError: the output of the cell is no array, or, at `init`, is not h.

  Source: Krueger et al. 2017, section 3. Deviates from the paper: h_t is computed from the cell's
  new c_t, not from the zoned-out one.
  """
  for rate in jax.tree.leaves(rates):
    if not 0.0 <= rate <= 1.0:
      raise ValueError(f'a zoneout rate is {rate}, expected 0 <= rate <= 1')

  def init(key, x, ctx=None):
    _check_gives_h(cell, x, ctx)
    return cell.init(key, x, ctx)

  def step(params, state, u, *, key=None, ctx=None):
    if not hasattr(state, 'h'):
      raise ValueError(f'zoneout needs a state with a field h, found {type(state).__name__}')
    update_key, zone_key = (None, None) if key is None else jax.random.split(key)
    new_state, y = cell.step(params, state, u, key=update_key, ctx=ctx)
    layers.check_output('zoneout', y)
    z = jax.tree.map(lambda _: rates, state) if isinstance(rates, Real) else rates
    state = jax.tree.map(
      _zone, _keys_like(zone_key, state), z, state, new_state, is_leaf=lambda a: a is None
    )
    return state, state.h.astype(y.dtype)

  return cell._replace(init=init, step=step, scan=None, noisy=True)


def _check_gives_h(cell, x, ctx):
  """Raises InputError unless a step of random numbers gives h: the output would be lost. A state
  without one is refused by the step."""
  drawn = lambda a: jnp.ones(a.shape, a.dtype) if a.dtype == bool else _noise(a)
  with jax.ensure_compile_time_eval():  # `init` may be traced
    x, ctx = jax.tree.map(drawn, (x, ctx))
    params = cell.init(jax.random.key(0), x, ctx)
    size = jax.tree.leaves(x)[0].shape[0]
    params, ctx = prepare_cell(cell, params, ctx, size, None)
    state = cell.initial_state(params, size)
    state, y = cell.step(params, state, project_one(cell, params, x), ctx=ctx)
    layers.check_output('zoneout', y)
    same = not hasattr(state, 'h') or np.array_equal(y, state.h.astype(y.dtype), equal_nan=True)
  if not same:
    raise InputError(
      'zoneout is around a cell whose output is not the h of its state, expected it inside of what '
      'changes the output: residual(zoneout(cell, rate))'
    )


def _noise(a):
  return jax.random.normal(jax.random.key(1), a.shape).astype(a.dtype)


def variational_dropout(cell: Cell, *, input_rate: float = 0.0, state_rate: float = 0.0) -> Cell:
  """Drops inputs and recurrent inputs with one mask per sequence, the same at every step.

    m_t = (h_{t-1} * d_h) W_h,   u_t = (x_t * d_x) W_x,
    d ~ Bernoulli(1 - rate) / (1 - rate), drawn once

  A mask on a layer's output is the input mask of the layer above. Without a key nothing is dropped.

  Args:
    cell: its products go through `layers.matmul`.
    input_rate: of d_x.
    state_rate: of d_h, which touches the recurrent products only, not a state carried on
      elementwise.

  Raises:
    ValueError: a rate is outside [0, 1).

  Source: Gal and Ghahramani 2016, section 4. Deviates from the paper: masks are tied over gates.
  """
  for name, rate in (('input_rate', input_rate), ('state_rate', state_rate)):
    if not 0.0 <= rate < 1.0:
      raise ValueError(f'{name} is {rate}, expected 0 <= rate < 1')

  def prepare(params, ctx, batch_size, *, key=None):
    cell_key, key = (None, None) if key is None else jax.random.split(key)
    params, ctx = prepare_cell(cell, params, ctx, batch_size, cell_key)
    if key is None:
      return params, ctx

    def masked(i, rate, w):
      shape = batch_size, jax.tree.leaves(w)[0].shape[0]
      keep = jax.random.bernoulli(jax.random.fold_in(key, i), 1.0 - rate, shape)
      return Masked(w, keep / (1.0 - rate))

    for i, (prefix, rate) in enumerate((('w_x', input_rate), ('w_h', state_rate))):
      if rate:
        params = _change(params, prefix, lambda ws, i=i, r=rate: [masked(i, r, w) for w in ws])
    return params, ctx

  return cell._replace(scan=None, prepare=prepare)


def weight_dropout(cell: Cell, rate: float) -> Cell:
  """Drops recurrent weights, with one mask for all steps and sequences of an unroll; the cell keeps
  its fused form.

    m_t = h_{t-1} (W_h * d),    d ~ Bernoulli(1 - rate) / (1 - rate), drawn once

  Args:
    cell: the recurrence.
    rate: of d; without a key nothing is dropped.

  Raises:
    ValueError: `rate` is outside [0, 1).
    InputError: at `init`, the cell has no recurrent weights.

  Source: Merity et al. 2018 (arXiv 1708.02182), section 2; DropConnect, Wan et al. 2013. Deviates
  from the paper: nothing.
  """
  if not 0.0 <= rate < 1.0:
    raise ValueError(f'rate is {rate}, expected 0 <= rate < 1')

  def init(key, x, ctx=None):
    params = cell.init(key, x, ctx)
    _change(params, 'w_h', lambda ws: ws)  # a cell without any is refused before training
    return params

  def drop(key, w):
    return w._replace(w=drop(key, w.w)) if hasattr(w, '_replace') else layers.dropout(key, w, rate)

  def prepare(params, ctx, batch_size, *, key=None):
    cell_key, key = (None, None) if key is None else jax.random.split(key)
    params, ctx = prepare_cell(cell, params, ctx, batch_size, cell_key)
    if key is None:
      return params, ctx
    return _change(params, 'w_h', lambda ws: map(drop, jax.random.split(key, len(ws)), ws)), ctx

  return cell._replace(init=init, prepare=prepare)


def layer_norm(cell: Cell) -> Cell:
  """Normalises the input product and the recurrent product of a cell separately.

    x_t W_x -> LN(x_t W_x; a_x, b_x),    h_{t-1} W_h -> LN(h_{t-1} W_h; a_h, b_h),
    statistics over all gates

  Args:
    cell: its products go through `layers.matmul`.

  Raises:
    InputError: at `init`, the products are normalised already.

  Source: Ba, Kiros and Hinton 2016, equations 20-22. Deviates from the paper: the cell state of an
  LSTM is not normalised on its way to the output.
  """

  def init(key, x, ctx=None):
    params = cell.init(key, x, ctx)

    def wrap(w):
      if isinstance(w, Normalized):
        raise InputError('layer_norm is around a cell whose products are normalised already')
      size = w.shape[-1]
      return Normalized(w, jnp.ones(size, jnp.float32), jnp.zeros(size, jnp.float32))

    for prefix in ('w_x', 'w_h'):
      params = _change(params, prefix, lambda ws: map(wrap, ws))
    return params

  return cell._replace(init=init, scan=None)


class LearnedStart(NamedTuple):
  """Parameters of a cell whose initial state is learned."""

  cell: Params
  start: Any  # a state with leaves [1, ...] float32


def learned_initial_state(cell: Cell) -> Cell:
  """Makes the state before the first step a parameter, zero at initialisation; it is the state
  after a reset too.

  Source: standard. Deviates from the paper: nothing.
  """

  def init(key, x, ctx=None):
    params = cell.init(key, x, ctx)
    return LearnedStart(params, cell.initial_state(params, 1))

  def initial_state(params, batch_size):
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (batch_size, *a.shape[1:])), params.start)

  def project(params, xs):
    return cell.project(params.cell, xs)

  def step(params, state, u, *, key=None, ctx=None):
    return cell.step(params.cell, state, u, key=key, ctx=ctx)

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    return cell.scan(params.cell, state, xs, mask=mask, reset=reset, reset_state=reset_state)

  def prepare(params, ctx, batch_size, *, key=None):
    inner, ctx = cell.prepare(params.cell, ctx, batch_size, key=key)
    return params._replace(cell=inner), ctx

  def gates(params, state, u):
    return cell.gates(params.cell, state, u)

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


def _change(params, prefix, change):
  """Returns parameters with `change(matrices)` in place of all matrices, wrapped ones included, of
  the fields that begin with the prefix; a field holds one or a tuple of them."""
  fields = params._asdict() if hasattr(params, '_asdict') else {}
  names = [name for name in fields if name.startswith(prefix)]
  is_matrix = lambda a: isinstance(a, Masked | Normalized)
  matrices, structure = jax.tree.flatten([fields[name] for name in names], is_matrix)
  if not matrices:
    raise InputError(
      f'no weights {prefix}* in {type(params).__name__}: the cell has no such product, or a '
      'combinator hides it and must be the outer one'
    )
  changed = jax.tree.unflatten(structure, change(matrices))
  return params._replace(**dict(zip(names, changed, strict=True)))


def _keys_like(key, tree):
  leaves, structure = jax.tree.flatten(tree)
  keys = [None] * len(leaves) if key is None else list(jax.random.split(key, len(leaves)))
  return jax.tree.unflatten(structure, keys)


def _zone(key, rate, old, new):
  if key is None:
    return rate * old + (1.0 - rate) * new
  return jnp.where(jax.random.bernoulli(key, rate, old.shape), old, new)
