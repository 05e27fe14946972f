"""How different the captions are that a model writes."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Diversity(NamedTuple):
  """Of N captions.

  Attributes:
    vocabulary: share of the vocabulary that is written at least once.
    novel: share of the captions that no training caption equals.
    distinct: number of different captions.
    length: mean number of tokens.
  """

  vocabulary: float
  novel: float
  distinct: int
  length: float


def diversity(
  captions: Sequence[str], training: Iterable[str], vocabulary: Collection[str]
) -> Diversity:
  """Returns the diversity of captions.

  Args:
    captions: N, at least one, tokens separated by single spaces.
    training: the captions that the model learned from, written alike.
    vocabulary: the words that it can write.

  Raises:
    ValueError: there are no captions, or there is no vocabulary.
  """
  if not captions or not vocabulary:
    raise ValueError(
      f'there are {len(captions)} captions and {len(vocabulary)} words, expected at least one each'
    )
  words, seen = set(vocabulary), set(training)
  written = words & {word for caption in captions for word in caption.split()}
  return Diversity(
    len(written) / len(words),
    float(np.mean([caption not in seen for caption in captions])),
    len(set(captions)),
    float(np.mean([len(caption.split()) for caption in captions])),
  )
