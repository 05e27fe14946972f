"""The sequence-to-sequence model: its three ways to run a decoder agree, padding and copies change nothing."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import assert_close, drawn, noisy

from rnn_research import gru, layers, lstm
from rnn_research.cells.attention_decoders import bahdanau, input_feeding, luong
from rnn_research.combinators import depth
from rnn_research.combinators.depth import stack
from rnn_research.data.codec import BOS
from rnn_research.decoding.beam import Beam
from rnn_research.decoding.decode import decode
from rnn_research.decoding.step import Rules
from rnn_research.encoders.encoder import Encoded, Encoder
from rnn_research.encoders.recurrent import embedded, recurrent_encoder
from rnn_research.memory import attention
from rnn_research.memory.attention import Memory
from rnn_research.models import conditional_loss, decoders
from rnn_research.models.conditional_loss import Example
from rnn_research.models.conditional_model import conditional_model
from rnn_research.typing import PyTree
from rnn_research.unroll import length_mask, unroll

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


def registered(name, layers, *, dropout=0.0):
  """Returns a decoder of the registry."""
  options = {'dropout': dropout, 'dtype': jnp.float32}
  return decoders.DECODERS[name](layers, attention.additive(4), HIDDEN, **options)


def _row(name, **options):
  return _one_way(L2, lambda layers: registered(name, layers, **options))


G, L2 = (gru(HIDDEN),), (lstm(HIDDEN), lstm(HIDDEN))
# Every decoder of the registry under its name, and others that differ in encoder, depth and score.
MODELS = {
  **{name: functools.partial(_row, name) for name in decoders.DECODERS},
  'sutskever_reversed': lambda: (words(L2, from_the_end=True), decoders.sutskever(L2)),
  'sutskever_bridge': lambda: _two_ways(L2, decoders.sutskever),
  'cho_gru': lambda: _one_way(G, decoders.cho),
  'bahdanau_gru': lambda: _two_ways(G, lambda c: decoders.attends_before(c, attention.additive(4))),
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
  return model, noisy(drawn(model.init, SOURCES), 1, 0.2)


def mask_of(sources, lengths):
  return length_mask(lengths, sources.shape[1]).T


@functools.partial(jax.jit, static_argnums=0)
def encode(model, params, sources, lengths):
  return model.encode(params, sources, mask_of(sources, lengths))


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
  attends = decoders.attends(name.partition('_')[0])
  assert {name: a.shape for name, a in extras.items()} == (
    {'weights': (6, 4, 7)} if attends else {}
  )


@pytest.mark.parametrize('name', decoders.DECODERS)
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


@pytest.mark.parametrize(
  'name', [*decoders.DECODERS, 'sutskever_reversed', 'bahdanau_gru', 'luong_deep']
)
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


@pytest.mark.parametrize('name', decoders.DECODERS)
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


@pytest.mark.parametrize('name', decoders.DECODERS)
def test_any_encoder_will_do(name):
  """Pictures, to a model that never learns what they are: it is bridged, taught and stepped."""
  model = conditional_model(grid_encoder(8, 4), registered(name, L2), SIZES[1], EMBEDDING)
  pictures = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
  params = noisy(drawn(model.init, pictures), 1, 0.2)

  @jax.jit
  def both_ways(params, pictures):
    encoded = model.encode(params, pictures)
    logits, _ = model.teach(params, encoded, INPUTS)
    step, states, written = model.stepper(params, encoded, 1), encoded.states, []
    for ids in INPUTS:
      states, log_probs, _ = step(states, ids)
      written.append(log_probs)
    batch = Example(pictures, None, INPUTS.T, INPUTS.T, np.int32([6, 3, 1, 0]))
    nats = conditional_loss.nats(model, params, batch)
    return jax.nn.log_softmax(logits, -1), jnp.stack(written), nats

  taught, written, nats = both_ways(params, pictures)
  assert_close(written, taught, 1e-5, 1e-5)
  assert np.abs(both_ways(params, pictures[::-1])[0] - taught).max() > 1e-3
  assert np.isfinite(nats).all()


class Located(NamedTuple):
  """State of `located`: where it looked last, and that of the decoder."""

  weights: jax.Array  # [B, S] float32
  state: PyTree


def located(layer, size, reach):
  """Returns a decoder cell whose attention knows where it looked one step before.

    e_j = v^T tanh(q W_q + h_j W_k + F a_{i-1} + b)

  with a convolution F over 2 * reach + 1 positions (Chorowski et al. 2015, arXiv 1506.07503).
  """
  reader = bahdanau(layer, attention.additive(size))

  def init(key, x, ctx=None):
    filters = jax.random.normal(jax.random.fold_in(key, 1), (2 * reach + 1, size))
    return reader.init(key, x, ctx), filters

  def initial_state(params, batch_size):
    return Located(jnp.zeros((batch_size, 1)), reader.initial_state(params[0], batch_size))

  def step(params, state, u, *, key=None, ctx=None):
    wide = jnp.pad(state.weights, ((0, 0), (reach, reach)))
    near = [wide[:, i : i + state.weights.shape[1]] for i in range(2 * reach + 1)]
    ctx = ctx._replace(keys=ctx.keys + jnp.stack(near, -1) @ params[1])
    inner, y = reader.step(params[0], state.state, u, key=key, ctx=ctx)
    return Located(y.weights, inner), y

  def prepare(params, ctx, batch_size, *, key=None):
    inner, memory = reader.prepare(params[0], ctx, batch_size, key=key)
    return (inner, params[1]), memory

  return reader._replace(init=init, initial_state=initial_state, step=step, prepare=prepare)


def attends_near(layers, attention, size, *, dropout, dtype):
  """Returns the decoder of `located`, a row for `DECODERS`."""
  begin = lambda params, encoded: (
    Located(jnp.zeros(encoded.memory.mask.shape), encoded.states[0]),
  )
  before = decoders.attends_before(layers, attention, dropout=dropout)
  return before._replace(cells=(located(layers[0], size, 1),), begin=begin)


@pytest.fixture
def near(monkeypatch):
  """Returns the model of a decoder that is new in the registry, and its parameters."""
  monkeypatch.setitem(decoders.DECODERS, 'near', attends_near)
  model = conditional_model(words(G, G), registered('near', G), SIZES[1], EMBEDDING)
  return model, noisy(drawn(model.init, SOURCES), 1, 0.5)


def test_a_decoder_may_remember_where_it_looked(near):
  model, params = near
  assert decoders.attends('near')
  logits, extras = taught(model, params, SOURCES, LENGTHS, INPUTS)
  log_probs, step_extras = stepped(model, params, SOURCES, LENGTHS, INPUTS)
  assert_close(log_probs, jax.nn.log_softmax(logits, -1), 1e-5, 1e-5)
  assert_close(step_extras, extras, 1e-5, 1e-6)
  padded = np.where(np.arange(7) < LENGTHS[:, None], SOURCES, 5)
  assert_close(taught(model, params, padded, LENGTHS, INPUTS)[0], logits, 0.0, 0.0)
  for row, length in enumerate(LENGTHS[:3]):
    one = slice(row, row + 1)
    alone, _ = taught(model, params, SOURCES[one, :length], LENGTHS[one], INPUTS[:, one])
    assert_close(alone[:, 0], logits[:, row], 1e-5, 1e-5)
  # It does remember: the first step has looked nowhere, later ones depend on where.
  cell_params, filters = params['decoder'][0]
  forgetful = params | {'decoder': ((cell_params, jnp.zeros_like(filters)),)}
  other, _ = taught(model, forgetful, SOURCES, LENGTHS, INPUTS)
  assert_close(other[0], logits[0], 1e-6, 1e-6)
  assert np.abs(other[1:, 0] - logits[1:, 0]).max() > 1e-3


def test_beam_search_carries_where_a_decoder_looked(near):
  """Each of its hypotheses has the probability and the weights of being taught it."""
  model, params = near
  encoded = encode(model, params, SOURCES, LENGTHS)
  mask = mask_of(SOURCES, LENGTHS)
  step, first = functools.partial(model.stepper, params, encoded), jnp.full(4, BOS)
  search = jax.jit(
    lambda: decode(step, encoded.states, first, jnp.full(4, 5), Rules(5), Beam(3), source_mask=mask)
  )
  found = jax.device_get(search())
  for k in range(3):
    ids = found.ids[:, k].T
    logits, extras = taught(model, params, SOURCES, LENGTHS, np.r_[first[None], ids[:-1]])
    log_probs = np.take_along_axis(jax.nn.log_softmax(logits, -1), ids[:, :, None], 2)[..., 0]
    inside = np.arange(5)[:, None] < found.lengths[:, k]
    assert_close((log_probs * inside).sum(0), found.log_probs[:, k], 1e-4, 1e-4)
    assert_close(
      extras['weights'] * inside[..., None],
      np.moveaxis(found.extras['weights'][:, k], 1, 0),
      1e-4,
      1e-5,
    )


def test_a_state_over_a_memory_is_still_checked(near):
  model, params = near
  encoded = encode(model, params, SOURCES, LENGTHS)
  cell, xs = located(G[0], HIDDEN, 1), jnp.zeros((6, 4, EMBEDDING))
  run = functools.partial(unroll, cell, params['decoder'][0], xs)
  (state,) = encoded.states
  with pytest.raises(ValueError, match=r'a leaf of state has shape \(3, 7\), expected \(4, 1\)'):
    run(jax.tree.map(lambda a: a[:3], state), ctx=encoded.memory)
  wide = state._replace(state=jax.tree.map(lambda a: jnp.ones((4, 7)), state.state))
  with pytest.raises(ValueError, match=r'a leaf of state has shape \(4, 7\), expected \(4, 5\)'):
    run(wide, ctx=encoded.memory)
  with pytest.raises(ValueError, match=r'a leaf of state has shape \(4, 7\), expected \(4, 1\)'):
    run(state)
  # A reset forgets where it looked.
  reset = np.zeros((6, 4), bool)
  reset[3] = True
  end, _ = run(state, ctx=encoded.memory, reset=reset)
  fresh = Located(jnp.zeros((4, 7)), cell.initial_state(params['decoder'][0], 4).state)
  after, _ = unroll(cell, params['decoder'][0], xs[3:], fresh, ctx=encoded.memory)
  assert_close(end, after, 1e-6, 1e-6)


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


@pytest.mark.parametrize('name', decoders.DECODERS)
def test_gradients_are_finite_also_for_empty_rows(name):
  model, params = make(name)

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


@pytest.mark.parametrize('name', [*decoders.DECODERS, 'bahdanau_deep', 'luong_deep'])
def test_outputs_between_decoder_layers_are_dropped(name, monkeypatch):
  model = conditional_model(*MODELS[name](dropout=0.5), SIZES[1], EMBEDDING, dropout=0.5)
  key = jax.random.key(1)
  params = jax.eval_shape(model.init, key, SOURCES)
  encoded = jax.eval_shape(functools.partial(encode, model), params, SOURCES, LENGTHS)
  shapes = []
  drop = layers.dropout
  monkeypatch.setattr(
    layers, 'dropout', lambda key, x, rate: shapes.append(x.shape) or drop(key, x, rate)
  )
  monkeypatch.setattr(depth, 'dropped', layers.dropout)
  jax.eval_shape(model.teach, params, encoded, INPUTS, key)
  assert {shape[-1] for shape in shapes} >= {EMBEDDING, HIDDEN}
  assert len(shapes) == 3  # embedded symbols, between the layers, what logits are made of
  del shapes[:]
  jax.eval_shape(model.student, params, encoded, INPUTS, 0.5, key)
  assert len(shapes) == 3


def test_tied_embeddings_need_a_readout_of_their_size():
  with pytest.raises(
    ValueError, match='tied embeddings of size 6 need a readout of that size, found 0'
  ):
    conditional_model(*MODELS['cho'](), SIZES[1], EMBEDDING, tied=True)
