"""Newton's iteration over the sequence against stepping."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  BATCH,
  NUM_STEPS,
  assert_close,
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

from rnn_research import (
  CELLS,
  elman,
  gru,
  learned_initial_state,
  lstm,
  stack,
  unroll,
  variational_dropout,
)
from rnn_research.engines.parallel import in_parallel
from rnn_research.engines.parallel.newton import newton_scan

pytestmark = pytest.mark.usefixtures('strict_shapes')

every_cell = pytest.mark.parametrize('name', ['elman', 'gru', 'gru_reset_before', 'lstm'])
every_form = pytest.mark.parametrize('jacobian', ['full', 'diagonal'])
GRU = gru(5)


@functools.cache
def make(name, size, dtype):
  return CELLS[name](size, dtype=dtype)


def setup(cell, num_steps=NUM_STEPS, batch_size=BATCH, dtype=jnp.float32):
  """Returns generic parameters, inputs, a state that is not the initial one, and loops with a row of length 0."""
  params = perturbed(cell, scale=0.1)
  xs, state = inputs(num_steps, batch_size), noisy(cell.initial_state(params, batch_size), 3)
  rng = np.random.default_rng(4)
  mask = rng.random((num_steps, batch_size)) < 0.8
  mask[:, 1] = False
  loops = {'mask': mask, 'reset': rng.random((num_steps, batch_size)) < 0.01}
  return *jax.tree.map(lambda a: a.astype(dtype), (params, xs, state)), loops


@functools.partial(
  jax.jit, static_argnums=0, static_argnames=('jacobian', 'damping', 'max_iterations')
)
def solve(cell, params, xs, state, mask=None, reset=None, **options):
  """Returns what `gradients` does, and `NewtonInfo`."""

  def loss(params, xs, state):
    end, ys, info = newton_scan(
      cell,
      params,
      state,
      xs,
      mask=mask,
      reset=reset,
      reset_state=cell.initial_state(params, xs.shape[1]),
      **options,
    )
    return loss_from(end, ys), (end, ys, info)

  (value, (end, ys, info)), gradient = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(
    params, xs, state
  )
  return ((value, (end, ys)), gradient), info


@every_cell
@every_form
def test_float64_equals_stepping_in_values_and_gradients(name, jacobian):
  with jax.enable_x64(True):
    cell = make(name, 8, jnp.float64)
    params, xs, state, loops = setup(cell, 200, 2, jnp.float64)
    got, info = solve(cell, params, xs, state, jacobian=jacobian, **loops)
    assert info.success and 2 < info.iterations < 100 and info.residual < 2.3e-14
    assert_near(got, gradients(stepped(cell), params, xs, state, **loops), 1e-10)


@pytest.mark.parametrize(('name', 'jacobian'), [('lstm', 'full'), ('gru', 'diagonal')])
def test_float32_equals_stepping_in_values_and_gradients(name, jacobian):
  cell = make(name, 16, jnp.float32)
  params, xs, state, loops = setup(cell, 1000, 4)
  ((loss, ends), gradient), info = solve(cell, params, xs, state, jacobian=jacobian, **loops)
  assert info.success and 2 < info.iterations < 100 and info.residual < 1.2e-5
  (expected_loss, expected), expected_gradient = gradients(
    stepped(cell), params, xs, state, **loops
  )
  assert_near(ends, expected, 2e-5)
  assert_near((loss, gradient), (expected_loss, expected_gradient), 1e-4)


@every_form
def test_without_convergence_the_sequential_loop_runs(jacobian):
  with jax.enable_x64(True):
    cell = make('elman', 8, jnp.float64)
    params, xs, state, loops = setup(cell, 30, 3, jnp.float64)
    params = params._replace(w_h=3.0 * jax.random.normal(jax.random.key(5), (8, 8), jnp.float64))
    got, info = solve(cell, params, xs, state, jacobian=jacobian, max_iterations=3, **loops)
    assert not info.success and info.iterations == 3 and info.residual > 1e-3
    assert_near(got, gradients(stepped(cell), params, xs, state, **loops), 1e-8)


def test_overflow_of_the_linear_solve_is_overcome():
  cell = make('elman', 8, jnp.float32)
  params, xs, state, _ = setup(cell, 50)
  params = params._replace(w_h=1e4 * jax.random.normal(jax.random.key(5), (8, 8)))
  state = jax.tree.map(jnp.zeros_like, state)
  slope = 1.0 - np.tanh(np.asarray(cell.project(params, xs))) ** 2
  with np.errstate(over='ignore', invalid='ignore'):
    product = functools.reduce(
      np.matmul, [slope[t, 0][:, None] * np.asarray(params.w_h).T for t in range(50)]
    )
  assert not np.isfinite(product).all()
  end, ys, info = jax.jit(lambda *args: newton_scan(cell, *args))(params, state, xs)
  assert info.success and info.iterations <= 51
  assert_close((end, ys), unroll(stepped(cell), params, xs, state))


def test_damping_changes_the_iterations_and_not_the_result():
  params, xs, state, loops = setup(GRU, 40)
  expected = gradients(stepped(GRU), params, xs, state, **loops)
  iterations = []
  for damping in (0.0, 0.3, 1.0):
    got, info = solve(GRU, params, xs, state, damping=damping, **loops)
    assert info.success
    assert_near(got, expected, 1e-4)
    iterations.append(int(info.iterations))
  assert iterations == sorted(set(iterations)) and iterations[-1] <= 41


@every_form
@pytest.mark.parametrize(
  'inner', [lambda f: f, jax.jit], ids=['traced_at_once', 'differentiated_after_tracing']
)
def test_every_product_is_of_the_highest_precision(jacobian, inner):
  params, xs, state, loops = setup(GRU)
  loss = inner(
    lambda *args: loss_of(in_parallel(newton_scan, GRU, jacobian=jacobian), **loops)(*args)[0]
  )
  text = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(params, xs, state).as_text()
  products = [line for line in text.splitlines() if 'dot_general' in line]
  assert (
    len(products) > 10
    and [line for line in products if 'precision = [HIGHEST, HIGHEST]' not in line] == []
  )


@every_form
def test_padding_may_hold_anything_and_holds_the_state_bit_for_bit(jacobian):
  cell = in_parallel(newton_scan, GRU, jacobian=jacobian)
  params, xs, state, _ = setup(GRU)
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


@every_form
def test_no_steps_return_the_state(jacobian):
  params, _, state, _ = setup(GRU)
  end, ys, info = newton_scan(GRU, params, state, jnp.zeros((0, BATCH, 4)), jacobian=jacobian)
  assert_same((end, ys.shape), (state, (0, BATCH, 5)))
  assert info.success and info.iterations == 0


@every_form
def test_a_reset_passes_gradient_to_a_learned_initial_state_and_goes_first_at_masked_steps(
  jacobian,
):
  cell = learned_initial_state(GRU)
  params, xs, state, loops = setup(cell)
  loops = {'mask': loops['mask'], 'reset': np.zeros_like(loops['reset'])}
  loops['reset'][3], loops['mask'][3, 0], loops['reset'][-1, 1] = True, False, True
  got = gradients(in_parallel(newton_scan, cell, jacobian=jacobian), params, xs, state, **loops)
  assert np.abs(got[1][0].start.h).min() > 0.0
  assert_near(got, gradients(stepped(cell), params, xs, state, **loops), 1e-4)


@every_form
def test_second_derivatives_equal_those_of_stepping(jacobian):
  params, xs, state, loops = setup(GRU)

  def penalty(cell):
    gradient = jax.grad(loss_of(cell, **loops), (0, 1, 2), has_aux=True)
    squares = lambda *args: sum(jnp.sum(a * a) for a in jax.tree.leaves(gradient(*args)[0]))
    return jax.jit(jax.grad(squares, (0, 1, 2)))(params, xs, state)

  assert_near(
    penalty(in_parallel(newton_scan, GRU, jacobian=jacobian)), penalty(stepped(GRU)), 1e-3
  )


def test_parallel_works_inside_and_outside_other_combinators():
  dropped = variational_dropout(lstm(3), input_rate=0.3, state_rate=0.3)
  cells = {
    'inside': lambda change: stack(change(GRU), change(elman(3))),
    'outside': lambda change: change(stack(GRU, elman(3))),
    'prepared': lambda change: change(dropped),
  }
  for make_cell in cells.values():
    cell = make_cell(functools.partial(in_parallel, newton_scan))
    params, xs, state, loops = setup(cell)
    keywords = loops | {'key': jax.random.key(2)}
    assert cell.scan is not None
    got = gradients(cell, params, xs, state, remat_every=4, **keywords)
    assert_near(got, gradients(make_cell(stepped), params, xs, state, **keywords), 1e-4)


@pytest.mark.parametrize(
  ('options', 'sentence'),
  [
    ({'jacobian': 'dense'}, "jacobian is 'dense', expected 'full' or 'diagonal'"),
    ({'damping': 1.5}, 'damping is 1.5, expected 0 <= damping <= 1'),
    ({'reset': np.zeros((NUM_STEPS, BATCH), bool)}, 'reset needs a reset_state'),
  ],
)
def test_what_cannot_be_run_is_refused(options, sentence):
  params, xs, state, _ = setup(GRU)
  with pytest.raises(ValueError, match=sentence):
    newton_scan(GRU, params, state, xs, **options)
