"""The two kernels of `pallas.py`: a time loop forwards and one backwards, for NVIDIA Hopper GPUs.

A block of threads keeps the recurrent weights of 64 hidden units in shared memory for all steps,
takes 16 rows of the batch, and keeps the state of its units in registers. The blocks of a cluster
share the hidden units: each stores its part of the next product's factor straight into the shared
memory of the others. The batch is the last axis, m^T = W_h^T h^T: the tensor core takes its left
operand 64 rows at a time, which are units here, but as few as 8 columns of the right one, so that a
small batch still spreads over many processors.

Arrays are [.., N, X, R] with R = 16 rows of the batch in each of N clusters, so that a piece, [64
units, 16 rows] float32, is contiguous. The pieces of a step are copied while the step before runs.

float32 factors are multiplied as sums of two bfloat16 numbers, a = a_0 + a_1: a b = a_0 b_0 + a_0
b_1 + a_1 b_0, which leaves a relative error of 2^-16 (that of TF32 is 2^-11).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from rnn_research.engines.gpu.block import (
  ROWS,
  UNITS,
  Scratch,
  accept,
  enter,
  fetch,
  hand_over,
  products,
  receive,
  request,
  tiled,
  write,
)
from rnn_research.engines.gpu.elementwise import Elementwise

_SHARED_BYTES = 227 * 1024  # what a block may use of a Hopper processor
_PIECE_BYTES = 4 * UNITS * ROWS


def misfit(cell: Elementwise, hidden_size: int, dtype) -> str | None:
  """Returns the reason in one sentence why the hidden size does not suit the kernels, or None where
  it does."""
  if hidden_size % UNITS:
    return f'hidden_size is {hidden_size}, the Pallas kernels need a multiple of {UNITS}'
  size = cell.num_gates * hidden_size  # the backward pass needs more than the forward pass
  needed = (
    2 * num_parts(dtype) * size * (UNITS + 2 * ROWS) + (1 + cell.num_residuals) * _PIECE_BYTES
  )
  if needed > _SHARED_BYTES:
    return (
      f'hidden_size is {hidden_size}, whose weights and buffers take {needed} bytes of shared '
      f'memory in {jnp.dtype(dtype).name}, more than the {_SHARED_BYTES} of a Hopper processor'
    )
  return None


def num_parts(dtype) -> int:
  """Returns how many 16-bit numbers make up a factor of a product."""
  return 2 if jnp.dtype(dtype) == jnp.float32 else 1


def run_forward(cell: Elementwise, w_h, us, start, biases, *, keep: bool, interpret):
  """Runs the forward kernel.

  Args:
    cell: the elementwise part of the cell.
    w_h: [parts, H, G] 16 bits wide.
    us: [T, N, G, R] float32.
    start: [N, H, R] float32 leaves.
    biases: [N, G, R] float32, or None.
    keep: whether to write the residuals.
    interpret: parameters of the interpreter, or None.

  Returns:
    The last state, outputs [T, N, H, R] float32, and residuals [T, N, num_residuals * H, R] float32
    or None.
  """
  hidden_size = w_h.shape[1]
  num_steps = us.shape[0]

  def kernel(w_t, us, start, biases, end, hs, residuals, scratch):
    place = enter(w_t, scratch, hidden_size)
    sources = [piece for leaf in start for piece in place.cut(leaf, 1)]
    sources += [] if biases is None else place.cut(biases, cell.num_gates)
    constants = fetch(scratch, sources, scratch.constants_here)
    state, added = type(start)(*constants[: len(start)]), constants[len(start) :]
    request(scratch, place.cut(us.at[0], cell.num_gates), scratch.pieces_here)
    hand_over(place, scratch, 0, [state.h])
    accept(place)

    def step(t, state):
      u = receive(scratch, cell.num_gates, scratch.pieces_here)

      @pl.when(t + 1 < num_steps)
      def _prefetch():
        request(scratch, place.cut(us.at[t + 1], cell.num_gates), scratch.pieces_here)

      m = products(scratch, lax.rem(t, 2))
      m = [product + b for product, b in zip(m, added, strict=True)] if added else m
      state, kept = cell.forward(u, m, state)
      hand_over(place, scratch, lax.rem(t + 1, 2), [state.h])
      write(place.cut(hs.at[t], 1), [state.h])
      if residuals is not None:
        write(place.cut(residuals.at[t], cell.num_residuals), kept)
      accept(place)
      return state

    write(
      [piece for leaf in end for piece in place.cut(leaf, 1)],
      lax.fori_loop(0, num_steps, step, state),
    )

  out_type = (
    start,
    _like(us, hidden_size),
    _like(us, cell.num_residuals * hidden_size) if keep else None,
  )
  return _launch(
    kernel,
    (jnp.swapaxes(w_h, 1, 2), us, start, biases),
    out_type,
    tiles=cell.num_gates,
    num_pieces=cell.num_gates,
    num_constants=len(start) + (0 if biases is None else cell.num_gates),
    interpret=interpret,
  )


def run_backward(cell: Elementwise, w_h, dhs, residuals, dend, *, interpret):
  """Runs the backward kernel; arguments as in `run_forward`, gradients of its results.

  Returns:
    Gradients of `start`, of the products [T, N, G, R] float32, and of the gates apart [T, N, apart
    * H, R] or None.
  """
  hidden_size, size = w_h.shape[1:]
  num_steps = dhs.shape[0]
  num_pieces = 1 + cell.num_residuals

  def kernel(w_h, dhs, residuals, dend, dstart, dms, dus, scratch):
    place = enter(w_h, scratch, hidden_size)

    def pieces_of(t):
      return place.cut(dhs.at[t], 1) + place.cut(residuals.at[t], cell.num_residuals)

    sources = [piece for leaf in dend for piece in place.cut(leaf, 1)]
    dstate = type(dend)(*fetch(scratch, sources, scratch.constants_here))
    request(scratch, pieces_of(num_steps - 1), scratch.pieces_here)

    def step(i, dstate):
      t = num_steps - 1 - i
      dh, *kept = receive(scratch, num_pieces, scratch.pieces_here)

      @pl.when(t > 0)
      def _prefetch():
        request(scratch, pieces_of(t - 1), scratch.pieces_here)

      dm, du, dprevious = cell.backward(kept, dstate._replace(h=dstate.h + dh))
      hand_over(place, scratch, lax.rem(i, 2), dm)
      write(place.cut(dms.at[t], cell.num_gates), dm)
      if cell.apart:
        write(place.cut(dus.at[t], len(cell.apart)), du)
      accept(place)
      (product,) = products(scratch, lax.rem(i, 2))
      return dprevious._replace(h=dprevious.h + product)

    write(
      [piece for leaf in dstart for piece in place.cut(leaf, 1)],
      lax.fori_loop(0, num_steps, step, dstate),
    )

  out_type = (
    dend,
    _like(dhs, size),
    _like(dhs, len(cell.apart) * hidden_size) if cell.apart else None,
  )
  return _launch(
    kernel,
    (w_h, dhs, residuals, dend),
    out_type,
    tiles=1,
    num_pieces=num_pieces,
    num_constants=len(dend),
    interpret=interpret,
  )


def _like(a, size):
  """Returns the shape and type of [T, N, size, R] float32 for `a` [T, N, ..]."""
  return jax.ShapeDtypeStruct((*a.shape[:2], size, ROWS), jnp.float32)


def _launch(kernel, operands, out_type, *, tiles, num_pieces, num_constants, interpret):
  """Runs `kernel(*operands, *outputs, scratch)`; the first operand is weights, the first output
  [N, H, R] leaves."""
  weights = operands[0]
  num_parts, _, factor_size = weights.shape
  num_clusters, hidden_size, _ = out_type[0].h.shape
  # Shared memory is full before they are 8, as many as a cluster may have.
  blocks = hidden_size // UNITS
  scratch = Scratch(
    weights=tiled((num_parts, tiles * UNITS, factor_size), weights.dtype),
    pieces=tiled((max(num_pieces, num_constants), UNITS, ROWS), jnp.float32),
    factor=tiled((2, num_parts, factor_size, ROWS), weights.dtype),
    weights_here=plgpu.Barrier(num_arrivals=num_parts * tiles),
    constants_here=plgpu.Barrier(num_arrivals=num_constants),
    pieces_here=plgpu.Barrier(num_arrivals=num_pieces),
  )
  count = len(operands) + len(out_type)
  cluster = {'cluster': (blocks,), 'cluster_names': ('block',)} if blocks > 1 else {}
  return plgpu.kernel(
    lambda *refs: kernel(*refs[:count], Scratch(*refs[count:])),
    out_type=out_type,
    scratch_types=tuple(scratch),
    grid=(num_clusters,),
    grid_names=('cluster',),
    interpret=interpret,
    **cluster,
    compiler_params=plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Warpgroup),
  )(*operands)
