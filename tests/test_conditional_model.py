"""The sequence-to-sequence model: its three ways to run a decoder agree, padding and copies change nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import assert_close, noisy

from rnn_research import gru, layers, lstm
from rnn_research.cells.attention_decoders import bahdanau, input_feeding, luong
from rnn_research.combinators import depth
from rnn_research.combinators.depth import stack
from rnn_research.encoders.encoder import Encoded, Encoder
from rnn_research.encoders.recurrent import embedded, recurrent_encoder
from rnn_research.memory import attention
from rnn_research.memory.attention import Memory
from rnn_research.models import conditional_loss, decoders
from rnn_research.models.conditional_loss import Example
from rnn_research.models.conditional_model import conditional_model
from rnn_research.unroll import length_mask, unroll

pytestmark = pytest.mark.usefixtures('quick_compilation')
SIZES, EMBEDDING, HIDDEN = (11, 13), 6, 5
SOURCES = np.random.default_rng(0).integers(4, SIZES[0], (4, 7)).astype(np.int32)
LENGTHS = np.int32([7, 1, 4, 0])
INPUTS = np.random.default_rng(1).integers(4, SIZES[1], (6, 4)).astype(np.int32)


def words(*cells, **options):
  """Returns an encoder of symbols."""
  return embedded(recurrent_encoder(*cells, **options), SIZES[0], EMBEDDING)


def _one_way(cells, make):
  return words(cells), make(cells)


def _two_ways(cells, make):
  return words(cells, cells), make(cells)


G, L2 = (gru(HIDDEN),), (lstm(HIDDEN), lstm(HIDDEN))
MODELS = {
  'sutskever': lambda **d: _one_way(L2, decoders.sutskever),
  'sutskever_reversed': lambda: (words(L2, from_the_end=True), decoders.sutskever(L2)),
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
  model = conditional_model(*MODELS[name](), SIZES[1], EMBEDDING, **options)
  return model, noisy(model.init(jax.random.key(0), SOURCES), 1, 0.2)


def mask_of(sources, lengths):
  return length_mask(lengths, sources.shape[1]).T


def encode(model, params, sources, lengths, key=None):
  return model.encode(params, sources, mask_of(sources, lengths), key)


@functools.partial(jax.jit, static_argnums=0)
def taught(model, params, sources, lengths, inputs):
  return model.teach(params, encode(model, params, sources, lengths), inputs)


@functools.partial(jax.jit, static_argnums=(0, 5))
def stepped(model, params, sources, lengths, inputs, copies=1):
  """Returns log probabilities [T, B * copies, V] and extras of taking one step after the other."""
  encoded = encode(model, params, sources, lengths)
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
  logits, extras = taught(model, params, SOURCES, LENGTHS, INPUTS)
  log_probs, step_extras = stepped(model, params, SOURCES, LENGTHS, INPUTS)
  assert_close(log_probs, jax.nn.log_softmax(logits, -1), 1e-5, 1e-5)
  assert_close(step_extras, extras, 1e-5, 1e-6)
  attends = 'luong' in name or 'bahdanau' in name
  assert {name: a.shape for name, a in extras.items()} == (
    {'weights': (6, 4, 7)} if attends else {}
  )


@pytest.mark.parametrize('name', ['sutskever', 'cho', 'luong_deep'])
def test_the_student_with_rate_0_is_taught(name):
  model, params = make(name)
  encoded = encode(model, params, SOURCES, LENGTHS)
  logits = jax.jit(model.student)(params, encoded, INPUTS, 0.0, jax.random.key(3))
  assert_close(logits, taught(model, params, SOURCES, LENGTHS, INPUTS)[0], 1e-5, 1e-5)


def test_the_student_reads_what_it_drew():
  model, params = make('bahdanau')
  # It always draws 9.
  params = params | {
    'readout': {'head': params['readout']['head'] | {'b': jnp.zeros(SIZES[1]).at[9].set(1e4)}}
  }
  logits = jax.jit(model.student)(
    params, encode(model, params, SOURCES, LENGTHS), INPUTS, 1.0, jax.random.key(3)
  )
  read = np.concatenate([INPUTS[:1], np.full_like(INPUTS[1:], 9)])
  assert_close(logits, taught(model, params, SOURCES, LENGTHS, read)[0], 1e-5, 1e-5)


@pytest.mark.parametrize('name', ['sutskever_reversed', 'cho', 'bahdanau', 'luong_deep'])
def test_source_padding_changes_nothing(name):
  model, params = make(name)
  logits, extras = taught(model, params, SOURCES, LENGTHS, INPUTS)
  padded = np.where(np.arange(7) < LENGTHS[:, None], SOURCES, 5)
  assert_close(taught(model, params, padded, LENGTHS, INPUTS)[0], logits, 0.0, 0.0)
  for row, length in enumerate(LENGTHS):
    one = slice(row, row + 1)
    alone, own = taught(model, params, SOURCES[one, : max(length, 1)], LENGTHS[one], INPUTS[:, one])
    assert_close(alone[:, 0], logits[:, row], 1e-5, 1e-5)
    assert np.isfinite(logits[:, row]).all()
    if own:
      weights = extras['weights'][:, row]
      np.testing.assert_array_equal(weights[:, length:], 0.0)
      np.testing.assert_allclose(weights.sum(-1), 1.0 if length else 0.0, rtol=1e-6)


@pytest.mark.parametrize('name', ['cho', 'luong_deep'])
def test_copies_of_a_row_stand_side_by_side(name):
  model, params = make(name)
  once, twice = (stepped(model, params, SOURCES, LENGTHS, INPUTS, copies)[0] for copies in (1, 2))
  assert_close(twice, np.repeat(once, 2, 1), 1e-6, 1e-6)


def test_an_encoder_from_the_end_reads_the_reversed_sentence():
  cell, xs = gru(HIDDEN), jnp.asarray(np.random.default_rng(0).normal(size=(4, 7, 3)), jnp.float32)
  encoder = recurrent_encoder((cell,), from_the_end=True)
  params = encoder.init(jax.random.key(0), xs)
  summary = encoder.encode(params, xs, length_mask(LENGTHS, 7).T).summary
  for row, length in enumerate(LENGTHS):
    state, _ = (
      unroll(cell, params[0][0], xs[row, :length][::-1][:, None])
      if length
      else (cell.initial_state(params[0][0], 1), None)
    )
    assert_close(summary[row], state.h[0], 1e-6, 1e-6)


def test_no_mask_is_a_mask_of_ones():
  xs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)), jnp.float32)
  encoder = recurrent_encoder(L2, L2)
  params = encoder.init(jax.random.key(0), xs)
  assert_close(encoder.encode(params, xs), encoder.encode(params, xs, np.ones((2, 5), bool)))


def grid_encoder(size, num_positions):
  """Returns an encoder of pictures [B, S, S, 3]: every quarter is a position, described by a
  product; it has no states."""

  def init(key, inputs):
    return jax.random.normal(key, (inputs.shape[1] ** 2 // num_positions * 3, size))

  def encode(params, inputs, mask=None, *, key=None):
    rows, half = len(inputs), inputs.shape[1] // 2
    quarters = inputs.reshape(rows, 2, half, 2, half, 3).transpose(0, 1, 3, 2, 4, 5)
    values = jnp.tanh(quarters.reshape(rows, num_positions, -1) @ params)
    return Encoded(None, Memory(values, jnp.ones(values.shape[:2], bool)), values.mean(1))

  return Encoder(init, encode)


@pytest.mark.parametrize('name', ['sutskever', 'cho', 'bahdanau', 'luong'])
def test_any_encoder_will_do(name):
  """Pictures, to a model that never learns what they are: it is bridged, taught and stepped."""
  score, options = attention.additive(4), {'dropout': 0.0, 'dtype': jnp.float32}
  decoder = decoders.DECODERS[name](L2, score, HIDDEN, **options)
  model = conditional_model(grid_encoder(8, 4), decoder, SIZES[1], EMBEDDING)
  pictures = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
  params = noisy(model.init(jax.random.key(0), pictures), 1, 0.2)
  batch = Example(pictures, None, INPUTS.T, INPUTS.T, np.int32([6, 3, 1, 0]))
  encoded = model.encode(params, pictures)
  logits, _ = model.teach(params, encoded, INPUTS)
  step, states, written = model.stepper(params, encoded, 1), encoded.states, []
  for ids in INPUTS:
    states, log_probs, _ = step(states, ids)
    written.append(log_probs)
  assert_close(jnp.stack(written), jax.nn.log_softmax(logits, -1), 1e-5, 1e-5)
  other = model.teach(params, model.encode(params, pictures[::-1]), INPUTS)[0]
  assert np.abs(other - logits).max() > 1e-3
  assert np.isfinite(conditional_loss.nats(model, params, batch)).all()


def test_not_a_number_behind_a_mask_reaches_nothing():
  values = np.random.default_rng(0).normal(size=(4, 7, 3)).astype(np.float32)
  mask = np.asarray(length_mask(LENGTHS, 7).T)
  xs = jnp.asarray(np.random.default_rng(1).normal(size=(6, 4, 2)), jnp.float32)
  for cell in (bahdanau(G[0], attention.additive(4)), luong(G[0], attention.general())):
    params = cell.init(jax.random.key(0), xs[0], Memory(values, mask))

    def run(values, cell=cell, params=params):
      loss = lambda p, values: unroll(cell, p, xs, ctx=Memory(values, mask))[1].h.sum()
      return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, values)

    assert_close(run(np.where(mask[:, :, None], values, np.nan)), run(values), 1e-6, 1e-6)


@pytest.mark.parametrize('ctx', [None, np.zeros((3, 4))])
def test_a_cell_that_attends_says_what_it_needs(ctx):
  xs = jnp.zeros((6, 4, 2))
  score = attention.additive(4)
  found = 'none' if ctx is None else 'ndarray'
  for cell in (
    bahdanau(G[0], score),
    luong(G[0], score),
    input_feeding(luong(G[0], score), HIDDEN),
    stack(G[0], bahdanau(G[0], score)),
  ):
    params = cell.init(
      jax.random.key(0), xs[0], Memory(jnp.zeros((4, 5, 3)), jnp.ones((4, 5), bool))
    )
    for run in (
      lambda cell=cell: cell.init(jax.random.key(0), xs[0], ctx),
      lambda cell=cell, params=params: unroll(cell, params, xs, ctx=ctx),
    ):
      with pytest.raises(ValueError, match=rf'needs ctx=Memory\(.*found {found}'):
        run()


def test_like_states_are_handed_over_and_others_bridged():
  assert make('sutskever')[1]['bridge'] is None
  assert make('cho')[1]['bridge'] is None
  assert jax.tree.structure(make('sutskever_bridge')[1]['bridge']) == jax.tree.structure(
    tuple(
      c.initial_state(c.init(jax.random.key(0), jnp.zeros((1, 2))), 1)._replace(
        **{f: {'w': 0, 'b': 0} for f in 'ch'}
      )
      for c in L2
    )
  )
  model, params = make('sutskever')
  encoded = encode(model, params, SOURCES, LENGTHS)
  whole = stack(*L2)
  xs = params['encoder']['embedding'][SOURCES.T]
  inner = tuple(p for (p,) in params['encoder']['layers'])
  state, _ = unroll(whole, inner, xs, mask=length_mask(LENGTHS, 7))
  assert_close(encoded.states, state, 1e-6, 1e-6)


def batch_of(targets, rows=slice(None)):
  lengths = np.int32([6, 3, 1, 0])
  sources, mask = SOURCES[rows], mask_of(SOURCES, LENGTHS)[rows]
  return Example(sources, mask, INPUTS.T[rows], targets[rows], lengths[rows])


def loss_of(model, params, batch):
  options = conditional_loss.LossOptions(0.1)
  return conditional_loss.training_loss(
    model, options, params, batch, jax.random.key(0), jnp.int32(0)
  )


def test_gradients_are_finite_also_for_empty_rows():
  model, params = make('bahdanau')

  def differentiate(batch):
    def loss(params):
      total, *rest = loss_of(model, params, batch)
      return total, rest

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

  (total, (weight, sums)), grads = differentiate(batch_of(INPUTS.T))
  assert weight == 10
  assert all(np.isfinite(g).all() for g in jax.tree.leaves((total, sums, grads)))
  # The row without source and target moves nothing.
  assert_close(grads, differentiate(batch_of(INPUTS.T, slice(3)))[1], 1e-4, 1e-5)


def test_loss_with_smoothing_in_float64():
  model, params = make('cho')
  batch = batch_of(INPUTS.T[:, ::-1])
  total, weight, sums = loss_of(model, params, batch)
  logits = np.asarray(taught(model, params, SOURCES, LENGTHS, INPUTS)[0], np.float64)
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  expected = nats = 0.0
  for row, length in enumerate(batch.lengths):
    for t in range(length):
      nats -= log_p[t, row, batch.targets[row, t]]
      expected -= 0.9 * log_p[t, row, batch.targets[row, t]] + 0.1 * log_p[t, row].mean()
  np.testing.assert_allclose(
    [total, sums['nats_per_symbol'], weight], [expected, nats, 10.0], rtol=1e-5
  )
  np.testing.assert_allclose(conditional_loss.nats(model, params, batch).sum(), nats, rtol=1e-5)


@pytest.mark.parametrize('name', ['sutskever', 'bahdanau_deep', 'luong_deep'])
def test_outputs_between_decoder_layers_are_dropped(name, monkeypatch):
  model = conditional_model(*MODELS[name](dropout=0.5), SIZES[1], EMBEDDING, dropout=0.5)
  params, key = model.init(jax.random.key(0), SOURCES), jax.random.key(1)
  encoded = encode(model, params, SOURCES, LENGTHS)
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
    conditional_model(*MODELS['cho'](), SIZES[1], EMBEDDING, tied=True)
