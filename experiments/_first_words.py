"""What a start is going to do, said before JAX is loaded, which takes a second or more: nothing
here may import `rnn_research`, which loads it."""

import contextlib
import json
import os
import shutil
import sys
import textwrap
from pathlib import Path

import experiments


def say(argv: list[str]) -> None:
  """Prints what is going to be trained or studied, and how long that takes where it is known.

  Mistakes in the command line are left to those who read all of it.
  """
  given = dict(word.lstrip('-').partition('=')[::2] for word in argv if word.startswith('-'))
  first = os.environ.get('JAX_PROCESS_ID', '0') == '0'
  if not first or given.get('mode', 'train') != 'train' or _other_start(given):
    return
  with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
    name = ':'.join(experiments.split_name(_experiment(given)))
    text, time = experiments.variant(name)
    print(_fitted(f'{name}: {text}'), flush=True)
    changed = [flag for flag in given if flag.startswith('config.')]
    # With other settings than those of the variant nobody knows.
    if time and not _begun(given) and all(flag.startswith('config.data.') for flag in changed):
      data = ' with the data it was measured with' if changed else ''
      print(_fitted(f'takes about {time} on 1 or 2 CPU cores{data}'), flush=True)


def _other_start(given):
  """Returns whether nothing is started, or the flags stand elsewhere than behind an =."""
  apart = any(not given[flag] for flag in ('experiment', 'workdir') if flag in given)
  return apart or bool({'list', 'help', 'flagfile'} & given.keys())


def _experiment(given):
  config = _workdir(given) / 'config.json'
  if 'experiment' in given or 'workdir' not in given or not config.exists():
    return given.get('experiment', experiments.DEFAULT)
  return json.loads(config.read_text('utf-8'))['experiment']


def _begun(given):
  return 'workdir' in given and any((_workdir(given) / name).exists() for name in _OF_A_RUN)


_OF_A_RUN = 'checkpoints', 'result.json'


def _workdir(given):
  return Path(given.get('workdir', '')).expanduser()


def _fitted(line):
  columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(line) + 1
  return textwrap.fill(line, columns, subsequent_indent='  ')
