"""One HTML file in which a text is coloured by what units of a network did on it."""

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnn_research.analysis.reports import activation_colours
from rnn_research.analysis.reports import activation_packing as packing
from rnn_research.errors import InputError
from rnn_research.training.result import jsonable, write_text

_TEMPLATE = Path(__file__).parent / 'activation_template'
_SCRIPTS = ('numbers.js', 'text.js', 'cursor.js', 'start.js')
TOP = 5  # guesses that are shown after each symbol


class UnitTrack(NamedTuple):
  """What one unit did over a text of N symbols.

  Attributes:
    name: such as 'c23 of layer 1'.
    values: [N] float32, its state after each symbol, in about [-1, 1].
    gates: name -> [N] float32 in [0, 1], candidates in [-1, 1]; empty for a cell without.
    concepts: names of the concepts that it is shown for.
  """

  name: str
  values: np.ndarray
  gates: Mapping[str, np.ndarray]
  concepts: tuple[str, ...]


class Guesses(NamedTuple):
  """What the model expects after each of N symbols, the most probable first.

  Attributes:
    symbols: [N, K] int32, places in `names`.
    probs: [N, K] float32.
    names: of the symbols.
  """

  symbols: np.ndarray
  probs: np.ndarray
  names: tuple[str, ...]


class Finding(NamedTuple):
  """A unit that follows a concept.

  Attributes:
    concept: its name.
    unit: the name of a track.
    kind: of the score, 'AUC' or 'r', a correlation.
    score: on held-out text.
    q: the smallest false discovery rate at which it counts as found.
    untrained: the best score in the same search on an untrained network.
    probe: the score of a linear probe of all units.
    selectivity: that of the unit alone, as a probe, less the same of its control task.
  """

  concept: str
  unit: str
  kind: str
  score: float
  q: float
  untrained: float
  probe: float
  selectivity: float


class Saturation(NamedTuple):
  """How often a gate of a layer is shut and open: [H] shares of time below 0.1 and above 0.9."""

  layer: int
  gate: str
  left: np.ndarray
  right: np.ndarray


class ActivationPage(NamedTuple):
  """What a page shows.

  Attributes:
    title: its headline.
    text: N symbols.
    tracks: the units, at least one; the first is shown when the page opens.
    guesses: what the model expects, or None.
    findings: the ranked table.
    saturation: a small plot each.
    notes: sentences at the top.
  """

  title: str
  text: Sequence[str]
  tracks: tuple[UnitTrack, ...]
  guesses: Guesses | None
  findings: tuple[Finding, ...]
  saturation: tuple[Saturation, ...]
  notes: tuple[str, ...]


def write_page(path: str | os.PathLike, page: ActivationPage) -> None:
  """Writes a page as one file that needs nothing from outside, and forbids itself to ask.

  States are kept in 8 bits, gates in 4, the five best guesses in 8; all text travels as data, and
  never as markup.

  Args:
    path: of the .html file, which is replaced in one step.
    page: what it shows.

  Raises:
    InputError: there is no text or no unit, numbers of a track are not finite, or are not as many
      as symbols.
    OSError: `path` cannot be written.
  """
  require_alike(page.text, page.tracks, page.guesses)
  # Escaped: no text in the data can end the element that holds them.
  data = json.dumps(jsonable(_content(page)), separators=(',', ':')).replace('<', '\\u003c')
  parts = {
    # A lone surrogate, which UTF-8 does not have, becomes the sign for an unknown character.
    'title': html.escape(page.title).encode('ascii', 'xmlcharrefreplace').decode(),
    'css': _read('page.css') + activation_colours.stylesheet(),
    'js': '\n'.join(map(_read, _SCRIPTS)),
    'data': data,
  }
  write_text(path, re.sub(r'\{\{(\w+)\}\}', lambda slot: parts[slot[1]], _read('page.html')))


def _read(name):
  return (_TEMPLATE / name).read_text('utf-8')


def require_alike(
  text: Sequence[str], tracks: Sequence[UnitTrack], guesses: Guesses | None
) -> None:
  """Raises InputError unless there is a number of every track, and a row of guesses, for every
  symbol."""
  if not len(text) or not tracks:
    raise InputError(
      f'{len(text):,} symbols and {len(tracks)} units to show, expected one of each at least'
    )
  for track in tracks:
    for what, values in {'states': track.values, **track.gates}.items():
      if np.shape(values) != (len(text),):
        raise InputError(
          f'{what} of {track.name} are {list(np.shape(values))}, expected one number for each of '
          f'{len(text):,} symbols'
        )
      if not np.isfinite(values).all():
        raise InputError(f'{what} of {track.name} are not all finite')
  if guesses is not None and len(guesses.symbols) != len(text):
    raise InputError(
      f'guesses after {len(guesses.symbols):,} symbols, expected after each of {len(text):,}'
    )


def _content(page: ActivationPage) -> dict[str, Any]:
  """Returns what the script reads."""
  text, guesses = list(page.text), page.guesses
  symbols = list(dict.fromkeys([*text, *(guesses.names if guesses else ())]))
  ids = {symbol: i for i, symbol in enumerate(symbols)}
  return {
    'levels': activation_colours.LEVELS,
    'length': len(text),
    'symbols': symbols,
    'glyphs': [activation_colours.glyph(symbol) for symbol in symbols],
    'names': [activation_colours.name(symbol) for symbol in symbols],
    'text': packing.ids(np.array([ids[symbol] for symbol in text]), len(symbols)),
    'tracks': [_track(track) for track in page.tracks],
    'guesses': guesses and _guesses(guesses, ids),
    'findings': [finding._asdict() for finding in page.findings],
    'saturation': [_shares(one) for one in page.saturation],
    'notes': page.notes,
  }


def _track(track):
  return {
    'name': track.name,
    'concepts': track.concepts,
    'values': packing.state(track.values),
    'gates': {name: packing.gate(values) for name, values in track.gates.items()},
  }


def _guesses(guesses, ids):
  places = np.array([ids[name] for name in guesses.names], np.int64)
  symbols, probs = np.asarray(guesses.symbols)[:, :TOP], np.asarray(guesses.probs)[:, :TOP]
  return {
    'count': symbols.shape[1],
    'symbols': packing.ids(places[symbols].T, len(ids)),
    'probs': packing.quantised(probs.T, 0.0, 1.0, 256, 8),
  }


def _shares(one):
  return one._asdict() | {'left': np.round(one.left, 3), 'right': np.round(one.right, 3)}
