"""The one training loop of all experiments."""

import contextlib
import functools
import math
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from rnn_research.errors import InputError
from rnn_research.experiment import Experiment, TrainData
from rnn_research.parameters import num_parameters
from rnn_research.training import checkpoint, grid, optimizer, records
from rnn_research.training.backend import replicate, shard_batch
from rnn_research.training.metrics_log import open_log
from rnn_research.training.progress import open_display, warn
from rnn_research.training.records import Run
from rnn_research.training.result import versions, write_json
from rnn_research.training.step import compile_shapes, create_state, make_step


class Stopped(NamedTuple):
  """How training ended.

  Attributes:
    step: updates done.
    seconds: training time over all starts of the run, compilation included.
    finished: False after SIGTERM.
    best: (step, headline figure) of the best evaluation.
  """

  step: int
  seconds: float
  finished: bool
  best: tuple[int, float]


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
    InputError: the checkpoint was trained on other data; FloatingPointError: the loss or a gradient
    is not a number.
  """
  started = time.monotonic()
  total = config.train.steps or config.train.epochs * data.steps_per_epoch
  eval_every = config.train.eval_every or data.steps_per_epoch
  tx, schedule = optimizer.make_optimizer(config.optimizer, data.steps_per_epoch, total, eval_every)
  of_gradients = functools.partial(optimizer.describe_gradients, config.optimizer)
  describe = lambda grads, means: of_gradients(grads)
  if experiment.learning_rates:
    tx = grid.over_members(
      tx, np.float32(experiment.learning_rates) / np.float32(config.optimizer.learning_rate)
    )
    describe = functools.partial(grid.describe, of_gradients)
  key = jax.random.key(config.seed)
  init_key, step_key, eval_key = jax.random.split(key, 3)
  state = create_state(
    experiment, tx, init_key, config.train.batch_size, config.train.ema_decay > 0, mesh
  )
  with contextlib.ExitStack() as stack:
    terminated = stack.enter_context(_sigterm())
    stack.enter_context(checkpoint.hold(workdir))
    manager = stack.enter_context(checkpoint.open_manager(workdir))
    state, step, seconds, best, window = _resume(manager, state, data)
    if jax.process_index() == 0:
      write_json(Path(workdir) / 'config.json', about)
    log = open_log(
      workdir, step or -1, config.train.tensorboard
    )  # the sample before step 1 is written anew
    display = open_display(total, experiment.unit)
    stack.callback(log.close)
    stack.callback(display.close)
    run = Run(
      experiment,
      config,
      workdir,
      data,
      total,
      eval_every,
      config.train.checkpoint_every or eval_every,
      schedule,
      manager,
      log,
      display,
      eval_key,
    )
    if _exhausted(run, step, best):
      _say_exhausted(run, step, best)
    elif step < total:
      take_step = _compile(run, state, mesh, step_key, describe)
      return _loop(run, take_step, state, step, best, window, mesh, started - seconds, terminated)
  return Stopped(step, seconds, True, best)


def _resume(manager, state, data):
  """Returns the newest checkpoint's state, step, seconds, best evaluation and window, with the data
  wound on to it."""
  restored = checkpoint.restore_latest(manager, state)
  if restored is None:
    return state, 0, 0.0, (0, math.nan), {}
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
  best = meta['best'][0], math.nan if meta['best'][1] is None else meta['best'][1]
  return restored.state, restored.step, meta['seconds'], best, meta['window']


def _exhausted(run, step, best):
  """Returns whether the newest `train.stop_after` evaluations brought no better one; 0 never
  stops."""
  patience = run.config.train.stop_after * run.eval_every
  return 0 < patience <= step - best[0] and step % run.eval_every == 0


def _say_exhausted(run, step, best):
  run.display.show(
    f'stopped after step {step}: {run.config.train.stop_after} evaluations in a row were not '
    'better than'
    f' that of step {best[0]} (train.stop_after)'
  )


def _compile(run, state, mesh, key, describe):
  """Returns the step `(state, batch) -> (state, metrics)`, for every shape that a batch can
  have."""
  make = make_step(
    run.experiment,
    mesh,
    key,
    micro_batches=run.config.train.micro_batches,
    ema_decay=run.config.train.ema_decay,
    describe=describe,
  )
  batches = run.data.shapes or (_first(run.data.iterator),)
  run.display.show(f'the run is in {run.workdir}')
  if len(batches) > 1:
    run.display.show(f'compiling for batches of {len(batches)} shapes')
  take_step, peak = compile_shapes(make, state, [shard_batch(mesh, batch) for batch in batches])
  params, members = num_parameters(state.params), len(run.experiment.learning_rates)
  of_each = f'{members} x {params // members:,}' if members else f'{params:,}'
  run.display.show(
    f'{of_each} parameters, peak memory {peak / 2**20:,.0f} MiB per device, '
    f'{mesh.size} device(s) of kind {mesh.devices.flat[0].device_kind}, recurrence: '
    f'{run.experiment.engine}'
  )
  return take_step


def _first(iterator):
  position = iterator.get_state()
  batch = next(iterator)
  iterator.set_state(position)
  return batch


def _loop(run, take_step, state, step, best, window, mesh, started, terminated):
  train = run.config.train
  show_steps = train.show_steps if run.experiment.show else ()
  if step == 0 and 0 in show_steps:
    records.show(run, state, 0)
  pending, since = None, (time.monotonic(), step)
  while step < run.total:
    state, metrics = take_step(state, shard_batch(mesh, next(run.data.iterator)))
    step += 1
    if mesh.devices.flat[0].platform == 'cpu':
      # Two steps in flight can deadlock: threads that wait in one step's psum starve the other step
      # of threads.
      jax.block_until_ready(metrics)
    # One step late, so that the host prepares the next step while an accelerator runs this one.
    window = window if pending is None else records.settle(run, window, *pending)
    pending = step, metrics
    evaluate, save, log = (
      step % n == 0 or step == run.total
      for n in (run.eval_every, run.checkpoint_every, train.log_every)
    )
    stop = _agreed(terminated) if log or jax.process_count() == 1 else False
    if evaluate or save or log or stop or step in show_steps:
      window, pending = records.settle(run, window, *pending), None
    if log:
      window, since = (
        records.write_window(run, state, window, step, since),
        (time.monotonic(), step),
      )
    pause = time.monotonic()
    if evaluate:
      last_valid, best = records.evaluate(run, state, step, best)
      state = state.replace(last_valid=replicate(mesh, np.float32(last_valid)))
    if step in show_steps:
      records.show(run, state, step)
    exhausted = evaluate and _exhausted(run, step, best)
    if save or stop or exhausted:
      records.save(run, state, step, best, window, time.monotonic() - started)
    since = since[0] + time.monotonic() - pause, since[1]  # the speed is that of training alone
    if exhausted:
      _say_exhausted(run, step, best)
      break
    if stop and step < run.total:
      run.display.show(
        f'stopped by SIGTERM after step {step}: saved, --workdir={run.workdir} goes on from here'
      )
      return Stopped(step, time.monotonic() - started, False, best)
  return Stopped(step, time.monotonic() - started, True, best)


@contextlib.contextmanager
def _sigterm():
  """Yields a function that tells whether SIGTERM has come; elsewhere than in the main thread it
  never does."""
  came = []
  try:
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(True))
  except ValueError:
    yield lambda: False
    return
  try:
    yield lambda: bool(came)
  finally:
    signal.signal(signal.SIGTERM, before)


def _agreed(terminated):
  """Returns whether any process was asked to stop, the same in all of them."""
  if jax.process_count() == 1:
    return terminated()
  return bool(multihost_utils.process_allgather(np.array(terminated())).any())
