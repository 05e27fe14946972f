"""What is in files: their digests, in an index by what the system says of the files, so that large
ones are not read again to be known again."""

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rnn_research.data.files import digest_of
from rnn_research.training.result import write_text

_INDEX = '.files.json'
_TICK = 2 * 10**9  # ns; no clock of a file system is coarser

Files = Sequence[tuple[str, Path]]  # the flag that names a file, and where it is


class Contents(NamedTuple):
  """Files as they were found.

  Attributes:
    folder: of the index.
    files: in order.
    status: of each, `status_of` before it was read.
    digests: of each, the sha256 hex digest.
  """

  folder: Path
  files: Files
  status: list[list[int]]
  digests: list[str]


def contents_of(folder: Path, files: Files) -> Contents:
  """Returns what is in files; those are read that the index of the folder does not know, or that
  have changed since.

  Raises:
    InputError: a file cannot be read.
  """
  started, status, index = time.time_ns(), status_of(files), _read(folder)
  names, digests = [str(file.resolve()) for _, file in files], []
  for (flag, file), name, now in zip(files, names, status, strict=True):
    before, digest = index.get(name, ([], ''))
    digests.append(digest if before == now else digest_of(file, flag))
  found = dict(zip(names, zip(status, digests, strict=True), strict=True))
  # What is written in the same tick of the clock leaves the status as it is.
  settled = {name: entry for name, entry in found.items() if entry[0][2] + _TICK < started}
  if {**index, **settled} != index and status_of(files) == status:
    with contextlib.suppress(OSError):  # of a read-only folder, which may have all that is needed
      folder.mkdir(parents=True, exist_ok=True)
      write_text(folder / _INDEX, json.dumps({**_read(folder), **settled}))
  return Contents(folder, files, status, digests)


def status_of(files: Files) -> list[list[int]]:
  """Returns what the system says of files: it differs when they were written to, also where their
  time was put back."""
  stats = [file.stat() for _, file in files]
  return [[s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for s in stats]


def _read(folder: Path) -> dict[str, tuple[list[int], str]]:
  """Returns path -> its status and digest; nothing of an index that is damaged."""
  try:
    found = json.loads((folder / _INDEX).read_text('utf-8'))
    return {name: (now, digest) for name, (now, digest) in found.items() if len(digest) == 64}
  except (OSError, ValueError, TypeError, AttributeError):
    return {}
