"""Parallel text: sentences of one language, each with its translation."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rnn_research.data import builders
from rnn_research.data.files import UTF8
from rnn_research.data.lines import corresponding, line_pieces
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
  return _joined(pair_pieces(source, target, flag, encoding))


def pair_pieces(
  source: str, target: str = '', flag: str = 'data.source', encoding: str = UTF8
) -> Iterator[Pairs]:
  """Yields the pairs of `read_pairs`, which has the arguments and raises the same, piece by
  piece."""
  name = f'{flag}: {source}, {target}' if target else f'{flag}: {source}'
  if target:
    rows = corresponding((source, target), (flag, flag.replace('source', 'target')), encoding)
    yield from _paired(((lines, 0) for lines in rows), name)
  else:
    yield from _paired(_cut_at_tab(line_pieces(source, flag, encoding), source, flag), name)


def _cut_at_tab(
  pieces: Iterable[Sequence[str]], path: str, flag: str
) -> Iterator[tuple[list[list[str]], int]]:
  """Yields the first two columns of lines, of blank ones too, and how many the first other line
  has."""
  columns, first, number = 0, 0, 0
  for lines in pieces:
    rows = []
    for line in lines:
      number += 1
      row = line.split('\t') if line.strip() else ['', '']
      if line.strip() and not first:
        columns, first = len(row), number
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
      rows.append(row[:2])
    yield rows, columns


def _paired(pieces: Iterable[tuple[Iterable[Sequence[str]], int]], name: str) -> Iterator[Pairs]:
  """Yields the pairs that have both sides; raises InputError where none has.

  Args:
    pieces: pairs, and the columns of their file.
    name: of the pairs, for messages.
  """
  found, total = False, 0
  for rows, columns in pieces:
    stripped = [(source.strip(), target.strip()) for source, target in rows]
    both = [pair for pair in stripped if all(pair)]
    found, total = found or bool(both), total + len(stripped)
    sources, targets = map(list, zip(*both, strict=True)) if both else ([], [])
    yield Pairs(sources, targets, len(stripped) - len(both), columns=columns)
  if not found:
    raise InputError(
      f'{name} has no pair of sentences: a side of each of its {total} pairs is empty'
    )


def _joined(pieces: Iterable[Pairs]) -> Pairs:
  """Returns pairs that come in pieces as one."""
  parts = list(pieces)
  return Pairs(
    _join(part.sources for part in parts),
    _join(part.targets for part in parts),
    sum(part.empty for part in parts),
    columns=parts[-1].columns,
  )


def _join(sides):
  return list(itertools.chain.from_iterable(sides))


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
  return _joined(_paired([(examples, 0)], f'data.tfds: {name}, split {split}'))


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
