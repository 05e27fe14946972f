"""Self-critical training: captions that a model draws itself, and CIDEr-D as their reward."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.data.codec import BOS, EOS, PAD, TextCodec
from rnn_research.decoding.sampling import Sampling
from rnn_research.decoding.single import sampled
from rnn_research.decoding.step import Rules
from rnn_research.losses import cross_entropy
from rnn_research.metrics.captions.cider import cider, cider_table, document_frequencies
from rnn_research.metrics.captions.score import tokenized
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.stepping import repeat_rows
from rnn_research.tasks.captioning.describer import NEVER_WRITTEN
from rnn_research.tasks.captioning.objective import for_each
from rnn_research.typing import Array, Key, Params, PyTree
from rnn_research.unroll import length_mask

_END = '<eos>'


def cider_reward(
  codec: TextCodec, references: Sequence[Sequence[str]]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
  """Returns `(rows [N], ids [N, T]) -> [N] float32`, CIDEr-D of captions as ids.

  The end is a word of captions and references alike: without it a caption that breaks off before
  its last words, or never ends, costs nothing. Document frequencies are those of the references.

  Args:
    codec: of the captions.
    references: of I pictures; `rows` says which of them captions are of.
  """
  ended = [[f'{tokenized(text)} {_END}' for text in own] for own in references]
  table = cider_table(ended, document_frequencies(ended))

  def reward(rows, ids):
    return cider(table, [_text(codec, one) for one in ids], rows).astype(np.float32)

  return reward


def _text(codec, ids):
  words = [codec.symbols[i] for i in ids if i not in (PAD, EOS)]
  end = f' {_END}' if EOS in ids else ''
  return f'{tokenized(codec.join(words))}{end}'


def self_critical_loss(
  model: ConditionalModel,
  reward: Callable[[np.ndarray, np.ndarray], np.ndarray],
  samples: int,
  max_length: int,
  params: Params,
  inputs: PyTree,
  rows: Array,
  key: Key,
) -> tuple[Array, tuple[Array, dict[str, Array]]]:
  """Returns sums over a batch of B pictures, for K captions of each that the model draws.

    - sum_k (r_k - b_k) log p(y_k),    b_k = sum_{j != k} r_j / (K - 1)

  where r_k - b_k is a constant. Captions are drawn, and their probabilities taken, without dropout
  and of the symbols that may be drawn: were others counted, their probability could rise for
  nothing.

  Args:
    model: the model.
    reward: of `cider_reward`, called on the host.
    samples: K, at least 2.
    max_length: the most words of a caption that ends; one that does not has one more.
    params: of the model.
    inputs: of the encoder, leaves [B, ...].
    rows: [B] int32, which pictures they are.
    key: of the draws.

  Returns:
    The loss, and (number of symbols that were drawn, sums that are logged: the reward of every
    symbol's caption, and the negative log p of the symbols).

  Source: Rennie et al. 2017 (arXiv 1612.00563), equation 7. Deviates from the paper: the baseline
  is the mean of the other captions, not the greedy one (Luo 2020, arXiv 2003.09971); no special
  symbol but the end is drawn.
  """
  encoded = model.encode(params, inputs)
  frozen = jax.lax.stop_gradient(params)
  ids, lengths = _drawn(model, frozen, jax.lax.stop_gradient(encoded), samples, max_length, key)
  rewards = jax.pure_callback(
    functools.partial(_on_host, reward),
    jax.ShapeDtypeStruct(lengths.shape, jnp.float32),
    jnp.repeat(rows, samples),
    ids,
  )
  first = jnp.full((len(ids), 1), BOS, jnp.int32)
  logits, _ = model.teach(
    params,
    for_each(encoded, samples),
    jnp.concatenate([first, ids[:, :-1]], 1).T,
  )
  real = length_mask(lengths, ids.shape[1])
  logits = logits.at[:, :, jnp.array(NEVER_WRITTEN)].set(jnp.finfo(logits.dtype).min)
  losses = jnp.where(real, cross_entropy(logits, ids.T), 0.0)
  total = (_advantages(rewards, samples) * losses.sum(0)).sum()
  sums = {'cider': (rewards * lengths).sum(), 'nats_per_symbol': losses.sum()}
  return total, (lengths.sum(dtype=jnp.float32), sums)


def _on_host(reward, rows, ids):
  return reward(np.asarray(rows), np.asarray(ids))


def _drawn(model, params, encoded, samples, max_length, key):
  """Returns ids [B * K, T] and lengths [B * K] of captions, those of a picture side by side."""
  states = repeat_rows(encoded.states, samples)
  rows = len(encoded.summary) * samples
  found = sampled(
    model.stepper(params, encoded, samples),
    states,
    jnp.full(rows, BOS, jnp.int32),
    jnp.full(rows, max_length + 1),
    Rules(max_length + 1, NEVER_WRITTEN),
    Sampling(),
    key,
  )
  return found.ids[:, 0], found.lengths[:, 0]


def _advantages(rewards: Array, samples: int) -> Array:
  """Returns by how much each reward, [B * K], is above the mean of the picture's others."""
  own = rewards.reshape(-1, samples)
  others = (own.sum(1, keepdims=True) - own) / (samples - 1)
  return (own - others).reshape(-1)
