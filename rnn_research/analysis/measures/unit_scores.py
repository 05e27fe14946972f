"""How well single units tell concepts, with a null that knows that text is autocorrelated."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.analysis.concepts import occurs

BLOCKS, BLOCK = 100, 500  # the most blocks of the null, and the fewest symbols of one
OCCURRENCES = 10  # blocks in which a concept must hold, and in which it must not
_SLAB = 256  # units whose ranks are in memory at once


class Scores(NamedTuple):
  """Of C concepts and U units.

  Attributes:
    strength: [C, U] float32 in [-1, 1]: 2 AUC - 1 of a binary concept, Spearman's rank correlation
      of a number. Its sign says which way the unit goes.
    p: [C, U] float64, chance of a strength as far from its mean, on either side, were the labels of
      other stretches of the text.
  """

  strength: np.ndarray
  p: np.ndarray


def as_read(strength: float, binary: bool) -> float:
  """Returns a strength as people read it: AUC in [0, 1], or a correlation in [-1, 1]."""
  return (1.0 + strength) / 2.0 if binary else strength


def scorable(labels: np.ndarray) -> bool:
  """Returns whether a concept can be scored: the text has twenty blocks at least, and labels both
  above the mean and not above it in `OCCURRENCES` of them.

  What happens in one block alone tells nothing, however long it is: a unit that does something once
  would be right by chance once in a hundred times.

  Args:
    labels: [N] float32, NaN where there is none.
  """
  if len(labels) < 20 * BLOCK:
    return False
  labels = labels[np.isfinite(labels)]
  high = _cut(labels > labels.mean()) if len(labels) >= 2 else np.zeros((1, 1), bool)
  return min(high.any(1).sum(), (~high).any(1).sum()) >= OCCURRENCES


def centred_ranks(values: np.ndarray) -> np.ndarray:
  """Returns the rank of each value in its column, 1 to N with ties averaged, less (N + 1) / 2.

  Args:
    values: [N, U] float16: there are so few of these numbers that they are counted, not sorted.

  Returns:
    [U, N] float32.
  """
  bits = (values.T + np.float16(0.0)).view(np.uint16)  # -0 becomes 0
  ranks = np.empty(values.T.shape, np.float32)
  for unit, row in enumerate(bits):
    places = np.where(row >> 15, ~row, row | 0x8000)
    _rank_of(places, 2**16).astype(np.float32).take(places, out=ranks[unit])
  return ranks


def _rank_of(places, size):
  """Returns the centred rank of what lies at each of `size` places, [size] float64, given the place
  of every value."""
  counts = np.bincount(places, minlength=size)
  return np.cumsum(counts) - (counts + len(places)) / 2.0


def strengths(values: np.ndarray, labels: np.ndarray, binary: Sequence[bool]) -> np.ndarray:
  """Returns `Scores.strength` alone, [C, U] float32; see `score`."""
  found = np.zeros((len(labels), values.shape[1]), np.float32)
  for concept, units, ranks, w in _parts(values, labels, binary):
    found[concept, units] = _strength(ranks, w, binary[concept])
  return found


def score(values: np.ndarray, labels: np.ndarray, binary: Sequence[bool]) -> Scores:
  """Scores every unit for every concept.

  With centred ranks r_t of a unit a strength is linear in the labels: of n1 positives among n1 + n0
  it is 2 sum_{t positive} r_t / (n1 n0), of a number with centred ranks l_t it is
  sum_t r_t l_t / (|r| |l|).

  The null: the text is cut in B blocks, and the labels of block pi(i) meet the units of block i,
  for a permutation pi drawn at random. That keeps what is correlated within a block; a concept that
  repeats itself with the very length of a block is not told from chance. With
  M_ij = sum_t r_{i,t} w_{j,t}, the mean of sum_i M_{i,pi(i)} over permutations is
  sum_ij M_ij / B and its variance sum_ij (M_ij - M_i. - M_.j + M_..)^2 / (B - 1), a dot for the
  mean over an index, so that none needs to be drawn. The sum is normal for many blocks; the tails
  here are wider, those of Student's t with B - 1 degrees of freedom.

  Args:
    values: [N, U] float16.
    labels: [C, N] float32, NaN where there is none, each `scorable`.
    binary: C of them, whether a concept holds or not, rather than being a number: in a part of a
      text a number may be 0 and 1 alone.

  Source: mean, variance and limit of a permutation's sum: Hoeffding 1951, A combinatorial central
  limit theorem. Deviates from the paper: nothing.
  """
  found = Scores(*(np.zeros((len(labels), values.shape[1]), kind) for kind in (np.float32, float)))
  for concept, units, ranks, w in _parts(values, labels, binary):
    found.strength[concept, units] = _strength(ranks, w, binary[concept])
    found.p[concept, units] = _chance(ranks, w)
  return found


def significant(p: np.ndarray) -> np.ndarray:
  """Returns the q-values of p-values of any shape: what is called found where q is below a number
  is false in at most that share of cases, on average.

    q_(i) = min_{j >= i} p_(j) m / j    of m p-values in rising order

  Source: Benjamini and Hochberg 1995. Deviates from the paper: it gives the adjusted p-values.
  """
  order = np.argsort(p, axis=None)
  rising = p.ravel()[order] * (p.size / np.arange(1, p.size + 1))
  q = np.empty(p.size)
  q[order] = np.minimum(np.minimum.accumulate(rising[::-1])[::-1], 1.0)
  return q.reshape(p.shape)


def _parts(values, labels, binary) -> Iterator[tuple[int, slice, np.ndarray, np.ndarray]]:
  """Yields every concept with some of the units, their ranks where the concept has labels, and its
  `_weights`. The ranks serve all concepts that have labels at the same places."""
  weights = [_weights(row, holds) for row, holds in zip(labels, binary, strict=True)]
  places: dict[bytes, list[int]] = {}
  for concept, row in enumerate(labels):
    places.setdefault(np.isfinite(row).tobytes(), []).append(concept)
  for mask, concepts in places.items():
    there = np.frombuffer(mask, bool)
    for start in range(0, values.shape[1], _SLAB):
      units = slice(start, start + _SLAB)
      ranks = centred_ranks(values[there, units])
      for concept in concepts:
        yield concept, units, ranks, weights[concept]


def _weights(labels, binary):
  """Returns w of `strength = sum_t r_t w_t`, over |r| for a number."""
  labels = labels[np.isfinite(labels)]
  if not occurs(labels):
    return np.zeros(len(labels), np.float32)
  if binary:
    positives = labels.sum(dtype=np.float64)
    return (labels * (2.0 / (positives * (len(labels) - positives)))).astype(np.float32)
  distinct, places = np.unique(labels, return_inverse=True)
  ranks = _rank_of(places, len(distinct))[places]
  return (ranks / np.linalg.norm(ranks)).astype(np.float32)


def _strength(ranks, w, binary):
  """Returns `Scores.strength` of units, [U]; 0 of one that never changes."""
  norms = 1.0 if binary else np.sqrt(np.einsum('ut,ut->u', ranks, ranks))
  return ranks @ w / np.where(norms > 0.0, norms, 1.0)


def _chance(ranks, w):
  """Returns p of each unit, [U]; see `score`."""
  from scipy.special import stdtr  # slow to load, and language models import this file to train

  ranks, w = _cut(ranks), _cut(w)
  m = ranks @ w.T
  blocks = len(w)
  centred = m - m.mean(1, keepdims=True) - m.mean(2, keepdims=True) + m.mean((1, 2), keepdims=True)
  deviation = np.sqrt(np.square(centred).sum((1, 2)) / (blocks - 1))
  distance = np.abs(np.trace(m, axis1=1, axis2=2) - m.sum((1, 2)) / blocks)
  return 2.0 * stdtr(blocks - 1, -distance / np.maximum(deviation, 1e-30))


def _cut(values):
  """Returns values [..., N] in blocks, [..., B, N / B], without what is left at the end."""
  blocks = max(2, min(BLOCKS, values.shape[-1] // BLOCK))
  length = values.shape[-1] // blocks
  return values[..., : blocks * length].reshape(*values.shape[:-1], blocks, length)
