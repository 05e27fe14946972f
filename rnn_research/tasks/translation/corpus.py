"""Parallel text for a translator: its splits, and how sentences of either language become ids."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from rnn_research.data import codec as text_codec
from rnn_research.data.buckets import EncodedPairs
from rnn_research.data.builders import SPLITS as TFDS_SPLITS
from rnn_research.data.codec import RULES, TextCodec, train_sentence_codec
from rnn_research.data.pairs import Pairs, language_of, read_pairs, read_tfds_pairs, tfds_splits
from rnn_research.data.sentences import chosen, joined
from rnn_research.data.text import check_encoding, check_splits
from rnn_research.errors import InputError, require
from rnn_research.tasks.translation import shares, synthetic

FILES = ('source', 'target', 'valid_source', 'valid_target', 'test_source', 'test_target')


class ParallelCorpus(NamedTuple):
  """Sentences with their translations.

  Attributes:
    splits: 'train', and perhaps 'valid' and 'test'; of large files 'train' has its first pairs
      alone, see `pair_store`.
    languages: of source and target, after the names of the files; '' where they tell none.
    fingerprint: hex digest of the training pairs.
    drawn: the splits that are shares of the pairs to train on, since they have none of their own.
  """

  splits: Mapping[str, Pairs]
  languages: tuple[str, str]
  fingerprint: str
  drawn: tuple[str, ...]


class Codec(NamedTuple):
  """How sentences of two languages become ids.

  Attributes:
    source, target: of either language.
    languages: as of `ParallelCorpus`.
  """

  source: TextCodec
  target: TextCodec
  languages: tuple[str, str]


def load_corpus(data: Mapping[str, Any], rules: int = RULES) -> ParallelCorpus:
  """Reads what the block `data` of a config names: a synthetic task, a tensorflow-datasets name, or
  files.

  A synthetic task is divided by the fractions `splits`. Held-out pairs that have no files, or no
  split of the data set, of their own are drawn from the training pairs by these fractions, without
  duplicates: a pair would stand on both sides.

  Args:
    data: the block.
    rules: of `TextCodec`.

  Raises:
    FileNotFoundError: a file or data set is not there.
    InputError: nothing is named, or what is named cannot be used.
  """
  languages, drawn = ('', ''), ()
  if data['task']:
    splits = synthetic.draw_splits(data['task'], _counts(data['examples'], data['splits']), 0)
  elif data['tfds']:
    splits, drawn = _with_shares(_read_tfds(data), data, rules)
  elif data['source']:
    languages = language_of(data['source']), language_of(data['target'])
    splits, drawn = _with_shares(_read_files(data), data, rules)
  else:
    raise InputError(
      "data.source is '', expected a file of source sentences, and data.target that of their "
      'translations; without data there are the variants dates, reverse and sort'
    )
  train = splits['train']
  return ParallelCorpus(splits, languages, fingerprint_of([train.sources, train.targets]), drawn)


def fingerprint_of(texts: Iterable[Sequence[str]]) -> str:
  """Returns the hex digest of training sentences, in pieces of any size: all sources, and then all
  targets."""
  # Digests are in checkpoints: what they are made of does not change.
  digest = hashlib.sha256()
  between = ''
  for piece in filter(len, texts):
    digest.update((between + '\n'.join(piece)).encode())
    between = '\n'
  return digest.hexdigest()


def check_places(data: Mapping[str, Any]) -> None:
  """Raises InputError, naming the fields, where they do not say in one way what the pairs are."""
  named = [field for field in ('task', 'tfds', 'source') if data[field]]
  files = [field for field in FILES if data[field]]
  if len(named) > 1 or (files and named in (['task'], ['tfds'])):
    others = ', '.join(f'data.{field}' for field in dict.fromkeys((*named[1:], *files)))
    raise InputError(
      f'data.{named[0]} is {data[named[0]]!r} and {others} is given too, expected one of them (the '
      'variants for files: sutskever, cho, bahdanau, luong, subword)'
    )
  for split in ('', 'valid_', 'test_'):
    if data[f'{split}target'] and not data[f'{split}source']:
      raise InputError(
        f'data.{split}target is {data[f"{split}target"]!r}, expected data.{split}source with it'
      )
  check_encoding(data['encoding'], bool(files), 'files of sentences')
  check_splits(data['splits'])


def load_held_out(
  data: Mapping[str, Any],
  fingerprint: str,
  load: Callable[[Mapping[str, Any]], ParallelCorpus],
) -> Mapping[str, Pairs]:
  """Returns the splits of `held_out_names`; training files are read only where these are
  shares of them.

  Args:
    data: as of `load_corpus`.
    fingerprint: of the pairs that the model was trained on; '' where that is now.
    load: `load_corpus`, called only where it must be.

  Raises:
    FileNotFoundError: a file or data set is not there.
    InputError: what is named cannot be used, or held-out pairs are shares of other training pairs.
  """
  names = held_out_names(data)
  if all(data[f'{name}_source'] for name in names):
    return {name: read_held_out(data, name) for name in names}
  corpus = load(data)
  if fingerprint not in ('', corpus.fingerprint):
    # All may have been shares then, of which one has files now.
    files = {field: '' for field in FILES if '_' in field}
    corpus = load({**data, **files})
  if fingerprint not in ('', corpus.fingerprint):
    raise InputError(
      'what data.source and data.splits leave to train on are not the pairs that the model was '
      'trained on, so the held-out ones are not known; name files of them all with '
      'data.valid_source and data.test_source'
    )
  return {
    name: read_held_out(data, name) if data[f'{name}_source'] else corpus.splits[name]
    for name in names
  }


def held_out_names(data: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the held-out splits that `load_corpus` will find: those with files or a share."""
  wanted = shares.wanted(data['splits'])
  return tuple(name for name in shares.HELD_OUT if name in wanted or data[f'{name}_source'])


def _counts(total, fractions):
  """Returns split -> how many of the pairs of a task it has, one at least unless its fraction is
  0."""
  # Decimal fractions, since 100 * 0.29 < 29 in binary.
  counts = {
    name: max(math.floor(total * Fraction(str(share))), 1)
    for name, share in shares.wanted(fractions).items()
  }
  train = total - sum(counts.values())
  require('data.examples', total, train >= 1, f'more of them for data.splits {tuple(fractions)}')
  return {'train': train, **counts}


def _read_tfds(data):
  """Returns the splits that a data set has, held-out ones only where `splits` wants them."""
  splits = {}
  known = tfds_splits(data['tfds'], data['data_dir'])
  for name in ('train', *held_out_names(data)):
    if name == 'train' or TFDS_SPLITS[name] in known:
      splits[name] = read_tfds_pairs(data['tfds'], data['data_dir'], TFDS_SPLITS[name])
  return splits


def _read_files(data):
  """Returns the splits that have files."""
  splits = {'train': read_pairs(data['source'], data['target'], encoding=data['encoding'])}
  names = (name for name in ('valid', 'test') if data[f'{name}_source'])
  return splits | {name: read_held_out(data, name) for name in names}


def _with_shares(splits, data, rules):
  """Returns splits with the held-out ones that they lack drawn from 'train', and their names."""
  names = shares.drawn_names(data, splits)
  if names:
    pairs = splits['train']
    rows = np.arange(len(pairs.sources))
    if rules > 2:
      rows = rows[~shares.repeated(shares.digests(pairs, data['lower']))]
    parts = shares.divided(rows, data['splits'], names, len(pairs.sources) - len(rows))
    splits |= {split: _taken(pairs, places) for split, places in parts.items()}
    splits['train'] = splits['train']._replace(
      empty=pairs.empty, duplicates=len(pairs.sources) - len(rows), columns=pairs.columns
    )
  return {name: splits[name] for name in ('train', 'valid', 'test') if name in splits}, names


def _taken(pairs, places):
  sides = ([texts[place] for place in places] for texts in (pairs.sources, pairs.targets))
  return Pairs(*sides, 0)


def read_held_out(data: Mapping[str, Any], name: str) -> Pairs:
  """Returns the pairs of a held-out split that has files of its own."""
  source, target = data[f'{name}_source'], data[f'{name}_target']
  return read_pairs(source, target, f'data.{name}_source', data['encoding'])


def train_codec(corpus: ParallelCorpus, data: Mapping[str, Any]) -> Codec:
  """Returns the codec that knows the symbols of the training pairs.

  Args:
    corpus: its split 'train' is read.
    data: `unit`, `lower`, `min_frequency` and `vocabulary_size` of the config's block.

  Raises:
    InputError: see `train_sentence_codec`.
  """
  train = corpus.splits['train']
  names = 'unit', 'lower', 'min_frequency', 'vocabulary_size'

  def side(texts):
    return train_sentence_codec(texts, **{name: data[name] for name in names})

  return Codec(side(train.sources), side(train.targets), corpus.languages)


def encode_pairs(codec: Codec, pairs: Pairs) -> EncodedPairs:
  """Returns pairs as ids."""
  return EncodedPairs(
    joined(codec.source.encode_all(pairs.sources)), joined(codec.target.encode_all(pairs.targets))
  )


def within(pairs: EncodedPairs, max_length: int) -> EncodedPairs:
  """Returns the pairs both of whose sides have at most `max_length` symbols.

  Raises:
    InputError: there is none.
  """
  kept = np.maximum(pairs.sources.lengths, pairs.targets.lengths) <= max_length
  if not kept.any():
    raise InputError(
      f'data.max_length is {max_length}, but every training pair has a side of more symbols'
    )
  return EncodedPairs(*(chosen(side, kept) for side in pairs))


def references(codec: Codec, texts: Sequence[str]) -> list[str]:
  """Returns target sentences as translations are compared with them, in the form of the model's."""
  return list(map(codec.target.normalise, texts))


def unknown_rates(codec: Codec, pairs: EncodedPairs) -> tuple[float, float]:
  """Returns the shares of unknown symbols in sources and in targets that are not chosen of
  others."""
  return (
    codec.source.unknown_share(pairs.sources.ids),
    codec.target.unknown_share(pairs.targets.ids),
  )


def to_json(codec: Codec) -> dict[str, Any]:
  """Returns a codec as what `json` can write."""
  return {
    'source': codec.source.to_json(),
    'target': codec.target.to_json(),
    'languages': list(codec.languages),
  }


def from_json(value: Mapping[str, Any]) -> Codec:
  """Returns the codec that `to_json` wrote; raises MisfitError for that of an earlier version."""
  source, target = (text_codec.from_json(value[side]) for side in ('source', 'target'))
  return Codec(source, target, tuple(value['languages']))
