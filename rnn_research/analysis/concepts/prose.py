"""Concepts of prose: quotations, parentheses, sentences."""

import re

import numpy as np

from rnn_research.analysis.concepts.concept import Concept
from rnn_research.analysis.concepts.spans import held, painted

# What opens a quotation -> what may close it.
CLOSING = {'"': '"', '“': '”', '„': '“”', '«': '»'}
_BLANK_LINE = r'\r?\n[ \t]*\r?\n'
_QUOTE = re.compile(f'(?P<mark>["“”„«»])|{_BLANK_LINE}')
_PARENTHESIS = re.compile(rf'(?P<mark>[()])|{_BLANK_LINE}')
# Closing quotes and brackets belong to the sentence; a small letter shows that it goes on, as it
# does after a title or an initial, of which I is more often a word.
_SENTENCE_END = re.compile(
  r'(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\b[A-HJ-Z])[.!?…]["“”»\'\u2019)\]]*(?=\s)'
  rf'(?!\s+[a-z])|(?={_BLANK_LINE})'
)


def inside_quotes(text: str) -> np.ndarray:
  """Returns whether a quotation is open, [N] bool.

  Straight double quotes open and close in turn; “ ”, „ “ and « » are told apart. A quotation that
  is not closed ends at a blank line.
  """
  spans, start, closing = [], 0, ''
  for found in _QUOTE.finditer(text):
    mark = found['mark']
    if closing and (not mark or mark in closing):
      # A blank line is there once its own end has been read.
      spans.append((start, found.end() - 1))
      closing = ''
    elif not closing and mark in CLOSING:
      start, closing = found.start(), CLOSING[mark]
  return painted(len(text), [*spans, (start, len(text))] if closing else spans)


def inside_parentheses(text: str) -> np.ndarray:
  """Returns whether a parenthesis is open, [N] bool; a blank line closes them all."""
  places, depths, depth = [], [], 0
  for found in _PARENTHESIS.finditer(text):
    depth = {'(': depth + 1, ')': max(0, depth - 1)}.get(found['mark'], 0)
    places.append(found.end() - 1)
    depths.append(depth)
  return held(len(text), places, depths) > 0


def position_in_sentence(text: str) -> np.ndarray:
  """Returns how many characters of the sentence have been read, [N] float32; 0 between sentences.

  A sentence ends at . ! ? or … before a blank that no small letter follows, or at a blank line; not
  after common titles and initials.
  """
  position = np.zeros(len(text), np.float32)
  ends = [found.end() for found in _SENTENCE_END.finditer(text)]
  for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
    start = end - len(text[start:end].lstrip())
    position[start:end] = np.arange(1, end - start + 1)
  return position


PROSE = (
  Concept('inside quotes', 'between quotation marks', inside_quotes, r'(?<=[^\s(\[])"|[”»]'),
  Concept('inside parentheses', 'between ( and )', inside_parentheses, r'\)'),
  Concept(
    'position in sentence', 'characters since the sentence began', position_in_sentence, r'[.!?…]'
  ),
)
