"""Gated cells where two of them must be one function, their sizes, and the errors of their options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import BATCH, HIDDEN, NUM_INPUTS, assert_close, inputs, make, noisy, perturbed, run

from rnn_research import CELLS
from rnn_research.cells import lstm_variant
from rnn_research.cells.lstm import LSTMParams

pytestmark = pytest.mark.usefixtures('strict_shapes', 'quick_compilation')

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
    'mgu': 2 * BLOCK,
    'mlstm': 5 * BLOCK - HIDDEN,
    'mut1': 3 * BLOCK - HIDDEN**2,  # the projection of the bare input is the third block's
    'mut2': 3 * BLOCK,
    'mut3': 3 * BLOCK,
}


@pytest.mark.parametrize('name', NUM_PARAMS)
def test_what_a_cell_lacks_has_no_parameters(name):
  params = jax.eval_shape(lambda key: CELLS[name](HIDDEN).init(key, jnp.ones((BATCH, NUM_INPUTS))), jax.random.key(0))
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == NUM_PARAMS[name]


@pytest.mark.parametrize(('change', 'twin'), [('', 'lstm_peephole'), ('np', 'lstm')])
def test_an_lstm_without_a_change_or_peepholes_is_the_lstm(change, twin):
  cell = lstm_variant(HIDDEN, change=change)
  params, xs = perturbed(cell), inputs()
  state = noisy(cell.initial_state(params, BATCH), 3)
  expected = run(make(twin), LSTMParams(*params[:4]), xs, state)
  assert_close(run(cell, params, xs, state), expected)


@pytest.mark.parametrize('name', ['mut1', 'mut2'])
def test_an_input_of_the_state_s_size_is_read_bare(name):
  cell = CELLS[name](NUM_INPUTS)
  params, xs = perturbed(cell), inputs()
  assert params.w_x_bare is None
  state = noisy(cell.initial_state(params, BATCH), 3)
  expected = run(cell, params._replace(w_x_bare=jnp.eye(NUM_INPUTS)), xs, state)
  assert_close(run(cell, params, xs, state), expected)


def test_the_forget_bias_is_added_where_there_is_a_forget_gate():
  biases = lambda change: lstm_variant(HIDDEN, change=change, forget_bias=3.0).init(jax.random.key(0), inputs()[0]).b
  np.testing.assert_array_equal(biases('nig'), np.repeat([3.0, 0.0, 0.0], HIDDEN))
  assert not biases('nfg').any() and not biases('cifg').any()


def test_an_unknown_change_is_refused():
  with pytest.raises(ValueError, match="change is 'nope', expected one of nig, nfg, nog, niaf, noaf, cifg, np, fgr"):
    lstm_variant(HIDDEN, change='nope')
