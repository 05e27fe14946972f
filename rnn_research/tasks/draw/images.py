"""The images that are drawn: pictures as they are, or several of them scattered on a canvas."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from rnn_research.data import examples
from rnn_research.data.canvases import scatter, with_others
from rnn_research.data.image_set import as_trained, load_images
from rnn_research.experiment import TrainData
from rnn_research.tasks.draw.pixels import Pixels
from rnn_research.tasks.picture_warnings import warn_of_shares

_SPLITS = 'train', 'valid', 'test'


class DrawImages(NamedTuple):
  """Images without labels.

  Attributes:
    shape: (S, S, C).
    parts: split -> `() -> [N, S, S, C] uint8`, the same at every call; of a canvas, one arrangement
      of the many that training sees.
    train_data: `(batch_size) -> TrainData` of {'image'}.
  """

  shape: tuple[int, int, int]
  parts: Mapping[str, Callable[[], np.ndarray]]
  train_data: Callable[[int], TrainData]


def make_images(
  path: str,
  size: int,
  canvas: int,
  objects: int,
  pixels: Pixels,
  seed: int,
  known: Mapping[str, Any] | None = None,
) -> DrawImages:
  """Returns the images of `data.image_set.load_images`, or canvases on which they lie.

  Args:
    path: of the pictures.
    size: pixels of a side of a picture.
    canvas: pixels of a side of a canvas; 0 is none.
    objects: pictures on a canvas.
    pixels: what the model takes of levels.
    seed: of the order of training pictures, and of where they lie.
    known: of a trained model its 'channels', and the 'fingerprint' of what it was trained on.

  Raises:
    FileNotFoundError: there are no such pictures.
    InputError: they cannot be read, or are in colour where the model was trained on grey ones.
  """
  found = load_images(path, size)
  if known:
    found = as_trained(found, None, known['channels'])
  about = repr((found.fingerprint, canvas, objects, seed))
  fingerprint = hashlib.sha256(about.encode()).hexdigest()
  warn_of_shares(found, fingerprint, known)

  pictures = functools.cache(
    lambda split: pixels.kept(found.splits[split].images, 1 + _SPLITS.index(split))
  )

  def arranged(rng, split, rows):
    own = pictures(split)
    if not canvas:
      return own[rows]
    return scatter(rng, own[with_others(rng, rows, objects, len(own))], canvas)

  @functools.cache
  def part(split):
    own = pictures(split)
    if not canvas:
      return own  # not a copy
    rng = examples.held_out_rng(seed, 1 + _SPLITS.index(split))
    return arranged(rng, split, np.arange(len(own)))

  def train_data(batch_size):
    def change(rng, batch):
      return {'image': arranged(rng, 'train', batch['rows'])}

    rows = {'rows': np.arange(len(pictures('train')))}
    return examples.shuffled(rows, batch_size, seed, fingerprint, change)

  side, channels = canvas or size, found.splits['train'].images.shape[-1]
  parts = {split: functools.partial(part, split) for split in _SPLITS}
  return DrawImages((side, side, channels), parts, train_data)
