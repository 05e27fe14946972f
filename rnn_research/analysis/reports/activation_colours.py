"""Colours of activations, blue below zero and orange above, of probabilities, and the symbols of a
text as people can see them."""

import unicodedata
from typing import NamedTuple

from rnn_research.analysis.reports.glyphs import BOX

LEVELS = 63  # of a scale, in pages; odd, so that zero has one of its own
# Signs that Matplotlib's own fonts have.
GLYPHS = {'\n': '↵', '\r': '←', '\t': '→', ' ': '␣', '\x7f': '␡'}
_NAMES = {'\n': 'line end', '\r': 'carriage return', '\t': 'tab', ' ': 'space'}


class Scheme(NamedTuple):
  """Ends of the scales, as '#rrggbb': no activation, the lowest, the highest; a certain guess."""

  paper: str
  lowest: str
  highest: str
  certain: str


# Okabe and Ito 2008: these blues and oranges stay apart in every kind of colour blindness.
LIGHT = Scheme('#ffffff', '#3d95cf', '#ee8a1d', '#d8433b')
DARK = Scheme('#15181c', '#56b4e9', '#e69f00', '#e8665c')


def of_activation(value: float, scheme: Scheme = LIGHT) -> str:
  """Returns the colour '#rrggbb' of an activation in [-1, 1]; what is beyond is cut."""
  end = scheme.lowest if value < 0 else scheme.highest
  return _mixed(scheme.paper, end, min(abs(value), 1.0))


def of_probability(value: float, scheme: Scheme = LIGHT) -> str:
  """Returns the colour '#rrggbb' of a probability."""
  return _mixed(scheme.paper, scheme.certain, value)


def ink(background: str) -> str:
  """Returns black or white, whichever has the greater contrast with `background`.

  It is at least 4.58 : 1, the square root of white on black.

  Source: Web Content Accessibility Guidelines 2.2, relative luminance. Deviates: nothing.
  """
  linear = [_linear(part / 255) for part in bytes.fromhex(background[1:])]
  luminance = sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
  return '#000000' if (luminance + 0.05) ** 2 >= 1.05 * 0.05 else '#ffffff'


def stylesheet() -> str:
  """Returns CSS rules: classes c0, c1, .. of activations from -1 to 1 and p0, p1, .. of
  probabilities from 0 to 1, LEVELS each, for light and for dark pages."""
  return f'{_rules(LIGHT)}@media (prefers-color-scheme: dark) {{\n{_rules(DARK)}}}\n'


def glyph(symbol: str) -> str:
  """Returns what is shown of a symbol: a sign for each character that could not be seen."""
  return ''.join(_glyph(character) for character in symbol)


def name(symbol: str) -> str:
  """Returns the name of a symbol for people: itself, or what it is where it cannot be seen."""
  if glyph(symbol) == symbol:
    return symbol
  return ' '.join(_NAMES.get(c, c if _glyph(c) == c else f'U+{ord(c):04X}') for c in symbol)


def _glyph(character):
  if character in GLYPHS:
    return GLYPHS[character]
  if character < ' ':
    return chr(0x2400 + ord(character))
  # Format characters too: one that reverses the direction of a line would move its neighbours.
  return BOX if unicodedata.category(character)[0] in 'CZ' else character


def _mixed(one, other, share):
  ends = zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]), strict=True)
  return '#' + bytes(round(a + share * (b - a)) for a, b in ends).hex()


def _linear(part):
  return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def _rules(scheme):
  shares = [level / (LEVELS - 1) for level in range(LEVELS)]
  return ''.join(
    f'.{letter}{level}{{background:{colour};color:{ink(colour)}}}\n'
    for letter, colours in (
      ('c', [of_activation(2 * share - 1, scheme) for share in shares]),
      ('p', [of_probability(share, scheme) for share in shares]),
    )
    for level, colour in enumerate(colours)
  )
