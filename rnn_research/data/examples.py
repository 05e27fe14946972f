"""Batches of independent examples, as training data."""

import functools
from collections.abc import Callable

import grain
import numpy as np

from rnn_research.errors import InputError
from rnn_research.experiment import TrainData


def drawn(
  draw: Callable[[np.random.Generator], dict], seed: int, steps_per_epoch: int, fingerprint: str
) -> TrainData:
  """Returns an endless stream of batches, each drawn from the seed and its own number.

  Args:
    draw: `(rng) -> batch`, arrays with leading axis B.
    seed: of the stream.
    steps_per_epoch: batches that are called an epoch.
    fingerprint: of what is drawn.
  """
  return stream(
    lambda item: draw(np.random.default_rng((seed, item))), steps_per_epoch, fingerprint
  )


def shuffled(
  arrays: dict[str, np.ndarray], batch_size: int, seed: int, fingerprint: str
) -> TrainData:
  """Returns an endless stream of batches of the rows of `arrays`, in a new order in every epoch;
  the rest is left out.

  Args:
    arrays: name -> [N, ...].
    batch_size: B.
    seed: of the orders.
    fingerprint: of the arrays.

  Raises:
    InputError: there are fewer than one batch.
  """
  count = len(next(iter(arrays.values())))
  steps = count // batch_size
  if steps == 0:
    raise InputError(
      f'there are {count} training examples, expected a batch of {batch_size} at least'
    )
  order = functools.lru_cache(maxsize=2)(
    lambda epoch: np.random.default_rng((seed, epoch)).permutation(count)
  )

  def batch(item):
    epoch, step = divmod(item, steps)
    rows = order(epoch)[step * batch_size : (step + 1) * batch_size]
    return {name: array[rows] for name, array in arrays.items()}

  return stream(batch, steps, fingerprint)


def stream(batch: Callable[[int], dict], steps_per_epoch: int, fingerprint: str) -> TrainData:
  """Returns an endless stream of `batch(0)`, `batch(1)`, ..., which must depend on nothing but
  their number.

  Args:
    batch: `(number) -> batch`, arrays with leading axis B.
    steps_per_epoch: batches that are called an epoch.
    fingerprint: of what they are made of.
  """
  dataset = grain.MapDataset.range(2**31 - 1).map(lambda item: batch(int(item)))
  # Made in memory: threads would cost more than they save.
  options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  return TrainData(iter(dataset.to_iter_dataset(options)), steps_per_epoch, fingerprint)
