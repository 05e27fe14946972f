"""Where chance enters: dropout between layers, variational masks, zoneout, free running."""

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
  make,
  noisy,
  perturbed,
)

from rnn_research import (
  elman,
  free_run,
  gru,
  highway,
  layer_norm,
  layer_norm_lstm,
  learned_initial_state,
  lstm,
  residual,
  stack,
  unroll,
  unroll_layers,
  variational_dropout,
  weight_dropout,
  zoneout,
)
from rnn_research.cells.attention_decoders import bahdanau
from rnn_research.cells.dnc import dnc
from rnn_research.cells.elman import rin
from rnn_research.cells.entnet import entnet
from rnn_research.cells.ntm import ntm
from rnn_research.cells.visual_attention import hard_attention, soft_attention
from rnn_research.engines.dispatch import with_engine
from rnn_research.errors import InputError
from rnn_research.layers import dropout, matmul
from rnn_research.memory.attention import additive

pytestmark = pytest.mark.usefixtures('strict_shapes')

KEY = jax.random.key(11)
PARAMS = perturbed(make('lstm'))


def test_dropout_acts_between_layers_only_and_only_with_a_key():
  cells = (elman(6), elman(HIDDEN))
  params = tuple(perturbed(c, n) for c, n in zip(cells, (NUM_INPUTS, 6), strict=True))
  plain = unroll_layers(cells, params, inputs())
  assert_same(unroll_layers(cells, params, inputs(), dropout=0.5), plain)
  assert_same(unroll_layers(cells, params, inputs(), key=KEY), plain)
  ends, ys = unroll_layers(cells, params, inputs(), dropout=0.5, key=KEY)
  assert_same(ends[0], plain[0][0])
  assert np.asarray(ys != 0.0).all()
  assert np.abs(np.asarray(ys - plain[1])).max(-1).min() > 0.0
  assert_same(
    unroll_layers(cells[:1], params[:1], inputs(), dropout=0.5, key=KEY),
    unroll_layers(cells[:1], params[:1], inputs()),
  )
  repeated = unroll_layers(cells, params, inputs(), dropout=0.5, key=KEY)
  assert_same(repeated, (ends, ys))


def recorder():
  """Returns a cell whose output is its input, so that what dropout did to it can be read off."""
  return make('elman')._replace(
    project=lambda params, xs: xs,
    step=lambda params, state, u, *, key=None, ctx=None: (state, u),
    scan=None,
  )


def test_dropout_is_drawn_anew_at_every_step_scaled_and_at_its_rate():
  cells, ones = (recorder(), recorder()), jnp.ones((NUM_STEPS, BATCH, 400))
  _, ys = unroll_layers(cells, (PARAMS, PARAMS), ones, dropout=0.25, key=KEY)
  kept = np.asarray(ys)
  assert set(np.unique(kept)) == {np.float32(0.0), np.float32(1.0) / np.float32(0.75)}
  assert abs((kept > 0.0).mean() - 0.75) < 0.02
  assert (
    len({kept[t, b].tobytes() for t in range(NUM_STEPS) for b in range(BATCH)}) == NUM_STEPS * BATCH
  )


@pytest.mark.parametrize(('rate', 'kept'), [(1e-6, 1.0), (0.999, 0.001)])
def test_dropout_at_extreme_rates(rate, kept):
  ys = np.asarray(dropout(KEY, jnp.ones((100, 1000)), rate))
  assert abs((ys > 0.0).mean() - kept) < 5e-4
  assert abs(ys.mean() - 1.0) < 0.3
  with pytest.raises(ValueError, match='dropout rate is 1'):
    dropout(KEY, jnp.ones(3), 1.0)


def test_variational_masks_are_constant_over_time_and_redrawn_per_unroll():
  cell = variational_dropout(elman(HIDDEN), input_rate=0.5, state_rate=0.5)
  params = perturbed(cell)
  masks = [cell.prepare(params, None, BATCH, key=jax.random.key(i))[0] for i in range(2)]
  assert masks[0].w_x.mask.shape == (BATCH, NUM_INPUTS) and masks[0].w_h.mask.shape == (
    BATCH,
    HIDDEN,
  )
  assert {float(m) for mask in (masks[0].w_x.mask, masks[0].w_h.mask) for m in np.ravel(mask)} == {
    0.0,
    2.0,
  }
  assert (np.asarray(masks[0].w_h.mask) != masks[1].w_h.mask).any()
  # By the equation, with the masks that unroll drew: everything constant, so the drawn masks are all that changes.
  same_x = jnp.broadcast_to(inputs()[:1], inputs().shape)
  end, ys = unroll(cell, params, same_x, key=KEY)
  cell_key, _ = jax.random.split(jax.random.fold_in(KEY, 0))
  drawn, _ = cell.prepare(params, None, BATCH, key=jax.random.split(cell_key)[0])
  h = np.zeros((BATCH, HIDDEN))
  for t in range(NUM_STEPS):
    h = np.tanh(
      (same_x[t] * drawn.w_x.mask) @ params.w_x + (h * drawn.w_h.mask) @ params.w_h + params.b[None]
    )
    np.testing.assert_allclose(ys[t], h, rtol=1e-5, atol=1e-6)
  assert_same(unroll(cell, params, same_x, key=KEY), (end, ys))
  assert (np.asarray(unroll(cell, params, same_x, key=jax.random.key(1))[1]) != ys).any()
  assert_close(unroll(cell, params, same_x), unroll(elman(HIDDEN), params, same_x))


def test_variational_masks_keep_at_their_rate_and_keep_the_mean():
  cell = variational_dropout(elman(2000), state_rate=0.2)
  blank = jax.eval_shape(cell.init, KEY, inputs()[0])
  params, _ = cell.prepare(blank, None, BATCH, key=KEY)
  assert set(np.unique(params.w_h.mask)) == {np.float32(0.0), np.float32(1.0) / np.float32(0.8)}
  assert abs(float(params.w_h.mask.mean()) - 1.0) < 0.02


def test_variational_masks_of_nested_combinators_are_independent():
  cell = variational_dropout(variational_dropout(elman(64), state_rate=0.5), state_rate=0.5)
  params, _ = cell.prepare(perturbed(cell), None, BATCH, key=KEY)
  assert (np.asarray(params.w_h.mask) != params.w_h.w.mask).any()


def test_weight_dropout_draws_one_mask_per_unroll_and_keeps_the_fused_form():
  cell = weight_dropout(gru(300, reset='before'), 0.2)
  params = perturbed(cell)
  dropped, _ = cell.prepare(params, None, BATCH, key=KEY)
  for name in ('w_h', 'w_hn'):
    factors = np.asarray(getattr(dropped, name) / getattr(params, name))
    np.testing.assert_allclose(factors[factors > 0.0], 1.25, rtol=1e-4)
    assert abs((factors == 0.0).mean() - 0.2) < 0.02
  assert dropped._replace(w_h=params.w_h, w_hn=params.w_hn) == params
  # What unroll runs is the fused form of the plain cell with the weights that were drawn.
  drawn, _ = cell.prepare(
    params, None, BATCH, key=jax.random.split(jax.random.split(jax.random.fold_in(KEY, 0))[0])[0]
  )
  assert_same(
    unroll(cell, params, inputs(), key=KEY), unroll(gru(300, reset='before'), drawn, inputs())
  )
  assert_same(unroll(cell, params, inputs()), unroll(gru(300, reset='before'), params, inputs()))
  with pytest.raises(ValueError, match='rate is 1,'):
    weight_dropout(gru(3), 1)


def test_weight_dropout_inside_layer_norm_drops_the_matrix_alone():
  cell = layer_norm(weight_dropout(elman(HIDDEN), 0.5))
  params = perturbed(cell)
  dropped, _ = cell.prepare(params, None, BATCH, key=KEY)
  assert_same(dropped.w_h._replace(w=0), params.w_h._replace(w=0))
  assert (np.asarray(dropped.w_h.w) == 0.0).any()


@pytest.mark.parametrize(
  'drop',
  [lambda cell: weight_dropout(cell, 0.5), lambda cell: variational_dropout(cell, state_rate=0.5)],
)
def test_dropout_leaves_the_identity_of_a_recurrent_identity_network(drop):
  cell = drop(rin(HIDDEN))
  params = jax.tree.map(jnp.zeros_like, perturbed(cell))
  start = jax.tree.map(jnp.abs, noisy(cell.initial_state(params, BATCH), 3))
  assert_same(unroll(cell, params, inputs(), start, key=KEY)[0], start)


def test_masked_and_normalised_weights_follow_their_equations():
  cell = variational_dropout(layer_norm(elman(HIDDEN)), input_rate=0.5)
  params, _ = cell.prepare(perturbed(cell), None, BATCH, key=KEY)
  weights, x = jax.tree.map(np.asarray, params.w_x.w), np.asarray(inputs()[0] * params.w_x.mask)
  product = x @ weights.w
  normalised = (product - product.mean(-1, keepdims=True)) / np.sqrt(
    product.var(-1, keepdims=True) + 1e-5
  )
  np.testing.assert_allclose(
    matmul(inputs()[0], params.w_x), weights.scale * normalised + weights.offset, rtol=1e-4
  )


def test_zoneout_masks_differ_per_step_and_keep_at_their_rate():
  base = elman(200)._replace(
    step=lambda params, state, u, *, key=None, ctx=None: (
      type(state)(state.h + 1.0),
      state.h + 1.0,
    ),
    scan=None,
  )
  params = perturbed(base)
  _, ys = unroll(zoneout(base, 0.25), params, inputs(), key=KEY)
  before = np.concatenate([np.zeros_like(ys[:1]), ys[:-1]])
  kept = np.asarray(ys) == before
  np.testing.assert_array_equal(np.asarray(ys) - before, np.where(kept, 0.0, 1.0))
  assert abs(kept.mean() - 0.25) < 0.02
  assert len({kept[t].tobytes() for t in range(NUM_STEPS)}) == NUM_STEPS
  _, expectation = unroll(zoneout(base, 0.25), params, inputs())
  np.testing.assert_allclose(expectation[-1], 0.75 * NUM_STEPS, rtol=1e-6)


def test_zoneout_draws_each_part_of_the_state_by_itself():
  cell = zoneout(make('lstm'), make('lstm').initial_state(PARAMS, 1)._replace(c=1.0, h=0.0))
  start = noisy(cell.initial_state(PARAMS, BATCH), 3)
  for key in (None, KEY):
    end, ys = unroll(cell, PARAMS, inputs(), start, key=key)
    assert_same(end.c, start.c)
    assert (np.asarray(ys[1:]) != np.asarray(ys[:-1])).all()


def test_free_run_gives_every_step_its_own_keys():
  cell = recorder()
  feed = lambda y, key: (jax.random.uniform(key, y.shape), y)
  state, x = cell.initial_state(perturbed(cell), BATCH), inputs()[0]
  keys = lambda key: jax.random.split(jax.random.fold_in(key, 1), 5)
  run = lambda key: np.asarray(
    free_run(cell, PARAMS, state, x, feed, 5, key=key, feed_inputs=keys(key))[1]
  )
  assert len(np.unique(run(KEY))) == run(KEY).size
  np.testing.assert_array_equal(run(KEY), run(KEY))
  assert (run(jax.random.key(1))[1:] != run(KEY)[1:]).all()


def test_free_run_draws_variational_masks_once():
  cell = variational_dropout(elman(HIDDEN), input_rate=0.5)
  params = perturbed(cell)._replace(w_h=jnp.zeros((HIDDEN, HIDDEN)))
  x = inputs()[0]
  _, ys = free_run(
    cell, params, cell.initial_state(params, BATCH), x, lambda y, key: (x, y), 5, key=KEY
  )
  assert_close(ys, jnp.broadcast_to(ys[:1], ys.shape))
  assert (np.asarray(ys[0]) != np.asarray(unroll(cell, params, x[None])[1][0])).any()


def test_zoneout_goes_inside_of_what_changes_the_output():
  x = inputs()[0]
  for around in (residual, highway):
    with pytest.raises(InputError, match=r'^zoneout is around a cell whose output is not the h'):
      jax.eval_shape(zoneout(around(lstm(NUM_INPUTS)), 0.1).init, KEY, x)
    assert around(zoneout(lstm(NUM_INPUTS), 0.1)).init(KEY, x)
  with pytest.raises(InputError, match=r'^zoneout'):
    zoneout(entnet(3), 0.1).init(KEY, x)


AROUND = (
  residual,
  highway,
  learned_initial_state,
  layer_norm,
  lambda cell: weight_dropout(cell, 0.1),
  lambda cell: variational_dropout(cell, input_rate=0.1),
  lambda cell: ntm(cell, num_rows=4),
  lambda cell: dnc(cell, num_rows=4),
  lambda cell: bahdanau(cell, additive(3)),
  lambda cell: soft_attention(cell, additive(3)),
  lambda cell: hard_attention(gru(3), additive(3)),
)


@pytest.mark.parametrize('engine', ['newton', 'shooting'])
def test_cells_that_draw_at_every_step_take_them(engine):
  quiet = stack(gru(HIDDEN), gru(HIDDEN))
  assert with_engine(quiet, engine).scan is not None
  drawing = zoneout(gru(HIDDEN), 0.5), stack(gru(HIDDEN), gru(HIDDEN), dropout=0.5)
  around = [change(drawing[0]) for change in AROUND]
  for cell in (*drawing, stack(*drawing), *around):
    with pytest.raises(
      InputError, match=f"^engine is '{engine}', expected 'scan' for a cell that draws"
    ):
      with_engine(cell, engine)


def test_products_are_normalised_once():
  for cell in (layer_norm_lstm(HIDDEN), layer_norm(lstm(HIDDEN))):
    with pytest.raises(InputError, match='whose products are normalised already'):
      layer_norm(cell).init(KEY, inputs()[0])


def test_a_rate_may_be_a_number_of_numpy():
  params = perturbed(elman(HIDDEN))
  rates = np.float32(0.5), 0.5
  one, other = (unroll(zoneout(elman(HIDDEN), rate), params, inputs(), key=KEY) for rate in rates)
  assert_same(one, other)


@pytest.mark.parametrize('rate', [-0.1, 1.1])
def test_rates_out_of_range(rate):
  with pytest.raises(ValueError, match=f'rate is {rate}'):
    zoneout(elman(HIDDEN), rate)
  for name in ('input_rate', 'state_rate'):
    with pytest.raises(ValueError, match=f'{name} is {rate}'):
      variational_dropout(elman(HIDDEN), **{name: rate})
