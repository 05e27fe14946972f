"""Multiple shooting over the sequence against stepping."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  BATCH,
  assert_near,
  assert_same,
  gradients,
  inputs,
  loss_from,
  loss_of,
  noisy,
  perturbed,
  stepped,
)
from launching import TINY

from rnn_research import (
  CELLS,
  Cell,
  elman,
  gru,
  learned_initial_state,
  length_mask,
  stack,
  unroll,
  variational_dropout,
)
from rnn_research.engines.parallel import in_parallel
from rnn_research.engines.parallel import shooting as module
from rnn_research.engines.parallel.shooting import shooting_scan

pytestmark = pytest.mark.usefixtures('strict_shapes')

GRU = gru(5)
ADDER = Cell(
  init=lambda key, x, ctx=None: (),
  initial_state=lambda params, batch_size: jnp.zeros((batch_size, 4)),
  project=lambda params, xs: xs,
  step=lambda params, state, u, *, key=None, ctx=None: (state + u, state + u),
)


def setup(cell, num_steps=50, batch_size=BATCH, dtype=jnp.float32):
  """Returns generic parameters, inputs, a state that is not the initial one, and loops with a row of length 0."""
  params = perturbed(cell, scale=0.1)
  xs, state = inputs(num_steps, batch_size), noisy(cell.initial_state(params, batch_size), 3)
  rng = np.random.default_rng(4)
  mask = rng.random((num_steps, batch_size)) < 0.8
  mask[:, 1:2] = False
  loops = {'mask': mask, 'reset': rng.random((num_steps, batch_size)) < 0.02}
  return *jax.tree.map(lambda a: a.astype(dtype), (params, xs, state)), loops


@functools.partial(jax.jit, static_argnums=0, static_argnames=('chunk_length', 'tolerance'))
def solve(cell, params, state, xs, **options):
  return shooting_scan(cell, params, state, xs, **options)


@pytest.mark.parametrize('name', ['elman', 'gru', 'lstm'])
def test_float64_equals_stepping_in_values_and_gradients(name):
  with jax.enable_x64(True):
    cell = CELLS[name](8, dtype=jnp.float64)
    params, xs, state, loops = setup(cell, 200, 2, jnp.float64)
    got = gradients(in_parallel(shooting_scan, cell), params, xs, state, **loops)
    assert_near(got, gradients(stepped(cell), params, xs, state, **loops), 1e-11)


@pytest.mark.parametrize(
  ('chunk_length', 'looped'), [(1, True), (7, True), (7, False), (25, False), (80, True)]
)
def test_every_chunk_length_equals_stepping(chunk_length, looped):
  params, xs, state, loops = setup(GRU)
  loops = loops if looped else {}
  got = gradients(
    in_parallel(shooting_scan, GRU, chunk_length=chunk_length), params, xs, state, **loops
  )
  assert_near(got, gradients(stepped(GRU), params, xs, state, **loops), 3e-5)


def tree_cell():
  """Returns a cell whose inputs, projections and state are trees, with a leaf of shape [B]."""

  def step(params, state, u, *, key=None, ctx=None):
    norm = jnp.tanh(state['norm'] * 0.5 + u['bias'])
    h = jnp.tanh(
      jnp.einsum('bij,jk->bik', state['pair'][0], params) + u['x'][:, None] * norm[:, None, None]
    )
    return {'norm': norm, 'pair': (h,)}, h.sum(1)

  initial_state = lambda params, batch_size: {
    'norm': jnp.ones(batch_size),
    'pair': (jnp.ones((batch_size, 2, 4)),),
  }
  return Cell(
    lambda key, x, ctx=None: 0.4 * jax.random.normal(key, (4, 4)),
    initial_state,
    lambda params, xs: xs,
    step,
  )


def test_inputs_and_states_may_be_trees():
  cell, (_, xs, _, loops) = tree_cell(), setup(GRU)
  params, xs = cell.init(jax.random.key(0), None), {'x': xs, 'bias': xs[..., 0]}
  state = noisy(cell.initial_state(params, BATCH), 3)
  got = gradients(in_parallel(shooting_scan, cell), params, xs, state, **loops)
  assert_near(got, gradients(cell, params, xs, state, **loops), 3e-5)


def test_a_cell_that_forgets_needs_two_passes():
  params, xs, state, _ = setup(GRU, 4096, 2)
  _, ys, info = solve(GRU, params, state, xs)
  assert info.passes == 2 and info.residual < 1.2e-5
  assert_near(ys, unroll(GRU, params, xs, state)[1], 2e-5)


@pytest.mark.parametrize(('num_steps', 'chunk_length'), [(40, 8), (43, 8), (9, 9)])
def test_a_cell_that_never_forgets_needs_as_many_passes_as_there_are_chunks(
  num_steps, chunk_length
):
  xs, state = jnp.round(8.0 * inputs(num_steps)), jnp.ones((BATCH, 4))
  end, ys, info = solve(ADDER, (), state, xs, chunk_length=chunk_length)
  assert_same((end, ys), unroll(ADDER, (), xs, state))
  assert (info.passes, info.residual) == (-(-num_steps // chunk_length), 0.0)
  weights = jnp.round(8.0 * inputs(num_steps, seed=1))
  total = lambda xs, state: jnp.sum(
    weights * shooting_scan(ADDER, (), state, xs, chunk_length=chunk_length)[1]
  )
  dxs, dstate = jax.jit(jax.grad(total, (0, 1)))(xs, state)
  assert_same(
    (dxs, dstate), (jnp.flip(jnp.cumsum(jnp.flip(weights, 0), 0), 0), jnp.sum(weights, 0))
  )


def test_padding_costs_no_passes():
  params, xs, state, _ = setup(GRU, 1024, 4)
  mask = np.asarray(length_mask(np.array([1024, 0, 100, 500]), 1024))
  end, _, info = solve(GRU, params, state, xs, mask=mask)
  assert info.passes <= 4
  assert_near(end, unroll(GRU, params, xs, state, mask=mask)[0], 2e-5)


def test_the_tolerance_stops_the_passes():
  params, xs, state, _ = setup(GRU)
  passes = [
    int(solve(GRU, params, state, xs, chunk_length=5, tolerance=t)[2].passes)
    for t in (1.0, 1e-2, 0.0)
  ]
  assert 1 == passes[0] < passes[1] < passes[2] <= 10


def test_chunks_are_rows_of_one_batch_in_the_form_of_the_cell():
  shapes = []

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    shapes.append((xs.shape, state.h.shape, mask))
    return GRU.scan(params, state, xs)

  params, xs, state, _ = setup(GRU, 48)
  solve(GRU._replace(scan=scan), params, state, xs)
  assert set(shapes) == {((8, 6 * BATCH, 4), (6 * BATCH, 5), None)}


@pytest.mark.parametrize(
  ('num_steps', 'length'), [(0, 1), (1, 1), (4096, 64), (1000, 40), (997, 32), (48, 8)]
)
def test_the_default_length_is_about_the_square_root_and_divides_where_it_can(num_steps, length):
  assert module._default_length(num_steps) == length


def test_padding_may_hold_anything_and_holds_the_state_bit_for_bit():
  cell = in_parallel(shooting_scan, GRU, chunk_length=3)
  params, xs, state, _ = setup(GRU, 8)
  mask = np.ones(xs.shape[:2], bool)
  mask[5:, 0], mask[:, 1] = False, False
  clean = gradients(cell, params, jnp.where(mask[..., None], xs, 0.0), state, mask=mask)
  assert_same(
    gradients(cell, params, jnp.where(mask[..., None], xs, jnp.nan), state, mask=mask), clean
  )
  ((_, (end, ys)), (_, dxs, dstate)) = clean
  assert_same((end.h[1], dstate.h[1]), (state.h[1], 2.0 * state.h[1]))
  assert not np.asarray(ys)[~mask].any() and not np.asarray(dxs)[~mask].any()
  assert_same(unroll(cell, params, xs, end, mask=np.zeros_like(mask))[0], end)


def test_a_row_that_is_not_a_number_ends_and_stays_alone():
  params, xs, state, _ = setup(GRU)
  broken, others = xs.at[:, 1].set(jnp.nan), np.array([0, 2])
  rows = lambda outcome: jax.tree.map(lambda a: a[others], (outcome[0][1][0], outcome[1][2]))
  got, expected = (
    gradients(cell, params, broken, state)
    for cell in (in_parallel(shooting_scan, GRU), stepped(GRU))
  )
  assert np.isnan(got[0][1][1][-1, 1]).all()
  assert solve(GRU, params, state, broken, chunk_length=10)[2].passes == 5
  assert_near(rows(got), rows(expected), 3e-5)
  assert_near(got[1][1][:, others], expected[1][1][:, others], 3e-5)


@pytest.mark.parametrize(('num_steps', 'batch_size'), [(0, 3), (4, 0), (0, 0)])
def test_no_steps_or_no_rows(num_steps, batch_size):
  params, xs, state, _ = setup(GRU, num_steps, batch_size)
  end, ys, _ = solve(GRU, params, state, xs)
  assert_same((end, ys.shape), (unroll(GRU, params, xs, state)[0], (num_steps, batch_size, 5)))


def test_a_reset_passes_gradient_to_a_learned_initial_state_and_goes_first_at_masked_steps():
  cell = learned_initial_state(elman(5))
  params, xs, state, loops = setup(cell)
  loops['reset'][:] = False
  loops['reset'][3], loops['mask'][3, 0], loops['reset'][-1, 1] = True, False, True
  got = gradients(in_parallel(shooting_scan, cell), params, xs, state, **loops)
  assert np.abs(got[1][0].start.h).min() > 0.0
  assert_near(got, gradients(stepped(cell), params, xs, state, **loops), 3e-5)


CHANGES = {
  'stack': lambda change: change(stack(elman(5), elman(3))),
  'prepared': lambda change, cell=variational_dropout(elman(3), input_rate=0.3, state_rate=0.3): (
    change(cell)
  ),
}


@pytest.mark.parametrize('make_cell', CHANGES.values(), ids=CHANGES)
def test_shooting_works_on_other_combinators(make_cell):
  cell = make_cell(functools.partial(in_parallel, shooting_scan))
  params, xs, state, loops = setup(cell)
  keywords = loops | {'key': jax.random.key(2)}
  assert cell.scan is not None
  got = gradients(cell, params, xs, state, remat_every=25, **keywords)
  assert_near(got, gradients(make_cell(stepped), params, xs, state, **keywords), 3e-5)


def test_members_of_a_grid_stop_each_when_it_must():
  cell, plain = gru(5, engine='shooting'), gru(5, engine='scan')
  members = jax.tree.map(
    lambda *a: jnp.stack(a), *(perturbed(plain, seed=seed, scale=0.1) for seed in (1, 2))
  )
  loss = lambda cell: (
    lambda params: loss_of(cell)(params, inputs(50), cell.initial_state(params, BATCH))[0]
  )
  run = lambda cell: jax.jit(jax.vmap(jax.value_and_grad(loss(cell))))(members)
  assert_near(run(cell), run(plain), 3e-5)


def test_a_model_trains_with_the_engine(main, text, tmp_path):
  code, out, err = main(
    '--experiment=char_lm:debug',
    f'--workdir={tmp_path / "run"}',
    f'--config.data.path={text}',
    *TINY,
    '--config.train.steps=2',
    '--config.model.engine=shooting',
  )
  assert code == 0 and 'multiple shooting, chunks of time in parallel (asked for)' in out + err


def test_derivatives_of_derivatives_are_refused():
  params, xs, state, _ = setup(GRU)
  slope = jax.grad(lambda scale: loss_from(*shooting_scan(GRU, params, state, scale * xs)[:2]))
  with pytest.raises(ValueError, match='Reverse-mode differentiation does not work'):
    jax.eval_shape(jax.grad(slope), 1.0)


@pytest.mark.parametrize(
  ('options', 'sentence'),
  [
    ({'chunk_length': 0}, 'chunk_length is 0, expected at least 1'),
    ({'reset': np.zeros((50, BATCH), bool)}, 'reset needs a reset_state'),
  ],
)
def test_what_cannot_be_run_is_refused(options, sentence):
  params, xs, state, _ = setup(GRU)
  with pytest.raises(ValueError, match=sentence):
    shooting_scan(GRU, params, state, xs, **options)
