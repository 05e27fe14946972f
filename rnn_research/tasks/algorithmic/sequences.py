"""Copying, sorting and recalling of binary vectors.

Each task is a function `(rng, batch_size, range, ..) -> Examples`. A range (low, high) is that of a
row's size, drawn anew for every row; T is that of the largest, and what comes after a row's last
answer is zero. During the answers there is nothing to read.
"""

from typing import NamedTuple

import numpy as np

Range = tuple[int, int]

NUM_BITS, START, END, SCALAR = 8, 8, 9, 10  # bits of a vector; then a channel each
ITEM_STEPS, ITEM_BITS, ITEM, QUERY = 3, 6, 6, 7  # of associative recall
_REPEATS_MEAN, _REPEATS_STD = 5.5, 8.25**0.5  # of numbers drawn evenly from 1..10


class Examples(NamedTuple):
  """Sequences, and what is to be answered.

  Attributes:
    inputs: [B, T, F] float32.
    targets: [B, T, O] float32 of bits; or [B, 2] int32 places, of `world`, answered at the end.
    weights: [B, T] float32, 1 where an answer is asked for, else 0; or [B] ones.
  """

  inputs: np.ndarray
  targets: np.ndarray
  weights: np.ndarray


def copy(rng: np.random.Generator, batch_size: int, lengths: Range) -> Examples:
  """Vectors of 8 bits between a start and an end delimiter, then the same vectors again.

  T = 2 high + 2, F = 10: bits, start, end. O = 8.

  Source: Graves et al. 2014 (arXiv 1410.5401), section 4.1. Deviates from the paper: the start
  delimiter, which its figures lack.
  """
  length, vectors = _vectors(rng, batch_size, lengths)
  inputs = _shown(vectors, length, 2 * lengths[1] + 2, END + 1)
  return _answered(inputs, vectors, length + 2, length)


def repeat_copy(
  rng: np.random.Generator, batch_size: int, lengths: Range, repeats: Range
) -> Examples:
  """As `copy`, but the vectors are asked for several times over, and then an end marker.

  How often is read with the end delimiter, less 5.5 and divided by sqrt(8.25), the moments of
  numbers drawn evenly from 1..10. T = high (high repeats + 1) + 3, F = 11: bits, start, end, number
  of repeats. O = 9: bits, end marker.

  Source: Graves et al. 2014 (arXiv 1410.5401), section 4.2. Deviates from the paper: the start
  delimiter, and an end delimiter beside the number of repeats.
  """
  length, vectors = _vectors(rng, batch_size, lengths)
  times = rng.integers(repeats[0], repeats[1] + 1, batch_size)
  num_steps = lengths[1] * (repeats[1] + 1) + 3
  inputs = _shown(vectors, length, num_steps, SCALAR + 1)
  inputs[np.arange(batch_size), length + 1, SCALAR] = (times - _REPEATS_MEAN) / _REPEATS_STD
  rows, steps = np.arange(batch_size)[:, None], np.arange(lengths[1] * repeats[1] + 1)
  total = (length * times)[:, None]
  answers = np.zeros((batch_size, len(steps), NUM_BITS + 1), np.float32)
  answers[..., :NUM_BITS] = vectors[rows, steps % length[:, None]] * (steps < total)[..., None]
  answers[..., NUM_BITS] = steps == total
  return _answered(inputs, answers, length + 2, length * times + 1)


def associative_recall(rng: np.random.Generator, batch_size: int, items: Range) -> Examples:
  """Items of three vectors of 6 bits, then one of them, but the last, between two query delimiters;
  the answer is the item that came after it.

  T = 4 high + 8, F = 8: bits, the delimiter before each item, the query delimiter. O = 6.

  Source: Graves et al. 2014 (arXiv 1410.5401), section 4.3. Deviates from the paper: nothing; as
  there, two items of one list may be the same by chance, once in 2^18 pairs.
  """
  low, high = items
  count = rng.integers(low, high + 1, batch_size)
  vectors = _bits(rng, (batch_size, high, ITEM_STEPS, ITEM_BITS))
  blocks = np.zeros((batch_size, high, ITEM_STEPS + 1, QUERY + 1), np.float32)
  blocks[:, :, 0, ITEM], blocks[:, :, 1:, :ITEM_BITS] = 1.0, vectors
  blocks *= (np.arange(high) < count[:, None])[..., None, None]
  size, rows, asked = ITEM_STEPS + 1, np.arange(batch_size), rng.integers(0, count - 1)
  inputs = np.zeros((batch_size, size * (high + 2), QUERY + 1), np.float32)
  inputs[:, : size * high] = blocks.reshape(batch_size, -1, QUERY + 1)
  begin = size * count
  inputs[rows, begin, QUERY] = inputs[rows, begin + size, QUERY] = 1.0
  inputs[rows[:, None], begin[:, None] + np.arange(1, size), :ITEM_BITS] = vectors[rows, asked]
  return _answered(
    inputs, vectors[rows, asked + 1], begin + size + 1, np.full(batch_size, ITEM_STEPS)
  )


def priority_sort(rng: np.random.Generator, batch_size: int, counts: Range) -> Examples:
  """Vectors of 8 bits, each with a priority from U[-1, 1]; the answer is the four fifths of them
  with the highest, 16 of 20, highest first.

  T = high + 2 + 4 high / 5, F = 11: bits, start, end, priority. O = 8.

  Source: Graves et al. 2014 (arXiv 1410.5401), section 4.5. Deviates from the paper: the start and
  end delimiters; other numbers of vectors than 20.
  """
  count, vectors = _vectors(rng, batch_size, counts)
  priority = rng.uniform(-1.0, 1.0, vectors.shape[:2]).astype(np.float32)
  there = np.arange(counts[1]) < count[:, None]
  inputs = _shown(vectors, count, counts[1] + 2 + num_sorted(counts[1]), SCALAR + 1)
  inputs[:, 1 : counts[1] + 1, SCALAR] = priority * there
  order = np.argsort(np.where(there, -priority, np.inf), axis=1)[:, : num_sorted(counts[1])]
  answers = np.take_along_axis(vectors, order[..., None], 1)
  return _answered(inputs, answers, count + 2, num_sorted(count))


def num_sorted(count):
  """Returns how many of so many vectors `priority_sort` asks for."""
  return 4 * count // 5


def _bits(rng, shape):
  return rng.integers(0, 2, shape, np.uint8).astype(np.float32)


def _vectors(rng, batch_size, lengths):
  """Returns how many vectors each row has, [B], and these, [B, high, 8], zero behind the last."""
  length = rng.integers(lengths[0], lengths[1] + 1, batch_size)
  there = np.arange(lengths[1]) < length[:, None]
  return length, _bits(rng, (batch_size, lengths[1], NUM_BITS)) * there[..., None]


def _shown(vectors, length, num_steps, num_channels):
  """Returns inputs [B, T, F] with the vectors between their delimiters."""
  inputs = np.zeros((len(vectors), num_steps, num_channels), np.float32)
  inputs[:, 0, START] = 1.0
  inputs[:, 1 : vectors.shape[1] + 1, :NUM_BITS] = vectors
  inputs[np.arange(len(vectors)), length + 1, END] = 1.0
  return inputs


def _answered(inputs, answers, begin, count):
  """Returns examples that ask for the first `count` [B] of `answers` [B, J, O] from step `begin`
  [B] on."""
  targets = np.zeros((*inputs.shape[:2], answers.shape[-1]), np.float32)
  weights = np.zeros(inputs.shape[:2], np.float32)
  row, step = np.nonzero(np.arange(answers.shape[1]) < count[:, None])
  targets[row, begin[row] + step] = answers[row, step]
  weights[row, begin[row] + step] = 1.0
  return Examples(inputs, targets, weights)
