"""Whose run it is, and the config that it has: of the flags, of the workdir, by default."""

import datetime
import os
from typing import NamedTuple

from ml_collections import ConfigDict

import experiments
from rnn_research.data.files import expand
from rnn_research.errors import InputError, UsageError
from rnn_research.launching.flags import ENGINE, Request
from rnn_research.training.checkpoint import has_checkpoint, is_finished
from rnn_research.training.config import check_ranges, flat, trains
from rnn_research.workdir import read_config

# What a run may change when it goes on; everything else belongs to its identity.
CHANGEABLE = (
  'train.steps',
  'train.epochs',
  'train.eval_every',
  'train.checkpoint_every',
  'train.log_every',
  'train.show_steps',
  'train.stop_after',
  'train.tensorboard',
  ENGINE,
)


class Start(NamedTuple):
  """A start of the launcher.

  Attributes:
    name: 'experiment:variant'.
    workdir: its folder; may not be there yet.
    named: whether the command line names it.
    saved: the config before overrides: that of the workdir, or that of the variant.
    config: the resolved config.
    num_devices: 0 chooses.
  """

  name: str
  workdir: str
  named: bool
  saved: ConfigDict
  config: ConfigDict
  num_devices: int


def resolve(request: Request) -> Start:
  """Finds out what is started, where, and with which config before overrides: flag before workdir
  before default.

  Raises:
    InputError: no such experiment.
    UsageError: the workdir belongs to another experiment, or a mode that needs a trained one got
    none.
  """
  name = ':'.join(experiments.split_name(request.experiment)) if request.experiment else ''
  workdir = str(expand(request.workdir)) if request.workdir else ''
  begun = workdir and os.path.exists(f'{workdir}/config.json')
  # What a run that failed before its first checkpoint left there is no reason to refuse another
  # start.
  if begun and (
    request.mode != 'train' or not name or has_checkpoint(workdir) or is_finished(workdir)
  ):
    trained, config = read_config(workdir, experiments.get_config)
    if name and name != trained:
      raise UsageError(
        f'--experiment={name}, but {workdir} belongs to {trained}; use a new workdir'
      )
    return _start(trained, workdir, config, request)
  # The report of a study needs no earlier run: it is the run.
  drawn = request.mode == 'report' and name and not trains(experiments.get_config(name))
  if request.mode != 'train' and not drawn:
    raise UsageError(
      f'--mode={request.mode} needs --workdir, a folder with a trained run'
      + (f'; {workdir} has no config.json' if workdir else '')
    )
  name = name or ':'.join(experiments.split_name(experiments.DEFAULT))
  time = datetime.datetime.now().strftime('%Y%m%d-%H%M%S-%f')
  new = f'runs/{name.replace(":", "-")}-{time}'
  return _start(name, workdir or new, experiments.get_config(name), request)


def check(start: Start) -> None:
  """Raises InputError for a field of the resolved config that is out of range, or that was changed
  although nothing reads it."""
  check_ranges(start.config)
  experiments.check(start.name, start.config)
  experiments.check_read(start.name, start.config, start.saved)


def check_unchanged(start: Start, may_change: tuple[str, ...], hint: str = '') -> None:
  """Checks that the resolved config differs from the saved one in fields that may change alone.

  Raises:
    InputError: other fields differ; it names them, and ends with the hint.
  """
  before, now = flat(start.saved), flat(start.config)
  changed = [
    f'{field} ({before.get(field)!r} in the workdir, now {now.get(field)!r})'
    for field in {**before, **now}
    if before.get(field) != now.get(field) and field not in may_change
  ]
  if changed:
    raise InputError(
      f'workdir: {start.workdir} holds a run with another {", another ".join(changed)}{hint}'
    )


def _start(name, workdir, config, request):
  saved = config.copy_and_resolve_references()
  return Start(name, workdir, bool(request.workdir), saved, config, request.num_devices)
