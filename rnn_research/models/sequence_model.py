"""A recurrent network that reads a sequence and answers at its end, or at every step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.combinators.depth import stack
from rnn_research.typing import Array, PyTree
from rnn_research.unroll import unroll_layers


class SequenceModel(NamedTuple):
  """`y = h_T W + b` for the last step, or for every step, h from a stack of cells.

  Of a memory machine, whose outputs are `MemoryOutput`, h is their field h: `[h_t; r_t]`.

  Attributes:
    cells: L recurrences.
    init: `(key) -> params`.
    outputs: `(params, xs, key=None) -> ys`, xs [B, T, F] float32 to [B, O], or [B, T, O], float32.
    head: `(params, hs) -> ys`, [..., H] to [..., O] float32.
  """

  cells: tuple[Cell, ...]
  init: Callable
  outputs: Callable
  head: Callable


def sequence_model(
  cells: tuple[Cell, ...],
  input_size: int,
  output_size: int,
  *,
  every_step: bool = False,
  dropout: float = 0.0,
  dtype=jnp.float32,
) -> SequenceModel:
  """Makes the model.

  Args:
    cells: the layers, first to last.
    input_size: F.
    output_size: O.
    every_step: whether it answers at every step, or at the last one alone.
    dropout: rate between layers and before the answer, active when there is a key.
    dtype: precision of the answer's product.

  Source: standard. Deviates from the paper: nothing.
  """

  def init(key):
    key_c, key_h = jax.random.split(key)
    cell_params = stack(*cells).init(key_c, jax.ShapeDtypeStruct((1, input_size), jnp.float32))
    xs = jax.ShapeDtypeStruct((1, 1, input_size), jnp.float32)
    hs = jax.eval_shape(
      lambda params, xs: features(unroll_layers(cells, params, xs)[1]), cell_params, xs
    )
    w = lecun_normal()(key_h, (hs.shape[-1], output_size), jnp.float32)
    return {'cells': cell_params, 'head': {'w': w, 'b': jnp.zeros(output_size, jnp.float32)}}

  def head(params, hs):
    return layers.dense(params['head'], hs, dtype)

  def outputs(params, xs, key=None):
    key_c, key_h = (None, None) if key is None else jax.random.split(key)
    _, hs = unroll_layers(
      cells, params['cells'], jnp.moveaxis(xs, 1, 0), dropout=dropout, key=key_c
    )
    hs = jnp.moveaxis(features(hs), 0, 1) if every_step else features(hs)[-1]
    return head(params, layers.dropout(key_h, hs, dropout))

  return SequenceModel(cells, init, outputs, head)


def features(ys: PyTree) -> Array:
  """Returns what an answer is made of: outputs [T, B, H] of a cell, or their field h where they
  have more to tell."""
  return ys.h if hasattr(ys, 'h') else ys
