"""What a start is going to do, said before JAX is loaded, which takes a second or more."""

import contextlib
import json
import os
from pathlib import Path

import experiments
from rnn_research.terminal import fitted


def say(argv: list[str]) -> None:
  """Prints what is going to be trained or studied, and how long that takes where it is known.

  Mistakes in the command line, and lines that are written in other ways than --name=value, are left
  to those who read all of it.
  """
  words = [word.removeprefix('--').partition('=') for word in argv]
  given = {name: value for name, _, value in words}
  understood = all(equals and _is_known(name) for name, equals, _ in words)
  if not understood or given.get('mode', 'train') != 'train':
    return
  if os.environ.get('JAX_PROCESS_ID', '0') != '0':
    return
  with contextlib.suppress(Exception):  # it is said in one sentence later
    experiment, variant = experiments.split_name(_experiment(given))
    asked = given.get('experiment', f'{experiment}:{variant}')
    if experiments.split_name(asked) != (experiment, variant):
      return  # the workdir has another one, which is refused
    name, (text, time) = f'{experiment}:{variant}', experiments.variants(experiment)[variant]
    changed = [flag for flag in given if flag.startswith('config.')]
    print(fitted(name if _begun(given) else f'{name}: {text}'), flush=True)
    if changed:
      fields = ', '.join(f'{flag.removeprefix("config.")}={given[flag]}' for flag in changed)
      print(fitted(f'but with {fields}'), flush=True)
    # With other settings than those of the variant nobody knows.
    if time and not _begun(given) and all(flag.startswith('config.data.') for flag in changed):
      data = ' with the data it was measured with' if changed else ''
      print(fitted(f'takes about {time} on 1 or 2 CPU cores{data}'), flush=True)


def _is_known(name):
  return name in ('experiment', 'workdir', 'mode', 'num_devices') or name.startswith('config.')


def _experiment(given):
  if _begun(given):
    return json.loads((_workdir(given) / 'config.json').read_text('utf-8'))['experiment']
  return given.get('experiment', experiments.DEFAULT)


def _begun(given):
  return 'workdir' in given and any((_workdir(given) / name).exists() for name in _OF_A_RUN)


_OF_A_RUN = 'checkpoints', 'result.json'


def _workdir(given):
  return Path(given.get('workdir', '')).expanduser()
