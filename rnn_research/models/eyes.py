"""Eyes of a glimpse network: what is seen at a place, and how the next place is chosen.

A place is P numbers: x and y of the middle of a crop, in [-1, 1], or the five of a Gaussian window.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import erf

from rnn_research.encoders import glimpse
from rnn_research.typing import Array


class Choice(NamedTuple):
  """A way to choose places [B, 2] of crops. `chance` [B, 2] float32 is drawn from N(0, 1).

  Attributes:
    first: `(chance) -> place`, before anything was seen.
    next: `(raw [B, 2], chance) -> (mean, place)`.
    log_prob: `(mean, place) -> [...] float32`, over the last axis; 0 where nothing is to be learned
      by trial.
  """

  first: Callable[[Array], Array]
  next: Callable[[Array, Array], tuple[Array, Array]]
  log_prob: Callable[[Array, Array], Array]


class Eye(NamedTuple):
  """How an image is looked at.

  Attributes:
    num_numbers: P, of a place.
    patches: K, S, S, C of what is seen, D numbers.
    see: `(images [B, H, W, C] float32, place [B, P]) -> [B, D] float32`.
    attend: `(h [B, H]) -> [B, H]`, what the next place may depend on: where places are chosen by
      trial, no gradient passes.
    first, next, log_prob: see `Choice`, for places of P numbers.
    boxes: `(place [B, P]) -> [B, K, 3] float32`, pixels: x and y of the middle of each patch, the
      upper left corner of the image being 0, and its side.
  """

  num_numbers: int
  patches: tuple[int, int, int, int]
  see: Callable[[Array, Array], Array]
  attend: Callable[[Array], Array]
  first: Callable[[Array], Array]
  next: Callable[[Array, Array], tuple[Array, Array]]
  log_prob: Callable[[Array, Array], Array]
  boxes: Callable[[Array], Array]


# What keeps a place inside of the image. The softsign, raw / (1 + |raw|), has a slope in corners,
# too; behind a tanh places that drift there stay.
BOUNDS = {'tanh': jnp.tanh, 'softsign': jax.nn.soft_sign}


def learned(std: float, bound: str = 'tanh') -> Choice:
  """Places around those that a network names, `l ~ N(bound(raw), std^2)`; the first anywhere.

  Args:
    std: standard deviation, half the image being 1.
    bound: of `BOUNDS`.

  Source: Mnih et al. 2014, section 3.2. Deviates from the paper: the mean is bounded.
  """

  def choose(raw, chance):
    mean = BOUNDS[bound](raw)
    return mean, jax.lax.stop_gradient(mean + std * chance)

  def log_prob(mean, place):
    constant = math.log(std) + 0.5 * math.log(2.0 * math.pi)
    return -(0.5 * jnp.square((place - mean) / std) + constant).sum(-1)

  return Choice(_anywhere, choose, log_prob)


def random() -> Choice:
  """Places anywhere in the image, with equal probability."""
  return Choice(_anywhere, lambda raw, chance: (jnp.zeros_like(raw), _anywhere(chance)), _certain)


def centre() -> Choice:
  """The middle of the image, always."""
  return Choice(
    jnp.zeros_like, lambda raw, chance: (jnp.zeros_like(raw), jnp.zeros_like(chance)), _certain
  )


def crop_eye(shape: tuple[int, int, int], size: int, scales: int, choice: Choice) -> Eye:
  """Sees square patches of several resolutions.

  Args:
    shape: H, W, C of images.
    size: S, pixels of the narrowest patch, and of all of them as they are seen.
    scales: K, patches, each twice as wide as the one before.
    choice: of places.

  Raises:
    InputError: the image is smaller than a patch.
  """
  height, width, channels = shape
  glimpse.check_glimpse(size, height, width, least=1)

  def see(images, place):
    patches = glimpse.crop(images, place, size, scales)
    return patches.reshape(len(patches), scales * size * size * channels)

  def boxes(place):
    middle = (place + 1.0) / 2.0 * jnp.array([width, height])[None]
    sides = size * 2.0 ** jnp.arange(scales)
    shape = (len(place), scales)
    return jnp.concatenate(
      [
        jnp.broadcast_to(middle[:, None], (*shape, 2)),
        jnp.broadcast_to(sides[None, :, None], (*shape, 1)),
      ],
      -1,
    )

  return Eye(
    num_numbers=2,
    patches=(scales, size, size, channels),
    see=see,
    attend=jax.lax.stop_gradient,
    first=choice.first,
    next=choice.next,
    log_prob=choice.log_prob,
    boxes=boxes,
  )


def gaussian_eye(shape: tuple[int, int, int], size: int) -> Eye:
  """Sees through the window of Gaussian filters of DRAW, which is learned by its gradient: nothing
  is left to chance. The first window spans the image, with filters that overlap.

  Args:
    shape: H, W, C of images.
    size: N, filters of a side.

  Raises:
    InputError: N is not in 2..min(H, W).

  Source: Gregor et al. 2015 (arXiv 1502.04623), section 4.1: DRAW's reader as a classifier.
  """
  height, width, channels = shape
  glimpse.check_glimpse(size, height, width, least=2)

  def where(place):
    return glimpse.place(place, height, width, size)

  # Numbers of 0 would leave gaps between filters; sigma is half of the stride at first.
  usual = jnp.array([0.0, 0.0, 2 * math.log((max(height, width) - 1) / (size - 1) / 2), 0.0, 0.0])

  def see(images, place):
    window = glimpse.gaussian_window(where(place), height, width, size)
    return glimpse.read(window, images).reshape(len(images), size * size * channels)

  def boxes(place):
    found = where(place)
    # Pixel 0 reaches from 0 to 1, so its middle is at .5.
    return jnp.stack([found.x + 0.5, found.y + 0.5, size * found.stride], -1)[:, None]

  return Eye(
    num_numbers=5,
    patches=(1, size, size, channels),
    see=see,
    attend=lambda h: h,
    first=lambda chance: jnp.broadcast_to(usual, chance.shape),
    next=lambda raw, chance: (raw + usual[None], raw + usual[None]),
    log_prob=_certain,
    boxes=boxes,
  )


def _anywhere(chance):
  """Returns uniform numbers in (-1, 1) made of normal ones."""
  return erf(chance / math.sqrt(2.0))


def _certain(mean, place):
  return jnp.zeros(mean.shape[:-1], mean.dtype)
