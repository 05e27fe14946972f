"""Text coloured by a unit, in a notebook."""

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.analysis.reports import activation_colours
from rnn_research.analysis.reports.activation_page import TOP, Guesses, UnitTrack, require_alike

LONGEST = 5000  # symbols that a notebook shows

_CELL = 'display:inline-block;min-width:1ch;vertical-align:top;text-align:center'
_GUESS = 'display:block;height:1.4em;min-width:100%;width:0;overflow:hidden;font-size:.8em'


class ShownActivations(NamedTuple):
  """A coloured text as a notebook shows it; `html` has no script and needs nothing from outside."""

  html: str
  text: str

  def _repr_html_(self) -> str:
    return self.html

  def __repr__(self) -> str:
    return self.text


def show_activations(
  text: Sequence[str], values: np.ndarray, name: str = '', guesses: Guesses | None = None
) -> ShownActivations:
  """Returns a text coloured by what a unit did on it, which a notebook shows as the last value of a
  cell: blue below zero, orange above.

  Args:
    text: N symbols; the first 5,000 are shown.
    values: [N] float32, the unit's state after each symbol.
    name: of the unit.
    guesses: what the model expects after each symbol, in rows under the text; or None.

  Raises:
    InputError: there is not one finite number, and one row of guesses, for each symbol.
  """
  values = np.asarray(values)
  require_alike(text, [UnitTrack(name or 'the unit', values, {}, ())], guesses)
  bound = float(np.abs(values).max()) or 1.0
  shown = range(min(len(text), LONGEST))
  cells = ''.join(_cell(text[i], values[i], bound, _next(guesses, i)) for i in shown)
  rest = f' The first {LONGEST:,} of {len(text):,} symbols.' if len(text) > LONGEST else ''
  heading = f'<div>{_plain(name)} {_scale(bound)}{rest}</div>'
  style = 'background:#ffffff;color:#000000;padding:.6em;line-height:1.6;white-space:pre-wrap;'
  return ShownActivations(
    f'<div style="font-family:sans-serif">{heading}<div style="{style}font-family:monospace;'
    f'max-height:36em;overflow:auto;overflow-wrap:anywhere">{cells}</div></div>',
    f'activations of {name or "a unit"} over {len(text):,} symbols, '
    f'{values.min():.2f} to {values.max():.2f}',
  )


def _next(guesses: Guesses | None, i: int) -> list[tuple[str, float]]:
  """Returns the best guesses after symbol `i`: what is shown of each, and its probability."""
  if guesses is None:
    return []
  best = zip(guesses.symbols[i][:TOP], guesses.probs[i][:TOP], strict=True)
  return [(activation_colours.glyph(guesses.names[k]), float(prob)) for k, prob in best]


def _cell(symbol: str, value: float, bound: float, following: list[tuple[str, float]]) -> str:
  title = f'{activation_colours.name(symbol)}: {value:.2f}'
  shown = ' ' if symbol == ' ' else activation_colours.glyph(symbol)
  rows = ''.join(
    f'<span style="{_GUESS};{_on(activation_colours.of_probability(prob))}" '
    f'title="{_plain(guess)} {prob:.0%}">{_plain(guess)}</span>'
    for guess, prob in following
  )
  colour = _on(activation_colours.of_activation(value / bound))
  layout = f'{_CELL};margin-bottom:.5em;' if following else ''
  return (
    f'<span style="{layout}{colour}" title="{_plain(title)}">{_plain(shown)}{rows}</span>'
    + '<br>' * (symbol == '\n')
  )


def _scale(bound: float) -> str:
  shares = np.linspace(-1, 1, 21)
  bar = ''.join(
    f'<span style="{_on(activation_colours.of_activation(share))}">&nbsp;</span>'
    for share in shares
  )
  return f'{-bound:.2f} {bar} {bound:.2f}'


def _on(colour: str) -> str:
  return f'background:{colour};color:{activation_colours.ink(colour)}'


def _plain(text: str) -> str:
  """Returns text that HTML shows as it is, and that every encoding has."""
  return html.escape(text).encode('ascii', 'xmlcharrefreplace').decode()
