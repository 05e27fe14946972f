"""Streams of a text: parallel contiguous lanes for truncated BPTT, and exact lanes for
evaluation."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import grain
import numpy as np

from rnn_research.errors import InputError
from rnn_research.experiment import TrainData


def text_stream(
  ids: np.ndarray, batch_size: int, unroll_length: int, fingerprint: str
) -> TrainData:
  """Returns an endless stream of training batches in which every lane reads on contiguously.

  The text is cut in B segments of `steps_per_epoch * U` predictions. In epoch e lane b reads
  segment (b + e) mod B, so a lane goes on at an epoch border where it stopped, except at the end of
  the text, where it goes on at the beginning. Fewer than `B * U` symbols at the end of the text are
  never read.

  Args:
    ids: [N] integers, the training text, in memory or mapped from a disk.
    batch_size: B, lanes.
    unroll_length: U, predictions of a lane in one batch.
    fingerprint: hex digest of the text.

  Returns:
    TrainData whose iterator yields {'inputs': [B, U] int32, 'targets': [B, U] int32}, targets one
    symbol later.

  Raises:
    InputError: the text is too short for one batch.
  """
  num_predictions = max(len(ids) - 1, 0)
  steps = num_predictions // (batch_size * unroll_length)
  if steps == 0:
    raise InputError(
      f'the training text has {len(ids)} symbols: the largest batch_size x unroll_length that fits '
      f'is {num_predictions}, and {batch_size} x {unroll_length} is {batch_size * unroll_length}'
    )
  size = batch_size * steps * unroll_length
  inputs, targets = (part.reshape(batch_size, -1) for part in (ids[:size], ids[1 : size + 1]))
  batch = functools.partial(_batch, inputs, targets, steps, unroll_length)
  dataset = grain.MapDataset.range(steps * batch_size).map(batch).repeat()
  # The text is in memory, or mapped: reading threads would cost three times what they do.
  options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  return TrainData(iter(dataset.to_iter_dataset(options)), steps, fingerprint)


def _batch(
  inputs: np.ndarray, targets: np.ndarray, steps: int, unroll_length: int, item: int
) -> dict:
  """Returns batch `item` of segments [B, steps * U] integers."""
  epoch, step = divmod(item, steps)
  segments = (np.arange(len(inputs)) + epoch) % len(inputs)
  columns = slice(step * unroll_length, (step + 1) * unroll_length)

  # A text on disk is kept in fewer bytes.
  def read(part):
    return np.asarray(part[segments, columns], np.int32)

  return {'inputs': read(inputs), 'targets': read(targets)}


class Piece(NamedTuple):
  """Steps t0 <= t < t1 of L parallel streams of a text.

  Attributes:
    inputs: [t1 - t0, L] int32.
    targets: [t1 - t0, L] int32, the next symbols.
    mask: [t1 - t0, L] bool, False where a lane has no text: padding, which may hold anything.
    counts: whether these predictions are wanted, or only the states after them.
  """

  inputs: np.ndarray
  targets: np.ndarray
  mask: np.ndarray
  counts: bool = True


def evaluation_lanes(ids: np.ndarray, num_lanes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns a text as parallel contiguous lanes that together make each of its N - 1 predictions
  once.

  Args:
    ids: [N] integers, the text.
    num_lanes: L, capped at N - 1. With one lane this is the exact single stream; with more, each
      lane begins without the context before its first symbol.

  Returns:
    inputs: [T, L] int32, T = ceil((N - 1) / L); lane j makes the predictions from j * T on.
    targets: [T, L] int32, the next symbols.
    mask: [T, L] bool, False in the padding at the end of the text.

  Raises:
    InputError: the text has fewer than two symbols, so there is nothing to predict.
  """
  (piece,) = lane_pieces(ids, num_lanes, len(ids))
  return piece[:3]


def lane_pieces(ids: np.ndarray, num_lanes: int, length: int, warm_up: int = 0) -> Iterator[Piece]:
  """Yields the lanes of `evaluation_lanes` piece by piece, so that a text of any size can be read.

  Args:
    ids: [N] integers, the text.
    num_lanes: L, capped at N - 1.
    length: the most steps of a piece; all have the same number, but for the warm-up, and as little
      padding as that leaves.
    warm_up: symbols before each lane that it reads first, as far as there are any; a piece of their
      own, which does not count.

  Raises:
    InputError: as of `evaluation_lanes`.
  """
  if len(ids) < 2:
    raise InputError(
      f'the text has {len(ids)} symbols; evaluation needs at least 2, one to read '
      'and one to predict'
    )
  count = len(ids) - 1
  lanes = min(num_lanes, count)
  steps = -(-count // lanes)
  length = -(-steps // -(-steps // length))

  def piece(start, stop, counts):
    places = np.arange(lanes) * steps + np.arange(start, stop)[:, None]
    inside = (np.arange(start, stop) < steps)[:, None]
    real = (places >= 0) & (places < count) & inside
    places = np.where(real, places, 0)
    symbols = (np.asarray(ids[part], np.int32) for part in (places, places + 1))
    return Piece(*symbols, real, counts)

  if warm_up and lanes > 1:
    yield piece(-warm_up, 0, False)
  for start in range(0, steps, length):
    yield piece(start, start + length, True)
