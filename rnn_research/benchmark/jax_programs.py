"""What contenders on JAX make their programs of."""

import time
from collections.abc import Callable
from typing import Any

import jax

from rnn_research.benchmark.contenders import Setting
from rnn_research.benchmark.serve import Program


def carried(
  setting: Setting,
  advance: Callable[[Any], tuple[Any, Any]],
  state: Any,
  compile_seconds: float | None = None,
) -> Program:
  """Returns a program that calls `advance(state) -> (state, result)` with the state of the call
  before.

  On an accelerator it calls it `setting.in_a_row()` times and then waits, on a CPU once.
  """
  held, on_cpu = [state], jax.default_backend() == 'cpu'
  times = 1 if on_cpu else setting.in_a_row()

  def run():
    for _ in range(times):
      held[0], result = advance(held[0])
    jax.block_until_ready((held[0], result))

  return Program(run, compile_seconds, device_memory(), times=times)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
  """Returns the result of `work()` and the seconds it took."""
  start = time.perf_counter()
  return work(), time.perf_counter() - start


def device_memory() -> Callable[[], int] | None:
  """Returns `() -> bytes`, the peak that this process used of an accelerator; None where there is
  none."""
  device = jax.local_devices()[0]
  return None if device.platform == 'cpu' else lambda: device.memory_stats()['peak_bytes_in_use']
