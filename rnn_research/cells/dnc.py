"""The differentiable neural computer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal

from rnn_research.cell import Cell
from rnn_research.cells.memory_machine import FIRST_CONTENT, Access, memory_machine, split
from rnn_research.errors import require_sizes
from rnn_research.layers import Normalized, matmul, sigmoid
from rnn_research.memory import addressing, usage
from rnn_research.typing import Array


class DNCMemory(NamedTuple):
  """The memory of a DNC, and what it knows of it."""

  content: Array  # [B, W, N] float32
  used: Array  # [B, N] float32, usage u
  links: Array  # [B, N, N] float32, L
  precedence: Array  # [B, N] float32, p
  read_weights: Array  # [B, R, N] float32
  write_weights: Array  # [B, N] float32


def dnc(
  controller: Cell,
  *,
  num_rows: int = 16,
  row_size: int = 16,
  num_reads: int = 1,
  dtype=jnp.float32,
) -> Cell:
  """The differentiable neural computer: one head writes to rows that are free or alike, and several
  read by content or along the order of writing.

  The interface xi_t = clip(LN(h_t W_i), -20, 20), h_t = controller([x_t; r_{t-1}]), has for each
  head that reads a key, a strength, a free gate f and three modes pi; and for the one that writes a
  key, a strength, e, v and the gates g^a, g^w. With oneplus(x) = 1 + log(1 + e^x):

    u_t = usage(u_{t-1}, w^w_{t-1}, retention(w^r_{t-1}, sigmoid(f)))
    w^w_t = g^w (g^a allocation(u_t) + (1 - g^a) content(M_{t-1}, k^w, oneplus(beta^w)))
    M_t = M_{t-1} (1 - w^w_t sigmoid(e)) + w^w_t v
    L_t = linked(L_{t-1}, p_{t-1}, w^w_t),    p_t = preceding(p_{t-1}, w^w_t)
    w^r_t = [backward, content, forward] pi of L_t, M_t, w^r_{t-1}, k^r, oneplus(beta^r)
    r_t = sum_i w^r_ti M_ti

  with pi = softmax over the three, and the functions of `memory.usage` and `memory.addressing`.

  Args:
    controller: any cell; an LSTM in the paper.
    num_rows: N; the links cost N^2 numbers a step.
    row_size: W.
    num_reads: R, heads that read; one writes.
    dtype: precision of the product that makes the interface; the memory is float32.

  Returns:
    A cell over inputs [B, F] whose outputs are `MemoryOutput` with K = 1.

  Raises:
    InputError: a size is below 1.

  Source: Graves et al. 2016 (Nature 538), methods. Deviates from the paper: the product that makes
  the interface is layer-normalised (Franke et al. 2018, arXiv 1807.02658) and clipped to +-20; the
  memory is 1e-6 at first.
  """
  require_sizes(num_rows=num_rows, row_size=row_size, num_reads=num_reads)
  reading = (num_reads, row_size), (num_reads, 2), (num_reads, 3)
  writing = (1, row_size), (3,), (1, row_size), (1, row_size)
  interface_size = num_reads * (row_size + 5) + 3 * row_size + 3

  def init(key, output_size):
    w_i = lecun_normal()(key, (output_size, interface_size), jnp.float32)
    return Normalized(w_i, jnp.ones(interface_size), jnp.zeros(interface_size))

  def initial_state(params, batch_size):
    def zeros(*shape):
      return jnp.zeros((batch_size, *shape), params.scale.dtype)

    memory = DNCMemory(
      content=zeros(row_size, num_rows) + FIRST_CONTENT,
      used=zeros(num_rows),
      links=zeros(num_rows, num_rows),
      precedence=zeros(num_rows),
      read_weights=zeros(num_reads, num_rows),
      write_weights=zeros(num_rows),
    )
    return memory, zeros(num_reads, row_size)

  def step(params, memory, h):
    interface = matmul(h, params, dtype)
    keys, scalars, modes, *to_write = split(interface, *reading, *writing)
    strengths, free_gates = _oneplus(scalars[..., 0]), sigmoid(scalars[..., 1])
    memory = _written(memory, free_gates, *to_write)
    found = (
      usage.backward_weights(memory.links, memory.read_weights),
      addressing.content_weights(memory.content, keys, strengths),
      usage.forward_weights(memory.links, memory.read_weights),
    )
    modes = jax.nn.softmax(modes, -1)
    weights = sum(modes[..., i, None] * w for i, w in enumerate(found))
    reads = addressing.read(memory.content, weights)
    return memory._replace(read_weights=weights), reads, weights, memory.write_weights[:, None]

  access = Access(init, initial_state, step, num_reads * row_size)
  return memory_machine(controller, access)


def _written(memory, free_gates, key, scalars, erase, add):
  """Returns the memory after its head has written: all but where it is read."""
  allocation_gate, write_gate = sigmoid(scalars[:, 1, None]), sigmoid(scalars[:, 2, None])
  kept = usage.retention(memory.read_weights, free_gates)
  used = usage.usage(memory.used, memory.write_weights, kept)
  free = usage.allocation(used)
  alike = addressing.content_weights(memory.content, key, _oneplus(scalars[:, :1]))[:, 0]
  weights = write_gate * (allocation_gate * free + (1.0 - allocation_gate) * alike)
  return memory._replace(
    content=addressing.write(memory.content, weights[:, None], sigmoid(erase), add),
    used=used,
    links=usage.linked(memory.links, memory.precedence, weights),
    precedence=usage.preceding(memory.precedence, weights),
    write_weights=weights,
  )


def _oneplus(a):
  return 1.0 + jax.nn.softplus(a)
