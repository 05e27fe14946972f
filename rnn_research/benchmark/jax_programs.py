"""What contenders on JAX make their programs of."""

from collections.abc import Callable
from typing import Any

import jax

from rnn_research.benchmark.serve import Program, Setting


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


def device_memory() -> Callable[[], int] | None:
  """Returns `() -> bytes`, the peak that this process used of an accelerator; None without one."""
  device = jax.local_devices()[0]
  return None if device.platform == 'cpu' else lambda: device.memory_stats()['peak_bytes_in_use']
