"""What gradients do on their way back through time: explode, vanish, or take the road through c.

  python launch.py --experiment=gradient_flow --workdir=DIR      see DIR/report
  python launch.py --experiment=gradient_flow --config.flow.cells=elman,min_gru \\
    --config.flow.gate_cells=min_gru
  python launch.py --experiment=gradient_flow --config.workdir_of=RUN      the model of another run
  python launch.py --experiment=gradient_flow:memory      softmax over a memory against gates

  VARIANT  time  slope of the log norm, where log s is +.1823, 0 and -.2231
  full     16 s  +.1819, -.0004 and -.2235 (docs/results.md); 10 s on two idle cores
  memory   9 s   no slopes: softmax over a memory against gates (docs/guides/gradient-flow.md)
  debug    10 s  not meant to be read

Seed 0; `experiments.Variant` says what the times are.

Untrained cells are measured with a random readout as loss, trained ones with their own.
`--mode=report` does the same as no mode, and draws a finished report again.
"""

import functools
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from rnn_research import workdir
from rnn_research.analysis.measures import flow
from rnn_research.cells import make_cell
from rnn_research.errors import InputError, comma_list, of_flag, require, require_one_of
from rnn_research.experiment import Study

VARIANTS = {
  'full': ('Elman, IRNN, LSTM and GRU of 64 units over 100 steps (the default)', '16 s'),
  'memory': ('a softmax over the cells of a memory against gates', '9 s'),
  'debug': ('an Elman network and an LSTM of 8 units: to see that everything works', '10 s'),
}

_CHANGES = {
  'full': {},
  'memory': {'subject': 'memory'},
  'debug': {
    'flow': {
      'cells': 'elman,lstm',
      'gate_cells': 'lstm',
      'hidden_size': 8,
      'num_steps': 12,
      'lags': 10,
      'batch_size': 2,
      'draws': 2,
      'largest_singular_values': (0.9, 1.1),
    },
    'clipping': {'updates': 20, 'seeds': 2},
    'memory': {'cells': 8, 'size': 4, 'draws': 2, 'steps': 5},
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
      'subject': 'cells',  # what is measured: cells, or memory
      'workdir_of': '',  # of a trained model, measured in place of the untrained cells
      'flow': {
        'cells': 'elman,irnn,lstm,gru',  # which are measured, with commas
        'gate_cells': 'lstm,gru',  # whose gates are counted; '' counts none
        'hidden_size': 64,  # units
        'num_steps': 100,  # T
        'lags': 100,  # the largest lag
        'batch_size': 8,  # rows of a draw
        'draws': 4,  # of parameters and inputs
        'largest_singular_values': (0.8, 1.0, 1.2),  # of the linear case
      },
      'clipping': {
        'updates': 1000,  # of plain gradient descent
        'seeds': 5,  # networks, each trained with clipping and without
        'largest_singular_value': 1.4,  # of W_h at first
        'learning_rate': 0.15,  # of gradient descent without momentum
        'clip_norm': 1.0,  # the most the global norm may be, where it is clipped
      },
      'memory': {
        'cells': 128,  # N
        'size': 20,  # numbers in each
        'strengths': (1.0, 5.0, 20.0),  # beta, by which a softmax is sharp
        'draws': 200,  # of memories
        'steps': 101,  # of the query's way from one cell to another
      },
    }
  )
  config.update(_CHANGES[variant])
  return config.lock()


def build(config: ConfigDict, assets: dict | None = None) -> Study:
  """Makes the study.

  Raises:
    InputError: an unknown cell, a cell without gates among `gate_cells`, or a `workdir_of` without
      a model that can be analysed.
  """
  if config.subject == 'memory':
    return Study(functools.partial(_report_memory, config))
  cells = {name: make_cell(name, config.flow.hidden_size) for name in comma_list(config.flow.cells)}
  gated = {
    name: make_cell(name, config.flow.hidden_size) for name in comma_list(config.flow.gate_cells)
  }
  for name, cell in gated.items():
    if cell.gates is None:
      raise InputError(f'{name} has no gates, so there are no gate statistics of it')
  if config.workdir_of:
    with of_flag('workdir_of'):
      run = workdir.load(config.workdir_of)
    network = run.recurrence(config.flow.num_steps, config.seed)
    return Study(functools.partial(_report_trained, config, network))
  return Study(functools.partial(_report_untrained, config, cells, gated))


def check(config: ConfigDict) -> None:
  """Raises InputError for a field out of range."""
  for field in ('hidden_size', 'num_steps', 'lags', 'batch_size', 'draws'):
    require(f'flow.{field}', config.flow[field], config.flow[field] >= 1, 'an integer >= 1')
  require(
    'flow.cells',
    config.flow.cells,
    bool(comma_list(config.flow.cells)),
    'names of cells, with commas',
  )
  if config.flow.num_steps < config.flow.lags:
    raise InputError(
      f'flow.num_steps is {config.flow.num_steps}, too short for the lag range: expected '
      f'flow.lags, {config.flow.lags}, at least'
    )
  sizes = config.flow.largest_singular_values
  require(
    'flow.largest_singular_values',
    sizes,
    len(sizes) > 0 and all(isinstance(s, int | float) and 0.0 < s < np.inf for s in sizes),
    'numbers > 0',
  )
  require_one_of('subject', config.subject, ('cells', 'memory'))
  untrained = not config.workdir_of or config.subject == 'cells'
  require('workdir_of', config.workdir_of, untrained, "'' where subject is memory, of no model")
  for field, least in (('cells', 2), ('size', 1), ('draws', 1), ('steps', 2)):
    value = config.memory[field]
    require(f'memory.{field}', value, value >= least, f'an integer >= {least}')
  strengths = config.memory.strengths
  require(
    'memory.strengths',
    strengths,
    len(strengths) > 0 and all(isinstance(s, int | float) and 0.0 < s < 1e6 for s in strengths),
    'numbers in (0, 1e6)',
  )
  for field in ('updates', 'seeds'):
    require(
      f'clipping.{field}', config.clipping[field], config.clipping[field] >= 1, 'an integer >= 1'
    )
  for field in ('largest_singular_value', 'learning_rate', 'clip_norm'):
    value = config.clipping[field]
    # Not what float32 takes for zero or infinity, which no axis of the figures can show either.
    require(f'clipping.{field}', value, 1e-30 < value < 1e30, 'a number in (1e-30, 1e30)')


def _report_untrained(config, cells, gated, workdir, out_dir):
  from rnn_research.analysis.reports import sections
  from rnn_research.tasks.gradient_flow import report  # matplotlib is slow to load

  settings, keys = config.flow, jax.random.split(jax.random.key(config.seed), config.flow.draws + 1)

  def draws(cell):
    return [
      flow.untrained(cell, settings.hidden_size, settings.num_steps, settings.batch_size, key)
      for key in keys[1:]
    ]

  networks = {name: draws(cell) for name, cell in cells.items()}
  about = (
    f'Untrained cells of {settings.hidden_size} units, T = {settings.num_steps} steps of '
    'inputs N(0, 1).'
  )
  losses = (
    f'{about} L_T = v . y_T with v a random unit vector; {settings.draws} draws x '
    f'{settings.batch_size} rows.'
  )
  return sections.write(
    out_dir,
    'Gradient flow of untrained cells',
    [
      report.gradients(networks, settings.lags, losses),
      report.linear_case(
        settings.largest_singular_values,
        settings.hidden_size,
        settings.lags,
        settings.batch_size,
        keys[0],
      ),
      report.jacobians(networks, settings.lags, about),
      *(
        section
        for name in networks
        for section in report.paths(name, networks[name], settings.lags, losses)
      ),
      *report.gates(
        {name: networks.get(name) or draws(cell) for name, cell in gated.items()}, about
      ),
      report.clipped_training(config.clipping, config.seed),
    ],
  )


def _report_memory(config, workdir, out_dir):
  from rnn_research.analysis.reports import sections
  from rnn_research.tasks.gradient_flow import soft_memory  # matplotlib is slow to load

  measured = soft_memory.sections(config.memory, config.seed)
  return sections.write(out_dir, 'Gradients through a memory', measured)


def _report_trained(config, network, workdir, out_dir):
  from rnn_research.analysis.reports import sections
  from rnn_research.tasks.gradient_flow import report

  networks, num_lags = {'trained': [network]}, config.flow.lags
  about = (
    f'The trained model of {Path(config.workdir_of).name}, T = {config.flow.num_steps} steps of '
    'held-out data from the initial state.'
  )
  losses = f'{about} L_T is its own loss at step T; {network.xs.shape[1]} rows.'
  return sections.write(
    out_dir,
    f'Gradient flow of the model in {config.workdir_of}',
    [
      report.gradients(networks, num_lags, losses),
      report.jacobians(networks, num_lags, about),
      *report.paths('trained', networks['trained'], num_lags, losses),
      *report.gates(networks, about),
    ],
  )
