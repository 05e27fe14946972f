"""Views of a picture that show the same: mirrored, or a part of it that is nearly all."""

import numpy as np
from PIL import Image

from rnn_research.errors import require_one_of

_CORNERS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))
_PART = 7 / 8  # of a side that a crop shows
VIEWS = ('plain', 'flip', *(f'crop{number}' for number in range(len(_CORNERS))))


def view(picture: np.ndarray, name: str) -> np.ndarray:
  """Returns a view of a picture, [S, S, 3] uint8.

  Args:
    picture: [S, S, 3] uint8.
    name: 'plain' is the picture; 'flip' left and right exchanged; 'crop0' to 'crop3' are its
      corners (top left, top right, bottom left, bottom right) and 'crop4' its middle, of 7/8 of its
      sides, enlarged to its size.

  Raises:
    InputError: there is no such view.
  """
  require_one_of('view', name, VIEWS)
  if name == 'plain':
    return picture
  if name == 'flip':
    return np.ascontiguousarray(picture[:, ::-1])
  size = len(picture)
  top, left = (place * (1 - _PART) * size for place in _CORNERS[int(name.removeprefix('crop'))])
  box = left, top, left + _PART * size, top + _PART * size
  image = Image.fromarray(picture)
  return np.array(image.resize((size, size), Image.Resampling.BICUBIC, box=box))
