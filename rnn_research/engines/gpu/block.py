"""What the kernels of `kernels.py` are made of: the steps of one block of threads on a Hopper
GPU.

A block is one warpgroup. It keeps the recurrent weights of 64 hidden units in shared memory, and
its part of the factor of the next product goes straight into the shared memory of all blocks of its
cluster, which wait for each other once per time step.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.mosaic import gpu as mgpu
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import gpu, llvm

UNITS = 64  # of a block
ROWS = 16  # of a cluster: 16-bit rows of 32 bytes are the narrowest layout the tensor core reads


class Scratch(NamedTuple):
  """Memory of a block that outlives a step."""

  weights: Any  # [parts, tiles * 64, K], K = H forwards and G backwards
  pieces: Any  # [pieces, 64, 16] float32
  # [2, parts, K, 16], right operand of the product; two: one is read while the next is written
  factor: Any
  weights_here: Any
  constants_here: Any
  pieces_here: Any


class BlockPlace(NamedTuple):
  """The part of the work that belongs to a block."""

  block: Any  # its number in the cluster
  num_blocks: int

  def units(self, k=0):
    """Returns the slice of its units in the k-th H of an axis, such as the k-th gate."""
    return pl.ds((k * self.num_blocks + self.block) * UNITS, UNITS)

  def cut(self, ref, count):
    """Returns its pieces of [N, count * H, R] in global memory."""
    return [ref.at[lax.axis_index('cluster'), self.units(k)] for k in range(count)]


def enter(w, scratch, hidden_size):
  """Returns the block's place, once its rows of the weights are in shared memory: 64 of every H."""
  num_blocks = hidden_size // UNITS
  place = BlockPlace(lax.axis_index('block') if num_blocks > 1 else 0, num_blocks)
  num_parts, num_rows, _ = scratch.weights.shape
  for p in range(num_parts):
    for k in range(num_rows // UNITS):
      here = scratch.weights.at[p, pl.ds(k * UNITS, UNITS)]
      plgpu.copy_gmem_to_smem(w.at[p, place.units(k)], here, scratch.weights_here)
  plgpu.barrier_wait(scratch.weights_here)
  return place


def request(scratch, sources, here):
  """Starts to copy pieces of global memory."""
  for k, source in enumerate(sources):
    plgpu.copy_gmem_to_smem(source, scratch.pieces.at[k], here)


def receive(scratch, count, here):
  """Returns the pieces that were requested, and frees their buffer."""
  plgpu.barrier_wait(here)
  pieces = [scratch.pieces[k] for k in range(count)]
  plgpu.commit_smem()  # or the next copy might overtake these reads
  return pieces


def fetch(scratch, sources, here):
  """Requests the sources of a step and waits for them."""
  request(scratch, sources, here)
  return receive(scratch, len(sources), here)


def hand_over(place, scratch, slot, values):
  """Gives the block's part of the next factor to the whole cluster; `accept` waits for the parts of
  the others."""
  num_parts = scratch.factor.shape[1]
  for k, value in enumerate(values):
    for p in range(num_parts):
      rounded = value.astype(scratch.factor.dtype)
      _give(place, scratch.factor.at[slot, p, place.units(k)], rounded)
      value = value - rounded.astype(value.dtype)
  if place.num_blocks > 1:
    _cluster_barrier('fence.proxy.async.shared::cluster; barrier.cluster.arrive.release.aligned;')


def accept(place):
  """Waits until every block of the cluster has handed its part over."""
  if place.num_blocks > 1:
    _cluster_barrier('barrier.cluster.wait.acquire.aligned;')
  plgpu.commit_smem()


def _cluster_barrier(instructions):
  """Emits half of a barrier of all threads of the cluster, which Pallas lacks: what was written
  before it is there."""

  @plgpu.inline_mgpu()
  def emit(_):
    llvm.inline_asm(
      ir.Type.parse('!llvm.void'), [], instructions, '~{memory}', has_side_effects=True
    )

  emit()


def _give(place, target, value):
  """Writes to the shared memory of every block of the cluster. Pallas itself has no plain store to
  another's."""
  if place.num_blocks == 1:
    target[...] = value
    return
  transforms = _transforms(value.dtype)

  @plgpu.inline_mgpu(arg_types=(plgpu.Layout.WGMMA, plgpu.RefType(transforms)))
  def store(_, value, target):
    swizzle = transforms[1].swizzle
    for block in range(place.num_blocks):
      there = mgpu.get_cluster_ref(target, gpu.Dimension.x, mgpu.c(block, ir.IndexType.get()))
      for register, _, _, pointer in value.transfer_tiled(
        there, swizzle, value.layout, value.shape, optimized=False
      ):
        llvm.store(register(value.registers), pointer)

  store(value, target)


def products(scratch, slot):
  """Returns weights @ factor, [64, 16] float32 for every 64 rows of the weights."""
  num_parts, num_rows, _ = scratch.weights.shape
  pairs = [(p, q) for p in range(num_parts) for q in range(num_parts - p)]

  def multiply(*sums):
    for k, total in enumerate(sums):
      for p, q in pairs:
        plgpu.wgmma(
          total, scratch.weights.at[p, pl.ds(k * UNITS, UNITS)], scratch.factor.at[slot, q]
        )
    return [total[...] for total in sums]

  return pl.run_scoped(multiply, *[plgpu.ACC((UNITS, ROWS), jnp.float32)] * (num_rows // UNITS))


def write(targets, values):
  """Writes values to global memory."""
  for target, value in zip(targets, values, strict=True):
    target[...] = value


def tiled(shape, dtype):
  """Returns a reference in shared memory, in the layout that the tensor core reads."""
  return plgpu.SMEM(shape, dtype, transforms=_transforms(dtype))


def _transforms(dtype):
  return plgpu.TilingTransform((8, ROWS)), plgpu.SwizzleTransform(ROWS * jnp.dtype(dtype).itemsize)
