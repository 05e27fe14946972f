"""The jitted training step: gradients under one explicit shard_map, then the optimiser."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from flax.training import train_state
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnn_research.experiment import Experiment
from rnn_research.training.backend import num_cores, replicate, shard_batch
from rnn_research.typing import Array, Key, PyTree

_REPLICATED, _SHARDED = PartitionSpec(), PartitionSpec('data')


class TrainState(train_state.TrainState):
  """Everything that changes while training; what a checkpoint saves."""

  carry: PyTree = ()  # state of truncated BPTT, leaves [B, ...]
  average: PyTree = ()  # exponential moving average of the parameters, or ()
  # Newest validation figure, lower is better, for learning rates that follow it.
  last_valid: Array | float = 0.0


class Metrics(struct.PyTreeNode):
  """What a step tells, in one array: each would take 50 us to fetch."""

  packed: Array  # [N] float32
  shapes: tuple[tuple[str, tuple[int, ...]], ...] = struct.field(pytree_node=False)


def unpack(metrics: Metrics) -> dict[str, np.ndarray]:
  """Waits for the metrics of a step and returns them by name: a float64 or, of a grid,
  [G]."""
  packed = np.asarray(metrics.packed.addressable_data(0), np.float64)
  ends = np.cumsum([math.prod(shape) for _, shape in metrics.shapes])
  parts = np.split(packed, ends[:-1])
  return {
    name: part.reshape(shape)[()] for (name, shape), part in zip(metrics.shapes, parts, strict=True)
  }


def _pack(metrics: Mapping[str, Array]) -> Metrics:
  shapes = tuple((name, value.shape) for name, value in metrics.items())
  return Metrics(jnp.concatenate([jnp.ravel(value) for value in metrics.values()]), shapes)


def create_state(
  experiment: Experiment,
  tx: optax.GradientTransformation,
  key: Key,
  batch_size: int,
  averaged: bool,
  mesh: Mesh,
) -> TrainState:
  """Returns the state before step 1, on the devices of `mesh`: the carry split along B, all else
  replicated."""
  params = experiment.init(key)
  # A large finite start: the first evaluation is then always an improvement.
  state = TrainState.create(
    apply_fn=None,
    params=params,
    tx=tx,
    last_valid=jnp.float32(1e30),
    average=jax.tree.map(jnp.copy, params) if averaged else (),
  )
  state = state.replace(step=jnp.int32(0))
  carry = shard_batch(mesh, experiment.initial_carry(params, batch_size))
  return replicate(mesh, state).replace(carry=carry)


def make_step(
  experiment: Experiment,
  mesh: Mesh,
  key: Key,
  *,
  micro_batches: int,
  ema_decay: float,
  describe: Callable,
) -> Callable[[TrainState, Any], Any]:
  """Returns `compile(state, batch)`, whose result is the step `(state, batch) -> (state, Metrics)`,
  state donated, of batches as `backend.fed` makes them.

  The loss is the sum of totals over the sum of weights, over all devices and micro-batches, so
  padding never skews a mean. Randomness: `fold_in(fold_in(fold_in(key, step), shard),
  micro_batch)`.

  Args:
    experiment: its `loss`.
    mesh: one axis, 'data'.
    key: of the run.
    micro_batches: the batch rows of each device are taken in so many slices, which saves memory,
      not work.
    ema_decay: of the parameter average.
    describe: `(grads, means) -> {name: [] float32}`, logged beside `means`, the loss's own metrics,
      or in their place.
  """
  local = sharded_gradients(experiment, mesh, key, micro_batches)

  def step(state, batch):
    (total, weight, sums), carry, grads = local(state.params, state.carry, batch, state.step)
    grads = jax.tree.map(lambda g: g / weight, grads)
    updates, opt_state = state.tx.update(
      grads, state.opt_state, state.params, value=state.last_valid
    )
    params = optax.apply_updates(state.params, updates)
    average = optax.incremental_update(params, state.average, 1.0 - ema_decay) if ema_decay else ()
    means = {name: value / weight for name, value in sums.items()}
    metrics = {'loss': total / weight, 'weight': weight, **means, **describe(grads, means)}
    return state.replace(
      step=state.step + 1, params=params, opt_state=opt_state, carry=carry, average=average
    ), _pack(metrics)

  def compile_step(state, batch):
    of_state = jax.tree.map(lambda a: a.sharding, state)
    whole, rows = NamedSharding(mesh, _REPLICATED), NamedSharding(mesh, _SHARDED)
    shardings = {'in_shardings': (of_state, rows), 'out_shardings': (of_state, whole)}
    return jax.jit(step, donate_argnums=0, **shardings).lower(state, batch).compile()

  return compile_step


def compile_shapes(
  compile_step: Callable, state: TrainState, batches: Sequence[Mapping]
) -> tuple[Callable, int]:
  """Compiles a step for every shape of a batch.

  Args:
    compile_step: of `make_step`.
    state: the state before the step.
    batches: one of each shape, dicts of arrays [B, ...], as `backend.fed` makes them.

  Returns:
    `(state, batch) -> (state, Metrics)` for batches of these shapes, and the largest peak memory of
    a device in bytes.
  """
  with ThreadPoolExecutor(num_cores()) as pool:
    programs = list(pool.map(lambda batch: compile_step(state, batch), batches))
  of_shape = {_shape(batch): program for batch, program in zip(batches, programs, strict=True)}
  return lambda state, batch: of_shape[_shape(batch)](state, batch), max(map(_peak, programs))


def _shape(batch):
  return tuple(array.shape for array in batch.values())


def _peak(program):
  memory = program.memory_analysis()
  return (
    memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
  )


def sharded_gradients(experiment: Experiment, mesh: Mesh, key: Key, micro_batches: int) -> Callable:
  """Returns `(params, carry, batch, step) -> ((total, weight, metrics), carry, gradients)`, sums
  over all devices.

  Args as of `make_step`.
  """
  return jax.shard_map(
    lambda *args: _local_gradients(experiment.loss, key, micro_batches, *args),
    mesh=mesh,
    in_specs=(_REPLICATED, _SHARDED, _SHARDED, _REPLICATED),
    out_specs=(_REPLICATED, _SHARDED, _REPLICATED),
    check_vma=False,
  )


def _local_gradients(loss, key, micro_batches, params, carry, batch, step):
  """Runs on each device, over its rows: gradients are summed over slices and then once over
  devices."""
  key = jax.random.fold_in(jax.random.fold_in(key, step), lax.axis_index('data'))

  def rows(a):
    return a.reshape(micro_batches, a.shape[0] // micro_batches, *a.shape[1:])

  def one(inputs):
    carry, batch, index = inputs
    (total, (weight, carry, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(
      params, carry, batch, jax.random.fold_in(key, index), step
    )
    return (total, weight, metrics, grads), carry

  def add(sums, inputs):
    new, carry = one(inputs)
    return jax.tree.map(jnp.add, sums, new), carry

  slices = jax.tree.map(rows, carry), jax.tree.map(rows, batch), jnp.arange(micro_batches)
  if micro_batches == 1:
    sums, carry = one((carry, batch, 0))
  else:
    zeros = jax.tree.map(
      lambda a: jnp.zeros(a.shape, a.dtype),
      jax.eval_shape(one, jax.tree.map(lambda a: a[0], slices))[0],
    )
    sums, carry = lax.scan(add, zeros, slices)
    carry = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), carry)
  total, weight, metrics, grads = _sum_over_devices(sums)
  return (total, weight, metrics), carry, grads


def _sum_over_devices(tree):
  """Returns a tree of float32 arrays summed over devices; on a CPU these meet anew, 50 us, for
  every array sent."""
  if lax.axis_size('data') == 1 or jax.default_backend() != 'cpu':
    return lax.psum(tree, 'data')
  flat, restore = ravel_pytree(tree)
  return restore(lax.psum(flat, 'data'))
