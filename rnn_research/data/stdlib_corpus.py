"""The corpus that is always there: the source of the Python standard library of the running
interpreter."""

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = {
  'test', 'tests', 'idlelib', 'idle_test', 'lib2to3', 'site-packages', 'dist-packages',
  '__pycache__',
}  # fmt: skip
NUM_BYTES = 3_000_000


def standard_library_source() -> bytes:
  """Returns up to 3,000,000 bytes of Python source, which differ from one Python version to
  another.

  The ASCII-only `.py` files of the standard library in sorted POSIX order of their relative paths,
  joined by nothing; tests, idlelib, lib2to3 and installed packages are left out.

  Raises:
    FileNotFoundError: the interpreter has no source of its standard library.
  """
  root = Path(sysconfig.get_path('stdlib'))
  parts, size = [], 0
  for path in sorted(_source_files(root), key=lambda path: path.relative_to(root).as_posix()):
    source = path.read_bytes()
    if source.isascii():
      parts.append(source)
      size += len(source)
    if size >= NUM_BYTES:
      break
  if not parts:
    raise FileNotFoundError(
      f'no Python source of the standard library in {root}; name a text with --config.data.path'
    )
  return b''.join(parts)[:NUM_BYTES]


def _source_files(root: Path) -> Iterator[Path]:
  """Yields the `.py` files under `root` that have no left-out name in their relative path."""
  for folder, subfolders, names in os.walk(root):
    subfolders[:] = [name for name in subfolders if name not in LEFT_OUT]
    yield from (Path(folder, name) for name in names if name.endswith('.py'))
