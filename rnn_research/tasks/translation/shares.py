"""Held-out pairs as shares of the training pairs, no pair in two of them."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from rnn_research.data import held_out
from rnn_research.data.codec import SPECIALS, TextCodec
from rnn_research.data.pairs import Pairs

HELD_OUT = ('valid', 'test')


def wanted(fractions: Sequence[float]) -> dict[str, float]:
  """Returns held-out split -> its fraction, of those that have one above 0.

  Args:
    fractions: of train, valid and test.
  """
  return {name: share for name, share in zip(HELD_OUT, fractions[1:], strict=True) if share}


def drawn_names(data: Mapping[str, Any], found: Collection[str]) -> tuple[str, ...]:
  """Returns the held-out splits that are shares of the training pairs, since they are not among
  those that were found."""
  return tuple(name for name in wanted(data['splits']) if name not in found)


def digests(pairs: Pairs, lower: bool) -> np.ndarray:
  """Returns a digest of every pair as a model reads it, [N, 2] uint64: 128 bits, so that two pairs
  of many millions have the same with a chance of less than 1e-20."""
  normalise = TextCodec('sentences', 'char', SPECIALS, lower).normalise
  found = b''.join(
    hashlib.blake2b(f'{normalise(source)}\n{normalise(target)}'.encode(), digest_size=16).digest()
    for source, target in zip(pairs.sources, pairs.targets, strict=True)
  )
  return np.frombuffer(found, np.uint64).reshape(-1, 2)


def repeated(rows: np.ndarray) -> np.ndarray:
  """Returns which of N rows [N, K] are as one before them, [N] bool."""
  order = np.lexsort(rows.T)  # is stable: the first of equal rows stays the first
  again = np.zeros(len(rows), bool)
  again[order[1:]] = (rows[order[1:]] == rows[order[:-1]]).all(1)
  return again


def divided(
  rows: np.ndarray, fractions: Sequence[float], names: Sequence[str], duplicates: int
) -> dict[str, np.ndarray]:
  """Returns 'train' and held-out splits -> the places of their pairs, drawn at random but the same
  in every run.

  Args:
    rows: [N] int64, the places of all of them.
    fractions: of train, valid and test.
    names: of the held-out splits.
    duplicates: how many pairs were left out, for messages.

  Raises:
    InputError: a split gets no pair.
  """
  shares = wanted(fractions)
  left_out = f' (without {duplicates} duplicates)' if duplicates else ''
  total, parts = len(rows), {}
  for name in names:
    chosen = held_out.drawn(len(rows), round(shares[name] * total), name, f'pairs{left_out}')
    parts[name], rows = rows[chosen], rows[~chosen]
  return {'train': rows, **parts}
