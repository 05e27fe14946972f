"""Depth within a step and over layers: the recurrent highway network and the highway layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import BATCH, HIDDEN, NUM_INPUTS, assert_same, inputs, noisy, perturbed

from rnn_research import layer_norm, unroll, variational_dropout, weight_dropout
from rnn_research.cells.highway import recurrent_highway
from rnn_research.layers import Masked, Normalized

pytestmark = pytest.mark.usefixtures('strict_shapes', 'quick_compilation')

KEY = jax.random.key(0)


@pytest.mark.parametrize('depth', [1, 2, 5])
def test_depth_adds_layers_of_which_the_first_alone_reads_the_input(depth):
  with jax.enable_x64(True):
    cell = recurrent_highway(HIDDEN, depth=depth, dtype=jnp.float64)
    params = jax.tree.map(lambda a: a.astype(jnp.float64), perturbed(cell))
    state = noisy(cell.initial_state(params, BATCH), 3)
    end, _ = unroll(cell, params, inputs(1), state)
  assert params._fields == ('w_x', *(f'w_h{i + 1}' for i in range(depth)), 'b')
  assert sum(a.size for a in params) == 2 * HIDDEN * (NUM_INPUTS + depth * (HIDDEN + 1))
  params, s, x = jax.tree.map(np.asarray, (params, state.h, inputs()[0]))
  given = x @ params.w_x
  for w, b in zip(params[1:-1], params.b, strict=True):
    n, t = np.split(given + s @ w + b, 2, -1)
    t = 1.0 / (1.0 + np.exp(-t))
    s, given = np.tanh(n) * t + s * (1.0 - t), 0.0
  np.testing.assert_allclose(end.h, s, rtol=1e-12)


def test_a_transform_bias_far_below_zero_copies_the_state():
  cell = recurrent_highway(HIDDEN, depth=4, transform_bias=-40.0)
  params = cell.init(KEY, inputs()[0])
  state = noisy(cell.initial_state(params, BATCH), 3)
  # A float32 sigmoid by way of tanh ends at about 3e-8, which 32 layers add up.
  np.testing.assert_allclose(unroll(cell, params, inputs(), state)[0].h, state.h, rtol=1e-5)
  bias = recurrent_highway(HIDDEN, depth=4).init(KEY, inputs()[0]).b
  assert (np.asarray(bias) == np.repeat([[0.0, -2.0]], HIDDEN, 1)).all() and bias.shape == (4, 2 * HIDDEN)


def test_cells_built_twice_share_one_type_of_parameters():
  first, second = (recurrent_highway(HIDDEN, depth=2).init(KEY, inputs()[0]) for _ in range(2))
  assert_same(first, second)


def test_combinators_reach_the_matrix_of_every_layer():
  cell = recurrent_highway(HIDDEN, depth=2)
  kinds = lambda params: {name: type(w) for name, w in params._asdict().items() if name != 'b'}
  names = ('w_x', 'w_h1', 'w_h2')
  assert kinds(layer_norm(cell).init(KEY, inputs()[0])) == dict.fromkeys(names, Normalized)
  params = perturbed(cell)
  masked, _ = variational_dropout(cell, input_rate=0.5, state_rate=0.5).prepare(params, None, BATCH, key=KEY)
  assert kinds(masked) == dict.fromkeys(names, Masked)
  dropped, _ = weight_dropout(cell, 0.5).prepare(params, None, BATCH, key=KEY)
  assert all((np.asarray(w) == 0.0).any() for w in (dropped.w_h1, dropped.w_h2)) and dropped.w_x is params.w_x
  assert (np.asarray(dropped.w_h1 == 0.0) != np.asarray(dropped.w_h2 == 0.0)).any()


def test_depth_below_one_is_refused():
  with pytest.raises(ValueError, match='depth is 0, expected at least 1'):
    recurrent_highway(HIDDEN, depth=0)
