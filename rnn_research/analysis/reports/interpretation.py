"""What the search for interpretable units writes: a page in colour, and a report with figures."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rnn_research.analysis.measures.recording import Recording, Unit, gate_values, values_in_one
from rnn_research.analysis.measures.traces import LEFT, RIGHT, is_candidate
from rnn_research.analysis.measures.unit_search import Found
from rnn_research.analysis.reports import sections, tables, unit_table
from rnn_research.analysis.reports.activation_figure import activation_figure, saturation_figure
from rnn_research.analysis.reports.activation_page import (
  ActivationPage,
  Finding,
  Guesses,
  Saturation,
  UnitTrack,
  write_page,
)
from rnn_research.analysis.reports.sections import Section

SHOWN = 24  # units on the page, those of the best concepts
_FIGURES, _STRETCH = 4, 1600  # of the best concepts, symbols each


def write_interpretation(
  out_dir: str | os.PathLike,
  title: str,
  text: str,
  symbols: Sequence[str],
  recording: Recording,
  found: Sequence[Found],
  notes: Sequence[str],
) -> None:
  """Writes units.html, README.md, figures and units.csv.

  Args:
    out_dir: an existing folder.
    title: of the page.
    text: N symbols.
    symbols: id -> symbol, for what the model expects.
    recording: of the text.
    found: by concept, the best first.
    notes: sentences for the top of the page.
  """
  out, tracks = Path(out_dir), tracks_of(recording, found)
  saturated = _saturation(recording)
  page = ActivationPage(
    title,
    text,
    tracks,
    Guesses(recording.guesses, recording.probs, tuple(symbols)),
    tuple(map(_finding, found)),
    saturated,
    tuple(notes),
  )
  write_page(out / 'units.html', page)
  tables.write_csv(out / 'units.csv', unit_table.columns(found))
  intro = ['The page in colour: [units.html](units.html)', *notes]
  shown = [
    Section('', before='\n\n'.join(intro)),
    Section(
      'Units by concept',
      before=tables.markdown(unit_table.HEADER, unit_table.rows(found)),
      after=unit_table.ABOUT,
    ),
  ]
  for number, one in enumerate(found[:_FIGURES], 1):
    track = next(track for track in tracks if track.name == str(one.unit))
    plot = activation_figure(text, track, _liveliest(track.values), _STRETCH)
    shown.append(Section(f'{one.concept}: {one.unit}', f'unit_{number}', plot))
  if saturated:
    plot = saturation_figure(saturated)
    shown.append(Section('How often gates are shut and open', 'saturation', plot))
  sections.write(out, title, shown)


def tracks_of(recording: Recording, found: Sequence[Found]) -> tuple[UnitTrack, ...]:
  """Returns the units of the best concepts as a page shows them, at most `SHOWN`."""
  concepts: dict[Unit, list[str]] = {}
  for one in found:
    concepts.setdefault(one.unit, []).append(one.concept)
  return tuple(
    UnitTrack(str(unit), values_in_one(recording, unit), _gates(recording, unit), tuple(names))
    for unit, names in list(concepts.items())[:SHOWN]
  )


def _gates(recording, unit):
  gates = recording.gates[unit.layer - 1]
  return {
    name: gate_values(recording, unit.layer, name, unit.place)
    for name, gate in gates.items()
    if unit.place < gate.shape[1]
  }


def _saturation(recording):
  return tuple(
    Saturation(layer, name, (gate < LEFT * 255).mean(0), (gate > RIGHT * 255).mean(0))
    for layer, gates in enumerate(recording.gates, 1)
    for name, gate in gates.items()
    if not is_candidate(name)
  )


def _liveliest(values):
  """Returns where a unit moves most within a stretch of the figure."""
  length = min(_STRETCH, len(values))
  moves = np.cumsum(np.abs(np.diff(values, prepend=values[:1])))
  starts = np.arange(0, len(values) - length + 1, 100)
  return int(starts[np.argmax(moves[starts + length - 1] - moves[starts])])


def _finding(one):
  return Finding(
    one.concept,
    str(one.unit),
    one.kind,
    one.score,
    one.q,
    one.untrained,
    one.probes[-1],
    one.selectivity[0],
  )
