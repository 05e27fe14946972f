"""The blocks of a config that every experiment has, and the checks of their ranges."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from rnn_research.training import optimizer

DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}

# What a run in a workdir may change when it goes on; everything else belongs to its identity.
CHANGEABLE = (
    'train.steps', 'train.epochs', 'train.eval_every', 'train.checkpoint_every', 'train.log_every', 'train.show_steps',
    'train.tensorboard')


def base_config() -> ConfigDict:
  """Returns the config with the blocks `seed`, `optimizer` and `train`; an experiment adds `data` and `model`."""
  return ConfigDict({
      'seed': 0,
      'optimizer': optimizer.default_config(),
      'train': {
          'steps': 0,  # either steps
          'epochs': 0,  # or epochs
          'batch_size': 50,
          'unroll_length': 50,
          'micro_batches': 1,  # slices of a device's rows, for less memory
          'ema_decay': 0.0,  # of the parameter average that is then evaluated; 0 is off
          'eval_every': 0,  # steps; 0 is once per epoch
          'eval_lanes': 50,  # parallel streams of an evaluation while training
          'checkpoint_every': 0,  # steps; 0 is at every evaluation
          'log_every': 50,
          'show_steps': (),  # steps after which a sample is shown
          'tensorboard': False,
      },
  })


def check_ranges(config: ConfigDict) -> None:
  """Checks the blocks of `base_config`.

  Raises:
    ValueError: a number out of range, as one sentence that names the field.
  """
  optimizer.check_config(config.optimizer)
  train = config.train
  for field in ('batch_size', 'unroll_length', 'micro_batches', 'eval_lanes', 'log_every'):
    require(f'train.{field}', train[field], train[field] >= 1, 'an integer >= 1')
  for field in ('steps', 'epochs', 'eval_every', 'checkpoint_every'):
    require(f'train.{field}', train[field], train[field] >= 0, 'an integer >= 0')
  require('train.ema_decay', train.ema_decay, 0.0 <= train.ema_decay < 1.0, 'a number in [0, 1)')
  if bool(train.steps) == bool(train.epochs):
    raise ValueError(f'train.steps is {train.steps} and train.epochs is {train.epochs}, expected one of them to be '
                     'positive and the other 0')


def require(field: str, value, holds: bool, expected: str) -> None:
  """Raises ValueError, '<field> is <value>, expected <expected>', unless it holds."""
  if not holds:
    raise ValueError(f'{field} is {value!r}, expected {expected}')


def check_unchanged(saved: ConfigDict, config: ConfigDict, workdir: str, training: bool) -> None:
  """Checks that a config may be used with what `workdir` holds.

  A run that goes on may change `CHANGEABLE` alone; every other mode may change the data that it reads.

  Raises:
    ValueError: other fields differ; it names them.
  """
  before, now = _flat(saved), _flat(config)
  changed = [f'{field} ({before.get(field)!r} in the workdir, now {now.get(field)!r})' for field in {**before, **now}
             if before.get(field) != now.get(field)
             and not (field in CHANGEABLE if training else field.startswith('data.'))]
  if changed:
    raise ValueError(f'{workdir} holds a run with another {", another ".join(changed)}; use a new workdir')


def copy(config: ConfigDict) -> ConfigDict:
  """Returns a copy that does not change with `config`."""
  return config.copy_and_resolve_references()


def update_from_json(config: ConfigDict, values: dict) -> ConfigDict:
  """Returns `config` with the values of a workdir's config.json, whose lists are tuples here."""
  for name, value in values.items():
    if isinstance(value, dict):
      update_from_json(config[name], value)
    else:
      config[name] = tuple(value) if isinstance(value, list) else value
  return config


def _flat(config, prefix=''):
  items = {}
  for name, value in config.items():
    field = f'{prefix}{name}'
    items.update(_flat(value, f'{field}.') if isinstance(value, ConfigDict) else {field: value})
  return items
