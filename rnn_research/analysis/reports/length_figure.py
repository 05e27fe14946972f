"""BLEU over the length of the source, of one translator or of several side by side."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rnn_research.analysis.reports import plots
from rnn_research.analysis.reports.plots import GREY, LABEL, TICK, Plot
from rnn_research.metrics.bleu import LengthGroup

_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_LEAST = 20  # sentences of a group


def length_edges(lengths: Sequence[int]) -> list[int]:
  """Returns edges, as `metrics.bleu.bleu_by_length` takes them, between groups of lengths.

  Groups are of one width, four to ten between the shortest and the longest twentieth of the
  sentences; those with fewer than twenty sentences are merged with their neighbours.
  """
  low, high = np.quantile(lengths, (0.05, 0.95))
  step = next((step for step in _STEPS if high - low < 10 * step), _STEPS[-1])
  first, last = min(lengths), max(lengths) + 1
  edges = [first]
  for right in (*range((first // step + 1) * step, last, step), last):
    if sum(edges[-1] <= length < right for length in lengths) >= _LEAST:
      edges.append(right)
  return [*edges[: max(len(edges) - 1, 1)], last]


def length_figure(curves: Mapping[str, Sequence[LengthGroup]], text: str, unit: str) -> Plot:
  """Draws BLEU of groups of sentences, a curve per translator, and how many sentences these are.

  Args:
    curves: label -> the groups, the same sentences for every label.
    text: the caption's first sentence.
    unit: what lengths count: 'words'.
  """
  figure = Figure(figsize=(11, 7.4), layout='constrained')
  scores, counts = figure.subplots(2, sharex=True, height_ratios=(3, 1))
  for (label, groups), (colour, line, marker) in zip(
    curves.items(), plots.styles(len(curves)), strict=True
  ):
    scores.plot(
      [group.bleu for group in groups],
      color=colour,
      linestyle=line,
      linewidth=2.5,
      marker=marker,
      markersize=10,
      label=label if len(curves) > 1 else None,
    )
  scores.set_ylim(0, max(1.0, 1.08 * scores.dataLim.y1))
  scores.set_ylabel('BLEU', fontsize=LABEL)
  groups = next(iter(curves.values()))
  bars = counts.bar(range(len(groups)), [group.count for group in groups], color=GREY, width=0.7)
  counts.bar_label(bars, fontsize=TICK)
  counts.set_yticks([])
  counts.set_ylabel('sentences', fontsize=LABEL)
  counts.set_xticks(range(len(groups)), [_range(group) for group in groups])
  counts.set_xlabel(f'source length, {unit}', fontsize=LABEL)
  for axes in (scores, counts):
    plots.finish(axes)
  counts.margins(y=0.35)
  counts.grid(False)
  if len(curves) > 1:
    plots.legend_beside(scores)
  plots.caption(
    figure,
    f'{text} Each point: corpus BLEU of the sentences whose source has so many {unit}. Below: how '
    'many sentences these are.',
  )
  return Plot(figure, _table(curves, unit))


def _range(group):
  return str(group.low) if group.high == group.low + 1 else f'{group.low}\u2013{group.high - 1}'


def _table(curves, unit):
  rows = [
    (label, unit, group.low, group.high - 1, group.count, group.bleu)
    for label, groups in curves.items()
    for group in groups
  ]
  return dict(
    zip(
      ('label', 'unit', 'shortest', 'longest', 'sentences', 'bleu'),
      zip(*rows, strict=True),
      strict=True,
    )
  )


def read_groups(workdir: str | os.PathLike) -> tuple[str, list[LengthGroup]] | None:
  """Returns the unit and the groups of a run's report, None where it has none."""
  path = Path(workdir) / 'report' / 'bleu_by_length.csv'
  if not path.exists():
    return None
  with open(path, newline='', encoding='utf-8') as f:
    rows = list(csv.DictReader(f))
  return rows[0]['unit'], [
    LengthGroup(
      int(row['shortest']), int(row['longest']) + 1, int(row['sentences']), float(row['bleu'])
    )
    for row in rows
  ]


def compare_lengths(workdirs: Mapping[str, str | os.PathLike]) -> Plot | None:
  """Draws the groups of several runs, label -> workdir; None unless all reports have them, with as
  many sentences."""
  read = {label: read_groups(workdir) for label, workdir in workdirs.items()}
  found = {label: one for label, one in read.items() if one is not None}
  kinds = {(unit, *(g[:3] for g in groups)) for unit, groups in found.values()}
  if len(found) < len(read) or len(kinds) > 1:
    return None
  unit = next(iter(found.values()))[0]
  return length_figure(
    {label: groups for label, (_, groups) in found.items()},
    'Greedy translations of the last held-out split, each run with its best parameters.',
    unit,
  )
