"""Batches of independent examples, as training data: drawn, in memory, or loaded from disk.

Image files, one folder per label:

  paths = sorted(Path(folder).glob('*/*.png'))
  labels = sorted({path.parent.name for path in paths})

  def load(path):
    image = np.asarray(Image.open(path).convert('L'), np.float32) / 255
    return {'image': image, 'label': np.int32(labels.index(path.parent.name))}

  digest = hashlib.sha256(b''.join(path.read_bytes() for path in paths)).hexdigest()
  data = loaded(paths, load, batch_size=64, seed=0, fingerprint=digest)
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np

from rnn_research.errors import InputError
from rnn_research.experiment import TrainData

_THREADS = 16  # most of them wait for the disk


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
  arrays: dict[str, np.ndarray],
  batch_size: int,
  seed: int,
  fingerprint: str,
  change: Callable[[np.random.Generator, dict], dict] = lambda rng, batch: batch,
) -> TrainData:
  """Returns an endless stream of batches of the rows of `arrays`, in a new order in every epoch;
  the rest is left out.

  Args:
    arrays: name -> [N, ...].
    batch_size: B.
    seed: of the orders, and of the changes.
    fingerprint: of the arrays.
    change: `(rng, batch) -> batch`: what a batch becomes, by chance: pictures that are moved a
      little.

  Raises:
    InputError: there are fewer than one batch.
  """
  count = len(next(iter(arrays.values())))
  steps = count // batch_size
  if steps == 0:
    raise _too_few(count, batch_size)
  order = functools.lru_cache(maxsize=2)(
    lambda epoch: np.random.default_rng((seed, epoch)).permutation(count)
  )

  def batch(item):
    epoch, step = divmod(item, steps)
    rows = order(epoch)[step * batch_size : (step + 1) * batch_size]
    batch = {name: array[rows] for name, array in arrays.items()}
    # One more than the step: (seed, epoch, 0) is the stream of the order.
    return change(np.random.default_rng((seed, epoch, 1 + step)), batch)

  return stream(batch, steps, fingerprint)


def _too_few(count, batch_size):
  return InputError(
    f'train.batch_size is {batch_size}, expected at most {count}, as many as there are training '
    'examples'
  )


def held_out_rng(seed: int, number: int) -> np.random.Generator:
  """Returns random numbers for what is held out beside `shuffled` of the same seed, which never
  meet its own.

  Args:
    seed: of both.
    number: of what is held out, 1 or more: a stream of `shuffled` is (seed, epoch, 1 + step) or
      (seed, epoch), and NumPy takes zeros at the end for nothing.
  """
  return np.random.default_rng((seed, 0, 0, number))


def loaded(
  source: Sequence,
  load: Callable[[Any], dict],
  batch_size: int,
  seed: int,
  fingerprint: str,
  name: Callable[[Any], str] = str,
) -> TrainData:
  """Returns an endless stream of batches of examples that threads load ahead, in a new order in
  every epoch.

  A batch may hold the end of one epoch and the beginning of the next; every example comes once in
  each.

  Args:
    source: of N rows, such as paths, or any `__len__` and `__getitem__`.
    load: `(row) -> example`, arrays without the axis B, of the same shapes for all rows. Called in
      threads, in any order.
    batch_size: B.
    seed: of the orders.
    fingerprint: of what is loaded.
    name: `(row) -> str`: what an error calls the row: its file.

  Raises:
    InputError: there are fewer than one batch; or, when it is loaded, an example cannot be, or has
      other shapes than the first.
  """
  if len(source) < batch_size:
    raise _too_few(len(source), batch_size)
  first = _shapes(_load(load, name, source[0]))

  def checked(row):
    example = _load(load, name, row)
    if _shapes(example) != first:
      raise InputError(
        f'{name(row)} holds {_shapes(example)}, expected {first} as in {name(source[0])}'
      )
    return example

  rows = grain.MapDataset.source(source).seed(seed).shuffle().repeat().map(checked)
  ahead = max(2 * batch_size, _THREADS)  # rows
  options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=ahead)
  dataset = rows.to_iter_dataset(options).batch(batch_size, drop_remainder=True)
  return TrainData(iter(dataset), len(source) // batch_size, fingerprint)


def _load(load, name, row):
  try:
    return load(row)
  except Exception as e:  # what reads images raises errors of many kinds
    raise InputError(f'{name(row)} cannot be loaded ({type(e).__name__}: {e})') from e


def _shapes(example):
  arrays = {name: np.asarray(value) for name, value in example.items()}
  return ', '.join(f'{name} {a.dtype}{list(a.shape)}' for name, a in arrays.items())


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
