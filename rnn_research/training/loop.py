"""The one training loop of all experiments."""

import contextlib
import math
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from rnn_research.experiment import Experiment, TrainData
from rnn_research.training import checkpoint, optimizer
from rnn_research.training.backend import local_copy, replicate, shard_batch
from rnn_research.training.metrics_log import open_log
from rnn_research.training.progress import open_display
from rnn_research.training.result import versions
from rnn_research.training.schedules import learning_rate
from rnn_research.training.step import create_state, make_step


class Stopped(NamedTuple):
  """How training ended.

  Attributes:
    step: updates done.
    seconds: training time over all sessions of the run, compilation included.
    finished: False after SIGTERM.
    best: (step, headline figure) of the best evaluation.
  """

  step: int
  seconds: float
  finished: bool
  best: tuple[int, float]


class _Run(NamedTuple):
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


def train(experiment: Experiment, data: TrainData, config: ConfigDict, workdir: str,
          mesh: jax.sharding.Mesh) -> Stopped:
  """Trains until `train.steps` or `train.epochs`, from the newest checkpoint of `workdir` if there is one.

  Args:
    experiment: the model.
    data: of its `train_data`.
    config: its blocks `seed`, `optimizer` and `train` are read.
    workdir: gets checkpoints, metrics.jsonl and samples.jsonl.
    mesh: devices over which the batch is split.

  Returns:
    How it ended.

  Raises:
    ValueError: the checkpoint was trained on other data; FloatingPointError: the loss or a gradient is not a number.
  """
  started = time.monotonic()
  total = config.train.steps or config.train.epochs * data.steps_per_epoch
  eval_every = config.train.eval_every or data.steps_per_epoch
  tx, schedule = optimizer.make_optimizer(config.optimizer, data.steps_per_epoch, total, eval_every)
  key = jax.random.key(config.seed)
  init_key, step_key, eval_key = jax.random.split(key, 3)
  state = create_state(experiment, tx, init_key, config.train.batch_size, config.train.ema_decay > 0, mesh)
  with contextlib.ExitStack() as stack:
    manager = stack.enter_context(checkpoint.open_manager(workdir))
    state, step, seconds, best, window = _resume(manager, state, data)
    log = open_log(workdir, step, config.train.tensorboard)
    display = open_display(total, 'symbols')
    stack.callback(log.close)
    stack.callback(display.close)
    run = _Run(experiment, config, workdir, data, total, eval_every, config.train.checkpoint_every or eval_every,
               schedule, manager, log, display, eval_key)
    if step < total:
      compiled = _compile(run, state, mesh, step_key)
      return _loop(run, compiled, state, step, best, window, mesh, started - seconds)
  return Stopped(step, seconds, True, best)


def _resume(manager, state, data):
  """Returns the newest checkpoint's state, step, seconds, best evaluation and window, with the data wound on to it."""
  restored = checkpoint.restore_latest(manager, state)
  if restored is None:
    return state, 0, 0.0, (0, math.nan), {}
  meta = restored.meta
  if meta['fingerprint'] != data.fingerprint:
    raise ValueError(f'the training data differ from those of the checkpoint (digest {data.fingerprint[:12]}, the '
                     f'checkpoint has {meta["fingerprint"][:12]}); use a new workdir')
  changed = [f'{name} {meta["versions"].get(name)} -> {now}' for name, now in versions().items()
             if meta['versions'].get(name) != now]
  if changed:
    print(f'warning: resumed with {", ".join(changed)}: the run goes on, but not bit for bit', flush=True)
  data.iterator.set_state(restored.data_state)
  best = meta['best'][0], math.nan if meta['best'][1] is None else meta['best'][1]
  return restored.state, restored.step, meta['seconds'], best, meta['window']


def _compile(run, state, mesh, key):
  position = run.data.iterator.get_state()
  batch = next(run.data.iterator)
  run.data.iterator.set_state(position)
  make = make_step(run.experiment, mesh, key, micro_batches=run.config.train.micro_batches,
                   ema_decay=run.config.train.ema_decay,
                   clipped=lambda grads, norm: optimizer.clip_fraction(run.config.optimizer, grads, norm))
  compiled = make(state, shard_batch(mesh, batch))
  params = sum(a.size for a in jax.tree.leaves(state.params))
  memory = compiled.memory_analysis()
  peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
  peak -= memory.alias_size_in_bytes
  run.display.show(f'{params:,} parameters, peak memory {peak / 2**20:,.0f} MiB per device, '
                   f'{mesh.size} device(s) of kind {mesh.devices.flat[0].device_kind}, recurrence: '
                   f'{run.experiment.engine}')
  return compiled


def _loop(run, compiled, state, step, best, window, mesh, started):
  train = run.config.train
  if step == 0 and 0 in train.show_steps:
    _show(run, state, 0)
  pending, since = None, (time.monotonic(), step)
  with _sigterm() as terminated:
    while step < run.total:
      state, metrics = compiled(state, shard_batch(mesh, next(run.data.iterator)))
      step += 1
      if mesh.devices.flat[0].platform == 'cpu':
        # Two steps in flight can deadlock: threads that wait in one step's psum starve the other step of threads.
        jax.block_until_ready(metrics)
      # One step late, so that the host prepares the next step while an accelerator runs this one.
      window = window if pending is None else _settle(run, window, *pending)
      pending = step, metrics
      evaluate, save, log = (step % n == 0 or step == run.total
                             for n in (run.eval_every, run.checkpoint_every, train.log_every))
      stop = _agreed(terminated) if log or jax.process_count() == 1 else False
      if evaluate or save or log or stop or step in train.show_steps:
        window, pending = _settle(run, window, *pending), None
      if log:
        window, since = _write_window(run, state, window, step, since), (time.monotonic(), step)
      if evaluate:
        last_valid, best = _evaluate(run, state, step, best)
        state = state.replace(last_valid=replicate(mesh, np.float32(last_valid)))
      if step in train.show_steps:
        _show(run, state, step)
      if save or stop:
        _save(run, state, step, best, window, time.monotonic() - started)
      if stop and step < run.total:
        run.display.show(f'stopped by SIGTERM after step {step}: saved, the same command goes on from here')
        return Stopped(step, time.monotonic() - started, False, best)
  return Stopped(step, time.monotonic() - started, True, best)


def _settle(run, window, step, metrics):
  """Waits for a step's metrics and returns the window with them added.

  Raises:
    FloatingPointError: the loss or the gradient norm is not finite.
  """
  values = {name: float(value) for name, value in jax.device_get(metrics).items()}
  if not (math.isfinite(values['loss']) and math.isfinite(values['gradient_norm'])):
    good = max(run.manager.all_steps(), default=None)
    kept = 'there is no checkpoint yet' if good is None else f'the last good checkpoint is that of step {good}'
    raise FloatingPointError(f'step {step}: the loss is {values["loss"]} and the gradient norm is '
                             f'{values["gradient_norm"]}; {kept}; try a lower optimizer.learning_rate or '
                             'optimizer.clip_norm=1')
  sums = {name: window.get(name, 0.0) + value for name, value in values.items()}
  largest = max(window.get('largest_gradient_norm', 0.0), values['gradient_norm'])
  return {**sums, 'largest_gradient_norm': largest, 'steps': window.get('steps', 0) + 1}


def _write_window(run, state, window, step, since):
  steps, largest = window.pop('steps'), window.pop('largest_gradient_norm')
  means = {name: value / steps for name, value in window.items()}
  symbols = (step - since[1]) * run.config.train.batch_size * run.config.train.unroll_length
  rate = symbols / max(time.monotonic() - since[0], 1e-9)
  run.log.write(step, {**{f'train/{name}': value for name, value in means.items()},
                       'train/largest_gradient_norm': largest, 'train/epoch': step / run.data.steps_per_epoch,
                       'learning_rate': float(learning_rate(run.schedule, state.opt_state, step - 1)),
                       'symbols_per_second': rate})
  run.display.update(step, means['loss'], rate)
  return {}


def evaluated_params(state):
  """Returns the parameters that are evaluated, their average where there is one, on one device."""
  return local_copy(state.average if jax.tree.leaves(state.average) else state.params)


def _evaluate(run, state, step, best):
  """Returns the headline figure, lower is better, and the best evaluation so far, whose parameters are saved."""
  params, figures = evaluated_params(state), {}
  for split, evaluate in run.experiment.evaluate.items():
    metrics = evaluate(params, jax.random.fold_in(run.key, step))
    figures.update({f'{split}/{name}': value for name, value in metrics.items()})
  run.log.write(step, figures)
  split, metric, sense = run.experiment.headline
  value = figures[f'{split}/{metric}']
  numbers = '  '.join(f'{name} {value:.4f}' for name, value in figures.items() if isinstance(value, float))
  run.display.show(f'step {step}/{run.total}  {numbers}')
  sign = 1.0 if sense == 'min' else -1.0
  if not sign * value >= sign * best[1]:  # also true of the first evaluation, when best is not a number
    checkpoint.save_best(run.workdir, step, params, value)
    best = step, value
  return sign * value, best


def _show(run, state, step):
  text = run.experiment.show(evaluated_params(state), jax.random.fold_in(run.key, step))
  run.log.write(step, {'sample': text})
  run.display.show(f'--- a sample after step {step} ---\n{text}\n---')


def _save(run, state, step, best, window, seconds):
  meta = {'assets': run.experiment.assets, 'config': run.config.to_dict(), 'versions': versions(),
          'fingerprint': run.data.fingerprint, 'best': best, 'window': window, 'seconds': seconds}
  checkpoint.save(run.manager, step, state, run.data.iterator.get_state(), meta)


@contextlib.contextmanager
def _sigterm():
  """Yields a function that tells whether SIGTERM has come; elsewhere than in the main thread it never does."""
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
