"""End-to-end memory network: attention over the sentences of a story, several hops long."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import normal

from rnn_research.data.codec import PAD
from rnn_research.errors import require, require_one_of, require_size, require_sizes
from rnn_research.typing import Array, Key, Params

TYINGS = ('adjacent', 'layerwise')


class Answerer(NamedTuple):
  """A model that answers questions about stories.

  Attributes:
    init: `(key) -> params`.
    outputs: `(params, stories, questions, *, linear=False, key=None) -> (logits, weights)`:
      stories [B, S, J] int32, sentences oldest first, PAD behind words and sentences; questions
      [B, J'] int32; `linear`, [] bool, asks for linear start, and a key for random noise, of a
      model that has these. logits [B, V] float32; weights [B, K, S] float32 of every sentence: the
      attention of K hops, its share in what K lookups recalled, of any sign, or the gates of K
      slots; 0 where there is no sentence; K may be 0.
  """

  init: Callable[..., Params]
  outputs: Callable[..., tuple[Array, Array]]


def memory_network(
  num_words: int,
  size: int,
  *,
  num_hops: int = 3,
  memory_size: int = 50,
  longest: int = 0,
  tying: str = 'adjacent',
  noise: float = 0.0,
  relu: bool = False,
) -> Answerer:
  """Makes the model: with x_ij word j of sentence i, t_i how many sentences are newer, e_v row v of
  a table,

    m_i^k = sum_j l_j * A^k[x_ij] + T_A^k[t_i]    c_i^k = sum_j l_j * C^k[x_ij] + T_C^k[t_i]
    u^1 = sum_j l_j * B[q_j]
    p^k = softmax_i(m_i^k . u^k)      o^k = sum_i p_i^k c_i^k
    logits = W u^(K+1)

    adjacent    A^(k+1) = C^k, B = A^1, W = C^K, T likewise    u^(k+1) = u^k + o^k
    layerwise   A, C, T_A, T_C of all hops are the same        u^(k+1) = H u^k + o^k

  and for coordinate n of `size` D and word j of at most J in a sentence

    l_nj = 1 + 4 (n - (D + 1) / 2) (j - (J + 1) / 2) / (D J)

  With linear start p^k = m_i^k . u^k. With random noise every story gets U{0, .., ceil(noise L)}
  empty slots at random places between its L sentences, which makes times larger.

  Args:
    num_words: V, answers among them; 0 is PAD.
    size: D.
    num_hops: K.
    memory_size: times that are told apart; older sentences share the last one.
    longest: J; 0 is a bag of words, l = 1.
    tying: 'adjacent' or 'layerwise'.
    noise: share of empty slots.
    relu: whether u^(k+1) passes a ReLU, as in the non-linear runs on 10,000 examples.

  Raises:
    InputError: an unknown tying, a size below 1, or noise that is no share.

  Source: Sukhbaatar et al. 2015 (arXiv 1503.08895), sections 2, 4.1 and 4.2.
  Deviates from the paper: l is that of the released code, twice the paper's at n - 1/2 and j - 1/2,
  so that its mean is 1; J is that of the longest sentence, as there. Slots without a sentence have
  no weight, neither padding nor those of random noise.
  """
  require_one_of('model.tying', tying, TYINGS)
  require_sizes('model.', size=size, num_hops=num_hops)
  require_size('memory_size', memory_size)
  require('model.noise', noise, 0.0 <= noise <= 1.0, 'a number in [0, 1]')
  adjacent = tying == 'adjacent'
  scale = 4.0 * (jnp.arange(1.0, size + 1) - (size + 1) / 2) / size

  def init(key):
    keys = jax.random.split(key, 6)
    count = num_hops + 1 if adjacent else 2
    params = {
      'embedding': first_weights(keys[0], count, num_words, size),
      'time_embedding': first_weights(keys[1], count, memory_size, size),
    }
    if adjacent:
      return params
    return params | {
      'question_embedding': first_weights(keys[2], num_words, size),
      'h': first_weights(keys[3], size, size),
      'w': first_weights(keys[4], size, num_words),
    }

  def rows(table):
    """Returns [..., 2 V, D]: what a word adds wherever it stands, and what its place adds."""
    return jnp.concatenate([table, scale * table], -2)

  def answer(params, sentences, owners, times, questions, linear):
    """Returns logits, and weights [B, K, C], for C sentences [C, J] of the stories `owners` [C], in
    any order; those of no story have owner -1."""
    features = jnp.concatenate(
      [word_features(sentences, num_words, longest), jax.nn.one_hot(times, memory_size)], -1
    )
    tables = jnp.concatenate([rows(params['embedding']), params['time_embedding']], 1)
    memories = jnp.moveaxis(jnp.tensordot(features, jnp.moveaxis(tables, 0, 1), 1), 1, 0)
    own = owners == jnp.arange(len(questions))[:, None]
    asked = params['embedding'][0] if adjacent else params['question_embedding']
    u = word_features(questions, num_words, longest) @ rows(asked)
    weights = []
    for hop in range(num_hops):
      first = hop if adjacent else 0
      scores = u @ memories[first].T
      soft = jax.nn.softmax(jnp.where(own, scores, -1e30)) * own
      p = jnp.where(linear, scores * own, soft)
      u = (u if adjacent else u @ params['h']) + p @ memories[first + 1]
      u = jax.nn.relu(u) if relu else u
      weights.append(p)
    return u @ (params['embedding'][-1].T if adjacent else params['w']), jnp.stack(weights, 1)

  def outputs(params, stories, questions, *, linear=False, key=None):
    stories = jnp.asarray(stories)
    told = (stories != PAD).any(-1)
    times = ages(told, memory_size, noise, key)
    # Stories of the same batch differ in length: what is padding costs nothing where it is most.
    order = jnp.argsort(~told.ravel(), stable=True)

    def first(count):
      chosen = order[:count]
      owners = jnp.where(told.ravel()[chosen], chosen // told.shape[1], -1)
      sentences = stories.reshape(told.size, -1)[chosen]
      logits, weights = answer(params, sentences, owners, times.ravel()[chosen], questions, linear)
      flat = jnp.zeros((told.size, num_hops)).at[chosen].set(weights.sum(0).T)
      return logits, flat.reshape(*told.shape, num_hops).swapaxes(1, 2)

    few = -(-told.size * 3 // 10)
    return jax.lax.cond(told.sum() <= few, lambda: first(few), lambda: first(told.size))

  return Answerer(init, outputs)


def word_features(ids: Array, num_words: int, longest: int) -> Array:
  """Returns how often a sentence has every word, and the sum of its places,
  `(j - (J + 1) / 2) / J`: position encoding is linear in these two.

  So a sentence is embedded by one product for all tables, whose gradient is one product too, where
  a lookup's would be a scatter-add.

  Args:
    ids: [..., W] int32; PAD counts as no word.
    num_words: V.
    longest: J; with 0 the second half is 0.

  Returns:
    [..., 2 V] float32.
  """
  counts = places = jnp.zeros((*ids.shape[:-1], num_words), jnp.float32)
  # Word by word: one array of all of them is slower to sum.
  for i in range(ids.shape[-1]):
    is_word = ((ids[..., i, None] == jnp.arange(num_words)) & (ids[..., i, None] != PAD)) * 1.0
    counts = counts + is_word
    places = places + is_word * ((i + 1 - (longest + 1) / 2) / longest if longest else 0.0)
  return jnp.concatenate([counts, places], -1)


def ages(told: Array, memory_size: int, noise: float = 0.0, key=None) -> Array:
  """Returns how many slots are newer than each sentence, empty ones of random noise included.

  Args:
    told: [B, S] bool, where there is a sentence.
    memory_size: larger ages are `memory_size - 1`.
    noise: share of empty slots.
    key: of the noise, consumed; None is without.

  Returns:
    [B, S] int32, in [0, memory_size).
  """
  newer = jnp.cumsum(told[:, ::-1], 1)[:, ::-1] - told
  if key is not None and noise:
    count = told.sum(1, keepdims=True)
    key_n, key_p = jax.random.split(key)
    most = math.ceil(told.shape[1] * noise)
    blanks = jnp.ceil(noise * count).astype(int)
    blanks = jax.random.randint(key_n, blanks.shape, 0, blanks + 1)
    places = jax.random.randint(key_p, (told.shape[0], most), 0, count + 1)  # newer than a sentence
    drawn = jnp.arange(most) < blanks
    newer = newer + (drawn[:, None] & (places[:, None] <= newer[..., None])).sum(-1)
  return jnp.minimum(newer, memory_size - 1)


def first_weights(key: Key, *shape: int) -> Array:
  """Returns normal numbers of standard deviation 0.1, `shape` float32."""
  return normal(0.1)(key, shape, jnp.float32)
