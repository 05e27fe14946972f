"""Vocabularies: text to symbol ids and back, by character, byte or word.

Policy: a vocabulary holds the symbols of the training split, sorted, and one more, the unknown
symbol, which is always the last id. Whatever the training split did not show becomes the unknown
symbol. A word text that already has `<unk>` (Penn Treebank) uses it as the unknown symbol, so no id
is added.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnn_research.errors import InputError

UNITS = ('char', 'byte', 'word')
END_OF_LINE = '<eos>'
UNKNOWN = {'char': '<unk>', 'byte': -1, 'word': '<unk>'}
REPLACEMENT = '\ufffd'  # how an unknown character or byte is written


class Vocabulary(NamedTuple):
  """The symbols of a text.

  Attributes:
    unit: 'char', 'byte' or 'word'.
    symbols: id -> symbol: str (char, word) or int byte value; the last is the unknown symbol
      ('<unk>', -1 for bytes).
  """

  unit: str
  symbols: tuple


def split_symbols(data: str | bytes | list, unit: str) -> Sequence:
  """Returns a text as a sequence of its symbols: a str (char), bytes (byte) or a list of words.

  Characters are code points as they are in the text: line ends and a byte order mark are kept.
  Words are what white space separates, and every newline is the word `<eos>`.

  Args:
    data: a text, its UTF-8 bytes, or the result of this function.
    unit: 'char', 'byte' or 'word'.

  Raises:
    InputError: `unit` is none of the three.
  """
  if unit not in UNITS:
    raise InputError(f'data.unit is {unit!r}, expected one of {", ".join(UNITS)}')
  if unit == 'byte':
    return data.encode('utf-8', 'surrogateescape') if isinstance(data, str) else data
  text = data.decode('utf-8') if isinstance(data, bytes) else data
  return (
    text.replace('\n', f' {END_OF_LINE} ').split()
    if unit == 'word' and isinstance(text, str)
    else text
  )


def build_vocabulary(data: str | bytes | list, unit: str) -> Vocabulary:
  """Returns the vocabulary of a training text (see `split_symbols` for the arguments)."""
  seen = set(split_symbols(data, unit))
  return Vocabulary(unit, (*sorted(seen - {UNKNOWN[unit]}), UNKNOWN[unit]))


def unknown_id(vocab: Vocabulary) -> int:
  """Returns the id of the unknown symbol."""
  return len(vocab.symbols) - 1


def encode(vocab: Vocabulary, data: str | bytes | list) -> np.ndarray:
  """Returns the ids of a text.

  Args:
    vocab: the vocabulary.
    data: a text, its UTF-8 bytes, or its symbols.

  Returns:
    [N] int32, ids; `unknown_id(vocab)` where the vocabulary lacks the symbol.
  """
  symbols = split_symbols(data, vocab.unit)
  if vocab.unit == 'word':
    index = {symbol: i for i, symbol in enumerate(vocab.symbols)}
    return np.fromiter(
      (index.get(word, unknown_id(vocab)) for word in symbols), np.int32, len(symbols)
    )
  codes = _codes(symbols, vocab.unit)
  known = (
    vocab.symbols[:-1] if vocab.unit == 'byte' else [ord(symbol) for symbol in vocab.symbols[:-1]]
  )
  table = np.full(1 + max(int(codes.max(initial=0)), *known, 0), unknown_id(vocab), np.int32)
  table[np.asarray(known, np.int64)] = np.arange(len(known))
  return table[codes]


def _codes(symbols: str | bytes, unit: str) -> np.ndarray:
  """Returns the code points of a str, or the values of bytes, as [N] unsigned integers."""
  if unit == 'byte':
    return np.frombuffer(symbols, np.uint8)
  return np.frombuffer(symbols.encode('utf-32-le', 'surrogatepass'), '<u4')


def decode(vocab: Vocabulary, ids: Sequence[int]) -> str:
  """Returns ids as text: bytes that are no UTF-8 and unknown characters as U+FFFD, `<eos>` as a
  newline."""
  if vocab.unit == 'byte':
    written = [bytes([symbol]) for symbol in vocab.symbols[:-1]] + [REPLACEMENT.encode()]
    return b''.join(written[i] for i in ids).decode('utf-8', 'replace')
  if vocab.unit == 'char':
    written = (*vocab.symbols[:-1], REPLACEMENT)
    return ''.join(written[i] for i in ids)
  return re.sub(f' ?{END_OF_LINE} ?', '\n', ' '.join(vocab.symbols[i] for i in ids))


def unseen(vocab: Vocabulary, data: str | bytes) -> list:
  """Returns the distinct symbols of a text that the vocabulary lacks, in order of appearance."""
  known = set(vocab.symbols)
  return [
    symbol for symbol in dict.fromkeys(split_symbols(data, vocab.unit)) if symbol not in known
  ]


def to_json(vocab: Vocabulary) -> dict[str, Any]:
  """Returns the vocabulary as what `json` can write."""
  return {'unit': vocab.unit, 'symbols': list(vocab.symbols)}


def from_json(value: Mapping[str, Any]) -> Vocabulary:
  """Returns the vocabulary that `to_json` wrote."""
  return Vocabulary(value['unit'], tuple(value['symbols']))
