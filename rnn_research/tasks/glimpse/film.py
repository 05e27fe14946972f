"""A series of glimpses as a film: where each is, and what is known of the image by then."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from rnn_research.analysis.reports.tiles import BLUE, RED, as_rgb, enlarged, tiled
from rnn_research.tasks.glimpse.looking import Look, known

NOW, BEFORE = RED, BLUE
_WIDTH = 900  # pixels of a frame, about


def frames(looks: Sequence[Look]) -> list[np.ndarray]:
  """Returns a frame per glimpse, [rows, columns, 3] uint8: of each image, where the glimpse is, and
  beside it what was seen so far."""
  pairs = max(1, min(3, len(looks)))
  scale = max(1, round(_WIDTH / (2 * pairs * len(looks[0].image))))
  frame = lambda t: tiled(np.concatenate([_pair(one, t, scale) for one in looks]), 2 * pairs)
  return [frame(t) for t in range(len(looks[0].boxes))]


def _pair(look, t, scale):
  left, right = enlarged(as_rgb(np.stack([look.image / 255, known(look, t + 1)])), scale)
  return np.stack([traced(left, look.boxes[: t + 1], scale), right])


def traced(image: np.ndarray, boxes: np.ndarray, scale: float) -> np.ndarray:
  """Returns an enlarged image with the path of glimpses to the last one, whose patches are framed.

  Args:
    image: [H, W, 3] uint8.
    boxes: [T, K, 3], pixels of the image before it was enlarged.
    scale: of the image.
  """
  drawn = Image.fromarray(image)
  pen = ImageDraw.Draw(drawn)
  width = max(1, round(scale / 3))
  path = [tuple(box[0, :2] * scale) for box in boxes]
  if len(path) > 1:
    pen.line(path, fill=BEFORE, width=width)
  for x, y, side in boxes[-1] * scale:
    half = side / 2
    pen.rectangle((x - half, y - half, x + half, y + half), outline=NOW, width=width)
  return np.asarray(drawn)
