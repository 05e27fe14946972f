"""Image files in the idx format of MNIST."""

import gzip
import hashlib
import math
import os
import zlib
from typing import NamedTuple

import numpy as np

from rnn_research.data.files import expand, is_gzip
from rnn_research.errors import InputError

_BYTES = 8  # the idx type code of unsigned bytes


class Images(NamedTuple):
  """Pictures with their labels.

  Attributes:
    images: [N, S, S] uint8.
    labels: [N] int32.
    fingerprint: hex digest of both.
  """

  images: np.ndarray
  labels: np.ndarray
  fingerprint: str


def read_images(folder: str, split: str) -> Images:
  """Reads `<split>-images-idx3-ubyte` and `<split>-labels-idx1-ubyte`, as they are or with `.gz`.

  Args:
    folder: that holds them.
    split: 'train' or 't10k'.

  Raises:
    InputError: a file is missing, cut off or no idx file, or images and labels are not as many.
  """
  images, labels = (
    _read(folder, f'{split}-{kind}-ubyte', axes)
    for kind, axes in (('images-idx3', 3), ('labels-idx1', 1))
  )
  if len(images) != len(labels):
    raise InputError(
      f'data.path: {folder} has {len(images)} {split} images and {len(labels)} labels, expected '
      'as many'
    )
  digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
  return Images(images, labels.astype(np.int32), digest)


def pixels(images: np.ndarray, length: int) -> np.ndarray:
  """Returns images as sequences of pixels, row by row: [N, length] float32 in [0, 1].

  Args:
    images: [N, S, S] uint8.
    length: S * S, or that of images made smaller by averaging squares of pixels.

  Raises:
    InputError: no such square divides the images.
  """
  count, size = len(images), images.shape[1]
  side = math.isqrt(length)
  if length < 1 or side * side != length or size % side:
    sides = [s for s in range(1, size + 1) if size % s == 0]
    raise InputError(
      f'data.length is {length}, expected the pixels of a {size} x {size} image or of a smaller '
      f'one: {", ".join(str(s * s) for s in sides)}'
    )
  block = size // side
  means = images.reshape(count, side, block, side, block).mean((2, 4), dtype=np.float32)
  return means.reshape(count, length) / np.float32(255.0)


def _read(folder: str, name: str, axes: int) -> np.ndarray:
  plain = expand(folder) / name
  path = next(filter(os.path.isfile, (plain, plain.with_name(f'{name}.gz'))), None)
  if path is None:
    raise InputError(
      f'data.path: {plain} (or .gz) is not there, expected a folder with the idx files of MNIST'
    )
  try:
    data = path.read_bytes()
    data = gzip.decompress(data) if is_gzip(data) or path.suffix == '.gz' else data
  except (OSError, EOFError, zlib.error) as e:
    raise InputError(f'data.path: {path} cannot be read ({e})') from e
  head = 4 + 4 * axes
  if len(data) < head or data[:4] != bytes([0, 0, _BYTES, axes]):
    raise InputError(f'data.path: {path} is not an idx file of bytes with {axes} axes')
  shape = tuple(map(int, np.frombuffer(data, '>i4', axes, 4)))
  if len(data) - head != math.prod(shape):
    raise InputError(
      f'data.path: {path} has {len(data) - head} bytes of data, expected {math.prod(shape)} for '
      'its shape'
    )
  return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
