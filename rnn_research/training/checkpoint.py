"""Checkpoints of a run.

  workdir/checkpoints/<step>   train state, data position, meta: the newest few, to resume from
  workdir/best/<step>          parameters alone, of the best evaluation

A step becomes visible under its name only when it is complete; what a killed save leaves behind is
removed by the next `open_manager`.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from rnn_research.errors import InputError, MisfitError
from rnn_research.training import checkpoint_io as io
from rnn_research.training.backend import is_distributed
from rnn_research.training.progress import warn
from rnn_research.training.result import git_hash, jsonable, read_json
from rnn_research.typing import Params, PyTree

_KEPT = 2  # checkpoints to resume from: a damaged one leaves the one before


class Restored(NamedTuple):
  """What a run goes on from."""

  step: int
  state: PyTree
  data_state: Any  # JSON, what grain's `set_state` takes
  meta: dict  # JSON


@contextlib.contextmanager
def hold(workdir: str | os.PathLike) -> Iterator[None]:
  """Makes `workdir` and keeps every other run out of it: two would remove each other's checkpoints.

  Raises:
    InputError: another run holds it.
    OSError: it cannot be made.
  """
  # Asking for the index starts the backend, which a study must not.
  if is_distributed() and jax.process_index() > 0:
    yield
    return
  io.make_folder(Path(workdir))
  folder = os.open(workdir, os.O_RDONLY)
  try:
    _lock(folder, workdir)
    yield
  finally:
    os.close(folder)


def open_manager(workdir: str | os.PathLike) -> AbstractContextManager[io.Folder]:
  """Opens `workdir/checkpoints` for writing, without what an interrupted save left there.

  Raises:
    OSError: the folder cannot be made or written.
  """
  return io.open_folder(Path(workdir) / 'checkpoints')


def save(folder: io.Folder, step: int, state: PyTree, data_state: Any, meta: dict) -> None:
  """Writes everything a run needs to go on after `step` updates; returns when it is on disk and was
  read back.

  The newest two are kept. Every process calls it. Does nothing if this step is already there.

  Args:
    folder: of `open_manager`.
    step: updates done.
    state: pytree of arrays, sharded or replicated over any devices.
    data_state: what grain's `get_state` returned.
    meta: JSON: vocabulary, resolved config, versions.

  Raises:
    OSError: it could not be written, or not be read back; earlier checkpoints are intact.
  """
  items = {
    'state': ocp.args.PyTreeSave(state),
    'data': ocp.args.JsonSave({'state': data_state}),
    'meta': ocp.args.JsonSave(jsonable(meta)),
  }
  io.write(folder, step, items)
  for old in sorted(folder.manager.all_steps())[:-_KEPT]:
    folder.manager.delete(old)


def restore_latest(folder: io.Folder, template: PyTree) -> Restored | None:
  """Returns the newest checkpoint that can be decoded, or None where there is none at all.

  A step that cannot be decoded is set aside as `unreadable-<step>` with a printed warning, and the
  one before is used.

  Args:
    folder: of `open_manager`.
    template: the state to fill, of arrays or `jax.ShapeDtypeStruct`s; gives structure, dtypes,
      shapes, shardings.

  Raises:
    InputError: no checkpoint can be decoded, or the checkpoint holds another state than the
      template (names the leaf, see `advised`).
    OSError: it could not be read for another reason, such as a lack of memory; it is left alone.
  """
  steps = sorted(folder.manager.all_steps(), reverse=True)
  for step, before in zip(steps, [*steps[1:], None], strict=False):
    try:
      with advised(folder.path.parent):
        items = io.read(folder, step, ('data', 'meta'), 'state', template)
    except io.UndecodableError as e:
      if before is None:
        raise InputError(f'none of the checkpoints in {folder.path} can be read ({e})') from e
      _set_aside(folder, step, before, e)
    else:
      return Restored(step, items['state'], items['data']['state'], items['meta'])
  return None


def save_best(workdir: str | os.PathLike, step: int, params: Params, metric: float | None) -> None:
  """Writes the parameters of the best evaluation so far in place of the earlier best.

  Every process calls it, each with the same replicated or local parameters; `metric` is the figure
  of the evaluation, None where there is none.

  Raises:
    OSError: it could not be written; the earlier best is intact.
  """
  with io.open_folder(Path(workdir) / 'best') as folder:
    # A resumed run may pass a step again that it had already saved before it was interrupted.
    if step in folder.manager.all_steps() and _other_metric(folder, step, metric):
      folder.manager.delete(step)
    # As numpy arrays, since orbax refuses arrays of one device where there are several processes.
    arrays = jax.tree.map(np.asarray, params)
    io.write(
      folder,
      step,
      {'params': ocp.args.PyTreeSave(arrays), 'meta': ocp.args.JsonSave({'metric': metric})},
    )
    for other in set(folder.manager.all_steps()) - {step}:
      folder.manager.delete(other)


def restore_params(workdir: str | os.PathLike, template: Params) -> tuple[int, Params]:
  """Returns `(step, params)` of the best evaluation, or of the newest checkpoint if there was no
  evaluation yet.

  Args:
    workdir: of a training run; nothing in it is changed.
    template: the parameters to fill, of arrays or `jax.ShapeDtypeStruct`s (placed on this process's
      first device).

  Raises:
    InputError: no readable checkpoint, or other parameters than the template's (names the leaf, see
      `advised`).
  """
  placed = jax.tree.map(_placed, template)
  folders = Path(workdir) / 'best', Path(workdir) / 'checkpoints'
  with advised(workdir):
    for step, items in io.readable(folders[0], (), 'params', placed):
      return step, items['params']
    for step, items in io.readable(folders[1], (), 'state', {'params': placed}, 'params/'):
      return step, items['state']['params']
  raise _none_readable(workdir)


def read_meta(workdir: str | os.PathLike) -> tuple[int, dict]:
  """Returns `(step, meta)` of the newest checkpoint whose meta can be read; changes nothing.

  Raises:
    InputError: there is none.
  """
  for step, items in io.readable(Path(workdir) / 'checkpoints', ('meta',)):
    return step, items['meta']
  raise _none_readable(workdir)


def _none_readable(workdir):
  why = '' if has_checkpoint(workdir) else ': its training was stopped before the first one'
  return InputError(f'workdir: {workdir} holds no readable checkpoint{why}')


@contextlib.contextmanager
def advised(workdir: str | os.PathLike) -> Iterator[None]:
  """Adds to the sentence of a `MisfitError` what can be done about a model of an earlier version.

  Nothing is added where this very version trained it: then something else was changed.
  """
  try:
    yield
  except MisfitError as e:
    commit = _trained_by(workdir)
    if commit and commit == git_hash():
      raise
    # 40 digits, and '-dirty' after local changes.
    which = f' (git {commit[:7]}{commit[40:]})' if commit else ''
    raise MisfitError(
      f'{e}; it may have been trained by an earlier version: train it anew, or use the version '
      f'that trained it{which}'
    ) from e


def has_checkpoint(workdir: str) -> bool:
  """Returns whether a run in `workdir` has saved anything to go on from."""
  return newest_step(workdir) is not None


def newest_step(workdir: str) -> int | None:
  """Returns the step of the newest checkpoint in `workdir`, None where there is none; nothing is
  read."""
  folder = f'{workdir}/checkpoints'
  names = os.listdir(folder) if os.path.isdir(folder) else []
  return max((int(name) for name in names if name.isdigit()), default=None)


def is_finished(workdir: str) -> bool:
  """Returns whether a run in `workdir` has written its result, and neither how long it is trained
  nor a checkpoint tells that it has gone on since; a study takes no steps.

  Raises:
    InputError: one of these files is damaged.
  """
  path, about = Path(workdir) / 'result.json', Path(workdir) / 'config.json'
  if not path.exists():
    return False
  result, newest = read_json(path), newest_step(workdir)
  # A run that was lengthened may have died before its next checkpoint.
  same = not about.exists() or ends(read_json(about)['config']) == ends(result['config'])
  return same and newest in (None, result.get('steps'))


def ends(config: Mapping[str, Any]) -> list:
  """Returns the fields of a config that decide how long is trained."""
  train = config.get('train', {})
  return [train.get(field) for field in ('steps', 'epochs', 'stop_after')]


def _trained_by(workdir: str | os.PathLike) -> str | None:
  """Returns the commit in config.json; None where there is none, as of an installed package."""
  try:
    return json.loads((Path(workdir) / 'config.json').read_text('utf-8')).get('git_hash')
  except (OSError, ValueError):
    return None


def _lock(folder: int, workdir: str | os.PathLike) -> None:
  try:
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as e:
    raise InputError(f'workdir: {workdir} is in use by another run') from e


def _other_metric(folder: io.Folder, step: int, metric: float | None) -> bool:
  try:
    return io.read(folder, step, ('meta',))['meta'] != {'metric': metric}
  except io.UndecodableError:
    return True


def _set_aside(folder: io.Folder, step: int, before: int, why: Exception) -> None:
  """Moves a step that cannot be decoded out of the way, so that it can be saved again."""
  warn(
    f'checkpoint {step} in {folder.path} cannot be read ({why}), going back to {before}; '
    f'it is kept as unreadable-{step}'
  )
  if jax.process_index() == 0:
    aside = folder.path / f'unreadable-{step}'
    shutil.rmtree(aside, ignore_errors=True)
    (folder.path / str(step)).rename(aside)
  ocp.multihost.sync_global_processes(f'set_aside_{step}')
  folder.manager.reload()


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
  sharding = getattr(leaf, 'sharding', None) or jax.sharding.SingleDeviceSharding(
    jax.local_devices()[0]
  )
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
