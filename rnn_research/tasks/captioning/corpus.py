"""Captions for a captioner: their splits, and the pictures that they are of."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnn_research.data import caption_builder, held_out
from rnn_research.data.files import existing, existing_file, read_bytes
from rnn_research.data.pictures import Pictures, meant, open_files, open_pictures
from rnn_research.data.text import check_splits
from rnn_research.errors import InputError
from rnn_research.tasks.captioning.layouts import (
  FLICKR_FILES,
  UNUSED,
  read_flickr,
  read_json,
  read_table,
  text_of,
)

Row = tuple[str, tuple[str, ...]]  # the name of a picture, and its captions

_SPLITS = ('train', 'valid', 'test')
_FLICKR_TEXTS = ('Flickr8k_text.zip', 'Flickr8k_text', '')
_FLICKR_PICTURES = ('Flickr8k_Dataset.zip', 'Flickr8k_Dataset', 'Flicker8k_Dataset', '')


class Captions(NamedTuple):
  """Pictures with their captions.

  Attributes:
    splits: 'train', and perhaps 'valid' and 'test' -> its pictures, each with at least one caption.
    pictures: where they are read.
    drawn: the splits that are shares of the pictures to train on, since they have none of their
      own.
    skipped: what was left out -> how often: 'captions' without a picture, 'empty' captions,
      'pictures' without a caption or in no split.
    about: lines that say so.
    fingerprint: hex digest of the training pictures' names and captions.
  """

  splits: Mapping[str, Sequence[Row]]
  pictures: Pictures
  drawn: tuple[str, ...]
  skipped: Mapping[str, int]
  about: tuple[str, ...]
  fingerprint: str


def load_captions(data: Mapping[str, Any]) -> Captions:
  """Reads what the block `data` of a config names.

  `tfds` is a data set of `caption_builder.prepare_captions`. Otherwise `path` is the folder of
  Flickr8k's archives, packed or not, or a file: COCO's JSON, or a table (see `layouts`); `images`
  is the folder or archive of the pictures, by default where `path` is. Held-out pictures are those
  of the files `valid` and `test`, or of the splits that `path` has, or else the shares `splits` of
  those to train on.

  Args:
    data: the block.

  Raises:
    FileNotFoundError: a file, folder or data set is not there.
    InputError: nothing is named, or what is named cannot be used.
  """
  if data['tfds']:
    splits, pictures = caption_builder.read_captions(data['tfds'], data['data_dir'])
    where = f'data.tfds: {data["tfds"]}'
  else:
    splits, pictures = _read_files(data)
    where = f'data.path: {data["path"]}'
  skipped: Counter = Counter(captions=0, empty=0, pictures=0)
  rows, lost = _matched(splits, pictures, skipped)
  _check(rows, splits, lost, where)
  skipped['pictures'] = len(pictures.names) - sum(map(len, rows.values()))
  rows, drawn = _with_shares(rows, data['splits'])
  about = _about(rows, drawn, skipped, lost)
  return Captions(rows, pictures, drawn, skipped, about, _fingerprint(rows['train']))


def check_places(data: Mapping[str, Any]) -> None:
  """Raises InputError, naming the fields, where they do not say in one way what the captions
  are."""
  files = [name for name in ('path', 'images', 'valid', 'test') if data[name]]
  if data['tfds'] and files:
    others = ', '.join(f'data.{name}' for name in files)
    raise InputError(
      f'data.tfds is {data["tfds"]!r} and {others} is given too, expected one of them'
    )
  if files and not data['path']:
    raise InputError(
      f'data.{files[0]} is {data[files[0]]!r}, expected data.path, the training captions, with it'
    )
  check_splits(data['splits'])


def _read_files(data):
  """Returns split -> image name -> captions, and the pictures."""
  path = data['path']
  if not path:
    raise InputError(
      "data.path is '', expected the folder of Flickr8k's archives, or a file of captions: COCO's "
      'JSON, or image and caption in two columns'
    )
  root = existing(path, 'data.path')
  if not root.is_dir():
    splits, found = _read_file(path, 'data.path'), root.parent
  elif (root / 'captions.txt').is_file():
    splits, found = _read_file(str(root / 'captions.txt'), 'data.path'), root
  else:
    splits, found = _flickr(root)
  for name in ('valid', 'test'):
    if data[name]:
      if name in splits:
        raise InputError(
          f"data.{name} is {data[name]!r}, expected '', since {path} has such a split"
        )
      splits[name] = _only(_read_file(data[name], f'data.{name}'))
  return splits, open_pictures(data['images'] or str(found), 'data.images')


def _read_file(path, flag):
  existing_file(path, flag)
  where = f'{flag}: {path}'
  text = text_of(read_bytes(path, flag=flag), where)
  if text.lstrip().startswith('{'):
    return read_json(text, where)
  return {'train': read_table(text, where)}


def _only(splits):
  """Returns the captions of a file of held-out pictures, whatever splits it has."""
  return {name: captions for split in splits.values() for name, captions in split.items()}


def _flickr(root):
  for place in _FLICKR_TEXTS:
    if (root / place).exists():
      files = open_files(str(root / place), 'data.path')
      # In the archive they may lie in a folder.
      names = {Path(name).name: name for name in files.names}
      if set(FLICKR_FILES) <= names.keys():
        texts = {name: files.read(names[name]) for name in FLICKR_FILES}
        found = next(root / place for place in _FLICKR_PICTURES if (root / place).exists())
        return read_flickr(texts, f'data.path: {root / place}'), found
  raise InputError(
    f"data.path: the folder {root} has no captions, expected Flickr8k's {FLICKR_FILES[0]} with its "
    f'lists of splits or {_FLICKR_TEXTS[0]}, or captions.txt; elsewhere name a file'
  )


def _matched(splits, pictures, skipped):
  """Returns split -> rows whose pictures are there, and the names of those that are not."""
  asked = {name for captioned in splits.values() for name in captioned}
  known = meant(asked, pictures.names)
  found, lost = {}, {}
  for split, captioned in splits.items():
    rows = {}
    for name, captions in captioned.items():
      texts = tuple(filter(None, (' '.join(caption.split()) for caption in captions)))
      skipped['empty'] += len(captions) - len(texts)
      picture = known.get(name)
      if picture is None:
        skipped['captions'] += len(texts)
        lost[name] = len(texts)
      elif texts:
        rows[picture] = rows.get(picture, ()) + texts
    found[split] = rows
  found.pop(UNUSED, None)
  # One order, in whatever files they came.
  splits = [split for split in _SPLITS if split in found or split == 'train']
  return {split: sorted(found.get(split, {}).items()) for split in splits}, lost


def _check(rows, splits, lost, where):
  """Raises InputError where a split is empty, or pictures are in two of them."""
  for split, found in rows.items():
    if not found:
      missing = [name for name in splits.get(split, ()) if name in lost]
      found = f', {missing[0]} and {len(missing) - 1} others are not there' if missing else ''
      raise InputError(
        f'{where}: no picture of the split {split} has a caption{found}; data.images must be the '
        'folder or zip archive of the pictures'
      )
  seen = Counter(name for found in rows.values() for name, _ in found)
  twice = [name for name, times in seen.items() if times > 1]
  if twice:
    raise InputError(
      f'{where}: {len(twice)} pictures are in two splits, such as {twice[0]}, expected each in one'
    )


def _with_shares(rows, fractions):
  """Returns splits with the held-out ones that they lack drawn from 'train', and their names."""
  shares = dict(zip(_SPLITS[1:], fractions[1:], strict=True))
  drawn = tuple(name for name, share in shares.items() if name not in rows and share)
  total = len(rows['train'])
  for name in drawn:
    train = rows['train']
    chosen = held_out.drawn(len(train), round(shares[name] * total), name, 'pictures')
    rows[name] = [row for row, taken in zip(train, chosen, strict=True) if taken]
    rows['train'] = [row for row, taken in zip(train, chosen, strict=True) if not taken]
  return {name: rows[name] for name in _SPLITS if name in rows}, drawn


def _fingerprint(rows):
  """Returns the digest of rows, wherever the pictures lie."""
  named = [(Path(name).name, captions) for name, captions in rows]
  return hashlib.sha256(repr(named).encode()).hexdigest()


def _about(rows, drawn, skipped, lost):
  sizes = ', '.join(
    f'{split} {len(found):,} pictures with {sum(len(row[1]) for row in found):,} captions'
    + (' (drawn)' if split in drawn else '')
    for split, found in rows.items()
  )
  notes = (
    (
      skipped['captions'],
      f'{skipped["captions"]:,} captions of {len(lost):,} images are left out, since these are not '
      f'there: {", ".join(list(lost)[:3])}{" .." if len(lost) > 3 else ""}',
    ),
    (skipped['empty'], f'{skipped["empty"]:,} captions are left out, since they are empty'),
    (
      skipped['pictures'],
      f'{skipped["pictures"]:,} pictures are left out, without captions or in no split',
    ),
  )
  return (sizes, *(note for count, note in notes if count))
