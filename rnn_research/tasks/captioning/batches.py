"""Batches of pictures with their captions as ids.

A batch of B pictures with K captions each is a dict:
  the inputs of the model: name -> [B, ...].
  rows: [B] int32, the numbers of the pictures.
  ids: [B * K, T] int32, BOS and the caption, PAD behind it; the captions of a picture side by side.
  targets: [B * K, T] int32, the caption and EOS.
  lengths: [B * K] int32, with EOS; 0 where there is no caption.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.data.buckets import cut
from rnn_research.data.codec import BOS, EOS, TextCodec
from rnn_research.data.examples import stream
from rnn_research.errors import InputError
from rnn_research.experiment import TrainData
from rnn_research.metrics.captions.score import tokenized
from rnn_research.tasks.captioning.objective import Captioned
from rnn_research.typing import Array

EVALUATED = 50  # pictures of a batch in evaluation
_NOT_INPUTS = ('rows', 'ids', 'targets', 'lengths')


class Seen(NamedTuple):
  """The pictures of a split, as the model sees them.

  Attributes:
    names: N of them.
    captions: the captions of each, at least one.
    inputs: `([B] integers in [0, N), rng) -> name -> [B, ...]`; without an rng they are seen
      plainly.
    picture: `(number) -> [S, S, 3] uint8`, one of them for people.
  """

  names: Sequence[str]
  captions: Sequence[Sequence[str]]
  inputs: Callable[..., dict[str, np.ndarray]]
  picture: Callable[[int], np.ndarray]


def some(seen: Seen, rows: Sequence[int]) -> Seen:
  """Returns only some of the pictures."""
  own = np.asarray(rows, np.int64)
  return Seen(
    [seen.names[row] for row in rows],
    [seen.captions[row] for row in rows],
    lambda at, rng=None: seen.inputs(own[at], rng),
    lambda number: seen.picture(own[number]),
  )


class CaptionIds(NamedTuple):
  """Captions as ids, C of each picture at most.

  Attributes:
    targets: [N, C, T] int32, the caption and EOS, PAD behind it; those within the length first.
    lengths: [N, C] int32, with EOS; 0 where there is no caption.
    left_out: captions that are too long, or have no word.
  """

  targets: np.ndarray
  lengths: np.ndarray
  left_out: int


def captioned(batch: Mapping[str, Array]) -> Captioned:
  """Returns a batch as what the model reads and writes."""
  inputs = {name: a for name, a in batch.items() if name not in _NOT_INPUTS}
  return Captioned(inputs, batch['ids'], batch['targets'], batch['lengths'])


def encode(codec: TextCodec, captions: Sequence[Sequence[str]], max_length: int) -> CaptionIds:
  """Returns captions as ids, without those of more than `max_length` symbols or of none."""
  counts = [len(own) for own in captions]
  ids = codec.encode_all(tokenized(caption) for own in captions for caption in own)
  shape = len(captions), max(counts)
  targets = np.zeros((*shape, max_length + 1), np.int32)
  lengths = np.zeros(shape, np.int32)
  place = 0
  for row, count in enumerate(counts):
    kept = [one for one in ids[place : place + count] if 0 < len(one) <= max_length]
    place += count
    for slot, one in enumerate(kept):
      targets[row, slot, : len(one)] = one
      targets[row, slot, len(one)] = EOS
      lengths[row, slot] = len(one) + 1
  return CaptionIds(targets, lengths, sum(counts) - int((lengths > 0).sum()))


def require_batch(count: int, batch_size: int) -> None:
  """Raises InputError where pictures make no batch."""
  if count < batch_size:
    raise InputError(
      f'there are {count} training pictures with captions within data.max_length, expected a batch '
      f'of {batch_size} at least'
    )


def train_stream(
  seen: Seen,
  encoded: CaptionIds,
  batch_size: int,
  copies: int,
  buckets: int,
  seed: int,
  fingerprint: str,
  *,
  unread: bool = False,
) -> TrainData:
  """Returns an endless stream of batches, in a new order in every epoch; the rest is left out.

  Pictures whose longest caption is of like length share a batch, which saves padding.

  Args:
    seen: the training pictures; of each a view is drawn.
    encoded: their captions.
    batch_size: B.
    copies: K, captions of a picture in a batch: drawn where it has more, and fewer where not.
    buckets: how many lengths T there are; fewer where the captions have fewer.
    seed: of order, captions and views.
    fingerprint: of the pictures and captions.
    unread: nothing reads the captions: the same pictures share a batch, but T is one length.

  Raises:
    InputError: there are fewer than one batch.
  """
  rows = np.flatnonzero(encoded.lengths.any(1))
  require_batch(len(rows), batch_size)
  steps = len(rows) // batch_size
  lengths_of = encoded.lengths[rows]
  edges = _edges(lengths_of, copies, buckets)
  widths = edges[-1:] if unread else edges

  @functools.lru_cache(maxsize=2)
  def plan(epoch):
    rng = np.random.default_rng((seed, epoch))
    slots = _slots(lengths_of, copies, rng)
    places = rng.permutation(len(rows))[: steps * batch_size]
    longest = np.take_along_axis(lengths_of, slots, 1).max(1)
    alike = np.argsort(np.searchsorted(edges, longest[places]), kind='stable')
    return slots, rng.permutation(places[alike].reshape(steps, batch_size))

  def written(epoch, step):
    slots, batches = plan(epoch)
    chosen = rows[batches[step]]
    own = (chosen[:, None], slots[batches[step]])
    return chosen, encoded.targets[own], encoded.lengths[own]

  def cut_at(length, chosen, targets, lengths, rng=None):
    rest = {'rows': chosen.astype(np.int32)} | _shifted(targets[..., :length], lengths)
    return seen.inputs(chosen, rng) | rest

  def batch(item):
    epoch, step = divmod(item, steps)
    chosen, targets, lengths = written(epoch, step)
    length = widths[np.searchsorted(widths, lengths.max())]
    return cut_at(length, chosen, targets, lengths, np.random.default_rng((seed, epoch, step)))

  shapes = tuple(cut_at(length, *written(0, 0)) for length in widths)
  return stream(batch, steps, fingerprint)._replace(shapes=shapes)


def _edges(lengths: np.ndarray, copies: int, buckets: int) -> np.ndarray:
  """Returns lengths to pad to, rising, the last one that of the longest caption: those that leave
  the least padding where of every picture the first captions are read."""
  groups, counts = np.unique(lengths[:, :copies].max(1), return_counts=True)
  ends = cut(groups[None].astype(np.int64), counts, min(buckets, len(groups)))
  edges = groups[np.array(ends) - 1]
  return np.append(edges[:-1], lengths.max())


def evaluation_batches(
  seen: Seen, encoded: CaptionIds
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
  """Yields rows of `seen` and their batch, with all of their captions; the last one is padded by
  pictures without captions."""
  for start in range(0, len(seen.names), EVALUATED):
    rows = np.arange(start, min(start + EVALUATED, len(seen.names)))
    padded = np.resize(rows, EVALUATED)
    lengths = encoded.lengths[padded]
    lengths[len(rows) :] = 0
    yield rows, seen.inputs(padded) | _shifted(encoded.targets[padded], lengths)


def _slots(lengths: np.ndarray, copies: int, rng: np.random.Generator) -> np.ndarray:
  """Returns which captions are read, [B, K] or fewer: those there are, in no order, before empty
  ones."""
  keys = np.where(lengths > 0, rng.random(lengths.shape), 2.0)
  return np.argsort(keys, 1)[:, :copies]


def _shifted(targets: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
  targets = targets.reshape(-1, targets.shape[-1])
  first = np.full((len(targets), 1), BOS, np.int32)
  ids = np.concatenate([first, targets[:, :-1]], 1)
  return {'ids': ids, 'targets': targets, 'lengths': lengths.reshape(-1)}
