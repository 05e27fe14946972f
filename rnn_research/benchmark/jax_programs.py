"""What contenders on JAX make their programs of."""

import time
from collections.abc import Callable
from typing import Any

import jax


def carried(advance: Callable[[Any], tuple[Any, Any]], state: Any) -> Callable[[], None]:
  """Returns `run()`, which calls `advance(state) -> (state, result)` with the state of the call before, and waits."""
  held = [state]

  def run():
    held[0], result = advance(held[0])
    jax.block_until_ready((held[0], result))

  return run


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
  """Returns the result of `work()` and the seconds it took."""
  start = time.perf_counter()
  return work(), time.perf_counter() - start


def device_memory() -> Callable[[], int] | None:
  """Returns `() -> bytes`, the peak that this process used of an accelerator; None where there is none."""
  device = jax.local_devices()[0]
  return None if device.platform == 'cpu' else lambda: device.memory_stats()['peak_bytes_in_use']
