"""What a network sees in pictures, computed once and kept on disk."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import grain
import numpy as np

from rnn_research.data.pictures import Pictures, read_picture
from rnn_research.data.views import VIEWS, view
from rnn_research.errors import InputError, require_one_of
from rnn_research.tasks import cache
from rnn_research.tasks.captioning import feature_store
from rnn_research.training.progress import open_counter, tell, warn

_RULES = 1  # another number where `read_picture` or `view` makes other pixels of a file
_THREADS = 8  # that read and decode ahead of the network


Digests = tuple[Mapping[str, bytes], Mapping[str, str]]  # see `digests_of`


class Features(NamedTuple):
  """What a network sees in N pictures.

  Attributes:
    arrays: name -> [M, ...] float16, memory-mapped: a row per picture, those of other corpora that
      were read in the same way among them.
    rows: [N] int64, the row of each of the pictures; -1 where it was skipped.
    skipped: name of a picture -> why it has no row.
  """

  arrays: Mapping[str, np.ndarray]
  rows: np.ndarray
  skipped: Mapping[str, str]


def take(features: Features, name: str, indices: np.ndarray) -> np.ndarray:
  """Returns what the network sees in some of the pictures, [len(indices), ...] float16.

  Args:
    features: of N pictures.
    name: of the array.
    indices: [B] integers in [0, N), none of a picture that was skipped.
  """
  rows = features.rows[indices]
  if (rows < 0).any():
    raise ValueError(f'pictures {np.asarray(indices)[rows < 0].tolist()} were skipped')
  return features.arrays[name][rows]


def cached_features(
  pictures: Pictures,
  names: Sequence[str],
  size: int,
  extract: Callable[[np.ndarray], Mapping[str, Any]],
  shapes: feature_store.Shapes,
  key: str,
  *,
  look: str = 'plain',
  files: Digests | None = None,
  batch_size: int = 32,
  cache_dir: str = '',
) -> Features:
  """Returns what a network sees in pictures; what it has not seen before is computed and kept.

  A picture is known by the content of its file. Rows are kept batch by batch: a run that was
  interrupted goes on where it was, and of several processes one computes.

  Args:
    pictures: where they are read.
    names: N of them.
    size: S, pixels of a side.
    extract: compiled, `([batch_size, S, S, 3] uint8) -> name -> [batch_size, ...]`; called only
      where a row is missing.
    shapes: name -> shape of what `extract` returns of a picture.
    key: names the network and its weights: whatever changes what `extract` returns.
    look: of `views.VIEWS`, what `extract` is shown of a picture.
    files: of `digests_of` the pictures, where that is known.
    batch_size: of `extract`.
    cache_dir: the folder that rows are kept in; see `cache.folder_of`.

  Raises:
    InputError: the folder cannot be written or is damaged, or no picture can be read.
  """
  require_one_of('look', look, VIEWS)
  about = json.dumps({'key': key, 'size': size, 'view': look, 'rules': _RULES})
  store = cache.folder_of(cache_dir, 'features') / _short(about.encode())
  digests, skipped = files or digests_of(pictures, names)
  known = feature_store.rows_of(store, shapes)
  if not set(digests.values()) <= known.keys():
    load = lambda name: view(read_picture(pictures.read(name), name, size), look)
    with cache.locked(store, about):
      skipped = {**skipped, **_fill(store, shapes, digests, load, extract, batch_size)}
    known = feature_store.rows_of(store, shapes)
  rows = np.array([known.get(digests.get(name, b''), -1) for name in names])
  _say_skipped(names, skipped)
  return Features(feature_store.open_arrays(store, shapes), rows, skipped)


def _short(data):
  return hashlib.sha256(data).hexdigest()[:20]


def _ahead(items: Sequence, load: Callable) -> Iterator[tuple[Any, Any, str]]:
  """Yields (item, what is loaded, '') or (item, None, why it cannot be), in order, while threads
  load ahead."""

  def loaded(item):
    try:
      return item, load(item), ''
    except InputError as error:
      return item, None, str(error)

  options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=4 * _THREADS)
  return iter(grain.MapDataset.source(items).map(loaded).to_iter_dataset(options))


def digests_of(pictures: Pictures, names: Sequence[str]) -> Digests:
  """Returns name -> digest of its file, and name -> why it cannot be read."""

  def digest(name):
    return hashlib.sha256(pictures.read(name)).digest()

  found = list(_ahead(list(dict.fromkeys(names)), digest))
  return (
    {name: digest for name, digest, _ in found if digest},
    {name: why for name, _, why in found if why},
  )


def _fill(store, shapes, digests, load, extract, batch_size) -> dict[str, str]:
  """Computes the rows that are missing; returns name -> why there is none for it."""
  known = feature_store.rows_of(store, shapes)
  missing = {digest: name for name, digest in digests.items() if digest not in known}
  if not missing:
    return {}  # another process has made them in the meantime
  place, done = len(known), 0
  damaged: dict[bytes, str] = {}
  display = open_counter(len(missing), 'pictures')
  try:
    display.update(0)
    for batch in _batches(_ahead(list(missing.values()), load), batch_size):
      damaged |= {digests[name]: why for name, _, why in batch if why}
      seen = [(name, picture) for name, picture, why in batch if not why]
      if seen:
        arrays = _extracted(extract, [picture for _, picture in seen], batch_size)
        if not done:
          row = sum(rows[0].nbytes for rows in arrays.values())
          cache.check_space(store, row * len(missing))
        feature_store.append(store, place, [digests[name] for name, _ in seen], arrays)
      place, done = place + len(seen), done + len(batch)
      display.update(done)
  finally:
    display.close()
  if done > len(damaged):
    _say_kept(store, done - len(damaged))
  return {name: damaged[digest] for name, digest in digests.items() if digest in damaged}


def _batches(items: Iterable, size: int) -> Iterator[list]:
  items = iter(items)
  while batch := list(islice(items, size)):
    yield batch


def _extracted(extract, seen, batch_size):
  """Returns name -> [n, ...] float16 of n pictures, which are padded to a batch."""
  batch = np.zeros((batch_size, *seen[0].shape), np.uint8)
  batch[: len(seen)] = seen
  with np.errstate(over='ignore'):
    arrays = {
      name: np.asarray(rows)[: len(seen)].astype(np.float16)
      for name, rows in extract(batch).items()
    }
  for name, rows in arrays.items():
    if not np.isfinite(rows).all():
      raise InputError(f'the features {name} are not finite, or too large for float16')
  return arrays


def _say_kept(store, count):
  megabytes = sum(path.stat().st_size for path in store.iterdir()) / 1e6
  tell(
    f'features of {count:,} pictures are kept in {store} ({megabytes:,.1f} MB with those before); '
    'the folder may be deleted, they are computed again'
  )


def _say_skipped(names, skipped):
  if not skipped:
    return
  why = '; '.join(list(skipped.values())[:3]) + ('; ..' if len(skipped) > 3 else '')
  if len(skipped) == len(set(names)):
    raise InputError(f'none of the {len(skipped)} pictures can be read: {why}')
  warn(f'{len(skipped)} of {len(set(names))} pictures are skipped: {why}')
