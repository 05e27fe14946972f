"""Our cells under Flax, Flax cells under `unroll`, and weight maps: equal values and gradients."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  BATCH,
  HIDDEN,
  LENGTHS,
  NUM_INPUTS,
  NUM_STEPS,
  assert_close,
  assert_same,
  inputs,
  loss_from,
  make,
  noisy,
  perturbed,
)
from flax import linen, nnx

from rnn_research import flax_compat, gru, length_mask, lstm, unroll
from rnn_research.errors import InputError
from rnn_research.flax_compat import LinenCell, NNXCell, from_linen, from_nnx

CELLS = ['elman', 'gru', 'lstm_projection', 'learned_stack', 'layer_norm', 'variational_dropout']
swap = lambda a: jnp.swapaxes(a, 0, 1)


@functools.partial(jax.jit, static_argnums=0)
def ours(cell, params, xs):
  """Returns the loss, and gradients with respect to params and `[T, B, F]` inputs."""
  return jax.value_and_grad(lambda *args: loss_from(*unroll(cell, *args)), (0, 1))(params, xs)


@pytest.mark.parametrize('time_major', [True, False])
@pytest.mark.parametrize('name', CELLS)
def test_our_cell_under_linen(name, time_major):
  cell = make(name)
  rnn = linen.RNN(LinenCell(cell), time_major=time_major, return_carry=True)
  turn = (lambda a: a) if time_major else swap
  variables = jax.jit(rnn.init)(jax.random.key(0), turn(inputs()))
  assert jax.tree.structure(variables) == jax.tree.structure(
    {'params': {'cell': {'cell': perturbed(cell)}}}
  )
  params = noisy(variables['params']['cell']['cell'], 4)

  def loss(params, xs):
    carry, ys = rnn.apply({'params': {'cell': {'cell': params}}}, turn(xs))
    return loss_from(carry, turn(ys))

  got = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, inputs())
  assert_close(got, ours(cell, params, inputs()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', CELLS)
def test_our_cell_under_nnx(name):
  cell = make(name)
  rnn = nnx.RNN(NNXCell(cell, NUM_INPUTS, rngs=nnx.Rngs(0)), return_carry=True)
  params = noisy(rnn.cell.params.get_value(), 4)
  rnn.cell.params.set_value(params)

  @nnx.jit
  @nnx.value_and_grad
  def loss(rnn, xs):
    carry, ys = rnn(swap(xs))
    return loss_from(carry, swap(ys))

  value, gradient = loss(rnn, inputs())
  expected, (expected_gradient, _) = ours(cell, params, inputs())
  assert_close(
    (value, gradient['cell']['params'].get_value()),
    (expected, expected_gradient),
    rtol=1e-4,
    atol=1e-5,
  )


def test_lengths_agree_with_linen_where_linen_is_right():
  cell = make('gru')
  rnn = linen.RNN(LinenCell(cell), time_major=True, return_carry=True)
  params, lengths = perturbed(cell), np.array([NUM_STEPS, 1, 3])
  carry, ys = rnn.apply({'params': {'cell': {'cell': params}}}, inputs(), seq_lengths=lengths)
  mask = length_mask(lengths, NUM_STEPS)
  end, expected = unroll(cell, params, inputs(), mask=mask)
  assert_close((carry, jnp.where(mask[..., None], ys, 0.0)), (end, expected))


FLAX_CELLS = {
  'linen.LSTMCell': lambda: from_linen(linen.LSTMCell(HIDDEN)),
  'linen.OptimizedLSTMCell': lambda: from_linen(linen.OptimizedLSTMCell(HIDDEN)),
  'linen.GRUCell': lambda: from_linen(linen.GRUCell(HIDDEN)),
  'linen.MGUCell': lambda: from_linen(linen.MGUCell(HIDDEN)),
  'nnx.OptimizedLSTMCell': lambda: from_nnx(
    nnx.OptimizedLSTMCell(NUM_INPUTS, HIDDEN, rngs=nnx.Rngs(0))
  ),
  'nnx.GRUCell': lambda: from_nnx(nnx.GRUCell(NUM_INPUTS, HIDDEN, rngs=nnx.Rngs(0))),
}


@pytest.mark.parametrize('name', FLAX_CELLS)
def test_flax_cells_under_unroll_obey_mask_and_reset(name):
  cell = FLAX_CELLS[name]()
  params = perturbed(cell)
  state = noisy(cell.initial_state(params, BATCH), 3)
  mask = np.asarray(length_mask(np.array(LENGTHS), NUM_STEPS))
  run = jax.jit(lambda xs, mask, reset: unroll(cell, params, xs, state, mask=mask, reset=reset))
  whole_end, whole = run(inputs(), np.ones_like(mask), np.zeros_like(mask))
  end, ys = run(jnp.where(mask[..., None], inputs(), jnp.nan), mask, np.zeros_like(mask))
  assert ys.shape == (NUM_STEPS, BATCH, HIDDEN)
  assert_close(ys, jnp.where(mask[..., None], whole, 0.0))
  row = lambda tree, b: jax.tree.map(lambda a: a[b], tree)
  assert_same((row(end, 0), row(end, 1)), (row(whole_end, 0), row(state, 1)))
  _, again = run(
    jnp.concatenate([inputs()[:4]] * 2),
    np.ones_like(mask),
    (np.arange(NUM_STEPS) == 4)[:, None] | ~mask,
  )
  _, fresh = jax.jit(lambda xs: unroll(cell, params, xs))(inputs()[:4])
  assert_close(again[4:, 0], fresh[:, 0])


def flax_twin(name):
  """Returns (our cell, a Flax cell under `unroll`, map to Flax, map from Flax)."""
  to_linen = {'lstm': flax_compat.lstm_params_to_linen, 'gru': flax_compat.gru_params_to_linen}
  from_linen_params = {
    'lstm': flax_compat.lstm_params_from_linen,
    'gru': flax_compat.gru_params_from_linen,
  }
  factory, flax_cell = {
    'LSTMCell': (lstm, linen.LSTMCell),
    'OptimizedLSTMCell': (lstm, linen.OptimizedLSTMCell),
    'GRUCell': (gru, linen.GRUCell),
  }[name]
  return factory, flax_cell, to_linen[factory.__name__], from_linen_params[factory.__name__]


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.float64])
@pytest.mark.parametrize('name', ['LSTMCell', 'OptimizedLSTMCell', 'GRUCell'])
def test_linen_weight_maps_both_ways(name, dtype):
  factory, flax_factory, to_flax, from_flax = flax_twin(name)
  tolerance = (
    {'rtol': 1e-4, 'atol': 1e-5} if dtype == jnp.float32 else {'rtol': 1e-11, 'atol': 1e-12}
  )
  with jax.enable_x64(dtype == jnp.float64):
    cell, theirs = factory(HIDDEN, dtype=dtype), from_linen(flax_factory(HIDDEN, param_dtype=dtype))
    params, xs = jax.tree.map(lambda a: a.astype(dtype), (perturbed(cell), inputs()))
    drawn = theirs.init(jax.random.key(0), xs[0])
    assert jax.tree.structure(to_flax(params)) == jax.tree.structure(drawn)
    assert_same(to_flax(from_flax(drawn)), drawn)
    assert_same(from_flax(to_flax(params)), params)
    outputs = lambda cell: jax.jit(
      jax.value_and_grad(lambda p, xs: jnp.sum(jnp.sin(unroll(cell, p, xs)[1]) ** 2), (0, 1))
    )
    value, (dparams, dxs) = outputs(theirs)(to_flax(params), xs)
    expected = outputs(cell)(params, xs)
    assert value.dtype == dtype
    assert_close((value, (from_flax(dparams), dxs)), expected, **tolerance)


@pytest.mark.parametrize('name', ['lstm', 'gru'])
def test_nnx_weight_maps_both_ways(name):
  cell = make(name)
  params = perturbed(cell)
  if name == 'gru':
    params = params._replace(b_hn=jnp.zeros(HIDDEN))
  flax_cell = {'lstm': nnx.OptimizedLSTMCell, 'gru': nnx.GRUCell}[name](
    NUM_INPUTS, HIDDEN, rngs=nnx.Rngs(0)
  )
  to_nnx = {'lstm': flax_compat.lstm_params_to_nnx, 'gru': flax_compat.gru_params_to_nnx}[name]
  from_nnx_params = {
    'lstm': flax_compat.lstm_params_from_nnx,
    'gru': flax_compat.gru_params_from_nnx,
  }[name]
  _, theirs = unroll(from_nnx(flax_cell), from_nnx(flax_cell).init(None, None), inputs())
  assert_close(theirs, unroll(cell, from_nnx_params(flax_cell), inputs())[1])
  nnx.update(flax_cell, to_nnx(params))
  assert_same(from_nnx_params(flax_cell), params)
  ys = nnx.RNN(flax_cell, time_major=True)(inputs())
  assert_close(ys, unroll(cell, params, inputs())[1])


@pytest.mark.parametrize(
  ('name', 'to_flax', 'said'),
  [
    ('lstm_peephole', 'lstm_params_to_linen', 'no cell for LSTMVariantParams, expected LSTMParams'),
    ('lstm_projection', 'lstm_params_to_nnx', 'no LSTM with a projection'),
    ('layer_norm', 'lstm_params_to_nnx', 'w_x is wrapped in Normalized'),
    ('gru_reset_before', 'gru_params_to_linen', "weights of gru(reset='before')"),
    ('lstm', 'gru_params_to_linen', 'no cell for LSTMParams, expected GRUParams'),
    ('gru', 'gru_params_to_nnx', 'b_hn is not zero'),
  ],
)
def test_weights_without_a_twin_are_refused(name, to_flax, said):
  with pytest.raises(InputError, match=re.escape(said)):
    getattr(flax_compat, to_flax)(perturbed(make(name)))


def test_an_unbound_linen_cell_makes_its_initial_state():
  state = LinenCell(make('lstm')).initialize_carry(jax.random.key(0), (2, NUM_INPUTS))
  assert_same(
    state,
    jax.tree.map(
      lambda a: jnp.zeros_like(a), make('lstm').initial_state(perturbed(make('lstm')), 2)
    ),
  )
  with pytest.raises(ValueError, match=r'\(2, 3, 4\).*one batch axis'):
    LinenCell(make('lstm')).initialize_carry(jax.random.key(0), (2, 3, 4))
