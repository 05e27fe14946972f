"""Labels from the few places where they change."""

import re
from collections.abc import Iterable, Sequence

import numpy as np


def painted(size: int, spans: Iterable[tuple[int, int]]) -> np.ndarray:
  """Returns which of `size` characters lie in one of the spans [start, end), [size] bool."""
  change = np.zeros(size + 1, np.int64)
  edges = np.array(list(spans), np.int64).reshape(-1, 2).clip(0, size)
  np.add.at(change, edges[:, 0], 1)
  np.add.at(change, edges[:, 1], -1)
  return change[:-1].cumsum() > 0


def held(size: int, places: Sequence[int], values: Sequence[float]) -> np.ndarray:
  """Returns the value of the last place at or before each character, [size] float32; 0 before the
  first.

  Args:
    size: number of characters.
    places: where the value changes, in rising order; the last of equal places counts.
    values: from there on.
  """
  edges = np.array([0, *places, size]).clip(0, size)
  return np.repeat(np.array([0, *values], np.float32), np.diff(edges))


def since(size: int, places: np.ndarray) -> np.ndarray:
  """Returns how many characters have been read since the last of the places was, or since the
  beginning, [size] float32; 0 at a place."""
  last = np.full(size, -1)
  last[places] = places
  return (np.arange(size) - np.maximum.accumulate(last)).astype(np.float32)


def starts(pattern: str, text: str) -> np.ndarray:
  """Returns where a regular expression matches, [K] int64 positions."""
  return np.array([found.start() for found in re.finditer(pattern, text)], np.int64)
