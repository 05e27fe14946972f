"""What the scores of captions count: n-grams of tokens separated by spaces."""

from collections import Counter
from collections.abc import Sequence

LONGEST = 4


def ngrams(sentence: str) -> Counter[tuple[str, ...]]:
  """Returns how often a sentence has each of its n-grams of 1 to 4 tokens."""
  words = sentence.split()
  return Counter(
    tuple(words[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1)
  )


def require_pairs(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
  """Raises ValueError unless there are hypotheses, and references for each."""
  if len(hypotheses) != len(references):
    raise ValueError(
      f'there are {len(hypotheses)} hypotheses, expected one per list of references, '
      f'{len(references)}'
    )
  if not hypotheses:
    raise ValueError('there are no hypotheses, expected at least one')
  for number, sentences in enumerate(references):
    if isinstance(sentences, str) or not sentences:
      raise ValueError(
        f'the references of hypothesis {number} are {sentences!r}, expected a list of sentences'
      )
