"""Experiments, one file each: what is trained, on what, with which numbers.

A module offers `VARIANTS` (name -> one line, the first is the default), `COMMANDS` (its modes
beside train, evaluate and report), `get_config(variant)` and `build(config, assets=None)`; it is
found by itself.
"""

import importlib
import pkgutil
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rnn_research.analysis import Trace, trace_layers
from rnn_research.cells import CELLS, options_of
from rnn_research.errors import InputError, did_you_mean, require
from rnn_research.experiment import Command, Experiment, Recurrence
from rnn_research.launching import flags, runs
from rnn_research.parameters import num_parameters
from rnn_research.training.config import trains


def names() -> list[str]:
  """Returns the names of all experiments."""
  return [module.name for module in pkgutil.iter_modules(__path__)]


def split_name(name: str) -> tuple[str, str]:
  """Returns (experiment, variant) of 'experiment' or 'experiment:variant'.

  Raises:
    InputError: no such experiment or variant.
  """
  experiment, _, variant = name.partition(':')
  _check('experiment', experiment, names())
  known = list(variants(experiment))
  variant = variant or known[0]
  _check(f'variant of {experiment}', variant, known)
  return experiment, variant


def variants(experiment: str) -> dict[str, str]:
  """Returns the variants of an experiment: name -> one line."""
  return _module(experiment).VARIANTS


def get_config(name: str) -> ConfigDict:
  """Returns the config of 'experiment:variant'."""
  experiment, variant = split_name(name)
  return _module(experiment).get_config(variant)


def commands(name: str) -> dict[str, Command]:
  """Returns the modes of 'experiment:variant' beside train, evaluate and report."""
  return _module(split_name(name)[0]).COMMANDS


def build(name: str, config: ConfigDict, assets: dict | None = None) -> Experiment:
  """Makes the experiment of 'experiment:variant'; see `rnn_research.experiment`.

  Raises:
    InputError: also where a field of `model` that the chosen cell lacks is not the variant's.
  """
  _check_cell_options(config.get('model', {}), get_config(name).get('model', {}))
  return _module(split_name(name)[0]).build(config, assets)


def recurrence(workdir: str, num_steps: int, seed: int = 0) -> Recurrence:
  """Returns the trained model of a workdir, its parameters those of the best evaluation, with
  held-out inputs.

  Args:
    workdir: of a run of any experiment that offers a `recurrence`.
    num_steps: T.
    seed: decides which inputs.

  Raises:
    InputError: there is no such run, or its data have no sequence of T steps.
  """
  if num_steps < 1:
    raise InputError(f'num_steps is {num_steps}, expected an integer >= 1')
  if not (Path(workdir) / 'config.json').exists():
    raise InputError(f'{workdir} holds no run: it has no config.json')
  name, config = flags.load_workdir(workdir, get_config)
  if 'engine' in config.get('model', {}):
    config.model.engine = (
      'auto'  # analysis takes single steps: what the model was trained with may be missing here
    )
  experiment = build(name, config, runs.assets(workdir)) if trains(config) else None
  if experiment is None or experiment.recurrence is None:
    raise InputError(f'{workdir} holds a run of {name}, which has no recurrence to analyse')
  return experiment.recurrence(
    runs.restore(experiment, workdir)[1], num_steps, jax.random.key(seed)
  )


def trace(workdir: str, num_steps: int = 100, seed: int = 0) -> tuple[Trace, ...]:
  """Returns what every layer of the trained model of a workdir did on held-out inputs; see
  `recurrence`."""
  found = recurrence(workdir, num_steps, seed)
  return trace_layers(found.cells, found.params, found.xs)


def listing() -> str:
  """Returns experiments and variants, one line each."""
  lines = []
  for name in names():
    lines += [f'{f"{name}:{variant}":32} {text}' for variant, text in variants(name).items()]
  return '\n'.join(lines)


def cell_listing(input_size: int = 64, hidden_size: int = 128) -> str:
  """Returns all cells, one line each, with their parameter counts at one size."""
  x = jax.ShapeDtypeStruct((1, input_size), jnp.float32)
  lines = [f'{"cell":20} parameters at {input_size} inputs and {hidden_size} hidden units']
  for name, factory in CELLS.items():
    params = jax.eval_shape(lambda key, f=factory: f(hidden_size).init(key, x), jax.random.key(0))
    lines.append(f'{name:20} {num_parameters(params):,}')
  return '\n'.join(lines)


def _check_cell_options(model, default):
  """Raises InputError where an option of other cells was changed, which the chosen one ignores."""
  if model.get('cell') in CELLS:
    others = set().union(*map(options_of, CELLS)) - options_of(model.cell)
    for field in sorted(others & set(model) & set(default)):
      expected = f'{default[field]!r} for {model.cell}, which has no such option'
      require(f'model.{field}', model[field], model[field] == default[field], expected)


def _module(name):
  return importlib.import_module(f'{__name__}.{name}')


def _check(what, name, known):
  if name not in known:
    raise InputError(
      f'unknown {what} {name!r}{did_you_mean(name, known)} (there are: {", ".join(known)})'
    )
