"""N-grams of many sentences at once, as integers: what a reward is counted with at every step."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.metrics.captions.sentences import LONGEST

_BITS = 64 // LONGEST


class Bags(NamedTuple):
  """The n-grams of S sentences, E entries, sorted by sentence and code.

  Attributes:
    rows: [E] int64, 0 to S - 1, the sentence.
    codes: [E] uint64, the numbers of the n-gram's words, 16 bits each, the last word lowest.
    counts: [E] int64, how often the sentence has it.
  """

  rows: np.ndarray
  codes: np.ndarray
  counts: np.ndarray


def numbered(sentences: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
  """Returns words -> their numbers, from 1 on: those that are known, and then those of sentences.

  Raises:
    ValueError: there are more than 65,534 words.
  """
  numbers = dict(known)
  for sentence in sentences:
    for word in sentence.split():
      numbers.setdefault(word, len(numbers) + 1)
  most = 2**_BITS - 2  # an n-gram of ones alone stands for none
  if len(numbers) > most:
    raise ValueError(f'there are {len(numbers)} different words, expected {most} at most')
  return numbers


def bags(sentences: Sequence[str], numbers: Mapping[str, int]) -> Bags:
  """Returns the n-grams of 1 to 4 words of sentences whose words all have numbers."""
  split = [sentence.split() for sentence in sentences]
  words = np.array([numbers[word] for each in split for word in each], np.uint64)
  owners = np.repeat(np.arange(len(split)), [len(each) for each in split])
  code, rows, codes = words, [owners], [words]
  for n in range(1, LONGEST):
    code = code[:-1] << np.uint64(_BITS) | words[n:]
    inside = owners[:-n] == owners[n:]
    rows.append(owners[n:][inside])
    codes.append(code[inside])
  return counted(np.concatenate(rows), np.concatenate(codes))


def counted(rows: np.ndarray, codes: np.ndarray) -> Bags:
  """Returns how often each pair of a row and a code is there, [N] both."""
  order = np.lexsort((codes, rows))
  rows, codes = rows[order], codes[order]
  new = np.ones(len(rows), bool)
  new[1:] = (rows[1:] != rows[:-1]) | (codes[1:] != codes[:-1])
  counts = np.diff(np.append(np.flatnonzero(new), len(rows)))
  return Bags(rows[new], codes[new], counts)


def orders_of(codes: np.ndarray) -> np.ndarray:
  """Returns how many words each n-gram has, less one, [N] int64."""
  firsts = np.array([1 << _BITS * n for n in range(1, LONGEST)], np.uint64)
  return np.searchsorted(firsts, codes, 'right')
