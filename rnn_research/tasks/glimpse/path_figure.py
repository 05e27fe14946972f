"""Where a glimpse network looked: the path over an image, and what each glimpse showed."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from rnn_research.analysis.reports.glyphs import families, shown
from rnn_research.analysis.reports.plots import BLUE, TICK, VERMILLION, Plot, caption
from rnn_research.analysis.reports.tiles import as_rgb, tiled
from rnn_research.tasks.glimpse.looking import Look, answered, chance, known

_SIZE = 1.5  # inches of a panel
_SMALL = 9  # font size of numbers on an image
_LONGEST = 26  # characters above a panel


def path_figure(looks: Sequence[Look], titles: Sequence[str], text: str) -> Plot:
  """Draws a row per image: the image with the numbered middles of all glimpses; what each of them
  showed, its patches side by side from the narrowest; and all that was seen, in its place.

  Args:
    looks: at least one, all of one network.
    titles: above the images.
    text: what they are; the caption goes on with what is drawn.
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
    panel.set(xticks=(), yticks=())
    panel.spines[:].set(color='0.7', linewidth=0.5)  # the edge of a picture that is white
  for row, (look, title) in enumerate(zip(looks, titles, strict=True)):
    _image(axes[row, 0], look, title)
    for t, panel in enumerate(axes[row, 1:-1]):
      panel.imshow(tiled(as_rgb(look.patches[t, :wide]), wide))
      panel.set_title(f'{t + 1}', fontsize=TICK)
    axes[row, -1].imshow(as_rgb(known(look, num_glimpses)))
    _title(axes[row, -1], _answer(look), 'right')
  caption(figure, f'{text} {_key(num_patches)}', int(9.5 * figure.get_figwidth()))
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
      path_effects=[withStroke(linewidth=1.5, foreground='white')],
    )
  for middle_x, middle_y, side in look.boxes[-1]:
    corner = middle_x - side / 2, middle_y - side / 2
    panel.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=VERMILLION, linewidth=1.2))
  panel.set(xlim=(0, size), ylim=(size, 0))
  _title(panel, _short(shown(title)), 'left')


def _title(panel, text, side):
  """Writes a title that begins or ends with its panel, beyond which there is no room."""
  panel.set_title(text, loc=side, fontsize=TICK, family=families(), parse_math=False)


def _answer(look):
  return f'{_short(shown(answered(look)))} ({chance(look):.2f})'


def _short(text):
  half = _LONGEST // 2
  return text if len(text) <= _LONGEST else f'{text[:half]}..{text[-half:]}'


def _key(num_patches):
  narrowest = f', of its {num_patches} patches the two narrowest' if num_patches > 2 else ''
  return (
    'Numbers: the middles of glimpses; frames: the last one. Then what each showed'
    f'{narrowest}. Right: all that was seen in its place, the rest grey, and the answer with its '
    'probability.'
  )


def _table(looks):
  rows = [
    (one.name, t, scale, *map(float, box))
    for one in looks
    for t, boxes in enumerate(one.boxes, 1)
    for scale, box in enumerate(boxes, 1)
  ]
  names = 'image', 'glimpse', 'patch', 'x', 'y', 'side'
  return dict(zip(names, zip(*rows, strict=True), strict=True))
