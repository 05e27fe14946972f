"""Attention: a query chooses among the positions of a memory, and reads their mean under what it
chose."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal

from rnn_research.errors import require_size
from rnn_research.layers import affine, matmul
from rnn_research.typing import Array, Params, PyTree


class Memory(NamedTuple):
  """What attention reads.

  Attributes:
    values: [B, S, M] float32, one vector per position.
    mask: [B, S] bool, False is padding, which is never read and may hold anything.
    keys: [B, S, A] float32, what scores compare a query with; None until `Attention.keys` has
      computed them.
  """

  values: Array
  mask: Array
  keys: PyTree = None


class AdditiveParams(NamedTuple):
  """Parameters of `additive`."""

  w_q: Array  # [Q, A] float32
  w_k: Array  # [M, A] float32
  b: Array  # [A] float32
  v: Array  # [A] float32


class Attention(NamedTuple):
  """A way to score positions.

  Attributes:
    init: `(key, query_size, value_size) -> params`.
    keys: `(params, values) -> keys`, [B, S, M] to [B, S, A] float32: what does not depend on the
      query.
    scores: `(params, queries, keys) -> [B, K, S] float32`, of K queries [B, K, Q] to each memory.
  """

  init: Callable[..., Params]
  keys: Callable[[Params, Array], PyTree]
  scores: Callable[[Params, Array, PyTree], Array]


def additive(size: int, *, dtype=jnp.float32) -> Attention:
  """A layer of tanh units over query and value, also called concat.

    e_j = v^T tanh(q W_q + h_j W_k + b)

  Args:
    size: A, units of the layer.
    dtype: precision of the products.

  Source: Bahdanau et al. 2015 (arXiv 1409.0473), appendix A.1.2, with the query s_{i-1}; 'concat'
  of Luong et al. 2015 (arXiv 1508.04025), equation 8, with the query h_t and the one matrix W_a
  written as [W_q; W_k]. Deviates from the papers: a bias; initial weights are those of every other
  layer.
  """
  require_size('size', size)

  def init(key, query_size, value_size):
    key_q, key_k, key_v = jax.random.split(key, 3)
    return AdditiveParams(
      w_q=lecun_normal()(key_q, (query_size, size), jnp.float32),
      w_k=lecun_normal()(key_k, (value_size, size), jnp.float32),
      b=jnp.zeros(size, jnp.float32),
      v=lecun_normal()(key_v, (size, 1), jnp.float32)[:, 0],
    )

  def keys(params, values):
    return affine(values, params.w_k, params.b, dtype)

  def scores(params, queries, keys):
    return _tanh_scores(matmul(queries, params.w_q, dtype), keys, params.v)

  return Attention(init, keys, scores)


def general(*, dtype=jnp.float32) -> Attention:
  """A bilinear form: `e_j = q^T W h_j`.

  Source: Luong et al. 2015 (arXiv 1508.04025), equation 8. Deviates from the paper: nothing.
  """

  def init(key, query_size, value_size):
    return lecun_normal()(key, (value_size, query_size), jnp.float32)

  return Attention(init, lambda params, values: matmul(values, params, dtype), _products)


def dot() -> Attention:
  """The plain product `e_j = q^T h_j`; query and values have one size.

  Raises:
    ValueError: at `init`, when they do not.

  Source: Luong et al. 2015 (arXiv 1508.04025), equation 8. Deviates from the paper: nothing.
  """

  def init(key, query_size, value_size):
    if query_size != value_size:
      raise ValueError(
        f"dot attention needs values of the query's size {query_size}, found {value_size}"
      )
    return ()

  return Attention(init, lambda params, values: values, _products)


def prepared(attention: Attention, params: Params, memory: Memory) -> Memory:
  """Returns a memory as `read` reads it: zeros behind its mask, and its keys.

  Before anything reads them: not-a-number in padding would pass through a weight of 0.
  """
  values = jnp.where(memory.mask[:, :, None], memory.values, 0.0)
  return Memory(values, memory.mask, attention.keys(params, values))


def weigh(attention: Attention, params: Params, query: Array, memory: Memory) -> Array:
  """Returns how much queries look at each position, `a_j = softmax_j(e_j)` over real ones, [N, S]
  float32, 0 at padding.

  There may be several queries to each memory, as of the captions of a picture or the hypotheses of
  a beam: N = B * K, those of one memory side by side. The memory itself is never copied.

  Args:
    attention: how positions are scored.
    params: its parameters.
    query: [N, Q] float32.
    memory: of `prepared`, with B rows.
  """
  queries = query.reshape(len(memory.mask), -1, query.shape[-1])
  scores, mask = attention.scores(params, queries, memory.keys), memory.mask[:, None]
  # A finite floor: rows without any real position would otherwise turn into not-a-number.
  weights = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min), -1) * mask
  return weights.reshape(len(query), -1)


def mean(memory: Memory, weights: Array) -> Array:
  """Returns `c = sum_j a_j h_j`, [N, M] float32, of weights [N, S]; see `weigh`."""
  grouped = weights.reshape(len(memory.mask), -1, weights.shape[-1])
  return jnp.einsum('bks,bsm->bkm', grouped, memory.values).reshape(len(weights), -1)


def read(attention: Attention, params: Params, query: Array, memory: Memory) -> tuple[Array, Array]:
  """Returns what queries read, `mean` under `weigh`, [N, M] float32, zeros where the memory has no
  real position; and the weights, [N, S] float32."""
  weights = weigh(attention, params, query, memory)
  return mean(memory, weights), weights


# name -> factory(size, *, dtype); `size` is that of a layer between query and value.
SCORES = {
  'additive': additive,
  'general': lambda size, *, dtype: general(dtype=dtype),
  'dot': lambda size, *, dtype: dot(),
}


@jax.custom_vjp
def _tanh_scores(queries: Array, keys: Array, v: Array) -> Array:
  """Returns `e_ks = v^T tanh(q_k + k_s)`, [B, K, S], of [B, K, A], [B, S, A] and [A].

  Its gradient computes the tanh again: kept, A numbers for every score at every step, it took twice
  as long to write and to read.
  """
  return _tanh(queries, keys) @ v


def _tanh(queries, keys):
  return jnp.tanh(queries[:, :, None] + keys[:, None])


def _tanh_scores_fwd(queries, keys, v):
  return _tanh_scores(queries, keys, v), (queries, keys, v)


def _tanh_scores_bwd(kept, grads):
  queries, keys, v = kept
  units = _tanh(queries, keys)
  slopes = grads[..., None] * (1.0 - units * units)
  of_v = jnp.einsum('bks,bksa->a', grads, units)
  return v[None, None] * slopes.sum(2), v[None, None] * slopes.sum(1), of_v


_tanh_scores.defvjp(_tanh_scores_fwd, _tanh_scores_bwd)


def _products(params: Any, queries: Array, keys: Array) -> Array:
  return jnp.einsum('bkq,bsq->bks', queries, keys)
