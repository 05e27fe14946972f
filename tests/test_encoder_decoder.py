"""The sequence-to-sequence model: its three ways to run a decoder agree, padding and copies change nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import assert_close, noisy

from rnn_research import gru, layers, lstm
from rnn_research.combinators import depth
from rnn_research.combinators.depth import stack
from rnn_research.encoders.recurrent import Encoder, init_encoder, run_encoder
from rnn_research.memory import attention
from rnn_research.models import conditional_loss, decoders
from rnn_research.models.conditional_model import encoder_decoder
from rnn_research.unroll import length_mask, unroll

pytestmark = pytest.mark.usefixtures('quick_compilation')
SIZES, EMBEDDING, HIDDEN = (11, 13), 6, 5
SOURCES = np.random.default_rng(0).integers(4, SIZES[0], (4, 7)).astype(np.int32)
LENGTHS = np.int32([7, 1, 4, 0])
INPUTS = np.random.default_rng(1).integers(4, SIZES[1], (6, 4)).astype(np.int32)


def _one_way(cells, make):
  return Encoder(cells), make(cells)


def _two_ways(cells, make):
  return Encoder(cells, cells), make(cells)


G, L2 = (gru(HIDDEN),), (lstm(HIDDEN), lstm(HIDDEN))
MODELS = {
  'sutskever': lambda **d: _one_way(L2, decoders.sutskever),
  'sutskever_reversed': lambda: (Encoder(L2, from_the_end=True), decoders.sutskever(L2)),
  'sutskever_bridge': lambda: _two_ways(L2, decoders.sutskever),
  'cho': lambda: _one_way(G, decoders.cho),
  'bahdanau': lambda: _two_ways(G, lambda c: decoders.attends_before(c, attention.additive(4))),
  'bahdanau_deep': lambda **d: _two_ways(
    L2, lambda c: decoders.attends_before(c, attention.general(), **d)
  ),
  'luong_dot': lambda: _one_way(G, lambda c: decoders.attends_after(c, attention.dot(), HIDDEN)),
  'luong_deep': lambda **d: _two_ways(
    L2, lambda c: decoders.attends_after(c, attention.additive(4), HIDDEN, **d)
  ),
}


@functools.cache
def make(name, **options):
  """Returns the model and its parameters, without the zeros of an initialisation."""
  model = encoder_decoder(*MODELS[name](), SIZES, EMBEDDING, **options)
  return model, noisy(model.init(jax.random.key(0)), 1, 0.2)


@functools.partial(jax.jit, static_argnums=0)
def taught(model, params, sources, lengths, inputs):
  return model.teach(params, model.encode(params, sources, lengths), inputs)


@functools.partial(jax.jit, static_argnums=(0, 5))
def stepped(model, params, sources, lengths, inputs, copies=1):
  """Returns log probabilities [T, B * copies, V] and weights of taking one step after the other."""
  encoded = model.encode(params, sources, lengths)
  step = model.stepper(params, encoded, copies)
  states, outs = jax.tree.map(lambda a: jnp.repeat(a, copies, 0), encoded.states), []
  for ids in inputs:
    states, *out = step(states, jnp.repeat(ids, copies))
    outs.append(out)
  return jax.tree.map(lambda *a: jnp.stack(a), *outs)


TIED = {'readout_size': EMBEDDING, 'tied': True}


@pytest.mark.parametrize(
  ('name', 'options'), [*((name, {}) for name in MODELS), ('bahdanau', TIED), ('cho', TIED)]
)
def test_steps_equal_teacher_forcing(name, options):
  model, params = make(name, **options)
  logits, weights = taught(model, params, SOURCES, LENGTHS, INPUTS)
  log_probs, step_weights = stepped(model, params, SOURCES, LENGTHS, INPUTS)
  assert_close(log_probs, jax.nn.log_softmax(logits, -1), 1e-5, 1e-5)
  assert_close(step_weights, weights, 1e-5, 1e-6)
  assert weights.shape == (6, 4, 7 if 'luong' in name or 'bahdanau' in name else 0)


@pytest.mark.parametrize('name', ['sutskever', 'cho', 'luong_deep'])
def test_the_student_with_rate_0_is_taught(name):
  model, params = make(name)
  encoded = model.encode(params, SOURCES, LENGTHS)
  logits = jax.jit(model.student)(params, encoded, INPUTS, 0.0, jax.random.key(3))
  assert_close(logits, taught(model, params, SOURCES, LENGTHS, INPUTS)[0], 1e-5, 1e-5)


def test_the_student_reads_what_it_drew():
  model, params = make('bahdanau')
  params = params | {
    'head': params['head'] | {'b': jnp.zeros(SIZES[1]).at[9].set(1e4)}
  }  # it always draws 9
  logits = jax.jit(model.student)(
    params, model.encode(params, SOURCES, LENGTHS), INPUTS, 1.0, jax.random.key(3)
  )
  read = np.concatenate([INPUTS[:1], np.full_like(INPUTS[1:], 9)])
  assert_close(logits, taught(model, params, SOURCES, LENGTHS, read)[0], 1e-5, 1e-5)


@pytest.mark.parametrize('name', ['sutskever_reversed', 'cho', 'bahdanau', 'luong_deep'])
def test_source_padding_changes_nothing(name):
  model, params = make(name)
  logits, weights = taught(model, params, SOURCES, LENGTHS, INPUTS)
  padded = np.where(np.arange(7) < LENGTHS[:, None], SOURCES, 5)
  assert_close(taught(model, params, padded, LENGTHS, INPUTS)[0], logits, 0.0, 0.0)
  for row, length in enumerate(LENGTHS):
    one = slice(row, row + 1)
    alone, own = taught(model, params, SOURCES[one, : max(length, 1)], LENGTHS[one], INPUTS[:, one])
    assert_close(alone[:, 0], logits[:, row], 1e-5, 1e-5)
    np.testing.assert_array_equal(weights[:, row, length:], 0.0)
    assert np.isfinite(logits[:, row]).all()
    if own.shape[-1]:
      np.testing.assert_allclose(weights[:, row].sum(-1), 1.0 if length else 0.0, rtol=1e-6)


@pytest.mark.parametrize('name', ['cho', 'luong_deep'])
def test_copies_of_a_row_stand_side_by_side(name):
  model, params = make(name)
  once, twice = (stepped(model, params, SOURCES, LENGTHS, INPUTS, copies)[0] for copies in (1, 2))
  assert_close(twice, np.repeat(once, 2, 1), 1e-6, 1e-6)


def test_an_encoder_from_the_end_reads_the_reversed_sentence():
  cells = (gru(HIDDEN),)
  params = init_encoder(jax.random.key(0), Encoder(cells), 3)
  xs = jnp.asarray(np.random.default_rng(0).normal(size=(7, 4, 3)), jnp.float32)
  _, _, summary = run_encoder(
    Encoder(cells, from_the_end=True), params, xs, length_mask(LENGTHS, 7)
  )
  for row, length in enumerate(LENGTHS):
    state, _ = (
      unroll(cells[0], params[0][0], xs[:length, row : row + 1][::-1])
      if length
      else (cells[0].initial_state(params[0][0], 1), None)
    )
    assert_close(summary[row], state.h[0], 1e-6, 1e-6)


def test_like_states_are_handed_over_and_others_bridged():
  assert 'bridge' not in make('sutskever')[1]
  assert 'bridge' not in make('cho')[1]
  assert jax.tree.structure(make('sutskever_bridge')[1]['bridge']) == jax.tree.structure(
    tuple(
      c.initial_state(c.init(jax.random.key(0), jnp.zeros((1, 2))), 1)._replace(
        **{f: {'w': 0, 'b': 0} for f in 'ch'}
      )
      for c in L2
    )
  )
  model, params = make('sutskever')
  encoded = model.encode(params, SOURCES, LENGTHS)
  whole = stack(*L2)
  xs = params['source'][SOURCES.T]
  state, _ = unroll(whole, tuple(p for (p,) in params['encoder']), xs, mask=length_mask(LENGTHS, 7))
  assert_close(encoded.states, state, 1e-6, 1e-6)


def test_gradients_are_finite_also_for_empty_rows():
  model, params = make('bahdanau')
  batch = {
    'sources': SOURCES,
    'source_lengths': LENGTHS,
    'inputs': INPUTS.T,
    'targets': INPUTS.T,
    'target_lengths': np.int32([6, 3, 1, 0]),
  }
  run = lambda params: conditional_loss.training_loss(
    model, conditional_loss.LossOptions(0.1), params, (), batch, jax.random.key(0), jnp.int32(0)
  )
  (total, (weight, _, sums)), grads = jax.jit(jax.value_and_grad(run, has_aux=True))(params)
  assert weight == 10
  assert all(np.isfinite(g).all() for g in jax.tree.leaves((total, sums, grads)))
  # The row without source and target moves nothing.
  rest = {name: a[:3] for name, a in batch.items()}
  without = jax.jit(
    jax.grad(
      lambda p: conditional_loss.training_loss(
        model, conditional_loss.LossOptions(0.1), p, (), rest, jax.random.key(0), jnp.int32(0)
      )[0]
    )
  )(params)
  assert_close(grads, without, 1e-4, 1e-5)


def test_loss_with_smoothing_in_float64():
  model, params = make('cho')
  batch = {
    'sources': SOURCES,
    'source_lengths': LENGTHS,
    'inputs': INPUTS.T,
    'targets': INPUTS.T[:, ::-1],
    'target_lengths': np.int32([6, 3, 1, 0]),
  }
  total, (weight, _, sums) = conditional_loss.training_loss(
    model, conditional_loss.LossOptions(0.1), params, (), batch, jax.random.key(0), jnp.int32(0)
  )
  logits = np.asarray(taught(model, params, SOURCES, LENGTHS, INPUTS)[0], np.float64)
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  expected = nats = 0.0
  for row, length in enumerate(batch['target_lengths']):
    for t in range(length):
      nats -= log_p[t, row, batch['targets'][row, t]]
      expected -= 0.9 * log_p[t, row, batch['targets'][row, t]] + 0.1 * log_p[t, row].mean()
  np.testing.assert_allclose(
    [total, sums['nats_per_symbol'], weight], [expected, nats, 10.0], rtol=1e-5
  )
  np.testing.assert_allclose(conditional_loss.nats(model, params, batch).sum(), nats, rtol=1e-5)


@pytest.mark.parametrize('name', ['sutskever', 'bahdanau_deep', 'luong_deep'])
def test_outputs_between_decoder_layers_are_dropped(name, monkeypatch):
  model = encoder_decoder(*MODELS[name](dropout=0.5), SIZES, EMBEDDING, dropout=0.5)
  params, key = model.init(jax.random.key(0)), jax.random.key(1)
  encoded = model.encode(params, SOURCES, LENGTHS)
  shapes = []
  drop = layers.dropout
  monkeypatch.setattr(
    layers, 'dropout', lambda key, x, rate: shapes.append(x.shape) or drop(key, x, rate)
  )
  monkeypatch.setattr(depth, 'dropped', layers.dropout)
  model.teach(params, encoded, INPUTS, key)
  assert {shape[-1] for shape in shapes} >= {EMBEDDING, HIDDEN}
  assert len(shapes) == 3  # embedded symbols, between the layers, what logits are made of
  del shapes[:]
  model.student(params, encoded, INPUTS, 0.5, key)
  assert len(shapes) == 3


def test_tied_embeddings_need_a_readout_of_their_size():
  with pytest.raises(
    ValueError, match='tied embeddings of size 6 need a readout of that size, found 0'
  ):
    encoder_decoder(*MODELS['cho'](), SIZES, EMBEDDING, tied=True)
