"""Every cell against an obvious NumPy loop in float64, and an Elman language model against min-char-rnn's gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles_gated
import oracles_searched
import pytest
from cells_under_test import BATCH, CASES, NUM_INPUTS, NUM_STEPS
from oracles import product, sigmoid

from rnn_research import CELLS, elman, unroll
from rnn_research.cells.elman import ElmanParams, ElmanState
from rnn_research.models.language_model import language_model, sequence_loss

pytestmark = pytest.mark.usefixtures('strict_shapes')


def elman_step(p, state, x, phi=np.tanh):
  h = phi(x @ p.w_x + state['h'] @ p.w_h + p.b)
  return {'h': h}, h


def lstm_step(p, state, x):
  c, h = state['c'], state['h']
  i, f, g, o = np.split(product(x, p.w_x) + product(h, p.w_h) + p.b, 4, -1)
  c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
  h = sigmoid(o) * np.tanh(c)
  h = h if p.w_p is None else h @ p.w_p
  return {'c': c, 'h': h}, h


def gru_step(p, state, x):
  h, size = state['h'], state['h'].shape[-1]
  x_r, x_z, x_n = np.split(product(x, p.w_x) + p.b, 3, -1)
  m = product(h, p.w_h)
  r, z = sigmoid(x_r + m[:, :size]), sigmoid(x_z + m[:, size : 2 * size])
  inner = product(r * h, p.w_hn) if p.b_hn is None else r * (m[:, 2 * size :] + p.b_hn)
  h = (1.0 - z) * np.tanh(x_n + inner) + z * h
  return {'h': h}, h


def zoneout_step(p, state, x):
  new, _ = lstm_step(p, state, x)
  state = {'c': 0.5 * state['c'] + 0.5 * new['c'], 'h': 0.25 * state['h'] + 0.75 * new['h']}
  return state, state['h']


def residual_step(p, state, x):
  state, y = gru_step(p, state, x)
  return state, x + y


def irnn_step(p, state, x):
  return elman_step(p, state, x, lambda a: np.maximum(a, 0.0))


def min_gru_step(p, state, x):
  z, n = np.split(x @ p.w_x + p.b, 2, -1)
  h = (1.0 - sigmoid(z)) * state['h'] + sigmoid(z) * n
  return {'h': h}, h


def min_lstm_step(p, state, x):
  f, i, g = np.split(x @ p.w_x + p.b, 3, -1)
  f, i = sigmoid(f), sigmoid(i)
  h = f / (f + i) * state['h'] + i / (f + i) * g
  return {'h': h}, h


def lru_step(p, state, x):
  b_re, b_im = np.split(x @ p.w_x, 2, -1)
  c_re, c_im = np.split(p.w_c, 2, 0)
  eigenvalues = np.exp(-np.exp(p.nu_log) + 1j * np.exp(p.theta_log))
  s = eigenvalues * (state['re'] + 1j * state['im']) + np.exp(p.gamma_log) * (b_re + 1j * b_im)
  return {'re': s.real, 'im': s.imag}, (s @ (c_re - 1j * c_im)).real + x @ p.w_xd


# name -> (one step, y of the last step in row 0 and column 0 from the constant parameters of `setup`)
ORACLES = {
  'elman': (elman_step, 0.884864086596),
  'irnn': (irnn_step, 1.242693848896),
  'lstm': (lstm_step, 0.149439042943),
  'lstm_projection': (lstm_step, -0.100007809762),
  'gru': (gru_step, 0.124076597908),
  'gru_reset_before': (gru_step, -0.085306673078),
  'lru': (lru_step, 1.990037387977),
  'min_gru': (min_gru_step, -0.761721937519),
  'min_lstm': (min_lstm_step, -0.435034726775),
  'zoneout': (zoneout_step, 0.091513740226),
  'variational_dropout': (lstm_step, 0.149439042943),
  'weight_dropout': (gru_step, -0.085306673078),
  'layer_norm': (lstm_step, -0.030359054532),
  'layer_norm_before': (gru_step, -0.185516309901),
  'residual': (residual_step, -0.879374683131),
}
ORACLES |= oracles_gated.ORACLES
ORACLES |= oracles_searched.ORACLES


def test_every_registered_cell_has_an_oracle():
  assert CELLS.keys() - ORACLES.keys() == set()


def constants(shape, offset):
  """Returns numbers in [-0.6, 0.6] that depend on nothing but their place."""
  return 0.6 * np.sin(1.7 * np.arange(np.prod(shape)) + offset).reshape(shape)


def setup(name):
  """Returns a float64 cell, and its parameters, state and inputs as NumPy arrays."""
  cell = CASES[name](jnp.float64)
  spec = jax.ShapeDtypeStruct((BATCH, NUM_INPUTS), jnp.float32)
  params = jax.eval_shape(cell.init, jax.random.key(0), spec)
  leaves, structure = jax.tree.flatten(params)
  params = jax.tree.unflatten(structure, [constants(a.shape, i) for i, a in enumerate(leaves)])
  leaves, structure = jax.tree.flatten(cell.initial_state(params, BATCH))
  state = jax.tree.unflatten(structure, [constants(a.shape, 10 + i) for i, a in enumerate(leaves)])
  return cell, params, state, 2.0 * constants((NUM_STEPS, BATCH, NUM_INPUTS), 20)


def by_hand(step, params, state, xs):
  state, ys = state._asdict(), []
  for x in xs:
    state, y = step(params, state, x)
    ys.append(y)
  return state, np.stack(ys)


@pytest.mark.parametrize('name', ORACLES)
def test_values_in_float64(name):
  step, golden = ORACLES[name]
  with jax.enable_x64(True):
    cell, params, state, xs = setup(name)
    end, ys = jax.jit(functools.partial(unroll, cell))(params, xs, state)
    assert ys.dtype == jnp.float64
  expected_end, expected = by_hand(step, params, state, xs)
  np.testing.assert_allclose(ys, expected, rtol=1e-12, atol=1e-14)
  for field, value in expected_end.items():
    np.testing.assert_allclose(getattr(end, field), value, rtol=1e-12, atol=1e-14)
  np.testing.assert_allclose(ys[-1, 0, 0], golden, rtol=1e-9)


@pytest.mark.parametrize('name', ORACLES)
def test_gradients_in_float64_against_finite_differences(name):
  with jax.enable_x64(True):
    cell, params, state, xs = setup(name)
    loss = jax.jit(lambda *args: jnp.sum(jnp.sin(unroll(cell, *args)[1])))
    arguments = params, xs, state
    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))(*arguments)
    leaves, structure = jax.tree.flatten(arguments)
    direction = [constants(a.shape, 30 + i) for i, a in enumerate(leaves)]
    pairs = list(zip(leaves, direction, strict=True))
    move = lambda step: loss(*jax.tree.unflatten(structure, [a + step * d for a, d in pairs]))
    step = 1e-4
    numeric = (8.0 * (move(step) - move(-step)) - (move(2.0 * step) - move(-2.0 * step))) / (
      12.0 * step
    )
    exact = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), direction, strict=True))
  np.testing.assert_allclose(numeric, exact, rtol=1e-7)


def min_char_rnn(w_xh, w_hh, w_hy, b_h, b_y, ids, targets, h):
  """Karpathy's min-char-rnn forwards and backwards: the summed loss in nats, and gradients. Vectors are columns."""
  xs, hs, ps, loss = {}, {-1: h}, {}, 0.0
  for t in range(len(ids)):
    xs[t] = np.zeros((w_xh.shape[1], 1))
    xs[t][ids[t]] = 1.0
    hs[t] = np.tanh(w_xh @ xs[t] + w_hh @ hs[t - 1] + b_h)
    scores = np.exp(w_hy @ hs[t] + b_y)
    ps[t] = scores / scores.sum()
    loss -= np.log(ps[t][targets[t], 0])
  gradients = [np.zeros_like(a) for a in (w_xh, w_hh, w_hy, b_h, b_y)]
  dw_xh, dw_hh, dw_hy, db_h, db_y = gradients
  dh_next = np.zeros_like(h)
  for t in reversed(range(len(ids))):
    dy = ps[t].copy()
    dy[targets[t]] -= 1.0
    dw_hy += dy @ hs[t].T
    db_y += dy
    da = (1.0 - hs[t] ** 2) * (w_hy.T @ dy + dh_next)
    db_h += da
    dw_xh += da @ xs[t].T
    dw_hh += da @ hs[t - 1].T
    dh_next = w_hh.T @ da
  return loss, gradients


def test_gradient_of_an_elman_language_model_equals_min_char_rnn():
  hidden_size, vocabulary_size, num_steps = 100, 30, 25
  rng = np.random.default_rng(0)
  shapes = (
    (hidden_size, vocabulary_size),
    (hidden_size, hidden_size),
    (vocabulary_size, hidden_size),
  )
  w_xh, w_hh, w_hy = (rng.normal(0.0, 0.1, shape) for shape in shapes)
  b_h, b_y = rng.normal(0.0, 0.1, (hidden_size, 1)), rng.normal(0.0, 0.1, (vocabulary_size, 1))
  h = rng.normal(0.0, 0.5, (hidden_size, 1))
  text = rng.integers(0, vocabulary_size, num_steps + 1)
  expected_loss, expected = min_char_rnn(w_xh, w_hh, w_hy, b_h, b_y, text[:-1], text[1:], h)

  with jax.enable_x64(True):
    model = language_model(
      (elman(hidden_size, dtype=jnp.float64),), vocabulary_size, dtype=jnp.float64
    )
    cell_params = ElmanParams(w_x=w_xh.T, w_h=w_hh.T, b=b_h[:, 0])
    params = jax.tree.map(
      jnp.asarray, {'cells': (cell_params,), 'head': {'w': w_hy.T, 'b': b_y[:, 0]}}
    )
    loss = lambda params: sequence_loss(
      model, params, (ElmanState(h.T),), text[:-1, None], text[1:, None]
    )[0]
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
  cell, head = gradient['cells'][0], gradient['head']
  got = cell.w_x.T, cell.w_h.T, head['w'].T, cell.b[:, None], head['b'][:, None]
  np.testing.assert_allclose(value, expected_loss, rtol=1e-12)
  for a, b in zip(got, expected, strict=True):
    assert np.linalg.norm(np.asarray(a) - b) <= 1e-12 * np.linalg.norm(b)
