"""The pairs of a translator as text and as ids: those of large files are encoded once, piece by
piece, and their ids mapped from a disk."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnn_research.data import codec as text_codec
from rnn_research.data.buckets import EncodedPairs
from rnn_research.data.files import existing_file
from rnn_research.data.pairs import Pairs, language_of
from rnn_research.data.sentences import whole
from rnn_research.tasks import cache, kept
from rnn_research.tasks.contents import Files, contents_of
from rnn_research.tasks.translation import corpus, pair_encoder, shares
from rnn_research.tasks.translation.corpus import Codec, ParallelCorpus
from rnn_research.tasks.translation.pair_encoder import SIDES

_RULES = 1  # another number where the same files give other ids
_FIELDS = ('encoding', 'splits', 'unit', 'lower', 'min_frequency', 'vocabulary_size')


class Loaded(NamedTuple):
  """Pairs of sentences with their codec.

  Attributes:
    corpus: the pairs as text; of large files the training pairs are the first few.
    codec: the one that was given, or that of the training pairs.
    encoded: `() -> split -> ids of its pairs`, also those that are too long to train on.
  """

  corpus: ParallelCorpus
  codec: Codec
  encoded: Callable[[], Mapping[str, EncodedPairs]]


def load(data: Mapping[str, Any], rules: int, saved: Codec | None = None) -> Loaded:
  """Returns what the block `data` of a config names; files of `kept.LARGE` bytes or more from a
  disk, where they are kept encoded in `data.cache_dir`.

  Args:
    data: the block.
    rules: of `TextCodec`.
    saved: the codec of a trained model.

  Raises:
    FileNotFoundError: a file or data set is not there.
    InputError: what is named cannot be used, or the folder cannot be written.
  """
  files = _files(data)
  if not kept.is_large(files):
    found = corpus.load_corpus(data, rules)
    codec = saved or corpus.train_codec(found, data)
    ids_of = functools.partial(corpus.encode_pairs, codec)
    return Loaded(
      found, codec, lambda: {split: ids_of(pairs) for split, pairs in found.splits.items()}
    )
  # Read before anything is encoded, since they may not be there.
  own = {
    name: corpus.read_held_out(data, name) for name in ('valid', 'test') if data[f'{name}_source']
  }
  names = shares.drawn_names(data, own)
  about = [_RULES, rules, names, [repr(data[field]) for field in _FIELDS]]
  there = contents_of(cache.folder_of(data['cache_dir'], 'pairs'), files)
  folder = kept.folder_of(about, there)
  if saved and not _has_codec(folder, saved):
    about.append([side.to_json() for side in saved[:2]])
    folder = kept.folder_of(about, there)
  encode = functools.partial(pair_encoder.encode, folder, data, rules, names, saved)
  kept.ensure(folder, about, there, 'sentence pairs', encode)
  stored = kept.read(folder, functools.partial(_open, folder, data, names))
  return _with_files(stored, own, saved)


def _files(data) -> Files:
  """Returns the files of training pairs; none where these come from elsewhere."""
  if data['task'] or data['tfds']:
    return []
  fields = [f'data.{side}' for side in SIDES if data[side]]
  return [(field, existing_file(data[field.removeprefix('data.')], field)) for field in fields]


def _has_codec(folder: Path, codec: Codec) -> bool:
  """Returns whether pairs are kept there that were encoded with a codec."""
  if not kept.is_done(folder):
    return False
  there = kept.read(folder, _codecs)
  return there == [side._replace(rules=text_codec.RULES) for side in codec[:2]]


def _codecs(about):
  return [text_codec.from_json(about['codec'][side]) for side in SIDES]


def _open(folder: Path, data: Mapping[str, Any], names: tuple[str, ...], about: dict) -> Loaded:
  """Returns what `pair_encoder.encode` has written."""
  languages = language_of(data['source']), language_of(data['target'])
  splits = ('train', *names)
  ids = {
    split: EncodedPairs(_sentences(folder, split, 'source'), _sentences(folder, split, 'target'))
    for split in splits
  }
  texts = {
    split: Pairs(_texts(folder, split, 'source'), _texts(folder, split, 'target'), 0)
    for split in splits
  }
  counts = {name: about[name] for name in ('empty', 'duplicates', 'columns')}
  texts['train'] = texts['train']._replace(**counts)
  found = ParallelCorpus(texts, languages, about['fingerprint'], names)
  source, target = _codecs(about)
  return Loaded(found, Codec(source, target, languages), lambda: ids)


def _sentences(folder, split, side):
  # A plain view, since a slice of a memmap costs several times what one of an array does.
  ids = np.asarray(kept.mapped(folder / f'{split}.{side}.npy'))
  return whole(ids, kept.mapped(folder / f'{split}.{side}.lengths.npy'))


def _texts(folder, split, side):
  return (folder / f'{split}.{side}.txt').read_bytes().decode().split('\n')


def _with_files(stored: Loaded, own: Mapping[str, Pairs], saved: Codec | None) -> Loaded:
  """Adds the held-out splits that have files of their own, which are read at every start."""
  texts = {**stored.corpus.splits, **own}
  texts = {split: texts[split] for split in ('train', 'valid', 'test') if split in texts}
  codec = saved or stored.codec

  def encoded():
    kept_ids = stored.encoded()
    return {
      split: kept_ids[split] if split in kept_ids else corpus.encode_pairs(codec, pairs)
      for split, pairs in texts.items()
    }

  return Loaded(stored.corpus._replace(splits=texts), codec, encoded)
