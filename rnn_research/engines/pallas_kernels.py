"""The two kernels of `engines/pallas.py`: a time loop forwards and one backwards, for NVIDIA Hopper GPUs.

A block of threads keeps the recurrent weights in shared memory for all steps and takes 16 rows of the batch; each of
its warpgroups computes 64 hidden units of every gate, keeps their state in registers, and hands its part of the next
product's factor to the others through shared memory. The batch is the last axis, m^T = W_h^T h^T: the tensor core
takes its left operand 64 rows at a time, which are units here, but as few as 8 columns of the right one, so that a
small batch still spreads over many processors.

Arrays are [.., N, X, R] with R = 16 rows of the batch in each of N blocks, so that a piece, [64 units, 16 rows]
float32, is contiguous. The pieces of a step are copied while the step before runs.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from rnn_research.engines.pallas_gates import Gates

UNITS = 64  # of a warpgroup
ROWS = 16  # of a block: 16-bit rows of 32 bytes are the narrowest layout the tensor core reads
_SHARED_BYTES = 227 * 1024  # what a block may use of a Hopper processor


class _Scratch(NamedTuple):
  weights: Any  # [G, H] or [H, G]
  pieces: Any  # [groups, pieces, 64, 16] float32, each warpgroup its own
  factor: Any  # [2, H or G, 16], right operand of the product; two, so that one is read while the next is written
  weights_here: Any
  constants_here: Any  # one barrier per warpgroup, as the next
  pieces_here: Any
  factor_here: Any


class _Place(NamedTuple):
  """The part of the work that belongs to a warpgroup."""

  group: Any
  hidden_size: int

  def units(self, k=0):
    """Returns the slice of its units in the k-th H of an axis, such as the k-th gate."""
    return pl.ds(k * self.hidden_size + self.group * UNITS, UNITS)

  def cut(self, ref, count):
    """Returns its pieces of [N, count * H, R] in global memory."""
    return [ref.at[lax.axis_index('block'), self.units(k)] for k in range(count)]


def misfit(gates: Gates, hidden_size: int, dtype) -> str | None:
  """Returns the reason in one sentence why the hidden size does not suit the kernels, or None where it does."""
  if hidden_size % UNITS:
    return f'hidden_size is {hidden_size}, the Pallas kernels need a multiple of {UNITS}'
  itemsize = jnp.dtype(dtype).itemsize
  weights = gates.num_gates * hidden_size * hidden_size * itemsize
  rows = ROWS * hidden_size * (4 * (1 + gates.num_residuals) + 2 * gates.num_gates * itemsize)  # of the backward pass
  if weights + rows > _SHARED_BYTES:
    return (f'hidden_size is {hidden_size}, whose weights and buffers take {weights + rows} bytes of shared memory, '
            f'more than the {_SHARED_BYTES} of a Hopper processor')
  return None


def run_forward(gates: Gates, w_h, us, start, biases, *, keep: bool, interpret):
  """Runs the forward kernel.

  Args:
    gates: the elementwise part of the cell.
    w_h: [H, G] `dtype`.
    us: [T, N, G, R] float32.
    start: [N, H, R] float32 leaves.
    biases: [N, G, R] float32, or None.
    keep: whether to write the residuals.
    interpret: parameters of the interpreter, or None.

  Returns:
    The last state, outputs [T, N, H, R] float32, and residuals [T, N, num_residuals * H, R] float32 or None.
  """
  hidden_size, _ = w_h.shape
  num_steps, num_blocks = us.shape[:2]
  like = lambda size: jax.ShapeDtypeStruct((num_steps, num_blocks, size, ROWS), jnp.float32)

  def kernel(w_t, us, start, biases, end, hs, residuals, scratch):
    place = _enter(w_t, scratch, hidden_size)
    sources = [piece for leaf in start for piece in place.cut(leaf, 1)]
    sources += [] if biases is None else place.cut(biases, gates.num_gates)
    constants = _receive(place, scratch, sources, scratch.constants_here)
    state, added = type(start)(*constants[:len(start)]), constants[len(start):]
    _request(place, scratch, place.cut(us.at[0], gates.num_gates), scratch.pieces_here)
    _hand_over(place, scratch, 0, [state.h])

    def step(t, state):
      u = _await(place, scratch, gates.num_gates, scratch.pieces_here)
      @pl.when(t + 1 < num_steps)
      def _prefetch():
        _request(place, scratch, place.cut(us.at[t + 1], gates.num_gates), scratch.pieces_here)
      m = _products(scratch, [place.units(g) for g in range(gates.num_gates)], lax.rem(t, 2))
      m = [product + b for product, b in zip(m, added, strict=True)] if added else m
      state, kept = gates.forward(u, m, state)
      _write(place.cut(hs.at[t], 1), [state.h])
      if residuals is not None:
        _write(place.cut(residuals.at[t], gates.num_residuals), kept)
      _hand_over(place, scratch, lax.rem(t + 1, 2), [state.h])
      return state

    _write([piece for leaf in end for piece in place.cut(leaf, 1)], lax.fori_loop(0, num_steps, step, state))

  out_type = start, like(hidden_size), like(gates.num_residuals * hidden_size) if keep else None
  return _launch(kernel, (w_h.T, us, start, biases), out_type, factor_size=hidden_size, num_pieces=gates.num_gates,
                 num_constants=len(start) + (0 if biases is None else gates.num_gates), interpret=interpret)


def run_backward(gates: Gates, w_h, dhs, residuals, dend, *, interpret):
  """Runs the backward kernel; arguments as in `run_forward`, gradients of its results.

  Returns:
    Gradients of `start`, of the products [T, N, G, R] float32, and of the gates apart [T, N, apart * H, R] or None.
  """
  hidden_size, size = w_h.shape
  num_steps, num_blocks = dhs.shape[:2]
  num_pieces = 1 + gates.num_residuals
  like = lambda size: jax.ShapeDtypeStruct((num_steps, num_blocks, size, ROWS), jnp.float32)

  def kernel(w_h, dhs, residuals, dend, dstart, dms, dus, scratch):
    place = _enter(w_h, scratch, hidden_size)
    pieces_of = lambda t: place.cut(dhs.at[t], 1) + place.cut(residuals.at[t], gates.num_residuals)
    sources = [piece for leaf in dend for piece in place.cut(leaf, 1)]
    dstate = type(dend)(*_receive(place, scratch, sources, scratch.constants_here))
    _request(place, scratch, pieces_of(num_steps - 1), scratch.pieces_here)

    def step(i, dstate):
      t = num_steps - 1 - i
      dh, *kept = _await(place, scratch, num_pieces, scratch.pieces_here)
      @pl.when(t > 0)
      def _prefetch():
        _request(place, scratch, pieces_of(t - 1), scratch.pieces_here)
      dm, du, dprevious = gates.backward(kept, dstate._replace(h=dstate.h + dh))
      _write(place.cut(dms.at[t], gates.num_gates), dm)
      if gates.apart:
        _write(place.cut(dus.at[t], len(gates.apart)), du)
      _hand_over(place, scratch, lax.rem(i, 2), dm)
      product, = _products(scratch, [place.units()], lax.rem(i, 2))
      return dprevious._replace(h=dprevious.h + product)

    _write([piece for leaf in dstart for piece in place.cut(leaf, 1)], lax.fori_loop(0, num_steps, step, dstate))

  out_type = dend, like(size), like(len(gates.apart) * hidden_size) if gates.apart else None
  return _launch(kernel, (w_h, dhs, residuals, dend), out_type, factor_size=size, num_pieces=num_pieces,
                 num_constants=len(dend), interpret=interpret)


def _enter(w, scratch, hidden_size):
  """Returns the warpgroup's place, once the weights are in shared memory."""
  place = _Place(lax.axis_index('group'), hidden_size)
  @pl.when(place.group == 0)
  def _copy():
    plgpu.copy_gmem_to_smem(w, scratch.weights, scratch.weights_here.at[0])
  plgpu.barrier_wait(scratch.weights_here.at[0])
  return place


def _request(place, scratch, sources, here):
  """Starts to copy pieces of global memory."""
  for k, source in enumerate(sources):
    plgpu.copy_gmem_to_smem(source, scratch.pieces.at[place.group, k], here.at[place.group])


def _await(place, scratch, count, here):
  """Returns the pieces that were requested, and frees their buffer."""
  plgpu.barrier_wait(here.at[place.group])
  pieces = [scratch.pieces[place.group, k] for k in range(count)]
  plgpu.commit_smem()  # or the next copy might overtake these reads
  return pieces


def _receive(place, scratch, sources, here):
  _request(place, scratch, sources, here)
  return _await(place, scratch, len(sources), here)


def _hand_over(place, scratch, slot, values):
  """Gives the warpgroup's part of the next factor to all others, and waits for theirs."""
  for k, value in enumerate(values):
    scratch.factor[slot, place.units(k)] = value.astype(scratch.factor.dtype)
  plgpu.commit_smem()
  plgpu.barrier_arrive(scratch.factor_here.at[0])
  plgpu.barrier_wait(scratch.factor_here.at[0])


def _products(scratch, rows, slot):
  """Returns weights[r] @ factor, [64, 16] float32, for every slice r of 64 rows."""
  def multiply(*sums):
    for total, r in zip(sums, rows, strict=True):
      plgpu.wgmma(total, scratch.weights.at[r], scratch.factor.at[slot])
    return [total[...] for total in sums]
  return pl.run_scoped(multiply, *[plgpu.ACC((UNITS, ROWS), jnp.float32)] * len(rows))


def _write(targets, values):
  for target, value in zip(targets, values, strict=True):
    target[...] = value


def _tiled(shape, dtype):
  transforms = plgpu.TilingTransform((8, ROWS)), plgpu.SwizzleTransform(ROWS * jnp.dtype(dtype).itemsize)
  return plgpu.SMEM(shape, dtype, transforms=transforms)


def _launch(kernel, operands, out_type, *, factor_size, num_pieces, num_constants, interpret):
  """Runs `kernel(*operands, *outputs, scratch)`; the first operand is weights, the first output [N, H, R] leaves."""
  weights = operands[0]
  num_blocks, hidden_size, _ = out_type[0].h.shape
  groups = hidden_size // UNITS
  scratch = _Scratch(
      weights=_tiled(weights.shape, weights.dtype),
      pieces=_tiled((groups, max(num_pieces, num_constants), UNITS, ROWS), jnp.float32),
      factor=_tiled((2, factor_size, ROWS), weights.dtype),
      weights_here=plgpu.Barrier(num_barriers=1),  # an array of one in every version of JAX
      constants_here=plgpu.Barrier(num_arrivals=num_constants, num_barriers=groups),
      pieces_here=plgpu.Barrier(num_arrivals=num_pieces, num_barriers=groups),
      factor_here=plgpu.Barrier(num_arrivals=groups, num_barriers=1))
  count = len(operands) + len(out_type)
  return plgpu.kernel(
      lambda *refs: kernel(*refs[:count], _Scratch(*refs[count:])),
      out_type=out_type, scratch_types=tuple(scratch), grid=(num_blocks,), grid_names=('block',),
      num_threads=groups, thread_name='group', interpret=interpret,
      compiler_params=plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Warpgroup))(*operands)
