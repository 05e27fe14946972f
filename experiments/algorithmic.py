"""Machines that learn an algorithm from examples: a neural Turing machine, a DNC, or any cell at
the same number of parameters.

  python launch.py --experiment=algorithmic                              NTM, copy
  python launch.py --experiment=algorithmic:recall --config.model.cell=dnc
  python launch.py --experiment=algorithmic --config.model.cell=lstm     as many parameters
  python launch.py --experiment=algorithmic --config.grid.seeds=10       ten runs, and their median

  VARIANT      time   score on held-out examples                        commit
  copy         -      10 seeds: median .00005 bits per sequence         cc4d969
  repeat_copy  -      not yet run
  recall       -      test .002 bits per sequence of 18, DNC            50456b4
  sort         -      not yet run
  ngrams       -      not yet run
  world        -      test error .8 %, LSTM; entnet none                d5efe65, bb556a8
  debug        17 s   nothing is learned in 20 steps

`experiments.Variant` says what the times are. Trained on short sequences, a model is also measured
on longer ones, the splits length_20, length_40 and so on. The report shows where the heads of a
machine look.
"""

import functools
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from rnn_research.cells import CELLS, make_cell, options_for, options_of
from rnn_research.cells.dnc import dnc
from rnn_research.cells.entnet import entnet
from rnn_research.cells.ntm import ntm
from rnn_research.combinators.depth import stack
from rnn_research.engines import dispatch
from rnn_research.errors import InputError, require, require_one_of
from rnn_research.experiment import Experiment
from rnn_research.models.sequence_model import sequence_model
from rnn_research.parameters import fit_budget
from rnn_research.tasks.algorithmic import tasks
from rnn_research.tasks.algorithmic.addresses import addresses
from rnn_research.tasks.algorithmic.sequences import Examples
from rnn_research.tasks.algorithmic.world import entity_world
from rnn_research.training.config import base_config, check_model, kept_by_layers

VARIANTS = {
  'copy': '1 to 20 vectors of 8 bits, to be written down again (the default)',
  'repeat_copy': '1 to 10 vectors, to be written down 1 to 10 times',
  'recall': 'of 2 to 6 items, the one that came after that which is shown again; a DNC',
  'sort': '20 vectors with priorities: the 16 of highest priority in order',
  'ngrams': 'the next of 200 bits, each drawn given the five before it',
  'world': 'where one of two agents is, after 4 to 20 events on a grid; an LSTM',
  'debug': ('1 to 3 vectors, NTM of 8 units and rows, 20 steps', '17 s'),
}
MACHINES = ('ntm', 'dnc')

_EVAL_ROWS = 200
_MOST_STEPS = 5_000  # of a sequence: a thousand of them fit into memory


def get_config(variant: str = 'copy') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  config = base_config()
  config.data = ConfigDict(
    {
      'task': 'copy',  # copy, repeat_copy, recall, sort, ngrams, world
      'min_length': 1,  # of training: vectors, items of recall, bits of ngrams, events of world
      'max_length': 20,  # rows are drawn evenly from this range
      'min_repeats': 1,  # of training, repeat_copy
      'max_repeats': 10,  # of training, and of the splits of data.test_lengths
      'test_lengths': (20, 40, 80, 120),  # a split each; the shortest beyond max_length is logged
      'test_repeats': (20,),  # a split each, of data.max_length vectors, repeat_copy
      'seed': 0,  # of the examples, apart from that of the weights
    }
  )
  config.model = ConfigDict(
    {
      'cell': 'ntm',  # ntm, dnc, a name of `--list --cells`, or entnet for the task world
      'controller': 'lstm',  # of ntm and dnc: a name of `--list --cells`
      'num_params': 63_000,  # the most that the model may have; 0 takes hidden_size
      'hidden_size': 0,  # units of the cell, controller, or entnet's slots; 0 with num_params
      'num_layers': 1,  # of the cell, or of the controller
      'num_rows': 128,  # of the memory; slots of entnet
      'row_size': 20,  # numbers in a row
      'num_heads': 1,  # ntm: heads that read and as many that write; dnc: heads that read
      'shift_range': 1,  # ntm: rows that a head moves at most in a step
      'forget_bias': 1.0,  # of an LSTM
    }
  )
  del config.train.show_steps
  config.optimizer.update(
    {'learning_rate': 1e-2, 'beta2': 0.98, 'clip_norm': 1.0, 'schedule': 'cosine'}
  )
  config.train.update({'steps': 1_875, 'batch_size': 16, 'eval_every': 125, 'log_every': 25})
  config.update(_CHANGES[variant])
  return config.lock()


_CHANGES: dict[str, dict[str, Any]] = {
  'copy': {},
  'repeat_copy': {
    'data': {'task': 'repeat_copy', 'max_length': 10, 'test_lengths': (10, 20)},
    'train': {'steps': 6_250, 'eval_every': 250},
  },
  'recall': {
    'data': {
      'task': 'recall',
      'min_length': 2,
      'max_length': 6,
      'test_lengths': (6, 8, 10, 12, 15, 20),
    },
    # An NTM had not learned it after 6,250 steps.
    'model': {'cell': 'dnc', 'num_rows': 64, 'row_size': 16},
    'optimizer': {'learning_rate': 3e-3, 'clip_norm': 0.1},
    'train': {'steps': 12_000, 'batch_size': 8, 'eval_every': 500},
  },
  'sort': {
    'data': {'task': 'sort', 'min_length': 20, 'test_lengths': (20,)},
    'model': {'num_heads': 5, 'num_params': 135_000},
    'train': {'steps': 12_500, 'eval_every': 500},
  },
  'ngrams': {
    'data': {'task': 'ngrams', 'min_length': 200, 'max_length': 200, 'test_lengths': (200, 400)},
    'train': {'steps': 6_250, 'eval_every': 250},
  },
  'world': {
    'data': {
      'task': 'world',
      'min_length': 4,
      'test_lengths': (10, 20, 30, 40, 50, 60, 70, 80),
    },
    'model': {'cell': 'lstm', 'num_rows': 5},
    'optimizer': {'warmup_steps': 100, 'beta2': 0.999},
    'train': {'steps': 20_000, 'batch_size': 100, 'eval_every': 1_000, 'log_every': 200},
  },
  'debug': {
    'data': {'max_length': 3, 'test_lengths': (3, 6)},
    'model': {'num_params': 0, 'hidden_size': 8, 'num_rows': 8, 'row_size': 8},
    'train': {'steps': 20, 'eval_every': 10, 'log_every': 5},
  },
}


def check(config: ConfigDict) -> None:
  """Raises InputError for a field out of range."""
  check_model(config.model)
  data, model = config.data, config.model
  require_one_of('data.task', data.task, tasks.TASKS)
  _check_lengths(data)
  require('data.seed', data.seed, 0 <= data.seed < 2**31, 'an integer in [0, 2**31)')
  own = ('entnet',) if data.task == 'world' else ()
  require_one_of('model.cell', model.cell, (*MACHINES, *own, *CELLS), f' for {data.task}')
  if model.cell in MACHINES:
    require_one_of('model.controller', model.controller, CELLS)
  for field in ('num_rows', 'row_size', 'num_heads'):
    require(f'model.{field}', model[field], model[field] >= 1, 'an integer >= 1')
  if model.cell == 'ntm':
    widest = (model.num_rows - 1) // 2
    require(
      'model.shift_range',
      model.shift_range,
      0 <= model.shift_range <= widest,
      f'an integer in [0, {widest}], since a head can reach each of model.num_rows, '
      f'{model.num_rows}, in one way at most',
    )
  if model.cell == 'entnet':
    require('model.num_layers', model.num_layers, model.num_layers == 1, '1 for entnet')


_MEMORY = ('controller', 'num_rows', 'row_size', 'num_heads')
_READ = {'ntm': (*_MEMORY, 'shift_range'), 'dnc': _MEMORY, 'entnet': ('num_rows',)}
_REPEATS = ('min_repeats', 'max_repeats', 'test_repeats')


def unused(config: ConfigDict) -> dict[str, str]:
  """Returns the fields that are not read -> by what."""
  data, model = config.data, config.model
  read = _READ.get(model.cell, ())
  found = {f'model.{name}': f'by {model.cell}' for name in _READ['ntm'] if name not in read}
  steps = model.controller if 'controller' in read else model.cell
  if steps not in CELLS or 'forget_bias' not in options_of(steps):
    found['model.forget_bias'] = f'by {steps}'
  if len(tasks.ranges(data.task, data)) == 1:
    found |= {f'data.{name}': f'by {data.task}' for name in _REPEATS}
  return found


def _check_lengths(data):
  least = tasks.TASKS[data.task].least_length
  for low, high in (('min_length', 'max_length'), ('min_repeats', 'max_repeats')):
    smallest = least if low == 'min_length' else 1
    require(f'data.{low}', data[low], data[low] >= smallest, f'an integer >= {smallest}')
    require(
      f'data.{high}', data[high], data[high] >= data[low], f'an integer >= data.{low}, {data[low]}'
    )
  for field, smallest in (('test_lengths', least), ('test_repeats', 1)):
    right = all(isinstance(n, int) and n >= smallest for n in data[field])
    different = len(set(data[field])) == len(data[field])
    require(f'data.{field}', data[field], right and different, f'different integers >= {smallest}')
  _check_steps(data)


def _check_steps(data):
  trained = ' or '.join(
    f'data.max_{size}' for size in ('length', 'repeats')[: len(tasks.ranges(data.task, data))]
  )
  for split, sizes in tasks.split_ranges(data.task, data).items():
    kind, _, number = split.partition('_')
    num_steps = _num_steps(data.task, sizes)
    if num_steps > _MOST_STEPS:
      field = f'{number} in data.test_{kind.rstrip("s")}s' if number else trained
      raise InputError(
        f'{field} is too large: sequences of {num_steps:,} steps, expected {_MOST_STEPS:,} at most'
      )


def _num_steps(name, sizes):
  return tasks.TASKS[name].num_steps(*(high for _, high in sizes))


def kept_bytes(config: ConfigDict) -> int:
  """Returns roughly what a step keeps for its backward pass."""
  name = config.data.task
  num_steps = _num_steps(name, tasks.ranges(name, config.data))
  layers = kept_by_layers(config, num_steps)
  if config.model.cell not in MACHINES:
    return layers
  # The memory before and after each write, and what addressing makes of it.
  numbers = config.model.num_rows * (4 * config.model.row_size + 20 * config.model.num_heads)
  return layers + 4 * numbers * config.train.batch_size * num_steps


def build(config: ConfigDict, assets: dict | None = None) -> Experiment:
  """Makes the experiment.

  Args:
    config: of `get_config`.
    assets: of a trained model; nothing of it is needed.

  Raises:
    InputError: no model is as small as is asked for.
  """
  name, data = config.data.task, _data(config)
  task, held_out = tasks.TASKS[name], tasks.held_out(name, data)
  model = _make_model(config.model, task)
  cell = model.cells[0] if model.cells else entnet(config.model.num_rows)
  measures = jax.jit(
    lambda params, asked: task.measures(model.outputs(params, asked.inputs), asked)
  )

  def loss(params, carry, batch, key, step):
    asked = Examples(**batch)
    losses = task.loss(model.outputs(params, asked.inputs, key), asked)
    return losses.sum(), (asked.weights.sum() * task.bits, carry, {})

  splits = {
    split: functools.partial(_measure, measures, task, draw) for split, draw in held_out.items()
  }
  metric, sense = task.headline
  look = functools.partial(addresses, model, task.input_size)
  return Experiment(
    init=model.init,
    loss=loss,
    train_data=lambda: tasks.train_data(name, data),
    evaluate={split: splits[split] for split in ('valid', *_longer(data))},
    final_evaluate=splits,
    headline=('valid', metric, sense),
    report=functools.partial(_report, look, name, held_out),
    commands={'addresses': look} if task.every_step else {},
    engine=dispatch.explain(config.model.cell, 'auto', cell.scan),
    unit='answered bits' if task.every_step else 'examples',
  )


def _data(config):
  fields = {name: value for name, value in config.data.items() if name != 'task'}
  return tasks.Data(batch_size=config.train.batch_size, **fields)


def _longer(data):
  """Returns the split of the shortest sequences that are longer than in training, if any is."""
  return [f'length_{n}' for n in sorted(data.test_lengths) if n > data.max_length][:1]


def _make_model(config, task):
  def make(hidden_size):
    if config.cell == 'entnet':
      return entity_world(hidden_size, config.num_rows)
    return sequence_model(
      _make_cells(config, hidden_size),
      task.input_size,
      task.output_size,
      every_step=task.every_step,
    )

  return fit_budget(make, config.hidden_size, config.num_params)


def _make_cells(config, hidden_size):
  name = config.controller if config.cell in MACHINES else config.cell
  layer = make_cell(name, hidden_size, **options_for(name, forget_bias=config.forget_bias))
  layers = (layer,) * config.num_layers
  if config.cell not in MACHINES:
    return layers
  controller = layer if config.num_layers == 1 else stack(*layers)
  memory = {'num_rows': config.num_rows, 'row_size': config.row_size}
  if config.cell == 'dnc':
    return (dnc(controller, **memory, num_reads=config.num_heads),)
  return (ntm(controller, **memory, num_heads=config.num_heads, shift_range=config.shift_range),)


def _measure(measures, task, draw, params, key):
  """Returns the mean of every measure over all examples of a split, and what it is compared
  with."""
  whole, found = draw(), []
  for start in range(0, len(whole.inputs), _EVAL_ROWS):
    asked = Examples(*(array[start : start + _EVAL_ROWS] for array in whole))
    found.append(measures(params, asked) | task.reference(asked))
  return {
    name: float(np.concatenate([one[name] for one in found]).mean(dtype=np.float64))
    for name in found[0]
  }


def _report(look, name, held_out, params, workdir, out_dir):
  from rnn_research.tasks.algorithmic import report  # matplotlib is slow to load

  report.write_report(functools.partial(look, params), name, held_out, workdir, out_dir)
