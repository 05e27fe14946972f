"""What is encoded once and kept on a disk as arrays that are mapped into memory: large texts and
sentence pairs."""

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rnn_research.errors import InputError
from rnn_research.tasks import cache, contents
from rnn_research.tasks.contents import Contents, Files
from rnn_research.training.progress import tell

LARGE = 2**26  # bytes; less is encoded in memory at every start, which takes seconds
_PACKED = 4  # bytes of text in a byte of a .gz file, about
_END = 2**20  # bytes at the beginning and end of a file of which a checksum is kept
_DONE = 'corpus.json'  # written last: without it a folder is what a killed process left


def is_large(files: Files) -> bool:
  """Returns whether files are to be kept encoded; none are not."""
  return bool(files) and sum(_size(file) for _, file in files) >= LARGE


def _size(file: Path) -> int:
  return file.stat().st_size * (_PACKED if file.suffix == '.gz' else 1)


def folder_of(about: list, found: Contents) -> Path:
  """Returns where files are kept encoded, or would be, whatever they are called.

  Args:
    about: what the encoding depends on beside what is in the files.
    found: in the files; the folder lies in that of their index.
  """
  return found.folder / _digest(_key(about, found).encode())


def _key(about: list, found: Contents) -> str:
  return json.dumps([*about, found.digests])


def _digest(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()[:20]


def is_done(folder: Path) -> bool:
  """Returns whether a folder has all that `ensure` writes."""
  return os.path.exists(folder / _DONE)


def ensure(
  folder: Path, about: list, found: Contents, what: str, encode: Callable[[], dict[str, Any]]
) -> None:
  """Encodes files, unless the folder has all that comes of it.

  Args:
    folder: of `folder_of`.
    about: see there.
    found: see there.
    what: files are encoded, for people.
    encode: writes arrays to the folder and returns what `read` does; 'symbols' of it says how many
      there are.

  Raises:
    InputError: the folder cannot be written, or a file has changed meanwhile.
  """
  if is_done(folder):
    return
  names = json.dumps([str(file) for _, file in found.files])
  with cache.locked(folder, f'{_key(about, found)}\n{names}'):
    if is_done(folder):  # another process may have been quicker
      return
    tell(f'encoding {what} of over {LARGE // 2**20} MB, kept in {folder}')
    encoded = encode()
    if contents.status_of(found.files) != found.status:
      flag, file = found.files[0]
      raise InputError(f'{flag}: {file} has changed while it was read')
    _finish(folder, encoded)


def _finish(folder: Path, found: dict) -> None:
  """Writes what was found, with what tells that it and the arrays are as they were; once it is
  there, all is on the disk."""
  with cache.sentence(folder, 'written'):
    files = [file for file in sorted(folder.glob('*.*')) if _is_sealed(file)]
    about = {**found, 'files': {file.name: _seal(file) for file in files}}
    partial = folder / f'{_DONE}.part'
    partial.write_text(json.dumps({'about': about, 'digest': _digest_of(about)}), 'utf-8')
    for file in (*files, partial):
      _sync(file)
    partial.replace(folder / _DONE)
    with contextlib.suppress(OSError):  # some file systems have no such thing
      _sync(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
  tell(
    f'{found["symbols"]:,} symbols are kept in {folder} ({size / 1e6:,.0f} MB); the folder may be '
    'deleted, they are encoded again'
  )


def _is_sealed(file: Path) -> bool:
  return file.suffix in ('.npy', '.txt') and file.name != cache.ABOUT


def _seal(file: Path) -> list[int]:
  """Returns the size of a file and a checksum of its ends, which costs no more of a large one."""
  size = file.stat().st_size
  with open(file, 'rb') as opened:
    start = opened.read(_END)
    opened.seek(max(size - _END, 0))
    return [size, zlib.crc32(opened.read(_END), zlib.crc32(start))]


def _digest_of(about: dict) -> str:
  return _digest(json.dumps(about).encode())


def _sync(path: Path) -> None:
  """Waits until a file, or the names in a folder, are on the disk."""
  opened = os.open(path, os.O_RDONLY)
  try:
    os.fsync(opened)
  finally:
    os.close(opened)


def write_header(file: BinaryIO, kind: np.dtype, size: int) -> None:
  """Begins the file of an array [size], whose values are then written piece by piece."""
  about = {'descr': kind.newbyteorder('<').str, 'fortran_order': False, 'shape': (size,)}
  np.lib.format.write_array_header_1_0(file, about)


def write_array(file: BinaryIO, values: np.ndarray) -> None:
  """Writes an array [N] as `np.save` does, which does not say why a disk refuses."""
  write_header(file, values.dtype, len(values))
  file.write(values.data)


def read(folder: Path, open_all: Callable[[dict], Any]) -> Any:
  """Returns what `open_all` makes of what was said of the arrays of a folder; raises InputError
  where it fails, or files are not as they were written: the folder is damaged."""
  try:
    written = json.loads((folder / _DONE).read_text('utf-8'))
    about = written['about']
    _require_intact(_DONE, _digest_of(about) == written['digest'])
    for name, seal in about['files'].items():
      _require_intact(name, _seal(folder / name) == seal)
    return open_all(about)
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise InputError(f'data.cache_dir: {folder} is damaged ({error}), delete the folder') from error


def _require_intact(name: str, holds: bool) -> None:
  if not holds:
    raise ValueError(f'{name} is not as it was written')


def mapped(file: Path) -> np.ndarray:
  """Returns the array that `write_header` began, mapped from its file."""
  return np.load(file, mmap_mode='r', allow_pickle=False)
