"""Pictures with what was written of them, side by side."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from rnn_research.analysis.reports.glyphs import families, shown
from rnn_research.analysis.reports.plots import LABEL, TICK, Plot, caption

_ABREAST, _LETTERS, _LINES = 4, 32, 3


class Judged(NamedTuple):
  """A picture, its caption, and how good that is.

  Attributes:
    picture: [S, S, 3] uint8 RGB.
    name: of its file.
    text: what was written.
    reference: one of the captions that people wrote.
    score: of the caption.
  """

  picture: np.ndarray
  name: str
  text: str
  reference: str
  score: float


def contact_sheet(groups: Sequence[tuple[str, Sequence[Judged]]], text: str) -> Plot:
  """Draws pictures four abreast with their captions, and a reference in parentheses below.

  Args:
    groups: of title and pictures, each with a multiple of four of them unless it has fewer.
    text: the caption of the figure.
  """
  rows = [-(-len(judged) // _ABREAST) for _, judged in groups]
  figure = Figure(figsize=(13, 4.4 * sum(rows) + 0.8), layout='constrained')
  axes = figure.subplots(sum(rows), _ABREAST, squeeze=False)
  for panel in axes.ravel():
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
  for (title, judged), start in zip(groups, np.cumsum([0, *rows]), strict=False):
    for place, one in enumerate(judged):
      panel = axes[start + place // _ABREAST, place % _ABREAST]
      panel.imshow(one.picture)
      panel.set_title(title if place == 0 else '', fontsize=LABEL, loc='left')
      panel.set_xlabel(_below(one), fontsize=TICK - 2, family=families(), parse_math=False)
  caption(figure, text, 120)
  return Plot(figure, _table(groups))


def _below(one: Judged) -> str:
  lines = [textwrap.wrap(shown(text), _LETTERS) for text in (one.text, f'({one.reference})')]
  return '\n'.join(line for part in lines for line in part[:_LINES])


def _table(groups):
  rows = [
    (title, one.name, one.text, one.reference, one.score) for title, own in groups for one in own
  ]
  names = 'group', 'picture', 'caption', 'a reference', 'CIDEr-D'
  return dict(zip(names, zip(*rows, strict=True), strict=True))
