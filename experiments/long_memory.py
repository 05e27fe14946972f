"""How far back a recurrent network remembers: adding, copying, images read pixel by pixel, and
tracking a state.

  python launch.py --experiment=long_memory --config.model.cell=gru     the adding problem
  python launch.py --experiment=long_memory:sequential_mnist --config.data.path=FOLDER
  python launch.py --experiment=long_memory:copy \\
    --config.grid.seeds=3 --config.grid.learning_rates='(1e-3, 3e-3)'

  VARIANT           FLAGS              time   score on test examples                commit
  adding            RATES              -      mean squared error 5e-05              34e8e47
  copy              CHRONO             -      .011 nats per step, 90.4 % recalled   2bba382
  sequential_mnist  DIGITS             -      accuracy 98.81 %                      9c849bb
                    DIGITS, 28 x 28    50 min accuracy 98.68 %, on one core         6c72656
  permuted_mnist    DIGITS             -      accuracy 94.24 %                      47dd67c
  parity            3 seeds            -      accuracy 100.0 % (validation)         34e8e47
  parity                               38 s   accuracy 100.0 %                      71dda19
  modular                              38 s   accuracy 100.0 %                      71dda19
  debug                                6 s    nothing is learned in 30 steps

The cell is a GRU, the default; others, and the whole commands with machines, are in
docs/results.md. RATES is --config.grid.learning_rates='(1e-3,3e-3)', CHRONO
--config.model.chrono_steps=300 --config.train.steps=5000 --config.optimizer.learning_rate=4e-3,
DIGITS --config.data.path=FOLDER. Seed 0; `experiments.Variant` says what the times are.

Any cell, any initialiser, at one number of parameters. A grid of seeds and learning rates trains as
one run.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from rnn_research import initializers
from rnn_research.cells import CELLS, make_cell, options_for
from rnn_research.engines import dispatch
from rnn_research.errors import InputError, require, require_one_of
from rnn_research.experiment import Experiment, Recurrence
from rnn_research.models.sequence_model import sequence_model
from rnn_research.parameters import fit_budget
from rnn_research.tasks.long_memory import tasks
from rnn_research.training.config import DTYPES, base_config, check_model, kept_by_layers

VARIANTS = {
  'adding': 'the sum of two marked numbers among 200 (the default)',
  'copy': 'ten symbols after 200 blanks',
  'sequential_mnist': 'digits read pixel by pixel, 14 x 14; 28 x 28 with --config.data.length=784',
  'permuted_mnist': 'the same with the pixels in one random order',
  'parity': ('the parity of all bits so far, at each of 40 steps', '38 s'),
  'modular': ('the sum of all digits so far modulo 5, at each of 40 steps', '38 s'),
  'debug': ('the adding problem over 10 steps, GRU of 8 units', '6 s'),
}
PLACES = ('data.path',)
MOVABLE = PLACES

_EVAL_ROWS = 500


def get_config(variant: str = 'adding') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  config = base_config()
  config.data = ConfigDict(
    {
      'task': 'adding',  # adding, copy, mnist, modular
      'length': 200,  # steps; copy: blanks; mnist: pixels, 784, or 196 or 49 of a smaller image
      'path': '',  # mnist: the folder of the idx files
      'permuted': False,  # mnist: pixels in one random order, drawn from data.seed
      'modulus': 2,  # modular: of the sum of the digits
      'seed': 0,  # of the examples, apart from that of the weights
    }
  )
  config.model = ConfigDict(
    {
      'cell': 'gru',  # a name of `--list --cells`
      'num_params': 70_000,  # the most that the model may have; 0 takes hidden_size
      'hidden_size': 0,  # units of a layer; 0 with num_params
      'num_layers': 1,  # recurrent layers
      'dropout': 0.0,  # between layers and before the answer
      'w_h_init': '',  # of the recurrent weights, see `initializers.named`; '' is the cell's own
      'forget_bias': 1.0,  # of an LSTM
      'chrono_steps': 0,  # longest memory of gates at first (Tallec and Ollivier 2018); 0 is off
      # Form of the recurrence, see the cell: auto, scan, fused, newton, shooting, cudnn, pallas.
      'engine': 'auto',
      'dtype': 'float32',  # of the products, float32 or bfloat16; parameters and state stay float32
    }
  )
  del config.train.show_steps
  config.optimizer.update({'learning_rate': 1e-3, 'clip_norm': 1.0})
  config.train.update({'steps': 5_000, 'batch_size': 50, 'eval_every': 500, 'log_every': 100})
  config.update(_CHANGES[variant])
  return config.lock()


_MNIST: dict[str, dict[str, Any]] = {
  'data': {'task': 'mnist', 'length': 196},
  'optimizer': {'learning_rate': 2e-3, 'schedule': 'cosine', 'warmup_steps': 100},
  'train': {'steps': 0, 'epochs': 20, 'batch_size': 100, 'eval_every': 0},
}
_TRACKING: dict[str, dict[str, Any]] = {
  'data': {'task': 'modular', 'length': 40},
  'model': {'num_params': 20_000},
  'optimizer': {'learning_rate': 2e-3},
}
_CHANGES = {
  'adding': {},
  'copy': {'data': {'task': 'copy'}, 'model': {'num_params': 40_000}, 'train': {'steps': 10_000}},
  'sequential_mnist': _MNIST,
  'permuted_mnist': {**_MNIST, 'data': {**_MNIST['data'], 'permuted': True}},
  'parity': _TRACKING,
  'modular': {**_TRACKING, 'data': {**_TRACKING['data'], 'modulus': 5}},
  'debug': {
    'data': {'length': 10},
    'model': {'num_params': 0, 'hidden_size': 8},
    'train': {'steps': 30, 'batch_size': 16, 'eval_every': 10, 'log_every': 5},
  },
}


def check(config: ConfigDict) -> None:
  """Raises InputError for a field out of range."""
  check_model(config.model)
  require_one_of('model.cell', config.model.cell, CELLS)
  data, model = config.data, config.model
  require_one_of('data.task', data.task, tasks.TASKS)
  require('data.length', data.length, data.length >= 2, 'an integer >= 2')
  require('data.modulus', data.modulus, data.modulus >= 2, 'an integer >= 2')
  require('data.seed', data.seed, 0 <= data.seed < 2**31, 'an integer in [0, 2**31)')
  require(
    'model.chrono_steps',
    model.chrono_steps,
    model.chrono_steps == 0 or model.chrono_steps >= 3,
    '0 or an integer >= 3',
  )


_READ = {'path': 'mnist', 'permuted': 'mnist', 'modulus': 'modular'}


def unused(config: ConfigDict) -> dict[str, str]:
  """Returns the fields that are not read -> by what."""
  task = config.data.task
  return {f'data.{name}': f'by {task}' for name, reader in _READ.items() if task != reader}


def kept_bytes(config: ConfigDict) -> int:
  """Returns roughly what a step keeps for its backward pass."""
  return kept_by_layers(config, config.data.length)


def build(config: ConfigDict, assets: dict | None = None) -> Experiment:
  """Makes the experiment.

  Args:
    config: of `get_config`.
    assets: of a trained model; nothing of it is needed.

  Raises:
    InputError: data that cannot be used.
  """
  task = _make_task(config)
  model = _make_model(config.model, task)
  answers = jax.jit(lambda params, xs, targets: task.measures(model.outputs(params, xs), targets))

  def loss(params, carry, batch, key, step):
    losses = task.loss(model.outputs(params, batch['inputs'], key), batch['targets'])
    return losses.sum(), (jnp.float32(len(losses)), carry, {})

  def measure(split, params, key):
    return _measure(answers, task, task.held_out[split](), params)

  def recurrence(params, num_steps, key):
    return _recurrence(model, task, params, num_steps, config.train.batch_size, key)

  metric, sense = task.headline
  return Experiment(
    init=model.init,
    loss=loss,
    train_data=task.train_data,
    evaluate={'valid': functools.partial(measure, 'valid')},
    final_evaluate={split: functools.partial(measure, split) for split in task.held_out},
    headline=('valid', metric, sense),
    engine=dispatch.explain(config.model.cell, config.model.engine, model.cells[0].scan),
    recurrence=recurrence,
  )


def _make_task(config):
  fields = {name: value for name, value in config.data.items() if name != 'task'}
  return tasks.TASKS[config.data.task](tasks.Data(batch_size=config.train.batch_size, **fields))


def _make_model(config, task):
  dtype = DTYPES[config.dtype]
  options = {'chrono_steps': config.chrono_steps} if config.chrono_steps else {}
  options |= {'w_h_init': initializers.named(config.w_h_init)} if config.w_h_init else {}

  def make(hidden_size):
    cell = make_cell(
      config.cell,
      hidden_size,
      engine=config.engine,
      dtype=dtype,
      **options_for(config.cell, forget_bias=config.forget_bias, **options),
    )
    return sequence_model(
      (cell,) * config.num_layers,
      task.input_size,
      task.output_size,
      every_step=task.every_step,
      dropout=config.dropout,
      dtype=dtype,
    )

  return fit_budget(make, config.hidden_size, config.num_params)


def _measure(answers, task, held_out, params):
  """Returns the mean of every measure over all examples, and what needs no memory."""
  sums = {}
  for start in range(0, len(held_out.inputs), _EVAL_ROWS):
    rows = slice(start, start + _EVAL_ROWS)
    for name, values in answers(params, held_out.inputs[rows], held_out.targets[rows]).items():
      sums[name] = sums.get(name, 0.0) + float(np.asarray(values, np.float64).sum())
  means = {name: total / len(held_out.inputs) for name, total in sums.items()}
  return means | {
    f'{name}_without_memory': float(value) for name, value in task.trivial(held_out.targets).items()
  }


def _recurrence(model, task, params, num_steps, batch_size, key):
  """Returns the cells on the last steps of held-out sequences, with the loss of the last answer."""
  held_out = task.held_out['valid']()
  count, length = held_out.inputs.shape[:2]
  if num_steps > length:
    raise InputError(f'the sequences to analyse have {length} steps, expected {num_steps} at least')
  rows = np.asarray(jax.random.choice(key, count, (min(batch_size, count),), replace=False))
  xs = jnp.asarray(held_out.inputs[rows, length - num_steps :]).swapaxes(0, 1)
  return Recurrence(
    model.cells,
    params['cells'],
    xs,
    Partial(functools.partial(_last_loss, model, task), params, held_out.targets[rows]),
  )


def _last_loss(model, task, params, targets, ys):
  answers = model.head(params, ys)
  if task.every_step:
    return task.loss(answers[:, None], targets[:, -1:])
  return task.loss(answers, targets)
