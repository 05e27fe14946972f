"""What a model of binary pixels takes from grey levels."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.typing import Array, Key

_SEED = 0  # of pixels that are drawn once: the same in every run


class Pixels(NamedTuple):
  """A way to make pixels in [0, 1] of levels, the probability of a 1.

  Attributes:
    kept: `([N, S, S, C] uint8) -> [N, S, S, C] uint8`, what is held in memory.
    seen: `([B, S, S, C] uint8, key) -> [B, S, S, C] float32`, what the model reads.
  """

  kept: Callable[[np.ndarray], np.ndarray]
  seen: Callable[[Array | np.ndarray, Key], Array]


def _as_they_are(images):
  return images


def _drawn_once(images):
  draws = np.random.default_rng(_SEED).random(images.shape, np.float32)
  return np.where(draws < images / np.float32(255), np.uint8(255), np.uint8(0))


def _levels(images, key):
  return images.astype(jnp.float32) / 255.0


def _drawn(images, key):
  return jax.random.bernoulli(key, _levels(images, key)).astype(jnp.float32)


PIXELS = {
  'stochastic': Pixels(_as_they_are, _drawn),
  'fixed': Pixels(_drawn_once, _levels),
  'levels': Pixels(_as_they_are, _levels),
}
