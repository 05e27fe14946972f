"""What answers questions about an image: a glimpse network, or the convolutional one that it is
compared with."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research import layers
from rnn_research.encoders.cnn.layers import convolve, max_pool, same
from rnn_research.losses import cross_entropy
from rnn_research.typing import Array

_SMALLEST = 7  # pixels of a side from which on maps are pooled no more


class Classifier(NamedTuple):
  """What gives A answers of O classes about an image.

  Attributes:
    init: `(key) -> params`.
    logits: `(params, images [B, H, W, C] uint8, key) -> [B, A, O] float32`; without a key nothing
      is left to chance.
    loss: `(params, images, targets [B, A] int32, key) -> ([B] float32, {metric: [B] float32})`:
      nats of all answers, with what else is to be small.
    multiply_adds: `(params, arrays or shapes) -> int`, of the products that answer for one image.
    look: `(params, images, key) -> Path`, or None of what does not look around.
  """

  init: Callable
  logits: Callable
  loss: Callable
  multiply_adds: Callable
  look: Callable | None = None


def conv_classifier(
  shape: tuple[int, int, int], units: int, num_answers: int, num_classes: int
) -> Classifier:
  """Makes a convolutional network that sees the whole image at once.

  Convolutions of 3 x 3 with ReLU, with poolings of 2 x 2 between them until a side has 7 pixels at
  most, and 1/8, 1/4, 1/2, 1/2, .. of `units` channels; then a layer of `units`, and the answers.

  Args:
    shape: H, W, C of images.
    units: of the last layer.
    num_answers: A.
    num_classes: O.
  """
  sides = [min(shape[:2])]
  while sides[-1] > _SMALLEST:
    sides.append(sides[-1] // 2)
  channels = [max(1, units * min(2**i, 4) // 8) for i in range(len(sides))]
  pool = max_pool(2)

  def init(key):
    keys = jax.random.split(key, len(sides) + 2)
    he = jax.nn.initializers.he_normal()
    convolutions, size = [], shape[2]
    for k, count in zip(keys, channels, strict=False):
      w = he(k, (3, 3, size, count), jnp.float32)
      convolutions.append({'w': w, 'b': jnp.zeros(count, jnp.float32)})
      size = count
    height, width = (_pooled(side, len(sides) - 1) for side in shape[:2])
    return {
      'convolutions': convolutions,
      'hidden': layers.init_dense(keys[-2], height * width * size, units),
      'answers': layers.init_dense(keys[-1], units, num_answers * num_classes),
    }

  def logits(params, images, key=None):
    x = floats(images)
    for i, layer in enumerate(params['convolutions']):
      x = pool(x) if i else x
      x = jax.nn.relu(convolve(x, layer['w'], 1, same) + layer['b'][None, None, None])
    h = jax.nn.relu(layers.dense(params['hidden'], x.reshape(len(x), -1)))
    return layers.dense(params['answers'], h).reshape(-1, num_answers, num_classes)

  def loss(params, images, targets, key):
    answers = logits(params, images)
    nats = cross_entropy(answers, targets).sum(-1)
    return nats, {'nats': nats, 'error': wrong(answers, targets)}

  def multiply_adds(params):
    places = [_pooled(shape[0], i) * _pooled(shape[1], i) for i in range(len(sides))]
    kernels = (layer['w'].size for layer in params['convolutions'])
    convolutions = sum(n * size for n, size in zip(places, kernels, strict=True))
    return convolutions + params['hidden']['w'].size + params['answers']['w'].size

  return Classifier(init, logits, loss, multiply_adds)


def floats(images: Array) -> Array:
  """Returns levels 0 to 255 as float32 in [0, 1]."""
  return images.astype(jnp.float32) / 255.0


def wrong(logits: Array, targets: Array) -> Array:
  """Returns which rows have a wrong answer, [B] float32: the share of them is the error."""
  return (logits.argmax(-1) != targets).any(-1).astype(jnp.float32)


def _pooled(side, times):
  return side >> times
