"""Sets of labelled pictures in memory: the idx files of MNIST, any folder, or drawn digits."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from rnn_research.data import held_out, idx
from rnn_research.data.drawn_digits import draw_digits
from rnn_research.data.files import expand
from rnn_research.data.pictures import list_pictures, open_pictures, picture_sides, read_picture
from rnn_research.errors import InputError

_DIGITS = tuple('0123456789')
_DRAWN = {'train': 2_000, 'valid': 500, 'test': 500}
_IDX_VALID = 5_000  # the last of the training file, at most; a tenth where there are few
_FEWEST = 3  # pictures of a class: one of each split
_COLOUR = 8  # steps of 255 between channels that still pass for grey


class Part(NamedTuple):
  """A split.

  Attributes:
    images: [N, S, S, C] uint8; C is 1 of grey pictures and 3, RGB, of others.
    labels: [N] int32, indices of `ImageSet.classes`.
  """

  images: np.ndarray
  labels: np.ndarray


class ImageSet(NamedTuple):
  """Pictures for training and for what is held out.

  Attributes:
    splits: 'train', 'valid' and 'test' -> part.
    classes: label -> name; of one name where a folder has no folders in it.
    fingerprint: hex digest of all pictures and labels.
    shared: whether 'valid' and 'test' are shares of one folder.
    scarce: of its classes those that have too few pictures to hold one out.
  """

  splits: Mapping[str, Part]
  classes: tuple[str, ...]
  fingerprint: str = ''
  shared: bool = False
  scarce: tuple[str, ...] = ()


def load_images(path: str, size: int) -> ImageSet:
  """Reads pictures.

  Args:
    path: a folder with the idx files of MNIST; or a folder or zip archive of pictures, in folders
      named by their class or without classes, of which a tenth each is held out as 'valid' and
      'test', at least one of each class that has three; or '' for digits drawn from a font.
    size: S, pixels of a side; what has other sides is resized.

  Raises:
    FileNotFoundError: there is no such folder.
    InputError: it has too few pictures, one that cannot be read, some beside folders of others, or
      some in folders of folders.
  """
  if not path:
    found = ImageSet(_drawn(size), _DIGITS)
  elif any(expand(path).glob('*-idx3-ubyte*')):
    found = _of_idx(path, size)
  else:
    found = _of_folder(path, size)
  digest = hashlib.sha256(repr(found.classes).encode())
  for part in found.splits.values():
    for array in part:
      digest.update(np.ascontiguousarray(array).data)
  return found._replace(fingerprint=digest.hexdigest())


def as_trained(found: ImageSet, classes: Sequence[str] | None, channels: int) -> ImageSet:
  """Returns pictures as a trained model knows them: grey ones for a model of colours get three
  channels.

  Args:
    found: of `load_images`.
    classes: that the model knows; None where it knows none.
    channels: of the pictures that it was trained on.

  Raises:
    InputError: other classes, or colours for a model of grey pictures.
  """
  if classes is not None and list(found.classes) != list(classes):
    raise InputError(
      f'data.path has the classes {", ".join(found.classes)}, expected those of training: '
      f'{", ".join(classes)}'
    )
  here = found.splits['train'].images.shape[-1]
  if here > channels:
    raise InputError('data.path has pictures in colour, expected grey ones as in training')
  if here == channels:
    return found
  repeated = lambda part: part._replace(images=part.images.repeat(channels // here, -1))
  return found._replace(splits={name: repeated(part) for name, part in found.splits.items()})


def read_images(path: str, size: int, channels: int, canvas: bool) -> dict[str, np.ndarray]:
  """Reads a picture, or those of a folder: name -> [S, S, C] uint8, as a trained model reads them.

  Args:
    path: of the picture or the folder.
    size: S, pixels of a side.
    channels: C, 1 of grey ones.
    canvas: whether a picture with smaller sides lies as it is in the middle of a black canvas of S
      x S, as what the model has seen does; else all are made S wide and high.

  Raises:
    FileNotFoundError: there is no such file.
    InputError: it is no picture, or one in colour where the model has seen grey ones.
  """
  found = list_pictures(path, 'input')
  images = {name: _read(found.read(name), f'input: {name}', size, canvas) for name in found.names}
  for name, image in images.items():
    if channels == 1 and _has_colour(image):
      raise InputError(f'input: {name} is a picture in colour, expected grey as in training')
  return {name: _in_channels(image, channels) for name, image in images.items()}


def _read(data, name, size, canvas):
  if not canvas or max(picture_sides(data, name)) >= size:
    return read_picture(data, name, size)
  image = read_picture(data, name, None)
  room = [size - side for side in image.shape[:2]]
  return np.pad(image, (*((n // 2, n - n // 2) for n in room), (0, 0)))


def checked(images: Sequence[np.ndarray] | np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
  """Returns images as an array.

  Raises:
    InputError: they are not [N, *shape] uint8.
  """
  try:
    images = np.asarray(images)
  except ValueError as e:
    raise InputError('images differ in shape, expected one shape for all') from e
  if images.shape[1:] != shape:
    sides = ', '.join(map(str, shape))
    raise InputError(f'images have shape {images.shape}, expected [N, {sides}]')
  if images.dtype != np.uint8:
    raise InputError(f'images are {images.dtype}, expected uint8, levels from 0 to 255')
  return images


def _drawn(size):
  return {
    split: Part(images[..., None], labels)
    for seed, (split, count) in enumerate(_DRAWN.items())
    for images, labels in [draw_digits(count, size, seed)]
  }


def _of_idx(folder, size):
  train, test = (idx.read_images(folder, split) for split in ('train', 't10k'))
  cut = len(train.labels) - max(1, min(_IDX_VALID, len(train.labels) // 10))
  rows = {'train': slice(None, cut), 'valid': slice(cut, None)}
  parts = {name: Part(train.images[of], train.labels[of]) for name, of in rows.items()}
  parts['test'] = Part(test.images, test.labels)
  most = max(int(part.labels.max(initial=0)) for part in parts.values())
  classes = tuple(map(str, range(max(most + 1, len(_DIGITS)))))
  resized = {
    name: Part(_resized(part.images, size)[..., None], part.labels) for name, part in parts.items()
  }
  return ImageSet(resized, classes)


def _resized(images, size):
  if images.shape[1:] == (size, size):
    return images
  resize = lambda image: Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
  return np.stack([np.asarray(resize(image)) for image in images])


def _of_folder(path, size):
  try:
    found = open_pictures(path, 'data.path')
  except InputError:
    root = expand(path)  # of folders nothing deeper is looked at
    _check_depth(path, (file.relative_to(root).as_posix() for file in root.glob('*/*/*.*')))
    raise
  _check_depth(path, found.names)
  images = np.stack(
    [read_picture(found.read(name), f'data.path: {path}/{name}', size) for name in found.names]
  )
  images = _in_channels(images, 3 if _has_colour(images) else 1)
  folders = [name.split('/')[0] if '/' in name else '' for name in found.names]
  classes = tuple(sorted({*folders}))
  if '' in classes and len(classes) > 1:
    beside = next(name for name in found.names if '/' not in name)
    raise InputError(
      f'data.path: {path} has {beside} beside folders of pictures, expected all in folders named '
      'by their class, or none'
    )
  labels = np.array([classes.index(folder) for folder in folders], np.int32)
  return _split(path, Part(images, labels), classes)


def _check_depth(path, names):
  for name in names:
    if name.count('/') > 1:
      raise InputError(
        f'data.path: {path} has {name}, expected pictures in one folder per class, or in none'
      )


def _split(path, whole, classes):
  """Returns a set of which 'valid' and 'test' have a tenth each of every class, drawn at random but
  the same in every run."""
  rows: dict[str, list[np.ndarray]] = {'train': [], 'valid': [], 'test': []}
  counts = np.bincount(whole.labels, minlength=len(classes))
  if counts.max() < _FEWEST:
    of_one = ' of a class at most' if len(classes) > 1 else ''
    raise InputError(
      f'data.path: {path} has {counts.max()} picture(s){of_one}, expected {_FEWEST} at least, '
      'since two are held out'
    )
  for label, count in enumerate(counts):
    rest = np.flatnonzero(whole.labels == label)
    for split in ('test', 'valid') if count >= _FEWEST else ():
      taken = held_out.drawn(len(rest), max(1, count // 10), split, 'pictures')
      rows[split].append(rest[taken])
      rest = rest[~taken]
    rows['train'].append(rest)
  chosen = {split: np.sort(np.concatenate(own)) for split, own in rows.items()}
  splits = {split: Part(whole.images[of], whole.labels[of]) for split, of in chosen.items()}
  scarce = tuple(classes[i] for i in np.flatnonzero(counts < _FEWEST))
  return ImageSet(splits, classes, shared=True, scarce=scarce)


def _has_colour(images):
  channels = images.astype(np.int16)
  return bool((channels.max(-1) - channels.min(-1)).max() > _COLOUR)


def _in_channels(images, channels):
  """Returns RGB pictures [..., 3] uint8 as they are, or as grey [..., 1] by their luminance."""
  if channels == 3:
    return images
  luminance = (images.astype(np.uint32) @ np.array([299, 587, 114], np.uint32) + 500) // 1000
  return luminance[..., None].astype(np.uint8)
