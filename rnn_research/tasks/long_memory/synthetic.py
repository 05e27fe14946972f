"""Synthetic tasks of long memory and of state tracking.

Each task is a function `(rng, batch_size, length) -> Examples`, arrays with leading axis B as a
loader gives them.
"""

from typing import NamedTuple

import numpy as np

NUM_DIGITS, COPIED = 8, 10  # of the copy task: symbols 1..8, and how many of them
BLANK, DELIMITER = 0, NUM_DIGITS + 1


class Examples(NamedTuple):
  """Sequences and what is asked of them.

  Attributes:
    inputs: [B, T, F] float32.
    targets: [B] float32; or [B] or [B, T] int32 classes.
  """

  inputs: np.ndarray
  targets: np.ndarray


def adding(rng: np.random.Generator, batch_size: int, length: int) -> Examples:
  """Two of T numbers from U[0, 1] are marked, one in each half; the target is their sum. F = 2:
  number, mark.

  Source: Hochreiter and Schmidhuber 1997, experiment 4, in the form of Le et al. 2015. Always
  answering 1 has a mean squared error of 1/6.
  """
  numbers = rng.random((batch_size, length), np.float32)
  half, rows = length // 2, np.arange(batch_size)
  marked = rng.integers(0, half, batch_size), rng.integers(half, length, batch_size)
  marks = np.zeros_like(numbers)
  for places in marked:
    marks[rows, places] = 1.0
  return Examples(np.stack([numbers, marks], -1), (numbers * marks).sum(1))


def copy(rng: np.random.Generator, batch_size: int, length: int) -> Examples:
  """Ten symbols from 1..8, then blanks; ten steps before the end a delimiter (9) asks for the
  symbols. T = length + 20.

  Targets [B, T] are blank but for the last ten steps. Inputs are one-hot, F = 10. Answering blanks,
  and then each symbol with probability 1/8, costs 10 ln 8 / (length + 20) nats per step.

  Source: Arjovsky, Shah and Bengio 2016, section 4.1; the sizes of Bai, Kolter and Koltun 2018.
  """
  symbols = rng.integers(1, NUM_DIGITS + 1, (batch_size, COPIED))
  ids = np.full((batch_size, length + 2 * COPIED), BLANK)
  ids[:, :COPIED], ids[:, -COPIED - 1] = symbols, DELIMITER
  targets = np.full_like(ids, BLANK, dtype=np.int32)
  targets[:, -COPIED:] = symbols
  return Examples(_one_hot(ids, NUM_DIGITS + 2), targets)


def modular_sum(rng: np.random.Generator, batch_size: int, length: int, modulus: int) -> Examples:
  """Digits from 0..m-1; the target of every step is the sum so far modulo m. Inputs are one-hot,
  F = m.

  Parity is m = 2.
  """
  digits = rng.integers(0, modulus, (batch_size, length))
  return Examples(_one_hot(digits, modulus), (digits.cumsum(1) % modulus).astype(np.int32))


def _one_hot(ids: np.ndarray, size: int) -> np.ndarray:
  return np.eye(size, dtype=np.float32)[ids]
