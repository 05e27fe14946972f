"""A trained run, opened from Python.

In a script or a notebook:

  run = workdir.load('runs/my_lm')
  run.evaluate()                                 {'valid': {'nats_per_symbol': ..}, ..}
  run.trace(num_steps=50)                        states and gates of every layer
  run.sample('def ', length=200)                 what its experiment offers: `Experiment.commands`
"""

import functools
import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from rnn_research.analysis.measures.traces import Trace, trace_layers
from rnn_research.data.files import expand
from rnn_research.errors import InputError, UsageError, require_one_of
from rnn_research.experiment import Experiment, Recurrence
from rnn_research.parameters import num_parameters
from rnn_research.training import checkpoint
from rnn_research.training.config import DTYPES, trains, update_from_json
from rnn_research.typing import Params


class Run(NamedTuple):
  """A trained model in its workdir. The commands of its experiment are methods of it: `run.sample`.

  Attributes:
    workdir: its folder; nothing in it is changed.
    name: 'experiment:variant'.
    config: the resolved config.
    experiment: what `build` made of it.
    step: updates after which the parameters were saved.
    params: those of the best evaluation.
  """

  workdir: str
  name: str
  config: ConfigDict
  experiment: Experiment
  step: int
  params: Params

  def __getattr__(self, name: str) -> Callable[..., Any]:
    commands = self.experiment.commands
    if name not in commands:
      known = ', '.join(commands) or 'none'
      raise AttributeError(f'a run of {self.name} has no command {name} (there are: {known})')
    return _method(name, functools.partial(commands[name], self.params))

  def __repr__(self) -> str:
    size = f'{num_parameters(self.params):,} parameters'
    return f'Run({self.workdir!r}, {self.name}, {size}, step {self.step:,})'

  def __dir__(self) -> list[str]:
    return [*object.__dir__(self), *self.experiment.commands]

  def evaluate(self) -> dict[str, dict[str, Any]]:
    """Returns split -> {metric: value}, of whole held-out splits."""
    key, experiment = jax.random.key(self.config.seed), self.experiment
    splits = experiment.final_evaluate or experiment.evaluate
    return {split: measure(self.params, key) for split, measure in splits.items()}

  def recurrence(self, num_steps: int = 100, seed: int = 0) -> Recurrence:
    """Returns the cells of the model with held-out inputs.

    Args:
      num_steps: T.
      seed: decides which inputs.

    Raises:
      InputError: the experiment has none to analyse, or its data no sequence of T steps.
    """
    if num_steps < 1:
      raise InputError(f'num_steps is {num_steps}, expected an integer >= 1')
    if self.experiment.recurrence is None:
      raise InputError(
        f'{self.workdir} holds a run of {self.name}, which has no recurrence to analyse'
      )
    return self.experiment.recurrence(self.params, num_steps, jax.random.key(seed))

  def trace(self, num_steps: int = 100, seed: int = 0) -> tuple[Trace, ...]:
    """Returns what every layer did on held-out inputs; see `recurrence`."""
    found = self.recurrence(num_steps, seed)
    return trace_layers(found.cells, found.params, found.xs)


def _method(name, call):
  """Returns a function that does what a partial one does, and whose help is that of what it
  calls."""

  def method(*args, **options):
    return call(*args, **options)

  inner = call
  while isinstance(inner, functools.partial):
    inner = inner.func
  method.__name__ = method.__qualname__ = name
  method.__doc__, method.__signature__ = inner.__doc__, inspect.signature(call)
  return method


def load(
  workdir: str | Path, places: Mapping[str, Any] = MappingProxyType({}), dtype: str = ''
) -> Run:
  """Opens the run in a workdir.

  Its engine is 'auto', whatever it was trained with: that may be missing here.

  Args:
    workdir: its folder.
    places: config fields that say where data are, and what they are now, such as {'data.path':
      'elsewhere'}; others are as they were when it was trained.
    dtype: precision of the products, float32 or bfloat16; '' is that of the training.

  Raises:
    InputError: there is no run, or its experiment has no such place or precision.
  """
  import experiments  # goes up, here and in `build`: only the workdir knows which one it needs

  folder = str(expand(workdir))
  if not os.path.exists(f'{folder}/config.json'):
    raise InputError(f'workdir: {folder} holds no run: it has no config.json')
  name, config = read_config(folder, experiments.get_config)
  if not trains(config):
    raise InputError(f'workdir: {folder} holds a run of {name}, which trains no model to open')
  if 'engine' in config.get('model', {}):
    config.model.engine = 'auto'
  if dtype:
    require_one_of(
      'dtype', dtype, DTYPES if 'dtype' in config.get('model', {}) else (), f' for {name}'
    )
    config.model.dtype = dtype
  known = experiments.places(name)
  for place, value in places.items():
    require_one_of('place', place, known, f' for {name}')
    value = str(value) if isinstance(value, os.PathLike) else value
    try:
      config.update_from_flattened_dict({place: value})
    except TypeError as e:
      raise InputError(f'place {place} is {value!r}, expected a value such as it had') from e
  return restore(folder, name, config, build(folder, name, config))


def restore(workdir: str, name: str, config: ConfigDict, experiment: Experiment) -> Run:
  """Returns a run with the parameters of the best evaluation; raises InputError where none can be
  read."""
  template = jax.eval_shape(experiment.init, jax.random.key(0))
  return Run(workdir, name, config, experiment, *checkpoint.restore_params(workdir, template))


def build(workdir: str, name: str, config: ConfigDict) -> Experiment:
  """Makes the experiment of a trained workdir anew: with its assets, and the fingerprint of its
  data.

  Raises:
    InputError: no checkpoint can be read, or an earlier version's is of no use here.
  """
  import experiments

  meta = checkpoint.read_meta(workdir)[1]
  assets = meta['assets'] | {'fingerprint': meta['fingerprint'], 'workdir': workdir}
  with checkpoint.advised(workdir):
    return experiments.build(name, config, assets)


def read_config(workdir: str, get_config: Callable[[str], ConfigDict]) -> tuple[str, ConfigDict]:
  """Returns 'experiment:variant' and the config of the run in a workdir.

  Args:
    workdir: its folder.
    get_config: 'experiment:variant' -> the config before a run changes it.

  Raises:
    UsageError: there is no config of a run.
  """
  path = Path(workdir) / 'config.json'
  try:
    saved = json.loads(path.read_text('utf-8'))
    return saved['experiment'], update_from_json(
      get_config(saved['experiment']).unlock(), saved['config']
    ).lock()
  except (OSError, KeyError, TypeError, AttributeError, ValueError) as e:
    raise UsageError(f'workdir: {path} is not the config of a run ({type(e).__name__}: {e})') from e
