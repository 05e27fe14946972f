"""Digits drawn from a font: pictures to learn from without data."""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_INK = 1.4  # sizes of the font in a side: a digit is about two thirds of it high
_TURN, _SLANT, _SHIFT = 15, 0.25, 0.08  # at most: degrees; parts of the height; parts of a side


@functools.cache
def draw_digits(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns white digits on black, each turned, slanted, stretched and shifted a little.

  Args:
    count: N.
    size: S, pixels of a side.
    seed: of the digits.

  Returns:
    ([N, S, S] uint8, [N] int32, which digit each is).
  """
  rng = np.random.default_rng(seed)
  large = 4 * size  # drawn large and made small, so that edges are smooth
  font = ImageFont.load_default(large / _INK)
  labels = rng.integers(10, size=count, dtype=np.int32)
  plain = [_plain(str(digit), large, font) for digit in range(10)]
  return np.stack([_changed(plain[label], size, rng) for label in labels]), labels


def _plain(text, side, font):
  image = Image.new('L', (side, side))
  ImageDraw.Draw(image).text((side / 2, side / 2), text, 255, font, anchor='mm')
  return image


def _changed(image, size, rng):
  side = image.width
  angle, slant, *shift = rng.uniform(-1, 1, 4) * (np.deg2rad(_TURN), _SLANT, _SHIFT, _SHIFT)
  turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
  # From a pixel of the new picture to that of the old one.
  inverse = turn @ [[1, slant], [0, 1]] @ np.diag(rng.uniform(0.85, 1.2, 2))
  offset = side * (0.5 - inverse @ [0.5, 0.5] + shift)
  rows = np.column_stack([inverse, offset]).ravel()
  moved = image.transform(
    image.size, Image.Transform.AFFINE, tuple(rows), Image.Resampling.BILINEAR
  )
  return np.asarray(moved.resize((size, size), Image.Resampling.BOX))
