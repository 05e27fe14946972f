"""What runs measured while they trained, a curve per member, read from their workdirs."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnn_research.errors import InputError
from rnn_research.training.metrics_log import read_log


class Curves(NamedTuple):
  """The headline figure of runs that differ in nothing but their seed.

  Attributes:
    label: what tells them apart from others.
    steps: [N] float64, of the evaluations.
    values: [S, N] float64, a row per seed; not a number where a run had none.
  """

  label: str
  steps: np.ndarray
  values: np.ndarray


class Run(NamedTuple):
  """A training run.

  Attributes:
    workdir: where it is.
    about: its config.json.
    rows: its metrics.jsonl.
  """

  workdir: str
  about: Mapping[str, Any]
  rows: Sequence[Mapping[str, Any]]


def read_run(workdir: str | os.PathLike) -> Run:
  """Reads a workdir.

  Raises:
    InputError: it holds no training run, or one without an evaluation yet.
  """
  path = Path(workdir) / 'config.json'
  if not path.is_file():
    raise InputError(f'{workdir} holds no run: it has no config.json')
  run = Run(str(workdir), json.loads(path.read_text('utf-8')), read_log(workdir))
  if 'headline' not in run.about:
    raise InputError(f'{workdir} holds {run.about["experiment"]}, which trains no model')
  if not any(figure_name(run) in row for row in run.rows):
    raise InputError(f'{workdir} holds a run without any evaluation yet')
  return run


def figure_name(run: Run) -> str:
  """Returns the name in the log of what a run calls its best: 'valid/accuracy'."""
  split, metric, _ = run.about['headline']
  return f'{split}/{metric}'


def by_learning_rate(run: Run) -> dict[float, Curves]:
  """Returns the curves of a run for each learning rate; one entry where it is no grid."""
  config, name = run.about['config'], figure_name(run)
  rates = config['grid']['learning_rates'] or [config['optimizer']['learning_rate']]
  seeds, rows = config['grid']['seeds'], [row for row in run.rows if name in row]
  steps = np.array([row['step'] for row in rows], np.float64)
  single = seeds * len(rates) == 1
  names = [[name if single else f'{name}/{i * seeds + j}' for j in range(seeds)] for i in range(len(rates))]
  values = lambda of_rate: np.array([[row[n] for row in rows] for n in of_rate], np.float64)
  return {rate: Curves(f'learning rate {rate:g}', steps, values(of_rate))
          for rate, of_rate in zip(rates, names, strict=True)}


def best_curves(run: Run) -> tuple[float, Curves]:
  """Returns the learning rate with the best mean over seeds at the last evaluation, and its curves."""
  curves, sign = by_learning_rate(run), 1.0 if run.about['headline'][2] == 'min' else -1.0

  def last(rate):
    mean = sign * curves[rate].values[:, -1].mean()
    return mean if math.isfinite(mean) else math.inf

  rate = min(curves, key=last)
  return rate, curves[rate]


def without_memory(run: Run) -> float | None:
  """Returns the headline figure of what needs no memory, None where the run's log has none."""
  return next((row[name] for row in run.rows for name in (f'{figure_name(run)}_without_memory',) if name in row), None)


def labels(runs: Sequence[Run]) -> list[str]:
  """Returns a label for each run: the fields of its config in which the runs differ, or its folder."""
  configs = [_flat(run.about['config']) for run in runs]
  names = dict.fromkeys(name for config in configs for name in config)
  differing = [name for name in names if len({str(config.get(name)) for config in configs}) > 1]
  shown = [name for name in differing if name.split('.')[0] in ('model', 'data')] or differing
  texts = [', '.join(_shown(name, config.get(name)) for name in shown) for config in configs]
  return [text if text and texts.count(text) == 1 else Path(run.workdir).name
          for text, run in zip(texts, runs, strict=True)]


def _shown(name, value):
  field = name.split('.')[-1]
  return str(value) if field == 'cell' else f'{field} {value}'


def _flat(config, prefix=''):
  items = {}
  for name, value in config.items():
    items |= _flat(value, f'{prefix}{name}.') if isinstance(value, dict) else {f'{prefix}{name}': value}
  return items
