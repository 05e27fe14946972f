"""Figures for papers: a stretch of text coloured by a unit; how often gates are shut and open."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rnn_research.analysis.reports import activation_colours, glyphs
from rnn_research.analysis.reports.activation_colours import LIGHT
from rnn_research.analysis.reports.activation_page import Saturation, UnitTrack, require_alike
from rnn_research.analysis.reports.gradient_figures import gate_figure
from rnn_research.analysis.reports.plots import LABEL, TICK, Plot, caption
from rnn_research.analysis.reports.tables import Table
from rnn_research.errors import require, require_size

_WIDTH = 11.0  # inches
_ADVANCE, _LEADING = 0.62, 1.4  # of a symbol and of a row, in units of the font size


def activation_figure(
  text: Sequence[str], track: UnitTrack, start: int, length: int, columns: int = 80
) -> Plot:
  """Draws a stretch of text coloured by the state of a unit after each symbol: blue below zero,
  orange above.

  Args:
    text: N symbols.
    track: the unit over the whole text.
    start: place of the stretch's first symbol.
    length: of the stretch, as far as the text goes.
    columns: symbols in a row at most; a line end in the text ends a row too.

  Raises:
    InputError: no symbol is in the stretch, or the track is not as long as the text.
  """
  require_alike(text, [track], None)
  require('start', start, 0 <= start < len(text), f'a place in {len(text):,} symbols')
  require_size('length', length)
  require_size('columns', columns)
  symbols, values = text[start : start + length], np.asarray(track.values[start : start + length])
  rows, places = _places(symbols, columns)
  # As in pages, the ends of the scale are those of the whole text.
  bound = float(np.abs(track.values).max()) or 1.0
  size = _WIDTH / columns / _ADVANCE
  figure = Figure(figsize=(_WIDTH, 1.7 + _LEADING * size * (rows[-1] + 1)), layout='constrained')
  axes = figure.subplots()
  for symbol, value, row, place in zip(symbols, values, rows, places, strict=True):
    _draw_symbol(
      axes, symbol, activation_colours.of_activation(value / bound), row, place, 72 * size
    )
  axes.set(xlim=(0, columns), ylim=(rows[-1] + 1, 0))
  axes.set_axis_off()
  _colour_bar(figure, axes, bound)
  concepts = f' ({", ".join(track.concepts)})' if track.concepts else ''
  caption(
    figure,
    f'{track.name}{concepts}: its state after each of symbols {start + 1:,} to '
    f'{start + len(symbols):,}. {activation_colours.GLYPHS[chr(10)]} is a line end.',
  )
  table: Table = {
    'position': np.arange(start, start + len(symbols)),
    'symbol': [activation_colours.name(symbol) for symbol in symbols],
    track.name: values,
  }
  return Plot(figure, table)


def saturation_figure(saturation: Sequence[Saturation]) -> Plot:
  """Draws how often each unit's gates are shut and open: one panel per layer, one point per unit
  and gate; see `gate_figure`."""
  fractions: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
  for one in saturation:
    fractions.setdefault(f'layer {one.layer}', {})[one.gate] = (one.left, one.right)
  return gate_figure(fractions, 'Gate saturation over the text.')


def _places(symbols, columns):
  """Returns the row and the column of every symbol."""
  row = column = 0
  rows, places = [], []
  for symbol in symbols:
    if column == columns:
      row, column = row + 1, 0
    rows.append(row)
    places.append(column)
    row, column = (row + 1, 0) if symbol == '\n' else (row, column + 1)
  return rows, places


def _draw_symbol(axes, symbol, colour, row, place, points):
  axes.add_patch(Rectangle((place, row + 0.03), 1, 0.94, color=colour, linewidth=0))
  if symbol != ' ':
    axes.text(
      place + 0.5,
      row + 0.52,
      glyphs.shown(activation_colours.glyph(symbol), glyphs.MONO),
      family=glyphs.families(glyphs.MONO),
      color=activation_colours.ink(colour),
      fontsize=points,
      ha='center',
      va='center_baseline',
      parse_math=False,
    )


def _colour_bar(figure, axes, bound):
  colours = LinearSegmentedColormap.from_list(
    'activation', [LIGHT.lowest, LIGHT.paper, LIGHT.highest]
  )
  bar = figure.colorbar(
    ScalarMappable(Normalize(-bound, bound), colours),
    ax=axes,
    orientation='horizontal',
    location='top',
    shrink=0.35,
    aspect=24,
    ticks=[-bound, 0, bound],
    format='%.2f',
  )
  bar.set_label('state', fontsize=LABEL)
  bar.ax.tick_params(labelsize=TICK)
