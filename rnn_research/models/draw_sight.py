"""How DRAW reads an image and writes to its canvas: the whole of it, or through a window."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research.encoders.glimpse import Place, gaussian_window, place, read, write
from rnn_research.layers import dense, init_dense
from rnn_research.typing import Array, Key, Params


class Sight(NamedTuple):
  """A reader and a writer.

  Attributes:
    init: `(key, H) -> params`, for a decoder of H units.
    read: `(params, images [B, H, W, C], errors [B, H, W, C], h [B, H]) -> ([B, R], Place | None)`.
    write: `(params, h [B, H]) -> ([B, H, W, C], Place | None)`: what is added to the canvas.
  """

  init: Callable[[Key, int], Params]
  read: Callable[..., tuple[Array, Place | None]]
  write: Callable[..., tuple[Array, Place | None]]


def whole(size: int, channels: int) -> Sight:
  """Reads and writes all pixels at every step.

    r_t = [x; x - sigmoid(c_{t-1})],   write(h) = W h

  Args:
    size: S, pixels of a side.
    channels: C.

  Source: Gregor et al. 2015 (arXiv 1502.04623), equations 17 and 18.
  Deviates from the paper: nothing.
  """
  shape = size, size, channels

  def init(key, units):
    return {'write': init_dense(key, units, size * size * channels)}

  def look(params, images, errors, h):
    return jnp.concatenate([_flat(images), _flat(errors)], -1), None

  def add(params, h):
    return dense(params['write'], h).reshape(-1, *shape), None

  return Sight(init, look, add)


def attentive(size: int, channels: int, read_size: int, write_size: int) -> Sight:
  """Reads and writes through a window of Gaussian filters that the decoder moves and stretches.

    r_t = gamma [F_Y x F_X^T; F_Y (x - sigmoid(c_{t-1})) F_X^T],
    write(h) = F^_Y^T w F^_X / gamma^,   w = W h

  Args:
    size: S, pixels of a side.
    channels: C.
    read_size: N, filters of a side with which it reads.
    write_size: N, filters of a side with which it writes.

  Raises:
    InputError: a window does not fit into the image.

  Source: Gregor et al. 2015, equations 19 to 29.
  Deviates from the paper: at first filters overlap, and gamma^ makes up for how thin they spread
  what is written, which is not told there; and see `glimpse.gaussian_window`.
  """

  def init(key, units):
    key_read, key_write, key_patch = jax.random.split(key, 3)
    return {
      'read': _init_place(key_read, units, size, read_size),
      # A number of the patch is spread over stride^2 pixels: gamma makes up for it.
      'where': _init_place(
        key_write, units, size, write_size, max(-9, -2 * math.log((size - 1) / (write_size - 1)))
      ),
      'write': init_dense(key_patch, units, write_size * write_size * channels),
    }

  def look(params, images, errors, h):
    where = place(dense(params['read'], h), size, size, read_size)
    both = jnp.concatenate([images, errors], -1)  # of one product with the filters
    return _flat(read(gaussian_window(where, size, size, read_size), both)), where

  def add(params, h):
    where = place(dense(params['where'], h), size, size, write_size)
    patch = dense(params['write'], h).reshape(-1, write_size, write_size, channels)
    return write(gaussian_window(where, size, size, write_size), patch), where

  return Sight(init, look, add)


def _init_place(key, units, size, count, log_gamma=0.0):
  """Returns parameters whose filters overlap at first: with gaps between them most pixels neither
  are read nor can be written."""
  stride = (size - 1) / (count - 1)
  bias = jnp.array([0.0, 0.0, 2 * math.log(stride / 2), 0.0, log_gamma])
  return init_dense(key, units, 5) | {'b': bias}


def _flat(a):
  return a.reshape(len(a), -1)
