"""Errors over the length of sequences, of one model or of several side by side."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from rnn_research.analysis.reports import plots
from rnn_research.analysis.reports.plots import GREY, LABEL, Plot

STEM = 'errors_by_length'  # of the files in a report


class Errors(NamedTuple):
  """Errors of one model on sequences of several lengths.

  Attributes:
    unit: what lengths count: 'vectors'.
    trained: the longest sequence of training.
    shares: length -> share of errors in [0, 1].
    measure: what they are a share of: 'wrong bits'.
  """

  unit: str
  trained: int
  shares: Mapping[int, float]
  measure: str


def errors_figure(curves: Mapping[str, Errors], text: str) -> Plot:
  """Draws errors over lengths, and how far training went.

  Args:
    curves: label -> errors, of one unit and measure.
    text: the caption.
  """
  one = next(iter(curves.values()))
  figure = Figure(figsize=(11, 6), layout='constrained')
  axes = figure.subplots()
  for (label, errors), (colour, line, marker) in zip(
    curves.items(), plots.styles(len(curves)), strict=True
  ):
    axes.plot(
      list(errors.shares),
      list(errors.shares.values()),
      color=colour,
      linestyle=line,
      linewidth=2.5,
      marker=marker,
      markersize=10,
      clip_on=False,
      label=label if len(curves) > 1 else None,
    )
  for trained in {errors.trained for errors in curves.values()}:
    axes.axvspan(0, trained, color=GREY, alpha=0.2, linewidth=0)
  axes.set_ylim(0, max(0.1, 1.08 * axes.dataLim.y1))
  axes.set_xlim(left=0)
  axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
  axes.set_xlabel(f'length of the sequence, {one.unit}', fontsize=LABEL)
  axes.set_ylabel(one.measure, fontsize=LABEL)
  plots.finish(axes)
  if len(curves) > 1:
    plots.legend_beside(axes)
  plots.caption(figure, f'{text} Grey: up to the longest sequence of training.')
  return Plot(figure, _table(curves))


def compare_errors(workdirs: Mapping[str, str | os.PathLike]) -> Plot | None:
  """Draws the errors of several runs, label -> workdir; None unless all reports have them, with one
  unit and measure."""
  curves = {label: _read(workdir) for label, workdir in workdirs.items()}
  found = {label: one for label, one in curves.items() if one is not None}
  if len(found) < len(curves) or len({(one.unit, one.measure) for one in found.values()}) > 1:
    return None
  return errors_figure(found, 'Errors of each run with its best parameters.')


def _read(workdir):
  path = Path(workdir) / 'report' / f'{STEM}.csv'
  if not path.exists():
    return None
  with open(path, newline='', encoding='utf-8') as f:
    rows = list(csv.DictReader(f))
  shares = {int(row['length']): float(row['errors']) for row in rows}
  return Errors(rows[0]['unit'], int(rows[0]['trained']), shares, rows[0]['measure'])


def _table(curves):
  rows = [
    (label, errors.unit, errors.measure, errors.trained, length, share)
    for label, errors in curves.items()
    for length, share in errors.shares.items()
  ]
  names = 'label', 'unit', 'measure', 'trained', 'length', 'errors'
  return dict(zip(names, zip(*rows, strict=True), strict=True))
