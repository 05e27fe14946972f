"""What a trained DRAW does: new images, images read and drawn again, images completed."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.data.image_set import checked
from rnn_research.encoders.glimpse import Place
from rnn_research.errors import require, require_one_of, require_seed, require_size
from rnn_research.models.draw import Draw, Drawn
from rnn_research.tasks.draw.pixels import Pixels
from rnn_research.typing import Params

ROUNDS = 30  # of completion
_MOST_NUMBERS = 2**28  # of all canvases of a drawing: a GiB
_HALVES = {
  'top': lambda size: np.s_[: size // 2, :],
  'bottom': lambda size: np.s_[size // 2 :, :],
  'left': lambda size: np.s_[:, : size // 2],
  'right': lambda size: np.s_[:, size // 2 :],
}


class Box(NamedTuple):
  """Where a window lay.

  Attributes:
    left, top, right, bottom: [T, N] float32, pixels: the middles of the outermost filters.
    blur: [T, N] float32, sigma of the filters, pixels.
  """

  left: np.ndarray
  top: np.ndarray
  right: np.ndarray
  bottom: np.ndarray
  blur: np.ndarray


class Drawing(NamedTuple):
  """Images after every step.

  Attributes:
    canvases: [T, N, S, S, C] float32 in [0, 1], sigmoid(c_t).
    read: where each step read; None where there is no window.
    wrote: where each step wrote; likewise.
  """

  canvases: np.ndarray
  read: Box | None
  wrote: Box | None


def commands_of(
  model: Draw, steps: int, pixels: Pixels, sizes: tuple[int, int] | None
) -> dict[str, Callable]:
  """Returns what a trained model can do: command -> `(params, ..) -> value`.

  Args:
    model: see `models.draw`.
    steps: T.
    pixels: what it takes from grey levels.
    sizes: N of the windows with which it reads and writes; None where there are none.
  """
  imagine, read = jax.jit(model.imagine), jax.jit(model.read)
  most = max(1, _MOST_NUMBERS // (steps * math.prod(model.shape)))

  def noise(key, count):
    return jax.random.normal(key, (steps, count, model.latent_size))

  fill = jax.jit(
    functools.partial(_fill, model.read, noise, pixels.again), static_argnames='rounds'
  )

  def take(images, seed):
    """Returns images as the model takes them, and a key for what is drawn then."""
    images = checked(images, model.shape)
    require_size('the number of images', len(images))
    require_seed('seed', seed)
    key_pixels, key = jax.random.split(jax.random.key(seed))
    return pixels.seen(pixels.kept(images, seed), key_pixels), key

  def draw(params: Params, count: int = 64, seed: int = 0) -> Drawing:
    """Returns new images, drawn from the prior.

    Raises:
      InputError: a number out of range.
    """
    require_size('count', count)
    what = f'at most {most:,}, whose canvases after every step fill a GiB'
    require('count', count, count <= most, what)
    require_seed('seed', seed)
    return _drawing(imagine(params, noise(jax.random.key(seed), count))[1], sizes)

  def redraw(params: Params, images: np.ndarray, seed: int = 0) -> tuple[np.ndarray, Drawing]:
    """Returns images, [N, S, S, C] uint8, as the model takes them, and read and drawn again.

    Raises:
      InputError: no images, images of another shape or type, or no seed.
    """
    taken, key = take(images, seed)
    drawn = read(params, taken, noise(key, len(images)))[1]
    return np.asarray(taken), _drawing(drawn, sizes)

  def complete(
    params: Params, images: np.ndarray, seen: str = 'top', rounds: int = ROUNDS, seed: int = 0
  ) -> np.ndarray:
    """Returns images of which a half is kept and the other drawn: [N, S, S, C] float32 in [0, 1].

    The missing half is drawn at random, then again and again from what the model makes of the whole
    (Rezende et al. 2014, arXiv 1401.4082, appendix F).

    Args:
      params: of the model.
      images: [N, S, S, C] uint8.
      seen: the half that is kept: top, bottom, left or right.
      rounds: how often the other is drawn.
      seed: of the drawing.

    Raises:
      InputError: there is no such half, a number out of range, no images, or images of another
        shape or type.
    """
    require_one_of('seen', seen, _HALVES)
    require_size('rounds', rounds)
    taken, key = take(images, seed)
    return np.asarray(fill(params, taken, half(taken.shape[1], seen), key, rounds=rounds))

  return {'draw': draw, 'redraw': redraw, 'complete': complete}


def _fill(read, noise, seen, params, images, kept, key, rounds):
  def again(guess, key):
    key_noise, key_pixels = jax.random.split(key)
    state, _ = read(params, guess, noise(key_noise, len(images)))
    levels = jax.nn.sigmoid(state.canvas)
    return jnp.where(kept, images, seen(levels, key_pixels)), levels

  key_first, key_rounds = jax.random.split(key)
  blank = jnp.full(images.shape, 0.5, jnp.float32)
  start = jnp.where(kept, images, seen(blank, key_first))
  _, levels = jax.lax.scan(again, start, jax.random.split(key_rounds, rounds))
  return jnp.where(kept, images, levels[-1])


def half(size: int, seen: str) -> np.ndarray:
  """Returns [1, S, S, 1] bool, True in the half of an image of S x S that is seen."""
  kept = np.zeros((size, size), bool)
  kept[_HALVES[seen](size)] = True
  return kept[None, :, :, None]


def _drawing(drawn: Drawn, sizes) -> Drawing:
  canvases = np.asarray(jax.nn.sigmoid(drawn.canvas))
  if sizes is None:
    return Drawing(canvases, None, None)
  boxes = (
    where and _box(where, count)
    for where, count in zip((drawn.read, drawn.wrote), sizes, strict=True)
  )
  return Drawing(canvases, *boxes)


def _box(where: Place, count: int) -> Box:
  x, y, stride, log_variance, _ = (np.asarray(a) for a in where)
  reach = (count - 1) / 2 * stride
  return Box(x - reach, y - reach, x + reach, y + reach, np.exp(log_variance / 2))
