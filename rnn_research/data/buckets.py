"""Batches of pairs of sentences, padded to few shapes: pairs of like length share a bucket.

A batch of B rows is a dict, PAD behind the sentences:
  sources: [B, S] int32.
  source_lengths: [B] int32, 0 for an empty row.
  inputs: [B, T] int32, BOS and the target.
  targets: [B, T] int32, the target and EOS.
  target_lengths: [B] int32, with EOS; 0 for an empty row.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.data.codec import BOS, EOS, PAD
from rnn_research.data.examples import stream
from rnn_research.data.sentences import Sentences, taken
from rnn_research.errors import InputError
from rnn_research.experiment import TrainData

_PADDED = (8, 16, 24, 32, 48, 64)  # lengths in evaluation; longer ones are multiples of the last
_ROWS = 64  # of a batch in evaluation, up to the last of these lengths; fewer of longer sentences


class EncodedPairs(NamedTuple):
  """Sentences and their translations as ids.

  Attributes:
    sources: N sentences, without BOS and EOS.
    targets: their translations.
  """

  sources: Sentences
  targets: Sentences


class Bucket(NamedTuple):
  """A shape of batches.

  Attributes:
    source_length: S, of the longest source.
    target_length: T, of the longest target and its EOS.
    rows: B.
  """

  source_length: int
  target_length: int
  rows: int


def make_buckets(
  pairs: EncodedPairs, num_buckets: int, batch_tokens: int, row_multiple: int
) -> tuple[Bucket, ...]:
  """Returns the buckets that leave the least padding in the rows of given pairs.

  A bucket holds the pairs whose longer side has a length in a range of its own.

  Args:
    pairs: N pairs.
    num_buckets: how many; fewer where the pairs have fewer lengths.
    batch_tokens: what `rows` times the longer of S and T does not exceed.
    row_multiple: what `rows` is a multiple of, even where that exceeds `batch_tokens`.

  Returns:
    The buckets by rising length. They have as few batches as `batch_tokens` allows, and no more
    rows than those need.

  Raises:
    InputError: there are no pairs.
  """
  if not len(pairs.sources.lengths):
    raise InputError('there are no pairs of sentences, expected at least one')
  sources, targets = _lengths(pairs)
  edges, groups, counts = np.unique(
    np.maximum(sources, targets), return_inverse=True, return_counts=True
  )
  longest = np.zeros((2, len(edges)), np.int64)
  for side, lengths in zip(longest, (sources, targets), strict=True):
    np.maximum.at(side, groups, lengths)
  ends = cut(longest, counts, min(num_buckets, len(edges)))
  buckets = []
  for start, end in zip([0, *ends], ends, strict=False):
    source_length, target_length = longest[:, start:end].max(1).tolist()
    most = max(batch_tokens // max(source_length, target_length) // row_multiple, 1) * row_multiple
    rows = _even(int(counts[start:end].sum()), most, row_multiple)
    buckets.append(Bucket(source_length, target_length, rows))
  return tuple(buckets)


def _even(count: int, most: int, multiple: int) -> int:
  """Returns the smallest multiple of `multiple` that still cuts `count` pairs in ceil(count / most)
  batches."""
  num_batches = -(-count // most)
  return -(-count // (num_batches * multiple)) * multiple


def _lengths(pairs: EncodedPairs) -> tuple[np.ndarray, np.ndarray]:
  """Returns the lengths of sources, and of targets with EOS, each [N] int64."""
  return pairs.sources.lengths, pairs.targets.lengths + 1


def cut(longest: np.ndarray, counts: np.ndarray, num_parts: int) -> list[int]:
  """Cuts K groups in contiguous parts with the least sum of rows times length, by dynamic
  programming.

  Args:
    longest: [D, K] int64, the longest of every group: of sources and of targets, or of one alone.
    counts: [K] int64, rows.
    num_parts: at most K.

  Returns:
    The end of each part.
  """
  total = np.concatenate([[0], np.cumsum(counts)])
  size = len(counts)
  costs = np.full((size, size + 1), np.inf)  # of a part from start to end
  for start in range(size):
    widths = np.maximum.accumulate(longest[:, start:], 1).sum(0)
    costs[start, start + 1 :] = widths * (total[start + 1 :] - total[start])
  least, starts = costs[0], []
  for _ in range(num_parts - 1):
    candidates = least[:size, None] + costs
    starts.append(candidates.argmin(0))
    least = candidates.min(0)
  ends = [size]
  for start in reversed(starts):
    ends.insert(0, int(start[ends[0]]))
  return ends


def pair_stream(
  pairs: EncodedPairs, buckets: Sequence[Bucket], seed: int, fingerprint: str
) -> TrainData:
  """Returns an endless stream of batches that has every pair once in every epoch, in a new order.

  Args:
    pairs: the training pairs.
    buckets: of `make_buckets` for them.
    seed: of the orders.
    fingerprint: of the pairs.

  Returns:
    TrainData that mixes the batches of all buckets. Rows that a bucket's last batch lacks are
    empty.
  """
  members = _members(pairs, buckets)
  steps = sum(-(-len(rows) // bucket.rows) for rows, bucket in zip(members, buckets, strict=True))

  @functools.lru_cache(maxsize=2)
  def plan(epoch):
    rng = np.random.default_rng((seed, epoch))
    batches = _batches(map(rng.permutation, members), buckets)
    return [batches[place] for place in rng.permutation(steps)]

  def batch(item):
    epoch, step = divmod(item, steps)
    return _batch(pairs, *plan(epoch)[step])

  shapes = tuple(_batch(pairs, [], bucket) for bucket in buckets)
  return stream(batch, steps, fingerprint)._replace(shapes=shapes)


def evaluation_batches(pairs: EncodedPairs) -> list[tuple[list[int], dict]]:
  """Returns batches that together have every pair once: the places of its first n rows among the
  pairs, and the batch.

  Where n is less than B the rows that follow are empty; S = T.
  """
  return [
    (rows, _batch(pairs, rows, Bucket(length, length, evaluation_rows(length))))
    for rows, length in like_lengths(np.maximum(*_lengths(pairs)))
  ]


def like_lengths(lengths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
  """Yields the places of at most `evaluation_rows` sentences of like length, and a length to pad
  them to.

  Those are few and the same for all data, so that programs are shared. Sentences of length 0 are
  left out.
  """
  groups: dict[int, list[int]] = {}
  for place in sorted(np.flatnonzero(lengths).tolist(), key=lambda place: lengths[place]):
    groups.setdefault(_padded(lengths[place]), []).append(place)
  for padded, places in groups.items():
    rows = evaluation_rows(padded)
    for start in range(0, len(places), rows):
      yield places[start : start + rows], padded


def evaluation_rows(length: int) -> int:
  """Returns how many sentences padded to a length make a batch in evaluation."""
  return max(1, min(_ROWS, _ROWS * _PADDED[-1] // length))


def _padded(length: int) -> int:
  return next(
    (known for known in _PADDED if known >= length), -(-length // _PADDED[-1]) * _PADDED[-1]
  )


def _members(pairs: EncodedPairs, buckets: Sequence[Bucket]) -> list[np.ndarray]:
  """Returns the places of the pairs of every bucket, each [n] int64."""
  edges = [max(bucket.source_length, bucket.target_length) for bucket in buckets]
  chosen = np.searchsorted(edges, np.maximum(*_lengths(pairs)))
  return [np.flatnonzero(chosen == place) for place in range(len(buckets))]


def _batches(
  members: Iterable[np.ndarray], buckets: Sequence[Bucket]
) -> list[tuple[np.ndarray, Bucket]]:
  """Returns the places of every bucket's pairs, in the order given, cut in batches of at most its
  rows."""
  return [
    (rows[start : start + bucket.rows], bucket)
    for rows, bucket in zip(members, buckets, strict=True)
    for start in range(0, len(rows), bucket.rows)
  ]


def _batch(pairs: EncodedPairs, rows: Sequence[int], bucket: Bucket) -> dict[str, np.ndarray]:
  """Returns the pairs at n <= B places as a batch."""
  sources, source_lengths = pad(taken(pairs.sources, rows), bucket.source_length, bucket.rows)
  targets, target_lengths = pad(taken(pairs.targets, rows), bucket.target_length, bucket.rows)
  inputs = np.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=PAD)
  real = np.arange(len(rows))
  inputs[real, 0] = BOS
  targets[real, target_lengths[real]] = EOS
  target_lengths[real] += 1
  return {
    'sources': sources,
    'source_lengths': source_lengths,
    'inputs': inputs,
    'targets': targets,
    'target_lengths': target_lengths,
  }


def pad(sentences: Sequence[np.ndarray], length: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns sentences as one array.

  Args:
    sentences: n <= B arrays [<= L] integers.
    length: L.
    rows: B.

  Returns:
    ids: [B, L] int32, PAD behind the sentences and in the rows that have none.
    lengths: [B] int32.
  """
  ids, lengths = np.full((rows, length), PAD, np.int32), np.zeros(rows, np.int32)
  for row, sentence in enumerate(sentences):
    ids[row, : len(sentence)] = sentence
    lengths[row] = len(sentence)
  return ids, lengths
