"""A recurrent network that sees an image by a series of glimpses, and chooses where they are."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.combinators.depth import stack
from rnn_research.models.eyes import Eye
from rnn_research.stepping import last_h, project_one
from rnn_research.typing import Array, Params, State


class GlimpseParams(NamedTuple):
  """Parameters of a glimpse cell."""

  what: tuple[Params, Params]  # two dense layers
  where: tuple[Params, Params]
  cells: tuple[Params, ...]
  place: Params


class GlimpseState(NamedTuple):
  """State of a glimpse cell. That of its layers comes last, where `stepping.last_h` looks."""

  place: Array  # [B, P] float32, where the next glimpse is
  cells: tuple[State, ...]


class GlimpseOutput(NamedTuple):
  """What one glimpse led to.

  Attributes:
    h: [B, H] float32, of the lowest layer, which answers.
    gaze: [B, H] float32, of the highest, which chooses the next place; the same of one layer.
    place: [B, P] float32, where this glimpse was.
    mean: [B, P] float32, of the distribution of the next place.
    chosen: [B, P] float32, the next place, which no gradient passes where it was left to chance.
  """

  h: Array
  gaze: Array
  place: Array
  mean: Array
  chosen: Array


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
  join: Callable[[Array, Array], Array] = summed,
) -> Cell:
  """A cell that sees a part of the image in `ctx` and chooses the place of the next glimpse.

    what_t  = Lin(relu(Lin(eye(x, l_{t-1})))),    where_t = Lin(relu(Lin(l_{t-1})))
    g_t     = join(what_t, where_t)
    h^1_t   = cell_1(g_t, h^1_{t-1}),    h^2_t = cell_2(h^1_t, h^2_{t-1}), ..
    l_t     ~ p(l | Lin(h^L_t))

  The place that was looked at is a constant where it was chosen by trial: no gradient of an answer
  reaches what chose it.

  Args:
    eye: what is seen and how places are chosen.
    cells: the layers, whose states have an h: one (Mnih et al. 2014), or two, of which the lower
      answers and the upper looks (Ba et al. 2015).
    glimpse_size: numbers of g.
    units: of the layers below it.
    join: how what and where become one, of `JOINS`.

  Returns:
    A cell over inputs [B, P] float32, what chance adds to the next place: standard normal numbers,
    or zeros for the likeliest place; images [B, H, W, C] float32 in `ctx`; with outputs
    `GlimpseOutput`.

  Source: Mnih et al. 2014 (arXiv 1406.6247), section 3.1; Ba et al. 2015 (arXiv 1412.7755), section
  3. Deviates from the papers: what is seen goes through dense layers, not convolutions, in Ba et
  al.'s network too.
  """
  core = stack(*cells)

  def init(key, x, ctx=None):
    keys = jax.random.split(key, 6)
    g = jax.ShapeDtypeStruct((1, glimpse_size), jnp.float32)
    inner = core.init(keys[4], g)
    size = jax.eval_shape(lambda p: last_h(core.initial_state(p, 1)), inner).shape[-1]
    return GlimpseParams(
      what=_init_two(keys[:2], eye.num_features, units, glimpse_size),
      where=_init_two(keys[2:4], eye.num_numbers, units, glimpse_size),
      cells=inner,
      place=layers.init_dense(keys[5], size, eye.num_numbers),
    )

  def initial_state(params, batch_size):
    place = eye.first(jnp.zeros((batch_size, eye.num_numbers), jnp.float32))
    return GlimpseState(place, core.initial_state(params.cells, batch_size))

  def step(params, state, u, *, key=None, ctx=None):
    seen = eye.see(ctx, state.place)
    glimpse = join(_two(params.what, seen), _two(params.where, state.place))
    cells, _ = core.step(
      params.cells, state.cells, project_one(core, params.cells, glimpse), key=key
    )
    h, gaze = last_h(cells[0]), last_h(cells[-1])
    mean, chosen = eye.next(layers.dense(params.place, eye.attend(gaze)), u)
    return GlimpseState(chosen, cells), GlimpseOutput(h, gaze, state.place, mean, chosen)

  return Cell(init, initial_state, lambda params, xs: xs, step)


def _init_two(keys, size, units, output_size):
  return layers.init_dense(keys[0], size, units), layers.init_dense(keys[1], units, output_size)


def _two(params, x):
  return layers.dense(params[1], jax.nn.relu(layers.dense(params[0], x)))
