"""Logged numbers as columns, and CSV and Markdown for people."""

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_research.training.checkpoint import is_finished
from rnn_research.training.result import read_json, write_text

_METRICS = {
  'bleu': 'BLEU',
  'exact': 'share of exact translations',
  'expected_error': 'expected error (percent)',
}

DIVERGED = 'diverged'  # in place of a figure that is not finite

Rows = Sequence[Mapping[str, Any]]  # lines of a metrics log
Table = Mapping[str, np.ndarray | Sequence[float | str]]  # name -> column


def metric_name(metric: str) -> str:
  """Returns a metric's name for people."""
  return _METRICS.get(metric, metric.replace('_', ' '))


def columns(rows: Rows, names: Iterable[str]) -> dict[str, np.ndarray]:
  """Returns the logged numbers by name, one entry for every step at which one of `names` was
  logged.

  Args:
    rows: lines of a log, each with a `step`; several lines may belong to one step.
    names: what is wanted.

  Returns:
    `step` and each name -> [N] float64, not-a-number where a step has no such finite number.
  """
  names = list(names)
  by_step: dict[int, dict[str, Any]] = {}
  for row in rows:
    if any(name in row for name in names):
      by_step.setdefault(row['step'], {}).update(row)
  steps = sorted(by_step)
  logged = lambda name: np.array([by_step[step].get(name) for step in steps], np.float64)
  return {'step': np.array(steps, np.float64), **{name: finite(logged(name)) for name in names}}


def finite(values: np.ndarray) -> np.ndarray:
  """Returns float64 numbers with not-a-number in the place of infinities, which cannot be drawn."""
  values = np.asarray(values, np.float64)
  return np.where(np.isfinite(values), values, np.nan)


def quantiles(rows: np.ndarray, shares: Sequence[float]) -> np.ndarray:
  """Returns quantiles of the finite numbers of each of N rows.

  Args:
    rows: [N, S] numbers.
    shares: Q numbers in [0, 1].

  Returns:
    [Q, N] float64, not-a-number for a row without a finite number.
  """
  known = [row[np.isfinite(row)] for row in np.asarray(rows, np.float64)]
  nothing = np.full(len(shares), np.nan)
  return np.array([np.quantile(row, shares) if len(row) else nothing for row in known]).T


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
  """Returns the mean of each number and its neighbours on both sides, [N] float64.

  The centred window is `width` numbers wide; it grows from 1 at the start, where a loss falls fast,
  and shrinks towards the end.
  """
  index = np.arange(len(values))
  reach = np.minimum(width // 2, np.minimum(index // 8, index[::-1]))
  return np.array([values[i - r : i + r + 1].mean() for i, r in enumerate(reach)])


def write_csv(path: str | os.PathLike, table: Table) -> None:
  """Writes columns of one length as CSV with a header; what is not a number stays empty."""
  out = io.StringIO()
  writer = csv.writer(out, lineterminator='\n')
  writer.writerow(table)
  writer.writerows([_cell(value) for value in row] for row in zip(*table.values(), strict=True))
  write_text(path, out.getvalue())


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """Returns a Markdown table whose first column holds names and whose others hold numbers."""
  rule = ['---', *['---:'] * (len(header) - 1)]
  return ''.join(f'| {" | ".join(row)} |\n' for row in (header, rule, *rows))


def fenced(text: str) -> str:
  """Returns `text` as a Markdown code block that no content of it can end."""
  longest = max((len(run) for run in re.findall('`+', text)), default=0)
  fence = '`' * max(3, longest + 1)
  return f'{fence}text\n{text}\n{fence}\n'


def samples_of(rows: Rows) -> list[tuple[int, str]]:
  """Returns (step, text) of the samples of a log, in the order of their steps."""
  samples = ((row['step'], row['sample']) for row in rows if 'sample' in row)
  return sorted(samples, key=lambda sample: sample[0])


def samples_markdown(rows: Rows) -> str:
  """Returns the samples of a log in the order of their steps, each under the training loss that was
  known then."""
  samples = samples_of(rows)
  if not samples:
    return 'No samples were written while this model trained.\n'
  losses = columns(rows, ['train/loss'])
  return '\n'.join(f'### {_heading(step, losses)}\n\n{fenced(text)}' for step, text in samples)


def read_result(workdir: str | os.PathLike) -> dict[str, Any] | None:
  """Returns result.json of a workdir, None where the run is not finished."""
  if not is_finished(str(workdir)):
    return None
  return read_json(Path(workdir) / 'result.json')


def result_markdown(result: Mapping[str, Any] | None) -> str:
  """Returns what a run took and a table of its numbers, a row per split, or the sentence that there
  are none yet."""
  if result is None:
    return 'The run is not finished.\n'
  table = _table('split', result['metrics']) or 'Nothing is held out to evaluate on.\n'
  return (
    f'{result["params"]:,} parameters, {result["steps"]:,} steps in {result["seconds"]:.0f} '
    f'seconds of training, seed {result["seed"]}; evaluated with the parameters of step '
    f'{result["best_step"]:,}.\n\n{table}'
  )


def side_by_side(results: Mapping[str, Mapping[str, Any] | None], split: str) -> str:
  """Returns a table of the numbers of a split at the end of training, a row per run that has them;
  '' where none has.

  Args:
    results: label of a run -> its result.json, None where it is not finished.
    split: of them.
  """
  ends = {label: result['metrics'] for label, result in results.items() if result}
  return _table('run', {label: found[split] for label, found in ends.items() if split in found})


def _table(head, rows: Mapping[str, Mapping[str, Any]]) -> str:
  figures = {
    label: {name: value for name, value in row.items() if not isinstance(value, str)}
    for label, row in rows.items()
  }
  names = list(dict.fromkeys(name for row in figures.values() for name in row))
  lines = [[label, *(_format(row.get(name)) for name in names)] for label, row in figures.items()]
  return markdown([head, *(name.replace('_', ' ') for name in names)], lines) if lines else ''


def _format(value: float | int | None) -> str:
  if value is None:
    return ''
  return f'{value:.4f}' if isinstance(value, float) else f'{value:,}'


def _heading(step: int, losses: Mapping[str, np.ndarray]) -> str:
  if step == 0:
    return 'At first, before any training'
  known = losses['train/loss'][losses['step'] <= step]
  return f'After {step:,} steps' + (f', training loss {known[-1]:.2f} nats' if len(known) else '')


def _cell(value: float | str) -> str:
  if isinstance(value, str):
    return value
  return '' if np.isnan(value) else f'{value:.10g}'
