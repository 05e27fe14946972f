"""Encoders: layers of recurrences that read a source sequence, in one direction or in two."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.cells.attention_decoders import last_h
from rnn_research.typing import Array, Key, Params, State
from rnn_research.unroll import bidirectional, unroll


class Encoder(NamedTuple):
  """Layers that read the source.

  Attributes:
    forward: L cells, first to last.
    backward: L cells that read from the last symbol on; every layer joins the outputs of both. ()
      is one direction.
    from_the_end: whether `forward` reads the last symbol first (the reversed source of Sutskever et
      al. 2014).
  """

  forward: tuple[Cell, ...]
  backward: tuple[Cell, ...] = ()
  from_the_end: bool = False


def init_encoder(key: Key, encoder: Encoder, input_size: int) -> Params:
  """Returns one parameter tree per layer, a pair of them where there are two directions."""
  params, size = [], input_size
  for i, cells in enumerate(_layers(encoder)):
    x = jax.ShapeDtypeStruct((1, size), jnp.float32)
    keys = jax.random.split(jax.random.fold_in(key, i), len(cells))
    params.append(tuple(cell.init(k, x) for cell, k in zip(cells, keys, strict=True)))
    outputs = lambda p, x, cells=cells: _run_layer(encoder, cells, p, x[None], None, None)[1]
    size = jax.eval_shape(outputs, params[-1], x).shape[-1]
  return tuple(params)


def run_encoder(
  encoder: Encoder,
  params: Params,
  xs: Array,
  mask: Array,
  dropout: float = 0.0,
  key: Key | None = None,
) -> tuple[tuple[tuple[State, ...], ...], Array, Array]:
  """Reads a source.

  Args:
    encoder: the layers.
    params: of `init_encoder`.
    xs: [S, B, E] float32 inputs.
    mask: [S, B] bool, False is padding at the end.
    dropout: rate on the outputs of every layer but the last, active when there is a key.
    key: folded with the layer's index.

  Returns:
    The last states of every layer, one per direction; outputs [S, B, M] of the last layer, 0 at
    padding; and the summary [B, Z], h of the last states of the last layer.
  """
  ends = []
  for i, cells in enumerate(_layers(encoder)):
    cell_key, drop_key = (
      (None, None) if key is None else jax.random.split(jax.random.fold_in(key, i))
    )
    xs = layers.dropout(drop_key, xs, dropout) if i else xs
    end, xs = _run_layer(encoder, cells, params[i], xs, mask, cell_key)
    ends.append(end)
  return tuple(ends), xs, jnp.concatenate([last_h(state) for state in ends[-1]], -1)


def _layers(encoder):
  return (
    list(zip(encoder.forward, encoder.backward, strict=True))
    if encoder.backward
    else [(cell,) for cell in encoder.forward]
  )


def _run_layer(encoder, cells, params, xs, mask, key):
  if len(cells) == 2:
    return bidirectional(*cells, params, xs, mask=mask, key=key)
  end, ys = unroll(cells[0], params[0], xs, mask=mask, key=key, reverse=encoder.from_the_end)
  return (end,), ys
