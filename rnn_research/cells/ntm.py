"""The neural Turing machine."""

from numbers import Integral
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, normal

from rnn_research.cell import Cell
from rnn_research.cells.memory_machine import FIRST_CONTENT, Access, memory_machine, split
from rnn_research.errors import require, require_sizes
from rnn_research.layers import affine, sigmoid
from rnn_research.memory import addressing
from rnn_research.typing import Array


class NTMParams(NamedTuple):
  """Parameters of `ntm` beside its controller's."""

  w_i: Array  # [H, P] float32
  b_i: Array  # [P] float32
  places: Array  # [2 K, N] float32, logits of where heads are at first, those that read before
  reads: Array  # [K, W] float32, what they have read before the tanh


class NTMMemory(NamedTuple):
  """The memory of an NTM, and where its heads are."""

  content: Array  # [B, W, N] float32
  weights: Array  # [B, 2 K, N] float32, those of the heads that read, then of those that write


def ntm(
  controller: Cell,
  *,
  num_rows: int = 128,
  row_size: int = 20,
  num_heads: int = 1,
  shift_range: int = 1,
  dtype=jnp.float32,
) -> Cell:
  """The neural Turing machine: heads find rows by their content, or by a move from where they were.

  Of every head, k, beta, g, s, gamma (and e, a of one that writes) are columns of the interface
  xi_t = clip(h_t W_i + b_i, -20, 20), and h_t = controller([x_t; r_{t-1}]):

    w^c = content(M_{t-1}, k, softplus(beta))             addressing.content_weights
    w^g = sigmoid(g) w^c + (1 - sigmoid(g)) w_{t-1}       addressing.interpolate
    w_t = sharpen(softmax(s) * w^g, 1 + softplus(gamma))  addressing.shift, addressing.sharpen
    r_t = sum_i w^r_ti M_{t-1,i}                          addressing.read
    M_t = M_{t-1} (1 - w^w_t sigmoid(e)) + w^w_t a        addressing.write

  Args:
    controller: any cell; `lstm(100)` in most of the paper.
    num_rows: N.
    row_size: W.
    num_heads: K that read and as many that write.
    shift_range: r, rows that a head can move at most in a step; 2 r + 1 moves.
    dtype: precision of the product that makes the interface; the memory is float32.

  Returns:
    A cell over inputs [B, F] whose outputs are `MemoryOutput` with R = K = `num_heads`.

  Raises:
    InputError: a size is below 1, or there are more moves than rows.

  Source: Graves et al. 2014 (arXiv 1410.5401), sections 3.1 to 3.3. Deviates from the paper, as
  Collier and Beel 2018 (arXiv 1807.08518): the memory is 1e-6 at first, the heads start at learned
  places (all in the first row before training), the interface is clipped to +-20. All heads read
  the memory of the step before, so that one product finds the content for those that read and those
  that write. Unlike there, k and a pass no tanh, which bounds what a row holds: with it copying was
  at 0.1 bits per sequence after 19,000 sequences at best, without at 0.02.
  """
  require_sizes(num_rows=num_rows, row_size=row_size, num_heads=num_heads)
  most = f'an integer >= 0 with 2 shift_range + 1 <= num_rows = {num_rows}'
  holds = isinstance(shift_range, Integral) and 0 <= 2 * shift_range < num_rows
  require('shift_range', shift_range, holds, most)
  num_moves = 2 * shift_range + 1
  addressed = (2 * num_heads, row_size), (2 * num_heads, 3), (2 * num_heads, num_moves)
  written = (num_heads, row_size), (num_heads, row_size)
  interface_size = 2 * num_heads * (row_size + 3 + num_moves) + 2 * num_heads * row_size

  def init(key, output_size):
    key_i, key_r = jax.random.split(key)
    return NTMParams(
      w_i=lecun_normal()(key_i, (output_size, interface_size), jnp.float32),
      b_i=jnp.zeros(interface_size, jnp.float32),
      # All heads in the first row: from evenly spread ones nothing finds a row of its own.
      places=jnp.zeros((2 * num_heads, num_rows), jnp.float32).at[:, 0].set(10.0),
      reads=normal(0.1)(key_r, (num_heads, row_size), jnp.float32),
    )

  def initial_state(params, batch_size):
    def of_each(a):
      return jnp.tile(a[None], (batch_size, 1, 1))

    content = jnp.full((batch_size, row_size, num_rows), FIRST_CONTENT, params.places.dtype)
    weights = of_each(jax.nn.softmax(params.places, -1))
    return NTMMemory(content, weights), of_each(jnp.tanh(params.reads))

  def step(params, memory, h):
    interface = affine(h, params.w_i, params.b_i, dtype)
    keys, scalars, shifts, erase, add = split(interface, *addressed, *written)
    content, weights = memory
    strengths, exponents = (jax.nn.softplus(scalars[..., i]) for i in (0, 2))
    found = addressing.content_weights(content, keys, strengths)
    weights = addressing.interpolate(found, weights, sigmoid(scalars[..., 1]))
    weights = addressing.shift(weights, jax.nn.softmax(shifts, -1))
    weights = addressing.sharpen(weights, 1.0 + exponents)
    reading, writing = weights[:, :num_heads], weights[:, num_heads:]
    reads = addressing.read(content, reading)
    content = addressing.write(content, writing, sigmoid(erase), add)
    return NTMMemory(content, weights), reads, reading, writing

  access = Access(init, initial_state, step, num_heads * row_size)
  return memory_machine(controller, access)
