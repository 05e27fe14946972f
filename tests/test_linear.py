"""Linear recurrences against a loop, and the cells that are one over long sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  BATCH,
  assert_close,
  assert_same,
  gradients,
  inputs,
  make,
  noisy,
  perturbed,
  run,
  stepped,
)

from rnn_research import layer_norm, lru, min_lstm, unroll, variational_dropout, zoneout
from rnn_research.engines.parallel.linear import diagonal_scan, matrix_scan

pytestmark = pytest.mark.usefixtures('strict_shapes')

SIZE, LINEAR_CELLS = 3, ['lru', 'min_gru', 'min_lstm']
DIAGONAL, MATRIX = jax.jit(diagonal_scan), jax.jit(matrix_scan)
FORMS = {
  'real': (DIAGONAL, (SIZE,), 0.0),
  'complex': (DIAGONAL, (SIZE,), 1j),
  'matrix': (MATRIX, (SIZE, SIZE), 0.0),
}
every_form = pytest.mark.parametrize('form', FORMS)


def setup(form, num_steps=11):
  """Returns the scan, and float64 operands `(a, b, state, reset_state)`, mask and reset."""
  scan, tail, unit = FORMS[form]
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(size=shape) + (unit * rng.normal(size=shape) if unit else 0.0)
  steps = num_steps, BATCH
  operands = draw(*steps, *tail), draw(*steps, SIZE), draw(BATCH, SIZE), draw(BATCH, SIZE)
  mask = rng.random(steps) < 0.6
  mask[:, 1], mask[-2:, 2] = False, False
  return scan, operands, mask, rng.random(steps) < 0.2


def by_hand(a, b, state, reset_state, mask, reset):
  hs, h = [], state
  for t in range(len(b)):
    h = jnp.where(reset[t][:, None], reset_state, h)
    new = (a[t] @ h[..., None])[..., 0] if a.ndim > b.ndim else a[t] * h
    h = jnp.where(mask[t][:, None], new + b[t], h)
    hs.append(h)
  return h, jnp.stack(hs)


def loss(end, hs):
  weights = 1.0 + jnp.arange(hs.size).reshape(hs.shape) / hs.size
  return jnp.sum(weights * jnp.abs(hs) ** 2) + jnp.sum(jnp.sin(end.real)) + jnp.sum(end.imag**3)


@every_form
def test_scan_equals_a_loop_in_values_and_gradients(form):
  with jax.enable_x64(True):
    scan, operands, mask, reset = setup(form)
    parallel = lambda a, b, h, r: scan(a, b, h, mask=mask, reset=reset, reset_state=r)
    loop = lambda *args: by_hand(*args, mask, reset)
    operands = tuple(map(jnp.asarray, operands))

    def differentiated(run):
      with_values = lambda *args: (lambda found: (loss(*found), found))(run(*args))
      return jax.jit(jax.grad(with_values, (0, 1, 2, 3), has_aux=True))(*operands)

    (expected, expected_values), (found, values) = map(differentiated, (loop, parallel))
    assert_close(values, expected_values, 1e-12, 1e-12)
    assert all(np.abs(a).max() > 0.1 for a in expected)
    assert_close(found, expected, 1e-11, 1e-11)


@every_form
def test_second_derivatives(form):
  with jax.enable_x64(True):
    scan, operands, mask, reset = setup(form, 5)
    parallel = lambda a, b, h, r: scan(a, b, h, mask=mask, reset=reset, reset_state=r)
    loop = lambda *args: by_hand(*args, mask, reset)

    def penalty(run):
      first = jax.grad(lambda *args: loss(*run(*args)), (0, 1, 2, 3))
      squares = lambda *args: sum(jnp.sum(jnp.abs(g) ** 2) for g in first(*args))
      return jax.jit(jax.grad(squares, (0, 1, 2, 3)))

    operands = tuple(map(jnp.asarray, operands))
    assert_close(penalty(parallel)(*operands), penalty(loop)(*operands), 1e-10, 1e-9)


@every_form
# Where the order of sums differs from that of all steps.
@pytest.mark.parametrize('real', [5, 6, 7, 11, 13])
def test_a_masked_step_holds_the_state_bit_for_bit(form, real):
  scan, operands, mask, reset = setup(form, 64)
  a, b, state, reset_state = (
    jnp.asarray(o, jnp.complex64 if form == 'complex' else jnp.float32) for o in operands
  )
  mask[real - 1, ::2] = True
  mask[real:], reset[real:] = False, False
  end, hs = scan(a, b, state, mask=mask, reset=reset, reset_state=reset_state)
  changed = np.where(mask | reset, np.arange(1, 65)[:, None], 0).max(0)
  assert_same(end, np.concatenate([state[None], hs])[changed, np.arange(BATCH)])
  assert_same(np.asarray(end)[1], np.asarray(reset_state if reset[:, 1].any() else state)[1])


@every_form
def test_no_steps_return_the_state(form):
  scan, operands, _, _ = setup(form, 0)
  a, b, state, _ = map(jnp.asarray, operands)
  end, hs = scan(a, b, state, mask=np.zeros((0, BATCH), bool))
  assert_same((end, hs), (state, b))


def test_a_reset_of_the_first_step_clears_a_state_that_is_not_a_number():
  scan, (a, b, state, reset_state), _, reset = setup('real')
  reset[0] = True
  expected = scan(a, b, state, reset=reset, reset_state=reset_state)
  assert_same(
    scan(a, b, jnp.full_like(state, jnp.nan), reset=reset, reset_state=reset_state), expected
  )


def test_a_reset_needs_a_state():
  _, (a, b, state, _), _, reset = setup('real')
  with pytest.raises(ValueError, match='reset needs a reset_state'):
    diagonal_scan(a, b, state, reset=reset)


@pytest.mark.parametrize('name', LINEAR_CELLS)
def test_a_thousand_steps_equal_stepping(name):
  cell, rng = make(name), np.random.default_rng(1)
  params, xs = perturbed(cell), inputs(1000, 4)
  state = noisy(cell.initial_state(params, 4), 3)
  loops = {'mask': rng.random((1000, 4)) < 0.8, 'reset': rng.random((1000, 4)) < 0.01}
  got, expected = (gradients(c, params, xs, state, **loops) for c in (cell, stepped(cell)))
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    assert np.isfinite(a).all()
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


def test_closed_and_open_gates_of_min_lstm_are_finite():
  cell = min_lstm(2)
  params = cell.init(jax.random.key(0), jnp.ones((1, 1)))
  for f, i in ((-300.0, -300.0), (300.0, -300.0), (-300.0, 300.0), (300.0, 300.0)):
    extreme = params._replace(b=jnp.array([f, f, i, i, 1.0, 1.0]))
    found = gradients(cell, extreme, jnp.ones((5, 1, 1)), cell.initial_state(extreme, 1))
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(found))


def test_lru_starts_on_its_ring_with_outputs_of_the_scale_of_its_inputs():
  cell = lru(400, r_min=0.8, r_max=0.95, max_phase=0.3)
  params = cell.init(jax.random.key(0), jnp.ones((1, 64)))
  modulus = np.exp(-np.exp(params.nu_log))
  assert modulus.min() > 0.8 - 1e-5 and modulus.max() < 0.95 + 1e-5
  # Uniform on the ring: |lambda|^2 is uniform.
  np.testing.assert_allclose(np.mean(modulus**2), (0.8**2 + 0.95**2) / 2.0, atol=0.01)
  assert 0.1 < np.exp(params.theta_log).mean() < 0.2 and np.exp(params.theta_log).max() < 0.3
  np.testing.assert_allclose(np.exp(params.gamma_log) ** 2, 1.0 - modulus**2, rtol=1e-4)
  state = cell.initial_state(params, 8)
  end, _ = run(cell, params, inputs(200, 8, 64), state)
  np.testing.assert_allclose(np.mean(end.re**2 + end.im**2), 1.0, atol=0.1)
  recurrent = params._replace(w_xd=jnp.zeros_like(params.w_xd))
  np.testing.assert_allclose(
    np.var(run(cell, recurrent, inputs(200, 8, 64), state)[1][-1]), 1.0, atol=0.1
  )


@pytest.mark.parametrize(('r_min', 'r_max'), [(0.5, 0.5), (0.0, 1.1), (-0.1, 0.5)])
def test_lru_refuses_a_ring_outside_the_unit_disc(r_min, r_max):
  with pytest.raises(ValueError, match=f'r_min is {r_min} and r_max is {r_max}'):
    lru(3, r_min=r_min, r_max=r_max)


@pytest.mark.parametrize(('r_min', 'r_max'), [(0.0, 1e-30), (1.0 - 1e-9, 1.0)])
def test_lru_at_the_ends_of_its_ring_is_finite(r_min, r_max):
  params = lru(4, r_min=r_min, r_max=r_max).init(jax.random.key(0), jnp.ones((1, 1)))
  assert all(np.isfinite(a).all() for a in jax.tree.leaves(params))


@pytest.mark.parametrize('name', LINEAR_CELLS)
def test_combinators_work_or_say_what_is_missing(name):
  cell, xs = make(name), inputs()
  dropped = variational_dropout(cell, input_rate=0.5)
  params = perturbed(dropped)
  assert np.isfinite(unroll(dropped, params, xs, key=jax.random.key(0))[1]).all()
  with pytest.raises(
    ValueError, match=r'no weights w_h.* in .*Params: the cell has no such product'
  ):
    unroll(variational_dropout(cell, state_rate=0.5), params, xs, key=jax.random.key(0))
  with pytest.raises(
    ValueError, match=r'no weights w_h.* in .*Params: the cell has no such product'
  ):
    layer_norm(cell).init(jax.random.key(0), xs[0])
  if name == 'lru':
    with pytest.raises(ValueError, match='zoneout needs a state with a field h, found LRUState'):
      unroll(zoneout(cell, 0.5), params, xs)
  else:
    assert np.isfinite(unroll(zoneout(cell, 0.5), params, xs, key=jax.random.key(0))[1]).all()
