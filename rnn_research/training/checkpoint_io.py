"""Reading and writing one checkpoint folder with orbax: quietly, strictly, errors in one
sentence."""

import contextlib
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from rnn_research.errors import InputError
from rnn_research.typing import PyTree

_TREES, _JSON = ('state', 'params'), ('data', 'meta')


def open_folder(directory: Path, max_to_keep: int | None) -> ocp.CheckpointManager:
  """Opens a folder of steps for writing, makes it if need be, and clears away what an interrupted
  save left in it."""
  make_folder(directory)
  if jax.process_index() == 0:
    # Not left to orbax, which removes folders and folders within them at the same time, and fails
    # where they meet.
    for left in directory.glob('*.orbax-checkpoint-tmp*'):
      shutil.rmtree(left, ignore_errors=True)
  return _open(
    directory,
    max_to_keep=max_to_keep,
    create=True,
    cleanup_tmp_directories=False,
    enable_async_checkpointing=False,
    save_root_metadata=False,
  )


def make_folder(directory: Path) -> None:
  """Makes a folder and those above it; raises OSError of one sentence where that fails."""
  try:
    directory.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise OSError(f'the folder {directory} cannot be made ({e.strerror})') from e


def _open(directory: Path, **options) -> ocp.CheckpointManager:
  handlers = {name: ocp.PyTreeCheckpointHandler() for name in _TREES}
  handlers |= {name: ocp.JsonCheckpointHandler() for name in _JSON}
  with _quiet():
    return ocp.CheckpointManager(
      directory.absolute(), options=ocp.CheckpointManagerOptions(**options), item_handlers=handlers
    )


def write(manager: ocp.CheckpointManager, step: int, items: dict) -> None:
  """Writes one step, or nothing where it is already there; an OSError of one sentence says why it
  could not."""
  if step in manager.all_steps():
    return
  try:
    with _quiet():
      manager.save(step, args=ocp.args.Composite(**items), force=True)
  except Exception as e:  # orbax and tensorstore turn a full disk into errors of several kinds
    free = shutil.disk_usage(manager.directory).free / 2**20
    raise OSError(
      f'step {step} could not be saved in {manager.directory} ({free:,.1f} MiB free there; '
      f'{_one_line(e)}); earlier checkpoints are intact'
    ) from e


def readable(directory: Path, *wanted) -> Iterator[tuple[int, dict]]:
  """Yields the steps that `read` can read, newest first, with a warning for the others; changes
  nothing."""
  with _open(directory, read_only=True) as manager:
    for step in sorted(manager.all_steps(), reverse=True):
      items = read(manager, step, *wanted)
      if items is None:
        warn(f'checkpoint {directory / str(step)} cannot be read and is passed over')
      else:
        yield step, items


def read(
  manager: ocp.CheckpointManager,
  step: int,
  json_items: tuple[str, ...],
  item: str | None = None,
  template: PyTree = None,
  within: str = '',
) -> dict | None:
  """Returns the named items of a step, or None where anything in it is unreadable.

  Raises:
    InputError: the leaves of `item` whose names start with `within` are not those of the template.
  """
  args = {name: ocp.args.JsonRestore() for name in json_items}
  if item is not None:
    saved = _attempt(lambda: manager.item_metadata(step)[item].tree)
    if saved is None:
      return None
    _check_leaves(saved, template, within, manager.directory / str(step))
    args[item] = ocp.args.PyTreeRestore(
      template, ocp.checkpoint_utils.construct_restore_args(template), partial_restore=True
    )
  return _attempt(lambda: dict(manager.restore(step, args=ocp.args.Composite(**args))))


def _attempt(read_it: Callable[[], Any]) -> Any:
  """Returns `read_it()`, or None where it fails: a truncated step raises errors of many kinds."""
  try:
    with _quiet():
      return read_it()
  except Exception:
    return None


def _check_leaves(saved: PyTree, template: PyTree, within: str, path: Path) -> None:
  """Raises InputError at the first leaf that differs: orbax would cast dtypes in silence."""
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
      raise InputError(
        f'checkpoint {path} does not fit this run: {name} is {there.get(name, "absent")} there '
        f'and {here.get(name, "absent")} here'
      )


def warn(text: str) -> None:
  """Prints one line of warning, once for all processes."""
  if jax.process_index() == 0:
    print(f'warning: {text}', file=sys.stderr, flush=True)


def _one_line(error: Exception) -> str:
  return f'{type(error).__name__}: {error}'.split('\n')[0][:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Silences orbax, which logs through absl, and its event loops, for good once something failed.

  After a failed read or write its threads still go on with the others for a while, and tensorstore
  reports these to an event loop that orbax has closed by then; failed writes that nobody waited for
  are reported when they are collected.
  """
  loggers = [logging.getLogger(name) for name in ('absl', 'asyncio')]
  levels, hooks = [logger.level for logger in loggers], (sys.unraisablehook, sys.excepthook)
  for logger in loggers:
    logger.setLevel(logging.CRITICAL)
  # What a failed write leaves unfinished is reported when it is collected, which may be any time
  # later.
  warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)
  closed = lambda error: 'Event loop is closed' in str(error)
  sys.unraisablehook = lambda info: None if closed(info.exc_value) else hooks[0](info)
  sys.excepthook = lambda kind, error, trace: (
    None if closed(error) else hooks[1](kind, error, trace)
  )
  yield
  for logger, level in zip(loggers, levels, strict=True):
    logger.setLevel(level)
  sys.unraisablehook, sys.excepthook = hooks
