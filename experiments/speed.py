"""How fast are we? Training, sampling and translating against `lax.scan`, Flax and PyTorch; the
cost of each size.

  python launch.py --experiment=speed --workdir=DIR     the report is DIR/report/speed.md
  python launch.py --experiment=speed:quick
  python launch.py --experiment=speed --config.measure.cells=gru \\
    --config.measure.shapes='((128, 1, 100, 100),)'
  python launch.py --experiment=speed --config.measure.groups=translation
  python launch.py --experiment=speed --config.measure.groups=comparisons \\
    --config.measure.parts=step --config.measure.rivals=linen,torch,bfloat16

  VARIANT  time     what comes out
  full     -        the tables of speed in docs/
  quick    91 s     ratios of the step, the scaling and sampling of an LSTM, few rounds; no PyTorch
  debug    48 s     nothing to be read

`experiments.Variant` says what the times are.

Nothing is trained to an end: times are all there is. PyTorch is compared with if it is installed.
Leave the machine alone while it runs.
"""

import functools
import math
import sys
from pathlib import Path

from ml_collections import ConfigDict

from rnn_research.benchmark import contenders, groups
from rnn_research.benchmark.contenders import PARTS, RIVALS, Setting
from rnn_research.benchmark.measure import Effort
from rnn_research.cells import CELLS
from rnn_research.engines.dispatch import DESCRIPTIONS
from rnn_research.errors import comma_list, require, require_one_of
from rnn_research.experiment import Study
from rnn_research.training.progress import show

VARIANTS = {
  'full': 'LSTM, GRU and Elman in four shapes (the default)',
  'quick': ('LSTM in one shape', '91 s'),
  'debug': ('an Elman network of 8 units: to see that everything works', '48 s'),
}
GROUPS = (
  *('comparisons', 'launch', 'parallel', 'scaling', 'sampling', 'translation', 'captioning'),
  *('machines', 'pipeline', 'memory'),
)
_LEFT_OUT = (
  'No GPU: engines for long sequences, minutes on a CPU, were left out '
  '(--config.measure.groups=parallel).'
)

_CHANGES = {
  'full': {},
  'quick': {
    'groups': 'comparisons,scaling,sampling',
    'cells': 'lstm',
    'parts': 'step',
    'rivals': 'scan,linen,nnx',
    'shapes': ((128, 1, 100, 100),),
    'gpu_shapes': (),
    'rounds': 2,
    'seconds': 0.5,
    'scaling_factors': (1, 4),
    'sample_length': 300,
    'parallel': ((8, 4, 256),),
  },
  'debug': {
    'cells': 'elman',
    'shapes': ((8, 1, 4, 4),),
    'gpu_shapes': (),
    'rounds': 2,
    'calls': 2,
    'seconds': 0.1,
    'scaling_base': (8, 1, 4, 4),
    'scaling_factors': (1, 2),
    'sampling': (8, 1),
    'sample_length': 20,
    'translation': (8, 4, 5),
    'learning_to_translate': (8, 1, 100),
    'captioning': (8, 2, 4),
    'machines': (8, 2, 3),
    'long_steps': 100,
    'parallel': ((4, 2, 16),),
  },
}


def get_config(variant: str = 'full') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  config = ConfigDict(
    {
      'seed': 0,
      'measure': {
        # Some of comparisons, launch, parallel, scaling, sampling, translation, captioning,
        # machines, pipeline, memory, with commas; '' is all, parallel only where there is a GPU.
        'groups': '',
        # Names of `--list --cells`, with commas; others than these are compared with a plain scan.
        'cells': ','.join(contenders.CELLS),
        'parts': ','.join(PARTS),  # programs: forward, gradient, step, with commas
        'rivals': '',  # some of scan, linen, nnx, cudnn, torch, bfloat16, with commas; '' is all
        'engine': 'auto',  # of our cells
        # Hidden units H, layers L, batch B, unroll T of each.
        'shapes': ((128, 1, 100, 100), (128, 2, 50, 50), (512, 2, 50, 50), (512, 3, 100, 100)),
        # More of them where there is a GPU.
        'gpu_shapes': ((1024, 2, 128, 256), (256, 4, 16, 1024)),
        'rounds': 4,  # turns of every contender
        'calls': 4,  # of each program in a turn
        'seconds': 1.0,  # fewer calls, but one, where they take longer
        'scaling_base': (128, 1, 50, 50),  # H, L, B, T, of which one at a time is multiplied ..
        'scaling_factors': (1, 2, 4, 8),  # .. by each of these
        'sampling': (512, 2),  # H, L of the model that writes
        'sample_length': 10_000,  # characters that it writes
        'translation': (256, 64, 20),  # H, B, T of the model that translates
        'learning_to_translate': (256, 2000, 1000),  # H, pairs, symbols of a batch
        'captioning': (512, 32, 20),  # H, B pictures, T words of the model that captions
        'machines': (100, 16, 20),  # H, B, symbols that a neural Turing machine copies
        'long_steps': 100_000,  # of a sequence whose states do not fit into memory
        # H, B, T of sequences that engines run in parallel over time.
        'parallel': ((16, 16, 16_384), (64, 16, 16_384)),
      },
    }
  )
  config.measure.update(_CHANGES[variant])
  return config.lock()


def build(config: ConfigDict, assets: dict | None = None) -> Study:
  """Makes the study."""
  return Study(functools.partial(_report, config))


def check(config: ConfigDict) -> None:
  """Raises InputError for a field out of range."""
  measure = config.measure
  _check_names(measure)
  shape = '((hidden units, layers, batch, unroll), ...)'
  for field, count, least, expected in (
    ('shapes', 4, 1, f'{shape}, one at least'),
    ('gpu_shapes', 4, 0, shape),
    ('parallel', 3, 1, '((hidden units, batch, unroll), ...), one at least'),
  ):
    shapes = measure[field]
    holds = len(shapes) >= least and all(_sizes(sizes, count) for sizes in shapes)
    require(f'measure.{field}', shapes, holds, expected)
  num_factors = max(1, len(measure.scaling_factors))
  counts = {'scaling_base': 4, 'scaling_factors': num_factors, 'sampling': 2}
  counts |= {'translation': 3, 'learning_to_translate': 3, 'captioning': 3, 'machines': 3}
  for field, count in counts.items():
    holds = _sizes(measure[field], count)
    require(f'measure.{field}', measure[field], holds, f'integers >= 1, {count} of them')
  for field in ('rounds', 'calls', 'sample_length', 'long_steps'):
    require(f'measure.{field}', measure[field], measure[field] >= 1, 'an integer >= 1')
  require('measure.seconds', measure.seconds, 0.0 < measure.seconds < math.inf, 'a number > 0')


def _check_names(measure):
  for field, known in (('groups', GROUPS), ('cells', CELLS), ('parts', PARTS), ('rivals', RIVALS)):
    text, names = measure[field], set(comma_list(measure[field]))
    everything = field in ('groups', 'rivals') and not text
    holds = everything or (names and names <= set(known))
    require(f'measure.{field}', text, holds, f'some of {", ".join(known)}, with commas')
  require('measure.parts', measure.parts, 'step' in comma_list(measure.parts), 'step among them')
  engines = 'auto', *DESCRIPTIONS
  require_one_of('measure.engine', measure.engine, engines)


def _sizes(values, count):
  return (
    isinstance(values, tuple)
    and len(values) == count
    and all(isinstance(v, int) and v >= 1 for v in values)
  )


def _report(config, workdir, out_dir):
  from rnn_research.benchmark import machine
  from rnn_research.benchmark.report import write_report  # matplotlib is slow to load

  described, present, notes = machine.examine()
  chosen = comma_list(config.measure.groups)
  if not chosen:
    chosen = [group for group in GROUPS if present.gpu or group != 'parallel']
    notes += [] if present.gpu else [_LEFT_OUT]
  for note in notes:
    show(note)
  work = _groups(config, present)
  measured = {group: work[group]() for group in GROUPS if group in chosen}
  measured |= {
    'machine': described,
    'command': ['python', Path(sys.argv[0]).name, *sys.argv[1:]],
    'notes': notes,
    'measure': config.measure.to_dict(),
  }
  return write_report(measured, out_dir)


def _groups(config, present):
  """Returns what can be measured: each of `GROUPS` -> `() -> its part of the report`."""
  measure, seed = config.measure, config.seed
  effort = Effort(measure.rounds, measure.calls, measure.seconds, present.gpu)
  names = comma_list(measure.rivals) or RIVALS
  # Memory is that of the first part, the step.
  parts = [part for part in PARTS[::-1] if part in comma_list(measure.parts)]
  rivals = lambda setting: contenders.comparison(setting.cell, present, parts, names)
  shapes = measure.shapes + (measure.gpu_shapes if present.gpu else ())
  compared = [
    Setting(cell, *shape, seed, measure.engine)
    for cell in comma_list(measure.cells)
    for shape in shapes
  ]
  gru = lambda hidden_size, *rows_and_steps: Setting('gru', hidden_size, 1, *rows_and_steps, seed)
  scaled = Setting('lstm', *measure.scaling_base, seed, measure.engine)
  written = Setting('lstm', *measure.sampling, 1, measure.sample_length, seed)
  translated, (hidden_size, *sizes) = gru(*measure.translation), measure.learning_to_translate
  translators = [
    Setting('gru', hidden_size, 1, *sizes, seed),
    Setting('lstm', hidden_size, 2, *sizes, seed),
  ]
  hidden_size, *rows_and_words = measure.captioning
  learned = Setting('lstm', hidden_size, 1, *rows_and_words, seed)
  hidden_size, *rows_and_symbols = measure.machines
  copied = Setting('ntm', hidden_size, 1, *rows_and_symbols, seed)
  drawn = [Setting('lstm', 1, 1, *shape, seed) for shape in dict.fromkeys(s[2:] for s in shapes)]
  return {
    'comparisons': lambda: groups.comparisons(compared, rivals, effort),
    'launch': lambda: groups.launch(compared, effort),
    'parallel': lambda: groups.parallel([gru(*sizes) for sizes in measure.parallel], effort),
    'scaling': lambda: groups.scaling(scaled, measure.scaling_factors, effort),
    'sampling': lambda: groups.sampling(written, contenders.sampling(present), effort),
    'translation': lambda: groups.translation(
      translators, translated, contenders.translation(present), effort
    ),
    'captioning': lambda: groups.captioning(learned, contenders.captioning(present), effort),
    'machines': lambda: groups.machines(copied, contenders.machines(present), effort),
    'pipeline': lambda: groups.pipeline(drawn, effort),
    'memory': lambda: groups.memory(measure.long_steps),
  }
