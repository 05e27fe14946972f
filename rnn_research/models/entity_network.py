"""Recurrent models that read a story sentence by sentence, or word by word, and answer."""

import jax
import jax.numpy as jnp

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.cells.entnet import entnet
from rnn_research.data.codec import PAD
from rnn_research.engines.entity import prelu
from rnn_research.errors import require_size
from rnn_research.models.memory_network import Answerer, first_weights
from rnn_research.typing import Array
from rnn_research.unroll import unroll


def entity_network(
  num_words: int, size: int, *, num_slots: int = 20, longest: int, dtype=jnp.float32
) -> Answerer:
  """Makes the recurrent entity network: with e_v row v of the embedding, and h_j the slots of
  `cells.entnet` after all sentences,

    s_t = sum_i f_i * e(x_ti)       q = sum_i f'_i * e(q_i)
    p_j = softmax_j(q . h_j)        u = sum_j p_j h_j
    logits = phi(q + u H) R

  The weights of sentences are the gates of the slots.

  Args:
    num_words: V, answers among them; 0 is PAD, whose embedding counts as 0.
    size: D.
    num_slots: M.
    longest: the most words of a sentence or question.
    dtype: precision of the products of the cell.

  Raises:
    InputError: a size is no integer of 1 or more.

  Source: Henaff et al. 2017 (arXiv 1612.03969), equations 1 to 6. Deviates from the paper: as
  `cells.entnet` does; phi is the PReLU of the slots, with the same slopes, and the masks f of
  sentences and f' of questions are two, as in the released code. Here both start at 1, a bag of
  words; there f' alone does.
  """
  require_size('model.size', size)
  cell = entnet(num_slots, dtype=dtype)

  def init(key):
    keys = jax.random.split(key, 4)
    return {
      'embedding': first_weights(keys[0], num_words, size),
      'story_mask': jnp.ones((longest, size), jnp.float32),
      'question_mask': jnp.ones((longest, size), jnp.float32),
      'cell': cell.init(keys[1], jax.ShapeDtypeStruct((1, size), jnp.float32)),
      'h': first_weights(keys[2], size, size),
      'r': first_weights(keys[3], size, num_words),
    }

  def outputs(params, stories, questions, *, linear=False, key=None):
    told = (stories != PAD).any(-1)
    xs = encode(params['embedding'], params['story_mask'], stories.swapaxes(0, 1))
    state, gates = unroll(cell, params['cell'], xs, mask=told.T)
    q = encode(params['embedding'], params['question_mask'], questions)
    p = jax.nn.softmax(jnp.einsum('bd,bmd->bm', q, state.h))
    u = jnp.einsum('bm,bmd->bd', p, state.h)
    y = prelu(q + u @ params['h'], params['cell'].slope)
    return y @ params['r'], jnp.moveaxis(gates, 0, 2)

  return Answerer(init, outputs)


def encode(table: Array, mask: Array, ids: Array) -> Array:
  """Returns `sum_i f_i * e(x_i)`.

  Args:
    table: [V, D] float32, e; PAD counts as 0.
    mask: [J, D] float32, f.
    ids: [..., J'] int32, J' at most J.

  Returns:
    [..., D] float32.
  """
  words = jnp.where((ids != PAD)[..., None], table[ids], 0.0)
  return jnp.einsum('...jd,jd->...d', words, mask[: ids.shape[-1]])


def story_reader(cell: Cell, num_words: int, embedding_size: int, most_words: int) -> Answerer:
  """Makes the plain baseline: a recurrent cell reads the words of the story and then those of the
  question, and its last output gives the answer.

  Args:
    cell: its output is an array [B, H].
    num_words: V; 0 is PAD.
    embedding_size: numbers per word.
    most_words: of a story and its question; the words before these are not read.

  Source: Weston et al. 2015 (arXiv 1502.05698), section 4. Deviates from the paper: nothing.
  """

  def init(key):
    keys = jax.random.split(key, 3)
    x = jax.ShapeDtypeStruct((1, embedding_size), jnp.float32)
    params = jax.eval_shape(cell.init, keys[1], x)
    y = jax.eval_shape(lambda p: unroll(cell, p, jnp.zeros((1, 1, embedding_size)))[1], params)
    return {
      'embedding': first_weights(keys[0], num_words, embedding_size),
      'cell': cell.init(keys[1], x),
      'head': layers.init_dense(keys[2], y.shape[-1], num_words),
    }

  def outputs(params, stories, questions, *, linear=False, key=None):
    ids = jnp.concatenate([stories.reshape(len(stories), -1), questions], 1)
    # Padding, which stands between sentences, goes to the front: the last step is the last word.
    order = jnp.argsort(ids != PAD, axis=1, stable=True)
    ids = jnp.take_along_axis(ids, order, 1)[:, -most_words:].T
    xs = layers.embed(params['embedding'], ids)
    _, ys = unroll(cell, params['cell'], xs, mask=ids != PAD)
    logits = layers.dense(params['head'], ys[-1])
    return logits, jnp.zeros((len(stories), 0, stories.shape[1]), jnp.float32)

  return Answerer(init, outputs)
