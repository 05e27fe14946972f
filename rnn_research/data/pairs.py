"""Parallel text: sentences of one language, each with its translation."""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.data import builders
from rnn_research.data.files import decode_text, expand, read_bytes
from rnn_research.errors import InputError


class Pairs(NamedTuple):
  """Sentences and their translations as text.

  Attributes:
    sources: N sentences, without white space around them.
    targets: their translations.
    empty: how many pairs were left out since a side of theirs is empty.
  """

  sources: list[str]
  targets: list[str]
  empty: int


def read_pairs(source: str, target: str = '', flag: str = 'data.source') -> Pairs:
  """Reads two UTF-8 files (or `.gz`) whose lines correspond, or one of tab-separated pairs.

  A line ends with a newline and nothing else.

  Args:
    source: the file of sources; of pairs where there is no `target`.
    target: the file of targets, or ''.
    flag: the flag that holds `source`, for messages; that of `target` has 'target' in place of
      'source'.

  Raises:
    FileNotFoundError: there is no such file.
    InputError: a file cannot be read, has no pair, or has a line that belongs to no pair.
  """
  lines = read_lines(source, flag)
  if not target:
    return _paired(_cut_at_tab(lines, source, flag), f'{flag}: {source}')
  others = read_lines(target, flag.replace('source', 'target'))
  if len(lines) != len(others):
    raise InputError(
      f'{flag}: {source} has {len(lines)} lines and {target} has {len(others)}, expected as many; '
      f'the first suspicious line is {_first_suspicious(lines, others)}'
    )
  return _paired(zip(lines, others, strict=True), f'{flag}: {source}, {target}')


def read_lines(path: str, flag: str) -> list[str]:
  """Returns the lines of a UTF-8 file (or `.gz`); raises FileNotFoundError or InputError, naming
  the flag."""
  if os.path.isdir(expand(path)):
    raise InputError(f'{flag}: {path} is a folder, expected a text file')
  return cut_lines(read_bytes(path, flag=flag), f'{flag}: {path}')


def cut_lines(data: bytes, name: str) -> list[str]:
  """Returns the lines of UTF-8 bytes, without a byte order mark; raises InputError, its sentence
  begins with `name`."""
  return (
    decode_text(data, name, advice='convert it')
    .removeprefix('\ufeff')
    .removesuffix('\n')
    .split('\n')
  )


def _cut_at_tab(lines: Sequence[str], path: str, flag: str) -> list[tuple[str, ...]]:
  cut = [tuple(line.split('\t')) if line.strip() else ('', '') for line in lines]
  for number, fields in enumerate(cut, 1):
    if len(fields) != 2:
      raise InputError(
        f'{flag}: {path} has {len(fields) - 1} tabs in line {number}, expected one between source '
        f'and target, or a file of targets in {flag.replace("source", "target")}'
      )
  return cut


def _paired(pairs: Iterable[tuple[str, ...]], name: str) -> Pairs:
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
