"""Pictures on larger canvases: moved about, among clutter, several side by side."""

from typing import NamedTuple

import numpy as np

from rnn_research.data.image_set import Part


class Canvas(NamedTuple):
  """What is made of pictures.

  Attributes:
    size: pixels of a side; 0 leaves pictures as they are.
    clutter: pieces of other pictures that lie about.
    clutter_size: pixels of a side of a piece.
    objects: pictures side by side, at most.
    fewest: of them, at least.
    shift: pixels that a picture is moved by at most where there is no canvas.
  """

  size: int
  clutter: int
  clutter_size: int
  objects: int
  fewest: int
  shift: int


class Asked(NamedTuple):
  """Images with what is asked of them.

  Attributes:
    images: [B, S, S, C] uint8.
    targets: [B, A] int32: the class; where there may be several objects the classes from left to
      right, then up to A the number of classes, which stands for the end.
  """

  images: np.ndarray
  targets: np.ndarray


def arrange(
  rng: np.random.Generator, part: Part, rows: np.ndarray, canvas: Canvas, num_classes: int
) -> Asked:
  """Returns images made of the pictures `rows`, [B] int; further objects, to the right of them, and
  clutter are drawn from all of `part`.

  A picture, or each of a row of them that do not overlap, lies anywhere on the canvas with equal
  probability; where their number varies, each number is as likely as others, and all but the first
  are left out of a full row by chance. Pieces lie anywhere; where things overlap, the brighter
  pixel is seen.

  Source: Mnih et al. 2014, section 4.1: translated and cluttered digits, four pieces of 8 x 8.
  Deviates from the paper: how pieces and digits overlap, which it does not tell; and what Ba et al.
  2015 ask of pairs, one of 55 unordered combinations, is asked here as a sequence that ends.
  """
  if not canvas.size:
    images = _shifted(rng, part.images[rows], canvas.shift)
    return Asked(images, part.labels[rows, None])
  chosen = with_others(rng, rows, canvas.objects, len(part.labels))
  side, channels = part.images.shape[1], part.images.shape[-1]
  images = np.zeros((len(rows), canvas.size, canvas.size, channels), np.uint8)
  shape = len(rows), canvas.objects
  free = canvas.size - canvas.objects * side + 1
  left = np.sort(rng.integers(free, size=shape), 1) + side * np.arange(canvas.objects)[None]
  top = rng.integers(canvas.size - side + 1, size=shape)
  there = _present(rng, shape, canvas.fewest)
  for i in range(canvas.objects):
    pictures = part.images[chosen[:, i]] * there[:, i, None, None, None]
    _put(images, pictures, left[:, i], top[:, i])
  for _ in range(canvas.clutter):
    pieces = _pieces(rng, part.images, len(rows), canvas.clutter_size)
    x, y = rng.integers(canvas.size - canvas.clutter_size + 1, size=(2, len(rows)))
    _put(images, pieces, x, y)
  return Asked(images, _targets(part.labels[chosen], there, num_classes))


def with_others(rng: np.random.Generator, rows: np.ndarray, count: int, total: int) -> np.ndarray:
  """Returns each of rows, [B] int, with others of `total` rows that are drawn: [B, count] int."""
  return np.concatenate([rows[:, None], rng.integers(total, size=(len(rows), count - 1))], 1)


def scatter(rng: np.random.Generator, pictures: np.ndarray, size: int) -> np.ndarray:
  """Returns images on which pictures lie anywhere, each with equal probability; where they overlap
  levels add up to 255 at most.

  Args:
    rng: decides where.
    pictures: [B, K, s, s, C] uint8, K on each image.
    size: S, pixels of a side of an image.

  Returns:
    [B, S, S, C] uint8.

  Source: Gregor et al. 2015 (arXiv 1502.04623), section 4.3, for K = 2.
  """
  count, number, side, _, channels = pictures.shape
  images = np.zeros((count, size, size, channels), np.uint16)
  places = rng.integers(size - side + 1, size=(count, number, 2))
  for own, (top, left) in zip(pictures.swapaxes(0, 1), places.transpose(1, 2, 0), strict=True):
    _put(images, own, left, top, np.add)
  return np.minimum(images, 255).astype(np.uint8)


def _present(rng, shape, fewest):
  """Returns which objects there are, [B, K] bool: the first and others by chance."""
  count, most = shape
  if fewest == most:
    return np.ones(shape, bool)
  further = rng.integers(fewest, most + 1, size=count) - 1
  ranks = rng.random((count, most - 1)).argsort(1).argsort(1)
  return np.concatenate([np.ones((count, 1), bool), ranks < further[:, None]], 1)


def _targets(labels, there, num_classes):
  if labels.shape[1] == 1:
    return labels
  order = np.argsort(~there, 1, kind='stable')
  named = np.take_along_axis(np.where(there, labels, num_classes), order, 1)
  end = np.full((len(labels), 1), num_classes)
  return np.concatenate([named, end], 1).astype(np.int32)


def _put(images, pictures, left, top, join=np.maximum):
  """Joins pictures [B, h, w, C] to what lies there on images [B, S, S, C]."""
  height, width = pictures.shape[1:3]
  for image, picture, x, y in zip(images, pictures, left, top, strict=True):
    place = image[y : y + height, x : x + width]
    join(place, picture, out=place)


def _pieces(rng, pictures, count, size):
  """Returns pieces of pictures, [count, size, size, C]."""
  rows = rng.integers(len(pictures), size=count)[:, None, None]
  y, x = rng.integers(pictures.shape[1] - size + 1, size=(2, count))
  inside = np.arange(size)
  return pictures[rows, (y[:, None] + inside)[:, :, None], (x[:, None] + inside)[:, None]]


def _shifted(rng, pictures, most):
  """Returns pictures that are moved by up to so many pixels each way; what enters is 0."""
  if not most:
    return pictures
  size = pictures.shape[1]
  wide = np.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)))
  y, x = rng.integers(2 * most + 1, size=(2, len(pictures)))
  return np.stack([one[i : i + size, j : j + size] for one, i, j in zip(wide, y, x, strict=True)])
