"""The decoders of the sequence-to-sequence papers: what they read of the input, and what their
outputs are made of.

A new one is a cell that reads a memory, in `cells/attention_decoders.py`, and here a function and a
row of `DECODERS`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research.cell import Cell
from rnn_research.cells.attention_decoders import FedState, bahdanau, input_feeding, luong
from rnn_research.cells.gru import gru
from rnn_research.combinators.depth import stack
from rnn_research.encoders.encoder import Encoded
from rnn_research.memory.attention import Attention, Memory, additive
from rnn_research.typing import Array, Params, PyTree, State


class Decoder(NamedTuple):
  """How a decoder runs over embedded symbols x_i = E y_{i-1}; s is the summary of the source, [B,
  Z].

  Attributes:
    layers: the recurrences, first to last, which start from what is known of the source; () where
      `begin` makes the first states by itself.
    cells: the same as they are run, with attention around them.
    begin: `(params of the cells, encoded) -> states of the cells`, leaves [B, ...]; the states of
      `encoded` are those of the layers.
    inputs: `(xs, s) -> inputs of the cells`, [..., B, E] to [..., B, F].
    context: `(memory) -> ctx` of the cells: the memory, or None where it is not read.
    features: `(xs, ys, s) -> [..., B, R]`, what logits are made of.
    extras: `(ys) -> {name: [..., B, ...]}`, what is told of each step: 'weights' [..., B, S], where
      it looked; {} without a memory.
  """

  layers: tuple[Cell, ...]
  cells: tuple[Cell, ...]
  begin: Callable[[Params, Encoded], tuple[State, ...]]
  inputs: Callable[[Array, Array], Array]
  context: Callable[[Memory], PyTree]
  features: Callable[[Array, PyTree, Array], Array]
  extras: Callable[[PyTree], dict[str, Array]]


def sutskever(layers: tuple[Cell, ...]) -> Decoder:
  """The first state is all that is known of the source: `t_i = h_i`.

  Source: Sutskever et al. 2014 (arXiv 1409.3215), section 2. Deviates from the paper: nothing.
  """
  return _without_memory(layers, inputs=lambda xs, s: xs, features=lambda xs, ys, s: ys)


def cho(layers: tuple[Cell, ...]) -> Decoder:
  """The summary enters every step and the output: `h_i = cell([x_i; s], h_{i-1})`, `t_i = [h_i; s;
  x_i]`.

  Source: Cho et al. 2014 (arXiv 1406.1078), section 2.2 and appendix A. Deviates from the paper:
  any cell; the summary is the encoder's last h as it is; no maxout.
  """
  return _without_memory(
    layers, inputs=lambda xs, s: joined(xs, s), features=lambda xs, ys, s: joined(ys, s, xs)
  )


def attends_before(
  layers: tuple[Cell, ...], attention: Attention, *, dropout: float = 0.0
) -> Decoder:
  """`attention_decoders.bahdanau`, which reads before its step: `t_i = [h_i; c_i; x_i]`.

  `dropout` is between layers.

  Source: Bahdanau et al. 2015 (arXiv 1409.0473). Deviates from the paper: the output sees h_i, not
  h_{i-1}; no maxout.
  """
  return with_memory(
    layers,
    (bahdanau(one(layers, dropout), attention),),
    begin=lambda params, encoded: (inner(encoded.states),),
    features=lambda xs, ys, s: joined(ys.h, ys.context, xs),
  )


def attends_after(
  layers: tuple[Cell, ...],
  attention: Attention,
  size: int,
  *,
  dropout: float = 0.0,
  dtype=jnp.float32,
) -> Decoder:
  """`attention_decoders.luong` with input feeding, which reads after its step: `t_i = y_i`.

  `size` is that of y_i, `dropout` is between layers, `dtype` the precision of the product that
  makes y_i.

  Source: Luong et al. 2015 (arXiv 1508.04025). Deviates from the paper: nothing.
  """

  def begin(params, encoded):
    fed = jnp.zeros((len(encoded.summary), size), jnp.float32)
    return (FedState(inner(encoded.states), fed),)

  cell = input_feeding(luong(one(layers, dropout), attention, dtype=dtype), size)
  return with_memory(layers, (cell,), begin=begin, features=lambda xs, ys, s: ys.h)


# name -> factory(layers, attention, size, *, dropout, dtype), where `size` is that of a layer made
# for the output.
DECODERS: dict[str, Callable[..., Decoder]] = {
  'sutskever': lambda layers, attention, size, **options: sutskever(layers),
  'cho': lambda layers, attention, size, **options: cho(layers),
  'bahdanau': lambda layers, attention, size, *, dropout, dtype: attends_before(
    layers, attention, dropout=dropout
  ),
  'luong': attends_after,
}


def attends(name: str) -> bool:
  """Returns whether a decoder of `DECODERS` reads a memory, so that every step of it steps."""
  return reads(DECODERS[name]((gru(1),), additive(1), 1, dropout=0.0, dtype=jnp.float32))


def reads(decoder: Decoder) -> bool:
  """Returns whether a decoder reads a memory."""
  context = lambda: decoder.context(Memory(jnp.zeros((1, 1, 1)), jnp.ones((1, 1), bool)))
  return jax.eval_shape(context) is not None


def has_h(cell: Cell) -> bool:
  """Returns whether the state of a cell has a field `h`, which bridges and attention read."""
  x = jax.ShapeDtypeStruct((1, 1), jnp.float32)
  state = jax.eval_shape(lambda key: cell.initial_state(cell.init(key, x), 1), jax.random.key(0))
  return hasattr(state, 'h')


def _without_memory(layers, inputs, features):
  return Decoder(
    layers,
    layers,
    begin=lambda params, encoded: encoded.states,
    inputs=inputs,
    context=lambda memory: None,
    features=features,
    extras=lambda ys: {},
  )


def with_memory(layers, cells, begin, features) -> Decoder:
  """Returns a decoder whose outputs have weights; its fields as of `Decoder`."""
  return Decoder(
    layers,
    cells,
    begin=begin,
    inputs=lambda xs, s: xs,
    context=lambda memory: memory,
    features=features,
    extras=lambda ys: {'weights': ys.weights},
  )


def joined(xs: Array, *others: Array) -> Array:
  """Joins vectors along the last axis; a summary without the axis of time is repeated along it."""
  return jnp.concatenate(
    [xs, *(jnp.broadcast_to(a, (*xs.shape[:-1], a.shape[-1])) for a in others)], -1
  )


def one(layers: tuple[Cell, ...], dropout: float) -> Cell:
  """Returns layers as one cell."""
  return layers[0] if len(layers) == 1 else stack(*layers, dropout=dropout)


def inner(states: tuple[State, ...]) -> State:
  """Returns the state of `one` of layers with these."""
  return states[0] if len(states) == 1 else states
