"""Self-critical training: what captions are worth, and the gradient that follows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import assert_close, drawn, noisy

from rnn_research import lstm
from rnn_research.data.codec import BOS, EOS, PAD, SPECIALS, UNK, TextCodec
from rnn_research.encoders.grid import grid_encoder, maps_reader
from rnn_research.memory.attention import additive
from rnn_research.metrics.captions.cider import cider, cider_table, document_frequencies
from rnn_research.models.captioners import CAPTIONERS
from rnn_research.models.conditional_model import conditional_model
from rnn_research.stepping import repeat_rows
from rnn_research.tasks.captioning.self_critical import cider_reward, self_critical_loss

pytestmark = pytest.mark.usefixtures('strict_shapes')
WORDS = ['a', 'dog', 'cat', 'sits', 'on', 'the', 'grass']
CODEC = TextCodec('sentences', 'word', (*SPECIALS, *WORDS), True)
REFERENCES = (('A dog sits.', 'the dog on the grass'), ('a cat',), ('the cat sits on the grass',))
GRID = np.random.default_rng(0).normal(size=(2, 2, 2, 5)).astype(np.float32)
LONGEST, SAMPLES = 4, 3


def padded(*texts):
  rows = [
    [*CODEC.encode(text.removesuffix('.')), *([EOS] if text[-1] == '.' else [])] for text in texts
  ]
  return np.array([row + [PAD] * (8 - len(row)) for row in rows], np.int32)


def test_the_reward_is_cider_of_captions_with_their_ends():
  ended = [[f'{text.lower().rstrip(".")} <eos>' for text in own] for own in REFERENCES]
  table = cider_table(ended, document_frequencies(ended))
  expected = cider(table, ['a dog sits <eos>', 'a dog sits', 'the cat <eos>'], [0, 0, 2])
  found = cider_reward(CODEC, REFERENCES)(
    np.array([0, 0, 2]), padded('a dog sits.', 'a dog sits', 'the cat.')
  )
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  assert found.dtype == np.float32


def test_a_caption_that_breaks_off_is_worth_less():
  reward = cider_reward(CODEC, REFERENCES)
  whole, cut, longer = reward(
    np.zeros(3, int), padded('a dog sits.', 'a dog sits', 'a dog sits on.')
  )
  assert whole > max(cut, longer)


@functools.cache
def captioner(name):
  decoder = CAPTIONERS[name]((lstm(4),), additive(3), dropout=0.0)
  model = conditional_model(grid_encoder(maps_reader(), 4, 3), decoder, len(CODEC.symbols), 3)
  shapes = {'deep': jax.ShapeDtypeStruct((1, *GRID.shape[1:]), jnp.float32)}
  return model, noisy(drawn(model.init, shapes), 1, 0.5)


def gradient(model, params, reward, key=1):
  """Returns the loss, what is logged, the gradient, and the ids that were drawn."""
  seen = []

  def recorded(rows, ids):
    seen.append((rows.copy(), ids.copy()))
    return reward(rows, ids)

  def loss(params):
    rows = jnp.array([2, 0], jnp.int32)
    return self_critical_loss(
      model, recorded, SAMPLES, LONGEST, params, {'deep': GRID}, rows, jax.random.key(key)
    )

  (total, (count, sums)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
  jax.block_until_ready(grads)
  return float(total), float(count), sums, grads, seen[-1]


@pytest.mark.parametrize('name', ['soft_attention', 'show_and_tell'])
def test_the_gradient_is_that_of_log_p_times_the_gain_over_the_others(name):
  model, params = captioner(name)
  reward = cider_reward(CODEC, REFERENCES)
  total, count, sums, grads, (rows, ids) = gradient(model, params, reward)
  assert rows.tolist() == [2, 2, 2, 0, 0, 0]
  assert ids.shape == (6, LONGEST + 1) and not np.isin(ids, (BOS, UNK)).any()
  lengths = np.array([row.tolist().index(EOS) + 1 if EOS in row else len(row) for row in ids])
  r = reward(rows, ids).reshape(2, SAMPLES).astype(float)
  gains = np.array([[v - np.delete(own, k).mean() for k, v in enumerate(own)] for own in r]).ravel()
  assert np.abs(gains).max() > 0.01

  def by_hand(params):
    encoded = model.encode(params, {'deep': GRID})
    states, summary = repeat_rows((encoded.states, encoded.summary), SAMPLES)
    given = np.c_[np.full(6, BOS), ids[:, :-1]].T
    logits, _ = model.teach(params, encoded._replace(states=states, summary=summary), given)
    real = np.arange(LONGEST + 1)[:, None] < lengths
    # Of the symbols that may be drawn alone.
    p = jnp.exp(logits).at[:, :, jnp.array([PAD, BOS, UNK])].set(0.0)
    p = jnp.take_along_axis(p / p.sum(-1, keepdims=True), ids.T[..., None], -1)[..., 0]
    return (-jnp.log(jnp.where(real, p, 1.0)).sum(0) * gains).sum()

  value, expected = jax.jit(jax.value_and_grad(by_hand))(params)
  assert total == pytest.approx(float(value), rel=1e-4)
  assert_close(grads, expected, 1e-4, 1e-5)
  for_nothing = np.asarray(grads['readout']['head']['b'])[[PAD, BOS, UNK]]
  np.testing.assert_array_equal(for_nothing, 0.0)
  assert count == lengths.sum()
  assert float(sums['cider']) == pytest.approx((r.ravel() * lengths).sum(), rel=1e-5)


def test_captions_of_one_worth_leave_the_model_as_it_is():
  model, params = captioner('soft_attention')
  even = lambda rows, ids: np.full(len(rows), 2.5, np.float32)
  total, *_, grads, _ = gradient(model, params, even)
  assert total == 0.0
  assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(grads))


def test_what_is_rewarded_becomes_more_probable():
  """A hundred steps for captions that begin with one word."""
  model, params = captioner('show_and_tell')
  cat = CODEC.symbols.index('cat')
  reward = lambda rows, ids: (ids[:, 0] == cat).astype(np.float32)

  @jax.jit
  def step(params, key):
    loss = lambda params: self_critical_loss(
      model, reward, 8, LONGEST, params, {'deep': GRID}, jnp.arange(2), key
    )
    (_, (count, sums)), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return jax.tree.map(lambda p, g: p - 0.02 * g, params, grads), sums['cider'] / count

  shares = []
  for key in jax.random.split(jax.random.key(0), 100):
    params, share = step(params, key)
    shares.append(float(share))
  assert np.mean(shares[-10:]) > np.mean(shares[:10]) + 0.3
