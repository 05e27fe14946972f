"""What a controller and a memory that it addresses have in common: `ntm` and `dnc` differ in how
the controller's numbers are taken to address, which is their `Access`."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research.cell import Cell
from rnn_research.cells.attention_decoders import wider
from rnn_research.layers import check_features, check_output
from rnn_research.memory.addressing import MemoryOutput
from rnn_research.stepping import output_shapes, prepare_cell, project_one
from rnn_research.typing import Array, Key, Params, State

# A row holds this at first: content that no key is like, and no symmetry of random rows to unlearn.
FIRST_CONTENT = 1e-6
# Beyond it gates, strengths and keys are as good as constant.
_CLIP = 20.0


class MachineParams(NamedTuple):
  """Parameters of a memory machine."""

  cell: Params  # of the controller
  access: Params


class MachineState(NamedTuple):
  """State of a memory machine. The controller's comes last, where `stepping.last_h` looks."""

  memory: State  # of the access
  reads: Array  # [B, R, W] float32, what its heads have read
  cell: State  # of the controller


class Access(NamedTuple):
  """How a memory is addressed, read and written.

  Attributes:
    init: `(key, output_size) -> params`.
    initial_state: `(params, batch_size) -> (memory, reads)`.
    step: `(params, memory, h [B, H]) -> (memory, reads [B, R, W], read_weights [B, R, N],
      write_weights [B, K, N])`.
    read_size: R * W.
  """

  init: Callable[[Key, int], Params]
  initial_state: Callable[[Params, int], tuple[State, Array]]
  step: Callable[[Params, State, Array], tuple[State, Array, Array, Array]]
  read_size: int


def memory_machine(controller: Cell, access: Access) -> Cell:
  """A cell that addresses a memory of its own.

    h_t = controller([x_t; r_{t-1}]),    M_t, r_t = access(M_{t-1}, h_t),
    y_t = ([h_t; r_t], w^r_t, w^w_t)

  What was read enters the recurrence, so the product with the input stays in the loop.

  Args:
    controller: any cell whose output is an array, `stack(*cells)` for several layers.
    access: how the memory is addressed.

  Returns:
    A cell over inputs [B, F] with outputs `MemoryOutput`, whose h is of the controller's dtype.
  """
  # Computed again on the way back: kept, what it computes is many times the size of the memory, and
  # on a CPU took longer to write and to read.
  address = jax.checkpoint(access.step, prevent_cse=False)

  def init(key, x, ctx=None):
    key_cell, key_access = jax.random.split(key)
    x = wider(x, access.read_size)
    params = controller.init(key_cell, x)
    h = output_shapes(controller, params, x)
    check_output('a memory machine', h)
    return MachineParams(params, access.init(key_access, h.shape[-1]))

  def initial_state(params, batch_size):
    memory, reads = access.initial_state(params.access, batch_size)
    return MachineState(memory, reads, controller.initial_state(params.cell, batch_size))

  def prepare(params, ctx, batch_size, *, key=None):
    inner, _ = prepare_cell(controller, params.cell, None, batch_size, key)
    return params._replace(cell=inner), ctx

  def project(params, xs):
    check_features(xs)
    return jnp.asarray(xs)  # the vectors of `layers.OneHot`

  def step(params, state, u, *, key=None, ctx=None):
    fed = jnp.concatenate([u, state.reads.reshape(len(u), -1)], -1)
    cell, h = controller.step(
      params.cell, state.cell, project_one(controller, params.cell, fed), key=key
    )
    memory, reads, *weights = address(params.access, state.memory, h)
    joined = jnp.concatenate([h, reads.reshape(len(u), -1).astype(h.dtype)], -1)
    return MachineState(memory, reads, cell), MemoryOutput(joined, *weights)

  return Cell(init, initial_state, project, step, None, prepare, noisy=controller.noisy)


def split(interface: Array, *shapes: tuple[int, ...]) -> list[Array]:
  """Returns an interface [B, P], what a controller says to all heads, clipped to +-20 and cut into
  [B, *shape] one after the other."""
  interface, parts, start = jnp.clip(interface, -_CLIP, _CLIP), [], 0
  for shape in shapes:
    size = math.prod(shape)
    parts.append(interface[:, start : start + size].reshape(-1, *shape))
    start += size
  return parts
