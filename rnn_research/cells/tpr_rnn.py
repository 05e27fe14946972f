"""The memory of the TPR-RNN: sentences write associations of two entities into a tensor."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import glorot_uniform

from rnn_research.cell import Cell
from rnn_research.engines.associative import write_stories
from rnn_research.errors import require_sizes
from rnn_research.layers import affine, check_features, matmul
from rnn_research.memory.associations import (
  Facts,
  Triples,
  new_objects,
  recall,
  subjects,
  tensor,
)
from rnn_research.typing import Array, Key
from rnn_research.unroll import without_resets


class PartsParams(NamedTuple):
  """Parameters of K networks of one hidden layer that share their input."""

  w_in: Array  # [F, K H] float32
  b_in: Array  # [K H] float32
  w_out: Array  # [K, H, O] float32
  b_out: Array  # [K, O] float32


class TPRParams(NamedTuple):
  """Parameters of `tpr_rnn`."""

  entities: PartsParams
  relations: PartsParams


class TPRState(NamedTuple):
  """State of `tpr_rnn`."""

  f: Array  # [B, E, R, E] float32


def init_parts(key: Key, num_inputs: int, hidden_size: int, count: int, size: int) -> PartsParams:
  """Returns the parameters of `parts`: each network's matrices as Glorot and Bengio 2010 draw them,
  biases 0."""
  draw = glorot_uniform()
  keys = jax.random.split(key, 2 * count)
  first = [draw(k, (num_inputs, hidden_size), jnp.float32) for k in keys[:count]]
  last = [draw(k, (hidden_size, size), jnp.float32) for k in keys[count:]]
  return PartsParams(
    jnp.concatenate(first, 1),
    jnp.zeros(count * hidden_size, jnp.float32),
    jnp.stack(last),
    jnp.zeros((count, size), jnp.float32),
  )


def parts(params: PartsParams, x: Array, dtype=jnp.float32) -> Array:
  """Returns what K networks say of an input, `tanh(W2_k tanh(W1_k x + b1_k) + b2_k)`.

  Args:
    params: of `init_parts`.
    x: [..., F] float32.
    dtype: precision of the factors of products.

  Returns:
    [..., K, O] float32.
  """
  count, hidden_size, _ = params.w_out.shape
  hidden = jnp.tanh(affine(x, params.w_in, params.b_in, dtype))
  hidden = hidden.reshape(*x.shape[:-1], count, hidden_size)
  out = jnp.stack([matmul(hidden[..., i, :], params.w_out[i], dtype) for i in range(count)], -2)
  return jnp.tanh(out + jnp.broadcast_to(params.b_out, out.shape))


def init_facts(
  key: Key, num_inputs: int, hidden_size: int, entity_size: int, relation_size: int
) -> TPRParams:
  """Returns the parameters of `facts_of`."""
  keys = jax.random.split(key)
  return TPRParams(
    init_parts(keys[0], num_inputs, hidden_size, 2, entity_size),
    init_parts(keys[1], num_inputs, hidden_size, 3, relation_size),
  )


def facts_of(params: TPRParams, x: Array, dtype=jnp.float32) -> Facts:
  """Returns what sentences [..., F] say."""
  return Facts(parts(params.entities, x, dtype), parts(params.relations, x, dtype))


def tpr_rnn(
  entity_size: int, relation_size: int, *, hidden_size: int = 40, dtype=jnp.float32
) -> Cell:
  """Makes the cell: for sentences s_t, with networks of one hidden layer f,

    e^i = f_e^i(s_t), i = 1, 2        r^j = f_r^j(s_t), j = 1, 2, 3
    w = F e^1 r^1    m = F e^1 r^2    b = F e^2 r^3
    F <- F + e^1 (x) r^1 (x) (e^2 - w) + e^1 (x) r^2 (x) (w - m) + e^2 (x) r^3 (x) (e^1 - b)
    y_t = (w, m, b)

  and F = 0 before the first step. Padding writes nothing, by the mask of `unroll`. Whole stories
  are written at once, see `engines.associative`, which never makes F but at the end.

  Args:
    entity_size: E.
    relation_size: R.
    hidden_size: units of the layer inside of each f.
    dtype: precision of the products with weights; parameters and state are float32.

  Returns:
    A cell over sentences [B, F] with outputs [B, 3 E] of `dtype`, what the sentence found.

  Raises:
    InputError: a size is no integer of 1 or more.

  Source: Schlag and Schmidhuber 2018 (arXiv 1811.12143), equations 4 to 14. Deviates from the
  paper: nothing; f has a tanh after both of its products, as in the released code.
  """
  require_sizes(entity_size=entity_size, relation_size=relation_size, hidden_size=hidden_size)

  def init(key, x, ctx=None):
    return init_facts(key, x.shape[-1], hidden_size, entity_size, relation_size)

  def initial_state(params, batch_size):
    shape = batch_size, entity_size, relation_size, entity_size
    return TPRState(jnp.zeros(shape, params.entities.w_in.dtype))

  def project(params, xs):
    check_features(xs)
    return facts_of(params, xs, dtype)

  def output(found):
    return found.reshape(*found.shape[:-2], 3 * entity_size).astype(dtype)

  def step(params, state, u, *, key=None, ctx=None):
    found = recall(state.f, subjects(u), u.relations)
    written = Triples(subjects(u), u.relations, new_objects(u, found))
    return TPRState(state.f + tensor(written)), output(found)

  def form(params, state, xs, mask):
    facts = Facts(*(a.swapaxes(0, 1) for a in project(params, xs)))
    written = write_stories(facts, mask.T, state.f)
    return TPRState(state.f + tensor(written.triples)), output(written.found.swapaxes(0, 1))

  return without_resets(Cell(init, initial_state, project, step), form)
