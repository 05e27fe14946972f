"""A recurrent network that sees an image by a series of glimpses, and chooses where they are."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.models.eyes import Eye
from rnn_research.stepping import output_shapes, prepare_cell, project_one
from rnn_research.typing import Array, Params, State


class GlimpseParams(NamedTuple):
  """Parameters of a glimpse cell."""

  what: tuple[Params, Params]  # two dense layers
  where: tuple[Params, Params]
  cells: tuple[Params, ...]
  # Names the next place; not `place`, as in runs whose config does not say what bounds it.
  aim: tuple[Params, Params]
  # Of what and where, for what chooses places alone; () without.
  seek: tuple[tuple[Params, Params], ...]


class GlimpseState(NamedTuple):
  """State of a glimpse cell."""

  place: Array  # [B, P] float32, where the next glimpse is
  cells: tuple[State, ...]


class GlimpseOutput(NamedTuple):
  """What one glimpse led to.

  Attributes:
    h: [B, H] float32, what answers.
    gaze: [B, H] float32, what the next place is chosen by.
    place: [B, P] float32, where this glimpse was.
    mean: [B, P] float32, of the distribution of the next place.
  """

  h: Array
  gaze: Array
  place: Array
  mean: Array


def summed(what: Array, where: Array) -> Array:
  """Returns `relu(what + where)`, the glimpse of Mnih et al. 2014."""
  return jax.nn.relu(what + where)


def multiplied(what: Array, where: Array) -> Array:
  """Returns `relu(what) * relu(where)`, the glimpse of Ba et al. 2015."""
  return jax.nn.relu(what) * jax.nn.relu(where)


JOINS: dict[str, Callable[[Array, Array], Array]] = {'sum': summed, 'product': multiplied}


def glimpse_cell(
  eye: Eye,
  cells: tuple[Cell, ...],
  glimpse_size: int,
  *,
  units: int = 128,
  seek_units: int = 0,
  join: Callable[[Array, Array], Array] = summed,
) -> Cell:
  """A cell that sees a part of the image in `ctx` and chooses the place of the next glimpse.

    what_t = Lin(relu(Lin(eye(x, l_{t-1})))),    where_t = Lin(relu(Lin(l_{t-1})))
    g_t    = join(what_t, where_t),    h_t = cell_1(g_t, h_{t-1})
    k_t    = relu(sg(h_t) + Lin(relu(Lin(eye(x, l_{t-1})))) + Lin(relu(Lin(l_{t-1})))), or sg(h_t)
    gaze_t = cell_2(k_t, gaze_{t-1}), or k_t of one cell
    l_t    ~ p(l | Lin(relu(Lin(gaze_t))))

  Where places are chosen by trial, sg is `stop_gradient`: no gradient of a choice reaches what
  answers, and, since a place is a constant then, none of an answer what chooses.

  Args:
    eye: what is seen and how places are chosen.
    cells: the first answers, the last chooses places: one (Mnih et al. 2014) or two (Ba et al.
      2015).
    glimpse_size: numbers of g.
    units: of the layers below it, and of the one before a place.
    seek_units: of the layers below k, by which what chooses places sees for itself: what answers
      learns to tell classes, not in which direction something lies. 0: k is sg(h), not its positive
      part.
    join: how what and where become one, of `JOINS`.

  Returns:
    A cell over inputs [B, P] float32, what chance adds to the next place: standard normal numbers,
    or zeros for the likeliest place; images [B, H, W, C] float32 in `ctx`; with outputs
    `GlimpseOutput`.

  Source: Mnih et al. 2014 (arXiv 1406.6247), section 3.1; Ba et al. 2015 (arXiv 1412.7755), section
  3. Deviates from the papers: in that of Ba et al. what is seen goes through convolutions, and the
  gradient of choices into the first cell too; there is a layer between gaze and place; k is sg(h)
  in both.
  """
  first, *others = cells

  def init(key, x, ctx=None):
    keys, seen = jax.random.split(key, 7 + len(cells)), math.prod(eye.patches)
    hs, inner = [jax.ShapeDtypeStruct((1, glimpse_size), jnp.float32)], []
    for cell, k in zip(cells, keys[6:-1], strict=True):
      inner.append(cell.init(k, hs[-1]))
      hs.append(output_shapes(cell, inner[-1], hs[-1]))
      layers.check_output('a glimpse network', hs[-1])
    sizes, of_first = (seen, eye.num_numbers), hs[1].shape[-1]
    return GlimpseParams(
      what=_init_two(keys[:2], seen, units, glimpse_size),
      where=_init_two(keys[2:4], eye.num_numbers, units, glimpse_size),
      cells=tuple(inner),
      aim=_init_two(keys[4:6], hs[-1].shape[-1], units, eye.num_numbers),
      seek=_init_seek(keys[-1], sizes, seek_units, of_first) if seek_units else (),
    )

  def initial_state(params, batch_size):
    place = eye.first(jnp.zeros((batch_size, eye.num_numbers), jnp.float32))
    inner = zip(cells, params.cells, strict=True)
    return GlimpseState(place, tuple(cell.initial_state(p, batch_size) for cell, p in inner))

  def prepare(params, ctx, batch_size, *, key=None):
    inner = zip(cells, params.cells, strict=True)
    own = tuple(prepare_cell(cell, p, None, batch_size, key)[0] for cell, p in inner)
    return params._replace(cells=own), ctx

  def step(params, state, u, *, key=None, ctx=None):
    def advance(cell, p, before, x):
      return cell.step(p, before, project_one(cell, p, x), key=key)

    seen = eye.see(ctx, state.place)
    glimpse = join(_two(params.what, seen), _two(params.where, state.place))
    inner, h = advance(first, params.cells[0], state.cells[0], glimpse)
    states, gaze = [inner], eye.attend(h)
    if params.seek:
      what, where = params.seek
      gaze = jax.nn.relu(gaze + _two(what, seen) + _two(where, state.place))
    for cell, p, before in zip(others, params.cells[1:], state.cells[1:], strict=True):
      inner, gaze = advance(cell, p, before, gaze)
      states.append(inner)
    mean, chosen = eye.next(place_of(params, gaze), u)
    return GlimpseState(chosen, tuple(states)), GlimpseOutput(h, gaze, state.place, mean)

  noisy = any(cell.noisy for cell in cells)
  return Cell(init, initial_state, lambda params, xs: xs, step, None, prepare, noisy=noisy)


def place_of(params: GlimpseParams, gaze: Array) -> Array:
  """Returns the numbers [B, P] that `Eye.next` makes a place of."""
  return _two(params.aim, gaze)


def _init_two(keys, size, units, output_size):
  return layers.init_dense(keys[0], size, units), layers.init_dense(keys[1], units, output_size)


def _init_seek(key, input_sizes, units, output_size):
  """Returns layers of what and where that add nothing at first: numbers drawn would drive places
  into a corner before any place is known to be better than others."""
  keys = jax.random.split(key, (2, 2))
  pairs = [_init_two(k, n, units, output_size) for k, n in zip(keys, input_sizes, strict=True)]
  return tuple((first, jax.tree.map(jnp.zeros_like, second)) for first, second in pairs)


def _two(params, x):
  return layers.dense(params[1], jax.nn.relu(layers.dense(params[0], x)))
