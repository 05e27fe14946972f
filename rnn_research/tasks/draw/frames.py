"""Drawings as pixels for people: sheets of images, with the windows that were written through."""

import numpy as np
from PIL import Image, ImageDraw

from rnn_research.analysis.reports.tiles import GREEN, RED, as_rgb, enlarged, tiled
from rnn_research.tasks.draw.drawing import Box, Drawing

READ, WROTE = GREEN, RED
_SIDE = 800  # pixels of a sheet, about


def sheet(images: np.ndarray) -> np.ndarray:
  """Returns images, [N, S, S, C] in [0, 1], on one sheet: [rows, columns, 3] uint8."""
  return tiled(enlarged(as_rgb(images), _scale(images)))


def frames(drawing: Drawing) -> list[np.ndarray]:
  """Returns a sheet per step, [rows, columns, 3] uint8, and at last the images without windows."""
  scale = _scale(drawing.canvases[0])
  sheets = []
  for step, images in enumerate(drawing.canvases):
    tiles = enlarged(as_rgb(images), scale)
    if drawing.wrote is not None:
      tiles = framed(tiles, drawing.wrote, step, scale, WROTE)
    sheets.append(tiled(tiles))
  return [*sheets, sheet(drawing.canvases[-1])]


def framed(
  images: np.ndarray, boxes: Box, step: int, scale: int, colour: tuple[int, int, int]
) -> np.ndarray:
  """Returns images [N, H, W, 3] uint8 with the window of a step around what it covers, its line
  thicker where its filters are wider.

  Args:
    images: enlarged.
    boxes: of all steps.
    step: from 0.
    scale: of the images.
    colour: of the line.
  """
  out = []
  for number, pixels in enumerate(images):
    left, top, right, bottom, blur = (float(side[step, number]) for side in boxes)
    image = Image.fromarray(pixels)
    # The middle of pixel 0 is half a pixel from the edge.
    corners = [(side + 0.5) * scale for side in (left, top, right, bottom)]
    corners = np.clip(corners, -scale, len(pixels) + scale).tolist()
    width = int(np.clip(round(blur * scale / 3), 1, scale))
    ImageDraw.Draw(image).rectangle(corners, outline=colour, width=width)
    out.append(np.asarray(image))
  return np.stack(out)


def _scale(images):
  abreast = np.ceil(np.sqrt(len(images)))
  return max(1, int(_SIDE / (abreast * images.shape[1])))
