"""The scores that papers on captions report, of plain sentences."""

import functools
import re
from collections.abc import Sequence

from rnn_research.metrics.captions.bleu import bleu
from rnn_research.metrics.captions.cider import cider, cider_table, document_frequencies
from rnn_research.metrics.captions.ptb import caption_tokens
from rnn_research.metrics.captions.rouge import rouge_l
from rnn_research.metrics.captions.sentences import require_pairs


def score_captions(
  hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
  """Returns `bleu_1` to `bleu_4` and `rouge_l`, 0 to 1, and `cider`, CIDEr-D, 0 to 10.

  They are those of pycocoevalcap 1.2. Its document frequencies are those of the references given,
  so that CIDEr-D compares only between captions of the same images.

  Args:
    hypotheses: N sentences.
    references: N lists of sentences.

  Raises:
    ValueError: the counts differ, there are no hypotheses, or one has no references.
  """
  require_pairs(hypotheses, references)
  ours = [tokenized(sentence) for sentence in hypotheses]
  theirs = [[tokenized(sentence) for sentence in sentences] for sentences in references]
  table = cider_table(theirs, document_frequencies(theirs))
  return {
    **{f'bleu_{n}': float(score) for n, score in enumerate(bleu(ours, theirs).corpus, 1)},
    'rouge_l': float(rouge_l(ours, theirs).mean()),
    'cider': float(cider(table, ours, range(len(ours))).mean()),
  }


@functools.lru_cache(maxsize=2**16)  # references are compared with again and again
def tokenized(sentence: str) -> str:
  """Returns the tokens of a sentence, separated by spaces, see `caption_tokens`."""
  return ' '.join(caption_tokens(sentence))


def stripped(sentence: str) -> str:
  """Returns a sentence without digits, punctuation and other signs: 't-shirt' is 'tshirt'.

  Some repositories strip the references so before they score. What they report compares only with
  scores of stripped references.
  """
  return ' '.join(re.sub(r'[\d_]|[^\w\s]', '', sentence).split())
