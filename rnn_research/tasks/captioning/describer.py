"""From pictures to captions: batches of one shape, one jitted search, and texts again."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.data.codec import BOS, EOS, PAD, UNK, TextCodec
from rnn_research.decoding.beam import Beam
from rnn_research.decoding.decode import decode
from rnn_research.decoding.sampling import Sampling
from rnn_research.decoding.step import Hypothesis, Rules, hypotheses_of
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.captioning.batches import EVALUATED
from rnn_research.typing import Key, Params

NEVER_WRITTEN = (PAD, BOS, UNK)


class Caption(NamedTuple):
  """What was written of a picture.

  Attributes:
    text: the caption.
    words: its words, '<eos>' where the model ended it.
    score: what captions are ranked by.
    weights: [T, h, w] float32, where the model looked for each word, row 0 the top of the picture;
      [T, 0, 0] of a model without attention.
  """

  text: str
  words: list[str]
  score: float
  weights: np.ndarray


def describer(
  model: ConditionalModel,
  codec: TextCodec,
  how: Beam | Sampling,
  max_length: int,
  shape: tuple[int, int],
) -> Callable[..., list[Caption]]:
  """Compiles captioning. No unknown word is written.

  Args:
    model: the model.
    codec: of its captions.
    how: captions are searched for, or drawn.
    max_length: words; a caption that has not ended after them is cut off after one more.
    shape: (h, w) of the grid that the model looks at.

  Returns:
    `describe(params, inputs, key=None, watch=None) -> captions`, one per picture, of inputs name ->
    [N, ...]. The key is for drawing; `watch`, such as `training.progress.watched`, shows how far
    many pictures are.
  """
  search = jax.jit(functools.partial(_search, model, how, max_length))

  def describe(
    params: Params, inputs: dict, key: Key | None = None, watch: Callable | None = None
  ) -> list[Caption]:
    total, found = len(next(iter(inputs.values()))), []
    # What is drawn of a seed depends on how many rows there are.
    size = 1 if total == 1 and isinstance(how, Beam) else EVALUATED
    blocks = ((np.arange(n, min(n + EVALUATED, total)), n) for n in range(0, total, EVALUATED))
    for rows, start in watch(blocks, total, 'captions') if watch else blocks:
      batch = {name: a[np.resize(rows, size)] for name, a in inputs.items()}
      batch_key = None if key is None else jax.random.fold_in(key, start)
      result = jax.device_get(search(params, batch, batch_key))
      best = (hypotheses_of(result, i)[0] for i in range(len(rows)))
      found += [_caption(codec, one, shape) for one in best]
    return found

  return describe


def _search(model, how, max_length, params, inputs, key):
  encoded = model.encode(params, inputs)
  rows = len(encoded.summary)
  return decode(
    functools.partial(model.stepper, params, encoded),
    encoded.states,
    jnp.full(rows, BOS, jnp.int32),
    jnp.full(rows, max_length + 1),
    Rules(max_length + 1, NEVER_WRITTEN),
    how,
    key=key,
    source_mask=encoded.memory.mask,
  )


def _caption(codec: TextCodec, found: Hypothesis, shape: tuple[int, int]) -> Caption:
  symbols = [codec.symbols[i] for i in found.ids]
  text = codec.join([s for i, s in zip(found.ids, symbols, strict=True) if i != EOS])
  weights = found.extras.get('weights')
  size = (0, 0) if weights is None else shape
  flat = np.zeros((len(symbols), 0), np.float32) if weights is None else weights
  return Caption(text, symbols, found.score, flat.reshape(len(symbols), *size))
