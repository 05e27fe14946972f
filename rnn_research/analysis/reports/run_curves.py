"""What runs measured while they trained, a curve per member, read from their workdirs."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rnn_research.errors import InputError
from rnn_research.training.config import flat
from rnn_research.training.grid import MEMBERS, members, spread
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


class LoggedRun(NamedTuple):
  """A training run, as its log tells.

  Attributes:
    workdir: where it is.
    about: its config.json.
    rows: its metrics.jsonl.
  """

  workdir: str
  about: Mapping[str, Any]
  rows: Sequence[Mapping[str, Any]]


def read_run(workdir: str | os.PathLike) -> LoggedRun:
  """Reads a workdir.

  Raises:
    InputError: it holds no training run, or one without an evaluation yet.
  """
  path = Path(workdir) / 'config.json'
  if not os.path.isfile(path):
    raise InputError(f'{workdir} holds no run: it has no config.json')
  try:
    about = json.loads(path.read_text('utf-8'))
    name, trained = about['experiment'], 'train' in about['config']
  except (KeyError, TypeError, ValueError) as e:
    raise InputError(f'{path} is not the config of a run ({type(e).__name__}: {e})') from e
  if not trained:
    raise InputError(f'{workdir} holds {name}, which trains no model')
  if 'headline' not in about or 'grid' not in about['config']:
    raise InputError(f'{workdir} holds {name} of an earlier version, whose log cannot be compared')
  run = LoggedRun(str(workdir), about, read_log(workdir))
  if not any(figure_name(run) in row for row in run.rows):
    raise InputError(f'{workdir} holds a run without any evaluation yet')
  return run


def figure_name(run: LoggedRun) -> str:
  """Returns the name in the log of what a run calls its best: 'valid/accuracy'."""
  split, metric, _ = run.about['headline']
  return f'{split}/{metric}'


def by_learning_rate(run: LoggedRun) -> dict[float, Curves]:
  """Returns the curves of a run for each learning rate; one entry where it is no grid."""
  config, name = ConfigDict(run.about['config']), figure_name(run)
  rows, grid = [row for row in run.rows if name in row], members(config)
  rates = [one.learning_rate for one in grid] or [config.optimizer.learning_rate]
  figures = [row[f'{name}{MEMBERS}'] if grid else [row[name]] for row in rows]
  values = np.array(figures, np.float64).T  # [S, N]; None, what was not a number, becomes one
  steps = np.array([row['step'] for row in rows], np.float64)
  return {
    rate: Curves(f'learning rate {rate:g}', steps, values[np.equal(rates, rate)])
    for rate in dict.fromkeys(rates)
  }


def best_curves(run: LoggedRun) -> tuple[float, Curves]:
  """Returns the learning rate with the best mean over seeds at the last evaluation, and its curves.

  A rate that loses a seed is worse than one that loses none.
  """
  curves = by_learning_rate(run)
  rate = min(curves, key=lambda rate: badness(curves[rate], run.about['headline'][2]))
  return rate, curves[rate]


def badness(curves: Curves, sense: str) -> tuple[float, float]:
  """Returns what sorts curves from best to worst: the share of seeds that are not finite at the
  end, then the mean of the others."""
  last = spread(curves.values[:, -1], sense)
  lost = 1.0 - last['seeds'] / len(curves.values)
  return lost, (1.0 if sense == 'min' else -1.0) * last['mean'] if 'mean' in last else math.inf


def without_memory(run: LoggedRun) -> float | None:
  """Returns the headline figure of what needs no memory, None where the run's log has none."""
  name = f'{figure_name(run)}_without_memory'
  return next((row[name] for row in run.rows if name in row), None)


def labels(runs: Sequence[LoggedRun]) -> list[str]:
  """Returns a label for each run: its variant, or the fields of its config in which the runs
  differ, or its folder."""
  variants = [run.about['experiment'].split(':')[-1] for run in runs]
  if len(set(variants)) == len(runs) > 1:
    return variants
  configs = [flat(run.about['config']) for run in runs]
  names = dict.fromkeys(name for config in configs for name in config)
  differing = [name for name in names if len({str(config.get(name)) for config in configs}) > 1]
  shown = [name for name in differing if name.split('.')[0] in ('model', 'data')] or differing
  texts = [', '.join(_shown(name, config.get(name)) for name in shown) for config in configs]
  return [
    text if text and texts.count(text) == 1 else run.workdir
    for text, run in zip(texts, runs, strict=True)
  ]


def _shown(name, value):
  field = name.split('.')[-1]
  return str(value) if field == 'cell' else f'{field} {value}'
