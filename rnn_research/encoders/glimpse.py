"""Looking at a part of an image: a window of filters, soft or hard, that is read and written.

A window is one matrix of filters for the rows of an image and one for its columns. DRAW's are
Gaussian and differentiable in where they lie; those of a crop are boxes on whole pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research.errors import InputError
from rnn_research.typing import Array

_CLIP = 10.0  # beyond it an exponential overflows soon
_FAR = 1e6  # half images; beyond it a square of pixels overflows soon


class Filterbank(NamedTuple):
  """Filters over the pixels of an image of H x W.

  Attributes:
    rows: [B, N, H] float32, F_Y.
    columns: [B, N, W] float32, F_X.
    gamma: [B] float32, intensity.
  """

  rows: Array
  columns: Array
  gamma: Array


class Place(NamedTuple):
  """Where a Gaussian window lies; the first pixel is 0.

  Attributes:
    x: [B] float32, its middle, pixels.
    y: [B] float32, its middle, pixels.
    stride: [B] float32, from one filter to the next, pixels.
    log_variance: [B] float32, of a filter, log pixels^2.
    log_gamma: [B] float32, log intensity.
  """

  x: Array
  y: Array
  stride: Array
  log_variance: Array
  log_gamma: Array


def place(raw: Array, height: int, width: int, count: int) -> Place:
  """Returns where the five numbers of a network put a window.

    x = (W + 1) / 2 (g_X + 1) - 1,  y = (H + 1) / 2 (g_Y + 1) - 1,
    stride = (max(H, W) - 1) / (N - 1) exp(log stride)

  so that zeros are a window in the middle that spans the image.

  Args:
    raw: [B, 5] float32: g_X, g_Y, log variance, log stride, log gamma.
    height: H, pixels.
    width: W, pixels.
    count: N, filters of a side.

  Raises:
    InputError: N is not in 2..min(H, W).

  Source: Gregor et al. 2015 (arXiv 1502.04623), equations 21 to 24.
  Deviates from the paper: pixels are counted from 0, and logarithms are clipped to +-10,
  g_X and g_Y to +-1e6.
  """
  check_glimpse(count, height, width, least=2)
  g_x, g_y, *logs = jnp.moveaxis(raw, -1, 0)
  g_x, g_y = (jnp.clip(g, -_FAR, _FAR) for g in (g_x, g_y))
  log_variance, log_stride, log_gamma = (jnp.clip(log, -_CLIP, _CLIP) for log in logs)
  return Place(
    x=(width + 1) / 2 * (g_x + 1) - 1,
    y=(height + 1) / 2 * (g_y + 1) - 1,
    stride=(max(height, width) - 1) / (count - 1) * jnp.exp(log_stride),
    log_variance=log_variance,
    log_gamma=log_gamma,
  )


def gaussian_window(where: Place, height: int, width: int, count: int) -> Filterbank:
  """Returns N x N Gaussian filters on a grid.

    mu_i = middle + (i - (N - 1) / 2) stride,   i = 0..N-1
    F[i, a] = exp(-(a - mu_i)^2 / 2 sigma^2) / Z_i,   sum_a F[i, a] = 1

  Args:
    where: [B], see `place`.
    height: H, pixels.
    width: W, pixels.
    count: N, filters of a side.

  Source: Gregor et al. 2015, equations 19, 20, 25 and 26.
  Deviates from the paper: normalised by a softmax, so that a filter outside the image is one on its
  nearest pixels and not a division of 0 by 0.
  """
  steps = (jnp.arange(count) - (count - 1) / 2)[None] * where.stride[:, None]

  def filters(middle, size):
    mu = (middle[:, None] + steps)[..., None]
    pixel = jnp.arange(size)[None, None]
    # (a - mu)^2 - (n - mu)^2 of the pixel n that is nearest: the largest weight is e^0 whatever is
    # rounded; a filter far outside would differ from its own maximum by more than e^88.
    nearest = jax.lax.stop_gradient(jnp.clip(jnp.round(mu), 0, size - 1))
    further = (pixel - nearest) * (pixel + nearest - 2 * mu)
    precision = jnp.exp(-where.log_variance)[:, None, None]
    return jax.nn.softmax(-0.5 * further * precision, axis=-1)

  return Filterbank(filters(where.y, height), filters(where.x, width), jnp.exp(where.log_gamma))


def read(window: Filterbank, images: Array) -> Array:
  """Returns the patch that a window shows, `gamma F_Y x F_X^T` (Gregor et al. 2015, equation 27).

  Args:
    window: of images of H x W.
    images: [B, H, W, C] float32.

  Returns:
    [B, N, N, C] float32.
  """
  bands = jnp.einsum('bih,bhwc->biwc', window.rows, images)
  return _scaled(window.gamma, jnp.einsum('bjw,biwc->bijc', window.columns, bands))


def write(window: Filterbank, patches: Array) -> Array:
  """Returns the image that a patch is through a window, `F_Y^T w F_X / gamma` (Gregor et al. 2015,
  equation 29): `<read(x), w> = gamma^2 <x, write(w)>`.

  Args:
    window: of images of H x W.
    patches: [B, N, N, C] float32.

  Returns:
    [B, H, W, C] float32.
  """
  bands = jnp.einsum('bjw,bijc->biwc', window.columns, patches)
  return _scaled(1 / window.gamma, jnp.einsum('bih,biwc->bhwc', window.rows, bands))


def crop(images: Array, centres: Array, size: int, scales: int) -> Array:
  """Returns square patches of several resolutions around one pixel.

  Each patch is twice as wide as the one before, and averaged down to the size of the first. Outside
  the image all is 0. Patches lie on whole pixels: there is no gradient to where they are.

  Args:
    images: [B, H, W, C] float32.
    centres: [B, 2] float32: x, y of the middle, -1 at the left or upper edge, 1 at the other.
    size: S, pixels of the narrowest patch.
    scales: K, patches.

  Returns:
    [B, K, S, S, C] float32.

  Raises:
    InputError: the image is smaller than the narrowest patch.

  Source: Mnih et al. 2014 (arXiv 1406.6247), section 3.1.
  Deviates from the paper: nothing; rounding and what lies outside are not told there.
  """
  height, width = images.shape[1:3]
  check_glimpse(size, height, width, least=1)
  centres = jax.lax.stop_gradient(centres)
  gamma = jnp.ones(len(images), jnp.float32)
  patches = []
  for scale in range(scales):
    rows = _boxes(centres[:, 1], height, size, 2**scale)
    columns = _boxes(centres[:, 0], width, size, 2**scale)
    patches.append(read(Filterbank(rows, columns, gamma), images))
  return jnp.stack(patches, 1)


def _boxes(middle, length, count, width):
  """Returns filters [B, count, length] that average `width` pixels each, side by side."""
  start = jnp.round((middle + 1) / 2 * length - count * width / 2)
  first = (start[:, None] + width * jnp.arange(count)[None])[..., None]
  pixel = jnp.arange(length)[None, None]
  return ((pixel >= first) & (pixel < first + width)).astype(jnp.float32) / width


def check_glimpse(size: int, height: int, width: int, least: int) -> None:
  """Raises InputError unless a glimpse of `size` fits into an image of H x W."""
  if not least <= size <= min(height, width):
    raise InputError(
      f'a glimpse has {size} x {size} pixels, expected {least} to {min(height, width)} a side in '
      f'an image of {height} x {width}'
    )


def _scaled(factor, a):
  return factor[:, None, None, None] * a
