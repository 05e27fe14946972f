"""What the tasks of long memory and of state tracking ask of a model: examples, loss, measures, and
what is trivial."""

import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rnn_research.data import examples, idx
from rnn_research.losses import cross_entropy
from rnn_research.tasks.long_memory import synthetic
from rnn_research.tasks.long_memory.synthetic import Examples

LONGER = 4  # times the training length: the split 'longer' of state tracking
_HELD_OUT = {'valid': 2_000, 'test': 10_000, 'longer': 2_000}  # examples that are drawn
_VALID_IMAGES = 5_000  # the last of the training file
_STEPS_PER_EPOCH = 1_000  # of a task whose examples are drawn


class Data(NamedTuple):
  """What the data of a task are.

  Attributes:
    length: steps of an example; of the copy task the blanks, of images their pixels.
    batch_size: B.
    seed: of the examples.
    path: folder of the idx files of images.
    permuted: whether pixels come in one random order, drawn from the seed.
    modulus: of modular sums.
  """

  length: int
  batch_size: int
  seed: int
  path: str
  permuted: bool
  modulus: int


class Task(NamedTuple):
  """What a task asks of a model.

  Attributes:
    input_size: F.
    output_size: numbers or classes of an answer.
    every_step: whether every step is answered.
    train_data: `() -> TrainData` of {'inputs', 'targets'}.
    held_out: split -> `() -> Examples`.
    loss: `(answers, targets) -> [B] float32`, of one example.
    measures: `(answers, targets) -> {metric: [B] float32}` of one example.
    trivial: `(targets) -> {metric: number}`: what needs no memory.
    headline: (metric, 'min' or 'max').
  """

  input_size: int
  output_size: int
  every_step: bool
  train_data: Callable
  held_out: Mapping[str, Callable]
  loss: Callable
  measures: Callable
  trivial: Callable
  headline: tuple[str, str]


def adding(data: Data) -> Task:
  """The sum of two marked numbers; the error is squared."""
  return Task(
    input_size=2,
    output_size=1,
    every_step=False,
    loss=_squared,
    measures=lambda answers, targets: {'mse': _squared(answers, targets)},
    trivial=lambda targets: {'mse': np.square(targets - 1.0).mean()},
    headline=('mse', 'min'),
    **_drawn(data, synthetic.adding, {'valid': data.length, 'test': data.length}),
  )


def copy(data: Data) -> Task:
  """Ten symbols after many blanks; nats are the mean over all steps."""
  copied, symbols = synthetic.COPIED, synthetic.NUM_DIGITS + 2
  return Task(
    input_size=symbols,
    output_size=symbols,
    every_step=True,
    loss=_nats,
    measures=lambda answers, targets: {
      'nats': _nats(answers, targets),
      'recalled': _right(answers, targets)[:, -copied:].mean(-1),
    },
    trivial=lambda targets: {
      'nats': copied * math.log(synthetic.NUM_DIGITS) / (data.length + 2 * copied),
      'recalled': 1.0 / synthetic.NUM_DIGITS,
    },
    headline=('nats', 'min'),
    **_drawn(data, synthetic.copy, {'valid': data.length, 'test': data.length}),
  )


def modular(data: Data) -> Task:
  """The sum of all digits so far, at every step; also over sequences longer than in training."""
  return Task(
    input_size=data.modulus,
    output_size=data.modulus,
    every_step=True,
    loss=_nats,
    measures=lambda answers, targets: {
      'accuracy': _right(answers, targets).mean(-1),
      'last_accuracy': _right(answers, targets)[:, -1],
      'nats': _nats(answers, targets),
    },
    trivial=lambda targets: {'accuracy': 1.0 / data.modulus},
    headline=('accuracy', 'max'),
    **_drawn(
      data,
      functools.partial(synthetic.modular_sum, modulus=data.modulus),
      {'valid': data.length, 'test': data.length, 'longer': LONGER * data.length},
    ),
  )


def mnist(data: Data) -> Task:
  """Digits read pixel by pixel; the last images of the training file are for validation."""
  order = (
    np.random.default_rng(data.seed).permutation(data.length) if data.permuted else slice(None)
  )

  @functools.cache
  def load(split):
    images = idx.read_images(data.path, split)
    return Examples(
      idx.pixels(images.images, data.length)[:, order, None], images.labels
    ), images.fingerprint

  def part(rows):
    inputs, targets = load('train')[0]
    return Examples(inputs[rows], targets[rows])

  def train_data():
    train, fingerprint = part(slice(None, -_VALID_IMAGES)), load('train')[1]
    return examples.shuffled(train._asdict(), data.batch_size, data.seed, fingerprint)

  return Task(
    input_size=1,
    output_size=10,
    every_step=False,
    train_data=train_data,
    held_out={'valid': lambda: part(slice(-_VALID_IMAGES, None)), 'test': lambda: load('t10k')[0]},
    loss=cross_entropy,
    measures=lambda answers, targets: {
      'accuracy': _right(answers, targets),
      'nats': cross_entropy(answers, targets),
    },
    trivial=lambda targets: {'accuracy': np.bincount(targets).max() / len(targets)},
    headline=('accuracy', 'max'),
  )


TASKS = {'adding': adding, 'copy': copy, 'mnist': mnist, 'modular': modular}


def _drawn(data, draw, splits):
  """Returns training and held-out data of `draw(rng, batch_size, length)`; `splits` is split ->
  length."""
  fingerprint = hashlib.sha256(repr(data).encode()).hexdigest()
  # Numbers that never meet: training draws from (seed, batch), held-out splits from (seed, 0,
  # split).
  held_out = lambda i, split, length: functools.cache(
    lambda: draw(np.random.default_rng((data.seed, 0, i)), _HELD_OUT[split], length)
  )
  return {
    'train_data': lambda: examples.drawn(
      lambda rng: draw(rng, data.batch_size, data.length)._asdict(),
      data.seed,
      _STEPS_PER_EPOCH,
      fingerprint,
    ),
    'held_out': {
      split: held_out(i, split, length) for i, (split, length) in enumerate(splits.items(), 1)
    },
  }


def _right(answers, targets):
  return (answers.argmax(-1) == targets).astype(jnp.float32)


def _squared(answers, targets):
  return jnp.square(answers[:, 0] - targets)


def _nats(answers, targets):
  return cross_entropy(answers, targets).mean(-1)
