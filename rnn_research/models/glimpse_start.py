"""Where a glimpse network looks first: anywhere, or where the whole image, seen coarsely, says."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.encoders.encoder import Encoded
from rnn_research.memory.attention import Memory
from rnn_research.models.bridge import bridge
from rnn_research.models.eyes import Eye
from rnn_research.models.glimpse_network import GlimpseParams, GlimpseState, place_of
from rnn_research.stepping import last_h
from rnn_research.typing import Array, Key, Params


class Begun(NamedTuple):
  """What there is before the first glimpse.

  Attributes:
    state: with the place of it.
    gaze: [B, H] float32, what that place was chosen by.
    mean: [B, P] float32, of the distribution that it was drawn from.
  """

  state: GlimpseState
  gaze: Array
  mean: Array


class GlimpseStart(NamedTuple):
  """How a series of glimpses begins.

  Attributes:
    init: `(key) -> params`.
    begin: `(params, those of the cell, images [B, H, W, C] float32, chance [B, P]) -> Begun`.
  """

  init: Callable[[Key], Params]
  begin: Callable[[Params, GlimpseParams, Array, Array], Begun]


def anywhere(eye: Eye, cell: Cell) -> GlimpseStart:
  """The first place of the eye, nothing being known of the image."""

  def begin(params, own, images, chance):
    place = eye.first(chance)
    state = cell.initial_state(own, len(images))._replace(place=place)
    gaze = jnp.zeros((len(images), own.aim[0]['w'].shape[0]), jnp.float32)
    return Begun(state, gaze, place)

  return GlimpseStart(lambda key: (), begin)


def context(
  eye: Eye, cell: Cell, upper: Cell, size: int, channels: int, units: int
) -> GlimpseStart:
  """A coarse image, which decides the first place and the first state of what looks.

    c = relu(Lin(relu(Lin(coarse(x))))),    gaze_0 = tanh(Lin(c)),    l_0 ~ p(l | gaze_0)

  It reaches only what chooses places, so it can steer but not answer.

  Args:
    eye: of the cell.
    cell: of `glimpse_cell`.
    upper: its last cell.
    size: pixels of a side of the coarse image.
    channels: of images.
    units: of both layers.

  Source: Ba et al. 2015 (arXiv 1412.7755), section 3. Deviates from the paper: dense layers, not
  convolutions; all of a state is set.
  """
  states = bridge((upper,))

  def init(key):
    keys = jax.random.split(key, 3)
    return {
      'coarse': (
        layers.init_dense(keys[0], size * size * channels, units),
        layers.init_dense(keys[1], units, units),
      ),
      'state': states.init(keys[2], _known(jnp.zeros((1, units), jnp.float32))),
    }

  def begin(params, own, images, chance):
    shape = len(images), size, size, channels
    known = jax.image.resize(images, shape, 'linear').reshape(len(images), -1)
    for layer in params['coarse']:
      known = jax.nn.relu(layers.dense(layer, known))
    (last,) = states.start(params['state'], _known(known))
    gaze = last_h(last)
    mean, place = eye.next(place_of(own, gaze), chance)
    before = cell.initial_state(own, len(images)).cells
    return Begun(GlimpseState(place, (*before[:-1], last)), gaze, mean)

  return GlimpseStart(init, begin)


def _known(summary):
  """Returns a summary as an encoder would give it."""
  nothing = Memory(jnp.zeros((len(summary), 0, 0)), jnp.zeros((len(summary), 0), bool))
  return Encoded(None, nothing, summary)
