"""Boxes around what phrases of captions name."""

from typing import NamedTuple

import numpy as np

from rnn_research.data.files import UTF8
from rnn_research.data.lines import read_lines
from rnn_research.errors import InputError
from rnn_research.tasks.captioning.nouns import head_noun

_COLUMNS = ['image', 'phrase', 'x1', 'y1', 'x2', 'y2', 'width', 'height']


class Phrase(NamedTuple):
  """What people named in a photo, and where it is.

  Attributes:
    text: in small letters.
    head: its noun in the singular, '' of none, see `head_noun`.
    boxes: [K, 4] float64, left, top, right and bottom as shares of the photo, 0 to 1.
  """

  text: str
  head: str
  boxes: np.ndarray


def read_boxes(path: str, flag: str = 'data.boxes') -> dict[str, list[Phrase]]:
  """Returns image -> its phrases, of a file (or `.gz`) of tab-separated rows of image, phrase, x1,
  y1, x2, y2, width and height, all in pixels of the original photo, counted from 1, inclusive.

  Rows without width and height are left out, since nothing says how large their photo was. Rows of
  one image and phrase are one phrase with several boxes; the same box counts once.

  Args:
    path: of the file.
    flag: the flag that holds it, for messages.

  Raises:
    FileNotFoundError: there is no such file.
    InputError: it cannot be read, or a row is not as above.
  """
  rows = [line.split('\t') for line in read_lines(path, flag, UTF8)]
  if rows[0] != _COLUMNS:
    raise InputError(f'{flag}: {path} begins with {rows[0]}, expected the columns {_COLUMNS}')
  found: dict[str, dict[str, dict[tuple[float, ...], None]]] = {}
  for number, row in enumerate(rows[1:], 2):
    if len(row) != len(_COLUMNS):
      raise InputError(
        f'{flag}: {path} has {len(row)} columns in line {number}, expected {len(_COLUMNS)}'
      )
    if row[-2] and row[-1]:
      box = _shares(row[2:], f'{flag}: {path}, line {number}')
      found.setdefault(row[0], {}).setdefault(row[1].lower(), {})[box] = None
  return {
    image: [Phrase(text, head_noun(text), np.array([*boxes])) for text, boxes in phrases.items()]
    for image, phrases in found.items()
  }


def _shares(fields: list[str], place: str) -> tuple[float, ...]:
  """Returns left, top, right and bottom of x1, y1, x2, y2, width and height."""
  try:
    x1, y1, x2, y2, width, height = map(int, fields)
  except ValueError as e:
    raise InputError(f'{place} has {fields}, expected six whole numbers') from e
  if not (1 <= x1 <= x2 <= width and 1 <= y1 <= y2 <= height):
    raise InputError(f'{place} has {fields}, expected 1 <= x1 <= x2 <= width, and y alike')
  return (x1 - 1) / width, (y1 - 1) / height, x2 / width, y2 / height
