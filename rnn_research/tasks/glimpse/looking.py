"""What a trained glimpse network saw, glimpse by glimpse, and what it made of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from rnn_research.data.image_set import checked, read_images
from rnn_research.errors import require_seed
from rnn_research.typing import Params

_ROWS = 500  # images that are looked at at once


class Look(NamedTuple):
  """An image that was looked at.

  Attributes:
    name: of it.
    image: [S, S, C] uint8.
    answers: names of the classes that were answered, up to the end.
    probabilities: [A, O] float32, of the classes; where several are asked for, the last is the end.
    boxes: [T, K, 3] float32, pixels: x and y of the middle of each patch, the upper left corner of
      the image being 0, and its side.
    patches: [T, K, s, s, C] float32, what was seen there, levels in [0, 1].
  """

  name: str
  image: np.ndarray
  answers: Sequence[str]
  probabilities: np.ndarray
  boxes: np.ndarray
  patches: np.ndarray


def commands_of(
  path_of: Callable, classes: Sequence[str], shape: tuple[int, int, int], canvas: bool
) -> dict[str, Callable]:
  """Returns what a trained network can do: command -> `(params, ..) -> value`.

  Args:
    path_of: `Classifier.look`.
    classes: their names.
    shape: of images.
    canvas: whether pictures lay on canvases in training, see `read_images`.
  """
  run = jax.jit(path_of)

  def follow(params: Params, images: np.ndarray, seed: int = 0) -> list[Look]:
    """Returns what the network sees of images, and what it answers.

    Args:
      params: of the model.
      images: [N, S, S, C] uint8.
      seed: of where it looks.

    Raises:
      InputError: images of another shape or type, or no seed.
    """
    images = checked(images, shape)
    require_seed('seed', seed)
    key = jax.random.key(seed)
    starts = range(0, len(images), _ROWS) or [0]  # of no images, too
    found = [run(params, images[i : i + _ROWS], jax.random.fold_in(key, i)) for i in starts]
    logits, boxes, patches = map(np.concatenate, zip(*found, strict=True))
    probabilities = np.asarray(jax.nn.softmax(logits))
    names = (f'image {number}' for number in range(1, len(images) + 1))
    answers = [_names(classes, row.argmax(-1)) for row in probabilities]
    return list(map(Look, names, images, answers, probabilities, boxes, patches))

  def look(params: Params, path: str, seed: int = 0) -> list[Look]:
    """Returns what the network sees of a picture, or of those of a folder, and what it answers.

    Args:
      params: of the model.
      path: of the picture or the folder, which are read as by `read_images`.
      seed: of where it looks.

    Raises:
      FileNotFoundError: there is no such file.
      InputError: a picture that cannot be read, one in colour where training had grey ones, or no
        seed.
    """
    images = read_images(path, shape[0], shape[2], canvas)
    found = follow(params, np.stack([*images.values()]), seed)
    return [one._replace(name=name) for one, name in zip(found, images, strict=True)]

  return {'look': look, 'follow': follow}


def _names(classes, ids):
  """Returns names up to the end, whose number is that of the classes."""
  ended = [*ids, len(classes)]
  return [classes[i] for i in ended[: ended.index(len(classes))]]


def answered(look: Look) -> str:
  """Returns the answers as one line."""
  return ' '.join(look.answers) or 'nothing'


def chance(look: Look) -> float:
  """Returns the probability of the answers, up to the end and with it."""
  return float(look.probabilities.max(-1)[: len(look.answers) + 1].prod())


def known(look: Look, count: int) -> np.ndarray:
  """Returns what the first glimpses showed of an image, finer patches over coarser ones; what none
  showed is grey.

  Args:
    look: of the image.
    count: of glimpses.

  Returns:
    [S, S, C] float32, levels in [0, 1].
  """
  canvas = np.full(look.image.shape, 0.35, np.float32)
  for scale in reversed(range(look.boxes.shape[1])):
    for box, patch in zip(look.boxes[:count, scale], look.patches[:count, scale], strict=True):
      (rows, of_rows), (columns, of_columns) = (
        _covered(box[axis], box[2], len(canvas), len(patch)) for axis in (1, 0)
      )
      canvas[np.ix_(rows, columns)] = patch[np.ix_(of_rows, of_columns)]
  return canvas


def _covered(middle, side, size, count):
  """Returns which of `size` pixels a patch of `count` numbers covers along an axis, and the number
  that lies on each."""
  place = (np.arange(size) + 0.5 - (middle - side / 2)) * (count / side)
  (inside,) = np.nonzero((place >= 0) & (place < count))
  return inside, place[inside].astype(int)
