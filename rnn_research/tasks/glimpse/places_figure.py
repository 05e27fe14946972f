"""How glimpses are spread over images, one after the other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rnn_research.analysis.reports.plots import GREY, LABEL, TICK, Plot, caption
from rnn_research.tasks.glimpse.looking import Look

_ABREAST, _BINS, _SIZE = 4, 14, 2.6


def places_figure(looks: Sequence[Look], text: str) -> Plot:
  """Draws a map per glimpse: how often its middle was where, over all images.

  Args:
    looks: of one network.
    text: the caption of the figure.
  """
  size, num_glimpses = len(looks[0].image), len(looks[0].boxes)
  middles = np.stack([one.boxes[:, 0, :2] for one in looks])  # [N, T, 2]
  middles = np.clip(middles, 0, size)  # a place may be drawn outside of the image
  edges = np.linspace(0, size, _BINS + 1)
  shares = [
    np.histogram2d(middles[:, t, 1], middles[:, t, 0], (edges, edges))[0] / len(looks)
    for t in range(num_glimpses)
  ]
  rows = -(-num_glimpses // _ABREAST)
  figure = Figure(
    figsize=(_SIZE * _ABREAST + 1.2, (_SIZE + 0.3) * rows + 0.9), layout='constrained'
  )
  axes = figure.subplots(rows, _ABREAST, squeeze=False)
  for panel in axes.ravel():
    panel.set_axis_off()
  for t, (panel, share) in enumerate(zip(axes.ravel(), shares, strict=False)):
    drawn = panel.imshow(share, cmap='Greys', vmin=0, vmax=max(map(np.max, shares)))
    panel.set_title(f'glimpse {t + 1}', fontsize=TICK)
    panel.add_patch(Rectangle((-0.5, -0.5), _BINS, _BINS, fill=False, edgecolor=GREY))
  bar = figure.colorbar(drawn, ax=axes, shrink=0.6)
  bar.set_label('share of images', fontsize=LABEL)
  bar.ax.tick_params(labelsize=TICK)
  caption(figure, text)
  return Plot(figure, _table(shares, edges))


def _table(shares, edges):
  middle = (edges[:-1] + edges[1:]) / 2
  rows = [
    (t, middle[column], middle[row], share[row, column])
    for t, share in enumerate(shares, 1)
    for row, column in zip(*np.nonzero(share), strict=True)
  ]
  return dict(zip(('glimpse', 'x', 'y', 'share'), zip(*rows, strict=True), strict=True))
