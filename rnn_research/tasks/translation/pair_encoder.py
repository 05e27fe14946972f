"""How large files of sentence pairs are encoded: read in pieces, three times, to learn subwords two
times more. No more of them is held in memory than a piece, the held-out sentences and a few numbers
of every pair."""

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnn_research.data.codec import TextCodec, encoder, new_sentence_codec, with_symbols
from rnn_research.data.pairs import Pairs, pair_pieces
from rnn_research.tasks import cache, kept
from rnn_research.tasks.translation import shares
from rnn_research.tasks.translation.corpus import Codec, fingerprint_of
from rnn_research.training.progress import Display, open_counter

SIDES = ('source', 'target')
_FIRST = 3  # training pairs whose text is kept

Labelled = Callable[[], Iterator[tuple[Pairs, np.ndarray]]]  # pieces, and the split of each pair


class _Side(NamedTuple):
  """What becomes of the sentences of a language.

  Attributes:
    codec: that splits them.
    numbers: symbol -> its number, in the order in which they came.
    lengths: split -> lengths of its sentences in every piece, each [n] int64.
    texts: split -> its sentences, of the training pairs the first.
  """

  codec: TextCodec
  numbers: dict[str, int]
  lengths: Mapping[str, list[np.ndarray]]
  texts: Mapping[str, list[str]]


def encode(
  folder: Path,
  data: Mapping[str, Any],
  rules: int,
  names: Sequence[str],
  saved: Codec | None,
) -> dict[str, Any]:
  """Writes the ids of pairs, the lengths of sentences, and the held-out sentences.

  A symbol gets a number when it comes for the first time; what its id is is known when all were
  counted, so sentences are split only once.

  Args:
    folder: where to.
    data: block of a config that names files.
    rules: of `TextCodec`.
    names: of the held-out splits that are shares of the pairs.
    saved: the codec of a trained model; without it one is made of the training pairs.

  Returns:
    What `json` can write: the codec, the digest of the training pairs, and counts.

  Raises:
    FileNotFoundError: a file is not there.
    InputError: see `corpus.load_corpus`, `cache.check_space`.
  """
  places = data['source'], data['target'], 'data.source', data['encoding']
  read = functools.partial(pair_pieces, *places)
  labels, counts = _survey(read, data, names, digested=bool(names) and rules > 2)
  pieces = functools.partial(_labelled, read, labels)
  sides = [_side(side, pieces, data, ('train', *names), saved) for side in SIDES]
  display = open_counter(len(labels), 'pairs')
  try:
    for file in folder.glob('*.part'):  # what a killed process left would be gone on with
      file.unlink()
    sources = _split(folder, pieces, sides, display)
    fingerprint = fingerprint_of(itertools.chain(sources, _training(pieces, 'targets')))
  finally:
    display.close()
  codecs = (
    [saved.source, saved.target]
    if saved
    else [_trained(folder, *named, data) for named in zip(SIDES, sides, strict=True)]
  )
  _write(folder, sides, codecs)
  return {
    **counts,
    'fingerprint': fingerprint,
    'codec': {name: codec.to_json() for name, codec in zip(SIDES, codecs, strict=True)},
    'symbols': sum(int(n.sum()) for side in sides for ns in side.lengths.values() for n in ns),
  }


def _survey(read, data, names, digested: bool) -> tuple[np.ndarray, dict[str, int]]:
  """Reads the pairs once.

  Returns:
    labels: [N] int8, the split of every pair, 0 to train on; -1 of those that are left out.
    counts: those of `Pairs`.
  """
  total, empty, found, columns = 0, 0, [np.zeros((0, 2), np.uint64)], 0
  for piece in read():
    total, empty, columns = total + len(piece.sources), empty + piece.empty, piece.columns
    if digested:
      found.append(shares.digests(piece, data['lower']))
  again = shares.repeated(np.concatenate(found)) if digested else np.zeros(total, bool)
  duplicates = int(again.sum())
  labels = np.full(total, -1, np.int8)
  parts = shares.divided(np.flatnonzero(~again), data['splits'], names, duplicates)
  for label, rows in enumerate(parts.values()):
    labels[rows] = label
  return labels, {'empty': empty, 'duplicates': duplicates, 'columns': columns}


def _labelled(read, labels: np.ndarray) -> Iterator[tuple[Pairs, np.ndarray]]:
  """Yields pairs in pieces, and their labels; fewer of files that have grown meanwhile, which
  `kept.ensure` refuses."""
  start = 0
  for piece in read():
    yield piece, labels[start : start + len(piece.sources)]
    start += len(piece.sources)


def _training(pieces: Labelled, side: str) -> Iterator[list[str]]:
  """Yields the training sentences of 'sources' or 'targets'."""
  for piece, labels in pieces():
    yield list(itertools.compress(getattr(piece, side), labels == 0))


def _side(name, pieces: Labelled, data, splits: Sequence[str], saved: Codec | None) -> _Side:
  texts = itertools.chain.from_iterable(_training(pieces, f'{name}s'))
  fields = [data[field] for field in ('unit', 'lower', 'vocabulary_size')]
  codec = getattr(saved, name) if saved else new_sentence_codec(texts, *fields)
  numbers: defaultdict[str, int] = defaultdict()
  numbers.default_factory = numbers.__len__  # a new symbol gets the next number
  return _Side(codec, numbers, {split: [] for split in splits}, {split: [] for split in splits})


def _split(folder: Path, pieces: Labelled, sides: Sequence[_Side], display: Display):
  """Splits all sentences, writes the numbers of their symbols, and yields the training sources."""
  done = 0
  for piece, labels in pieces():
    display.update(done)
    done += len(labels)
    for name, side, texts in zip(SIDES, sides, piece[:2], strict=True):
      symbols = side.codec.split_all(texts)
      for label, split in enumerate(side.lengths):
        own = labels == label
        room = None if label else max(_FIRST - len(side.texts[split]), 0)
        side.texts[split].extend(itertools.islice(itertools.compress(texts, own), room))
        sentences = list(itertools.compress(symbols, own))
        side.lengths[split].append(np.fromiter(map(len, sentences), np.int64, len(sentences)))
        flat = itertools.chain.from_iterable(sentences)
        numbers = np.fromiter(map(side.numbers.__getitem__, flat), np.int64)
        with cache.sentence(folder, 'written'), open(_part(folder, split, name), 'ab') as file:
          kept.write_array(file, numbers.astype(np.min_scalar_type(len(side.numbers))))
    yield list(itertools.compress(piece.sources, labels == 0))


def _part(folder, split, name):
  return folder / f'{split}.{name}.part'


def _pieces_of(folder: Path, name: str, side: _Side, split: str) -> Iterator[np.ndarray]:
  """Yields the numbers that `_split` wrote."""
  with cache.sentence(folder, 'read'), open(_part(folder, split, name), 'rb') as file:
    for _ in side.lengths[split]:
      yield np.load(file, allow_pickle=False)


def _trained(folder: Path, name: str, side: _Side, data) -> TextCodec:
  """Returns the codec that knows the symbols of the training sentences."""
  counts = np.zeros(len(side.numbers), np.int64)
  for numbers in _pieces_of(folder, name, side, 'train'):
    counts += np.bincount(numbers, minlength=len(counts))
  named = dict(zip(side.numbers, counts.tolist(), strict=True))
  return with_symbols(side.codec, named, data['min_frequency'], data['vocabulary_size'])


def _write(folder: Path, sides: Sequence[_Side], codecs: Sequence[TextCodec]) -> None:
  """Writes the ids of all sentences, their lengths, and the held-out sentences."""
  for name, side, codec in zip(SIDES, sides, codecs, strict=True):
    ids, kind = encoder(codec)(list(side.numbers)), np.min_scalar_type(len(codec.symbols) - 1)
    for split, parts in side.lengths.items():
      lengths = np.concatenate(parts)
      cache.check_space(folder, (kind.itemsize + 1) * int(lengths.sum()))
      with cache.sentence(folder, 'written'):
        with open(folder / f'{split}.{name}.npy', 'wb') as file:
          kept.write_header(file, kind, int(lengths.sum()))
          for numbers in _pieces_of(folder, name, side, split):
            file.write(ids[numbers].astype(kind).data)
        with open(folder / f'{split}.{name}.lengths.npy', 'wb') as file:
          kept.write_array(file, lengths.astype(np.min_scalar_type(lengths.max(initial=0))))
        (folder / f'{split}.{name}.txt').write_bytes('\n'.join(side.texts[split]).encode())
        _part(folder, split, name).unlink()
