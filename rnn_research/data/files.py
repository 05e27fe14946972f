"""Reading text files, compressed files and folders, with one sentence for people where that
fails."""

import codecs
import contextlib
import gzip
import hashlib
import itertools
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from encodings.aliases import aliases
from glob import iglob
from pathlib import Path
from typing import Any, TextIO

from rnn_research.data import running_text
from rnn_research.errors import InputError, did_you_mean

UTF8 = 'utf-8'
BYTES_ADVICE = 'model bytes with --config.data.unit=byte'
_PIECE = 2**23  # bytes that are read at once


def read_bytes(path: str, pattern: str = '**/*', flag: str = 'data.path') -> bytes:
  """Returns the content of a file, decompressed where it is a gzip file, or of a folder's files
  joined by nothing.

  Args:
    path: the file or folder; `~` is the home folder.
    pattern: which files of a folder, in sorted POSIX order; `**` is any depth, hidden files must be
      named.
    flag: the flag that holds `path`, for messages.

  Raises:
    FileNotFoundError: no such file or folder, or no file of the folder matches.
    InputError: a file cannot be read or decompressed, or there is nothing in it.
  """
  return b''.join(data for _, data in _read_files(list_files(path, pattern, flag), path, flag))


def read_text(
  files: Sequence[Path], path: str, unit: str, rules: int, flag: str, encoding: str
) -> Sequence:
  """Returns the text of files as symbols, see `running_text.split_files`.

  Args:
    files: those of a path, see `list_files`.
    path: the path, for messages.
    unit: 'char', 'byte' or 'word'.
    rules: of `TextCodec`.
    flag: the flag that holds `path`, for messages.
    encoding: of characters and words, see `require_encoding`.

  Raises:
    InputError: as in `read_bytes`, or a file is no text in this encoding and `unit` is not 'byte'.
  """
  contents = _read_files(files, path, flag)
  if unit == 'byte':
    return b''.join(data for _, data in contents)
  texts = [
    decode_text(data, f'{flag}: {file}', _text_advice(flag), encoding) for file, data in contents
  ]
  return running_text.split_files(texts, unit, rules)


def symbol_pieces(
  files: Sequence[Path], unit: str, rules: int, flag: str, encoding: str
) -> Iterator[Sequence]:
  """Yields the symbols of files piece by piece: together those of `read_text`, which raises the
  same where all of them hold something."""
  pieces = (_pieces(file, flag) for file in files)
  if unit == 'byte':
    yield from itertools.chain.from_iterable(pieces)
    return
  texts = (
    decode_pieces(data, f'{flag}: {file}', _text_advice(flag), encoding)
    for file, data in zip(files, pieces, strict=True)
  )
  yield from running_text.split_pieces(running_text.joined(texts, unit, rules), unit)


def text_pieces(path: str, flag: str, advice: str, encoding: str) -> Iterator[str]:
  """Yields the text of a file, decompressed where it is a gzip file, piece by piece: together what
  `decode_text` returns of what `read_bytes` does, which raise the same."""
  pieces = itertools.chain.from_iterable(_pieces(file, flag) for file in list_files(path, '', flag))
  first = next(pieces, b'')
  if not first:
    raise _empty(path, flag)
  yield from decode_pieces(itertools.chain([first], pieces), f'{flag}: {path}', advice, encoding)


def expand(path: str | os.PathLike) -> Path:
  """Returns a path whose `~` is the home folder; one whose user is not known stays as it is.

  What is asked of it next is `os.path.exists` or its like: `Path.exists` raises where a name is too
  long.
  """
  return Path(os.path.expanduser(path))


def list_files(path: str, pattern: str, flag: str) -> list[Path]:
  """Returns the files that `path` and `pattern` mean; see `read_bytes`."""
  root = existing(path, flag)
  if os.path.isfile(root):
    return [root]
  if not root.is_dir():
    raise InputError(
      f'{flag}: {root} is a pipe or a device, expected a file or folder, since a resume must read '
      'it again'
    )
  files = (root / name for name in iglob(pattern, root_dir=root, recursive=True))
  found = sorted((file for file in files if file.is_file()), key=lambda file: file.as_posix())
  if not found:
    which = f' that matches data.glob={pattern!r}' if flag.startswith('data.') else ''
    raise FileNotFoundError(f'{flag}: the folder {str(root)!r} has no file{which}')
  return found


def existing(path: str, flag: str) -> Path:
  """Returns where a file or folder is; raises FileNotFoundError, naming the flag, where there is
  none; '' is not the present folder."""
  where = expand(path)
  if not path or not os.path.exists(where):
    raise FileNotFoundError(f'{flag}: there is no file or folder {str(path and where)!r}')
  return where


def existing_file(path: str, flag: str) -> Path:
  """Returns where a file, a pipe or a device is; raises FileNotFoundError or InputError, naming the
  flag, where there is nothing or a folder."""
  file = existing(path, flag)
  if file.is_dir():
    raise InputError(f'{flag}: {path} is a folder, expected a text file')
  return file


def read_input(path: str, flag: str) -> bytes:
  """Returns the content of a file, decompressed where it is a gzip file, of a pipe, or of standard
  input for '-'; there may be nothing in it.

  Raises:
    FileNotFoundError: there is no such file.
    InputError: it cannot be read or decompressed, or is a folder.
  """
  if path == '-':
    return sys.stdin.buffer.read()
  return _read_file(existing_file(path, flag), flag)


def open_output(path: str, flag: str) -> contextlib.AbstractContextManager[TextIO]:
  """Opens a file for writing, standard output for '' and '-'; raises InputError, naming the flag,
  where that fails. Into a file names that are no UTF-8 are written as they are."""
  if path in ('', '-'):
    return contextlib.nullcontext(sys.stdout)
  try:
    return open(expand(path), 'w', encoding='utf-8', errors='surrogateescape')
  except OSError as error:
    raise InputError(f'{flag}: {path} cannot be written ({error.strerror})') from error


def require_kept(
  flag: str, written: Iterable[str | os.PathLike], read_flag: str, read: Iterable[str | os.PathLike]
) -> None:
  """Raises InputError, naming both flags, if a file to be written is one of those that are read."""
  kept = set(_identities(read).values())
  for file, identity in _identities(written).items():
    if identity in kept:
      raise InputError(f'{flag} is {file}, expected another file than that of {read_flag}')


def require_data_kept(
  flag: str, written: str, data: Mapping[str, Any], fields: Sequence[str]
) -> None:
  """Raises InputError, naming both, if the file to be written is one that a field of the block
  `data` of a config names."""
  if not _identities([written]):
    return
  for field in fields:
    name, read = f'data.{field}', []
    with contextlib.suppress(OSError, InputError):  # what is not there is not overwritten
      read = list_files(data[field], data.get('glob', '**/*'), name) if data[field] else []
    require_kept(flag, [written], name, read)


def _identities(files):
  """Returns file -> what tells it from all others whatever it is called, of regular files."""
  paths = {file: expand(file) for file in files if file != '-'}
  found = {file: os.stat(path) for file, path in paths.items() if os.path.isfile(path)}
  return {file: (status.st_dev, status.st_ino) for file, status in found.items()}


def _read_files(files: Sequence[Path], path: str, flag: str) -> list[tuple[Path, bytes]]:
  """Returns the content of each file; raises InputError where all of them together are empty."""
  contents = [(file, _read_file(file, flag)) for file in files]
  if not any(data for _, data in contents):
    raise _empty(path, flag)
  return contents


def _empty(path, flag):
  return InputError(f'{flag}: {str(path)!r} is empty; expected a text')


def _read_file(file: Path, flag: str) -> bytes:
  """Returns the content of one file, decompressed where it is a gzip file."""
  return b''.join(_pieces(file, flag))


def _pieces(file: Path, flag: str) -> Iterator[bytes]:
  """Yields the content of one file, decompressed where it is a gzip file."""
  try:
    with open(file, 'rb') as opened:
      start = opened.peek(3)
      packed = is_gzip(start) or (file.suffix == '.gz' and start)
      stream = gzip.GzipFile(fileobj=opened) if packed else opened
      while data := stream.read(_PIECE):
        yield data
  except (EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise InputError(f'{flag}: {file} is not a whole gzip file ({error})') from error
  except OSError as error:
    raise _unreadable(file, flag, error) from error


def _unreadable(file, flag, error):
  return InputError(f'{flag}: cannot read {file} ({error.strerror})')


def digest_of(file: Path, flag: str) -> str:
  """Returns the sha256 hex digest of a file as it lies there, of which little is held in memory;
  raises InputError where it cannot be read."""
  try:
    with open(file, 'rb') as opened:
      return hashlib.file_digest(opened, 'sha256').hexdigest()
  except OSError as error:
    raise _unreadable(file, flag, error) from error


def is_gzip(data: bytes) -> bool:
  """Returns whether the content of a file, whatever its name, begins as that of a gzip file."""
  return data.startswith(b'\x1f\x8b\x08')


def require_encoding(field: str, name: str) -> None:
  """Raises InputError unless it names an encoding that Python can read, such as 'utf-8'."""
  if not _decodes(name):
    raise InputError(
      f'{field} is {name!r}, expected the name of an encoding of text, such as utf-8, utf-16, '
      f'latin-1 or cp1252{did_you_mean(name, filter(_decodes, aliases))}'
    )


def _decodes(name):
  """Returns whether a name is that of a codec from bytes to text."""
  try:
    b'\xff'.decode(name)
  except UnicodeDecodeError:
    return True
  except (LookupError, ValueError):
    return False
  return True


def _needs_mark(encoding):
  """Returns whether an encoding leaves the order of bytes to the text: Python would guess it."""
  return codecs.lookup(encoding).name in ('utf-16', 'utf-32')


def encoding_advice(flag: str) -> str:
  """Returns the `advice` of `decode_text` to name the encoding of the file that a flag or config
  field names."""
  option = '--config.data.encoding' if flag.startswith('data.') else '--encoding'
  return f'name its encoding with {option}, such as {{likely}}'


def _text_advice(flag):
  if not flag.startswith('data.'):
    return 'convert it to UTF-8'
  return f'{encoding_advice(flag)}, or {BYTES_ADVICE}'


def decode_text(data: bytes, name: str, advice: str, encoding: str = UTF8) -> str:
  """Returns the text of bytes, line ends kept; a byte order mark too, unless it is part of the
  encoding, as in 'utf-16'.

  Raises:
    InputError: the bytes are binary or not in this encoding; the sentence begins with `name`, names
      the offset and ends with `advice`, in which '{likely}' is replaced by an encoding.
  """
  return ''.join(decode_pieces([data], name, advice, encoding))


def decode_pieces(
  pieces: Iterable[bytes], name: str, advice: str, encoding: str = UTF8
) -> Iterator[str]:
  """Yields the text of bytes that come in pieces; see `decode_text`."""
  decode, before, kind = codecs.getincrementaldecoder(encoding)().decode, 0, encoding.upper()
  wide = b'\0' in 'a'.encode(encoding)  # utf-16, utf-32
  for last, data in _with_last(pieces):
    if not before:
      marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
      advice = advice.format(likely='utf-16' if marked else 'latin-1')
      if _needs_mark(encoding) and data and not (marked or data.startswith(codecs.BOM_UTF32_BE)):
        raise InputError(
          f'{name} is without a byte order mark, expected {kind} text that has one; name the order '
          f'of its bytes, {encoding}-le or {encoding}-be, if it is such text, else {advice}'
        )
    zero = -1 if wide else data.find(b'\0')
    if zero >= 0:
      raise InputError(
        f'{name} is binary (a NUL byte at offset {before + zero}), expected {kind} text; {advice}'
      )
    before += len(data)
    try:
      yield decode(data, last)
    except UnicodeError as error:
      found = 'malformed'  # of punycode, idna
      if isinstance(error, UnicodeDecodeError):
        # What was decoded ends where the piece does, but may begin elsewhere: utf-8-sig cuts its
        # mark off, and a character may have begun in the piece before.
        start = error.start + before - len(error.object)
        found = f'byte 0x{error.object[error.start]:02x} at offset {start}'
      raise InputError(f'{name} is not {kind} ({found}), expected {kind} text; {advice}') from error


def _with_last(pieces):
  """Yields (whether it is the last one, piece); at least one."""
  pieces = iter(pieces)
  piece = next(pieces, b'')
  for following in pieces:
    yield False, piece
    piece = following
  yield True, piece
