"""The report of a model that learned an algorithm: its curves, its errors on longer sequences, and
where its heads look."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from rnn_research.analysis.reports import by_length, curve_report
from rnn_research.analysis.reports.sections import Section
from rnn_research.analysis.reports.tables import (
  DIVERGED,
  markdown,
  metric_name,
  read_result,
  result_markdown,
)
from rnn_research.tasks.algorithmic.address_figure import address_figure
from rnn_research.tasks.algorithmic.addresses import Addresses
from rnn_research.tasks.algorithmic.sequences import Examples
from rnn_research.tasks.algorithmic.tasks import TASKS
from rnn_research.training.grid import MEMBERS, members
from rnn_research.training.metrics_log import read_log
from rnn_research.training.result import read_json

_UNITS = {'recall': 'items', 'ngrams': 'bits', 'world': 'events'}
_LEARNED = 0.01  # bits per sequence
# Nobody can answer `ngrams` without an error, and `world` is not measured in bits.
_LEARNABLE = 'copy', 'repeat_copy', 'recall', 'sort'


def write_report(
  look: Callable[[np.ndarray], Addresses],
  name: str,
  held_out: Mapping[str, Callable[[], Examples]],
  workdir: str | os.PathLike,
  out_dir: str | os.PathLike,
) -> None:
  """Writes README.md and figures with their numbers as CSV to `out_dir`.

  Args:
    look: `(inputs [B, T, F]) -> Addresses` of the trained model.
    name: of the task.
    held_out: split -> its examples.
    workdir: of the run, whose config.json, metrics.jsonl and, if the run is finished, result.json
      are read.
    out_dir: an existing folder.
  """
  about = read_json(Path(workdir) / 'config.json')
  result = read_result(workdir)
  sections = [
    _members(read_log(workdir), name, about),
    Section('All splits', before=result_markdown(result)),
    *_lengths(result, name, about),
  ]
  if TASKS[name].every_step:
    fixed = (split for split in held_out if split.startswith(('length_', 'repeats_')))
    sections += [_addresses(look, name, held_out[split](), split, about) for split in fixed]
  curve_report.write_run(workdir, out_dir, sections)


def _lengths(result, name, about):
  """Yields errors over length, of a finished run with two lengths at least."""
  metric = 'bit_errors' if TASKS[name].every_step else 'error'
  measured = {} if result is None else result['metrics']
  shares = {
    int(split.removeprefix('length_')): values[metric]
    for split, values in measured.items()
    if split.startswith('length_')
  }
  if len(shares) < 2:
    return
  unit, longest = _UNITS.get(name, 'vectors'), about['config']['data']['max_length']
  label = about['config']['model']['cell']
  measure = 'wrong bits' if TASKS[name].every_step else 'wrong places'
  errors = by_length.Errors(unit, longest, dict(sorted(shares.items())), measure)
  plot = by_length.errors_figure(
    {label: errors}, f'{metric_name(metric).capitalize()} of {label} with its best parameters.'
  )
  yield Section('Longer sequences', by_length.STEM, plot, 'Errors over length')


def _members(rows, name, about) -> Section:
  """Returns the section of a grid's members at the last evaluation, and of their median at each
  learning rate; empty of a single run."""
  last: dict[str, Sequence] = {}
  for row in rows:
    last |= {k: v for k, v in row.items() if k.endswith(MEMBERS) and not k.startswith('train/')}
  last = {k: v for k, v in last.items() if not k.removesuffix(MEMBERS).endswith(_COMPARED)}
  if not last:
    return Section('')
  values = np.array([*last.values()], np.float64).T  # [G, metrics], all the less the better
  values = np.where(np.isfinite(values), values, np.inf)
  grid = members(ConfigDict(about['config']))
  names = [metric_name(one.removesuffix(MEMBERS).replace('/', ' ')) for one in last]
  table = [
    _row(str(one.seed), one.learning_rate, row) for one, row in zip(grid, values, strict=True)
  ]
  head = ['seed', 'learning rate', *names]
  if name in _LEARNABLE:
    head.append(f'learned ({_LEARNED} bits per sequence) after step')
    for row, step in zip(table, _learned_after(rows, about), strict=True):
      row.append(step)
  rates = np.array([one.learning_rate for one in grid])
  table += [
    _row('median', rate, np.median(values[rates == rate], 0)) + [''] * (name in _LEARNABLE)
    for rate in dict.fromkeys(rates)
  ]
  return Section('Members at the last evaluation', before=markdown(head, table))


def _row(label, rate, numbers):
  return [label, f'{rate:g}', *(f'{a:.4g}' if np.isfinite(a) else DIVERGED for a in numbers)]


_COMPARED = '_without_memory', '_optimal'


def _learned_after(rows, about):
  """Returns for each member the step of the first evaluation at which it had learned the task, as
  text."""
  split, metric, _ = about['headline']
  name = f'{split}/{metric}{MEMBERS}'
  evaluations = [(row['step'], row[name]) for row in rows if name in row]
  return [
    next((f'{step:,}' for step, found in evaluations if _is_small(found[i])), '')
    for i in range(len(evaluations[-1][1]))
  ]


def _is_small(value):
  return value is not None and value <= _LEARNED


def _addresses(look, name, examples, split, about) -> Section:
  one = Examples(*(array[:1] for array in examples))
  model, size = about['config']['model'], split.replace('_', ' ')
  plot = address_figure(
    one,
    look(one.inputs),
    f'{model["cell"]}, {about["experiment"]}, {size}: the first held-out sequence.',
    TASKS[name].channels,
  )
  return Section(
    f'At work, {size}', f'addresses_{split}', plot, 'Inputs, answers, targets and addresses'
  )
