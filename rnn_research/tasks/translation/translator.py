"""From sentences to their translations: batches of few shapes, one jitted search for each, and
texts again."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.data.buckets import evaluation_rows, like_lengths, pad
from rnn_research.data.codec import BOS, EOS, PAD, UNK
from rnn_research.decoding import search
from rnn_research.decoding.beam import beam_search, repeat_rows
from rnn_research.decoding.sampling import Sampling
from rnn_research.models.conditional_model import EncoderDecoder
from rnn_research.tasks.translation.corpus import Codec
from rnn_research.typing import Key, Params


class Beam(NamedTuple):
  """How translations are searched for.

  Attributes:
    size: hypotheses; 1 is greedy, and has no penalties.
    length_penalty: alpha of Wu et al. 2016.
    coverage_penalty: beta of Wu et al. 2016.
  """

  size: int = 1
  length_penalty: float = 1.0
  coverage_penalty: float = 0.0


class Translation(NamedTuple):
  """One hypothesis.

  Attributes:
    text: the sentence.
    symbols: its symbols, with '<eos>' where the model ended it.
    score: what hypotheses are ranked by.
    weights: [T, S] float32, where each symbol looked in the source; S = 0 without attention.
    source: the S source symbols that were read.
    cut: whether the source had more of them.
  """

  text: str
  symbols: list[str]
  score: float
  weights: np.ndarray
  source: list[str]
  cut: bool


def shown(source: str, translation: Translation, reference: str) -> str:
  """Returns a sentence, how it was translated, and how it should be, for people."""
  return f'{source}\n  = {translation.text}\n  ({reference})'


def translator(
  model: EncoderDecoder, codec: Codec, how: Beam | Sampling, max_length: int, num_best: int = 1
) -> Callable[..., list[list[Translation]]]:
  """Compiles translation.

  An unknown word of a model with attention is the source word that it looked at most (Luong et al.
  2015, section 3.1); without attention, or over other units than words, no unknown symbol is
  written.

  Args:
    model: the model.
    codec: of its languages.
    how: translations are searched for, or drawn.
    max_length: longer sources are cut.
    num_best: hypotheses of each sentence: at most the size of the beam, 1 where they are drawn.

  Returns:
    `translate(params, texts, key=None) -> [[Translation] * num_best, ...]`, one list per text; of
    an empty text, empty ones. The key is for drawing.
  """
  decode = jax.jit(functools.partial(_decode, model, codec.target.unit, how))

  def translate(
    params: Params, texts: Sequence[str], key: Key | None = None
  ) -> list[list[Translation]]:
    words = codec.source.split_all(texts)
    ids = codec.source.encode_all(texts)
    cut = [len(sentence) > max_length for sentence in words]
    words, ids = ([sentence[:max_length] for sentence in side] for side in (words, ids))
    found = [
      [Translation('', [], 0.0, np.zeros((0, 0), np.float32), [], False)] * num_best for _ in texts
    ]
    for batch, (rows, length) in enumerate(like_lengths([len(sentence) for sentence in ids])):
      batch_key = None if key is None else jax.random.fold_in(key, batch)
      sources, lengths = pad([ids[row] for row in rows], length, evaluation_rows(length))
      result = jax.device_get(decode(params, sources, lengths, batch_key))
      for i, row in enumerate(rows):
        found[row] = [
          _translation(codec, words[row], cut[row], result, i, k) for k in range(num_best)
        ]
    return found

  return translate


def _decode(model, kind, how, params, sources, lengths, key):
  encoded = model.encode(params, sources, lengths)
  copies = how.size if isinstance(how, Beam) else 1
  step = model.stepper(params, encoded, copies)
  num_positions = jax.eval_shape(
    step, repeat_rows(encoded.states, copies), jnp.zeros(len(sources) * copies, jnp.int32)
  )[2].shape[-1]
  forbidden = (PAD, BOS) + (() if num_positions and kind == 'word' else (UNK,))
  max_length, limits = 2 * sources.shape[1] + 10, 2 * lengths + 10
  if isinstance(how, Sampling):
    return search.sampled(
      step, encoded.states, key, len(sources), limits, max_length, how, forbidden
    )
  if how.size == 1:
    return search.greedy(step, encoded.states, len(sources), limits, max_length, forbidden)
  return beam_search(
    step,
    encoded.states,
    len(sources),
    limits,
    max_length,
    beam_size=how.size,
    length_penalty=how.length_penalty,
    coverage_penalty=how.coverage_penalty,
    source_mask=encoded.memory.mask[:, :num_positions],
    forbidden=forbidden,
  )


def _translation(
  codec: Codec, words: list[str], cut: bool, found: Any, row: int, k: int
) -> Translation:
  length = int(found.lengths[row, k])
  ids, weights = found.ids[row, k, :length], found.weights[row, k, :length, : len(words)]
  symbols = [codec.target.symbols[i] for i in ids]
  written = [
    words[int(np.argmax(weights[t]))] if i == UNK and weights.shape[1] else symbol
    for t, (i, symbol) in enumerate(zip(ids, symbols, strict=True))
    if i != EOS
  ]
  return Translation(
    codec.target.join(written),
    symbols,
    float(found.scores[row, k]),
    weights,
    words,
    cut,
  )
