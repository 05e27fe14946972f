"""What a run records on its way: metrics, evaluations, samples, checkpoints."""

import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from rnn_research.experiment import Experiment, TrainData
from rnn_research.training import checkpoint, result
from rnn_research.training.backend import local_copy
from rnn_research.training.checkpoint_io import Folder
from rnn_research.training.metrics_log import Log
from rnn_research.training.progress import Display
from rnn_research.training.step import Metrics, TrainState, unpack
from rnn_research.typing import Key, Params


class Training(NamedTuple):
  """What the parts of the loop share; nothing in it changes.

  Attributes:
    total: steps of the whole run.
    eval_every, checkpoint_every: steps between two.
    rate: `(opt_state, step) -> [] float32`, the learning rate of update `step`.
    key: of evaluations and samples.
  """

  experiment: Experiment
  config: ConfigDict
  workdir: str
  data: TrainData
  total: int
  eval_every: int
  checkpoint_every: int
  rate: Callable
  checkpoints: Folder
  log: Log
  display: Display
  key: Key


class Best(NamedTuple):
  """The best evaluation so far.

  Attributes:
    step: updates before it.
    value: its headline figure; not a number before the first.
    missed: evaluations since, none of which was better.
  """

  step: int = 0
  value: float = math.nan
  missed: int = 0


class Window(NamedTuple):
  """Sums over the steps since the last line of the log: name -> [] or, of a grid, [G] float64."""

  sums: Mapping[str, Any] = MappingProxyType({})
  largest_gradient_norm: float = 0.0
  steps: int = 0


class Stopwatch(NamedTuple):
  """Measures the speed since a step; what else takes time is left out by moving `time` on."""

  time: float
  step: int


class Progress(NamedTuple):
  """How far a run has come: what changes while it trains.

  Attributes:
    step: updates done.
    seconds: training time of earlier starts.
  """

  state: TrainState
  step: int = 0
  best: Best = Best()
  window: Window = Window()
  seconds: float = 0.0


def progress_of(state: TrainState, step: int, meta: Mapping[str, Any]) -> Progress:
  """Returns how far the run had come that saved `meta`."""
  best_step, value, *missed = meta['best']  # runs of before did not count these
  sums = {name: np.array(value, np.float64) for name, value in meta['window'].items()}
  window = Window(
    largest_gradient_norm=float(sums.pop('largest_gradient_norm', 0.0)),
    steps=int(sums.pop('steps', 0)),
    sums=sums,
  )
  best = Best(best_step, math.nan if value is None else value, *missed)
  return Progress(state, step, best, window, meta['seconds'])


def settle(training: Training, window: Window, step: int, metrics: Metrics) -> Window:
  """Waits for a step's metrics and returns the window with them added.

  Raises:
    FloatingPointError: the loss or the gradient norm is not finite.
  """
  values = unpack(metrics)
  loss, norm = float(values['loss']), float(values['gradient_norm'])
  if not (math.isfinite(loss) and math.isfinite(norm)):
    raise _diverged(training, step, f'the loss is {loss} and the gradient norm is {norm}')
  sums = {name: window.sums.get(name, 0.0) + value for name, value in values.items()}
  return Window(sums, max(window.largest_gradient_norm, norm), window.steps + 1)


def write_window(training: Training, at: Progress, watch: Stopwatch) -> None:
  """Writes the means of a window's steps, and their speed."""
  means = {name: value / at.window.steps for name, value in at.window.sums.items()}
  seconds = max(time.monotonic() - watch.time, 1e-9)
  rate = means.pop('weight') * (at.step - watch.step) / seconds
  training.log.write(
    at.step,
    {
      **{f'train/{name}': value for name, value in means.items()},
      'train/largest_gradient_norm': at.window.largest_gradient_norm,
      'train/epoch': at.step / training.data.steps_per_epoch,
      'learning_rate': float(training.rate(at.state.opt_state, at.step - 1)),
      'units_per_second': rate,
    },
  )
  training.display.update(at.step, means['loss'], rate)


def evaluated_params(state: TrainState) -> Params:
  """Returns the parameters that are evaluated, their average where there is one, on one device."""
  return local_copy(state.average if jax.tree.leaves(state.average) else state.params)


def evaluate(training: Training, at: Progress) -> tuple[float, Best]:
  """Returns the headline figure, lower is better, and the best evaluation so far, whose parameters
  are saved.

  Raises:
    FloatingPointError: the figure is not finite.
  """
  experiment = training.experiment
  params, key = evaluated_params(at.state), jax.random.fold_in(training.key, at.step)
  measured = {split: evaluate(params, key) for split, evaluate in experiment.evaluate.items()}
  figures = {
    f'{split}/{name}': value
    for split, metrics in measured.items()
    for name, value in metrics.items()
  }
  split, metric, sense = experiment.headline
  value = measured[split][metric]
  if not math.isfinite(value):
    raise _diverged(training, at.step, f'{split}/{metric} is {value}')
  training.log.write(at.step, figures)
  shown = {name: value for name, value in figures.items() if isinstance(value, float)}
  training.display.show(f'step {at.step}/{training.total}  {result.figures(shown)}')
  sign = 1.0 if sense == 'min' else -1.0
  # Also the first evaluation is better: the best figure is then not a number.
  if sign * value >= sign * at.best.value:
    return sign * value, at.best._replace(missed=at.best.missed + 1)
  kept = experiment.select(params, measured[split])
  checkpoint.save_best(training.workdir, at.step, kept, value)
  return sign * value, Best(at.step, value)


def keep_last(training: Training, at: Progress) -> Progress:
  """Saves the newest parameters as the best, where no evaluation could tell."""
  checkpoint.save_best(training.workdir, at.step, evaluated_params(at.state), None)
  return at._replace(best=Best(at.step))


def show(training: Training, at: Progress) -> None:
  """Shows and records a sample."""
  key = jax.random.fold_in(training.key, at.step)
  # Who calls knows that there is a `show`.
  text = training.experiment.show(evaluated_params(at.state), key)  # type: ignore[misc]
  training.log.write(at.step, {'sample': text})
  training.display.show_sample(f'--- a sample after step {at.step} ---\n{text}\n---')


def save(training: Training, at: Progress, seconds: float) -> None:
  """Saves all that the run needs to go on from here.

  Args:
    seconds: training time so far, over all starts.

  Raises:
    FloatingPointError: the step before it was fine, but the parameters after it are not finite.
    OSError: it could not be written.
  """
  if not all(np.isfinite(a).all() for a in jax.tree.leaves(local_copy(at.state.params))):
    raise _diverged(training, at.step, 'a parameter is not finite')
  sums, largest, steps = at.window
  meta = {
    'assets': training.experiment.assets,
    'config': training.config.to_dict(),
    'versions': result.versions(),
    'fingerprint': training.data.fingerprint,
    'best': at.best,
    'window': {**sums, 'largest_gradient_norm': largest, 'steps': steps} if steps else {},
    'seconds': seconds,
  }
  position = training.data.iterator.get_state()
  checkpoint.save(training.checkpoints, at.step, at.state, position, meta)


def _diverged(training, step, found):
  good = max(training.checkpoints.manager.all_steps(), default=None)
  kept = (
    'there is no checkpoint yet'
    if good is None
    else f'the last good checkpoint is that of step {good}'
  )
  clipped = 0.0 < training.config.optimizer.clip_norm <= 1.0
  return FloatingPointError(
    f'step {step}: {found}; {kept}; try a lower optimizer.learning_rate'
    f'{"" if clipped else " or optimizer.clip_norm=1"} in a new workdir'
  )
