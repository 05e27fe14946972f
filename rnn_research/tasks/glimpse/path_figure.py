"""Where a glimpse network looked: the path over an image, and what each glimpse showed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rnn_research.analysis.reports.glyphs import families, shown
from rnn_research.analysis.reports.plots import BLUE, TICK, VERMILLION, Plot, caption
from rnn_research.analysis.reports.tiles import as_rgb
from rnn_research.tasks.glimpse.looking import Look, answered, chance, known

_SIZE = 1.5  # inches of a panel
_SMALL = 9  # font size of numbers on an image


def path_figure(looks: Sequence[Look], titles: Sequence[str], text: str) -> Plot:
  """Draws a row per image: the image with the numbered middles of all glimpses; what each of them
  showed, its patches side by side from the narrowest; and all that was seen, in its place.

  Args:
    looks: at least one, all of one network.
    titles: above the images.
    text: the caption of the figure.
  """
  num_glimpses, num_patches = looks[0].boxes.shape[:2]
  wide = min(num_patches, 2)  # more would make a figure of a metre
  widths = [1.6, *[0.7 * wide] * num_glimpses, 1.6]
  figure = Figure(
    figsize=(max(7.0, _SIZE * sum(widths)), (1.6 * _SIZE + 0.3) * len(looks) + 1.0),
    layout='constrained',
  )
  axes = figure.subplots(len(looks), len(widths), squeeze=False, width_ratios=widths)
  for panel in axes.ravel():
    panel.set_axis_off()
  for row, (look, title) in enumerate(zip(looks, titles, strict=True)):
    _image(axes[row, 0], look, title)
    for t, panel in enumerate(axes[row, 1:-1]):
      panel.imshow(as_rgb(_side_by_side(look.patches[t, :wide])))
      panel.set_title(f'{t + 1}', fontsize=TICK)
    axes[row, -1].imshow(as_rgb(known(look, num_glimpses)))
    axes[row, -1].set_title(_answer(look), fontsize=TICK, family=families(), parse_math=False)
  caption(figure, text, int(9.5 * figure.get_figwidth()))
  return Plot(figure, _table(looks))


def _image(panel, look, title):
  size = len(look.image)
  panel.imshow(as_rgb(look.image / 255), extent=(0, size, size, 0))
  x, y = look.boxes[:, 0, :2].T
  panel.plot(x, y, color=BLUE, linewidth=1.5, marker='o', markersize=3)
  for t, (right, down) in enumerate(zip(x, y, strict=True), 1):
    panel.annotate(
      f'{t}',
      (right, down),
      (3, 3),
      textcoords='offset points',
      fontsize=_SMALL,
      color=VERMILLION,
      weight='bold',
      annotation_clip=False,
    )
  for middle_x, middle_y, side in look.boxes[-1]:
    corner = middle_x - side / 2, middle_y - side / 2
    panel.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=VERMILLION, linewidth=1.2))
  panel.set(xlim=(0, size), ylim=(size, 0))
  panel.set_title(shown(title), fontsize=TICK, family=families(), parse_math=False)


def _side_by_side(patches):
  return np.concatenate([np.pad(a, ((0, 0), (0, 1), (0, 0))) for a in patches], 1)[:, :-1]


def _answer(look):
  return f'{shown(answered(look))} ({chance(look):.2f})'


def _table(looks):
  rows = [
    (one.name, t, scale, *map(float, box))
    for one in looks
    for t, boxes in enumerate(one.boxes, 1)
    for scale, box in enumerate(boxes, 1)
  ]
  names = 'image', 'glimpse', 'patch', 'x', 'y', 'side'
  return dict(zip(names, zip(*rows, strict=True), strict=True))
