"""Large texts: encoded once, piece by piece, and kept on disk as symbol ids that are mapped into
memory."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnn_research.data import codec as codec_lib
from rnn_research.data import running_text, text
from rnn_research.data.codec import TextCodec, new_symbols, train_text_codec
from rnn_research.data.files import list_files, read_text, symbol_pieces
from rnn_research.data.stdlib_corpus import standard_library_source
from rnn_research.data.text import Corpus
from rnn_research.errors import InputError, require_one_of
from rnn_research.tasks import cache, kept
from rnn_research.tasks.contents import Contents, Files, contents_of
from rnn_research.training.progress import open_counter

_RULES = 1  # another number where the same files give other ids

Pieces = Callable[[], Iterator[Sequence]]  # reads symbols from the beginning


def load_corpus(data: Mapping[str, Any], rules: int) -> Corpus:
  """Returns the text that the block `data` of a config names, as `text.load_corpus` does; of files
  of `kept.LARGE` bytes or more its ids are mapped from a disk, [N] of as few bytes as they need.

  Args:
    data: the arguments of `text.load_corpus`, and `cache_dir`, see `cache.folder_of`.
    rules: of `TextCodec`.

  Raises:
    FileNotFoundError: a source does not exist.
    InputError: a source cannot be used, or the folder cannot be written.
  """
  text.check_sources(data['path'], data['valid_path'], data['test_path'], data['tfds'])
  require_one_of('data.unit', data['unit'], running_text.UNITS)
  text.check_splits(data['splits'])
  parts = _parts(data)
  if not parts:
    fields = {name: value for name, value in data.items() if name != 'cache_dir'}
    return text.load_corpus(**fields, rules=rules)
  if not kept.is_large(_files(parts)):
    return text.encode_files(parts, data['encoding'], data['unit'], data['splits'], rules)
  sources = _sources(parts, data['unit'], rules, data['encoding'])
  survey = functools.partial(_surveyed, sources, data['unit'], data['splits'], rules)
  return _kept(_place(data, parts, _own(data, parts, rules)), sources, survey)


def load_trained(data: Mapping[str, Any], codec: TextCodec, fingerprint: str) -> Corpus | None:
  """Returns the text of `load_corpus`, which raises the same, if it is the one that a model was
  trained on, else None; a large one in one part that is not kept yet is then kept as
  `encode_foreign` reads it, so that it is encoded once, whichever it is.

  Args:
    data: see `load_corpus`.
    codec: of the model.
    fingerprint: of the text that it was trained on.
  """
  parts = _parts(data)
  # An unknown symbol of the training text itself stands for any symbol of another one.
  in_doubt = len(parts) != 1 or codec.has_unknown
  if in_doubt or not kept.is_large(_files(parts)) or _is_kept(data, parts, codec.rules):
    found = load_corpus(data, codec.rules)
    return found if found.fingerprint == fingerprint else None
  whole = _foreign(data, parts, codec)
  if whole.fingerprint != fingerprint:
    return None
  ids = whole.splits['train']
  splits = {split: ids[part] for split, part in text.cuts(len(ids), data['splits']).items()}
  unknown = {split: codec.unknown_share(part) for split, part in splits.items()}
  return whole._replace(splits=splits, unknown=unknown)


def encode_foreign(data: Mapping[str, Any], codec: TextCodec, field: str = 'path') -> np.ndarray:
  """Returns another text whole as ids of a given codec, [N] integers; a large one from a disk, see
  `load_corpus`, which raises the same.

  Args:
    data: see `load_corpus`.
    codec: of the model.
    field: of `data` that names the text; '' there is the source of the Python standard library.
  """
  if not data[field]:
    return codec.ids(running_text.split(standard_library_source(), codec.unit))
  flag = f'data.{field}'
  part = text.Files(flag, data[field], list_files(data[field], data['glob'], flag))
  parts = {'train': part}
  if not kept.is_large(_files(parts)):
    read = read_text(part.files, part.path, codec.unit, codec.rules, flag, data['encoding'])
    return codec.ids(read)
  return _foreign(data, parts, codec).splits['train']


def _foreign(data, parts, codec: TextCodec) -> Corpus:
  """Returns a large text whole, as 'train', as ids of a given codec."""
  sources = _sources(parts, codec.unit, codec.rules, data['encoding'])
  survey = lambda: (codec, {'train': sum(map(len, sources['train']()))})
  return _kept(_place(data, parts, [data['encoding'], codec.to_json()]), sources, survey)


def _own(data, parts, rules: int) -> list:
  """Returns what the ids of `load_corpus` depend on beside the files."""
  splits = [float(part) for part in data['splits']] if len(parts) == 1 else []
  return [rules, data['encoding'], data['unit'], splits]


def _is_kept(data, parts, rules: int) -> bool:
  return kept.is_done(_place(data, parts, _own(data, parts, rules)).folder)


def _parts(data) -> dict[str, text.Files]:
  """Returns the files of a text; none where it comes from elsewhere."""
  names = ('path', 'glob', 'valid_path', 'test_path')
  return text.text_files(*(data[name] for name in names)) if data['path'] else {}


def _files(parts) -> Files:
  return [(part.flag, file) for part in parts.values() for file in part.files]


def _sources(parts, unit: str, rules: int, encoding: str) -> dict[str, Pieces]:
  return {
    split: functools.partial(symbol_pieces, part.files, unit, rules, part.flag, encoding)
    for split, part in parts.items()
  }


class _Place(NamedTuple):
  """Where a text is kept, or would be; see `kept.ensure`."""

  folder: Path
  about: list
  found: Contents


def _place(data, parts, about: list) -> _Place:
  """Returns where parts of `text.text_files` are kept, whose ids depend on `about` beside them."""
  found = contents_of(cache.folder_of(data['cache_dir'], 'texts'), _files(parts))
  about = [_RULES, about, [(split, len(part.files)) for split, part in parts.items()]]
  return _Place(kept.folder_of(about, found), about, found)


def _kept(place: _Place, sources: Mapping[str, Pieces], survey: Callable) -> Corpus:
  """Returns an encoded text that is kept on a disk, where it is written first if it is not there.

  Args:
    place: where.
    sources: which read it.
    survey: `() -> (codec, split -> number of symbols)`; reads the sources once.
  """
  encode = lambda: _encode(place.folder, sources, survey)
  kept.ensure(*place, 'a text', encode)
  return kept.read(place.folder, functools.partial(_open, place.folder))


def _encode(folder: Path, sources: Mapping[str, Pieces], survey: Callable) -> dict:
  """Reads files twice, first for their symbols and then for their ids, and writes the ids; returns
  what `_open` reads."""
  codec, sizes = survey()
  kind = np.min_scalar_type(len(codec.symbols) - 1)
  cache.check_space(folder, kind.itemsize * sum(sizes.values()))
  unknown = dict.fromkeys(sizes, 0)
  ids = _written(folder, _ids(sources, codec, sum(sizes.values())), sizes, codec, unknown)
  return {
    'fingerprint': text.fingerprint(codec, ids),
    'codec': codec.to_json(),
    'unknown': {split: unknown[split] / size for split, size in sizes.items()},
    'symbols': sum(sizes.values()),
  }


def _surveyed(sources: Mapping[str, Pieces], unit: str, splits: Sequence[float], rules: int):
  """Returns the codec of the training text, and split -> its number of symbols."""
  first: dict = {}
  sizes = dict.fromkeys(sources, 0)
  for split, pieces in sources.items():
    for symbols in pieces():
      if split == 'train':
        found = new_symbols(symbols, unit, first)
        first |= {symbol: sizes[split] + place for symbol, place in found.items()}
      sizes[split] += len(symbols)
  if len(sources) == 1:
    cuts = text.cuts(sizes['train'], splits)
    sizes = {split: part.stop - part.start for split, part in cuts.items()}
  text.check_sizes(sizes, unit)
  known = [symbol for symbol, place in first.items() if place < sizes['train']]
  return train_text_codec(known, unit)._replace(rules=rules), sizes


def _ids(sources: Mapping[str, Pieces], codec: TextCodec, total: int) -> Iterator[np.ndarray]:
  """Yields the ids of all parts, one after the other, [n] int32."""
  encode, done = codec_lib.encoder(codec), 0
  display = open_counter(total, 'symbols')
  try:
    for pieces in sources.values():
      for symbols in pieces():
        display.update(done)
        done += len(symbols)
        yield encode(symbols)
  finally:
    display.close()


def _written(
  folder: Path,
  pieces: Iterator[np.ndarray],
  sizes: Mapping[str, int],
  codec: TextCodec,
  unknown: dict[str, int],
) -> Iterator[np.ndarray]:
  """Writes ids to a file of each split, counts the unknown ones, and yields them."""
  kind = np.min_scalar_type(len(codec.symbols) - 1)
  rest = np.zeros(0, np.int32)
  for split, size in sizes.items():
    with cache.sentence(folder, 'written'), open(folder / f'{split}.npy', 'wb') as file:
      kept.write_header(file, kind, size)
      left = size
      while left:
        rest = rest if len(rest) else _next(pieces)
        part, rest = rest[:left], rest[left:]
        file.write(part.astype(kind).data)
        unknown[split] += int(np.count_nonzero(part == codec.unknown))
        left -= len(part)
        yield part


def _next(pieces: Iterator[np.ndarray]) -> np.ndarray:
  part = next(pieces, None)
  if part is None:
    raise InputError('data.path: the text became shorter while it was read')
  return part


def _open(folder: Path, about: dict) -> Corpus:
  """Returns what `_encode` has written."""
  ids = {split: kept.mapped(folder / f'{split}.npy') for split in about['unknown']}
  return Corpus(ids, codec_lib.from_json(about['codec']), about['unknown'], about['fingerprint'])
