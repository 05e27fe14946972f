"""The training loop beside the compiled step that it takes: what reading batches, their way onto
the devices, metrics and the log cost. A function `(setting) -> part -> () -> Program`; see
`contenders`."""

import atexit
import functools
import shutil
import tempfile
import time

import jax
from ml_collections import ConfigDict

from rnn_research.benchmark import contenders, jax_contenders
from rnn_research.benchmark.jax_programs import training_of, waited
from rnn_research.benchmark.serve import Program, Setting
from rnn_research.benchmark.workloads import random_text
from rnn_research.training import loop, records
from rnn_research.training.metrics_log import open_log
from rnn_research.training.progress import SILENT

_WORK = 60_000_000  # units x steps of a call, so that long ones have few


def launched(setting: Setting):
  """Training on a text, the same program in both parts: 'loop', a window of the log; 'step', as
  many steps one after the other, on one batch that is there already."""
  jax_contenders.configure(setting)
  data = random_text(setting)
  batch = next(data.iterator)
  experiment = jax_contenders.symbol_experiment(setting, batch, setting.engine)
  training = training_of(setting, experiment, contenders.CLIP_NORM)
  compiled = functools.cache(lambda: training.make(training.start(), training.placed(batch)))
  return {
    'loop': lambda: _loop(setting, training, _recorded(experiment, data), compiled()),
    'step': lambda: _steps(setting, training, compiled(), training.placed(batch)),
  }


def num_steps(setting: Setting) -> int:
  """Returns how many steps there are in a window."""
  numbers = setting.batch_size * setting.unroll_length * setting.num_layers * setting.hidden_size
  return max(5, min(50, _WORK // numbers))


def _loop(setting, training, recorded, compiled):
  held = [records.Progress(training.start())]

  def run():
    at, pending = held[0], None
    watch = records.Stopwatch(time.monotonic(), at.step)
    for _ in range(num_steps(setting)):
      at, pending = loop.advance(recorded, compiled, at, pending, training.mesh)
      loop.due_after(recorded, at.step, str)
    at = loop.settled(recorded, at, pending)
    records.write_window(recorded, at, watch)
    held[0] = at._replace(window=records.Window())

  return Program(run, times=num_steps(setting))


def _recorded(experiment, data):
  """Returns what the loop records with: a log on disk; nobody looks."""
  folder = tempfile.mkdtemp()
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  never = ConfigDict({'train': {'log_every': 2**31, 'show_steps': ()}})
  return records.Training(
    experiment=experiment,
    config=never,
    workdir=folder,
    data=data,
    total=2**31,
    eval_every=2**31,
    checkpoint_every=2**31,
    rate=lambda opt_state, step: contenders.LEARNING_RATE,
    checkpoints=None,  # type: ignore[arg-type]
    log=open_log(folder, -1),
    display=SILENT,
    key=jax.random.key(0),
  )


def _steps(setting, training, compiled, batch):
  held = [training.start()]

  def run():
    for _ in range(num_steps(setting)):
      held[0], metrics = compiled(held[0], batch)
      waited(metrics)
    jax.block_until_ready(metrics)

  return Program(run, times=num_steps(setting))
