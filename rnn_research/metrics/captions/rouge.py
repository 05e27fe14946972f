"""ROUGE-L: how long a subsequence captions share with their references."""

from collections.abc import Sequence

import numpy as np

from rnn_research.metrics.captions.sentences import require_pairs

_BETA = 1.2


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
  """Returns ROUGE-L of each caption, [N] float64, 0 to 1; that of a corpus is their mean.

    F = (1 + beta^2) P R / (R + beta^2 P),    beta = 1.2

  where P and R are the length of the longest common subsequence of a hypothesis and a reference,
  divided by the number of tokens of the one and the other, each the largest over the references.

  Args:
    hypotheses: N captions, tokens separated by spaces.
    references: N lists of such captions.

  Raises:
    ValueError: the counts differ, there are no captions, or one has no references.

  Source: Lin 2004. Deviates from the paper, as pycocoevalcap does: P and R may be of two different
  references; an empty caption has one token, which is empty.
  """
  require_pairs(hypotheses, references)
  return np.array([_score(*pair) for pair in zip(hypotheses, references, strict=True)])


def _score(hypothesis: str, references: Sequence[str]) -> float:
  # Not split(): no-break spaces inside of tokens stay, and '' has one token.
  words, others = hypothesis.split(' '), [reference.split(' ') for reference in references]
  shared = [_longest_common(words, other) for other in others]
  precision = max(shared) / len(words)
  recall = max(length / len(other) for length, other in zip(shared, others, strict=True))
  if not precision:
    return 0.0
  return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _longest_common(words: Sequence[str], others: Sequence[str]) -> int:
  """Returns the length of the longest common subsequence."""
  above = [0] * (len(others) + 1)
  for word in words:
    row = [0]
    for j, other in enumerate(others):
      row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
    above = row
  return above[-1]
