"""Rows of arrays on disk, each kept under the digest of what it was made of: the .npy files of a
folder, to which rows are only ever added.

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


def rows_of(folder: Path) -> dict[bytes, int]:
  """Returns digest -> its row, of the rows that are whole in all arrays of a folder."""
  with sentence(folder, 'read'):
    if not (folder / _DIGESTS).exists():
      return {}
    data = (folder / _DIGESTS).read_bytes()
  lengths = [len(rows) for rows in open_arrays(folder).values()]
  count = min([len(data) // _BYTES, *lengths]) if lengths else 0
  return {data[i * _BYTES : (i + 1) * _BYTES]: i for i in range(count)}


def open_arrays(folder: Path) -> dict[str, np.ndarray]:
  """Returns name -> [M, ...] float16, memory-mapped, read-only; M may differ by rows that are not
  whole yet.

  Raises:
    InputError: a file is damaged.
  """
  arrays = {}
  for path in sorted(folder.glob('*.npy')):
    try:
      arrays[path.stem] = np.load(path, mmap_mode='r', allow_pickle=False)
    except (ValueError, EOFError) as error:
      raise InputError(
        f'data.cache_dir: {path} is damaged ({error}), delete the folder {folder}'
      ) from error
  return arrays


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
    InputError: the disk is full or read-only, or the rows before have other shapes.
  """
  before = open_arrays(folder) if start else {}
  shapes = {name: rows.shape[1:] for name, rows in arrays.items()}
  if start and shapes != {name: rows.shape[1:] for name, rows in before.items()}:
    raise InputError(
      f'data.cache_dir: {folder} holds other arrays than {shapes}, delete it: they have one name'
    )
  with sentence(folder, 'written'):
    # Digests of rows that are lost would stand for new ones, if this were to end half-way.
    _cut(folder / _DIGESTS, start * _BYTES)
    if not start:
      for path in folder.glob('*.npy'):
        path.unlink()
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
