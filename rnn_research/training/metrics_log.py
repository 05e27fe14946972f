"""The numbers of a run over its steps: `metrics.jsonl` always, TensorBoard event files if asked."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rnn_research.errors import InputError
from rnn_research.training.progress import warn
from rnn_research.training.result import jsonable, write_text


class Log(NamedTuple):
  """An open log.

  Attributes:
    write: `(step, {name: number, text or [G]}) -> None`: one line, on disk when it returns.
    close: `() -> None`.
  """

  write: Callable[[int, Mapping[str, Any]], None]
  close: Callable[[], None]


def open_log(workdir: str | os.PathLike, step: int, tensorboard: bool = False) -> Log:
  """Opens `workdir/metrics.jsonl` for a run that stands after `step` updates; silent elsewhere than
  in process 0.

  Lines of later steps, and a last line that was cut off, are dropped, so an interrupted and resumed
  run has the lines of an uninterrupted one. What is measured at a step must therefore be written
  before its checkpoint. Damaged lines are dropped with a warning.

  Raises:
    InputError: `tensorboard` without tensorboardX installed, or the log of an earlier version.
    OSError: the file cannot be written.
  """
  if jax.process_index() > 0:
    return Log(lambda step, values: None, lambda: None)
  path, writer = Path(workdir) / 'metrics.jsonl', _event_writer() if tensorboard else None
  if path.exists():
    write_text(path, ''.join(f'{line}\n' for line, row in _lines(path) if row['step'] <= step))
  # After the log, which may be refused and would leave it open.
  events = writer and writer(str(Path(workdir) / 'tensorboard'), purge_step=step + 1)

  def write(step, values):
    try:
      with open(path, 'a', encoding='utf-8') as f:
        f.write(json.dumps(jsonable({'step': step, **values}), allow_nan=False) + '\n')
    except OSError as e:
      raise OSError(f'step {step} cannot be written to {path} ({e.strerror})') from e
    for name, value in _singly(values) if events else ():
      add = events.add_text if isinstance(value, str) else events.add_scalar
      add(name, value, step)

  return Log(write, events.close if events else lambda: None)


def read_log(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """Returns the lines of `workdir/metrics.jsonl`, [] without the file; a last line that was cut off
  is left out, and damaged lines with a warning.

  Raises:
    InputError: it is of a grid that an earlier version trained.
  """
  path = Path(workdir) / 'metrics.jsonl'
  return [row for _, row in _lines(path)] if path.exists() else []


def _singly(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
  """Yields names and single values: those of the members of a grid as 'name/0', 'name/1', ..."""
  for name, value in values.items():
    if np.ndim(value):
      yield from ((f'{name}/{i}', one) for i, one in enumerate(value))
    else:
      yield name, value


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
  """Returns the whole lines of a log that hold values of a step, as they are and decoded."""
  whole = path.read_bytes().split(b'\n')[:-1]
  rows = [_values(line) for line in whole]
  if any(name.endswith('/0') for row in rows for name in row or ()):
    raise InputError(
      f'{path} is of a grid of an earlier version, with names such as train/loss/0: it can be '
      'evaluated and sampled, but not go on, be reported or compared'
    )
  damaged = [str(number) for number, row in enumerate(rows, 1) if row is None]
  if damaged:
    warn(f'{path} is damaged and read without line {", ".join(damaged)}')
  return [(line.decode(), row) for line, row in zip(whole, rows, strict=True) if row is not None]


def _values(line: bytes) -> dict[str, Any] | None:
  try:
    row = json.loads(line.decode('utf-8'))
  except ValueError:
    return None
  return row if isinstance(row, dict) and isinstance(row.get('step'), int) else None


def _event_writer():
  try:
    from tensorboardX import SummaryWriter
  except ImportError as e:
    raise InputError('TensorBoard files need tensorboardX: pip install tensorboardX') from e
  return SummaryWriter
