"""BLEU against several references, as captions are scored."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.metrics.captions.sentences import LONGEST, ngrams, require_pairs


class BleuScores(NamedTuple):
  """BLEU of 1 to n words, for n = 1 to 4.

  Attributes:
    corpus: [4] float64, 0 to 1, of all captions together.
    captions: [N, 4] float64, 0 to 1, of each alone.
  """

  corpus: np.ndarray
  captions: np.ndarray


def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> BleuScores:
  """Returns BLEU-1 to BLEU-4.

    BLEU_n = min(1, exp(1 - r / h)) (p_1 .. p_n)^(1/n)

  where p_k is the share of the hypotheses' k-grams that their references hold, each counted as
  often as the reference that has it most often at most; h is the number of tokens of the
  hypotheses, and r that of the references that are nearest in length, of two the shorter.

  Args:
    hypotheses: N captions, tokens separated by spaces.
    references: N lists of such captions.

  Raises:
    ValueError: the counts differ, there are no captions, or one has no references.

  Source: Papineni et al. 2002. Deviates from the paper, as pycocoevalcap does: 1e-15 is added to
  the numerators and 1e-9 to the denominators of p_k and h / r, so that 0 / 0 is 1e-6; captions get
  scores of their own.
  """
  require_pairs(hypotheses, references)
  counts = np.array(
    [_counts(*pair) for pair in zip(hypotheses, references, strict=True)], np.float64
  )
  return BleuScores(_scores(counts.sum(0)), _scores(counts))


def _counts(hypothesis: str, references: Sequence[str]) -> list[int]:
  """Returns matches of 1 to 4 words, n-grams of 1 to 4 words, tokens, and tokens of the nearest
  reference."""
  most: Counter[tuple[str, ...]] = Counter()
  for reference in references:
    most |= ngrams(reference)
  matches = [0] * LONGEST
  for ngram, count in (ngrams(hypothesis) & most).items():
    matches[len(ngram) - 1] += count
  length = len(hypothesis.split())
  nearest = min((abs(len(r.split()) - length), len(r.split())) for r in references)[1]
  return [*matches, *(max(0, length - n) for n in range(LONGEST)), length, nearest]


def _scores(counts: np.ndarray) -> np.ndarray:
  """Returns BLEU, [..., 4], of what `_counts` counts, [..., 10]."""
  tiny, small = 1e-15, 1e-9
  matches, totals = counts[..., :LONGEST], counts[..., LONGEST : 2 * LONGEST]
  means = np.cumprod((matches + tiny) / (totals + small), -1) ** (1 / np.arange(1, LONGEST + 1))
  ratio = (counts[..., -2:-1] + tiny) / (counts[..., -1:] + small)
  return means * np.exp(np.minimum(0, 1 - 1 / ratio))
