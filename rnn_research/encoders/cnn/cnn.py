"""`Cnn`: a convolutional network and its classifier, whose last blocks may be trained further."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnn_research.typing import Array, Key, Params

Layer = Callable[[Array], Array]


class Maps(NamedTuple):
  """What a network sees in pictures.

  Attributes:
    deep: [B, h, w, C] float32, its last map of features.
    shallow: [B, h', w', C'] float32, the last map of twice that resolution (one cell more on each
      axis where h' is odd).
    vector: [B, Z] float32, what its classifier reads.
    logits: [B, 1000] float32, of the classes of ImageNet in their usual order.
  """

  deep: Array
  shallow: Array
  vector: Array
  logits: Array


class Pixels(NamedTuple):
  """How a network takes pictures.

  Attributes:
    size: height and width in pixels.
    mean: per channel R, G, B, of 0..255.
    scale: per channel; the network reads `(pixel - mean) / scale`.
  """

  size: int
  mean: tuple[float, float, float]
  scale: tuple[float, float, float]


# What torchvision and most of timm's models were trained with.
IMAGENET = Pixels(224, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


class Cnn(NamedTuple):
  """A network. Its parameters are a dict of layers; each function reads the whole dict as well as
  its own part of it.

  Attributes:
    name: of the network.
    form: of the weights that it takes: where they come from decides padding and `pixels`.
    size: of the pictures, height and width in pixels.
    lower: `(params, pictures) -> shallow`, pictures [B, size, size, 3] uint8 RGB.
    upper: `(params, shallow) -> deep`: the last blocks.
    classify: `(params, deep) -> (vector, logits)`.
    split: `(params) -> (lower, upper, classifier)`, the parts of the three; `|` joins them.
    init: `(key) -> params`.
  """

  name: str
  form: str
  size: int
  lower: Callable[[Params, Array], Array]
  upper: Callable[[Params, Array], Array]
  classify: Callable[[Params, Array], tuple[Array, Array]]
  split: Callable[[Params], tuple[Params, Params, Params]]
  init: Callable[[Key], Params]


def cnn(
  name: str,
  form: str,
  pixels: Pixels,
  lower: tuple[Layer, ...],
  upper: tuple[Layer, ...],
  classifier: nn.Module,
) -> Cnn:
  """Makes a network.

  Args:
    name: of the network.
    form: of its weights.
    pixels: how it takes pictures.
    lower: layers up to the shallow map: modules with names, and functions such as a pooling.
    upper: layers from there to the deep map.
    classifier: `(deep) -> (vector, logits)`, a module with a name.
  """
  parts = lower, upper, (classifier,)

  def shallow_map(params, pictures):
    mean, scale = (jnp.asarray(value, jnp.float32)[None, None, None] for value in pixels[1:])
    return _through(lower, params, (pictures.astype(jnp.float32) - mean) / scale)

  def split(params):
    names = ([layer.name for layer in part if isinstance(layer, nn.Module)] for part in parts)
    return tuple({name: params[name] for name in own} for own in names)

  def init(key):
    x, params = jnp.zeros((1, pixels.size, pixels.size, 3), jnp.float32), {}
    for i, layer in enumerate(layer for part in parts for layer in part):
      if isinstance(layer, nn.Module):
        x, variables = layer.init_with_output(jax.random.fold_in(key, i), x)
        params[layer.name] = variables['params']
      else:
        x = layer(x)
    return params

  return Cnn(
    name,
    form,
    pixels.size,
    shallow_map,
    functools.partial(_through, upper),
    functools.partial(_through, (classifier,)),
    split,
    init,
  )


def maps(network: Cnn, params: Params, pictures: Array) -> Maps:
  """Returns what a network sees in pictures [B, size, size, 3] uint8 RGB."""
  shallow = network.lower(params, pictures)
  deep = network.upper(params, shallow)
  return Maps(deep, shallow, *network.classify(params, deep))


def _through(layers, params, x):
  for layer in layers:
    x = layer.apply({'params': params[layer.name]}, x) if isinstance(layer, nn.Module) else layer(x)
  return x
