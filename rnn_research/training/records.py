"""What a run records on its way: metrics, evaluations, samples, checkpoints."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from rnn_research.experiment import Experiment, TrainData
from rnn_research.training import checkpoint, result
from rnn_research.training.backend import local_copy
from rnn_research.training.schedules import learning_rate
from rnn_research.training.step import TrainState
from rnn_research.typing import Params


class Run(NamedTuple):
  """What the parts of the loop share; nothing in it changes."""

  experiment: Experiment
  config: ConfigDict
  workdir: str
  data: TrainData
  total: int
  eval_every: int
  checkpoint_every: int
  schedule: Callable
  manager: Any
  log: Any
  display: Any
  key: Any


def settle(run: Run, window: dict, step: int, metrics: dict) -> dict:
  """Waits for a step's metrics and returns the window with them added.

  Raises:
    FloatingPointError: the loss or the gradient norm is not finite.
  """
  values = {name: float(value) for name, value in jax.device_get(metrics).items()}
  if not (math.isfinite(values['loss']) and math.isfinite(values['gradient_norm'])):
    raise _diverged(
      run, step, f'the loss is {values["loss"]} and the gradient norm is {values["gradient_norm"]}'
    )
  sums = {name: window.get(name, 0.0) + value for name, value in values.items()}
  largest = max(window.get('largest_gradient_norm', 0.0), values['gradient_norm'])
  return {**sums, 'largest_gradient_norm': largest, 'steps': window.get('steps', 0) + 1}


def write_window(
  run: Run, state: TrainState, window: dict, step: int, since: tuple[float, int]
) -> dict:
  """Writes the means of a window's steps, with the speed since (time, step), and returns an empty
  window."""
  steps, largest = window.pop('steps'), window.pop('largest_gradient_norm')
  means = {name: value / steps for name, value in window.items()}
  rate = means.pop('weight') * (step - since[1]) / max(time.monotonic() - since[0], 1e-9)
  run.log.write(
    step,
    {
      **{f'train/{name}': value for name, value in means.items()},
      'train/largest_gradient_norm': largest,
      'train/epoch': step / run.data.steps_per_epoch,
      'learning_rate': float(learning_rate(run.schedule, state.opt_state, step - 1)),
      'units_per_second': rate,
    },
  )
  run.display.update(step, means['loss'], rate)
  return {}


def evaluated_params(state: TrainState) -> Params:
  """Returns the parameters that are evaluated, their average where there is one, on one device."""
  return local_copy(state.average if jax.tree.leaves(state.average) else state.params)


def evaluate(
  run: Run, state: TrainState, step: int, best: tuple[int, float]
) -> tuple[float, tuple[int, float]]:
  """Returns the headline figure, lower is better, and the best evaluation so far, whose parameters
  are saved.

  Raises:
    FloatingPointError: the figure is not finite.
  """
  params, key = evaluated_params(state), jax.random.fold_in(run.key, step)
  measured = {split: evaluate(params, key) for split, evaluate in run.experiment.evaluate.items()}
  figures = {
    f'{split}/{name}': value
    for split, metrics in measured.items()
    for name, value in metrics.items()
  }
  split, metric, sense = run.experiment.headline
  value = measured[split][metric]
  if not math.isfinite(value):
    raise _diverged(run, step, f'{split}/{metric} is {value}')
  run.log.write(step, figures)
  shown = {
    name: value
    for name, value in figures.items()
    if isinstance(value, float) and name.count('/') == 1
  }
  run.display.show(f'step {step}/{run.total}  {result.figures(shown)}')
  sign = 1.0 if sense == 'min' else -1.0
  if (
    not sign * value >= sign * best[1]
  ):  # also true of the first evaluation, when best is not a number
    checkpoint.save_best(run.workdir, step, run.experiment.select(params, measured[split]), value)
    best = step, value
  return sign * value, best


def show(run: Run, state: TrainState, step: int) -> None:
  """Shows and records a sample."""
  text = run.experiment.show(evaluated_params(state), jax.random.fold_in(run.key, step))
  run.log.write(step, {'sample': text})
  run.display.show(f'--- a sample after step {step} ---\n{text}\n---')


def save(
  run: Run, state: TrainState, step: int, best: tuple[int, float], window: dict, seconds: float
) -> None:
  """Saves all that the run needs to go on from here.

  Raises:
    FloatingPointError: the step before it was fine, but the parameters after it are not finite.
    OSError: it could not be written.
  """
  if not all(np.isfinite(a).all() for a in jax.tree.leaves(local_copy(state.params))):
    raise _diverged(run, step, 'a parameter is not finite')
  meta = {
    'assets': run.experiment.assets,
    'config': run.config.to_dict(),
    'versions': result.versions(),
    'fingerprint': run.data.fingerprint,
    'best': best,
    'window': window,
    'seconds': seconds,
  }
  checkpoint.save(run.manager, step, state, run.data.iterator.get_state(), meta)


def _diverged(run, step, found):
  good = max(run.manager.manager.all_steps(), default=None)
  kept = (
    'there is no checkpoint yet'
    if good is None
    else f'the last good checkpoint is that of step {good}'
  )
  return FloatingPointError(
    f'step {step}: {found}; {kept}; try a lower optimizer.learning_rate or '
    'optimizer.clip_norm=1 in a new workdir'
  )
