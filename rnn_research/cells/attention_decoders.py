"""Decoder cells that read a memory, `Memory` in `ctx`, at every step. Their outputs are `Read`.

The read enters the recurrence, so the product with the input stays in the loop: `project` is the
identity. The keys of the memory are computed once per unroll, in `prepare`. A state may hold the
positions of the memory, [B, S]; its `initial_state` has [B, 1] there, see `cell.InitialStateFn`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal

from rnn_research.cell import Cell
from rnn_research.errors import InputError, require_size
from rnn_research.layers import matmul
from rnn_research.memory.attention import Attention, Memory, prepared, read
from rnn_research.stepping import last_h, prepare_cell, project_one
from rnn_research.typing import Array, Params, PyTree, State


class Read(NamedTuple):
  """The output of a decoder cell.

  Attributes:
    h: [B, H] float32, the decoder's own vector.
    context: [B, M] float32, what it read of the memory.
    weights: [B, S] float32, from where.
  """

  h: Array
  context: Array
  weights: Array


class DecoderParams(NamedTuple):
  """Parameters of `bahdanau` and `luong`."""

  cell: Params
  attention: Params
  w_c: Array | None = None  # [M + H, H] float32


class FedState(NamedTuple):
  """State of `input_feeding`: of the decoder, and what is fed back."""

  state: State
  fed: Array  # [B, H] float32


def bahdanau(cell: Cell, attention: Attention) -> Cell:
  """Reads with the state before the step, and lets the step see what was read.

    a_i, c_i = read(s_{i-1}, memory),    s_i = cell([x_i; c_i], s_{i-1}),
    y_i = (h of s_i, c_i, a_i)

  Args:
    cell: its state, or that of its last layer, has a field `h`, the query.
    attention: how positions are scored; `additive` in the paper.

  Source: Bahdanau et al. 2015 (arXiv 1409.0473), section 3.1 and appendix A.2.2. Deviates from the
  paper: any cell, any score; the output layer is the model's.
  """

  def init(key, x, ctx=None):
    key_cell, key_attention = jax.random.split(key)
    value_size = memory_of(ctx).values.shape[-1]
    params = cell.init(key_cell, wider(x, value_size))
    size = query_size(cell, params)
    return DecoderParams(params, attention.init(key_attention, size, value_size))

  def step(params, state, u, *, key=None, ctx=None):
    context, weights = read(attention, params.attention, last_h(state), memory_of(ctx))
    u = project_one(cell, params.cell, jnp.concatenate([u, context], -1))
    state, h = cell.step(params.cell, state, u, key=key)
    return state, Read(h, context, weights)

  return _decoder(cell, attention, init, step)


def luong(cell: Cell, attention: Attention, *, dtype=jnp.float32) -> Cell:
  """Reads with the state after the step; both make the output.

    s_t = cell(x_t, s_{t-1}),    a_t, c_t = read(s_t, memory),
    y_t = (tanh([c_t; h of s_t] W_c), c_t, a_t)

  Args:
    cell: its state, or that of its last layer, has a field `h`, the query.
    attention: how positions are scored: `dot`, `general`, `additive` (concat).
    dtype: precision of the product with W_c.

  Source: Luong et al. 2015 (arXiv 1508.04025), section 3.1, equations 5 to 8. Deviates from the
  paper: any cell; 'location' scores and local attention are left out. See `input_feeding`.
  """

  def init(key, x, ctx=None):
    key_cell, key_attention, key_c = jax.random.split(key, 3)
    params = cell.init(key_cell, x)
    size, value_size = query_size(cell, params), memory_of(ctx).values.shape[-1]
    w_c = lecun_normal()(key_c, (value_size + size, size), jnp.float32)
    return DecoderParams(params, attention.init(key_attention, size, value_size), w_c)

  def step(params, state, u, *, key=None, ctx=None):
    state, _ = cell.step(params.cell, state, project_one(cell, params.cell, u), key=key)
    h = last_h(state)
    context, weights = read(attention, params.attention, h, memory_of(ctx))
    joined = jnp.concatenate([context, h], -1)
    return state, Read(jnp.tanh(matmul(joined, params.w_c, dtype)), context, weights)

  return _decoder(cell, attention, init, step)


def input_feeding(cell: Cell, size: int) -> Cell:
  """Feeds a decoder's output back beside its next input: `y_t = cell([x_t; h of y_{t-1}],
  s_{t-1})`, zeros at first.

  Args:
    cell: a decoder whose outputs are `Read`.
    size: H of its outputs.

  Source: Luong et al. 2015 (arXiv 1508.04025), section 3.3. Deviates from the paper: nothing.
  """
  require_size('size', size)

  def init(key, x, ctx=None):
    return cell.init(key, wider(x, size), ctx)

  def initial_state(params, batch_size):
    return FedState(
      cell.initial_state(params, batch_size), jnp.zeros((batch_size, size), jnp.float32)
    )

  def step(params, state, u, *, key=None, ctx=None):
    u = project_one(cell, params, jnp.concatenate([u, state.fed], -1))
    inner, y = cell.step(params, state.state, u, key=key, ctx=ctx)
    return FedState(inner, y.h), y

  return cell._replace(
    init=init, initial_state=initial_state, project=lambda params, xs: xs, step=step, gates=None
  )


def _decoder(cell, attention, init, step):
  def initial_state(params, batch_size):
    return cell.initial_state(params.cell, batch_size)

  def prepare(params, ctx, batch_size, *, key=None):
    inner, _ = prepare_cell(cell, params.cell, None, batch_size, key)
    memory = prepared(attention, params.attention, memory_of(ctx))
    return params._replace(cell=inner), memory

  project = lambda params, xs: xs
  return Cell(init, initial_state, project, step, None, prepare, noisy=cell.noisy)


def memory_of(ctx: PyTree) -> Memory:
  """Returns the memory in `ctx`; raises InputError where there is none."""
  if not isinstance(ctx, Memory):
    found = 'none (newton and shooting hand none on)' if ctx is None else type(ctx).__name__
    raise InputError(
      f'a cell that attends needs ctx=Memory(values [B, S, M], mask [B, S]), found {found}'
    )
  return ctx


def wider(x: Array, size: int) -> jax.ShapeDtypeStruct:
  """Returns the shape of inputs [B, F] with `size` more features."""
  return jax.ShapeDtypeStruct((*x.shape[:-1], x.shape[-1] + size), jnp.float32)


def query_size(cell: Cell, params: Params) -> int:
  """Returns the size of h of a cell's state."""
  return last_h(jax.eval_shape(lambda params: cell.initial_state(params, 1), params)).shape[-1]
