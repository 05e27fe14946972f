"""What the algorithmic tasks ask of a model: examples of a range of sizes, loss, measures, and what
they are compared with."""

import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rnn_research.data import examples
from rnn_research.experiment import TrainData
from rnn_research.losses import binary_cross_entropy, cross_entropy
from rnn_research.tasks.algorithmic import ngrams, sequences, world
from rnn_research.tasks.algorithmic.sequences import Examples, Range

_HELD_OUT, _TEST = 200, 1_000  # examples of a split
_STEPS_PER_EPOCH = 1_000
_WIDTH, _MOST_SHAPES = 5, 4  # of a batch: lengths that share a shape, and how many shapes
_KINDS = 'valid', 'test', 'length', 'repeats'  # of splits: their places seed the examples


class Data(NamedTuple):
  """What the data of a task are.

  Attributes:
    min_length, max_length: of training: vectors of 8 bits, items of `recall`, bits, events.
    min_repeats, max_repeats: of training, of `repeat_copy` alone.
    test_lengths: a split each; repeats are then `max_repeats`.
    test_repeats: of `repeat_copy` a split each, of `max_length`.
    batch_size: B.
    seed: of the examples.
  """

  min_length: int
  max_length: int
  min_repeats: int
  max_repeats: int
  test_lengths: tuple[int, ...]
  test_repeats: tuple[int, ...]
  batch_size: int
  seed: int


class Task(NamedTuple):
  """What a task asks of a model.

  Attributes:
    draw: `(rng, batch_size, range of lengths[, range of repeats]) -> Examples`.
    num_steps: `(longest[, most repeats]) -> T` of what is drawn.
    input_size: F.
    channels: names of the inputs behind the bits.
    output_size: bits, or classes, of an answer.
    least_length: the shortest sequence that it can ask about.
    every_step: whether every step may be answered, or the last alone.
    bits: of an answer: what a weight of 1 counts in the mean loss; 1 of classes.
    loss: `(answers, examples) -> [B] float32`, nats of all that is asked in a row.
    measures: `(answers, examples) -> {metric: [B] float32}`.
    reference: `(examples) -> {metric: [B]}`, what `measures` are compared with.
    headline: (metric, 'min' or 'max').
  """

  draw: Callable[..., Examples]
  num_steps: Callable[..., int]
  input_size: int
  channels: tuple[str, ...]
  output_size: int
  least_length: int
  every_step: bool
  bits: int
  loss: Callable
  measures: Callable
  reference: Callable
  headline: tuple[str, str]


def _bits_lost(answers, asked):
  """Returns the cross-entropy of logits [B, T, O] with the bits that are asked for, [B] nats."""
  losses = binary_cross_entropy(answers, asked.targets).sum(-1)
  return (losses * asked.weights).sum(-1)


def _bit_measures(answers, asked):
  wrong = ((answers > 0.0) != (asked.targets > 0.5)).sum(-1) * asked.weights
  total = asked.weights.sum(-1) * answers.shape[-1]
  return {
    'bits_per_sequence': _bits_lost(answers, asked) / math.log(2.0),
    'bit_errors': wrong.sum(-1) / total,
    'sequence_errors': (wrong.sum(-1) > 0).astype(jnp.float32),
  }


def _guessing(asked):
  return {'bits_per_sequence_without_memory': asked.weights.sum(-1) * asked.targets.shape[-1]}


def _bits(draw, num_steps, input_size, channels, output_size, least_length=1, reference=_guessing):
  return Task(
    draw=draw,
    num_steps=num_steps,
    input_size=input_size,
    channels=channels,
    output_size=output_size,
    least_length=least_length,
    every_step=True,
    bits=output_size,
    loss=_bits_lost,
    measures=_bit_measures,
    reference=reference,
    headline=('bits_per_sequence', 'min'),
  )


def _places_lost(answers, asked):
  """Returns the cross-entropy of x and y, logits [B, 20], together, [B] nats."""
  return cross_entropy(answers.reshape(-1, 2, world.SIDE), asked.targets).sum(-1)


def _place_measures(answers, asked):
  wrong = answers.reshape(-1, 2, world.SIDE).argmax(-1) != asked.targets
  return {'error': wrong.any(-1).astype(jnp.float32), 'nats': _places_lost(answers, asked)}


TASKS = {
  'copy': _bits(
    sequences.copy,
    lambda n: 2 * n + 2,
    sequences.END + 1,
    ('start', 'end'),
    sequences.NUM_BITS,
  ),
  'repeat_copy': _bits(
    sequences.repeat_copy,
    lambda n, times: n * (times + 1) + 3,
    sequences.SCALAR + 1,
    ('start', 'end', 'repeats'),
    sequences.NUM_BITS + 1,
  ),
  'recall': _bits(
    sequences.associative_recall,
    lambda n: 4 * n + 8,
    sequences.QUERY + 1,
    ('item', 'query'),
    sequences.ITEM_BITS,
    2,
  ),
  'sort': _bits(
    sequences.priority_sort,
    lambda n: n + 2 + sequences.num_sorted(n),
    sequences.SCALAR + 1,
    ('start', 'end', 'priority'),
    sequences.NUM_BITS,
    2,
  ),
  'ngrams': _bits(
    ngrams.dynamic_ngrams,
    lambda n: n - 1,
    1,
    (),
    1,
    ngrams.CONTEXT + 1,
    lambda asked: _guessing(asked) | {'bits_per_sequence_optimal': ngrams.optimal_bits(asked)},
  ),
  'world': Task(
    draw=world.world,
    num_steps=lambda n: n + 1,
    input_size=world.NUM_CHANNELS,
    channels=(),
    output_size=2 * world.SIDE,
    least_length=world.FIRST_EVENTS,
    every_step=False,
    bits=1,
    loss=_places_lost,
    measures=_place_measures,
    reference=lambda asked: {
      'error_without_memory': np.full(len(asked.targets), 1.0 - world.SIDE**-2)
    },
    headline=('nats', 'min'),  # an error of 0 is soon there, and tells no more which is better
  ),
}


def ranges(name: str, data: Data) -> list[Range]:
  """Returns the ranges of sizes of training, as `Task.draw` takes them."""
  repeats = [(data.min_repeats, data.max_repeats)] if name == 'repeat_copy' else []
  return [(data.min_length, data.max_length), *repeats]


def train_data(name: str, data: Data) -> TrainData:
  """Returns an endless stream of batches of a task, dicts of what `Examples` has.

  The lengths of a row are even in their range. Rows of a batch have neighbouring lengths, of one of
  up to four parts of the range: so that little of a batch is padding, and only so many programs are
  compiled. Where rows are answered at their end, and so begin with padding, a batch has all
  lengths: a cell that has never waited for the first step would not know what to make of it.
  """
  draw, every_step = TASKS[name].draw, TASKS[name].every_step
  parts = [_parts(*bounds) if every_step else [bounds] for bounds in ranges(name, data)]

  def batch(rng, chosen):
    return draw(rng, data.batch_size, *chosen)._asdict()

  def drawn(rng):
    numbers = [rng.integers(part[0][0], part[-1][1] + 1) for part in parts]
    return batch(
      rng,
      [
        next(one for one in part if one[0] <= number <= one[1])
        for part, number in zip(parts, numbers, strict=True)
      ],
    )

  shapes = [batch(np.random.default_rng(0), chosen) for chosen in itertools.product(*parts)]
  fingerprint = hashlib.sha256(repr((name, data)).encode()).hexdigest()
  return examples.drawn(drawn, data.seed, _STEPS_PER_EPOCH, fingerprint)._replace(
    shapes=tuple(shapes) if len(shapes) > 1 else ()
  )


def split_ranges(name: str, data: Data) -> dict[str, list[Range]]:
  """Returns split -> ranges of sizes: valid and test as in training; and length_20, repeats_20 and
  so on, of one length each."""
  trained = ranges(name, data)
  splits = {'valid': trained, 'test': trained}
  most = [(high, high) for _, high in trained]
  splits |= {f'length_{n}': [(n, n), *most[1:]] for n in data.test_lengths}
  if len(trained) > 1:
    splits |= {f'repeats_{n}': [most[0], (n, n)] for n in data.test_repeats}
  return splits


def held_out(name: str, data: Data) -> Mapping[str, Callable[[], Examples]]:
  """Returns split -> `() -> Examples`, drawn once, of the splits of `split_ranges`."""

  def draw(split, sizes):
    kind, _, number = split.partition('_')
    # Numbers that never meet: training draws from (seed, batch), and SeedSequence ends in zeros.
    seed = data.seed, 0, 1 + _KINDS.index(kind), int(number or 0)
    count = _TEST if split == 'test' else _HELD_OUT
    return TASKS[name].draw(np.random.default_rng(seed), count, *sizes)

  return {
    split: functools.cache(functools.partial(draw, split, sizes))
    for split, sizes in split_ranges(name, data).items()
  }


def _parts(low, high):
  """Returns ranges of almost one size that together are low..high."""
  count = min(_MOST_SHAPES, -(-(high - low + 1) // _WIDTH))
  return [(int(part[0]), int(part[-1])) for part in np.array_split(np.arange(low, high + 1), count)]
