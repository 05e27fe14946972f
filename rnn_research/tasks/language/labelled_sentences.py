"""Sentences of two classes, as CSV files, and what characters they have."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnn_research.data.files import decode_text, existing, read_input
from rnn_research.errors import InputError, require

if TYPE_CHECKING:
  from scipy import sparse

SPLITS = ('train', 'dev', 'test')
_COLUMNS = ('label', 'sentence')
_LONGEST, _OFTEN = 3, 5  # of n-grams: the largest n, the fewest sentences that have one


class Labelled(NamedTuple):
  """Sentences of two classes.

  Attributes:
    classes: the names of class 0 and of class 1, in alphabetical order.
    sentences: split -> N sentences; one may be empty.
    labels: split -> [N] int64, 0 or 1.
  """

  classes: tuple[str, str]
  sentences: dict[str, list[str]]
  labels: dict[str, np.ndarray]


def read_labelled(folder: str, flag: str) -> Labelled:
  """Reads train, dev and test, each a .csv or .csv.gz file in UTF-8 with the columns label and
  sentence.

  Args:
    folder: of the files; `~` is the home folder.
    flag: that holds it, for messages.

  Raises:
    FileNotFoundError: no such folder, or a file is missing.
    InputError: a file cannot be read or lacks a column, or there are not two classes.
  """
  require(flag, folder, bool(folder), 'a folder of train, dev and test .csv')
  root = existing(folder, flag)
  if not root.is_dir():
    raise InputError(f'{flag}: {folder} is a file, expected a folder of train, dev and test .csv')
  rows = {split: _read(root, split, flag) for split in SPLITS}
  classes = sorted({label for label, _ in rows['train']})
  if len(classes) != 2:
    named = ', '.join(map(repr, classes[:5])) + (', ..' if len(classes) > 5 else '')
    raise InputError(
      f'{flag}: the label of {folder}/train.csv has {len(classes)} values ({named}), expected two'
    )
  for split, found in rows.items():
    other = next((label for label, _ in found if label not in classes), None)
    if other is not None:
      raise InputError(
        f'{flag}: {folder}/{split}.csv has the label {other!r}, expected {classes[0]!r} or '
        f'{classes[1]!r} as in train.csv'
      )
  return Labelled(
    (classes[0], classes[1]),
    {split: [sentence for _, sentence in found] for split, found in rows.items()},
    {
      split: np.array([label == classes[1] for label, _ in found], np.int64)
      for split, found in rows.items()
    },
  )


def _read(root, split, flag):
  """Returns (label, sentence) of every row of a split."""
  paths = [root / f'{split}.csv', root / f'{split}.csv.gz']
  path = next((path for path in paths if path.is_file()), None)
  if path is None:
    raise FileNotFoundError(f'{flag}: there is no file {paths[0]} or {paths[1].name}')
  text = decode_text(read_input(str(path), flag), f'{flag}: {path}', 'convert it', 'utf-8-sig')
  reader = csv.DictReader(io.StringIO(text, newline=''))
  try:
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
      raise InputError(
        f'{flag}: {path} has the columns {", ".join(reader.fieldnames or ()) or "(none)"}, '
        f'expected {" and ".join(_COLUMNS)}'
      )
    rows = [tuple(row[name] for name in _COLUMNS) for row in reader]
  except csv.Error as error:
    raise InputError(f'{flag}: {path} is not CSV ({error})') from error
  short = next((row for row in rows if None in row), None)
  if short or not rows:
    found = f'the short row {short}' if short else 'no rows'
    raise InputError(f'{flag}: {path} has {found}, expected a label and a sentence in every row')
  return rows


def character_ngrams(sentences: Mapping[str, Sequence[str]]) -> dict[str, 'sparse.csr_array']:
  """Returns split -> [N, G] float64, 1 where a sentence has an n-gram of characters.

  Those are the n-grams, n = 1 to 3, that five sentences of train have at least.

  Args:
    sentences: split -> N sentences.
  """
  from scipy import sparse  # slow to load

  grams = {
    split: [
      {text[i : i + n] for n in range(1, _LONGEST + 1) for i in range(len(text) - n + 1)}
      for text in found
    ]
    for split, found in sentences.items()
  }
  counts = Counter(gram for one in grams['train'] for gram in one)
  places = {gram: i for i, gram in enumerate(g for g, count in counts.items() if count >= _OFTEN)}

  def rows(found):
    columns = [sorted(places[gram] for gram in one if gram in places) for one in found]
    ends = np.cumsum([0, *map(len, columns)])
    values = np.ones(ends[-1])
    return sparse.csr_array(
      (values, np.concatenate([*map(np.int64, columns)]), ends), (len(found), len(places))
    )

  return {split: rows(found) for split, found in grams.items()}
