"""The one training loop of all experiments."""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from rnn_research.errors import InputError, require
from rnn_research.experiment import Experiment, TrainData
from rnn_research.parameters import num_parameters
from rnn_research.training import checkpoint, grid, optimizer, records, signals
from rnn_research.training.backend import fed, replicate
from rnn_research.training.metrics_log import open_log
from rnn_research.training.progress import open_display, warn
from rnn_research.training.records import Best, Progress, Stopwatch, Training, Window
from rnn_research.training.result import versions, write_json
from rnn_research.training.schedules import learning_rate
from rnn_research.training.step import Metrics, compile_shapes, create_state, make_step

Pending = tuple[int, Metrics] | None  # the number of a step, and what it told


class Stopped(NamedTuple):
  """How training ended.

  Attributes:
    step: updates done.
    seconds: training time over all starts of the run, compilation included.
    finished: False after a signal.
    best: of the evaluations.
  """

  step: int
  seconds: float
  finished: bool
  best: Best


def train(
  experiment: Experiment,
  data: TrainData,
  config: ConfigDict,
  workdir: str,
  mesh: jax.sharding.Mesh,
  about: Mapping[str, Any],
) -> Stopped:
  """Trains until `train.steps` or `train.epochs`, from the newest checkpoint of `workdir` if there
  is one.

  Args:
    experiment: the model.
    data: of its `train_data`.
    config: its blocks `seed`, `optimizer` and `train` are read.
    workdir: made if it does not exist; gets config.json, checkpoints and metrics.jsonl.
    mesh: devices over which the batch is split.
    about: written to config.json once nothing can refuse the run any more.

  Returns:
    How it ended.

  Raises:
    InputError: the checkpoint was trained on other data, or for longer.
    FloatingPointError: the loss or a gradient is not a number.
  """
  started = time.monotonic()
  total = config.train.steps or config.train.epochs * data.steps_per_epoch
  eval_every = config.train.eval_every or data.steps_per_epoch
  tx, schedule, describe = _optimizer(experiment, config, data, total, eval_every)
  init_key, step_key, eval_key = jax.random.split(jax.random.key(config.seed), 3)
  averaged = config.train.ema_decay > 0
  at = Progress(create_state(experiment, tx, init_key, config.train.batch_size, averaged, mesh))
  with contextlib.ExitStack() as stack:
    asked = stack.enter_context(signals.heard())
    stack.enter_context(checkpoint.hold(workdir))
    checkpoints = stack.enter_context(checkpoint.open_manager(workdir))
    at = _resume(checkpoints, at, data)
    _check_total(config.train, data.steps_per_epoch, at.step)
    # Before step 1 also the sample of step 0 is written anew.
    log = open_log(workdir, at.step or -1, config.train.tensorboard)
    stack.callback(log.close)
    if jax.process_index() == 0:
      write_json(Path(workdir) / 'config.json', about)
    display = open_display(total, experiment.unit)
    stack.callback(display.close)
    training = Training(
      experiment=experiment,
      config=config,
      workdir=workdir,
      data=data,
      total=total,
      eval_every=eval_every,
      checkpoint_every=config.train.checkpoint_every or eval_every,
      # Compiled as a whole: operation by operation it took a second of every run.
      rate=jax.jit(functools.partial(learning_rate, schedule)),
      checkpoints=checkpoints,
      log=log,
      display=display,
      key=eval_key,
    )
    if _exhausted(training, at):
      _say_exhausted(training, at)
    elif at.step < total:
      take_step = _compile(training, at.state, mesh, step_key, describe)
      return _loop(training, take_step, at, mesh, started - at.seconds, asked)
  return Stopped(at.step, at.seconds, True, at.best)


def _check_total(train, steps_per_epoch, step):
  """Raises InputError for fewer steps, or epochs, than a run has taken."""
  field, least = ('steps', step) if train.steps else ('epochs', -(-step // steps_per_epoch))
  expected = f'at least {least:,}, since the run has taken {step:,} steps'
  require(f'train.{field}', train[field], train[field] >= least, expected)


def _optimizer(experiment, config, data, total, eval_every):
  """Returns the transformation of gradients, its schedule, and what is logged of gradients."""
  tx, schedule = optimizer.make_optimizer(config.optimizer, data.steps_per_epoch, total, eval_every)
  if experiment.pretrained:
    tx = optimizer.at_shares(tx, experiment.pretrained)
  of_gradients = functools.partial(optimizer.describe_gradients, config.optimizer)
  if not experiment.learning_rates:
    return tx, schedule, lambda grads, means: of_gradients(grads)
  scales = np.float32(experiment.learning_rates) / np.float32(config.optimizer.learning_rate)
  return grid.over_members(tx, scales), schedule, functools.partial(grid.describe, of_gradients)


def _resume(checkpoints, at, data):
  """Returns how far the newest checkpoint had come, with the data wound on to it; `at` where there
  is none."""
  restored = checkpoint.restore_latest(checkpoints, at.state)
  if restored is None:
    return at
  meta = restored.meta
  if meta['fingerprint'] != data.fingerprint:
    raise InputError(
      f'the training data differ from those of the checkpoint (digest {data.fingerprint[:12]}, the '
      f'checkpoint has {meta["fingerprint"][:12]}); use a new workdir'
    )
  changed = [
    f'{name} {meta["versions"].get(name)} -> {now}'
    for name, now in versions().items()
    if meta['versions'].get(name) != now
  ]
  if changed:
    warn(f'resumed with {", ".join(changed)}: the run goes on, but not bit for bit')
  data.iterator.set_state(restored.data_state)
  return records.progress_of(restored.state, restored.step, meta)


def _exhausted(training, at):
  """Returns whether the newest `train.stop_after` evaluations brought no better one; 0 never
  stops."""
  return 0 < training.config.train.stop_after <= at.best.missed


def _say_exhausted(training, at):
  training.display.show(
    f'stopped after step {at.step}: {at.best.missed} evaluations in a row were '
    f'not better than that of step {at.best.step} (train.stop_after)'
  )


def _compile(training, state, mesh, key, describe):
  """Returns the step `(state, batch) -> (state, metrics)`, for every shape that a batch can
  have."""
  make = make_step(
    training.experiment,
    mesh,
    key,
    micro_batches=training.config.train.micro_batches,
    ema_decay=training.config.train.ema_decay,
    describe=describe,
  )
  batches = training.data.shapes or (_first(training.data.iterator),)
  shapes = f' for batches of {len(batches)} shapes' if len(batches) > 1 else ''
  training.display.show(f'compiling{shapes}')
  take_step, peak = compile_shapes(make, state, [fed(mesh, batch) for batch in batches])
  params, members = num_parameters(state.params), len(training.experiment.learning_rates)
  of_each = f'{members} x {params // members:,}' if members else f'{params:,}'
  training.display.show(
    f'{of_each} parameters, peak memory {peak / 2**20:,.0f} MiB per device, '
    f'{mesh.size} device(s) of kind {mesh.devices.flat[0].device_kind}, recurrence: '
    f'{training.experiment.engine}'
  )
  return take_step


def _first(iterator):
  position = iterator.get_state()
  batch = next(iterator)
  iterator.set_state(position)
  return batch


def _loop(training, take_step, at, mesh, started, asked):
  """Takes steps to the end, or until nothing gets better any more, or until a signal asks to stop;
  raises KeyboardInterrupt once the step of a Ctrl-C is saved."""
  if at.step == 0 and _shows(training, 0):
    records.show(training, at)
  pending, watch = None, Stopwatch(time.monotonic(), at.step)
  while at.step < training.total:
    at, pending = advance(training, take_step, at, pending, mesh)
    due = due_after(training, at.step, asked)
    if not any(due):
      continue
    at, pending = settled(training, at, pending), None
    if due.log:
      records.write_window(training, at, watch)
      at, watch = at._replace(window=Window()), Stopwatch(time.monotonic(), at.step)
    paused = time.monotonic()
    at, exhausted = _pause(training, at, mesh, due, started)
    watch = watch._replace(time=watch.time + time.monotonic() - paused)
    if exhausted:
      _say_exhausted(training, at)
      return Stopped(at.step, time.monotonic() - started, True, at.best)
    if due.stop and at.step < training.total:
      _say_stopped(training, at, asked())
      if asked() == signals.CTRL_C:
        raise KeyboardInterrupt
      return Stopped(at.step, time.monotonic() - started, False, at.best)
  return Stopped(at.step, time.monotonic() - started, True, at.best)


def advance(
  training: Training, take_step: Callable, at: Progress, pending: Pending, mesh: jax.sharding.Mesh
) -> tuple[Progress, Pending]:
  """Takes a step.

  Args:
    training: of the run.
    take_step: `(state, batch) -> (state, Metrics)`.
    at: before the step, whose state is donated.
    pending: metrics of the step before, which are added to the window one step late, while the
      devices are at work.
    mesh: of the devices.

  Returns:
    Where the run is after the step, and its metrics, which are in no window yet.
  """
  state, metrics = take_step(at.state, fed(mesh, next(training.data.iterator)))
  at = settled(training, at._replace(state=state), pending)
  if mesh.devices.flat[0].platform == 'cpu':
    # Two steps in flight can deadlock: threads that wait in one step's psum starve the other step
    # of threads.
    jax.block_until_ready(metrics)
  return at._replace(step=at.step + 1), (at.step + 1, metrics)


def settled(training: Training, at: Progress, pending: Pending) -> Progress:
  """Returns the progress with pending metrics in its window."""
  if pending is None:
    return at
  return at._replace(window=records.settle(training, at.window, *pending))


class Due(NamedTuple):
  """What is to be done after a step."""

  log: bool
  evaluate: bool
  show: bool
  save: bool
  stop: bool


def due_after(training: Training, step: int, asked: Callable[[], str]) -> Due:
  """Returns what is due after a step; `asked() -> str` is the signal that asks to stop, or ''."""
  at_end, train = step == training.total, training.config.train
  log = step % train.log_every == 0 or at_end
  return Due(
    log=log,
    evaluate=step % training.eval_every == 0 or at_end,
    show=_shows(training, step),
    save=step % training.checkpoint_every == 0 or at_end,
    # Several processes must agree, which takes time.
    stop=(log or jax.process_count() == 1) and signals.agreed(asked),
  )


def _shows(training, step):
  if training.experiment.show is None:
    return False
  shown = training.config.train.show_steps
  return step in shown or (bool(shown) and step == training.total)


def _pause(training, at, mesh, due, started):
  """Evaluates, shows and saves what is due, and returns whether training has nothing more to
  bring."""
  if due.evaluate and training.experiment.evaluate:
    last_valid, best = records.evaluate(training, at)
    state = at.state.replace(last_valid=replicate(mesh, np.float32(last_valid)))
    at = at._replace(state=state, best=best)
  if due.show:
    records.show(training, at)
  exhausted = due.evaluate and _exhausted(training, at)
  if due.save or due.stop or exhausted:
    at = at if training.experiment.evaluate else records.keep_last(training, at)
    records.save(training, at, time.monotonic() - started)
  return at, exhausted


def _say_stopped(training, at, signal_name):
  training.display.show(
    f'stopped by {signal_name or "another process"} after step {at.step}: saved, '
    f'--workdir={training.workdir} goes on from here'
  )
