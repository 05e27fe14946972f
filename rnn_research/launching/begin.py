"""A run that begins from a trained model: its parameters, with a new optimiser, from step 0."""

import jax

from rnn_research import workdir
from rnn_research.errors import InputError, of_flag
from rnn_research.experiment import Experiment
from rnn_research.launching.config import Start
from rnn_research.training import transfer
from rnn_research.training.progress import show, warn
from rnn_research.workdir import Run


def begin(experiment: Experiment, start: Start) -> Experiment:
  """Returns the experiment as the run begins: from the best parameters of `init_from` where that is
  named, which process 0 says.

  Raises:
    InputError: there is no trained model, or its parameters are of no use here.
  """
  folder = start.config.init_from
  if not folder:
    return experiment
  with of_flag('init_from'):
    run = workdir.load(folder)
    _check_same_experiment(run, start.name)
  with of_flag(f'init_from: {run.workdir} holds another model'):
    transfer.check_same_model(experiment, start.config, run.experiment, run.config)
  if jax.process_index() == 0:
    show(_about(experiment, run))
    if start.config.grid.seeds > 1:
      warn(
        'all members of a grid begin from these parameters: seeds differ in what is drawn later '
        'alone (dropout, samples), and not at all where nothing is'
      )
  return transfer.begin_with(experiment, run.experiment, run.params)


def _check_same_experiment(run: Run, name: str) -> None:
  kind = name.partition(':')[0]
  if run.name.partition(':')[0] != kind:
    raise InputError(f'{run.workdir} holds a run of {run.name}, expected one of {kind}')


def _about(experiment: Experiment, run: Run) -> str:
  """Returns where the parameters are from, and how many symbols are known there."""
  lines = [f'begins from the best parameters of {run.workdir} ({run.name}, step {run.step})']
  for name, here in experiment.vocabularies.items():
    known = len(transfer.shared(run.experiment.vocabularies[name].symbols, here.symbols)[0])
    size, new = len(here.symbols), len(here.symbols) - known
    lines.append(f'{name}: {known:,} of {size:,} {here.unit}s are known there, {new:,} new')
  return '\n'.join(lines)
