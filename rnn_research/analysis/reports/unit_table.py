"""The table of units that tell concepts, for a terminal, a report and a spreadsheet."""

from collections.abc import Sequence

from rnn_research.analysis.measures.unit_search import LEVEL, PROBES, Found
from rnn_research.analysis.reports.tables import Table

_LEAST = 1e-99  # of a q-value that is written out

HEADER = (
  *('concept', 'unit', 'score', 'untrained', 'q', 'units found'),
  *(f'probe of {size}' for size in PROBES),
)
ABOUT = f"""
- unit: the best single one, layer:unit, chosen on one half of the text; + where it is greater where
  the concept holds. Scores, AUC or rank correlation r, are of the other half.
- untrained: the same of a network with random weights.
- q: Benjamini and Hochberg over all pairs of unit and concept, under a permutation of blocks of the
  text; units found: how many have q <= {LEVEL}.
- probes: linear ones, of the best units where they were chosen. In brackets the selectivity: how
  much better they are than a probe as large for a control task, whose labels follow at random from
  the word, or the white space, so far.
"""


def rows(found: Sequence[Found]) -> list[tuple[str, ...]]:
  """Returns the findings as rows of text under `HEADER`."""
  return [
    (
      one.concept,
      f'{"+" if one.sign > 0 else "-"} {one.unit}',
      f'{one.score:.3f} {one.kind}',
      f'{one.untrained:.3f}',
      f'{one.q:.0e}' if one.q >= _LEAST else f'< {_LEAST:.0e}',
      str(one.num_found),
      *(f'{p:.3f} ({s:+.2f})' for p, s in zip(one.probes, one.selectivity, strict=True)),
    )
    for one in found
  ]


def brief(found: Sequence[Found]) -> list[tuple[str, ...]]:
  """Returns the header and the findings, of the probes the smallest and the largest, for a
  terminal."""
  return [(*row[:5], row[6], row[-1]) for row in (HEADER, *rows(found))]


def columns(found: Sequence[Found]) -> Table:
  """Returns the findings as columns of numbers, with the score of every probe and control."""
  fields = ('concept', 'kind', 'unit', 'sign', 'score', 'q', 'num_found', 'untrained')
  return {
    **{field: [_plain(getattr(one, field)) for one in found] for field in fields},
    **{f'probe_{size}': [one.probes[i] for one in found] for i, size in enumerate(PROBES)},
    **{f'control_{size}': [one.controls[i] for one in found] for i, size in enumerate(PROBES)},
  }


def _plain(value):
  return value if isinstance(value, int | float) else str(value)
