"""Text corpora: a source, cut in splits, encoded with the codec of its training split."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnn_research.data import builders, running_text
from rnn_research.data.codec import RULES, TextCodec, train_text_codec
from rnn_research.data.files import (
  BYTES_ADVICE,
  UTF8,
  decode_text,
  list_files,
  read_text,
  require_encoding,
)
from rnn_research.data.stdlib_corpus import standard_library_source
from rnn_research.errors import InputError, require

SPLITS = ('train', 'valid', 'test')


class Corpus(NamedTuple):
  """An encoded text.

  Attributes:
    splits: 'train' and, where the source has them, 'valid' and 'test' -> [N] int32, symbol ids; of
      a large text they are mapped from a disk, of fewer bytes.
    codec: of the symbols of the training split.
    unknown: split -> the share of its ids that are the unknown symbol (words: `<unk>` of the text
      itself counts too).
    fingerprint: sha256 hex digest of the symbols and the encoded splits.
  """

  splits: Mapping[str, np.ndarray]
  codec: TextCodec
  unknown: Mapping[str, float]
  fingerprint: str


def load_corpus(
  *,
  path: str = '',
  glob: str = '**/*',
  valid_path: str = '',
  test_path: str = '',
  tfds: str = '',
  data_dir: str = '',
  download: bool = False,
  encoding: str = UTF8,
  unit: str = 'char',
  splits: Sequence[float] = (0.9, 0.05, 0.05),
  rules: int = RULES,
) -> Corpus:
  """Reads, cuts and encodes a corpus; without `path` and `tfds` the source of the Python standard
  library.

  Args:
    path: a file, `.gz` file or folder.
    glob: which files of a folder.
    valid_path: a file or folder of its own for validation; then all of `path` is training text,
      without the files of `valid_path` and `test_path` where they lie in it.
    test_path: the same for testing.
    tfds: name of a tensorflow-datasets text data set; its own splits are used.
    data_dir: where tensorflow-datasets keeps prepared data; '' is its default.
    download: whether a data set that is not there may be downloaded.
    encoding: of the files, see `read_text`.
    unit: 'char', 'byte' or 'word'.
    splits: fractions of symbols for train, valid and test, by position; 0 leaves a split out.
    rules: of `TextCodec`.

  Raises:
    FileNotFoundError: a source does not exist.
    InputError: a source cannot be used, or the flags contradict each other.
  """
  check_sources(path, valid_path, test_path, tfds)
  if tfds:
    parts = _read_tfds_splits(tfds, data_dir, download, unit, rules)
  elif path:
    files = text_files(path, glob, valid_path, test_path)
    return encode_files(files, encoding, unit, splits, rules)
  else:
    parts = cut(running_text.split(standard_library_source(), unit), splits)
  return encode_corpus(parts, unit, rules)


def check_sources(path: str, valid_path: str, test_path: str, tfds: str) -> None:
  """Raises InputError where flags name two sources, or a validation text without a training
  text."""
  if tfds and (path or valid_path or test_path):
    raise InputError(
      'data.tfds brings its own text and splits: do not give data.path, data.valid_path, '
      'data.test_path'
    )
  if (valid_path or test_path) and not path:
    raise InputError('data.valid_path and data.test_path need a training text: give data.path too')


def _read_tfds_splits(
  name: str, data_dir: str, download: bool, unit: str, rules: int
) -> Mapping[str, Sequence]:
  """Returns split -> symbols of a tensorflow-datasets data set, for the splits that it has."""
  builder = builders.prepared_builder(name, data_dir, download)
  texts = {
    split: builders.read_text(builder, theirs)
    for split, theirs in builders.SPLITS.items()
    if split == 'train' or theirs in builder.info.splits
  }
  if unit == 'byte':
    return texts
  return {
    split: running_text.split_files(
      [decode_text(text, f'data.tfds: {name}', BYTES_ADVICE)], unit, rules
    )
    for split, text in texts.items()
  }


class Files(NamedTuple):
  """The files of a part of a text.

  Attributes:
    flag: of the path, for messages.
    path: that they were found under.
    files: in order.
  """

  flag: str
  path: str
  files: list[Path]


def text_files(path: str, glob: str, valid_path: str, test_path: str) -> dict[str, Files]:
  """Returns the files of a text, 'train', and 'valid' and 'test' of those held out from it, where
  they have a path.

  Raises:
    FileNotFoundError: there is no such file or folder.
    InputError: all of `path` is held out.
  """
  paths = {'valid': valid_path, 'test': test_path}
  held_out = {
    split: Files(f'data.{split}_path', where, list_files(where, glob, f'data.{split}_path'))
    for split, where in paths.items()
    if where
  }
  taken = {file.resolve() for part in held_out.values() for file in part.files}
  files = [file for file in list_files(path, glob, 'data.path') if file.resolve() not in taken]
  if not files:
    raise InputError(
      f'data.path: every file of {path!r} is held out by data.valid_path or data.test_path'
    )
  return {'train': Files('data.path', path, files), **held_out}


def encode_files(
  parts: Mapping[str, Files], encoding: str, unit: str, splits: Sequence[float], rules: int
) -> Corpus:
  """Returns the corpus of `text_files`; see `load_corpus`."""
  symbols = {
    split: read_text(part.files, part.path, unit, rules, part.flag, encoding)
    for split, part in parts.items()
  }
  return encode_corpus(symbols if len(parts) > 1 else cut(symbols['train'], splits), unit, rules)


def cut(symbols: Sequence, fractions: Sequence[float]) -> dict[str, Sequence]:
  """Cuts N symbols by position in train, valid and test, at floor(N * cumulative fraction); leaves
  out fraction 0.

  Raises:
    InputError: see `check_splits`.
  """
  return {split: symbols[part] for split, part in cuts(len(symbols), fractions).items()}


def cuts(count: int, fractions: Sequence[float]) -> dict[str, slice]:
  """Returns split -> its part of `count` symbols, see `cut`."""
  check_splits(fractions)
  # Decimal fractions, since 0.7 + 0.2 < 0.9 in binary.
  exact = [Fraction(str(part)) for part in fractions]
  ends = [math.floor(count * sum(exact[: i + 1]) / sum(exact)) for i in range(len(exact))]
  parts = zip(SPLITS, [0, *ends], ends, fractions, strict=False)
  return {split: slice(start, end) for split, start, end, part in parts if part}


def check_splits(fractions: Sequence[float]) -> None:
  """Raises InputError unless they are three numbers in [0, 1] with sum 1, the training split's
  above 0."""
  valid = all(
    isinstance(part, int | float) and not isinstance(part, bool) and 0 <= part <= 1
    for part in fractions
  )
  if len(fractions) != len(SPLITS) or not valid or not fractions[0]:
    raise InputError(
      f'data.splits is {tuple(fractions)}, expected three fractions in [0, 1], the first above 0'
    )
  if abs(sum(fractions) - 1) > 1e-6:
    raise InputError(
      f'data.splits is {tuple(fractions)}, whose sum is {sum(fractions):g}, expected 1'
    )


def check_encoding(encoding: str, decodes: bool, what: str) -> None:
  """Raises InputError unless it can be read, and is UTF-8 where no files are decoded.

  Args:
    encoding: `data.encoding` of a config.
    decodes: whether there are such files.
    what: which they would be, for people.
  """
  require_encoding('data.encoding', encoding)
  require(
    'data.encoding', encoding, decodes or encoding == UTF8, f'{UTF8}, since there are no {what}'
  )


def encode_corpus(parts: Mapping[str, Sequence], unit: str, rules: int) -> Corpus:
  """Encodes split -> symbols with the codec of 'train'.

  Raises:
    InputError: a split has fewer than two symbols, so that nothing in it can be predicted.
  """
  check_sizes({split: len(symbols) for split, symbols in parts.items()}, unit)
  codec = train_text_codec(parts['train'], unit)._replace(rules=rules)
  ids = {split: codec.ids(symbols) for split, symbols in parts.items()}
  unknown = {split: codec.unknown_share(part) for split, part in ids.items()}
  return Corpus(ids, codec, unknown, fingerprint(codec, ids.values()))


def check_sizes(sizes: Mapping[str, int], unit: str) -> None:
  """Raises InputError where a split has fewer than two symbols."""
  for split, size in sizes.items():
    if size < 2:
      raise InputError(
        f'the {split} split has {size} symbols ({unit}), expected at least 2: use a longer text'
      )


def fingerprint(codec: TextCodec, parts: Iterable[np.ndarray]) -> str:
  """Returns the digest of a text's symbols and of its ids, [N] integers, in pieces of any size."""
  # Digests are in checkpoints: what they are made of does not change.
  about = {'unit': codec.unit, 'symbols': codec.symbols}
  digest = hashlib.sha256(json.dumps(about).encode())
  for part in parts:
    digest.update(part.astype('<i4').data)
  return digest.hexdigest()
