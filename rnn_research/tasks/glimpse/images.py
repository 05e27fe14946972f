"""What a classifier that looks around is trained and measured on."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from rnn_research.data import examples
from rnn_research.data.canvases import Asked, Canvas, arrange
from rnn_research.data.image_set import ImageSet, as_trained, load_images
from rnn_research.errors import InputError
from rnn_research.experiment import TrainData
from rnn_research.tasks.picture_warnings import warn_of_shares

_SPLITS = 'train', 'valid', 'test'


class GlimpseImages(NamedTuple):
  """Images with questions.

  Attributes:
    classes: names of the classes.
    channels: 1 or 3.
    train_data: `(batch_size) -> TrainData` of {'images', 'targets'}.
    held_out: split -> `() -> Asked`, the same images at every call.
  """

  classes: tuple[str, ...]
  channels: int
  train_data: Callable[[int], TrainData]
  held_out: Mapping[str, Callable[[], Asked]]


def make_images(
  path: str, size: int, canvas: Canvas, seed: int, known: Mapping[str, Any] | None = None
) -> GlimpseImages:
  """Returns what is asked of the pictures of `data.image_set.load_images`.

  Args:
    path: of the pictures.
    size: pixels of a side of a picture.
    canvas: what is made of them.
    seed: of the order of training pictures, and of where they lie.
    known: of a trained model 'classes' and 'channels', which must be those of the pictures, and
      the 'fingerprint' of what it was trained on.

  Raises:
    FileNotFoundError: there are no such pictures.
    InputError: they cannot be read, have no classes, or are not what the model knows.
  """
  found = load_images(path, size)
  if known:
    found = as_trained(found, known['classes'], known['channels'])
  if len(found.classes) < 2:
    raise InputError(
      f'data.path: the pictures of {path} are of one class, expected a folder for each of two '
      'classes or more'
    )
  fingerprint = hashlib.sha256(repr((found.fingerprint, canvas, seed)).encode()).hexdigest()
  warn_of_shares(found, fingerprint, known)
  held_out = {
    split: functools.cache(functools.partial(_held_out, found, split, canvas, seed))
    for split in _SPLITS[1:]
  }
  return GlimpseImages(
    found.classes,
    found.splits['train'].images.shape[-1],
    functools.partial(_train_data, found, canvas, seed, fingerprint),
    held_out,
  )


def _held_out(found: ImageSet, split, canvas, seed):
  part = found.splits[split]
  rng = examples.held_out_rng(seed, _SPLITS.index(split))
  still = canvas._replace(shift=0)
  return arrange(rng, part, np.arange(len(part.labels)), still, len(found.classes))


def _train_data(found: ImageSet, canvas, seed, fingerprint, batch_size):
  part = found.splits['train']

  def change(rng, batch):
    return arrange(rng, part, batch['rows'], canvas, len(found.classes))._asdict()

  rows = {'rows': np.arange(len(part.labels))}
  return examples.shuffled(rows, batch_size, seed, fingerprint, change)
