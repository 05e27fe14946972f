"""What a run writes about itself: versions, git hash, JSON files."""

import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnn_research.errors import InputError

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def versions() -> dict[str, str]:
  """Returns the versions that decide whether a run can be repeated bit for bit: name -> version."""
  return {'python': platform.python_version()} | {
    name: importlib.metadata.version(name) for name in PACKAGES
  }


def git_hash() -> str | None:
  """Returns the commit of the checkout this code runs from, with '-dirty' after local changes.

  None for an installed package, outside git, or where git is missing or refuses.
  """
  here = Path(__file__).resolve()
  git = ['git', '-C', str(here.parent)]
  describe = ['describe', '--always', '--dirty', '--abbrev=40', '--exclude=*']
  try:
    subprocess.run(
      [*git, 'ls-files', '--error-unmatch', here.name], check=True, capture_output=True
    )
    return subprocess.run(
      [*git, *describe], check=True, capture_output=True, text=True
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None


def jsonable(value: Any) -> Any:
  """Returns `value` in what JSON knows: arrays as lists or numbers, numbers that are not finite as
  None."""
  if hasattr(value, 'tolist'):
    value = value.tolist()
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, Mapping):
    return {str(key): jsonable(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [jsonable(item) for item in value]
  return value


def read_json(path: str | os.PathLike) -> Any:
  """Returns result.json or config.json of a workdir; raises InputError where it is damaged."""
  try:
    found = json.loads(Path(path).read_text('utf-8'))
    if not isinstance(found['config'], dict):
      raise TypeError('its config is no object')
  except (ValueError, TypeError, KeyError) as e:
    raise InputError(f'workdir: {path} is damaged ({type(e).__name__}: {e})') from e
  return found


def report_folder(workdir: str | os.PathLike, part: str = '') -> str:
  """Returns the folder of a workdir's report, or of a part of it, which is made where it is
  missing."""
  out = Path(workdir) / 'report' / part
  out.mkdir(parents=True, exist_ok=True)
  return str(out)


def figures(metrics: Mapping[str, Any]) -> str:
  """Returns metrics as one line for people."""
  number = lambda value: (
    f'{value:.4f}' if value == 0.0 or 1e-3 <= abs(value) < 1e6 else f'{value:.4g}'
  )
  return '  '.join(
    f'{name} {number(value) if isinstance(value, float) else value}'
    for name, value in metrics.items()
  )


def write_json(path: str | os.PathLike, value: Mapping[str, Any]) -> None:
  """Writes `value` as indented JSON; a reader sees the old file or the new one, never a part."""
  write_text(
    path, json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + '\n'
  )


def write_text(path: str | os.PathLike, text: str) -> None:
  """Replaces the file at `path` by `text` in one step; raises OSError, with the old file intact."""
  path = Path(path)
  tmp = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  try:
    # Names of files may hold what UTF-8 does not have; JSON reads the escape back.
    with open(tmp, 'w', encoding='utf-8', errors='backslashreplace') as f:
      f.write(text)
      f.flush()
      os.fsync(f.fileno())
    os.replace(tmp, path)
  except OSError as e:
    raise OSError(f'{path} cannot be written ({e.strerror})') from e
  finally:
    tmp.unlink(missing_ok=True)
