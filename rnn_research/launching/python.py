"""Training from Python, in a script or a notebook."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rnn_research.errors import require
from rnn_research.launching import modes
from rnn_research.launching.config import check, resolve
from rnn_research.launching.flags import NOTHING, read_config
from rnn_research.training.config import trains
from rnn_research.workdir import Run, load


def train(
  name: str, workdir: str | Path = '', fields: Mapping[str, Any] = MappingProxyType({})
) -> Run:
  """Trains as `launch.py --experiment=NAME --workdir=DIR --config.FIELD=VALUE` does, and opens the
  run.

    run = train('char_lm', 'runs/mine', {'data.path': 'mine.txt', 'train.steps': 1000})
    run.sample('The ')

  Devices are those that JAX has if it has started, else as the launcher sets them.

  Args:
    name: 'experiment' or 'experiment:variant'.
    workdir: its folder; one with a checkpoint goes on from it, '' makes one in `runs`.
    fields: of the config, by their full names, in place of the variant's.

  Raises:
    InputError: what the launcher refuses.
    OSError: a file that cannot be read or written.
    FloatingPointError: a loss or a gradient that is not a number.
  """
  words = tuple(f'--config.{field}={value}' for field, value in fields.items())
  request = NOTHING._replace(argv=words, experiment=name, workdir=str(workdir))
  start = resolve(request)
  start = start._replace(config=read_config(request, start.config))
  require('experiment', start.name, trains(start.config), 'one that trains a model')
  check(start)
  modes.go(start, _configure)
  return load(start.workdir)


def _configure(start):
  with contextlib.suppress(RuntimeError):  # JAX has started, with devices of its own
    modes.configure(start)
