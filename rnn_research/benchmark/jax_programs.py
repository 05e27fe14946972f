"""What contenders on JAX make their programs of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from rnn_research.benchmark import contenders
from rnn_research.benchmark.serve import Program, Setting, timed
from rnn_research.experiment import Experiment, TrainData
from rnn_research.training import backend, optimizer
from rnn_research.training.step import compile_shapes, create_state, make_step
from rnn_research.typing import Key


class Training(NamedTuple):
  """What the training loop makes of an experiment.

  Attributes:
    mesh: of its devices.
    key: of the run.
    start: `() -> state` before the first step.
    make: of `training.step.make_step`: `(state, batch) -> step`, compiled.
    placed: `(batch) -> batch` as the step takes it.
  """

  mesh: Mesh
  key: Key
  start: Callable
  make: Callable
  placed: Callable


def training_of(setting: Setting, experiment: Experiment, clip_norm: float) -> Training:
  """Returns the training of an experiment by Adam, as the loop takes its steps."""
  mesh, key = backend.data_mesh(setting.batch_size), jax.random.key(setting.seed)
  config = optimizer.default_config()
  config.update(clip_norm=clip_norm, learning_rate=contenders.LEARNING_RATE)
  tx, _ = optimizer.make_optimizer(config, 1, 1, 1)
  describe = lambda grads, means: optimizer.describe_gradients(config, grads)
  return Training(
    mesh,
    key,
    lambda: create_state(experiment, tx, key, setting.batch_size, False, mesh),
    make_step(experiment, mesh, key, micro_batches=1, ema_decay=0.0, describe=describe),
    lambda batch: backend.fed(mesh, batch),
  )


def carried(
  setting: Setting,
  advance: Callable[[Any], tuple[Any, Any]],
  state: Any,
  compile_seconds: float | None = None,
) -> Program:
  """Returns a program that calls `advance(state) -> (state, result)` with the state of the call
  before: on an accelerator `setting.in_a_row()` times until it waits, on a CPU once."""
  held, on_cpu = [state], jax.default_backend() == 'cpu'
  times = 1 if on_cpu else setting.in_a_row()

  def run():
    for _ in range(times):
      held[0], result = advance(held[0])
    jax.block_until_ready((held[0], result))

  return Program(run, compile_seconds, device_memory(), times=times)


def streamed(training: Training, data: TrainData, count: int) -> Program:
  """Returns a program that takes `count` steps, as the loop does, on the next batches of a stream
  that knows the shapes of its batches."""
  held, placed = [training.start()], training.placed
  (take_step, _), seconds = timed(
    lambda: compile_shapes(training.make, held[0], [placed(batch) for batch in data.shapes])
  )

  def run():
    for _ in range(count):
      held[0], metrics = take_step(held[0], placed(next(data.iterator)))
      waited(metrics)
    jax.block_until_ready(metrics)

  return Program(run, seconds)


def waited(metrics: Any) -> None:
  """Waits for a step where the training loop does: on a CPU alone."""
  if jax.default_backend() == 'cpu':
    jax.block_until_ready(metrics)


def device_memory() -> Callable[[], int] | None:
  """Returns `() -> bytes`, the peak that this process used of an accelerator; None without one."""
  device = jax.local_devices()[0]
  return None if device.platform == 'cpu' else lambda: device.memory_stats()['peak_bytes_in_use']
