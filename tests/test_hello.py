"""The worked example of the lectures: symbols h, e, l, o; the network reads "hell" and learns to answer "ello"."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnn_research import elman, free_run, layers, unroll

SYMBOLS = 'helo'
IDS = jnp.array([[SYMBOLS.index(s)] for s in 'hell'])  # [T, B] = [4, 1]
TARGETS = jnp.array([[SYMBOLS.index(s)] for s in 'ello'])
CELL = elman(3)


def init(key):
  cell_key, head_key = jax.random.split(key)
  head = {'w': 0.5 * jax.random.normal(head_key, (3, 4)), 'b': jnp.zeros(4)}
  return {'cell': CELL.init(cell_key, jnp.zeros((1, 4))), 'head': head}


def loss(params, xs):
  _, hs = unroll(CELL, params['cell'], xs)
  logits = layers.dense(params['head'], hs)
  return optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS).sum()


def one_hot(ids):
  return jax.nn.one_hot(ids, 4)


@pytest.fixture(scope='module')
def trained():
  """Returns parameters after 300 steps, the loss before and the loss after."""
  params, tx = init(jax.random.key(0)), optax.adam(0.05)

  @jax.jit
  def train(params):
    def body(carry, _):
      params, opt_state = carry
      value, gradient = jax.value_and_grad(loss)(params, one_hot(IDS))
      updates, opt_state = tx.update(gradient, opt_state)
      return (optax.apply_updates(params, updates), opt_state), value

    (params, _), losses = jax.lax.scan(body, (params, tx.init(params)), length=300)
    return params, losses

  params, losses = train(params)
  return params, float(losses[0]), float(losses[-1])


@pytest.mark.parametrize('symbol', range(4))
def test_a_one_hot_product_is_a_row_of_the_matrix(symbol):
  w_x = init(jax.random.key(0))['cell'].w_x
  x = one_hot(jnp.array([symbol]))
  np.testing.assert_array_equal(x[0], [float(i == symbol) for i in range(4)])
  np.testing.assert_array_equal(layers.matmul(x, w_x)[0], w_x[symbol])
  np.testing.assert_array_equal(layers.embed(w_x, jnp.array([symbol]))[0], w_x[symbol])


@pytest.mark.parametrize('looks_up', [True, False], ids=['lookup', 'one_hot'])
def test_a_separate_embedding_equals_the_one_hot_form(monkeypatch, looks_up):
  monkeypatch.setattr(layers, '_looks_up', lambda: looks_up)
  params = init(jax.random.key(0))
  table, w_x = (
    jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32),
    jnp.ones((5, 3)) * 0.1,
  )
  w_x = w_x.at[0, 1].set(-0.4)

  def embedded(table, w_x):
    cell_params = params['cell']._replace(w_x=w_x)
    return loss(params | {'cell': cell_params}, layers.embed(table, IDS))

  folded = lambda w: loss(params | {'cell': params['cell']._replace(w_x=w)}, one_hot(IDS))
  value, (dtable, dw_x) = jax.jit(jax.value_and_grad(embedded, (0, 1)))(table, w_x)
  expected, dw = jax.jit(jax.value_and_grad(folded))(table @ w_x)
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  np.testing.assert_allclose(dtable, dw @ w_x.T, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(dw_x, table.T @ dw, rtol=1e-5, atol=1e-6)


def test_symbols_that_do_not_occur_have_no_gradient():
  gradient = jax.grad(lambda table: jnp.sum(layers.embed(table, IDS) ** 2))(jnp.ones((4, 2)))
  # h once, e once, l twice, o never.
  np.testing.assert_array_equal(gradient[:, 0], [2.0, 2.0, 4.0, 0.0])


def test_three_hidden_units_learn_hello(trained):
  params, before, after = trained
  assert before > 4.0 * np.log(3.0)
  assert after < 0.05
  _, hs = unroll(CELL, params['cell'], one_hot(IDS))
  np.testing.assert_array_equal(jnp.argmax(layers.dense(params['head'], hs), -1), TARGETS)


def test_the_trained_network_writes_ello_by_itself(trained):
  params, _, _ = trained

  def feed(y, key):
    symbol = jnp.argmax(layers.dense(params['head'], y), -1)
    return one_hot(symbol), symbol

  state = CELL.initial_state(params['cell'], 1)
  _, written = free_run(CELL, params['cell'], state, one_hot(IDS[0]), feed, 4)
  assert ''.join(SYMBOLS[i] for i in written[:, 0]) == 'ello'
