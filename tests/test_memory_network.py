"""End-to-end memory against NumPy in float64, and what its options are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_research.errors import InputError
from rnn_research.models.memory_network import ages, memory_network, word_features

V, D, S, J, K, TIMES = 9, 6, 5, 4, 3, 4


def story(seed=0):
  """Returns stories of 3, 5 and 0 sentences, some of fewer words, and questions."""
  rng = np.random.default_rng(seed)
  stories = rng.integers(1, V, (3, S, J))
  stories[0, 3:] = stories[1, 2, 2:] = stories[2] = stories[0, :, 3:] = 0
  questions = rng.integers(1, V, (3, J))
  questions[:, 3:] = 0
  return stories.astype(np.int32), questions.astype(np.int32)


def position(longest, j):
  n = np.arange(1, D + 1)
  return 1 + 4 * (n - (D + 1) / 2) * (j - (longest + 1) / 2) / (D * longest) if longest else 1.0


def bag(longest, table, ids):
  return sum((position(longest, j) * table[i] for j, i in enumerate(ids, 1) if i), np.zeros(D))


def oracle(p, stories, question, *, adjacent, longest, linear, relu):
  """Returns logits and the weights of every hop for one story: sentence by sentence, word by word."""
  words, times = p['embedding'], p['time_embedding']
  u = bag(longest, words[0] if adjacent else p['question_embedding'], question)
  told = [sentence for sentence in stories if sentence.any()]
  weights = []
  for k in range(K):
    a, c = (k, k + 1) if adjacent else (0, 1)
    memory = lambda i: np.array(
      [
        bag(longest, words[i], sentence) + times[i][min(len(told) - 1 - place, TIMES - 1)]
        for place, sentence in enumerate(told)
      ]
    ).reshape(-1, D)
    scores = memory(a) @ u
    p_k = scores if linear else np.exp(scores) / np.exp(scores).sum()
    u = (u if adjacent else u @ p['h']) + p_k @ memory(c)
    u = np.maximum(u, 0) if relu else u
    weights.append(p_k)
  return u @ (words[-1].T if adjacent else p['w']), weights


@pytest.mark.parametrize(
  ('tying', 'longest', 'linear', 'relu'),
  [
    ('adjacent', J, False, False),
    ('adjacent', 0, True, False),
    ('layerwise', J, False, True),
  ],
)
def test_oracle(tying, longest, linear, relu):
  model = memory_network(
    V, D, num_hops=K, memory_size=TIMES, longest=longest, tying=tying, relu=relu
  )
  params = jax.tree.map(lambda a: np.float64(a) * 4, model.init(jax.random.key(0)))
  stories, questions = story()
  with jax.enable_x64(True):
    as_arrays = jax.tree.map(jnp.asarray, params)
    logits, weights = model.outputs(as_arrays, stories, questions, linear=linear)
  assert weights.shape == (3, K, S)
  for b in range(3):
    expected, p = oracle(
      params,
      stories[b],
      questions[b],
      adjacent=tying == 'adjacent',
      longest=longest,
      linear=linear,
      relu=relu,
    )
    np.testing.assert_allclose(logits[b], expected, rtol=1e-5, atol=1e-6)
    padded = [np.pad(row, (0, S - len(row))) for row in p]
    np.testing.assert_allclose(weights[b], padded, rtol=1e-5, atol=1e-7)


def test_many_sentences_and_few_take_the_same_numbers():
  """A batch that is mostly padding is computed in another way."""
  model = memory_network(V, D, memory_size=20, longest=J)
  params = model.init(jax.random.key(0))
  stories, questions = story()
  wide = np.zeros((3, 20, J), np.int32)
  wide[:, :S] = stories
  assert stories.any(-1).sum() > 0.3 * stories[..., 0].size
  assert wide.any(-1).sum() <= 0.3 * wide[..., 0].size
  logits, weights = model.outputs(params, stories, questions)
  same, padded = jax.jit(model.outputs)(params, wide, questions)
  np.testing.assert_allclose(logits, same, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(weights, padded[:, :, :S], rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(padded[:, :, S:], 0.0)


def test_rows_are_independent_and_gradients_finite():
  model = memory_network(V, D, memory_size=S, longest=J)
  params = model.init(jax.random.key(0))
  stories, questions = story()
  loss = lambda params: model.outputs(params, stories, questions)[0].sum()
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.grad(loss)(params)))
  alone = model.outputs(params, stories[:1], questions[:1])[0]
  np.testing.assert_allclose(model.outputs(params, stories, questions)[0][:1], alone, rtol=1e-5)


def test_features_count_words_and_sum_their_places():
  got = np.asarray(word_features(np.array([[3, 1, 3, 0]], np.int32), 5, 4))
  np.testing.assert_array_equal(got[0, :5], [0, 1, 0, 2, 0])
  places = (np.arange(1, 5) - 2.5) / 4
  np.testing.assert_allclose(got[0, 5:], [0, places[1], 0, places[0] + places[2], 0])


def test_ages_count_back_from_the_newest():
  told = np.arange(5) < np.array([[5], [2], [0]])
  np.testing.assert_array_equal(ages(told, 4)[0], [3, 3, 2, 1, 0])
  np.testing.assert_array_equal(ages(told, 4)[1, :2], [1, 0])


def test_noise_adds_up_to_a_tenth_of_empty_slots():
  told = np.repeat(np.arange(20) < np.array([[20], [10]]), 500, 0)
  drawn = np.asarray(
    jax.jit(functools.partial(ages, memory_size=50, noise=0.1))(
      jnp.asarray(told), key=jax.random.key(0)
    )
  )
  for rows, count, blanks in ((drawn[:500], 20, 2), (drawn[500:, :10], 10, 1)):
    assert (np.diff(rows, axis=1) < 0).all(), 'older sentences have larger times'
    oldest = rows[:, 0] - (count - 1)
    assert set(np.unique(oldest)) == set(range(blanks + 1))
    assert 0.2 < (oldest > 0).mean() < 0.9
    assert (rows[:, -1] > 0).mean() < 0.2
  without = ages(told, 50)
  np.testing.assert_array_equal(without[0], np.arange(20)[::-1])


def test_sizes_and_names_are_checked():
  for options in ({'tying': 'all'}, {'num_hops': 0}, {'memory_size': 0}, {'noise': -1}):
    with pytest.raises(InputError, match=next(iter(options))):
      memory_network(V, D, **options)
