"""Where a translator looks: heat maps of attention with the symbols of both sentences on their
axes."""

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rnn_research.analysis.reports.glyphs import BOX, families, shown
from rnn_research.analysis.reports.plots import LABEL, TICK, Plot, caption
from rnn_research.data.codec import UNKNOWN
from rnn_research.data.words import JOINER
from rnn_research.tasks.translation.translator import Translation

# The most symbols of a side whose labels can be read where two panels share the width or not.
_ABREAST, _ALONE = 20, 40
_LABEL_LETTERS = 14


def choose(translations: Sequence[Translation], similar: Sequence[float]) -> list[tuple[str, int]]:
  """Returns which of N translations to draw, and why: four, two where sentences are long, fewer
  where there are fewer.

  Args:
    translations: N of them; those without attention are left out.
    similar: N numbers, how like its reference each of them is.
  """

  def size(row):
    return max(translations[row].weights.shape)

  looking = [row for row, found in enumerate(translations) if found.weights.size]
  if not looking:
    return []
  limit, count = (
    (_ABREAST, 4) if np.median([size(row) for row in looking]) <= _ABREAST else (_ALONE, 2)
  )
  fitting = [row for row in looking if size(row) <= limit] or [min(looking, key=size)]
  enough = np.quantile([similar[row] for row in fitting], 0.9)
  good, worse = (
    [row for row in fitting if similar[row] >= enough],
    [row for row in fitting if similar[row] < enough],
  )

  def length(row):
    return len(translations[row].source)

  longest = f'the longest, up to {max(map(size, fitting))} symbols, of the best tenth by chrF'
  other = ('another long one of them', good, length)
  chosen = {}
  for why, rows, key in (
    (longest, good, length),
    (
      'of this tenth the one most out of order',
      good,
      lambda row: _crossings(translations[row].weights),
    ),
    ('the one with the lowest chrF', worse, lambda row: -similar[row]),
    other,
    other,
  ):
    left = [row for row in rows if row not in chosen]
    if left:
      chosen[max(left, key=key)] = why
  return [(why, row) for row, why in chosen.items()][:count]


def _crossings(weights):
  """Returns how many pairs of symbols, the last one left out, looked most at source symbols of the
  opposite order."""
  looks = weights[:-1].argmax(1)
  return int(np.triu(looks[:, None] > looks, 1).sum())


def alignment_figure(translations: Sequence[Translation], text: str) -> Plot:
  """Draws the weights of attention, a panel (a), (b), .. per translation: source along x, what was
  written along y.

  Args:
    translations: at least one; of sides with more than 40 symbols the first 40 are drawn.
    text: the caption's first sentences: of what model, which translations.
  """
  shapes = np.minimum([found.weights.shape for found in translations], _ALONE)
  abreast = min(len(translations), 2) if shapes.max() <= _ABREAST else 1
  wide = abreast == 2 or shapes.max() > _ABREAST
  rows = -(-len(translations) // abreast)
  size = 12.5 if wide else 8.5, 1.2 + rows * max(5.2, 0.22 * shapes[:, 0].max())
  figure = Figure(figsize=size, layout='constrained')
  panels = figure.subplots(rows, abreast, squeeze=False).ravel()
  for axes, letter, found in zip(panels, ascii_lowercase, translations, strict=False):
    _panel(axes, letter, found, min(TICK, 260 / min(shapes.max(), _ABREAST)))
  for axes in panels[len(translations) :]:
    axes.set_visible(False)
  bar = figure.colorbar(ScalarMappable(Normalize(0, 1), 'Greys'), ax=panels, shrink=0.6, aspect=30)
  bar.set_label('$a_{ij}$', fontsize=LABEL)
  bar.ax.tick_params(labelsize=TICK)
  caption(figure, text + _notes(translations), 122 if wide else 80)
  return Plot(figure, _table(translations))


def _notes(translations):
  return ''.join(
    note
    for note, holds in (
      (
        f' {UNKNOWN} is a word the model does not know: the text has the source word '
        'it looked at most.',
        lambda found: UNKNOWN in found.symbols,
      ),
      (
        f' {BOX} is a character that no font has.',
        lambda found: any(BOX in _label(symbol) for symbol in (*found.source, *found.symbols)),
      ),
      (
        f' Of each side the first {_ALONE} symbols are drawn.',
        lambda found: max(found.weights.shape) > _ALONE,
      ),
    )
    if any(map(holds, translations))
  )


def _panel(axes: Axes, letter: str, found: Translation, size: float) -> None:
  weights = found.weights[:_ALONE, :_ALONE]
  axes.pcolormesh(weights, cmap='Greys', vmin=0, vmax=1, edgecolors='#dddddd', linewidth=0.5)
  axes.invert_yaxis()
  style: dict[str, Any] = {'fontsize': size, 'fontfamily': families(), 'parse_math': False}
  axes.set_xticks(
    np.arange(weights.shape[1]) + 0.5, [_label(symbol) for symbol in found.source[:_ALONE]], **style
  )
  axes.set_yticks(
    np.arange(weights.shape[0]) + 0.5,
    [_label(symbol) for symbol in found.symbols[:_ALONE]],
    **style,
  )
  axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
  if max(len(symbol) for symbol in found.source) > 1:
    axes.tick_params(axis='x', labelrotation=90)
  axes.annotate(
    f'({letter})',
    (0, 1),
    (-8, 8),
    xycoords='axes fraction',
    textcoords='offset points',
    ha='right',
    va='bottom',
    fontsize=LABEL,
  )


def _label(symbol: str) -> str:
  """Returns a symbol such that every font shows it: without the marks of what it is joined to, a
  space as its sign, what has no glyph as a box."""
  symbol = symbol.strip(JOINER) or symbol
  text = shown(symbol.replace(' ', '\u2423'))
  return text if len(text) <= _LABEL_LETTERS else f'{text[: _LABEL_LETTERS - 1]}\u2026'


def _table(translations):
  rows = [
    (letter, i, target, j, source, weight)
    for letter, found in zip(ascii_lowercase, translations, strict=False)
    for i, (target, looked) in enumerate(zip(found.symbols, found.weights, strict=True))
    for j, (source, weight) in enumerate(zip(found.source, looked, strict=True))
  ]
  names = 'panel', 'i', 'written symbol', 'j', 'source symbol', 'a_ij'
  return dict(zip(names, zip(*rows, strict=True), strict=True))
