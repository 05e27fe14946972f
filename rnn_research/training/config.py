"""The blocks of a config that every experiment has, and the checks of their ranges."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from rnn_research.errors import InputError, require, require_one_of, require_seed
from rnn_research.training import optimizer

DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


_MODEL_RANGES = {
  'num_params': (lambda v: v >= 0, 'an integer >= 0 (0 takes hidden_size)'),
  'num_layers': (lambda v: v >= 1, 'an integer >= 1'),
  'embedding_size': (lambda v: v >= 0, 'an integer >= 0 (0 is one-hot)'),
  'dropout': (lambda v: 0.0 <= v < 1.0, 'a number in [0, 1)'),
  'init_scale': (lambda v: 0.0 <= v < math.inf, "a number >= 0 (0 is the cell's own)"),
}


def base_config() -> ConfigDict:
  """Returns the config with `seed`, `init_from` and the blocks `optimizer`, `grid` and `train`; an
  experiment adds `data` and `model`."""
  return ConfigDict(
    {
      'seed': 0,  # of all that is random: first parameters, the order of examples, dropout
      'init_from': '',  # workdir of a trained model, whose best parameters are the first ones here
      'optimizer': optimizer.default_config(),
      'grid': {
        'seeds': 1,  # runs in one, which share data and steps and differ in their first parameters
        'learning_rates': (),  # in place of optimizer.learning_rate, each with all seeds
      },
      'train': {
        'steps': 0,  # updates of the whole run; either these
        'epochs': 0,  # or times through the training data; the other is 0
        'batch_size': 50,  # rows of an update, of all devices and processes together
        'micro_batches': 1,  # slices of a device's rows, for less memory
        'ema_decay': 0.0,  # of an average of parameters, evaluated in their place; 0 is off
        'eval_every': 0,  # steps; 0 is once per epoch
        'stop_after': 0,  # evaluations in a row without a better headline end the run; 0 is off
        'checkpoint_every': 0,  # steps; 0 is at every evaluation
        'log_every': 50,  # steps between two lines of metrics.jsonl
        'show_steps': (),  # steps after which a sample is shown, and after the last; () shows none
        'tensorboard': False,  # whether the workdir gets a folder tensorboard
      },
    }
  )


def check_ranges(config: ConfigDict) -> None:
  """Checks the blocks of `base_config`; a study has `seed` alone.

  Raises:
    InputError: a number out of range, as one sentence that names the field.
  """
  require_seed('seed', config.seed)
  if not trains(config):
    return
  optimizer.check_config(config.optimizer)
  train = config.train
  for field in ('batch_size', 'micro_batches', 'log_every'):
    require(f'train.{field}', train[field], train[field] >= 1, 'an integer >= 1')
  for field in ('steps', 'epochs', 'eval_every', 'checkpoint_every', 'stop_after'):
    require(f'train.{field}', train[field], train[field] >= 0, 'an integer >= 0')
  require(
    'train.micro_batches',
    train.micro_batches,
    train.batch_size % train.micro_batches == 0,
    f'a divisor of train.batch_size, {train.batch_size}',
  )
  shown = train.get('show_steps', ())
  require(
    'train.show_steps',
    shown,
    all(isinstance(step, int) and step >= 0 for step in shown),
    'integers >= 0',
  )
  _check_grid(config)
  require('train.ema_decay', train.ema_decay, 0.0 <= train.ema_decay < 1.0, 'a number in [0, 1)')
  if bool(train.steps) == bool(train.epochs):
    raise InputError(
      f'train.steps is {train.steps} and train.epochs is {train.epochs}, expected one of them to '
      'be positive and the other 0'
    )


def check_model(model: ConfigDict) -> None:
  """Checks what the `model` blocks of most experiments share: `hidden_size`, and others if there.

  Raises:
    InputError: a number out of range, as one sentence that names the field.
  """
  for field, (holds, expected) in _MODEL_RANGES.items():
    if field in model:
      require(f'model.{field}', model[field], holds(model[field]), expected)
  if 'dtype' in model:
    require_one_of('model.dtype', model.dtype, DTYPES)
  size, budget = model.hidden_size, model.get('num_params', 0)
  require(
    'model.hidden_size',
    size,
    size == 0 if budget else size >= 1,
    '0 where model.num_params is positive' if budget else 'an integer >= 1',
  )


def check_readout(model: ConfigDict) -> None:
  """Raises InputError unless a readout of `readout_size` fits embeddings that may be `tied`."""
  require(
    'model.readout_size',
    model.readout_size,
    model.readout_size == model.embedding_size if model.tied else model.readout_size >= 0,
    f'model.embedding_size, {model.embedding_size}, since model.tied is true'
    if model.tied
    else 'an integer >= 0 (0 is none)',
  )


def _check_grid(config):
  seeds, rates = config.grid.seeds, config.grid.learning_rates
  require('grid.seeds', seeds, seeds >= 1, 'an integer >= 1')
  require(
    'grid.learning_rates',
    rates,
    all(isinstance(r, int | float) and 0.0 < r < math.inf for r in rates)
    and len(set(rates)) == len(rates),
    'different numbers > 0, with commas',
  )
  if (seeds > 1 or rates) and config.optimizer.schedule == 'plateau':
    raise InputError(
      'optimizer.schedule is plateau, expected another with a grid: its members would '
      'share one plateau'
    )


def check_unevaluated(config: ConfigDict) -> None:
  """Raises InputError for fields that follow an evaluation, of a run that has none."""
  train, grid = config.train, config.grid
  why = 'since no validation data are held out'
  require('train.stop_after', train.stop_after, train.stop_after == 0, f'0, {why}')
  schedule = config.optimizer.schedule
  require('optimizer.schedule', schedule, schedule != 'plateau', f'another, {why}')
  require('grid.seeds', grid.seeds, grid.seeds == 1, f'1, {why} to choose a member by')
  rates = grid.learning_rates
  require('grid.learning_rates', rates, not rates, f'none, {why} to choose a member by')


def trains(config: ConfigDict) -> bool:
  """Returns whether the experiment trains a model; a study has no block `train`."""
  return 'train' in config


def rows_per_step(config: ConfigDict) -> int:
  """Returns how many rows of the batch a step takes at once; devices share them evenly."""
  return config.train.batch_size // config.train.micro_batches


def kept_by_layers(config: ConfigDict, num_steps: int) -> int:
  """Returns roughly how many bytes recurrent layers keep of T steps for their backward pass.

  Seven float32 numbers per unit, as a fused LSTM does.

  Args:
    config: `hidden_size`, or `num_params` in its place, and `num_layers` of its block `model` are
      read.
    num_steps: T.
  """
  model = config.model
  units = model.hidden_size or math.isqrt(model.num_params // (4 * model.num_layers))
  return 7 * 4 * units * model.num_layers * rows_per_step(config) * num_steps


def update_from_json(config: ConfigDict, values: dict) -> ConfigDict:
  """Returns `config` with the values of a workdir's config.json, whose lists are tuples here."""
  for name, value in values.items():
    if isinstance(value, dict):
      update_from_json(config[name], value)
    else:
      config[name] = _tuples(value)
  return config


def flat(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Returns the fields of a config, or of its JSON, by their full names: 'model.cell'."""
  items = {}
  for name, value in config.items():
    field = f'{prefix}{name}'
    items.update(
      flat(value, f'{field}.') if isinstance(value, Mapping | ConfigDict) else {field: value}
    )
  return items


def _tuples(value):
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
