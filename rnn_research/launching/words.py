"""What a start says to people: before it, what it is going to do; after it, what to do next."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Container
from pathlib import Path

import experiments
from rnn_research.launching.config import Start
from rnn_research.terminal import command, fitted
from rnn_research.training import checkpoint
from rnn_research.training.config import trains


def say_place(start: Start) -> None:
  """Prints where a run is written, and from where it goes on; what it is, `launch.py` has said."""
  print(fitted(_place(start, checkpoint.newest_step(start.workdir))), flush=True)


def say_after(name: str, workdir: str, can: Container[str]) -> None:
  """Prints how the report of a workdir is opened, if it has one, and which of what a model `can` do
  is next."""
  say_report(workdir)
  modes = experiments.commands(name)
  examples = {mode: own.example for mode, own in modes.items() if own.example and mode in can}
  if examples:
    print('next:')
  for mode, flags in examples.items():
    print(command([*_program(), f'--workdir={workdir}', f'--mode={mode}', *shlex.split(flags)]))
  sys.stdout.flush()


def say_report(workdir: str) -> None:
  """Prints where the report of a workdir is and how to open its first picture, if it has one."""
  pages = sorted(Path(workdir, 'report').glob('*.md'), key=lambda page: page.name != 'README.md')
  for page in pages[:1]:
    pictures = re.findall(r'\]\(([^()]+\.png)\)', page.read_text('utf-8'))
    told = f'the report is in {page}'
    print(fitted(f'{told}; its first picture:' if pictures else told), flush=True)
    if pictures:
      print(command([_OPEN, str(page.parent / pictures[0])]), flush=True)


_OPEN = 'open' if sys.platform == 'darwin' else 'xdg-open'


def _place(start, step):
  if not trains(start.config):
    return f'writes to {start.workdir}'
  stop = 'Ctrl-C stops it, the same --workdir goes on'
  if step is None:
    return f'writes to {start.workdir}; {stop}'
  if checkpoint.is_finished(start.workdir) and checkpoint.ends(start.saved) == checkpoint.ends(
    start.config
  ):
    return f'finished at step {step:,} in {start.workdir}; its result again:'
  return f'goes on from step {step:,} in {start.workdir}; {stop}'


def _program():
  """Returns how this program is started, with the name of Python as the shell finds it."""
  if shutil.which('python') == sys.executable:
    return 'python', sys.argv[0]
  here = os.path.relpath(sys.executable)
  return (sys.executable if here.startswith(os.pardir) else here), sys.argv[0]
