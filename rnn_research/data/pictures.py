"""Pictures as people have them: files of a folder or of a zip archive, read as squares of RGB."""

import io
import threading
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from glob import iglob
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rnn_research.data.files import existing
from rnn_research.errors import InputError

FORMATS = ('JPEG', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF', 'PPM')
_SUFFIXES = {
  *('.jpg', '.jpeg', '.jpe', '.png', '.gif', '.bmp', '.webp'),
  *('.tif', '.tiff', '.ppm', '.pgm', '.pbm', '.pnm'),
}
_OTHER_ARCHIVES = {'.tar', '.tgz', '.gz', '.bz2', '.xz', '.7z', '.rar'}
_EXPECTED = f'expected a picture in one of the formats {", ".join(FORMATS)}'
_ENDINGS = f'expected files that end in {", ".join(sorted(_SUFFIXES))}'
_NAMED = 3  # files or folders in a sentence about many
_MOST_PIXELS = 178_000_000
_MOST_BYTES = 2**30  # of a file
_LARGE = 16_000_000  # pixels: 64 MB of memory and more
_STRIP = 1_000_000  # pixels of a large picture that are laid on white at once
_ORIENTATION = 0x0112  # the EXIF tag
_TURNED = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_one_large = threading.Lock()


class Pictures(NamedTuple):
  """Named files.

  Attributes:
    names: of the files, sorted; below a folder or inside an archive with '/' between the parts.
    read: `(name) -> bytes`, the file as it is; may be called in threads. Raises InputError where
      that fails.
  """

  names: Sequence[str]
  read: Callable[[str], bytes]


def open_pictures(path: str, flag: str = 'data.images') -> Pictures:
  """Returns the pictures of a folder and of the folders in it, of a zip archive, or a single one.

  Files are pictures by the suffix of their name; hidden ones and what macOS adds are left out.
  Nothing is written: archives are read where they lie.

  Args:
    path: the folder, archive or picture; `~` is the home folder.
    flag: the flag that holds `path`, for messages.

  Raises:
    FileNotFoundError: there is no such file or folder.
    InputError: it is a damaged archive, or there is no picture.
  """
  found = open_files(path, flag)
  names = found.names if _is_single(found, path, flag) else _pictures_of(found.names, path, flag)
  # Whether they lie in a folder of the archive or not, they are called the same.
  depth = _common_depth([name.split('/')[:-1] for name in names])
  whole = {'/'.join(name.split('/')[depth:]): name for name in names}
  return Pictures(list(whole), lambda name: found.read(whole[name]))


def _common_depth(folders):
  """Returns how many of their first parts are the same in all folders."""
  ends = zip(min(folders), max(folders), strict=False)
  return len(list(takewhile(lambda pair: pair[0] == pair[1], ends)))


def list_pictures(path: str, flag: str = 'input') -> Pictures:
  """Returns a picture, those of a folder without the folders in it, or those of a zip archive; see
  `open_pictures`. Raises InputError, too, where all pictures of a folder are in folders."""
  if not existing(path, flag).is_dir():
    return open_pictures(path, flag)
  found = open_files(path, flag)
  pictures = _pictures_of(found.names, path, flag)
  flat = _flat(pictures)
  if not flat:
    folders = _some(sorted({name.split('/')[0] for name in pictures}))
    raise InputError(
      f'{flag}: {path} has pictures only in folders ({folders}), expected one of these folders'
    )
  return Pictures(flat, found.read)


def in_memory(image: np.ndarray | Image.Image) -> Pictures:
  """Returns an image, [H, W, 3] or [H, W] uint8 or an image of PIL, as the one picture 'image'.

  Raises:
    InputError: it is none of these.
  """
  file = io.BytesIO()
  try:
    if not isinstance(image, Image.Image):
      image = Image.fromarray(np.asarray(image))
    image.save(file, 'PNG')
  except (TypeError, ValueError, OSError, SystemError) as error:
    raise InputError(
      f'the picture is a {type(image).__name__} ({error}), expected a path, an image of PIL, or an '
      'array [H, W, 3] or [H, W] uint8'
    ) from error
  return Pictures(['image'], lambda name: file.getvalue())


def _flat(names):
  return [name for name in names if '/' not in name]


def unread(path: str, flag: str = 'input') -> str:
  """Returns what there is to say of the files of a folder or archive that `list_pictures` does not
  read, hidden ones aside; '' of none."""
  found = open_files(path, flag)
  names = _flat(found.names) if existing(path, flag).is_dir() else found.names
  others = [name for name in names if not _is_picture(name)]
  if not others or _is_single(found, path, flag):
    return ''
  return f'{len(others)} other file(s) not read ({_some(others)}), {_ENDINGS}'


def _some(names):
  return ', '.join(names[:_NAMED]) + (', ..' if len(names) > _NAMED else '')


def picture_files(path: str, flag: str = 'input') -> list[Path]:
  """Returns the files that `list_pictures` reads: the pictures of a folder, or the file itself."""
  source = existing(path, flag)
  names = list_pictures(path, flag).names
  return [source / name for name in names] if source.is_dir() else [source]


def meant(asked: Collection[str], names: Collection[str]) -> dict[str, str]:
  """Returns name that is asked for -> which of `names` it means, of those that mean one.

  It is the same, or, since either may say a folder that the other does not, one whose last part no
  other name has, asked for or there.
  """
  known, last = set(names), lambda name: name.rpartition('/')[2]
  counts = [Counter(map(last, own)) for own in (known, set(asked))]
  once = {last(name): name for name in known if all(own[last(name)] == 1 for own in counts)}
  found = {name: name if name in known else once.get(last(name), '') for name in asked}
  return {name: own for name, own in found.items() if own}


def _is_single(found, path, flag):
  """Returns whether a file is no archive: then it is meant, whatever it is called."""
  return list(found.names) == [existing(path, flag).name]


def _pictures_of(names, path, flag):
  pictures = [name for name in names if _is_picture(name)]
  if not pictures:
    raise InputError(f'{flag}: {path} has no picture, {_ENDINGS}')
  return pictures


def _is_picture(name):
  return Path(name).suffix.lower() in _SUFFIXES


def open_files(path: str, flag: str) -> Pictures:
  """Returns all files that `open_pictures` would look at."""
  root = existing(path, flag)
  if root.is_dir():
    found = (name for pattern in ('*', '*/*') for name in iglob(pattern, root_dir=root))
    names = sorted(Path(name).as_posix() for name in found if (root / name).is_file())
    return Pictures(names, lambda name: _read_file(root / name, flag))
  if zipfile.is_zipfile(root) or root.suffix.lower() == '.zip':
    return _open_archive(root, flag)
  if root.suffix.lower() in _OTHER_ARCHIVES:
    raise InputError(f'{flag}: {root} ends in {root.suffix}, expected a .zip archive or a folder')
  return Pictures([root.name], lambda name: _read_file(root, flag))


def _read_file(file, flag):
  try:
    _check_bytes(file.stat().st_size, file)
    return file.read_bytes()
  except OSError as error:
    raise InputError(f'{flag}: cannot read {file} ({error.strerror})') from error


def _check_bytes(size, name):
  if size > _MOST_BYTES:
    raise InputError(f'{name} has {size:,} bytes, expected at most {_MOST_BYTES:,} of a picture')


def _open_archive(path, flag):
  try:
    archive = zipfile.ZipFile(path)
  except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
    raise InputError(f'{flag}: {path} is not a whole zip archive ({error})') from error
  members = {
    member.filename: member
    for member in archive.infolist()
    if not (member.is_dir() or any(_hidden(part) for part in member.filename.split('/')))
  }
  lock = threading.Lock()  # the archive counts its readers, which threads would get wrong

  def read(name):
    _check_bytes(members[name].file_size, f'{name} in {path}')
    try:
      with lock:
        return archive.read(members[name])
    except Exception as error:  # damaged and encrypted members raise errors of many kinds
      raise InputError(f'{flag}: cannot read {name} in {path} ({error})') from error

  return Pictures(sorted(members), read)


def _hidden(part):
  return part == '__MACOSX' or (part.startswith('.') and part not in ('.', '..'))


def picture_sides(data: bytes, name: str) -> tuple[int, int]:
  """Returns the width and height of a picture as it is stored, pixels; raises what `read_picture`
  raises of a file that is none, or too large."""
  return _opened(data, name).size


def read_picture(data: bytes, name: str, size: int | None) -> np.ndarray:
  """Returns a picture as a camera meant it, its sides made equally long; of an animation the first
  frame.

  It is turned as its EXIF orientation says, what is transparent lies on white, and of 16 bits the
  high ones count. Large JPEGs are decoded at a fraction of their size, and of other large pictures
  one at a time. A picture of `size` comes back bit for bit.

  Args:
    data: the file.
    name: what a message calls it.
    size: S, pixels of a side; None leaves the sides as they are.

  Returns:
    [S, S, 3] uint8, RGB.

  Raises:
    InputError: it is no picture of `FORMATS`, is damaged or cut off, or has more than 178
      megapixels.
  """
  # Not `catch_warnings`, which threads would restore in the wrong order.
  warnings.filterwarnings('ignore', module=r'PIL\.')
  try:
    return _decoded(_opened(data, name), name, size)
  except (InputError, MemoryError):
    raise
  except Exception as error:  # damaged files raise errors of many kinds
    raise InputError(f'{name} is damaged ({error}), expected a whole picture') from error


def _opened(data, name):
  """Returns a picture of which only the beginning was read."""
  try:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    pixels = image.width * image.height
  except Image.UnidentifiedImageError as error:
    found = f'is no picture that can be read (it begins with {data[:8]!r})' if data else 'is empty'
    raise InputError(f'{name} {found}, {_EXPECTED}') from error
  except Image.DecompressionBombError:
    pixels = _MOST_PIXELS + 1
  if pixels > _MOST_PIXELS:
    raise InputError(f'{name} has more than 178 megapixels, expected fewer')
  return image


def _decoded(image, name, size):
  pixels = image.width * image.height
  # Twice the size, so that the filter and not the decoder settles how it looks.
  if size:
    image.draft(None, (2 * size, 2 * size))
  if not image.info.get('progressive'):  # else all coefficients are in memory
    pixels = image.width * image.height
  with _one_large if pixels > _LARGE else nullcontext():
    image.load()
    turned = _TURNED.get(_orientation(image))
    strips = size and pixels > _LARGE and image.has_transparency_data
    image = _narrowed(image, name, size) if strips else _rgb(image, name)
    if size and image.size != (size, size):
      image = image.resize((size, size), Image.Resampling.BICUBIC)
  return np.array(image if turned is None else image.transpose(turned))


def _narrowed(image, name, size):
  """Returns an image as RGB, `size` pixels wide but of its height, without another of its size in
  memory.

  It is what `resize` of the whole would go through: rows first, each on its own, then columns.
  """
  narrow = Image.new('RGB', (size, image.height))
  rows = max(1, _STRIP // image.width)
  for top in range(0, image.height, rows):
    strip = _rgb(image.crop((0, top, image.width, min(top + rows, image.height))), name)
    narrow.paste(strip.resize((size, strip.height), Image.Resampling.BICUBIC), (0, top))
  return narrow


def _orientation(image):
  try:
    return image.getexif().get(_ORIENTATION)
  except Exception:  # what cameras and editors write there is often damaged, the picture is not
    return None


def _rgb(image, name):
  if image.mode.startswith('I;16') or (image.mode, image.format) == ('I', 'PPM'):
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert('RGB')
  if image.mode in ('I', 'F'):
    raise InputError(f'{name} has pixels of 32 bits, expected 8 or 16 bits')
  if image.has_transparency_data:
    white = Image.new('RGBA', image.size, 'white')
    white.alpha_composite(image.convert('RGBA'))
    return white.convert('RGB')
  return image if image.mode == 'RGB' else image.convert('RGB')  # which would copy it
