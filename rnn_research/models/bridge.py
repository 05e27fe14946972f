"""The bridge: from what an encoder knows to the first states of a decoder."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.encoders.encoder import Encoded
from rnn_research.typing import Key, Params, State


class Bridge(NamedTuple):
  """A way from what was encoded to first states.

  Attributes:
    init: `(key, encoded) -> params`, from shapes; None where states are handed over as they are.
    start: `(params, encoded) -> states`, one per layer, leaves [B, ...].
  """

  init: Callable[[Key, Encoded], Params]
  start: Callable[[Params, Encoded], tuple[State, ...]]


def bridge(cells: tuple[Cell, ...], *, dtype=jnp.float32) -> Bridge:
  """Makes the bridge to layers of recurrences.

  Where the encoder has states like theirs, these are the first; elsewhere every leaf of a first
  state is tanh(summary W_s + b_s).

  Args:
    cells: the decoder's layers, first to last.
    dtype: precision of the products.

  Source: Sutskever et al. 2014, section 2; Bahdanau et al. 2015 (arXiv 1409.0473), appendix A.2.2.
  Deviates from the papers: the summary has both directions.
  """

  def init(key, encoded):
    x = jax.ShapeDtypeStruct((1, 1), jnp.float32)
    first = tuple(
      jax.eval_shape(lambda k, c=c: c.initial_state(c.init(k, x), 1), key) for c in cells
    )
    if _kind(first) == _kind(encoded.states):
      return None
    leaves, structure = jax.tree.flatten(first)
    keys, size = jax.random.split(key, len(leaves)), encoded.summary.shape[-1]
    return jax.tree.unflatten(
      structure,
      [layers.init_dense(k, size, leaf.shape[-1]) for k, leaf in zip(keys, leaves, strict=True)],
    )

  def start(params, encoded):
    if params is None:
      return encoded.states
    return jax.tree.map(
      lambda p: jnp.tanh(layers.dense(p, encoded.summary, dtype)), params, is_leaf=_is_dense
    )

  return Bridge(init, start)


def _kind(states):
  """Returns what tells states of one kind and size from others, whatever their batch."""
  leaves, structure = jax.tree.flatten(states)
  return structure, [(a.shape[1:], jnp.dtype(a.dtype)) for a in leaves]


def _is_dense(node):
  return isinstance(node, dict)
