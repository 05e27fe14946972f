"""How fast are we? Training, sampling and translating against `lax.scan`, Flax and PyTorch; the cost of each size.

  python launch.py --experiment=speed --workdir=DIR          minutes; the report is DIR/report/speed.md
  python launch.py --experiment=speed:quick
  python launch.py --experiment=speed --config.measure.cells=gru --config.measure.shapes='((128, 1, 100, 100),)'
  python launch.py --experiment=speed --config.measure.groups=translation

Nothing is trained to an end: times are all there is. PyTorch is compared with if it is installed. Leave the machine
alone while it runs.
"""

import functools
import math
import sys
from pathlib import Path

from ml_collections import ConfigDict

from rnn_research.benchmark import contenders, suite, tables
from rnn_research.benchmark.contenders import CELLS, PARTS, Setting
from rnn_research.errors import InputError
from rnn_research.experiment import Experiment, study
from rnn_research.training.config import require
from rnn_research.training.progress import show
from rnn_research.training.result import git_hash

VARIANTS = {
    'full': 'LSTM, GRU and Elman in four shapes: minutes (the default)',
    'quick': 'LSTM in one shape: less than a minute on 2 cores',
    'debug': 'an Elman network of 8 units: a minute, to see that everything works',
}
COMMANDS = {}
GROUPS = ('comparisons', 'scaling', 'sampling', 'translation', 'pipeline', 'memory')

_CHANGES = {
    'full': {},
    'quick': {'cells': 'lstm', 'shapes': ((128, 1, 100, 100),), 'gpu_shapes': (), 'rounds': 2, 'seconds': 0.5,
              'scaling_factors': (1, 4), 'sample_length': 300},
    'debug': {'cells': 'elman', 'shapes': ((8, 1, 4, 4),), 'gpu_shapes': (), 'rounds': 2, 'calls': 2, 'seconds': 0.1,
              'scaling_base': (8, 1, 4, 4), 'scaling_factors': (1, 2), 'sampling': (8, 1), 'sample_length': 20,
              'translation': (8, 4, 5), 'long_steps': 100},
}


def get_config(variant: str = 'full') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  config = ConfigDict({'seed': 0, 'measure': {
      'groups': ','.join(GROUPS),
      'cells': ','.join(CELLS),
      'shapes': ((128, 1, 100, 100), (128, 2, 50, 50), (512, 2, 50, 50), (512, 3, 100, 100)),  # H, L, B, T
      'gpu_shapes': ((1024, 2, 128, 256), (256, 4, 16, 1024)),  # more of them where there is a GPU
      'rounds': 4,  # turns of every contender
      'calls': 4,  # of each program in a turn
      'seconds': 1.0,  # fewer calls, but one, where they take longer
      'scaling_base': (128, 1, 50, 50),  # H, L, B, T
      'scaling_factors': (1, 2, 4, 8),
      'sampling': (512, 2),  # H, L
      'sample_length': 10_000,
      'translation': (256, 64, 20),  # H, B, T
      'long_steps': 100_000,  # of a sequence whose states do not fit into memory
  }})
  config.measure.update(_CHANGES[variant])
  return config.lock()


def build(config: ConfigDict, assets: dict | None = None) -> Experiment:
  """Makes the experiment; raises InputError for a number out of range."""
  _check(config.measure)
  return study(functools.partial(_report, config))


def _check(measure):
  for field, known in (('groups', GROUPS), ('cells', CELLS)):
    require(f'measure.{field}', measure[field], set(measure[field].split(',')) <= set(known),
            f'some of {", ".join(known)}, with commas')
  for field in ('shapes', 'gpu_shapes'):
    require(f'measure.{field}', measure[field], all(_sizes(shape, 4) for shape in measure[field]),
            '((hidden units, layers, batch, unroll), ...)')
  require('measure.shapes', measure.shapes, len(measure.shapes) > 0, 'one shape at least')
  for field, count in (('scaling_base', 4), ('sampling', 2), ('translation', 3)):
    require(f'measure.{field}', measure[field], _sizes(measure[field], count), f'{count} integers >= 1')
  factors = measure.scaling_factors
  require('measure.scaling_factors', factors, _sizes(factors, len(factors)) and len(factors), 'integers >= 1')
  for field in ('rounds', 'calls', 'sample_length', 'long_steps'):
    require(f'measure.{field}', measure[field], measure[field] >= 1, 'an integer >= 1')
  require('measure.seconds', measure.seconds, 0.0 < measure.seconds < math.inf, 'a number > 0')


def _sizes(values, count):
  return isinstance(values, tuple) and len(values) == count and all(isinstance(v, int) and v >= 1 for v in values)


def _report(config, workdir, out_dir):
  from rnn_research.benchmark.machine import describe
  from rnn_research.benchmark.report import write_report  # matplotlib is slow to load

  measure = config.measure
  libraries = suite.libraries()
  if 'failed' in libraries['jax']:
    raise InputError(f'JAX does not start in a process of its own: {libraries["jax"]["failed"]}')
  has_gpu, has_torch = libraries['jax']['platform'] == 'gpu', _usable(libraries)
  notes = _notes(libraries, has_gpu)
  for note in notes:
    show(note)
  chosen = measure.groups.split(',')
  measured = {group: work() for group, work in _groups(config, has_gpu, has_torch).items() if group in chosen}
  machine = {**describe(), **libraries['jax'], 'torch': libraries['torch'].get('version'), 'git_hash': git_hash()}
  measured |= {'machine': machine, 'command': ['python', Path(sys.argv[0]).name, *sys.argv[1:]], 'notes': notes,
               'measure': measure.to_dict()}
  return write_report(measured, out_dir)


def _groups(config, has_gpu, has_torch):
  """Returns what can be measured: each of `GROUPS` -> `() -> its part of the report`."""
  measure, seed = config.measure, config.seed
  hidden_size, *rows_and_steps = measure.translation
  effort = suite.Effort(measure.rounds, measure.calls, measure.seconds)
  available = lambda rivals: {label: rival for label, rival in rivals.items()
                              if has_torch or not label.startswith('PyTorch')}
  shapes = measure.shapes + (measure.gpu_shapes if has_gpu else ())
  return {
      'comparisons': lambda: [
          _compare(Setting(cell, *shape, seed), available(contenders.comparison(cell, has_gpu)), effort)
          for cell in measure.cells.split(',') for shape in shapes],
      'scaling': lambda: _scaling(Setting('lstm', *measure.scaling_base, seed), measure.scaling_factors, effort),
      'sampling': lambda: _sampling(Setting('lstm', *measure.sampling, 1, measure.sample_length, seed),
                                    available(contenders.sampling(has_gpu)), effort),
      'translation': lambda: _translation(Setting('gru', hidden_size, 1, *rows_and_steps, seed),
                                          available(contenders.translation(has_gpu)), effort),
      'pipeline': lambda: [_pipeline(Setting('lstm', 1, 1, *shape, seed), effort)
                           for shape in dict.fromkeys(shape[2:] for shape in shapes)],
      'memory': lambda: suite.long_gradients(measure.long_steps),
  }


def _usable(libraries):
  """Returns whether there is a PyTorch for the device that JAX uses."""
  torch = libraries['torch']
  return 'failed' not in torch and (libraries['jax']['platform'] != 'gpu' or torch['cuda'])


def _notes(libraries, has_gpu):
  torch, notes = libraries['torch'], []
  if not has_gpu:
    notes.append('No GPU: not run are cuDNN through jax.experimental.rnn, PyTorch on CUDA, and bfloat16.')
  if 'failed' in torch:
    missing = torch['failed'].startswith('ModuleNotFoundError')
    why = 'is not installed' if missing else f'cannot be imported ({torch["failed"]})'
    notes.append(f'PyTorch {why}: its rows were not run.')
  elif not _usable(libraries):
    notes.append('PyTorch finds no CUDA device: its rows were not run.')
  return notes


def _compare(setting, rivals, effort):
  results = suite.compare(rivals, setting, dict.fromkeys(rivals, PARTS[::-1]), effort)
  against = {label: rival.against for label, rival in rivals.items()}
  summaries = tables.summary(results, against, setting.batch_size * setting.unroll_length)
  show(f'{setting}: {_line(tables.shown(summaries))}')
  return {'setting': setting._asdict(), 'contenders': summaries}


def _line(rows):
  """Returns the time of ours and the ratios of the others, for people who wait."""
  parts = []
  for label, values in rows.items():
    if 'failed' in values:
      parts.append(f'{label} failed: {values["failed"]}')
    elif 'step' in values['ratios']:
      parts.append(f'{values["which"]} {values["ratios"]["step"]:.2f}')
    else:
      parts.append(f'{label} {1e3 * values["parts"]["step"]["median"]:.4g} ms')
  return ', '.join(parts)


def _scaling(base, factors, effort):
  scaling = suite.scaling(base, factors, effort)
  for points in scaling.values():
    for point in points:
      if 'times' in point:
        point['step'] = tables.spread(point.pop('times'))
  show('cost of each size: done')
  return scaling


def _sampling(setting, rivals, effort):
  """Measures whole texts, of which one is enough for a turn, three are enough in all, and none is left out."""
  parts = {'ours': ['sampler'], 'PyTorch': ['LSTMCell', 'nn.LSTM']}
  sampling, effort = {}, effort._replace(rounds=min(effort.rounds, 3), calls=1)
  for label, result in suite.compare(rivals, setting, parts, effort, discard=0).items():
    for part in parts[label]:
      sampling[f'{label}: {part}'] = result if 'failed' in result else tables.spread(result['times'][part])
  show(f'sampling: {_rates(sampling, setting.unroll_length, "characters")}')
  return sampling


def _translation(setting, rivals, effort):
  results = suite.compare(rivals, setting, dict.fromkeys(rivals, ('greedy',)), effort)
  translation = {label: result if 'failed' in result else tables.spread(result['times']['greedy'])
                 for label, result in results.items()}
  show(f'translation: {_rates(translation, setting.batch_size, "sentences")}')
  return translation


def _rates(measured, amount, unit):
  return ', '.join(f'{label} failed' if 'failed' in values else f'{label} {amount / values["median"]:,.0f} {unit}/s'
                   for label, values in measured.items())


def _pipeline(setting, effort):
  (result,) = suite.compare(contenders.PIPELINE, setting, {'pipeline': ['batches']}, effort).values()
  row = {'batch_size': setting.batch_size, 'unroll_length': setting.unroll_length}
  if 'failed' in result:
    return {**row, **result}
  drawn = tables.spread(result['times']['batches'])
  rate = contenders.BATCHES_DRAWN * setting.batch_size * setting.unroll_length / drawn['median']
  show(f'drawing batches of {setting.batch_size} x {setting.unroll_length}: {rate:,.0f} characters/s')
  return {**row, **drawn, 'symbols_per_second': rate}
