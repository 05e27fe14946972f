"""BLEU of translations, as sacrebleu computes it."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple


class Bleu(NamedTuple):
  """A score and what it can be compared with.

  Attributes:
    score: 0 to 100.
    signature: references, case, tokenizer, smoothing and version of sacrebleu; scores compare where
      it is the same.
  """

  score: float
  signature: str


class LengthGroup(NamedTuple):
  """BLEU of the `count` sentences whose source has `low <= length < high` symbols."""

  low: int
  high: int
  count: int  # type: ignore[assignment]  # it hides tuple.count, which nobody needs here
  bleu: float


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], lower: bool = False) -> Bleu:
  """Returns BLEU-4 of a corpus under the tokenizer 13a.

    BLEU = 100 min(1, exp(1 - r / h)) (p_1 p_2 p_3 p_4)^(1/4)

  where p_n is the share of the hypotheses' n-grams that their references hold, each counted as
  often as the reference has it at most, and h and r are the numbers of tokens of all hypotheses and
  references.

  Args:
    hypotheses: N detokenized sentences.
    references: N sentences, one per hypothesis.
    lower: whether case does not count, which the signature says: case:lc, or case:mixed.

  Raises:
    ValueError: the counts differ, or there are no sentences.

  Source: Papineni et al. 2002; Post 2018 (arXiv 1804.08771). Deviates from the paper: the k-th p_n
  that would be zero counts as 1 / 2^k of a match (sacrebleu's smoothing 'exp').
  """
  if len(hypotheses) != len(references):
    raise ValueError(
      f'there are {len(hypotheses)} hypotheses, expected one per reference, {len(references)}'
    )
  if not hypotheses:
    raise ValueError('there are no hypotheses, expected at least one')
  from sacrebleu.metrics import BLEU  # slow to load, and every listing of experiments comes by here

  # Without force a warning is logged where many sentences end in ' .', as those of a poor model
  # may.
  metric = BLEU(lowercase=lower, force=True)
  score = metric.corpus_score(hypotheses, [references]).score
  return Bleu(score, str(metric.get_signature()))


def bleu_by_length(
  hypotheses: Sequence[str],
  references: Sequence[str],
  lengths: Sequence[int],
  edges: Sequence[int],
) -> list[LengthGroup]:
  """Returns BLEU of groups of sentences of similar source length, shortest first, without the empty
  groups.

  Args:
    hypotheses: N detokenized sentences.
    references: N sentences, one per hypothesis.
    lengths: N numbers of source symbols.
    edges: ascending; group i holds the sentences with `edges[i] <= length < edges[i + 1]`.

  Raises:
    ValueError: the counts differ, or a length is in no group.
  """
  groups = []
  for low, high in itertools.pairwise(edges):
    rows = [
      pair
      for *pair, length in zip(hypotheses, references, lengths, strict=True)
      if low <= length < high
    ]
    if rows:
      found, expected = zip(*rows, strict=True)
      groups.append(LengthGroup(low, high, len(rows), corpus_bleu(found, expected).score))
  if sum(group.count for group in groups) != len(lengths):
    raise ValueError(
      f'lengths are {min(lengths)} to {max(lengths)}, expected {edges[0]} to {edges[-1] - 1}'
    )
  return groups
