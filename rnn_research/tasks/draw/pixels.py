"""What a model of binary pixels takes from grey levels."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.typing import Array, Key


class Pixels(NamedTuple):
  """A way to make pixels in [0, 1] of levels, the probability of a 1.

  Attributes:
    kept: `([N, S, S, C] uint8, seed) -> [N, S, S, C] uint8`, what is held in memory.
    seen: `([B, S, S, C] uint8, key) -> [B, S, S, C] float32`, what the model reads.
    again: `([B, S, S, C] float32, key) -> [B, S, S, C] float32`, what it reads of levels of its
      own.
  """

  kept: Callable[[np.ndarray, int], np.ndarray]
  seen: Callable[[Array | np.ndarray, Key], Array]
  again: Callable[[Array, Key], Array]


def _as_they_are(images, seed):
  return images


def _drawn_once(images, seed):
  draws = np.random.default_rng(seed).random(images.shape, np.float32)
  return np.where(draws < images / np.float32(255), np.uint8(255), np.uint8(0))


def _levels(images, key):
  return images.astype(jnp.float32) / 255.0


def _sampled(images, key):
  return zeros_and_ones(_levels(images, key), key)


def zeros_and_ones(levels: Array, key: Key) -> Array:
  """Returns numbers that are 1 with the probability of their level, else 0, float32."""
  return jax.random.bernoulli(key, levels).astype(jnp.float32)


PIXELS = {
  'stochastic': Pixels(_as_they_are, _sampled, zeros_and_ones),
  'fixed': Pixels(_drawn_once, _levels, zeros_and_ones),
  'levels': Pixels(_as_they_are, _levels, lambda levels, key: levels),
}
