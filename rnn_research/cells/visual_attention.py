"""The decoder cells of Show, Attend and Tell, which look at a memory, `Memory` in `ctx`, before
every step: softly at all of it, or at one place of it. Their outputs are `Glimpse`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.cells.attention_decoders import memory_of, query_size, wider
from rnn_research.errors import require
from rnn_research.memory.attention import Attention, Memory, mean, prepared, weigh
from rnn_research.stepping import last_h, prepare_cell, project_one
from rnn_research.typing import Array, Key, Params


class Glimpse(NamedTuple):
  """The output of a decoder cell that looks.

  Attributes:
    h: [N, H] float32, the decoder's own vector.
    context: [N, M] float32, what it saw.
    weights: [N, S] float32, the distribution over places that it looked by.
    chosen: [N, S] float32, the weights that it saw the memory under: one place, or `weights`.
  """

  h: Array
  context: Array
  weights: Array
  chosen: Array


class LookerParams(NamedTuple):
  """Parameters of `soft_attention` and `hard_attention`."""

  cell: Params
  attention: Params
  gate: Params  # of `layers.dense`, [H] to one number


class _Looked(NamedTuple):
  """What stays the same during an unroll."""

  memory: Memory
  expected: Array | None  # [N, 1] bool, rows that see the mean in place of a sample


def soft_attention(cell: Cell, attention: Attention) -> Cell:
  """Looks at all places, at each as much as its weight says.

    a_t = softmax_i(score(a_i, h_{t-1})),    z_t = b_t sum_i a_ti a_i,
    b_t = sigmoid(h_{t-1} w_b + b_b),        h_t = cell([x_t; z_t], h_{t-1})

  There may be several rows to each memory, N = B * K, see `memory.attention.weigh`.

  Args:
    cell: its state, or that of its last layer, has a field `h`, the query.
    attention: how places are scored; `additive` in the paper.

  Source: Xu et al. 2015 (arXiv 1502.03044), section 4.2 with the gating scalar of 4.2.1. Deviates
  from the paper: any cell, any score.
  """
  nothing, same = lambda key, rows: None, lambda key, weights, expected: weights
  return _looker(cell, attention, nothing, same)._replace(noisy=cell.noisy)


def hard_attention(cell: Cell, attention: Attention, *, expected_rate: float = 0.5) -> Cell:
  """Looks at one place, drawn by the weights; without a key at the one of the highest weight.

    s_t ~ Multinoulli(a_t),    z_t = b_t a_{s_t}

  The rest is as of `soft_attention`. The draw has no gradient: what trains the weights is in
  `tasks.captioning.objective`.

  Args:
    cell: see `soft_attention`, as for `attention`.
    expected_rate: the chance that a row looks softly through a whole unroll, active when there is a
      key, which makes the estimate of the gradient less noisy.

  Raises:
    InputError: `expected_rate` is outside [0, 1].

  Source: Xu et al. 2015 (arXiv 1502.03044), section 4.1. Deviates from the paper: the chance is
  drawn for every row, not for a whole batch; captions are written by the most probable places.
  """
  require('expected_rate', expected_rate, 0.0 <= expected_rate <= 1.0, 'a number in [0, 1]')

  def begin(key, rows):
    return None if key is None else jax.random.bernoulli(key, expected_rate, (rows, 1))

  def choose(key, weights, expected):
    if key is None:
      return _one_hot(jnp.argmax(weights, -1), weights)
    drawn = _one_hot(jax.random.categorical(key, jnp.log(jax.lax.stop_gradient(weights))), weights)
    return jnp.where(expected, weights, drawn)

  return _looker(cell, attention, begin, choose)._replace(noisy=True)


def _looker(
  cell: Cell,
  attention: Attention,
  begin: Callable[[Key | None, int], Array | None],
  choose: Callable[[Key | None, Array, Array | None], Array],
) -> Cell:
  def init(key, x, ctx=None):
    key_cell, key_attention, key_gate = jax.random.split(key, 3)
    value_size = memory_of(ctx).values.shape[-1]
    params = cell.init(key_cell, wider(x, value_size))
    size = query_size(cell, params)
    gate = layers.init_dense(key_gate, size, 1)
    return LookerParams(params, attention.init(key_attention, size, value_size), gate)

  def initial_state(params, batch_size):
    return cell.initial_state(params.cell, batch_size)

  def prepare(params, ctx, batch_size, *, key=None):
    keys = (None, None) if key is None else jax.random.split(key)
    inner, _ = prepare_cell(cell, params.cell, None, batch_size, keys[0])
    memory = prepared(attention, params.attention, memory_of(ctx))
    return params._replace(cell=inner), _Looked(memory, begin(keys[1], batch_size))

  def step(params, state, u, *, key=None, ctx=None):
    keys = (None, None) if key is None else jax.random.split(key)
    query = last_h(state)
    weights = weigh(attention, params.attention, query, ctx.memory)
    chosen = choose(keys[0], weights, ctx.expected)
    gate = layers.sigmoid(layers.dense(params.gate, query))
    context = gate * mean(ctx.memory, chosen)
    u = project_one(cell, params.cell, jnp.concatenate([u, context], -1))
    state, h = cell.step(params.cell, state, u, key=keys[1])
    return state, Glimpse(h, context, weights, chosen)

  return Cell(init, initial_state, lambda params, xs: xs, step, None, prepare)


def _one_hot(places: Array, like: Array) -> Array:
  return jax.nn.one_hot(places, like.shape[-1], dtype=like.dtype)
