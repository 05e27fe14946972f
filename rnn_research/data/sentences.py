"""Many encoded sentences as one array, which may be mapped from a disk."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Sentences(NamedTuple):
  """N sentences as ids.

  Attributes:
    ids: [M] integers, sentences one after the other; also of others, where N of them were chosen.
    starts: [N] int64, where each begins.
    lengths: [N] int64.
  """

  ids: np.ndarray
  starts: np.ndarray
  lengths: np.ndarray


def whole(ids: np.ndarray, lengths: np.ndarray) -> Sentences:
  """Returns the sentences of these lengths, [N] integers, that lie one after the other in [M]
  ids."""
  lengths = lengths.astype(np.int64)
  return Sentences(ids, np.cumsum(lengths) - lengths, lengths)


def joined(sentences: Sequence[np.ndarray]) -> Sentences:
  """Returns N arrays [length] int32 as one."""
  lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
  return whole(np.concatenate([np.zeros(0, np.int32), *sentences]), lengths)


def taken(sentences: Sentences, places: Sequence[int]) -> list[np.ndarray]:
  """Returns the sentences at places, each [length] integers."""
  return [
    sentences.ids[start : start + length]
    for start, length in zip(sentences.starts[places], sentences.lengths[places], strict=True)
  ]


def chosen(sentences: Sentences, mask: np.ndarray) -> Sentences:
  """Returns those sentences where a mask, [N] bool, is True; no id is copied."""
  return sentences._replace(starts=sentences.starts[mask], lengths=sentences.lengths[mask])
