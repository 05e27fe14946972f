"""Folders of the user's cache: one process writes, others wait; whatever fails is said in one
sentence."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rnn_research.data.files import expand
from rnn_research.errors import InputError, require
from rnn_research.training.progress import tell

ABOUT = 'about.txt'  # of a folder: what it is about, and the lock of who writes to it
_ADVICE = 'name another folder with --config.data.cache_dir'


def folder_of(cache_dir: str, kind: str) -> Path:
  """Returns where `kind`, such as 'features', is kept: in `cache_dir`; '' is the user's folder for
  caches.

  Raises:
    InputError: no folder has such a name.
  """
  require('data.cache_dir', cache_dir, '\0' not in cache_dir, 'the path of a folder')
  if cache_dir:
    return expand(cache_dir)
  return expand(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'rnn_research' / kind


@contextlib.contextmanager
def locked(folder: Path, about: str) -> Iterator[None]:
  """Makes the folder, with a file that says what it is about, and keeps other processes from
  writing to it; waits for one that does."""
  with sentence(folder, 'written'), contextlib.ExitStack() as files:
    folder.mkdir(parents=True, exist_ok=True)
    lock = files.enter_context(open(folder / ABOUT, 'w', encoding='utf-8'))
    print(about, file=lock, flush=True)
    held = files.pop_all()
  with held:
    with sentence(folder, 'written'):  # where locks are not supported
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        tell(f'another process writes to {folder}: waits until it is done')
        fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def check_space(folder: Path, more: int) -> None:
  """Raises InputError where the disk has no room for so many more bytes."""
  free = shutil.disk_usage(folder).free
  if free < more:
    raise InputError(
      f'data.cache_dir: {folder} needs {more / 1e6:,.0f} MB more, its disk has '
      f'{free / 1e6:,.0f} MB left, {_ADVICE}'
    )


@contextlib.contextmanager
def sentence(folder: Path, done: str) -> Iterator[None]:
  """Turns an error of the disk into one sentence: the folder cannot be `done`, 'read' or
  'written'."""
  try:
    yield
  except OSError as error:
    raise InputError(
      f'data.cache_dir: {folder} cannot be {done} ({error.strerror}), {_ADVICE}'
    ) from error
