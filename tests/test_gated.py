"""Gated cells: twins that must be one function, parameter counts, initial biases, and combinators over each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  BATCH,
  HIDDEN,
  NUM_INPUTS,
  assert_close,
  inputs,
  make,
  noisy,
  perturbed,
  run,
)

from rnn_research import CELLS, gru, lstm
from rnn_research.cells import lstm_variant
from rnn_research.cells.lstm import LSTMParams
from rnn_research.combinators.weights import (
  layer_norm,
  variational_dropout,
  weight_dropout,
  zoneout,
)
from rnn_research.layers import Masked
from rnn_research.stepping import take_step

pytestmark = pytest.mark.usefixtures('strict_shapes')

BLOCK = HIDDEN * (NUM_INPUTS + HIDDEN + 1)
NUM_PARAMS = {
  'layer_norm_lstm': 4 * BLOCK + 2 * 2 * 4 * HIDDEN + 2 * HIDDEN,
  'lstm_cifg': 3 * BLOCK + 2 * HIDDEN,
  'lstm_fgr': 4 * BLOCK + 3 * HIDDEN + 9 * HIDDEN**2,
  'lstm_nfg': 3 * BLOCK + 2 * HIDDEN,
  'lstm_niaf': 4 * BLOCK + 3 * HIDDEN,
  'lstm_nig': 3 * BLOCK + 2 * HIDDEN,
  'lstm_noaf': 4 * BLOCK + 3 * HIDDEN,
  'lstm_nog': 3 * BLOCK + 2 * HIDDEN,
  'lstm_np': 4 * BLOCK,
  'lstm_peephole': 4 * BLOCK + 3 * HIDDEN,
  'mgu': 2 * BLOCK,
  'mlstm': 5 * BLOCK - HIDDEN,
  'mut1': 3 * BLOCK - HIDDEN**2,  # the projection of the bare input is the third block's
  'mut2': 3 * BLOCK,
  'mut3': 3 * BLOCK,
}


def biases(cell):
  """Returns the biases of every block, [K, 200]; no orthogonal matrix is computed for them."""
  b = jax.jit(lambda key: cell.init(key, jnp.ones((1, 2))).b)(jax.random.key(4))
  return np.asarray(b).reshape(-1, 200)


@pytest.mark.parametrize('name', NUM_PARAMS)
def test_what_a_cell_lacks_has_no_parameters(name):
  params = jax.eval_shape(
    lambda key: CELLS[name](HIDDEN).init(key, jnp.ones((BATCH, NUM_INPUTS))), jax.random.key(0)
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == NUM_PARAMS[name]


def test_an_lstm_without_peepholes_is_the_lstm():
  cell = lstm_variant(HIDDEN, change='np')
  params, xs = perturbed(cell), inputs()
  state = noisy(cell.initial_state(params, BATCH), 3)
  expected = run(make('lstm'), LSTMParams(*params[:3]), xs, state)
  assert_close(run(cell, params, xs, state), expected)


@pytest.mark.parametrize('name', ['mut1', 'mut2'])
def test_an_input_of_the_state_s_size_is_read_bare(name):
  cell = CELLS[name](NUM_INPUTS)
  params, xs = perturbed(cell), inputs()
  assert params.w_x_bare is None
  state = noisy(cell.initial_state(params, BATCH), 3)
  expected = run(cell, params._replace(w_x_bare=jnp.eye(NUM_INPUTS)), xs, state)
  assert_close(run(cell, params, xs, state), expected)


def test_the_forget_bias_is_added_where_there_is_a_forget_gate_or_its_counterpart():
  b = {
    change: biases(lstm_variant(200, change=change, forget_bias=3.0))
    for change in ('nig', 'nfg', 'cifg')
  }
  np.testing.assert_array_equal(b['nig'], np.tile([[3.0], [0.0], [0.0]], 200))
  assert not b['nfg'].any()
  # f = 1 - sigmoid(-3) = sigmoid(3).
  np.testing.assert_array_equal(b['cifg'], np.tile([[-3.0], [0.0], [0.0]], 200))


def test_an_unknown_change_is_refused():
  with pytest.raises(
    ValueError, match="change is 'nope', expected one of nig, nfg, nog, niaf, noaf, cifg, np, fgr"
  ):
    lstm_variant(HIDDEN, change='nope')


@pytest.mark.parametrize(
  ('cell', 'keeps', 'lets_in'),
  [
    (lstm(200, chrono_steps=50, forget_bias=7.0), 1, 0),
    (lstm_variant(200, chrono_steps=50, change='nog'), 1, 0),
    (gru(200, chrono_steps=50), 1, None),
    (gru(200, chrono_steps=50, reset='before'), 1, None),
    (lstm_variant(200, chrono_steps=50, change='cifg'), None, 0),
  ],
)
def test_chrono_biases_spread_memories_evenly_over_the_steps(cell, keeps, lets_in):
  b = biases(cell)
  for block, values in enumerate(b):
    if block not in (keeps, lets_in):
      assert not values.any()
  times = np.exp(b[keeps] if keeps is not None else -b[lets_in])
  assert times.min() >= 1.0 and times.max() <= 49.0
  np.testing.assert_allclose(
    np.quantile(times, [0.0, 0.25, 0.5, 0.75, 1.0]), [1, 13, 25, 37, 49], atol=5.0
  )
  if keeps is not None and lets_in is not None:
    np.testing.assert_array_equal(b[lets_in], -b[keeps])


@pytest.mark.parametrize('factory', [lstm, gru, lstm_variant])
@pytest.mark.parametrize('steps', [-1, 1, 2])
def test_chrono_steps_too_few_are_refused(factory, steps):
  with pytest.raises(
    ValueError, match=rf'chrono_steps is {steps}, expected 0 \(off\) or at least 3'
  ):
    biases(factory(200, chrono_steps=steps))


@pytest.mark.parametrize('name', NUM_PARAMS)
def test_combinators_reach_every_weight(name):
  key, x = jax.random.key(2), inputs()[0]
  cell = make(name)
  params = perturbed(cell)
  state = noisy(cell.initial_state(params, BATCH), 3)
  weights = {
    field
    for field in params._fields
    if field.startswith('w_') and getattr(params, field) is not None
  }

  masked, _ = variational_dropout(cell, input_rate=0.3, state_rate=0.3).prepare(
    params, None, BATCH, key=key
  )
  assert {field for field in weights if isinstance(getattr(masked, field), Masked)} == weights
  dropped, _ = weight_dropout(cell, 0.5).prepare(params, None, BATCH, key=key)
  change = jax.tree.map(lambda a, b: not np.array_equal(a, b), dropped, params)
  changed = {field for field in params._fields if any(jax.tree.leaves(getattr(change, field)))}
  assert changed == {field for field in weights if field.startswith('w_h')}
  step = jax.jit(take_step, static_argnums=0)
  _, y = step(cell, params, state, x)
  for other in (masked, dropped):
    assert np.abs(step(cell, other, state, x)[1] - y).max() > 1e-3

  _, zoned = step(zoneout(cell, 0.5), params, state, x)
  assert_close(zoned, 0.5 * state.h + 0.5 * y)
  if name != 'layer_norm_lstm':
    whole = layer_norm(cell)
    normalized = whole.init(key, x)
    assert {field for field in weights if hasattr(getattr(normalized, field), 'scale')} == weights
    assert np.isfinite(step(whole, normalized, state, x)[1]).all()
