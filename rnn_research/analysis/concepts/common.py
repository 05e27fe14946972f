"""Concepts of every text: lines, words, and the class of the next character."""

from collections.abc import Callable

import numpy as np

from rnn_research.analysis.concepts.concept import Concept
from rnn_research.analysis.concepts.spans import since, starts

LINE_END = '[\r\n]'
# Its first symbol, before which there still was a place in the line.
_LINE_END = '\r|(?<!\r)\n'


def position_in_line(text: str) -> np.ndarray:
  """Returns how many characters of the line have been read, [N] float32; 0 at the line's end."""
  return since(len(text), starts(LINE_END, text))


def position_in_word(text: str) -> np.ndarray:
  """Returns how many characters have been read since the last blank, [N] float32."""
  return since(len(text), np.flatnonzero(after_blank(text)))


def after_blank(text: str) -> np.ndarray:
  """Returns whether a blank has been read, so that a word may begin, [N] bool."""
  return _which(str.isspace, text)


def after_line_end(text: str) -> np.ndarray:
  """Returns whether a line end has been read, [N] bool."""
  return _which(_is_line_end, text)


def _next_is(holds: Callable[[str], bool]) -> Callable[[str], np.ndarray]:
  """Returns the labels of what the next character is, [N] float32; NaN at the last."""

  def label(text: str) -> np.ndarray:
    return np.append(_which(holds, text), np.float32(np.nan))[1:].astype(np.float32)

  return label


def _which(holds: Callable[[str], bool], text: str) -> np.ndarray:
  return np.fromiter(map(holds, text), bool, len(text))


def _is_line_end(character: str) -> bool:
  return character in '\r\n'


def _is_mark(character: str) -> bool:
  return not (character.isalnum() or character.isspace())


COMMON = (
  Concept('position in line', 'characters since the line began', position_in_line, _LINE_END),
  Concept('position in word', 'characters since the last blank', position_in_word, r'\s'),
  Concept('start of a line', 'a line end has just been read', after_line_end),
  Concept('start of a word', 'a blank has just been read', after_blank),
  Concept('before a letter', 'the next character is a letter', _next_is(str.isalpha)),
  Concept('before a digit', 'the next character is a digit', _next_is(str.isdigit)),
  Concept('before a mark', 'the next character is no letter, digit or blank', _next_is(_is_mark)),
  Concept('before a line end', 'the next character ends the line', _next_is(_is_line_end)),
)
