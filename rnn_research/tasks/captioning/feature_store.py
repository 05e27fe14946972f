"""Rows of arrays on disk, each kept under the digest of what it was made of: .npy files of a
folder, to which rows are only ever added. Other files there are left alone.

A row counts from when its digest is written, after its numbers: a process that is killed leaves
whole rows. Readers need no lock.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rnn_research.errors import InputError
from rnn_research.tasks.cache import sentence

_BYTES = 32  # of a digest
_DIGESTS = 'rows.sha256'

Shapes = Mapping[str, tuple[int, ...]]  # name of an array -> shape of a row


def rows_of(folder: Path, shapes: Shapes) -> dict[bytes, int]:
  """Returns digest -> its row, of the rows that are whole in all arrays of a folder: the numbers
  below their count. There are none where one of the arrays is not there.

  Raises:
    InputError: a file is damaged.
  """
  with sentence(folder, 'read'):
    if not (folder / _DIGESTS).exists():
      return {}
    data = (folder / _DIGESTS).read_bytes()
  count = len(data) // _BYTES
  # Where no row counts, an array may be one that was being written when its process was killed.
  arrays = open_arrays(folder, shapes) if count else {}
  if not arrays:
    return {}
  known = {data[i * _BYTES : (i + 1) * _BYTES]: i for i in range(count)}
  rows = min(map(len, arrays.values()))
  if not len(known) == count <= rows:
    why = f'{count} digests, {len(known)} of them different, of {rows} rows'
    raise _damaged(folder / _DIGESTS, why)
  return known


def open_arrays(folder: Path, shapes: Shapes) -> dict[str, np.ndarray]:
  """Returns name -> [M, *shape] float16, memory-mapped, read-only; M may differ by rows that are
  not whole yet. Returns {} where one of them is not there.

  Raises:
    InputError: a file is damaged.
  """
  paths = {name: folder / f'{name}.npy' for name in shapes}
  if not all(os.path.lexists(path) for path in paths.values()):
    return {}
  return {name: _opened(path, shapes[name]) for name, path in paths.items()}


def _opened(path, shape):
  try:
    rows = np.lib.format.open_memmap(path, mode='r')
  except Exception as error:  # damaged files raise errors of many kinds
    raise _damaged(path, getattr(error, 'strerror', None) or error) from error
  if (rows.ndim, rows.shape[1:], rows.dtype) != (1 + len(shape), shape, np.float16):
    wanted = ', '.join(map(str, ('M', *shape)))
    raise _damaged(path, f'{rows.dtype} of shape {rows.shape}, not float16 of [{wanted}]')
  return rows


def _damaged(path, why):
  return InputError(f'data.cache_dir: {path} is damaged ({why}), delete the folder {path.parent}')


def append(
  folder: Path, start: int, digests: Sequence[bytes], arrays: Mapping[str, np.ndarray]
) -> None:
  """Writes rows; the caller holds the lock.

  Args:
    folder: of the arrays.
    start: how many rows there are; what lies after them is written over.
    digests: n of them, of what the rows were made of.
    arrays: name -> [n, ...] float16; the names and shapes are those of the rows before.

  Raises:
    InputError: the disk is full or read-only.
  """
  with sentence(folder, 'written'):
    # Digests of rows that are lost would stand for new ones, if this were to end half-way.
    _cut(folder / _DIGESTS, start * _BYTES)
    if not start:
      for name in arrays:
        (folder / f'{name}.npy').unlink(missing_ok=True)
    for name, rows in arrays.items():
      # Not through the memory map: a full disk would kill the process.
      _write(folder / f'{name}.npy', start, rows)
    _put(folder / _DIGESTS, start * _BYTES, b''.join(digests), b'')


def _write(path, start, rows):
  header = io.BytesIO()
  shape = (start + len(rows), *rows.shape[1:])
  # NumPy leaves room in it for the first axis to grow, so that its length stays the same.
  np.lib.format.write_array_header_1_0(
    header, {'descr': '<f2', 'fortran_order': False, 'shape': shape}
  )
  place = header.tell() + start * rows[0].nbytes
  _put(path, place, rows.astype('<f2').tobytes(), header.getvalue())


def _cut(path, size):
  if path.exists():
    os.truncate(path, size)


def _put(path, place, data, header):
  """Writes data at a place of a file and then its header, and waits until they are on the disk."""
  with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), 'r+b') as file:
    file.seek(place)
    file.write(data)
    file.flush()
    if header:
      file.seek(0)
      file.write(header)
    file.flush()
    os.fsync(file.fileno())
