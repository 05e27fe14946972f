"""Gradients over lags and Jacobians against products, finite differences and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import BATCH, HIDDEN, NUM_INPUTS, NUM_STEPS, inputs, make, noisy, perturbed
from jax.flatten_util import ravel_pytree
from jax.nn.initializers import orthogonal

from rnn_research import elman, gru, lstm, stack, unroll
from rnn_research.analysis.measures import flow, gradients
from rnn_research.analysis.measures.gradients import (
  direct_share,
  lstm_paths,
  norms,
  random_readout,
  state_gradients,
)
from rnn_research.analysis.measures.jacobians import product_singular_values, step_jacobians
from rnn_research.analysis.measures.linear_case import linear, normal_matrix, slope
from rnn_research.analysis.measures.traces import trace
from rnn_research.errors import InputError
from rnn_research.experiment import Recurrence
from rnn_research.tasks.gradient_flow import clipping

pytestmark = pytest.mark.usefixtures('strict_shapes')

# Their output is h.
READ_H = [
  'elman',
  'gru',
  'gru_reset_before',
  'irnn',
  'layer_norm',
  'lstm',
  'lstm_peephole',
  'lstm_projection',
  'min_gru',
  'zoneout',
]


@pytest.mark.parametrize('name', READ_H)
def test_gradients_are_products_of_jacobians(name):
  cell, xs = make(name), inputs()
  params = perturbed(cell)
  size = trace(cell, params, xs).ys.shape[-1]
  loss = random_readout(jax.random.key(3), BATCH, size)
  got = state_gradients(cell, params, xs, loss)
  flat = jax.vmap(jax.vmap(lambda state: ravel_pytree(state)[0]))(got)
  v = jax.grad(lambda y: loss(y).sum())(jnp.zeros((BATCH, size)))
  for row in range(BATCH):
    # The first factor is dL/ds_T: L reads h alone.
    factor = ravel_pytree(jax.tree.map(lambda a: jnp.zeros(a.shape[2:]), got)._replace(h=v[row]))[0]
    for expected, jacobian in zip(
      flat[:, row], step_jacobians(cell, params, xs, row)[::-1], strict=True
    ):
      factor = factor @ jacobian
      np.testing.assert_allclose(factor, expected, rtol=1e-4, atol=1e-6)


def test_gradients_against_finite_differences():
  cell, xs = stack(lstm(HIDDEN), gru(3)), inputs()
  params = perturbed(cell)
  loss = lambda ys: jnp.sum(jnp.sin(ys), -1)
  got = state_gradients(cell, params, xs, loss)
  lag, epsilon = 3, 1e-2
  at, _ = unroll(cell, params, xs[:-lag])
  end = lambda state: float(loss(unroll(cell, params, xs[-lag:], state)[1][-1]).sum())
  for i, leaf in enumerate(jax.tree.leaves(at)):
    changed = lambda sign, i=i, leaf=leaf: jax.tree.unflatten(
      jax.tree.structure(at),
      [a.at[1, 2].add(sign * epsilon) if j == i else a for j, a in enumerate(jax.tree.leaves(at))],
    )
    difference = (end(changed(1.0)) - end(changed(-1.0))) / (2 * epsilon)
    np.testing.assert_allclose(
      jax.tree.leaves(got)[i][lag - 1, 1, 2], difference, rtol=5e-3, atol=2e-4
    )


def test_draws_of_a_network_are_compiled_once():
  cell = elman(HIDDEN)
  draws = [
    flow.untrained(cell, HIDDEN, NUM_STEPS, BATCH, jax.random.key(seed)) for seed in range(3)
  ]
  before = gradients._state_gradients._cache_size()
  assert flow.lag_norms('elman', draws, 4)['elman'].shape == (4, 3 * BATCH)
  assert gradients._state_gradients._cache_size() == before + 1


def test_the_first_lag_is_one_step_and_the_last_the_initial_state():
  cell, xs = make('elman'), inputs()
  params = perturbed(cell)
  loss = random_readout(jax.random.key(0), BATCH, HIDDEN)
  got = state_gradients(cell, params, xs, loss).h
  start = cell.initial_state(params, BATCH)
  expected = jax.grad(lambda state: loss(unroll(cell, params, xs, state)[1][-1]).sum())(start).h
  assert len(got) == NUM_STEPS
  np.testing.assert_allclose(got[-1], expected, rtol=1e-5, atol=1e-7)


def test_the_jacobian_of_an_elman_network():
  """dh_t / dh_{t-1} = diag(1 - h_t^2) W_h^T, for rows h and h_t = tanh(h_{t-1} W_h + ..)."""
  cell, xs = make('elman'), inputs()
  params = perturbed(cell)
  hs = np.asarray(unroll(cell, params, xs)[1])
  for row in range(BATCH):
    expected = (1.0 - hs[:, row] ** 2)[:, :, None] * np.asarray(params.w_h).T[None]
    np.testing.assert_allclose(
      step_jacobians(cell, params, xs, row), expected, rtol=1e-4, atol=1e-6
    )


def test_singular_values_of_a_product():
  jacobians = np.random.default_rng(0).normal(size=(6, 4, 4))
  got = product_singular_values(jacobians, (1, 2, 5))
  for k, values in zip((1, 2, 5), got, strict=True):
    product = np.linalg.multi_dot([*jacobians[::-1][:k], np.eye(4)])
    np.testing.assert_allclose(
      values, np.log(np.linalg.svd(product, compute_uv=False)), rtol=1e-9, atol=1e-9
    )


def test_products_neither_overflow_nor_vanish():
  for scale in (0.01, 1.0, 100.0):
    values = product_singular_values(
      np.broadcast_to(scale * np.diag([1.0, 0.5]), (2000, 2, 2)), (1, 40, 2000)
    )
    np.testing.assert_allclose(values[:, 0], np.log(scale) * np.array([1, 40, 2000]), atol=1e-9)
    np.testing.assert_allclose(values[1, 1], 40 * np.log(0.5 * scale))
    assert np.isnan(values[2, 1])  # 0.5^2000 of the largest is below rounding


def test_a_product_that_is_zero_has_no_singular_values():
  values = product_singular_values(np.stack([np.eye(2), np.zeros((2, 2)), np.eye(2)]), (1, 2, 3))
  np.testing.assert_allclose(values, [[0.0, 0.0], [np.nan, np.nan], [np.nan, np.nan]], atol=1e-12)


@pytest.mark.parametrize('size', [5, 6])
def test_a_normal_matrix(size):
  w = np.asarray(normal_matrix(1.3, 0.4)(jax.random.key(2), (size, size)), np.float64)
  np.testing.assert_allclose(w @ w.T, w.T @ w, atol=1e-6)
  half = np.linspace(1.3, 0.4 * 1.3, (size + 1) // 2)
  np.testing.assert_allclose(
    np.linalg.svd(w, compute_uv=False), np.repeat(half, 2)[:size], rtol=1e-5
  )


LAGS, SIZE = 60, 16


def lags_of(cell):
  params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((BATCH, NUM_INPUTS), jnp.float32))
  xs = inputs(LAGS, BATCH)
  got = state_gradients(cell, params, xs, random_readout(jax.random.key(1), BATCH, SIZE))
  return norms(got.h), step_jacobians(cell, params, xs)


@pytest.mark.parametrize('largest', [0.8, 1.0, 1.2])
def test_the_linear_case(largest):
  """|dL/dh_{T-k}| = s^k for a scaled orthogonal matrix, ~ s^k for a normal one; the product's norm is s^k for both."""
  k = np.arange(1, LAGS + 1)
  got, jacobians = lags_of(linear(SIZE, w_h_init=orthogonal(largest)))
  np.testing.assert_allclose(got, np.broadcast_to((largest**k)[:, None], got.shape), rtol=1e-4)
  np.testing.assert_allclose(
    product_singular_values(jacobians, tuple(k)), np.outer(k, [np.log(largest)] * SIZE), atol=1e-4
  )
  got, jacobians = lags_of(linear(SIZE, w_h_init=normal_matrix(largest)))
  for row in got.T:
    assert abs(slope(k, row) - np.log(largest)) < 0.01 * abs(np.log(1.2))
  np.testing.assert_allclose(
    product_singular_values(jacobians, tuple(k))[:, 0], k * np.log(largest), atol=1e-4
  )


@pytest.mark.parametrize('largest', [0.8, 1.2])
def test_tanh_takes_from_the_linear_case(largest):
  got, _ = lags_of(elman(SIZE, w_h_init=orthogonal(largest)))
  assert np.all(got < np.broadcast_to((largest ** np.arange(1, LAGS + 1))[:, None], got.shape))
  assert all(slope(np.arange(LAGS), row) < np.log(largest) - 0.02 for row in got.T)


def constant_gates_lstm():
  """The LSTM equations once more, with gates and candidate cut out of the derivative."""
  cell = lstm(HIDDEN)

  def step(params, state, u, *, key=None, ctx=None):
    i, f, g, o = jnp.split(u + state.h @ params.w_h, 4, -1)
    i, f, g, o = jax.lax.stop_gradient(
      (jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o))
    )
    c = f * state.c + i * g
    h = o * jnp.tanh(c)
    return state._replace(c=c, h=h), h

  return cell._replace(step=step, scan=None)


def test_the_direct_path_is_what_remains_when_gates_are_constants():
  cell, xs = lstm(HIDDEN), inputs()
  params = perturbed(cell)
  loss = random_readout(jax.random.key(0), BATCH, HIDDEN)
  paths = lstm_paths(cell, params, xs, loss)
  np.testing.assert_allclose(
    paths.direct, state_gradients(constant_gates_lstm(), params, xs, loss).c, rtol=1e-4, atol=1e-7
  )
  np.testing.assert_allclose(paths.total, state_gradients(cell, params, xs, loss).c, rtol=1e-6)
  np.testing.assert_allclose(paths.direct + paths.gates, paths.total, rtol=1e-5, atol=1e-7)
  assert np.all(np.abs(paths.gates[1:]).max((1, 2)) > 1e-3)


@pytest.mark.parametrize('name', ['lstm', 'lstm_projection'])
def test_without_recurrent_weights_all_of_it_is_direct(name):
  cell, xs = make(name), inputs()
  params = perturbed(cell)
  params = params._replace(w_h=jnp.zeros_like(params.w_h))
  loss = random_readout(jax.random.key(0), BATCH, trace(cell, params, xs).ys.shape[-1])
  paths = lstm_paths(cell, params, xs, loss)
  np.testing.assert_allclose(paths.gates, np.zeros_like(paths.gates), atol=1e-6)
  np.testing.assert_allclose(direct_share(paths), np.ones((NUM_STEPS, BATCH)), rtol=1e-4)


def test_shares_add_up_to_one():
  cell, xs = lstm(HIDDEN), inputs()
  paths = lstm_paths(
    cell, noisy(perturbed(cell), 9), xs, random_readout(jax.random.key(0), BATCH, HIDDEN)
  )
  rest = direct_share(paths._replace(direct=paths.gates))
  np.testing.assert_allclose(direct_share(paths) + rest, np.ones((NUM_STEPS, BATCH)), rtol=1e-4)
  assert np.all(np.abs(rest[1:]) > 1e-4)


def test_only_an_lstm_has_these_paths():
  cell = make('gru')
  with pytest.raises(InputError, match='GRUParams cannot be split, expected an LSTM'):
    lstm_paths(cell, perturbed(cell), inputs(), lambda ys: ys.sum(-1))


def clipped(clip_norm, updates=3, learning_rate=0.15):
  batches = clipping.adding_batches(0, updates, batch_size=4, num_steps=6)
  return clipping.train(
    jax.random.split(jax.random.key(0), 2),
    batches,
    clip_norm=clip_norm,
    largest=1.4,
    learning_rate=learning_rate,
    hidden_size=8,
  )


def test_clipping_leaves_what_is_below_it():
  """A norm that is never reached changes nothing; one that is reached, everything after the first update."""
  free, above, below = clipped(np.inf), clipped(1e6), clipped(1e-3)
  assert free.loss.shape == free.norm.shape == (2, 3)
  for got, expected in zip(free, above, strict=True):
    np.testing.assert_array_equal(got, expected)
  np.testing.assert_array_equal(free.loss[:, 0], below.loss[:, 0])
  np.testing.assert_array_equal(free.norm[:, 0], below.norm[:, 0])
  assert np.all(free.loss[:, 1] != below.loss[:, 1])


def test_clipping_is_a_smaller_rate():
  """An update that is clipped to a norm is the same as one at a rate that is smaller by clipping norm / norm."""
  cut = clipped(0.1, updates=2)
  for seed, norm in enumerate(cut.norm[:, 0]):
    assert norm > 0.2
    slow = clipped(np.inf, updates=2, learning_rate=0.15 * 0.1 / float(norm))
    np.testing.assert_allclose(cut.loss[seed], slow.loss[seed], rtol=1e-5)


def test_the_last_layer_and_what_it_reads():
  cells = (lstm(5), gru(3))
  params = (perturbed(cells[0]), perturbed(cells[1], 5))
  network = Recurrence(cells, params, inputs(), random_readout(jax.random.key(0), BATCH, 3))
  top = flow.last_layer(network)
  assert (top.cells, top.params) == (cells[1:], params[1:])
  np.testing.assert_allclose(top.xs, unroll(cells[0], params[0], inputs())[1], rtol=1e-5, atol=1e-6)
  whole = flow.lag_norms('net', [network, network], 4)
  assert {label: rows.shape for label, rows in whole.items()} == dict.fromkeys(
    ['net layer 1: c', 'net layer 1: h', 'net layer 2'], (4, 2 * BATCH)
  )
  alone = state_gradients(cells[1], params[1], top.xs, network.loss)
  np.testing.assert_allclose(whole['net layer 2'][:, :BATCH], norms(alone.h)[:4], rtol=1e-4)
  assert set(flow.saturated('net', network)) == {'net layer 1', 'net layer 2'}
  assert flow.path_norms([network], 4) is None
