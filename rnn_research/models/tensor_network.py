"""A recurrent network that reads a story into associations, and answers by looking three up."""

import jax
import jax.numpy as jnp
from jax.nn.initializers import glorot_uniform

from rnn_research import layers
from rnn_research.cells.tpr_rnn import facts_of, init_facts, init_parts, parts
from rnn_research.data.codec import PAD
from rnn_research.engines.associative import write_stories
from rnn_research.errors import require_sizes
from rnn_research.initializers import uniform
from rnn_research.memory.associations import similarities
from rnn_research.models.entity_network import encode
from rnn_research.models.memory_network import Answerer

NUM_HOPS = 3
# Task 16 by itself was learned from these and from 0.3, not from 0.1, 0.2 or 1 in 2,500 steps.
_WORDS = 0.4
_EPSILON = 1e-7  # of the variance of what is recalled: first memories are small


def tensor_network(
  num_words: int,
  size: int,
  *,
  entity_size: int = 90,
  relation_size: int = 20,
  hidden_size: int = 40,
  longest: int,
  dtype=jnp.float32,
) -> Answerer:
  """Makes the TPR-RNN: with F the memory of `cells.tpr_rnn` after all sentences s_t,

    s_t = sum_i p_i * e(x_ti)      q = sum_i p_i * e(q_i)
    n, l^1, l^2, l^3 = f(q)
    i^1 = LN(F n l^1)    i^2 = LN(F i^1 l^2)    i^3 = LN(F i^2 l^3)
    logits = (i^1 + i^2 + i^3) Z

  F is never made: what a lookup recalls is a sum over the 3 T associations that were written. The
  weight of sentence t in hop k is the part of what was recalled that t wrote, `c_t . o / |o|^2`
  with o the sum of all c_t: these have a sum of 1, and what is taken out again counts against what
  took it out.

  Args:
    num_words: V, answers among them; 0 is PAD, whose embedding counts as 0.
    size: D, numbers per word.
    entity_size: E.
    relation_size: R.
    hidden_size: units of the layer inside of each f.
    longest: the most words of a sentence or question.
    dtype: precision of the products of the f.

  Raises:
    InputError: a size is no integer of 1 or more.

  Source: Schlag and Schmidhuber 2018 (arXiv 1811.12143), equations 4 to 20. Deviates from the
  paper: D is free, where the paper takes V; first words are drawn from U[-0.4, 0.4]. The released
  code has one gain and one bias for all E numbers of a layer norm, LN, and embeds padding.
  """
  require_sizes(
    'model.',
    size=size,
    entity_size=entity_size,
    relation_size=relation_size,
    hidden_size=hidden_size,
  )

  def init(key):
    keys = jax.random.split(key, 5)
    return {
      'embedding': uniform(_WORDS)(keys[0], (num_words, size)),
      'position': jnp.full((longest, size), 1.0 / longest),
      'story': init_facts(keys[1], size, hidden_size, entity_size, relation_size),
      'entity': init_parts(keys[2], size, hidden_size, 1, entity_size),
      'relations': init_parts(keys[3], size, hidden_size, NUM_HOPS, relation_size),
      'gain': jnp.ones((NUM_HOPS, entity_size)),
      'bias': jnp.zeros((NUM_HOPS, entity_size)),
      'z': glorot_uniform()(keys[4], (entity_size, num_words), jnp.float32),
    }

  def outputs(params, stories, questions, *, linear=False, key=None):
    sum_of = lambda ids: encode(params['embedding'], params['position'], ids)
    told = (stories != PAD).any(-1)
    triples = write_stories(facts_of(params['story'], sum_of(stories), dtype), told).triples
    q = sum_of(questions)
    entity, relations = (parts(params[name], q, dtype) for name in ('entity', 'relations'))
    total, weights = 0.0, []
    for hop in range(NUM_HOPS):
      alike = similarities(entity, relations[:, hop : hop + 1], triples)
      recalled = alike @ triples.objects
      weights.append(_shares(alike, triples.objects, recalled, told))
      scaled = layers.normalize(recalled, _EPSILON) * params['gain'][hop]
      entity = scaled + params['bias'][hop]
      total = total + entity[:, 0]
    return total @ params['z'], jnp.stack(weights, 1)

  return Answerer(init, outputs)


def _shares(alike, objects, recalled, told):
  """Returns what of the recalled [B, 1, E] each sentence wrote, [B, T]."""
  along = jnp.einsum('bnf,bmf->bn', objects, recalled) * alike[:, 0]
  total = (recalled[:, 0] ** 2).sum(-1, keepdims=True)
  own = along.reshape(*told.shape, 3).sum(-1)
  return jnp.where(total > 0.0, own / jnp.where(total > 0.0, total, 1.0), 0.0)
