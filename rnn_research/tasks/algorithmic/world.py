"""Two agents on a grid, of whom one hears step by step: where is one of them at the end?"""

import jax.numpy as jnp
import numpy as np

from rnn_research.models.entity_network import entity_network
from rnn_research.models.sequence_model import SequenceModel
from rnn_research.tasks.algorithmic.sequences import Examples, Range

SIDE, MOST_STEPS, FIRST_EVENTS = 10, 5, 4
# x, y of a step north, east, south and west.
_HEADINGS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
# Channels: agents, y, x, headings, numbers of steps, whether it is the question.
_AGENTS, _Y, _X, _FACES, _MOVES, _ASKED = np.cumsum((0, 2, SIDE, SIDE, len(_HEADINGS), MOST_STEPS))
NUM_CHANNELS = int(_ASKED) + 1


def world(rng: np.random.Generator, batch_size: int, lengths: Range) -> Examples:
  """Events of two agents on a 10 x 10 grid, then the question where one of them is.

  The first four say where each agent is and where it faces; then one of the two, drawn at random,
  turns (to one of four headings) or moves (1 to 5 cells ahead), with equal probability. It moves as
  far as the grid allows at most, and turns where it stands at the border and faces it.

  An event is a vector with a one for the agent (2 channels) and for a place (x and y, 10 each), a
  heading (4), or a number of cells moved (5); one more channel says that it is the question.
  T = high + 1: a row of fewer events begins with empty ones, and the question is the last step.
  Targets are [B, 2] int32, x and y.

  Source: Henaff et al. 2017 (arXiv 1612.03969), section 5.1. Deviates from the paper, as far as it
  is known: the grid, two agents, what the first events tell and what is asked are the paper's, from
  memory; our own are the probabilities, the longest move, what is done at the border, and places
  that are told, and asked for, as x and y apart. Agents may share a place: memory blocks that do
  not see one another, as those of the paper's model, could not know that one is in the other's way.
  """
  start = lengths[1] - rng.integers(lengths[0], lengths[1] + 1, batch_size)
  number = np.arange(lengths[1]) - start[:, None]  # of the event, [B, T]; negative before the first
  events, last = _simulate(rng, number)
  inputs = np.zeros((batch_size, lengths[1] + 1, NUM_CHANNELS), np.float32)
  for happens, channel in events:
    row, step = np.nonzero(happens)
    inputs[row, step, channel[row, step]] = 1.0
  asked, rows = rng.integers(0, 2, batch_size), np.arange(batch_size)
  inputs[rows, -1, _AGENTS + asked] = inputs[:, -1, _ASKED] = 1.0
  return Examples(inputs, last[rows, asked].astype(np.int32), np.ones(batch_size, np.float32))


def _simulate(rng, number):
  """Returns what happens at the events of these numbers, [B, T]: whether it does, and the channel
  that tells it; and where the agents are at last, [B, 2, 2]: row, agent, (x, y)."""

  def drawn(low, high):
    return rng.integers(low, high, number.shape)

  first, rows = (number >= 0) & (number < FIRST_EVENTS), np.arange(len(number))
  agent, heading = np.where(first, number // 2, drawn(0, 2)), drawn(0, len(_HEADINGS))
  x, y, far = drawn(0, SIDE), drawn(0, SIDE), rng.random(number.shape)
  placed, moved = first & (number % 2 == 0), (number >= FIRST_EVENTS) & (drawn(0, 2) == 0)
  steps = np.zeros(number.shape, int)
  position, facing = np.zeros((len(rows), 2, 2), int), np.zeros((len(rows), 2), int)
  for t in range(number.shape[1]):
    who = rows, agent[:, t]
    put = np.stack([x[:, t], y[:, t]], -1)
    position[who] = np.where(placed[:, t, None], put, position[who])
    at_x, at_y = position[who].T
    room = np.choose(facing[who], (SIDE - 1 - at_y, SIDE - 1 - at_x, at_y, at_x))
    moved[:, t] &= room > 0
    steps[:, t] = 1 + far[:, t] * np.minimum(room, MOST_STEPS)
    position[who] += (moved * steps)[:, t, None] * _HEADINGS[facing[who]]
    turns = (number[:, t] >= 0) & ~placed[:, t] & ~moved[:, t]
    facing[who] = np.where(turns, heading[:, t], facing[who])
  turned = (number >= 0) & ~placed & ~moved
  return (
    (number >= 0, _AGENTS + agent),
    (placed, _X + x),
    (placed, _Y + y),
    (turned, _FACES + heading),
    (moved, _MOVES + steps - 1),
  ), position


def entity_world(size: int, num_slots: int) -> SequenceModel:
  """Makes the entity network that reads the events of `world` as sentences of three words.

  Args:
    size: D of the words and slots.
    num_slots: M.

  Source: Henaff et al. 2017 (arXiv 1612.03969). Deviates from the paper: see `entity_network`.
  """
  model = entity_network(1 + NUM_CHANNELS, size, num_slots=num_slots, longest=3)

  def outputs(params, xs, key=None):
    words = _words(xs)
    logits, _ = model.outputs(params, words[:, :-1], words[:, -1])
    x, y = (logits[:, 1 + int(begin) :][:, :SIDE] for begin in (_X, _Y))
    return jnp.concatenate([x, y], -1)

  return SequenceModel((), model.init, outputs, lambda params, hs: hs)


def _words(events):
  """Returns the words of events [.., F]: an agent, a y, and anything else; [.., 3] int32, numbers
  of channels from 1, 0 for none."""
  parts = jnp.split(events, (int(_Y), int(_X)), -1)
  words = [
    jnp.where(part.any(-1), 1 + int(begin) + part.argmax(-1), 0)
    for begin, part in zip((_AGENTS, _Y, _X), parts, strict=True)
  ]
  return jnp.stack(words, -1).astype(jnp.int32)
