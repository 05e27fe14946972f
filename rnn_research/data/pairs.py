"""Parallel text: sentences of one language, each with its translation."""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.data import builders
from rnn_research.data.files import UTF8, decode_text, encoding_advice, existing_file, read_bytes
from rnn_research.data.running_text import BYTE_ORDER_MARK
from rnn_research.errors import InputError


class Pairs(NamedTuple):
  """Sentences and their translations as text.

  Attributes:
    sources: N sentences, without white space around them.
    targets: their translations.
    empty: how many pairs were left out since a side of theirs is empty.
    duplicates: how many were left out since they are there already.
    columns: of the file that they are lines of, of which two were read; 0 of others.
  """

  sources: Sequence[str]
  targets: Sequence[str]
  empty: int
  duplicates: int = 0
  columns: int = 0


def read_pairs(
  source: str, target: str = '', flag: str = 'data.source', encoding: str = UTF8
) -> Pairs:
  """Reads two text files (or `.gz`) whose lines correspond, or one of tab-separated pairs.

  A line ends with a newline and nothing else. A third column, such as the attribution of sentences
  of Tatoeba, is no part of a pair.

  Args:
    source: the file of sources; of pairs where there is no `target`.
    target: the file of targets, or ''.
    flag: the flag that holds `source`, for messages; that of `target` has 'target' in place of
      'source'.
    encoding: of the files, see `files.require_encoding`.

  Raises:
    FileNotFoundError: there is no such file.
    InputError: a file cannot be read, has no pair, or has a line that belongs to no pair.
  """
  lines = read_lines(source, flag, encoding)
  if not target:
    rows, columns = _cut_at_tab(lines, source, flag)
    pairs = _paired((row[:2] for row in rows), f'{flag}: {source}')
    return pairs._replace(columns=columns)
  others = read_lines(target, flag.replace('source', 'target'), encoding)
  if len(lines) != len(others):
    raise InputError(
      f'{flag}: {source} has {len(lines)} lines and {target} has {len(others)}, expected as many; '
      f'the first suspicious line is {_first_suspicious(lines, others)}'
    )
  return _paired(zip(lines, others, strict=True), f'{flag}: {source}, {target}')


def read_lines(path: str, flag: str, encoding: str) -> list[str]:
  """Returns the lines of a text file (or `.gz`); raises FileNotFoundError or InputError, naming
  the flag."""
  existing_file(path, flag)
  return cut_lines(read_bytes(path, flag=flag), path, flag, encoding)


def cut_lines(data: bytes, path: str, flag: str, encoding: str) -> list[str]:
  """Returns the lines of the bytes of a file, without a byte order mark; raises InputError, naming
  the flag and the file, where they are no text."""
  text = decode_text(data, f'{flag}: {path}', encoding_advice(flag), encoding)
  return text.removeprefix(BYTE_ORDER_MARK).removesuffix('\n').split('\n')


def _cut_at_tab(lines: Sequence[str], path: str, flag: str) -> tuple[list[list[str]], int]:
  """Returns the columns of lines, two of blank ones, and how many the first other line has."""
  rows = [line.split('\t') if line.strip() else ['', ''] for line in lines]
  first = next((number for number, line in enumerate(lines, 1) if line.strip()), 1)
  columns = len(rows[first - 1])
  for number, (line, row) in enumerate(zip(lines, rows, strict=True), 1):
    if line.strip() and (len(row) != columns or columns not in (2, 3)):
      expected = (
        f'one between source and target and perhaps one more before a third column, or a file of '
        f'targets in {flag.replace("source", "target")}'
        if number == first
        else f'{columns - 1} as in line {first}'
      )
      raise InputError(
        f'{flag}: {path} has {len(row) - 1} tabs in line {number}, expected {expected}'
      )
  return rows, columns


def _paired(pairs: Iterable[Sequence[str]], name: str) -> Pairs:
  """Returns the pairs that have both sides; raises InputError where none has."""
  stripped = [(source.strip(), target.strip()) for source, target in pairs]
  whole = [pair for pair in stripped if all(pair)]
  if not whole:
    raise InputError(
      f'{name} has no pair of sentences: a side of each of its {len(stripped)} pairs is empty'
    )
  sources, targets = map(list, zip(*whole, strict=True))
  return Pairs(sources, targets, len(stripped) - len(whole))


def _first_suspicious(lines: Sequence[str], others: Sequence[str]) -> int:
  """Returns the number of the line from which the longer file must have more lines, by the lengths
  of the lines.

  Of all places where a block of lines can be taken out to make the files equally long, it is the
  one that leaves lines whose lengths correspond best.
  """
  short, long = sorted(
    (np.log1p([len(line.strip()) for line in side]) for side in (lines, others)), key=len
  )
  short, long = short - np.median(short), long - np.median(long)
  before = np.abs(long[: len(short)] - short)
  after = np.abs(long[len(long) - len(short) :] - short)
  return int(np.argmin(np.cumsum([0.0, *(before - after)]))) + 1


def read_tfds_pairs(name: str, data_dir: str, split: str) -> Pairs:
  """Reads one split of a translation data set that tensorflow-datasets has prepared; see
  `builders.prepared_builder`.

  Sources and targets are its supervised keys, or else its two texts in the order of their names.

  Raises:
    FileNotFoundError: the data set is not there.
    InputError: it has no such split, or not two texts.
  """
  builder = builders.prepared_builder(name, data_dir)
  info = builder.info
  if split not in info.splits:
    raise InputError(
      f'data.tfds: {info.name} has no split {split!r}, it has {", ".join(info.splits)}'
    )
  keys = _text_pair(info)
  examples = (
    [example[key].decode() for key in keys] for example in builders.examples(builder, split)
  )
  return _paired(examples, f'data.tfds: {name}, split {split}')


def tfds_splits(name: str, data_dir: str) -> list[str]:
  """Returns the splits that a data set has; raises FileNotFoundError as `read_tfds_pairs` does."""
  return list(builders.prepared_builder(name, data_dir).info.splits)


def _text_pair(info) -> tuple[str, str]:
  from tensorflow_datasets.core.features import Text

  # Sorted, since prepared data sets do not keep the order of their features.
  texts = sorted(key for key, feature in info.features.items() if isinstance(feature, Text))
  keys = info.supervised_keys or texts
  if len(keys) != 2 or not set(keys) <= set(texts):
    raise InputError(
      f'data.tfds: {info.name} has the texts {", ".join(texts) or "(none)"}, expected '
      'source and target'
    )
  return tuple(keys)


def language_of(path: str) -> str:
  """Returns the language that a file is named after: 'de' for 'train.de.gz'; '' where its name has
  none."""
  suffix = os.path.splitext(path.removesuffix('.gz'))[1].removeprefix('.')
  return '' if suffix in ('txt', 'tsv') else suffix
