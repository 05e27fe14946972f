"""The readout: from a decoder's features to logits over symbols."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research import layers
from rnn_research.typing import Array, Key, Params


class Readout(NamedTuple):
  """A way from features to logits.

  Attributes:
    init: `(key, num_features) -> params`.
    logits: `(params, table, features, key=None) -> [..., V] float32`, of features [..., R] and the
      table [V, E] that embeds symbols.
  """

  init: Callable[[Key, int], Params]
  logits: Callable[..., Array]


def readout(
  vocabulary_size: int,
  *,
  size: int = 0,
  tied: bool = False,
  dropout: float = 0.0,
  dtype=jnp.float32,
) -> Readout:
  """Makes the readout.

    t = features, with a size tanh(features W_r + b_r);    logits = t W + b,  W = E^T if tied

  Args:
    vocabulary_size: V.
    size: R, units of a hidden layer; 0: none.
    tied: whether W is the table of the embedding; its E is then R.
    dropout: rate on features and on t, active when there is a key.
    dtype: precision of the products.

  Source: tied embeddings Press and Wolf 2017. Deviates from the paper: nothing.
  """

  def init(key, num_features):
    keys = jax.random.split(key)
    hidden = {'hidden': layers.init_dense(keys[0], num_features, size)} if size else {}
    head = layers.init_dense(keys[1], size or num_features, vocabulary_size)
    return hidden | {'head': {'b': head['b']} if tied else head}

  def logits(params, table, features, key=None):
    key_f, key_t = (None, None) if key is None else jax.random.split(key)
    if size:
      features = layers.dropout(key_f, features, dropout)
      features = jnp.tanh(layers.dense(params['hidden'], features, dtype))
    features = layers.dropout(key_t, features, dropout)
    w = table.T if tied else params['head']['w']
    return layers.affine(features, w, params['head']['b'], dtype)

  return Readout(init, logits)
