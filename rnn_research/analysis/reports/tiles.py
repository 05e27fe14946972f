"""Small images as pixels for people: side by side, enlarged, and one after the other as a GIF."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rnn_research.data.files import expand
from rnn_research.errors import InputError, require

_GAP = 25  # of them make an image
GREEN, RED, BLUE = (0, 158, 115), (213, 94, 0), (0, 114, 178)  # of Okabe and Ito 2008


def as_rgb(images: np.ndarray) -> np.ndarray:
  """Returns levels [..., C] in [0, 1], grey or RGB, as [..., 3] uint8."""
  levels = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
  return np.broadcast_to(levels, (*levels.shape[:-1], 3))


def enlarged(images: np.ndarray, scale: int) -> np.ndarray:
  """Returns images [..., H, W, 3] with every pixel as a square of `scale` pixels."""
  return images.repeat(scale, -3).repeat(scale, -2)


def tiled(images: np.ndarray, abreast: int = 0) -> np.ndarray:
  """Returns images [N, H, W, 3] uint8 on one sheet, [rows, columns, 3], white between them.

  Args:
    images: N of them.
    abreast: in a row; 0 makes rows and columns about as many.
  """
  count, height, width, _ = images.shape
  abreast = abreast or math.isqrt(count - 1) + 1
  rows, gap = -(-count // abreast), max(1, width // _GAP)
  sheet = np.full((rows, height + gap, abreast, width + gap, 3), 255, np.uint8)
  for number, image in enumerate(images):
    sheet[number // abreast, :height, number % abreast, :width] = image
  return sheet.reshape(rows * (height + gap), -1, 3)[:-gap, :-gap]


def write_picture(path: str, frames: Sequence[np.ndarray], seconds: float = 0.25) -> None:
  """Writes a picture, or a GIF of several, that starts again and again; its last frame is shown
  for two seconds.

  Args:
    path: of the file, with the suffix of its format.
    frames: each [H, W, 3] uint8.
    seconds: that each of the others is shown.

  Raises:
    InputError: the file cannot be written.
  """
  first, *rest = map(Image.fromarray, frames)
  several: dict[str, Any] = {
    'save_all': True,
    'append_images': rest,
    'duration': [round(1000 * seconds)] * len(rest) + [2000],
    'loop': 0,
  }
  save_picture(path, 'output', lambda file: first.save(file, **(several if rest else {})))


def require_picture(path: str, flag: str, *suffixes: str) -> None:
  """Raises InputError, naming the flag, unless a picture can be written to the file, which must end
  with one of `suffixes`; its folder is made."""
  endings = ' or '.join(suffixes)
  file = expand(path)
  require(flag, path, file.suffix.lower() in suffixes, f'a file that ends with {endings}')
  new = not os.path.lexists(file)
  save_picture(file, flag, lambda file: file.open('ab').close())
  if new:
    file.unlink()


def save_picture(path: str | os.PathLike, flag: str, save: Callable[[Path], Any]) -> None:
  """Calls `save` with the place of a file, whose folder is made before.

  Raises:
    InputError: the file cannot be written; it names the flag.
  """
  file = expand(path)
  try:
    file.parent.mkdir(parents=True, exist_ok=True)
    save(file)
  except OSError as error:
    raise InputError(f'{flag}: cannot write {file} ({error.strerror or error})') from error
