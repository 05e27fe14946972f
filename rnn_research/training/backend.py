"""Devices: how many, how a batch lies on them, and what must be set before JAX's backend starts."""

import ctypes
import os
import platform

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rnn_research.errors import InputError
from rnn_research.typing import PyTree

_DISTRIBUTED = ('JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_HEAP_BYTES = 2**26  # the largest heap of glibc's arenas but the main one

# What `configure` set up in this process: (devices of this process, large steps).
_configured: list[tuple[int, bool]] = []


def configure(batch_size: int, num_devices: int = 0, kept_bytes: int = 0) -> None:
  """Sets up the CPU backend, before any other use of JAX: one device per core. Again with the same
  outcome, as in a notebook's cell that is run twice, nothing happens.

  Tiny per-step operations lose more by forking and joining threads than they win, so the batch is
  spread over devices instead. Memory is kept by the allocator rather than given back to the system
  and faulted in again.

  Args:
    batch_size: rows per step over all processes.
    num_devices: devices over all processes; 0 is the largest divisor of the batch not above this
      machine's cores.
    kept_bytes: roughly what a step keeps for its backward pass, over all devices.

  Raises:
    RuntimeError: the backend has already started, with other settings.
    InputError: `num_devices` does not divide the batch.
  """
  processes = int(os.environ['JAX_NUM_PROCESSES']) if is_distributed() else 1
  total = num_devices or processes * largest_divisor(max(batch_size // processes, 1), num_cores())
  _check_divides(batch_size, total, processes)
  settings = total // processes, kept_bytes // total > _HEAP_BYTES // 2
  if settings in _configured:
    return
  _set_cpu_devices(settings[0])
  # Saves up to 3 % of a training step where a CPU has vectors of 512 bits; others ignore it. The
  # last of equal flags wins, so a user's own is kept. A flag that XLA does not know ends the
  # process: add none lightly.
  os.environ['XLA_FLAGS'] = (
    f'--xla_cpu_prefer_vector_width=512 {os.environ.get("XLA_FLAGS", "")}'.strip()
  )
  _keep_memory(settings[1])
  _configured[:] = [settings]


def is_distributed() -> bool:
  """Returns whether this process is one of several.

  Raises:
    InputError: only some of the variables are set, or the numbers are none.
  """
  values = {name: os.environ[name] for name in _DISTRIBUTED if os.environ.get(name)}
  if values and len(values) < len(_DISTRIBUTED):
    raise InputError(
      f'only {", ".join(values)} is set, expected all of {", ".join(_DISTRIBUTED)} or none'
    )
  for name in _DISTRIBUTED[1:] if values else ():
    if not values[name].isdigit():
      raise InputError(f'{name} is {values[name]!r}, expected an integer')
  if values and not int(values['JAX_PROCESS_ID']) < int(values['JAX_NUM_PROCESSES']):
    raise InputError(
      f'JAX_PROCESS_ID is {values["JAX_PROCESS_ID"]}, expected less than JAX_NUM_PROCESSES, '
      f'{values["JAX_NUM_PROCESSES"]}'
    )
  return bool(values)


def is_first() -> bool:
  """Returns whether this is process 0, without starting the backend as JAX's own index does."""
  return not is_distributed() or int(os.environ['JAX_PROCESS_ID']) == 0


def initialize_distributed() -> None:
  """Joins the run's other processes if JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
  JAX_PROCESS_ID are set.

  Before the backend starts.
  """
  if is_distributed():
    address, num_processes, process_id = (os.environ[name] for name in _DISTRIBUTED)
    jax.distributed.initialize(address, int(num_processes), int(process_id))


def data_mesh(batch_size: int, num_devices: int = 0) -> Mesh:
  """Returns a mesh with the one axis 'data', with as many devices of each process.

  Args:
    batch_size: rows per step over all processes.
    num_devices: devices over all processes; 0 is the largest divisor of the batch not above the
      devices present.

  Raises:
    InputError: `num_devices` does not divide the batch, or there are fewer.
  """
  processes = jax.process_count()
  total = num_devices or processes * largest_divisor(
    max(batch_size // processes, 1), jax.local_device_count()
  )
  _check_divides(batch_size, total, processes)
  if total > jax.device_count():
    raise InputError(
      f'num_devices is {total}, but there are {jax.device_count()} {jax.default_backend()} devices'
    )
  of_each = [
    [d for d in jax.devices() if d.process_index == p][: total // processes]
    for p in range(processes)
  ]
  return Mesh(np.concatenate(of_each), ('data',), axis_types=(AxisType.Auto,))


def shard_batch(mesh: Mesh, batch: PyTree) -> PyTree:
  """Puts numpy arrays [B, ...], the same in every process, onto the mesh, split along B."""
  return _put(NamedSharding(mesh, PartitionSpec('data')), batch)


def fed(mesh: Mesh, batch: PyTree) -> PyTree:
  """Returns a batch of numpy arrays as a compiled step takes it: as it is, since the step puts it
  onto the devices quicker than `shard_batch`, but where there are several processes."""
  return batch if jax.process_count() == 1 else shard_batch(mesh, batch)


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
  """Puts a copy of every array, the same in every process, onto every device of the mesh."""
  return _put(NamedSharding(mesh, PartitionSpec()), tree)


def local_copy(tree: PyTree) -> PyTree:
  """Returns replicated arrays as arrays on this process's first device of their mesh.

  They share memory with the originals, and so live until those are donated to a jitted function.
  """
  return jax.tree.map(lambda x: x.addressable_data(0), tree)


def largest_divisor(n: int, limit: int) -> int:
  """Returns the largest divisor of `n` that is not above `limit`."""
  return next(d for d in range(min(n, limit), 0, -1) if n % d == 0)


def num_cores() -> int:
  """Returns the cores this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _put(sharding: NamedSharding, tree: PyTree) -> PyTree:
  if jax.process_count() == 1:
    return jax.device_put(tree, sharding)
  place = lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])
  return jax.tree.map(lambda x: place(np.asarray(x)), tree)


def _check_divides(batch_size: int, num_devices: int, processes: int) -> None:
  if num_devices < 1 or batch_size % num_devices:
    raise InputError(
      f'num_devices is {num_devices}, which does not divide the batch of {batch_size}'
    )
  if num_devices % processes:
    raise InputError(
      f'num_devices is {num_devices}, which the {processes} processes cannot share evenly'
    )


def _set_cpu_devices(count: int) -> None:
  try:
    # JAX accepts the value it already has even after the start, so another value is tried first.
    # JAX makes the attributes of its config when it is imported.
    other = jax.config.jax_num_cpu_devices + 1  # type: ignore[attr-defined]
    jax.config.update('jax_num_cpu_devices', other)
    jax.config.update('jax_num_cpu_devices', count)
  except RuntimeError as e:
    raise RuntimeError(
      'the JAX backend has already started, call configure before any other use of JAX'
    ) from e


def _keep_memory(large: bool) -> None:
  """Lets glibc reuse freed blocks instead of returning them: page faults cost 20-50 % of a training
  step.

  Heaps of threads are returned whatever is set, and what does not fit into one is mapped anew every
  time, so large blocks must come from the one heap without a limit. Small steps lose by that, since
  their threads then wait for each other: LSTM 2 x 512, batch 50, unroll 50 took 150 instead of 190
  ms per step, 2 x 128 took 14.9 instead of 13.5.
  """
  if platform.libc_ver()[0] == 'glibc':
    libc = ctypes.CDLL(None)
    for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
      libc.mallopt(option, 1 << 30)
    if large:
      libc.mallopt(_M_ARENA_MAX, 1)
