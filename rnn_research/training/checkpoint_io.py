"""Reading and writing one checkpoint folder with orbax: strictly, errors in one sentence."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from rnn_research.errors import InputError, MisfitError
from rnn_research.training import orbax_watch
from rnn_research.training.progress import warn
from rnn_research.typing import PyTree

_TREES, _JSON = ('state', 'params'), ('data', 'meta')
# What tensorstore says of damaged data; a lack of memory or of rights has other words.
_DAMAGE = re.compile('DATA_LOSS|FAILED_PRECONDITION|INVALID_ARGUMENT|NOT_FOUND|OUT_OF_RANGE')
_PLAIN = re.compile(r'[\w/.=+,@~ -]*', re.ASCII)


class Folder(NamedTuple):
  """An open folder of steps.

  Attributes:
    path: as people call it.
    manager: orbax's, which may know the folder under another name.
  """

  path: Path
  manager: ocp.CheckpointManager


class UndecodableError(Exception):
  """A step cannot be decoded: a part of it is missing or damaged. Its text says what was found."""


@contextlib.contextmanager
def open_folder(directory: Path) -> Iterator[Folder]:
  """Opens a folder of steps for writing, makes it if need be, and clears away what an interrupted
  save left in it."""
  make_folder(directory)
  if jax.process_index() == 0:
    # Not left to orbax, which removes folders and folders within them at the same time, and fails
    # where they meet.
    for left in directory.glob('*.orbax-checkpoint-tmp*'):
      shutil.rmtree(left, ignore_errors=True)
  options = {
    'create': True,
    'cleanup_tmp_directories': False,
    'enable_async_checkpointing': False,
    'save_root_metadata': False,
  }
  with _open(directory, **options) as folder:
    yield folder


def make_folder(directory: Path) -> None:
  """Makes a folder and those above it; raises OSError of one sentence where that fails."""
  try:
    directory.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise OSError(f'workdir: the folder {directory} cannot be made ({e.strerror})') from e


def write(folder: Folder, step: int, items: dict) -> None:
  """Writes one step and reads it back, or does nothing where it is already there.

  Raises:
    OSError: it could not be written, or not be read back; earlier steps are intact.
  """
  if step in folder.manager.all_steps():
    return
  try:
    with orbax_watch.watched():
      folder.manager.save(step, args=ocp.args.Composite(**items), force=True)
  except Exception as e:  # orbax and tensorstore turn a full disk into errors of several kinds
    free = shutil.disk_usage(folder.path).free / 2**20
    raise OSError(
      f'step {step} could not be saved in {folder.path} ({free:,.1f} MiB free there; '
      f'{_one_line(e, folder)}); earlier checkpoints are intact'
    ) from e
  _read_back(folder, step, items)


def readable(directory: Path, *wanted) -> Iterator[tuple[int, dict]]:
  """Yields the steps that `read` can decode, newest first, with a warning for the others; changes
  nothing."""
  if not directory.is_dir():
    return
  with _open(directory, read_only=True) as folder:
    for step in sorted(folder.manager.all_steps(), reverse=True):
      try:
        items = read(folder, step, *wanted)
      except UndecodableError as e:
        warn(f'checkpoint {directory / str(step)} cannot be read ({e}) and is passed over')
      else:
        yield step, items


def read(
  folder: Folder,
  step: int,
  json_items: tuple[str, ...],
  item: str | None = None,
  template: PyTree = None,
  within: str = '',
) -> dict:
  """Returns the named items of a step.

  Raises:
    UndecodableError: a part of it is missing or damaged.
    OSError: it could not be read for another reason, such as a lack of memory.
    MisfitError: the leaves of `item` whose names start with `within` are not those of the template.
  """
  args = {name: ocp.args.JsonRestore() for name in json_items}
  if item is not None:
    saved = _attempt(lambda: folder.manager.item_metadata(step)[item], folder, step)
    if saved is None:
      raise UndecodableError(f'{item}/_METADATA is not there')
    _check_leaves(saved.tree, template, within, folder.path / str(step))
    args[item] = ocp.args.PyTreeRestore(
      template, ocp.checkpoint_utils.construct_restore_args(template), partial_restore=True
    )
  composite = ocp.args.Composite(**args)
  return _attempt(lambda: dict(folder.manager.restore(step, args=composite)), folder, step)


@contextlib.contextmanager
def _open(directory: Path, **options) -> Iterator[Folder]:
  handlers = {name: ocp.PyTreeCheckpointHandler() for name in _TREES}
  handlers |= {name: ocp.JsonCheckpointHandler() for name in _JSON}
  with contextlib.ExitStack() as stack:
    plain = stack.enter_context(_plain_name(directory))
    # Opening a folder for reading brings three warnings that it is so.
    with orbax_watch.log_of_orbax():
      manager = ocp.CheckpointManager(
        plain, options=ocp.CheckpointManagerOptions(**options), item_handlers=handlers
      )
    yield Folder(directory, stack.enter_context(manager))


@contextlib.contextmanager
def _plain_name(directory: Path) -> Iterator[Path]:
  """Yields a name of the folder that orbax takes as it is: a link where its own is not plain.

  Orbax reads `[`, `*` and `?` as patterns, tensorstore a backslash as a slash.
  """
  real = Path(os.path.realpath(directory))
  if _PLAIN.fullmatch(str(real)):
    yield real
    return
  with tempfile.TemporaryDirectory() as folder:
    link = Path(folder) / 'link'
    link.symlink_to(real, target_is_directory=True)
    yield link


def _read_back(folder, step, items):
  """Raises OSError unless all that was written can be read."""
  json_items = tuple(name for name in items if name in _JSON)
  for item in (name for name in items if name in _TREES):
    # As arrays of the host, whatever devices hold them.
    shapes = jax.tree.map(
      lambda a: np.broadcast_to(np.zeros((), a.dtype), a.shape), items[item].item
    )
    try:
      read(folder, step, json_items, item, shapes)
    except (UndecodableError, InputError) as e:
      raise OSError(
        f'step {step} was saved in {folder.path}, but cannot be read back ({e}); earlier '
        'checkpoints are intact'
      ) from e


def _attempt(read_it: Callable[[], Any], folder: Folder, step: int) -> Any:
  try:
    with orbax_watch.watched():
      return read_it()
  except Exception as e:
    if _is_damage(e):
      raise UndecodableError(_one_line(e, folder)) from e
    raise OSError(
      f'checkpoint {folder.path / str(step)} could not be read ({_one_line(e, folder)}); it is '
      'left as it is'
    ) from e


def _is_damage(error: BaseException) -> bool:
  """Returns whether an error says that files are missing or do not hold what was written."""
  while error.__cause__ is not None:
    error = error.__cause__
  if type(error) is ValueError:
    return bool(_DAMAGE.match(str(error)))
  return isinstance(
    error, json.JSONDecodeError | UnicodeDecodeError | FileNotFoundError | KeyError | EOFError
  )


def _check_leaves(saved: PyTree, template: PyTree, within: str, path: Path) -> None:
  """Raises MisfitError at the first leaf that differs: orbax would cast dtypes in silence."""
  there, here = (
    {
      name: f'{leaf.dtype}{list(leaf.shape)}'
      for name, leaf in ocp.tree.to_flat_dict(tree, sep='/').items()
      if leaf is not None and name.startswith(within)
    }
    for tree in (saved, template)
  )
  for name in sorted(here.keys() | there.keys()):
    if here.get(name) != there.get(name):
      raise MisfitError(
        f'checkpoint {path} does not fit this run: {name} is {there.get(name, "absent")} there '
        f'and {here.get(name, "absent")} here'
      )


def _one_line(error: BaseException, folder: Folder) -> str:
  while error.__cause__ is not None:
    error = error.__cause__
  text = f'{type(error).__name__}: {error}'.replace(str(folder.manager.directory), str(folder.path))
  return text.split('\n')[0][:300]
