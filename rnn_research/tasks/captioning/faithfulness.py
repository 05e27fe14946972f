"""Does a captioner need what it looks at? What hiding those places costs, against any."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.losses import cross_entropy
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.captioning.batches import CaptionIds, Seen, captioned, evaluation_batches
from rnn_research.tasks.captioning.objective import for_each, taught
from rnn_research.typing import Params
from rnn_research.unroll import length_mask


class Hidden(NamedTuple):
  """What captions cost, in nats per word.

  Attributes:
    places: how many places are hidden, of each [M].
    looked: [M] float64, where the most looked at are hidden.
    others: [M] float64, where as many of all places are, drawn at random.
    whole: where none is.
  """

  places: Sequence[int]
  looked: np.ndarray
  others: np.ndarray
  whole: float


def hide(
  model: ConditionalModel,
  params: Params,
  pictures: Seen,
  encoded: CaptionIds,
  places: Sequence[int],
  seed: int = 0,
) -> Hidden:
  """Returns what it costs to hide places from the attention of a model.

  The places that were looked at most, over all captions of a picture, are hidden: they get no
  weight and the others share it. First states are made of the whole picture all the same.

  Args:
    model: one that looks.
    params: its parameters.
    pictures: held-out ones.
    encoded: their captions.
    places: how many are hidden.
    seed: of the random ones.
  """
  look = jax.jit(lambda params, batch: _looked(model, params, batch))
  cost = jax.jit(lambda params, batch, seen: _cost(model, params, batch, seen))
  rng, sums = np.random.default_rng(seed), np.zeros((2, len(places)))
  whole, words = 0.0, 0
  for _, batch in evaluation_batches(pictures, encoded):
    weights = np.asarray(look(params, batch))
    words += int(batch['lengths'].sum())
    whole += float(cost(params, batch, np.ones(weights.shape, bool)))
    for kind, order in enumerate((np.argsort(-weights, 1), _shuffled(rng, weights.shape))):
      for i, count in enumerate(places):
        seen = np.ones(weights.shape, bool)
        np.put_along_axis(seen, order[:, :count], False, 1)
        sums[kind, i] += float(cost(params, batch, seen))
  looked, others = sums / max(words, 1)
  return Hidden(places, looked, others, whole / max(words, 1))


def _shuffled(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
  return rng.permuted(np.tile(np.arange(shape[1]), (shape[0], 1)), axis=1)


def _looked(model, params, batch):
  """Returns how much each place is looked at over all captions, [B, S]."""
  _, extras, real = taught(model, params, captioned(batch))
  weights = jnp.where(real[:, :, None], extras['weights'], 0.0).sum(0)
  pictures = len(jax.tree.leaves(captioned(batch).inputs)[0])
  return weights.reshape(pictures, -1, weights.shape[-1]).sum(1)


def _cost(model, params, batch, seen):
  """Returns the nats of all captions where the attention sees only some places, [B, S] bool."""
  given = captioned(batch)
  encoded = model.encode(params, given.inputs)
  copies = len(given.ids) // len(encoded.summary)
  encoded = encoded._replace(memory=encoded.memory._replace(mask=seen))
  logits, _ = model.teach(params, for_each(encoded, copies), given.ids.T)
  real = length_mask(given.lengths, given.ids.shape[1])
  return jnp.where(real, cross_entropy(logits, given.targets.T), 0.0).sum()
