"""The decoders of the captioning papers: where the picture enters."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from rnn_research.cell import Cell
from rnn_research.cells.gru import gru
from rnn_research.cells.visual_attention import hard_attention, soft_attention
from rnn_research.encoders.encoder import Encoded
from rnn_research.memory.attention import Attention, additive
from rnn_research.models.decoders import Decoder, inner, joined, one, reads, sutskever, with_memory
from rnn_research.stepping import project_one
from rnn_research.typing import Array, Params, State


class PictureState(NamedTuple):
  """State of a cell that sees the picture at its first step."""

  state: State
  unseen: Array  # [B, 1] float32, 1 before the first step, then 0


def neuraltalk(layers: tuple[Cell, ...]) -> Decoder:
  """The picture enters every step: `h_i = f(W_xh x_i + W_hh h_{i-1} + W_ih v + b)`.

  Source: Karpathy and Fei-Fei 2015 (arXiv 1412.2306), in the form of its code. Deviates from the
  code: any cell.
  """
  return _unseeded(layers, inputs=lambda xs, v: joined(xs, v))


def neuraltalk_once(layers: tuple[Cell, ...]) -> Decoder:
  """The picture enters the first step, beside the start symbol: `h_i = f(W_xh x_i + W_hh h_{i-1} +
  1(i = 1) W_ih v + b)`.

  Source: Karpathy and Fei-Fei 2015 (arXiv 1412.2306), section 3.2. Deviates from the paper: any
  cell.
  """
  cells = (_at_first(layers[0]), *layers[1:])
  return _unseeded(
    cells, inputs=lambda xs, v: (xs, jnp.broadcast_to(v, (*xs.shape[:-1], v.shape[-1])))
  )


def show_and_tell(layers: tuple[Cell, ...]) -> Decoder:
  """The picture is the first word: `x_{-1} = v`, and `t_i = h_i`.

  v has the size of an embedded word.

  Source: Vinyals et al. 2015 (arXiv 1411.4555), equations 10 to 12. Deviates from the paper: any
  cell.
  """
  decoder = _unseeded(layers, inputs=lambda xs, v: xs)

  def begin(params, encoded):
    x, ends = encoded.summary, []
    states = decoder.begin(params, encoded)
    for cell, own, state in zip(layers, params, states, strict=True):
      state, x = cell.step(own, state, project_one(cell, own, x))
      ends.append(state)
    return tuple(ends)

  return decoder._replace(begin=begin)


def merge(layers: tuple[Cell, ...]) -> Decoder:
  """The recurrence reads words alone, the picture joins its output: `t_i = [h_i; v]`.

  Source: Tanti et al. 2017 (arXiv 1708.02043), section 3. Deviates from the paper: any cell.
  """
  return _unseeded(layers, inputs=lambda xs, v: xs, features=lambda xs, ys, v: joined(ys, v))


def soft(layers: tuple[Cell, ...], attention: Attention, *, dropout: float = 0.0) -> Decoder:
  """`visual_attention.soft_attention`, with the deep output `t_i = [h_i; z_i; x_i]`.

  Source: Xu et al. 2015 (arXiv 1502.03044), equation 7. Deviates from the paper: one matrix for
  all three in the readout, so that they have one bias; `dropout` between layers.
  """
  return _looking(layers, soft_attention(one(layers, dropout), attention))


def hard(layers: tuple[Cell, ...], attention: Attention, *, dropout: float = 0.0) -> Decoder:
  """`visual_attention.hard_attention`, with the output of `soft`. Its extras have 'chosen' too, the
  weights that each step saw the picture under.

  Source: Xu et al. 2015 (arXiv 1502.03044), section 4.1. Deviates from the paper: as `soft`.
  """
  decoder = _looking(layers, hard_attention(one(layers, dropout), attention))
  return decoder._replace(extras=lambda ys: {'weights': ys.weights, 'chosen': ys.chosen})


# name -> factory(layers, attention, *, dropout)
CAPTIONERS: dict[str, Callable[..., Decoder]] = {
  'neuraltalk': lambda layers, attention, **options: neuraltalk(layers),
  'neuraltalk_once': lambda layers, attention, **options: neuraltalk_once(layers),
  'show_and_tell': lambda layers, attention, **options: show_and_tell(layers),
  'merge': lambda layers, attention, **options: merge(layers),
  'init_state': lambda layers, attention, **options: sutskever(layers),
  'soft_attention': soft,
  'hard_attention': hard,
}


def looks(name: str) -> bool:
  """Returns whether a decoder of `CAPTIONERS` reads a memory, so that every step of it steps."""
  return reads(CAPTIONERS[name]((gru(1),), additive(1), dropout=0.0))


def _looking(layers, cell):
  return with_memory(
    layers,
    (cell,),
    begin=lambda params, encoded: (inner(encoded.states),),
    features=lambda xs, ys, v: joined(ys.h, ys.context, xs),
  )


def _unseeded(layers, inputs, features=lambda xs, ys, v: ys):
  """Returns a decoder without memory whose layers start from their own initial states."""

  def begin(params: Params, encoded: Encoded):
    rows = len(encoded.summary)
    return tuple(cell.initial_state(p, rows) for cell, p in zip(layers, params, strict=True))

  return sutskever(layers)._replace(layers=(), begin=begin, inputs=inputs, features=features)


def _at_first(cell: Cell) -> Cell:
  """Returns a cell of inputs (x, v) that sees v at its first step, and zeros in its place later."""

  def init(key, x, ctx=None):
    return cell.init(key, joined(*x))

  def initial_state(params, batch_size):
    unseen = jnp.ones((batch_size, 1), jnp.float32)
    return PictureState(cell.initial_state(params, batch_size), unseen)

  def step(params, state, u, *, key=None, ctx=None):
    x, v = u
    u = project_one(cell, params, joined(x, v * state.unseen))
    inner, y = cell.step(params, state.state, u, key=key)
    return PictureState(inner, jnp.zeros_like(state.unseen)), y

  return Cell(init, initial_state, lambda params, xs: xs, step, noisy=cell.noisy)
