"""Recurrent encoders: layers of cells that read a sequence, in one direction or in two."""

import jax
import jax.numpy as jnp
from jax.nn.initializers import normal

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.encoders.encoder import Encoded, Encoder
from rnn_research.memory.attention import Memory
from rnn_research.stepping import last_h
from rnn_research.unroll import bidirectional, unroll


def recurrent_encoder(
  forward: tuple[Cell, ...],
  backward: tuple[Cell, ...] = (),
  *,
  from_the_end: bool = False,
  dropout: float = 0.0,
) -> Encoder:
  """Makes an encoder of vectors [B, S, F]: embedded words, features of frames.

    h^0_j = x_j,    h^l_j = forward_l(h^{l-1}_j),  with `backward` [forward_l(..); backward_l(..)]
    memory_j = h^L_j,    summary = h of the last states of the last layer

  Args:
    forward: L cells, first to last.
    backward: L cells that read from the last step on; () is one direction.
    from_the_end: whether `forward` reads the last step first (the reversed source of Sutskever et
      al. 2014).
    dropout: rate on the outputs of every layer, active when there is a key; not on states.

  Returns:
    An encoder whose `states` are the last ones of every layer, None where there are two directions.

  Source: Sutskever et al. 2014 (arXiv 1409.3215); both directions Bahdanau et al. 2015 (arXiv
  1409.0473), section 3.2. Deviates from the papers: any cell; the summary sees both directions.
  """
  pairs = list(zip(forward, backward, strict=True)) if backward else [(cell,) for cell in forward]

  def run(cells, params, xs, mask, key):
    """Returns the last states, one per direction, and outputs [S, B, H] of one layer."""
    if len(cells) == 2:
      return bidirectional(*cells, params, xs, mask=mask, key=key)
    end, hs = unroll(cells[0], params[0], xs, mask=mask, key=key, reverse=from_the_end)
    return (end,), hs

  def init(key, inputs):
    params, x = [], jax.ShapeDtypeStruct((1, inputs.shape[-1]), jnp.float32)
    for i, cells in enumerate(pairs):
      keys = jax.random.split(jax.random.fold_in(key, i), len(cells))
      params.append(tuple(cell.init(k, x) for cell, k in zip(cells, keys, strict=True)))
      hs = jax.eval_shape(
        lambda p, x, cells=cells: run(cells, p, x[None], None, None)[1], params[-1], x
      )
      x = jax.ShapeDtypeStruct((1, hs.shape[-1]), jnp.float32)
    return tuple(params)

  def encode(params, inputs, mask=None, *, key=None):
    hs, ends = jnp.moveaxis(inputs, 1, 0), []
    steps = None if mask is None else mask.T
    for i, cells in enumerate(pairs):
      keys = (None, None) if key is None else jax.random.split(jax.random.fold_in(key, i))
      end, hs = run(cells, params[i], hs, steps, keys[0])
      hs = layers.dropout(keys[1], hs, dropout)
      ends.append(end)
    mask = jnp.ones(inputs.shape[:2], bool) if mask is None else mask
    summary = jnp.concatenate([last_h(state) for state in ends[-1]], -1)
    states = None if backward else tuple(end for (end,) in ends)
    return Encoded(states, Memory(jnp.moveaxis(hs, 0, 1), mask), summary)

  return Encoder(init, encode)


def embedded(
  encoder: Encoder, vocabulary_size: int, embedding_size: int, *, dropout: float = 0.0
) -> Encoder:
  """Makes an encoder of symbols [B, S] int32 of one that reads vectors: `x_j = E w_j`.

  Args:
    encoder: reads [B, S, E].
    vocabulary_size: V.
    embedding_size: E.
    dropout: rate on the embedded symbols, active when there is a key.

  Source: standard. Deviates from the paper: nothing.
  """

  def init(key, inputs):
    key_e, key_l = jax.random.split(key)
    table = normal(embedding_size**-0.5)(key_e, (vocabulary_size, embedding_size), jnp.float32)
    xs = jax.ShapeDtypeStruct((*inputs.shape, embedding_size), jnp.float32)
    return {'embedding': table, 'layers': encoder.init(key_l, xs)}

  def encode(params, inputs, mask=None, *, key=None):
    key_e, key_l = (None, None) if key is None else jax.random.split(key)
    xs = layers.dropout(key_e, layers.embed(params['embedding'], inputs), dropout)
    return encoder.encode(params['layers'], xs, mask, key=key_l)

  return Encoder(init, encode)
