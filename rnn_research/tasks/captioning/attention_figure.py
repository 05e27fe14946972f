"""Where a captioner looked: the picture for every word, bright where the weights are."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from rnn_research.analysis.reports.glyphs import families, shown
from rnn_research.analysis.reports.plots import TICK, Plot, caption
from rnn_research.data.codec import SPECIALS
from rnn_research.tasks.captioning.describer import Caption

_ABREAST = 6  # panels of a row
_DARKEST = 0.15  # brightness where no weight is
_SIZE = 2.35  # inches of a panel


class Looked(NamedTuple):
  """A picture and its caption.

  Attributes:
    picture: [S, S, 3] uint8 RGB.
    caption: with weights.
    why: it is shown, for people; '' for no reason.
  """

  picture: np.ndarray
  caption: Caption
  why: str = ''


def attention_figure(looked: Sequence[Looked], text: str) -> Plot:
  """Draws pictures, each in its own rows: as it is, then for every word as bright as the weights.

  Args:
    looked: at least one; words behind the end are not drawn.
    text: the caption of the figure.
  """
  panels = [_panels(one) for one in looked]
  rows = [-(-len(own) // _ABREAST) for own in panels]
  abreast = min(_ABREAST, max(map(len, panels)))
  height = (_SIZE + 0.35) * sum(rows) + 1.0
  figure = Figure(figsize=(max(_SIZE * abreast, 7), height), layout='constrained')
  axes = figure.subplots(sum(rows), abreast, squeeze=False)
  for panel in axes.ravel():
    panel.set_axis_off()
  for own, start in zip(panels, np.cumsum([0, *rows]), strict=False):
    for place, (title, image) in enumerate(own):
      panel = axes[start + place // abreast, place % abreast]
      panel.imshow(image)
      panel.set_title(title, fontsize=TICK, family=families(), parse_math=False)
  caption(figure, text, int(11 * max(_SIZE * abreast, 7)))
  return Plot(figure, _table(looked))


def lit(picture: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Returns a picture, [S, S, 3] uint8, as bright as weights [h, w], smooth between the middles of
  their places, and where they are largest as it is."""
  size = picture.shape[1], picture.shape[0]
  smooth = np.asarray(
    Image.fromarray(weights.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
  )
  bright = np.clip(smooth / max(float(smooth.max()), 1e-12), 0.0, 1.0)
  return (picture * (_DARKEST + (1.0 - _DARKEST) * bright[..., None])).astype(np.uint8)


def _words(one: Looked) -> list[tuple[str, np.ndarray]]:
  words = zip(one.caption.words, one.caption.weights, strict=True)
  return [(word, weights) for word, weights in words if word not in SPECIALS]


def _panels(one: Looked) -> list[tuple[str, np.ndarray]]:
  words = [(shown(word), lit(one.picture, weights)) for word, weights in _words(one)]
  return [(one.why, one.picture), *words]


def _table(looked):
  rows = [
    (number, t, word, row, column, weights[row, column])
    for number, one in enumerate(looked, 1)
    for t, (word, weights) in enumerate(_words(one), 1)
    for row, column in np.ndindex(*weights.shape)
  ]
  names = 'picture', 't', 'word', 'row', 'column', 'weight'
  return dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
