"""From sentences to their translations: batches of few shapes, one jitted search for each, and
texts again."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.data.buckets import evaluation_rows, like_lengths, pad
from rnn_research.data.codec import BOS, EOS, PAD, UNK, encoder
from rnn_research.decoding.beam import Beam
from rnn_research.decoding.decode import decode
from rnn_research.decoding.sampling import Sampling
from rnn_research.decoding.step import Hypothesis, Rules, extras_of, hypotheses_of
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.translation.corpus import Codec
from rnn_research.typing import Key, Params
from rnn_research.unroll import length_mask

MORE = 10  # symbols of a translation, at most, than twice those of its source


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
  source: Sequence[str]
  cut: bool


def shown(source: str, translation: Translation, reference: str) -> str:
  """Returns a sentence, how it was translated, and how it should be, for people."""
  return f'{source}\n  = {translation.text}\n  ({reference})'


def translator(
  model: ConditionalModel, codec: Codec, how: Beam | Sampling, max_length: int, num_best: int = 1
) -> Callable[..., list[list[Translation]]]:
  """Compiles translation.

  An unknown word of a model with attention is the source word that it looked at most (Luong et al.
  2015, section 3.1); without attention, or over other units than words, no unknown symbol is
  written. A translation has no more than 2 S + `MORE` symbols, S being those of its
  source.

  Args:
    model: the model.
    codec: of its languages.
    how: translations are searched for, or drawn.
    max_length: longer sources are cut.
    num_best: hypotheses of each sentence: at most the size of the beam, 1 where they are drawn.

  Returns:
    `translate(params, texts, key=None, watch=None) -> [[Translation] * num_best, ...]`, one list
    per text; of an empty text, empty ones. The key is for drawing; `watch`, such as
    `training.progress.watched`, shows how far many texts are.
  """
  ids_of = encoder(codec.source)
  search = jax.jit(functools.partial(_search, model, codec.target.unit, how))

  def translate(
    params: Params, texts: Sequence[str], key: Key | None = None, watch: Callable | None = None
  ) -> list[list[Translation]]:
    whole = codec.source.split_all(texts)
    cut = [len(sentence) > max_length for sentence in whole]
    words = [sentence[:max_length] for sentence in whole]
    ids = list(map(ids_of, words))
    found = [
      [Translation('', [], 0.0, np.zeros((0, 0), np.float32), [], False)] * num_best for _ in texts
    ]
    sizes = [len(sentence) for sentence in ids]
    batches = like_lengths(sizes)
    if watch:
      batches = watch(batches, sum(map(bool, sizes)), 'sentences')
    for batch, (rows, length) in enumerate(batches):
      batch_key = None if key is None else jax.random.fold_in(key, batch)
      sources, lengths = pad([ids[row] for row in rows], length, evaluation_rows(length))
      result = jax.device_get(search(params, sources, lengths, batch_key))
      for i, row in enumerate(rows):
        best = hypotheses_of(result, i)[:num_best]
        found[row] = [_translation(codec, words[row], cut[row], one) for one in best]
    return found

  return translate


def _search(model, kind, how, params, sources, lengths, key):
  num_rows, num_positions = sources.shape
  encoded = model.encode(params, sources, length_mask(lengths, num_positions).T)
  stepper = functools.partial(model.stepper, params, encoded)
  first = jnp.full(num_rows, BOS, jnp.int32)
  copies = kind == 'word' and 'weights' in extras_of(stepper(1), encoded.states, first)
  return decode(
    stepper,
    encoded.states,
    first,
    2 * lengths + MORE,
    Rules(2 * num_positions + MORE, (PAD, BOS, *(() if copies else (UNK,)))),
    how,
    key=key,
    source_mask=encoded.memory.mask,
  )


def _translation(codec: Codec, words: Sequence[str], cut: bool, found: Hypothesis) -> Translation:
  weights = found.extras.get('weights', np.zeros((len(found.ids), 0), np.float32))[:, : len(words)]
  symbols = [codec.target.symbols[i] for i in found.ids]
  written = [
    words[int(np.argmax(weights[t]))] if i == UNK and weights.shape[1] else symbol
    for t, (i, symbol) in enumerate(zip(found.ids, symbols, strict=True))
    if i != EOS
  ]
  return Translation(codec.target.join(written), symbols, found.score, weights, words, cut)
