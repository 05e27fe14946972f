"""A running text, what a language model reads, as characters, bytes or words, and back."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from rnn_research.errors import require_one_of

UNITS = ('char', 'byte', 'word')
END_OF_LINE = '<eos>'
UNKNOWN = '<unk>'
UNKNOWN_BYTE = -1
REPLACEMENT = '\ufffd'  # how an unknown character or byte is written
BYTE_ORDER_MARK = '\ufeff'


def split(data: str | bytes, unit: str) -> Sequence:
  """Returns a text as symbols: a str (char), bytes (byte) or a list of words.

  Characters are code points as they are in the text: line ends are kept. Words are what white space
  separates, and every newline is the word `<eos>`.

  Args:
    data: a text or its UTF-8 bytes.
    unit: of `UNITS`.

  Raises:
    InputError: there is no such unit.
  """
  require_one_of('data.unit', unit, UNITS)
  if unit == 'byte':
    return data.encode('utf-8', 'surrogateescape') if isinstance(data, str) else data
  text = data.decode('utf-8') if isinstance(data, bytes) else data
  return text.replace('\n', f' {END_OF_LINE} ').split() if unit == 'word' else text


def join(symbols: Iterable, unit: str) -> str:
  """Returns symbols as text: unknown characters and bytes that are no UTF-8 as U+FFFD, words with
  one space between them and none around a line end."""
  if unit == 'byte':
    return join_bytes(symbols).decode('utf-8', 'replace')
  if unit == 'char':
    return ''.join(REPLACEMENT if symbol == UNKNOWN else symbol for symbol in symbols)
  text = ' '.join('\n' if symbol == END_OF_LINE else symbol for symbol in symbols)
  return re.sub(' ?\n ?', '\n', text)


def join_bytes(symbols: Iterable[int]) -> bytes:
  """Returns byte values as bytes, the unknown one as U+FFFD in UTF-8."""
  return b''.join(REPLACEMENT.encode() if b == UNKNOWN_BYTE else bytes([b]) for b in symbols)


def normalise(text: str, unit: str) -> str:
  """Returns what `join(split(text))` is: words with one space between them, none around a line end;
  characters and bytes as they are."""
  if unit != 'word':
    return text
  lines = re.sub(rf'(?<!\S){END_OF_LINE}(?!\S)', '\n', text).split('\n')
  return '\n'.join(' '.join(line.split()) for line in lines)


def split_files(texts: Sequence[str], unit: str, rules: int) -> Sequence:
  """Returns the texts of files as the symbols of one text, without their byte order marks.

  Characters are joined by nothing. In a text of words every file begins a line.

  Args:
    texts: one of each file.
    unit: 'char' or 'word'.
    rules: of `TextCodec`; in version 1 both are joined by nothing, marks are kept.
  """
  return split(''.join(joined([[text] for text in texts], unit, rules)), unit)


def joined(texts: Iterable[Iterable[str]], unit: str, rules: int) -> Iterator[str]:
  """Yields the one text of files that come in pieces, see `split_files`."""
  end = '\n'
  for pieces in texts:
    pieces = filter(None, pieces)
    first = next(pieces, '')
    if rules > 1:
      first = first.removeprefix(BYTE_ORDER_MARK)
      if unit == 'word' and first and end != '\n':
        yield '\n'
    for piece in filter(None, itertools.chain([first], pieces)):
      yield piece
      end = piece[-1]


def split_pieces(texts: Iterable[str], unit: str) -> Iterator[Sequence]:
  """Yields the symbols of a text that comes in pieces: together those of `split`.

  Args:
    texts: the pieces.
    unit: 'char' or 'word'.
  """
  cut = ''  # the beginning of a word that may go on in the next piece
  for text in filter(None, texts):
    text = cut + text
    cut = text.rsplit(maxsplit=1)[-1] if unit == 'word' and not text[-1:].isspace() else ''
    yield split(text[: len(text) - len(cut)], unit)
  if cut:
    yield split(cut, unit)
