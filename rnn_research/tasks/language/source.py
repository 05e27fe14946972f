"""The text of a language model's run: where it is read, and what of it is measured."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rnn_research import layers
from rnn_research.data import codec as codec_lib
from rnn_research.data.codec import TextCodec
from rnn_research.data.files import UTF8, existing, list_files, symbol_pieces
from rnn_research.data.text import Corpus
from rnn_research.errors import InputError, require_one_of
from rnn_research.tasks.language import text_store
from rnn_research.training.progress import warn

HELD_OUT = ('valid_path', 'test_path')
UNITS = {'char': 'characters', 'byte': 'bytes', 'word': 'words'}


class Source(NamedTuple):
  """A text that is read when it is needed.

  Attributes:
    codec: of its symbols; of a trained model, that of the text it was trained on.
    corpus: `() -> Corpus`, to train on; its ids may be mapped from a disk, see `text_store`.
    texts: `() -> split -> ids [N] integers`, to measure on; of another text than the model was
      trained on, 'text', or the held-out splits that have other files, alone. It raises InputError
      where the one it was trained on has changed.
    held_out: the splits of the training text that are not trained on.
    measured: the splits that final evaluations read.
    assets: what `open_source` needs of a trained model.
  """

  codec: TextCodec
  corpus: Callable[[], Corpus]
  texts: Callable[[], Mapping[str, np.ndarray]]
  held_out: tuple[str, ...]
  measured: tuple[str, ...]
  assets: Mapping[str, Any]


def open_source(data: ConfigDict, assets: Mapping[str, Any] | None) -> Source:
  """Finds out what the block `data` of a config is to a model, if it is trained already.

  Args:
    data: the block, see `load_corpus`.
    assets: of a trained model: `Source.assets`, and the `fingerprint` of its training text. The
      digest decides whether the text is that one, wherever it lies now.

  Raises:
    InputError: data that cannot be used.
  """
  saved = codec_lib.from_json(assets['vocabulary']) if assets else None
  rules = saved.rules if saved else codec_lib.RULES
  here, there = _jsonable(data), assets['data'] if assets else _jsonable(data)
  moved = [field for field in ('path', 'glob', *HELD_OUT) if there[field] != here[field]]
  same = _trained(data, saved, assets['fingerprint']) if saved and assets and moved else None
  foreign = bool(moved) and same is None
  named = _named(data, moved) if foreign else {}
  load = functools.cache(lambda: same or text_store.load_corpus(data, rules))
  codec = saved or load().codec
  held_out = (
    assets['held_out'] if assets else [split for split in load().splits if split != 'train']
  )

  @functools.cache
  def other_texts():
    found = {split: text_store.encode_foreign(data, codec, named[split]) for split in named}
    for split, ids in found.items():
      if share := codec.unknown_share(ids):
        which = 'this text' if split == 'text' else f'the {split} text'
        warn(f'the model does not know {share:.2%} of the {UNITS[codec.unit]} of {which}')
    return found

  def texts():
    if named:
      return other_texts()
    if foreign or (assets and load().fingerprint != assets['fingerprint']):
      raise InputError(
        'the text is not the one that the model was trained on (it has changed since, is read in '
        'another data.encoding, or belongs to another Python version); name a text to evaluate '
        'with --config.data.path'
      )
    return load().splits

  kept = {'vocabulary': codec.to_json(), 'data': there if foreign else here, 'held_out': held_out}
  measured = tuple(named or held_out)
  return Source(codec, load, texts, tuple(held_out), measured, kept)


def split_ids(splits: Mapping[str, np.ndarray], name: str = '') -> np.ndarray:
  """Returns the ids of a split, [N] int32; by default of the last one that is held out.

  Args:
    splits: of `Source.texts`.
    name: 'train', 'valid', 'test', or ''.

  Raises:
    InputError: there is no such split.
  """
  if name:
    other = ', of another text than the model was trained on' if 'train' not in splits else ''
    require_one_of('split', name, splits, other)
  elif [*splits] == ['train']:
    raise InputError('no text is held out; name one with --config.data.path, or --split=train')
  return splits[name or [*splits][-1]]


def read_ids(codec: TextCodec, texts: Callable, path: str, length: int) -> np.ndarray:
  """Returns the ids of another text for a trained model to read, or of its last held-out split:
  [N] int32.

  Args:
    codec: of the model.
    texts: `() -> split -> ids`.
    path: of the flag text: a UTF-8 file, .gz file or folder; '' is the split.
    length: the most symbols, from its beginning on; no more is read.

  Raises:
    InputError: there is no such text.
  """
  if path:
    files, ids = list_files(path, '**/*', 'text'), [np.zeros(0, np.int32)]
    for piece in symbol_pieces(files, codec.unit, codec.rules, 'text', UTF8):
      ids.append(codec.ids(piece))
      if sum(map(len, ids)) >= length:
        break
    return np.concatenate(ids)[:length]
  splits = texts()
  if [*splits] == ['train']:
    raise InputError('no text is held out; name one with --text')
  return split_ids(splits)[:length]


def prompt_ids(codec: TextCodec, prompt: str) -> np.ndarray:
  """Returns the ids of a prompt, [N] int32; of an empty one that of a line end, for something must
  be read before the first symbol is drawn."""
  ids = codec.encode(prompt)
  if len(ids):
    return ids
  start = codec.encode('\n')
  return np.where(start == codec.unknown, 0, start)


def describe(corpus: Corpus, data: ConfigDict, embedding_size: int, fresh: bool) -> str:
  """Returns what is worth knowing of a text before training: sizes, unknown symbols and, of a
  `fresh` run, that nobody has named the text, or whether an embedding would save time."""
  units, size = UNITS[corpus.codec.unit], len(corpus.codec.symbols)
  lines = [
    f'{split}: {len(ids):,} {units}; unknown symbols {corpus.unknown[split]:.2%}'
    for split, ids in corpus.splits.items()
  ]
  if fresh and not (data.path or data.tfds):
    lines.insert(0, "the text is the source of Python's standard library: data.path is empty")
  if fresh and not embedding_size and size > layers.ONE_HOT_LIMIT:
    lines.append(
      f'hint: {size:,} {units} are read as one-hot vectors, for each of which the first layer has '
      'a row of weights; an embedding of, say, --config.model.embedding_size=128 costs less'
    )
  return '\n'.join(lines)


def _named(data, moved):
  """Returns what is to be measured -> the field that names its text, where that is not the one
  trained on: all of another `path`, and held-out splits with other files."""
  own = {'text': 'path'} if {'path', 'glob'} & {*moved} else {}
  named = [field for field in HELD_OUT if field in moved and data[field]]
  return own | {field.removesuffix('_path'): field for field in named}


def _trained(data, codec, fingerprint):
  """Returns the text that a model was trained on; None where data name another one, or one that is
  not there, or too short to be cut.

  Raises:
    FileNotFoundError: a file of what was held out is not there.
  """
  for field in HELD_OUT:
    if data[field]:
      existing(data[field], f'data.{field}')
  try:
    return text_store.load_trained(data, codec, fingerprint)
  except (InputError, OSError):
    return None


def _jsonable(data):
  return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}
