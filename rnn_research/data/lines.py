"""Files as lines, which end with a newline and nothing else; also two files whose lines
correspond."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from rnn_research.data.files import decode_text, encoding_advice, existing_file, text_pieces
from rnn_research.data.running_text import BYTE_ORDER_MARK
from rnn_research.errors import InputError


def read_lines(path: str, flag: str, encoding: str) -> list[str]:
  """Returns the lines of a text file (or `.gz`); raises FileNotFoundError or InputError, naming
  the flag."""
  return list(itertools.chain.from_iterable(line_pieces(path, flag, encoding)))


def line_pieces(path: str, flag: str, encoding: str) -> Iterator[list[str]]:
  """Yields the lines of `read_lines` piece by piece."""
  existing_file(path, flag)
  return _lines(text_pieces(path, flag, encoding_advice(flag), encoding))


def cut_lines(data: bytes, path: str, flag: str, encoding: str) -> list[str]:
  """Returns the lines of the bytes of a file, without a byte order mark; raises InputError, naming
  the flag and the file, where they are no text."""
  text = decode_text(data, f'{flag}: {path}', encoding_advice(flag), encoding)
  return list(itertools.chain.from_iterable(_lines([text])))


def _lines(texts: Iterable[str]) -> Iterator[list[str]]:
  """Yields the lines of a text that comes in pieces, without a byte order mark; one at least."""
  texts, found = filter(None, texts), False
  cut = next(texts, '').removeprefix(BYTE_ORDER_MARK)  # a line that may go on in the next piece
  for text in itertools.chain([''], texts):
    *lines, cut = (cut + text).split('\n')
    if lines:
      found = True
      yield lines
  if cut or not found:
    yield [cut]


def corresponding(
  paths: Sequence[str], flags: Sequence[str], encoding: str
) -> Iterator[Iterable[Sequence[str]]]:
  """Yields pairs of lines of the same number in two files, in pieces.

  Raises:
    FileNotFoundError: there is no such file.
    InputError: a file cannot be read, or one has more lines.
  """
  sides = [line_pieces(path, flag, encoding) for path, flag in zip(paths, flags, strict=True)]
  rest: list[list[str]] = [[], []]
  ended = False
  while not ended:
    for lines, pieces in zip(rest, sides, strict=True):
      if not lines:
        lines += next(pieces, [])
    count = min(map(len, rest))
    yield zip(*(lines[:count] for lines in rest), strict=True)
    rest = [lines[count:] for lines in rest]
    ended = not count
  if any(rest):
    raise InputError(_uneven(paths, flags, encoding))


def _uneven(paths, flags, encoding):
  lengths = [
    np.array([len(line.strip()) for lines in line_pieces(path, flag, encoding) for line in lines])
    for path, flag in zip(paths, flags, strict=True)
  ]
  return (
    f'{flags[0]}: {paths[0]} has {len(lengths[0])} lines and {paths[1]} has {len(lengths[1])}, '
    f'expected as many; the first suspicious line is {_first_suspicious(*lengths)}'
  )


def _first_suspicious(lengths: np.ndarray, others: np.ndarray) -> int:
  """Returns the number of the line from which the longer file must have more lines, by the lengths
  of the lines, [N] int64.

  Of all places where a block of lines can be taken out to make the files equally long, it is the
  one that leaves lines whose lengths correspond best.
  """
  short, long = sorted((np.log1p(lengths), np.log1p(others)), key=len)
  short, long = short - np.median(short), long - np.median(long)
  before = np.abs(long[: len(short)] - short)
  after = np.abs(long[len(long) - len(short) :] - short)
  return int(np.argmin(np.cumsum([0.0, *(before - after)]))) + 1
