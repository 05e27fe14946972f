"""Encoders of pictures: a reader makes a grid of features, whose places are the memory."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnn_research import layers
from rnn_research.encoders.encoder import Encoded, Encoder
from rnn_research.memory.attention import Memory
from rnn_research.typing import Array, Key, Params, PyTree


class Reader(NamedTuple):
  """A way from inputs to a grid of features.

  Attributes:
    init: `(key, inputs) -> params`, from shapes.
    read: `(params, inputs) -> [B, h, w, C] float32`, inputs with leaves [B, ...].
  """

  init: Callable[[Key, PyTree], Params]
  read: Callable[[Params, PyTree], Array]


def maps_reader() -> Reader:
  """Reads maps of a network that are there already: name -> [B, h, w, C]. Smaller ones are enlarged
  to the size of the largest, and their channels joined."""

  def read(params, inputs):
    maps = [inputs[name].astype(jnp.float32) for name in sorted(inputs)]
    height, width = max(a.shape[1:3] for a in maps)
    sized = lambda a: jax.image.resize(a, (len(a), height, width, a.shape[-1]), 'nearest')
    return jnp.concatenate([layers.normalize(sized(a)) for a in maps], -1)

  return Reader(lambda key, inputs: (), read)


def patch_reader(patch: int, channels: int) -> Reader:
  """Reads pictures [B, S, S, 3] uint8 from scratch: a layer over patches, one over each of them
  with its neighbours, and where the patch lies: its row and its column, from -1 to 1.

  Args:
    patch: pixels of its side, which divides S.
    channels: of both layers.
  """
  network = nn.Sequential(
    [
      nn.Conv(channels, (patch, patch), strides=patch, padding='VALID'),
      nn.relu,
      nn.Conv(channels, (3, 3)),
      nn.relu,
    ]
  )
  scaled = lambda pictures: pictures.astype(jnp.float32) / 127.5 - 1.0

  def init(key, inputs):
    return network.init(key, jnp.zeros((1, *inputs.shape[1:]), jnp.float32))

  def read(params, inputs):
    grid = network.apply(params, scaled(inputs))
    rows, columns = (jnp.linspace(-1.0, 1.0, size) for size in grid.shape[1:3])
    places = jnp.stack(jnp.meshgrid(rows, columns, indexing='ij'), -1)
    return jnp.concatenate([grid, jnp.broadcast_to(places, (*grid.shape[:3], 2))], -1)

  return Reader(init, read)


def grid_encoder(
  reader: Reader, size: int, summary_size: int, *, dropout: float = 0.0, dtype=jnp.float32
) -> Encoder:
  """Makes an encoder of pictures. Its `inputs` are those of the reader, and all places are real.

    f = reader(x),    a_i = relu(f_i W_a + b_a),    v = mean_i f_i W_v + b_v

  Args:
    reader: makes the grid, whose places are numbered row by row.
    size: M, of a_i, the memory.
    summary_size: Z, of v, the summary.
    dropout: rate on the features, active when there is a key.
    dtype: precision of the products.

  Source: v Karpathy and Fei-Fei 2015 (arXiv 1412.2306), section 3.2; a_i Xu et al. 2015 (arXiv
  1502.03044), section 3.1.1. Deviates from the papers: a layer makes the annotations of the
  features, since networks differ in their number; v sees the mean of the grid.
  """

  def init(key, inputs):
    keys = jax.random.split(key, 3)
    params = reader.init(keys[0], inputs)
    channels = jax.eval_shape(reader.read, params, inputs).shape[-1]
    return {
      'reader': params,
      'annotations': layers.init_dense(keys[1], channels, size),
      'summary': layers.init_dense(keys[2], channels, summary_size),
    }

  def encode(params, inputs, mask=None, *, key=None):
    grid = reader.read(params['reader'], inputs)
    grid = layers.dropout(key, grid.reshape(len(grid), -1, grid.shape[-1]), dropout)
    values = jax.nn.relu(layers.dense(params['annotations'], grid, dtype))
    summary = layers.dense(params['summary'], grid.mean(1), dtype)
    return Encoded(None, Memory(values, jnp.ones(values.shape[:2], bool)), summary)

  return Encoder(init, encode)
