"""The decoders of captions: stepping equals teaching, and the picture enters where the papers say it does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import assert_close, drawn, noisy

from rnn_research import elman, lstm
from rnn_research.encoders.encoder import Encoded
from rnn_research.encoders.grid import grid_encoder, patch_reader
from rnn_research.memory.attention import Memory, additive
from rnn_research.models.captioners import CAPTIONERS, looks
from rnn_research.models.conditional_model import conditional_model
from rnn_research.stepping import repeat_rows, take_step

pytestmark = pytest.mark.usefixtures('strict_shapes')
B, K, T, V, E, H, S, M = 3, 2, 5, 11, 4, 6, 4, 3
LOOKERS = ('soft_attention', 'hard_attention')
PICTURES = np.random.default_rng(0).integers(0, 256, (B, 16, 16, 3)).astype(np.uint8)
IDS = np.random.default_rng(1).integers(4, V, (T, B * K)).astype(np.int32)


@functools.cache
def make(name, layers):
  """Returns a captioner of pictures, and parameters without the zeros of an initialisation."""
  decoder = CAPTIONERS[name](layers, additive(5), dropout=0.0)
  encoder = grid_encoder(patch_reader(8, 3), M, E)
  model = conditional_model(encoder, decoder, V, E)
  return model, noisy(drawn(model.init, PICTURES), 1, 0.3)


@functools.partial(jax.jit, static_argnums=0)
def encode(model, params, pictures):
  return model.encode(params, pictures)


ONE, TWO = (elman(H),), (lstm(H), lstm(H))


@functools.partial(jax.jit, static_argnums=0)
def both(model, params, pictures, ids):
  """Returns log probabilities [T, N, V] and extras of teacher forcing, and of step after step."""
  encoded = model.encode(params, pictures)
  states, summary = repeat_rows((encoded.states, encoded.summary), K)
  logits, extras = model.teach(params, encoded._replace(states=states, summary=summary), ids)
  step = model.stepper(params, encoded, K)

  def write(states, row):
    states, *out = step(states, row)
    return states, tuple(out)

  return (jax.nn.log_softmax(logits, -1), extras), jax.lax.scan(write, states, ids)[1]


@pytest.mark.parametrize(
  ('name', 'layers'),
  [
    *((name, ONE) for name in CAPTIONERS),
    *((name, TWO) for name in ('neuraltalk_once', 'show_and_tell', 'soft_attention')),
  ],
)
def test_stepping_equals_teaching(name, layers):
  model, params = make(name, layers)
  (log_probs, extras), (stepped, step_extras) = both(model, params, PICTURES, IDS)
  assert_close(stepped, log_probs, 1e-5, 1e-5)
  assert_close(step_extras, extras, 1e-5, 1e-6)
  shapes = {
    'soft_attention': {'weights': (T, B * K, S)},
    'hard_attention': {'weights': (T, B * K, S), 'chosen': (T, B * K, S)},
  }
  assert {name: a.shape for name, a in extras.items()} == shapes.get(name, {})
  assert looks(name) == ('weights' in extras)
  # All of them see the picture.
  (other, _), _ = both(model, params, PICTURES[::-1], IDS)
  assert np.abs(other - log_probs)[:, [0, 1, 4, 5]].max((0, 2)).min() > 1e-3


def look_np(p, h, places, hard):
  """Returns what a tanh network of parameters `p` sees of places [S, M] after h."""
  a = p.attention
  e = [a.v @ np.tanh(h @ a.w_q + place @ a.w_k + a.b) for place in places]
  weights = np.eye(S)[np.argmax(e)] if hard else np.exp(e) / np.exp(e).sum()
  return weights @ places / (1 + np.exp(-(h @ p.gate['w'] + p.gate['b'])))


def taught_np(name, params, places, v, xs):
  """Returns logits [T, V] of a tanh network that writes of one picture."""
  (p,) = params['decoder']
  step = lambda cell, u, h: np.tanh(u @ cell.w_x + h @ cell.w_h + cell.b)
  h, logits, head = np.zeros(H), [], params['readout']['head']
  if name == 'show_and_tell':
    h = step(p, v, h)
  if name in ('init_state', *LOOKERS):
    start = params['bridge'][0].h
    h = np.tanh(v @ start['w'] + start['b'])
  for i, x in enumerate(xs):
    if name in LOOKERS:
      z = look_np(p, h, places, name == 'hard_attention')
      h = step(p.cell, np.concatenate([x, z]), h)
      features = [h, z, x]
    elif name.startswith('neuraltalk'):
      seen = 0 * v if i and name == 'neuraltalk_once' else v
      h = step(p, np.concatenate([x, seen]), h)
      features = [h]
    else:
      h = step(p, x, h)
      features = [h, v] if name == 'merge' else [h]
    logits.append(np.concatenate(features) @ head['w'] + head['b'])
  return np.stack(logits)


@pytest.mark.parametrize('name', CAPTIONERS)
def test_equals_a_loop_in_float64(name):
  model, params = make(name, ONE)
  (log_probs, _), _ = both(model, params, PICTURES, IDS)
  _, memory, summary = encode(model, params, PICTURES)
  exact, places, vs = jax.tree.map(
    lambda a: np.asarray(a, np.float64), (params, memory.values, summary)
  )
  for n in range(B * K):
    xs = exact['embedding'][IDS[:, n]]
    logits = taught_np(name, exact, places[n // K], vs[n // K], xs)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(log_probs[:, n], expected, rtol=1e-4, atol=2e-5)


def seen(values, v, rows=1):
  """Returns what is known of pictures whose places and summary are given."""
  memory = Memory(jnp.full((rows, S, M), values), jnp.ones((rows, S), bool))
  return Encoded(None, memory, jnp.full((rows, E), v))


def test_the_picture_enters_the_first_step_alone():
  """Another picture at a later step changes nothing: what is known of it is in h."""
  model, params = make('neuraltalk_once', ONE)
  first = encode(model, params, PICTURES[:1])
  step = jax.jit(
    lambda v, states, ids: model.stepper(params, first._replace(summary=v), 1)(states, ids)
  )
  states, at_first, _ = step(first.summary, first.states, IDS[0, :1])
  _, other_at_first, _ = step(first.summary + 1.0, first.states, IDS[0, :1])
  assert np.abs(at_first - other_at_first).max() > 1e-3
  assert states[0].unseen == 0.0
  _, later, _ = step(first.summary, states, IDS[1, :1])
  _, other_later, _ = step(first.summary + 1.0, states, IDS[1, :1])
  np.testing.assert_array_equal(later, other_later)


def test_the_first_word_is_the_picture():
  """First states are those after one step on v from the cell's own; to write is to go on."""
  layers = (lstm(E), lstm(E))
  decoder = CAPTIONERS['show_and_tell'](layers, additive(5), dropout=0.0)
  params = tuple(
    noisy(cell.init(jax.random.key(0), jax.ShapeDtypeStruct((1, E), jnp.float32)), i)
    for i, cell in enumerate(layers)
  )
  v = jnp.asarray(np.random.default_rng(2).normal(size=(B, E)), jnp.float32)
  x, expected = v, []
  for cell, own in zip(layers, params, strict=True):
    state, x = take_step(cell, own, cell.initial_state(own, B), x)
    expected.append(state)
  assert_close(decoder.begin(params, seen(0.0, 0.0, B)._replace(summary=v)), tuple(expected))


def test_the_recurrence_of_merge_reads_words_alone():
  decoder = CAPTIONERS['merge'](ONE, additive(5), dropout=0.0)
  xs = jnp.ones((T, 1, E))
  params = tuple(
    cell.init(jax.random.key(0), jax.ShapeDtypeStruct((1, size), jnp.float32))
    for cell, size in zip(ONE, (E,), strict=True)
  )
  states = [decoder.begin(params, seen(0.0, v)) for v in (0.0, 1.0)]
  assert_close(*states, 0.0, 0.0)
  assert decoder.inputs(xs, jnp.ones((1, E))) is xs
  ys = jnp.ones((T, 1, H))
  expected = np.concatenate([ys, np.full((T, 1, E), 2.0)], -1)
  assert_close(decoder.features(xs, ys, jnp.full((1, E), 2.0)), expected, 0.0, 0.0)


def test_the_picture_is_in_the_first_states_alone():
  model, params = make('init_state', ONE)
  first = encode(model, params, PICTURES)
  run = jax.jit(lambda encoded: model.teach(params, encoded, IDS[:, :B])[0])
  blind = first._replace(summary=first.summary + 1.0)
  np.testing.assert_array_equal(run(blind), run(first))
  states = jax.tree.map(lambda a: a + 0.5, first.states)
  assert np.abs(run(first._replace(states=states)) - run(first)).max() > 1e-3


def test_hard_attention_tells_what_it_saw_with_a_key():
  model, params = make('hard_attention', ONE)
  encoded = encode(model, params, PICTURES)
  teach = jax.jit(lambda key: model.teach(params, encoded, IDS[:, :B], key)[1])
  extras = teach(jax.random.key(3))
  softly = np.asarray((extras['chosen'] == extras['weights']).all(-1))
  assert (softly | (np.asarray(extras['chosen']).max(-1) == 1.0)).all()
  assert not softly.all()
  assert not np.array_equal(teach(jax.random.key(4))['chosen'], extras['chosen'])
