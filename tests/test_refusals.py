"""What every driver and every engine refuses in one sentence: flags of steps that are not bool, inputs without a batch."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  BASE_2,
  BATCH,
  CASES,
  NUM_INPUTS,
  NUM_STEPS,
  inputs,
  make,
  perturbed,
  stepped,
)

from rnn_research import (
  CELLS,
  Cell,
  bidirectional,
  gru,
  highway,
  learned_initial_state,
  lstm,
  residual,
  stack,
  stepping,
  unroll,
  unroll_layers,
  variational_dropout,
  zoneout,
)
from rnn_research.cells import make_cell, tree_cell, with_engine
from rnn_research.cells.attention_decoders import bahdanau, input_feeding, luong
from rnn_research.engines.parallel.linear import diagonal_scan, matrix_scan
from rnn_research.engines.parallel.newton import newton_scan
from rnn_research.engines.parallel.shooting import shooting_scan
from rnn_research.errors import InputError
from rnn_research.memory.attention import Memory, additive
from rnn_research.models import topologies

pytestmark = pytest.mark.usefixtures('strict_shapes')

SHAPE = NUM_STEPS, BATCH
ONES = np.ones(SHAPE, bool)
FLAGS = {
  'int32': (ONES.astype(np.int32), 'of dtype int32'),
  'uint8': (jnp.asarray(ONES, jnp.uint8), 'of dtype uint8'),
  'float32': (jnp.asarray(ONES, jnp.float32), 'of dtype float32'),
  'object': (ONES.astype(object), 'of dtype object'),
  'list': (ONES.tolist(), 'a list'),
  'bool': (True, 'a bool'),
}
GRU = gru(3)
PARAMS = perturbed(GRU)
STATE = GRU.initial_state(PARAMS, BATCH)
UNITS = jnp.ones((*SHAPE, 3))


def scan_of(name):
  cell = make(name)
  params = perturbed(cell)
  state = cell.initial_state(params, BATCH)
  return functools.partial(cell.scan, params, state, inputs(), reset_state=state)


def engine_of(name, engine):
  cell = make_cell(name, 5, engine=engine)
  params = perturbed(cell)
  state = cell.initial_state(params, BATCH)
  return functools.partial(cell.scan, params, state, inputs(), reset_state=state)


DRIVERS = {
  'unroll': functools.partial(unroll, GRU, PARAMS, inputs()),
  'unroll, stepped': functools.partial(unroll, stepped(GRU), PARAMS, inputs()),
  'unroll, reversed': functools.partial(unroll, GRU, PARAMS, inputs(), reverse=True),
  'unroll_layers': functools.partial(unroll_layers, (GRU,), (PARAMS,), inputs()),
  'diagonal_scan': functools.partial(diagonal_scan, UNITS, UNITS, UNITS[0], reset_state=UNITS[0]),
  'matrix_scan': functools.partial(
    matrix_scan, jnp.ones((*SHAPE, 3, 3)), UNITS, UNITS[0], reset_state=UNITS[0]
  ),
  'newton_scan': functools.partial(newton_scan, GRU, PARAMS, STATE, inputs(), reset_state=STATE),
  'shooting_scan': functools.partial(
    shooting_scan, GRU, PARAMS, STATE, inputs(), reset_state=STATE
  ),
  **{f'scan of {name}': scan_of(name) for name in CASES if make(name).scan is not None},
  **{
    f'{engine} of {name}': engine_of(name, engine)
    for engine in ('newton', 'shooting')
    for name in ('lru', 'mut1')
  },
}
MASKED = {
  'bidirectional': functools.partial(bidirectional, GRU, GRU, (PARAMS, PARAMS), inputs()),
  'many_to_one': functools.partial(topologies.many_to_one, GRU, PARAMS, inputs()),
  'many_to_many': functools.partial(topologies.many_to_many, GRU, PARAMS, inputs()),
}


@pytest.mark.parametrize('kind', FLAGS)
@pytest.mark.parametrize(
  ('driver', 'flag'),
  [*((d, flag) for d in DRIVERS for flag in ('mask', 'reset')), *((d, 'mask') for d in MASKED)],
)
def test_flags_that_are_not_bool_are_refused(driver, flag, kind):
  array, found = FLAGS[kind]
  with pytest.raises(InputError, match=f'^{flag} is {found}, expected an array of bool, .T, B.$'):
    (DRIVERS | MASKED)[driver](**{flag: array})


@pytest.mark.parametrize('driver', DRIVERS)
def test_flags_of_another_shape_are_refused(driver):
  with pytest.raises(ValueError, match=r'^mask has shape \(8, 1\), expected \[T, B\] = \(8, 3\)'):
    DRIVERS[driver](mask=ONES[:, :1])


@pytest.mark.parametrize('engine', ['scan', 'fused', 'newton', 'shooting'])
def test_no_gradient_passes_a_reset(engine):
  cell = gru(1, engine=engine)
  params, xs = cell.init(jax.random.key(0), jnp.ones((1, 1))), jnp.ones((2, 1, 1))
  last = lambda xs: unroll(cell, params, xs, reset=np.array([[False], [True]]))[1][1, 0, 0]
  gradient = np.asarray(jax.jit(jax.grad(last))(xs))
  assert gradient[0] == 0.0 and gradient[1] != 0.0


@pytest.mark.parametrize('engine', ['auto', 'scan', 'newton', 'shooting'])
@pytest.mark.parametrize('name', CELLS)
def test_inputs_without_a_batch_axis_are_refused(name, engine):
  cell = make_cell(name, 4, engine=engine)
  params = perturbed(cell)
  for shape in ((6, NUM_INPUTS), (6, 2, 3, NUM_INPUTS)):
    sentence = f'xs has shape {shape}, expected [T, B, F]: time steps, batch rows and features'
    with pytest.raises(InputError, match=re.escape(sentence)):
      unroll(cell, params, jnp.ones(shape))


@pytest.mark.parametrize('size', [0, -1, 2.5, True, '4', None])
def test_sizes_that_are_none_are_refused(size):
  tree = functools.partial(tree_cell, tree=BASE_2)
  for factory in (*CELLS.values(), tree):
    with pytest.raises(InputError, match=f'^hidden_size is {size!r}, expected an integer >= 1$'):
      factory(size)
    assert factory(np.int64(2)).init
  for factory in (additive, functools.partial(input_feeding, GRU)):
    with pytest.raises(InputError, match=r'^size is .*, expected an integer >= 1$'):
      factory(size)
  if size is not None:
    with pytest.raises(InputError, match=r'^projection_size is .*, expected an integer >= 1$'):
      lstm(4, projection_size=size)


DECODERS = {
  'bahdanau': lambda: bahdanau(gru(4), additive(3)),
  'luong': lambda: luong(gru(4), additive(3)),
  'input_feeding': lambda: input_feeding(luong(gru(4), additive(3)), 4),
}
# What may go around a decoder cell ..
AROUND = {
  'alone': lambda cell: cell,
  'top of a stack': lambda cell: stack(gru(4), cell),
  'variational_dropout': lambda cell: variational_dropout(cell, input_rate=0.0),
  'learned_initial_state': learned_initial_state,
  'newton': lambda cell: with_engine(cell, 'newton'),
  'shooting': lambda cell: with_engine(cell, 'shooting'),
}
# .. and what needs an array.
NEEDS_AN_ARRAY = {
  'stack': lambda cell: stack(cell, gru(4)),
  'residual': residual,
  'highway': highway,
  'zoneout': lambda cell: zoneout(cell, 0.3),
}
MEMORY = Memory(jnp.ones((BATCH, 6, 7)), jnp.ones((BATCH, 6), bool))


@pytest.mark.parametrize('around', AROUND)
@pytest.mark.parametrize('decoder', DECODERS)
def test_a_cell_that_attends_says_that_it_needs_a_memory(decoder, around):
  cell, xs, key = AROUND[around](DECODERS[decoder]()), inputs(), jax.random.key(0)
  params = jax.eval_shape(lambda: cell.init(key, xs[0], MEMORY))
  start = lambda params: cell.initial_state(params, BATCH)
  ctx = MEMORY if around in ('newton', 'shooting') else None
  for call in (
    lambda params: cell.init(key, xs[0]),
    lambda params: cell.init(key, xs[0], MEMORY.values),
    lambda params: unroll(cell, params, xs, ctx=ctx),
    lambda params: bidirectional(cell, cell, (params, params), xs),
    lambda params: stepping.take_step(cell, params, start(params), xs[0]),
    lambda params: stepping.free_run(cell, params, start(params), xs[0], lambda y, _: (y.h, y), 3),
    lambda params: topologies.many_to_one(cell, params, xs),
  ):
    with pytest.raises(InputError, match=r'^a cell that attends needs ctx=Memory.*, found '):
      jax.eval_shape(call, params)


@pytest.mark.parametrize('owner', NEEDS_AN_ARRAY)
@pytest.mark.parametrize('decoder', ['bahdanau', 'luong'])
def test_a_combinator_that_needs_an_array_refuses_a_decoder(decoder, owner):
  cell = NEEDS_AN_ARRAY[owner](DECODERS[decoder]())
  with pytest.raises(InputError, match=f'^{owner} needs a cell whose output is an array .*Read; '):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), inputs()[0], MEMORY))
    jax.eval_shape(lambda params: unroll(cell, params, inputs(), ctx=MEMORY), params)


def test_a_state_with_the_positions_of_a_memory_must_be_given():
  """Such as the coverage of Tu et al. 2016: the sum of the weights so far."""
  cell = Cell(
    init=lambda key, x, ctx=None: jnp.ones(()),
    initial_state=lambda params, batch_size: jnp.zeros((batch_size, 1)),
    project=lambda params, xs: xs,
    step=lambda params, state, u, *, key=None, ctx=None: (state + ctx.mask, u),
  )
  with pytest.raises(InputError, match=r'shape \(3, 1\) before .* \(3, 6\) after .* the memory'):
    unroll(cell, jnp.ones(()), inputs(), ctx=MEMORY)
  end, _ = unroll(cell, jnp.ones(()), inputs(), jnp.zeros((BATCH, 6)), ctx=MEMORY)
  np.testing.assert_array_equal(end, np.full((BATCH, 6), NUM_STEPS))


def test_a_stack_and_its_combinators_refuse_them_too():
  for name in ('stack', 'residual', 'highway', 'zoneout', 'layer_norm', 'learned_initial_state'):
    with pytest.raises(InputError, match=r'xs has shape \(6, 4\), expected \[T, B, F\]'):
      unroll(make(name), perturbed(make(name)), jnp.ones((6, NUM_INPUTS)))


def test_a_cell_of_symbols_reads_time_and_batch():
  cell = Cell(
    init=lambda key, x, ctx=None: jnp.arange(12.0).reshape(4, 3),
    initial_state=lambda params, batch_size: jnp.zeros((batch_size, 3)),
    project=lambda params, xs: params[xs],
    step=lambda params, state, u, *, key=None, ctx=None: (state + u, state + u),
  )
  ids = jnp.array([[0, 1], [3, 3], [2, 0]])
  table = cell.init(None, None)
  end, ys = unroll(stack(cell, stepped(gru(2))), (table, perturbed(gru(2), 3)), ids)
  np.testing.assert_array_equal(end[0], table[ids].sum(0))
  assert ys.shape == (3, 2, 2)
