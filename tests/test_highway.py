"""Depth within a step and over layers: the recurrent highway network and the highway layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  BATCH,
  HIDDEN,
  NUM_INPUTS,
  NUM_STEPS,
  assert_close,
  assert_same,
  inputs,
  noisy,
  perturbed,
)

from rnn_research import elman, highway, layer_norm, unroll, variational_dropout, weight_dropout
from rnn_research.cells.rhn import recurrent_highway
from rnn_research.layers import Masked, Normalized

pytestmark = pytest.mark.usefixtures('strict_shapes')

KEY = jax.random.key(0)


@pytest.mark.parametrize('depth', [1, 2, 5])
def test_depth_adds_layers_of_which_the_first_alone_reads_the_input(depth):
  with jax.enable_x64(True):
    cell = recurrent_highway(HIDDEN, depth=depth, dtype=jnp.float64)
    params = jax.tree.map(lambda a: a.astype(jnp.float64), perturbed(cell))
    state = noisy(cell.initial_state(params, BATCH), 3)
    end, _ = unroll(cell, params, inputs(1), state)
  assert len(params.w_h) == depth
  assert sum(a.size for a in jax.tree.leaves(params)) == 2 * HIDDEN * (
    NUM_INPUTS + depth * (HIDDEN + 1)
  )
  params, s, x = jax.tree.map(np.asarray, (params, state.h, inputs()[0]))
  given = x @ params.w_x
  for w, b in zip(params.w_h, params.b, strict=True):
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
  assert (np.asarray(bias) == np.repeat([[0.0, -2.0]], HIDDEN, 1)).all() and bias.shape == (
    4,
    2 * HIDDEN,
  )


def test_cells_built_twice_share_one_type_of_parameters():
  first, second = (recurrent_highway(HIDDEN, depth=2).init(KEY, inputs()[0]) for _ in range(2))
  assert_same(first, second)


def test_combinators_reach_the_matrix_of_every_layer():
  cell = recurrent_highway(HIDDEN, depth=2)
  kinds = lambda params: [type(w) for w in (params.w_x, *params.w_h)]
  assert kinds(layer_norm(cell).init(KEY, inputs()[0])) == [Normalized] * 3
  params = perturbed(cell)
  masked, _ = variational_dropout(cell, input_rate=0.5, state_rate=0.5).prepare(
    params, None, BATCH, key=KEY
  )
  assert kinds(masked) == [Masked] * 3
  dropped, _ = weight_dropout(cell, 0.5).prepare(params, None, BATCH, key=KEY)
  zeros = [np.asarray(w == 0.0) for w in dropped.w_h]
  assert all(z.any() for z in zeros) and dropped.w_x is params.w_x
  assert (zeros[0] != zeros[1]).any()


def test_depth_below_one_is_refused():
  with pytest.raises(ValueError, match='depth is 0, expected at least 1'):
    recurrent_highway(HIDDEN, depth=0)


@pytest.mark.parametrize(
  ('bias', 'expected'), [(-40.0, lambda ys: inputs()), (40.0, lambda ys: ys)]
)
def test_the_transform_gate_chooses_between_input_and_cell(bias, expected):
  inner, whole = elman(NUM_INPUTS), highway(elman(NUM_INPUTS), transform_bias=bias)
  params = whole.init(KEY, inputs()[0])
  assert_close(
    unroll(whole, params, inputs())[1], expected(unroll(inner, params.cell, inputs())[1]), atol=1e-5
  )
  assert (np.asarray(highway(inner).init(KEY, inputs()[0]).b_t) == -1.0).all()


def test_a_masked_step_of_scan_gives_zero_whatever_its_input_is():
  cell = highway(elman(NUM_INPUTS))
  params, mask = perturbed(cell), np.ones((NUM_STEPS, BATCH), bool)
  mask[3:, 1] = False
  xs = jnp.where(mask[..., None], inputs(), jnp.nan)
  ys = unroll(cell, params, xs, mask=mask)[1]
  assert not np.asarray(ys)[~mask].any()
  assert not np.asarray(
    cell.scan(params, cell.initial_state(params, BATCH), inputs(), mask=mask)[1]
  )[~mask].any()


def test_dropout_of_the_inner_weights_reaches_them():
  inner = elman(NUM_INPUTS)
  cell = highway(weight_dropout(inner, 0.5))
  params = perturbed(cell)
  assert cell.scan is not None
  ys = unroll(cell, params, inputs(), key=jax.random.key(5))[1]
  assert np.abs(np.asarray(ys - unroll(cell, params, inputs())[1])).max() > 1e-3
  dropped, _ = cell.prepare(params, None, BATCH, key=KEY)
  assert (np.asarray(dropped.cell.w_h) == 0.0).any() and dropped.w_t is params.w_t


def test_combinators_of_weights_refuse_a_highway_around_them():
  cell = highway(elman(NUM_INPUTS))
  with pytest.raises(
    ValueError, match=r'no weights w_h.* in HighwayParams: .*must be the outer one'
  ):
    weight_dropout(cell, 0.5).init(KEY, inputs()[0])
  with pytest.raises(ValueError, match=r'no weights w_x.* in HighwayParams'):
    layer_norm(cell).init(KEY, inputs()[0])
  with pytest.raises(ValueError, match=r'no weights w_x.* in HighwayParams'):
    variational_dropout(cell, input_rate=0.5).prepare(perturbed(cell), None, BATCH, key=KEY)


def test_a_highway_needs_equal_sizes():
  with pytest.raises(
    ValueError, match=r'highway needs outputs of the input shape \(3, 4\), the cell gives \(3, 5\)'
  ):
    perturbed(highway(elman(HIDDEN)))
