"""Experiments, one file each: what is trained, on what, with which numbers.

A module offers `VARIANTS` (name -> one line, the first is the default), `COMMANDS` (its modes beside train, evaluate
and report), `get_config(variant)` and `build(config, assets=None)`; it is found by itself.
"""

import difflib
import importlib
import pkgutil

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rnn_research.cells import CELLS
from rnn_research.errors import InputError
from rnn_research.experiment import Command, Experiment


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
  """Makes the experiment of 'experiment:variant'; see `rnn_research.experiment`."""
  return _module(split_name(name)[0]).build(config, assets)


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
    lines.append(f'{name:20} {sum(leaf.size for leaf in jax.tree.leaves(params)):,}')
  return '\n'.join(lines)


def _module(name):
  return importlib.import_module(f'{__name__}.{name}')


def _check(what, name, known):
  if name not in known:
    near = difflib.get_close_matches(name, known, 1)
    raise InputError(f'unknown {what} {name!r}' + (f', did you mean {near[0]}?' if near else '')
                     + f' (there are: {", ".join(known)})')
