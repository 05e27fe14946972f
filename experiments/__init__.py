"""Experiments, one file each: what is trained, on what, with which numbers.

What a module offers stands in `rnn_research.experiment.Experiment`; it is found by itself. Nothing
is imported here before it is needed: what there is can be told before JAX is loaded.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import math
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
  from ml_collections import ConfigDict

  from rnn_research.experiment import Command

DEFAULT = 'char_lm'


class Variant(NamedTuple):
  """A variant of an experiment, as people are told of it.

  Attributes:
    text: one line.
    time: how long a whole run takes on 1 or 2 cores of a CPU, '4 min': by the clock where the
      machine was idle, else the processor time on a shared one, about the most that it takes on an
      idle one; '' where it was not measured.
  """

  text: str
  time: str = ''


def names() -> list[str]:
  """Returns the names of all experiments."""
  return [
    module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith('_')
  ]


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


def variants(experiment: str) -> dict[str, Variant]:
  """Returns the variants of an experiment by their names.

  They are read, not run: importing all experiments takes seconds.

  Raises:
    InputError: there is no such module, or it has none that is written out as a literal.
  """
  _check('experiment', experiment, names())
  paths = (Path(folder, f'{experiment}.py') for folder in __path__)
  return dict(_variants_of(next(filter(Path.exists, paths))))


def get_config(name: str) -> ConfigDict:
  """Returns the config of 'experiment:variant'."""
  experiment, variant = split_name(name)
  return _module(experiment).get_config(variant)


def commands(name: str) -> dict[str, Command]:
  """Returns the modes of 'experiment:variant' beside train, evaluate and report."""
  return _offer(name, 'COMMANDS', {})


def places(name: str) -> tuple[str, ...]:
  """Returns the config fields of 'experiment:variant' that say where data are."""
  return _offer(name, 'PLACES', ())


def movable(name: str) -> tuple[str, ...]:
  """Returns the places of 'experiment:variant' that may differ when a run goes on."""
  return _offer(name, 'MOVABLE', ())


def check(name: str, config: ConfigDict) -> None:
  """Checks what 'experiment:variant' alone knows of its config.

  Raises:
    InputError: a field out of range or not finite, an engine that the chosen cell lacks, or a field
      of `model` that it lacks and that is not the variant's.
  """
  _check_cell(config.get('model', {}), get_config(name).get('model', {}))
  _offer(name, 'check', lambda config: None)(config)
  _check_finite(config)


def check_read(name: str, config: ConfigDict, saved: ConfigDict) -> None:
  """Raises InputError where a field differs from that of `saved`, the config before it was changed,
  and nothing of 'experiment:variant' reads it."""
  for field, why in _offer(name, 'unused', lambda config: {})(config).items():
    block, key = field.split('.')
    value, usual = config[block][key], saved[block][key]
    if value != usual:
      from rnn_research.errors import require

      require(field, value, False, f'{usual!r}, since it is not used {why}')


def kept_bytes(name: str, config: ConfigDict) -> int:
  """Returns roughly what a step of 'experiment:variant' keeps for its backward pass."""
  return _offer(name, 'kept_bytes', lambda config: 0)(config)


def build(name: str, config: ConfigDict, assets: dict | None = None) -> Any:
  """Returns the `Experiment` of 'experiment:variant', or its `Study` where it trains nothing; see
  `rnn_research.experiment`."""
  check(name, config)
  return _module(split_name(name)[0]).build(config, assets)


@functools.cache  # every question about a name asks for it
def _variants_of(path):
  for node in ast.parse(path.read_text('utf-8')).body:
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'VARIANTS':
      literal = ast.literal_eval(node.value)
      return {
        name: Variant(*([told] if isinstance(told, str) else told))
        for name, told in literal.items()
      }
  from rnn_research.errors import InputError

  raise InputError(f'{path} has no VARIANTS, expected a literal: name -> one line')


def _check_cell(model, default):
  """Raises InputError where an option of other cells was changed, which the chosen one ignores, or
  where it has no such engine."""
  if 'cell' not in model:
    return
  from rnn_research.cells import CELLS, options_of
  from rnn_research.engines.dispatch import check_engine
  from rnn_research.errors import require

  if model.cell in CELLS:
    others = set().union(*map(options_of, CELLS)) - options_of(model.cell)
    for field in sorted(others & set(model) & set(default)):
      expected = f'{default[field]!r} for {model.cell}, which has no such option'
      require(f'model.{field}', model[field], model[field] == default[field], expected)
    if 'engine' in model:
      check_engine('model.engine', model.engine, CELLS[model.cell](1), model.cell)


def _check_finite(config):
  from rnn_research.errors import require
  from rnn_research.training.config import flat

  for field, value in flat(config).items():
    require(field, value, not isinstance(value, float) or math.isfinite(value), 'a finite number')


def _module(name):
  return importlib.import_module(f'{__name__}.{name}')


def _offer(name, attribute, default):
  return getattr(_module(split_name(name)[0]), attribute, default)


def _check(what, name, known):
  if name not in known:
    from rnn_research.errors import InputError, did_you_mean

    raise InputError(
      f'unknown {what} {name!r}{did_you_mean(name, known)} (there are: {", ".join(known)})'
    )
