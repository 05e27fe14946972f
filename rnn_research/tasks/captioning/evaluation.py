"""How good captions are: likelihood, the scores of the field, and what is written of how much."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.data.codec import SPECIALS, TextCodec
from rnn_research.errors import InputError
from rnn_research.metrics.captions.diversity import diversity
from rnn_research.metrics.captions.meteor import meteor
from rnn_research.metrics.captions.score import score_captions, tokenized
from rnn_research.tasks.captioning.batches import Seen, encode, evaluation_batches
from rnn_research.tasks.captioning.describer import Caption
from rnn_research.tasks.captioning.material import Material
from rnn_research.tasks.captioning.scenes import mass_inside
from rnn_research.training.progress import warn, watched
from rnn_research.typing import Params

_SHOWN = 3


class HeldOut(NamedTuple):
  """The data that a captioner is measured by, read when it is asked for.

  Attributes:
    codec: of the captions.
    max_length: of captions that likelihoods are of.
    material: `() -> Material`.
    seen: split -> its pictures as the model sees them.
    trained: `() -> the captions that the model learned from`, of `training_captions`.
  """

  codec: TextCodec
  max_length: int
  material: Callable[[], Material]
  seen: Callable[[str], Seen]
  trained: Callable[[], Collection[str]]


def training_captions(material: Material) -> set[str]:
  """Returns the different captions of the training pictures, as they are compared."""
  return {tokenized(text) for _, texts in material.splits['train'] for text in texts}


def measure(
  held_out: HeldOut,
  split: str,
  scores: Callable,
  searches: Mapping[str, Callable],
  params: Params,
  judge: Callable[[Sequence[str], Sequence[Sequence[str]]], dict[str, float]] = score_captions,
) -> dict[str, float]:
  """Returns the figures of a split.

  Args:
    held_out: the data.
    split: of them.
    scores: compiled `(params, batch) -> nats [B * K]`.
    searches: what the names of their scores end with -> a `describer`.
    params: of the model.
    judge: `(captions, references) -> scores`: `score_captions` or `all_scores`.

  Returns:
    nats_per_symbol and perplexity, of captions within the length where there are any; for every
    search the scores of `judge`, of scenes also `exact`, the share of captions that are right word
    by word, and of a model that looks and names a shape rightly `mass`, see `scenes.mass_inside`.
  """
  pictures = held_out.seen(split)
  figures, inputs = _likelihood(held_out, scores, params, pictures), all_inputs(pictures)
  for ending, describe in searches.items():
    found = describe(params, inputs, watch=watched)
    figures |= {
      f'{name}{ending}': value
      for name, value in _scores(held_out, split, pictures, found, judge).items()
    }
  return figures


def all_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
  """Returns `score_captions` and, where Java and the package pycocoevalcap are, `meteor`."""
  tokens = [[tokenized(text) for text in own] for own in references]
  scores = score_captions(captions, references)
  try:
    score = meteor([tokenized(text) for text in captions], tokens)
  except InputError as error:  # of a program of others: no reason to lose a training
    warn(str(error))
    score = None
  return scores | ({} if score is None else {'meteor': score})


def all_inputs(pictures: Seen) -> dict[str, np.ndarray]:
  """Returns what the model reads of all pictures of a split."""
  return pictures.inputs(np.arange(len(pictures.names)))


def examples(pictures: Seen, describe: Callable, params: Params) -> str:
  """Returns captions of the first pictures, for people."""
  inputs = pictures.inputs(np.arange(min(_SHOWN, len(pictures.names))))
  found = describe(params, inputs)
  return '\n'.join(
    f'{name}\n  = {caption.text}\n  ({references[0]})'
    for name, caption, references in zip(pictures.names, found, pictures.captions, strict=False)
  )


def _likelihood(held_out, scores, params, pictures):
  encoded = encode(held_out.codec, pictures.captions, held_out.max_length)
  total = count = 0.0
  batches = evaluation_batches(pictures, encoded)
  for _, batch in watched(batches, len(pictures.names), 'pictures'):
    total += float(np.asarray(scores(params, batch), np.float64).sum())
    count += int(batch['lengths'].sum())
  if not count:
    return {}
  nats = total / count
  return {'nats_per_symbol': nats, 'perplexity': math.exp(min(nats, 700.0))}


def _scores(held_out, split, pictures, found: Sequence[Caption], judge) -> dict[str, float]:
  texts = [caption.text for caption in found]
  figures = judge(texts, pictures.captions)
  material = held_out.material()
  if material.scenes:
    right = [text in own for text, own in zip(texts, pictures.captions, strict=True)]
    figures['exact'] = float(np.mean(right))
    figures |= _mass(material.scenes[split], found)
  else:
    words = [symbol for symbol in held_out.codec.symbols if symbol not in SPECIALS]
    written = list(map(tokenized, texts))
    figures |= diversity(written, held_out.trained(), words)._asdict()
  return figures


def _mass(scenes, found):
  if not found[0].weights.size:
    return {}
  inside = [
    mass_inside(caption.words, caption.weights, scene.things)
    for caption, scene in zip(found, scenes, strict=True)
  ]
  values = [value for own in inside for value in own]
  return {'mass': float(np.mean(values))} if values else {}
