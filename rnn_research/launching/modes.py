"""What it means to launch: a table of modes, each one function `(start, **flags) -> None`."""

import functools
from collections.abc import Callable, Mapping

import experiments
from rnn_research import workdir
from rnn_research.errors import UsageError, did_you_mean
from rnn_research.experiment import Command, Experiment
from rnn_research.launching import runs, words
from rnn_research.launching.begin import begin
from rnn_research.launching.config import CHANGEABLE, Start, check_unchanged
from rnn_research.launching.flags import COMPUTING, Mode, Request
from rnn_research.training import backend, checkpoint
from rnn_research.training.config import rows_per_step, trains


def train(start: Start) -> None:
  """Trains, and says what to do next."""
  experiment = go(start, configure)
  if backend.is_first() and checkpoint.is_finished(start.workdir):
    words.say_after(start.name, start.workdir, experiment.commands)


def go(start: Start, set_up: Callable[[Start], None]) -> Experiment:
  """Trains, from the newest checkpoint of the workdir if there is one, else from `init_from`.

  Args:
    start: of `config.resolve`, with the resolved config.
    set_up: sets up JAX, as `configure` does.

  Returns:
    What was trained.

  Raises:
    InputError: the checkpoint is that of a run with another identity, or what is wrong with the
      data.
    UsageError: one of several processes got no workdir.
  """
  if backend.is_distributed() and not start.named:
    raise _not_distributed()
  resumed = checkpoint.has_checkpoint(start.workdir)
  if resumed:
    check_unchanged(start, (*CHANGEABLE, *experiments.movable(start.name)), '; use a new workdir')
  if backend.is_first():
    words.say_place(start)
  set_up(start)
  backend.initialize_distributed()
  if resumed:
    experiment = workdir.build(start.workdir, start.name, start.config)
  else:
    experiment = begin(experiments.build(start.name, start.config), start)
  runs.train(experiment, start)
  return experiment


def configure(start: Start) -> None:
  """Sets up JAX for a training, see `backend.configure`."""
  backend.configure(
    rows_per_step(start.config),
    start.num_devices or runs.saved_devices(start.workdir),
    experiments.kept_bytes(start.name, start.config),
  )


def evaluate(start: Start) -> None:
  """Evaluates the best parameters on whole splits; writes and prints result-evaluate.json."""
  runs.evaluate(_open(start, experiments.places(start.name)))


def report(start: Start) -> None:
  """Writes figures and samples for people to the folder report."""
  run = _open(start, experiments.places(start.name))
  runs.write_report(run.experiment, run.params, run.workdir)
  words.say_report(run.workdir)


def command(own: Command, start: Start, **values) -> None:
  """Does what a mode of the experiment's own does."""
  own.main(_open(start, experiments.places(start.name) if own.reads_data else ()), **values)


def study(redraw: bool, start: Start) -> None:
  """Runs a study, or prints its result again; with `redraw` runs it again."""
  made = experiments.build(start.name, start.config)
  runs.study(made, start, redraw)


def find(request: Request, start: Start, commands: Mapping[str, Command]) -> Mode:
  """Returns the mode of a request: that of a study, of every experiment, or of this one.

  Raises:
    UsageError: there is none.
  """
  if not trains(start.saved):
    return _of_study(request, start.name)
  modes = {
    'train': Mode(train, num_devices=True),
    'evaluate': Mode(evaluate),
    'report': Mode(report),
    **{
      name: Mode(functools.partial(command, own), own.flags, config=own.reads_data)
      for name, own in commands.items()
    },
  }
  if request.mode not in modes:
    hint = did_you_mean(request.mode, modes)
    raise UsageError(f'mode is {request.mode!r}, expected one of {", ".join(modes)}{hint}')
  return modes[request.mode]


def _of_study(request, name):
  modes = {mode: Mode(functools.partial(study, mode == 'report')) for mode in ('train', 'report')}
  if request.mode not in modes:
    raise UsageError(
      f'--mode={request.mode} needs a trained model, and {name} trains none: start it '
      'without --mode'
    )
  if request.num_devices:
    raise UsageError(f'--num_devices is not used by {name}, which trains no model')
  return modes[request.mode]


def _open(start, places):
  """Returns the trained run of a workdir, which may read other data and be computed otherwise."""
  if backend.is_distributed():
    raise _not_distributed()
  check_unchanged(start, (*COMPUTING, *places))
  backend.configure(1)
  experiment = workdir.build(start.workdir, start.name, start.config)
  return workdir.restore(start.workdir, start.name, start.config, experiment)


def _not_distributed():
  return UsageError(
    'several processes run only --mode=train, in the one --workdir that all of them name'
  )
