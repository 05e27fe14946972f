"""Pictures as people have them: every format, orientation and mode becomes a square of RGB, damage a sentence."""

import io
import re
import struct
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from rnn_research.data import pictures
from rnn_research.data.pictures import (
  FORMATS,
  list_pictures,
  meant,
  open_pictures,
  read_picture,
  unread,
)
from rnn_research.data.views import VIEWS, view
from rnn_research.errors import InputError

SIZE = 16


def encoded(image, kind='PNG', **options):
  """Returns the file of an image, or of an array."""
  file = io.BytesIO()
  (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
  return file.getvalue()


def smooth(height=SIZE, width=SIZE):
  """Returns [height, width, 3] uint8 whose corners differ in all channels."""
  down, right = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
  channels = [30 + 200 * down + 0 * right, 20 + 180 * right + 0 * down, 200 - 150 * down * right]
  return np.stack(channels, -1).astype(np.uint8)


def off(found, wanted):
  return np.abs(found.astype(int) - wanted).max()


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF', 'PPM'])
def test_the_right_size_is_read_bit_for_bit(kind):
  array = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
  found = read_picture(encoded(array, kind), 'a', SIZE)
  np.testing.assert_array_equal(found, array)
  assert (found.dtype, found.flags.writeable) == (np.uint8, True)


@pytest.mark.parametrize('kind', FORMATS)
def test_formats(kind):
  assert off(read_picture(encoded(smooth(), kind), 'a', SIZE), smooth()) < 45


def test_other_sizes_are_averaged_and_made_square():
  """Antialiased: stripes of a pixel become grey, not black or white."""
  stripes = np.zeros((64, 320, 3), np.uint8)
  stripes[:, ::2] = 255
  found = read_picture(encoded(stripes), 'a', SIZE)
  assert found.shape == (SIZE, SIZE, 3)
  assert off(found[:, 2:-2], 127) < 12
  assert off(read_picture(encoded(smooth(5, 90)), 'a', SIZE), smooth()) < 25


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize(
  ('tag', 'seen'),
  [
    (1, lambda a: a),
    (2, lambda a: a[:, ::-1]),
    (3, lambda a: a[::-1, ::-1]),
    (4, lambda a: a[::-1]),
    (5, lambda a: a.swapaxes(0, 1)),
    (6, lambda a: np.rot90(a, -1)),
    (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
    (8, lambda a: np.rot90(a)),
  ],
)
def test_orientation(kind, tag, seen):
  exif = Image.Exif()
  exif[0x0112] = tag
  data = encoded(smooth(), kind, exif=exif)
  assert off(read_picture(data, 'a', SIZE), seen(smooth())) < 45


def test_an_oblong_one_is_turned_too():
  exif = Image.Exif()
  exif[0x0112] = 6
  array = smooth(40, 20)
  found = read_picture(encoded(array, exif=exif), 'a', SIZE)
  assert off(found, read_picture(encoded(np.rot90(array, -1)), 'a', SIZE)) < 3


def test_damaged_metadata_are_no_damage():
  data = encoded(smooth(), 'JPEG', exif=b'Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\xff\xff')
  assert off(read_picture(data, 'a', SIZE), smooth()) < 25


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'PPM'])
def test_16_bits_are_scaled(kind):
  grey = np.random.default_rng(0).integers(0, 65536, (SIZE, SIZE), np.uint16)
  found = read_picture(encoded(grey, kind), 'a', SIZE)
  np.testing.assert_array_equal(found, np.repeat((grey >> 8)[..., None], 3, -1))


def test_16_bits_of_the_other_byte_order():
  grey = np.random.default_rng(0).integers(0, 65536, (SIZE, SIZE), np.uint16).astype('>u2')
  image = Image.frombytes('I;16B', (SIZE, SIZE), grey.tobytes())
  found = read_picture(encoded(image, 'TIFF'), 'a', SIZE)
  np.testing.assert_array_equal(found[..., 1], grey.astype(int) >> 8)


def test_cmyk():
  plain = read_picture(encoded(smooth(), 'JPEG', quality=95), 'a', SIZE)
  inks = encoded(Image.fromarray(smooth()).convert('CMYK'), 'JPEG', quality=95)
  assert off(read_picture(inks, 'a', SIZE), plain) < 25
  assert (
    off(
      read_picture(encoded(Image.fromarray(smooth()).convert('CMYK'), 'TIFF'), 'a', SIZE), smooth()
    )
    == 0
  )


def test_ycck():
  """As Photoshop writes it: inverted YCCK behind an Adobe marker."""
  inks = encoded(Image.fromarray(smooth()).convert('CMYK'), 'JPEG', quality=95)
  start = inks.index(b'Adobe')
  ycck = bytearray(inks)
  ycck[start + 11] = 2  # the transform: the same numbers now mean YCCK
  found = read_picture(bytes(ycck), 'a', SIZE)
  image = np.asarray(Image.open(io.BytesIO(bytes(ycck))).convert('RGB'))
  np.testing.assert_array_equal(found, image)
  assert off(found, read_picture(inks, 'a', SIZE)) > 25


@pytest.mark.parametrize('mode', ['1', 'L', 'P'])
def test_grey_and_palettes(mode):
  image = Image.fromarray(smooth()).convert(mode)
  wanted = np.asarray(image.convert('RGB'))
  np.testing.assert_array_equal(read_picture(encoded(image), 'a', SIZE), wanted)


@pytest.mark.parametrize('mode', ['LA', 'RGBA'])
def test_what_is_transparent_is_white(mode):
  image = Image.fromarray(smooth()).convert(mode)
  alpha = np.zeros((SIZE, SIZE), np.uint8)
  alpha[4:] = 255
  image.putalpha(Image.fromarray(alpha))
  found = read_picture(encoded(image), 'a', SIZE)
  assert (found[:4] == 255).all()
  np.testing.assert_array_equal(found[4:], np.asarray(image.convert('RGB'))[4:])


@pytest.mark.parametrize('kind', ['PNG', 'GIF'])
def test_transparent_colours_of_a_palette_are_white(kind):
  image = Image.fromarray(np.arange(SIZE * SIZE, dtype=np.uint8).reshape(SIZE, SIZE) % 4)
  image = image.convert('P')
  image.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0, 0, 0, 250])
  found = read_picture(encoded(image, kind, transparency=2), 'a', SIZE)
  np.testing.assert_array_equal(
    found[0, :4], [[0, 0, 0], [250, 0, 0], [255, 255, 255], [0, 0, 250]]
  )


def test_transparency_of_many_degrees_in_a_palette_warns_nobody():
  image = Image.new('P', (SIZE, SIZE))
  image.putpalette([100, 100, 100])
  data = encoded(image, transparency=bytes([0] * 256))
  assert (read_picture(data, 'a', SIZE) == 255).all()


@pytest.mark.parametrize('kind', ['GIF', 'WEBP', 'PNG', 'TIFF'])
def test_the_first_frame(kind):
  frames = [Image.new('RGB', (SIZE, SIZE), colour) for colour in ('red', 'blue', 'green')]
  data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
  assert off(read_picture(data, 'a', SIZE), np.asarray(frames[0])) < 6


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF', 'PPM'])
@pytest.mark.parametrize('share', [0.02, 0.5, 0.95])
def test_cut_off(kind, share):
  data = encoded(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8), kind)
  with pytest.raises(InputError, match=r'^cut\.x (is damaged \(.+\)|is no picture.*), expected '):
    read_picture(data[: int(len(data) * share)], 'cut.x', SIZE)


@pytest.mark.parametrize(
  ('data', 'text'),
  [
    (b'', r'a is empty, expected a picture in one of the formats JPEG, PNG'),
    (b'%PDF-1.7 ..', r"is no picture that can be read \(it begins with b'%PDF-1\.7'\)"),
    (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'is no picture'),
    (b'P6 0 5 255\n', 'is no picture'),
  ],
)
def test_no_picture(data, text):
  with pytest.raises(InputError, match=text):
    read_picture(data, 'a', SIZE)


def test_formats_that_are_not_expected_are_refused():
  for kind in ('ICO', 'TGA', 'SGI', 'PCX'):
    with pytest.raises(InputError, match='is no picture'):
      read_picture(encoded(smooth(), kind), 'a', SIZE)


@pytest.mark.parametrize('image', [Image.new('F', (2, 2)), Image.new('I', (2, 2))])
def test_32_bits_are_refused(image):
  with pytest.raises(InputError, match='a has pixels of 32 bits, expected 8 or 16 bits'):
    read_picture(encoded(image, 'TIFF'), 'a', SIZE)


@pytest.mark.parametrize('side', [13_345, 40_000])
def test_bombs_are_not_decoded(side, monkeypatch):
  """Above 178 megapixels; the lower size is one at which Pillow itself only warns."""
  data = encoded(smooth(), 'BMP')
  data = data[:18] + struct.pack('<ii', side, side) + data[26:]
  monkeypatch.setattr(pictures, '_decoded', None)
  with pytest.raises(InputError, match=r'^a has more than 178 megapixels, expected fewer'):
    read_picture(data, 'a', SIZE)


def test_between_a_warning_and_a_bomb_pillow_is_silent():
  """100 megapixels, of one colour."""
  data = encoded(Image.new('L', (10_000, 10_000), 77), 'JPEG')
  assert off(read_picture(data, 'a', SIZE), 77) < 3


def test_large_jpegs_are_decoded_small(monkeypatch):
  seen = []
  whole = pictures._rgb
  monkeypatch.setattr(
    pictures, '_rgb', lambda image, name: seen.append(image.size) or whole(image, name)
  )
  found = read_picture(encoded(smooth(1200, 1600), 'JPEG', quality=95), 'a', SIZE)
  assert seen == [(200, 150)]
  assert off(found, smooth()) < 15


def see_through(mode, height, width):
  """Returns the file of a picture whose places are transparent to many degrees."""
  random = np.random.default_rng(0)
  image = Image.fromarray(smooth(height, width)).convert(mode)
  if mode == 'P':
    return encoded(image, transparency=random.bytes(256))
  if mode == 'RGB':
    return encoded(image, transparency=image.getpixel((1, 1)))
  image.putalpha(Image.fromarray(random.integers(0, 256, (height, width), np.uint8)))
  return encoded(image)


@pytest.mark.parametrize('mode', ['LA', 'RGBA', 'P', 'RGB'])
@pytest.mark.parametrize(('height', 'width'), [(90, 70), (70, SIZE), (SIZE, 70), (9, 150), (5, 5)])
def test_large_transparent_ones_are_laid_on_white_in_strips(mode, height, width, monkeypatch):
  data = see_through(mode, height, width)
  whole, seen = read_picture(data, 'a', SIZE), []
  laid = pictures._rgb
  monkeypatch.setattr(pictures, '_LARGE', height * width - 1)
  monkeypatch.setattr(pictures, '_STRIP', 4 * width + 1)
  monkeypatch.setattr(
    pictures, '_rgb', lambda image, name: seen.append(image.size) or laid(image, name)
  )
  np.testing.assert_array_equal(read_picture(data, 'a', SIZE), whole)
  assert max(seen) == (width, 4) and sum(rows for _, rows in seen) == height


@pytest.fixture
def folder(tmp_path):
  """Returns a folder of pictures, with what else lies in folders."""
  for name in ('b.png', 'a.JPG', 'sub/c.png', '.hidden.png', 'sub/deep/d.png'):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(encoded(smooth()))
  (tmp_path / 'notes.txt').write_text('x')
  return tmp_path


def archive(path, members):
  with zipfile.ZipFile(path, 'w') as file:
    for name, data in members.items():
      file.writestr(name, data)
  return path


def test_a_folder(folder):
  found = open_pictures(str(folder))
  assert found.names == ['a.JPG', 'b.png', 'sub/c.png']
  assert found.read('sub/c.png') == encoded(smooth())
  assert list_pictures(str(folder)).names == ['a.JPG', 'b.png']


def test_files_that_are_not_read_are_told(folder):
  assert unread(str(folder)).startswith('1 other file(s) not read (notes.txt), expected files ')
  for name in ('IMG_1.HEIC', 'nosuffix', '.DS_Store', 'zzz', 'sub/x.txt'):
    (folder / name).touch()
  told = '4 other file(s) not read (IMG_1.HEIC, nosuffix, notes.txt, ..), expected files that end'
  assert unread(str(folder)).startswith(f'{told} in .bmp, .gif, ')
  packed = archive(folder / 'a.zip', {'x.jpg': b'', 'in/README': b'', '__MACOSX/y': b''})
  assert '1 other file(s) not read (in/README), ' in unread(str(packed))
  assert [unread(str(folder / name)) for name in ('b.png', 'nosuffix', 'sub/deep')] == [''] * 3


@pytest.mark.parametrize(
  ('asked', 'names', 'found'),
  [
    (['b/1', 'a/1'], ['a/1'], {'a/1': 'a/1'}),
    (['b/1', '2'], ['a/1', 'c/2'], {'b/1': 'a/1', '2': 'c/2'}),
    (['1', '1'], ['a/1', 'b/1'], {}),
    (['1', '1'], ['a/1'], {'1': 'a/1'}),
  ],
)
def test_a_name_means_the_only_picture_that_is_called_so(asked, names, found):
  assert meant(asked, names) == found


def test_a_single_picture(folder):
  (folder / 'photo').write_bytes(b'1')
  for name in ('b.png', 'photo'):
    found = list_pictures(str(folder / name))
    assert found.names == [name]
    assert found.read(name) == (folder / name).read_bytes()


@pytest.mark.parametrize('prefix', ['', 'Photos/', 'a/b/'])
def test_an_archive(tmp_path, prefix):
  names = [
    'x.jpg',
    'y.png',
    '__MACOSX/._x.jpg',
    '__MACOSX/z.jpg',
    '.hidden.jpg',
    'readme.txt',
    'folder.jpg/',
  ]
  path = archive(tmp_path / 'a.zip', {prefix + name: name.encode() for name in names})
  found = open_pictures(str(path))
  assert found.names == ['x.jpg', 'y.png']
  assert found.read('y.png') == b'y.png'


def test_names_of_archives_never_touch_the_disk(tmp_path):
  outside = tmp_path / 'outside.jpg'
  names = ['../outside.jpg', '/etc/x.jpg', 'C:\\y.jpg', str(outside), 'a/../../z.jpg']
  found = open_pictures(str(archive(tmp_path / 'a.zip', dict.fromkeys(names, b'inside'))))
  assert len(found.names) == len(names)
  assert {found.read(name) for name in found.names} == {b'inside'}
  assert sorted(tmp_path.iterdir()) == [tmp_path / 'a.zip']


def test_threads_read_one_archive(tmp_path):
  members = {f'{i}.png': bytes([i]) * 5000 for i in range(40)}
  found = open_pictures(str(archive(tmp_path / 'a.zip', members)))
  wrong = []

  def check():
    wrong.extend(name for name in found.names * 5 if found.read(name) != members[name])

  threads = [threading.Thread(target=check) for _ in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert wrong == []


def test_damaged_and_locked_archives(tmp_path):
  path = archive(tmp_path / 'a.zip', {'x.png': b'0' * 1000, 'y.png': b'1'})
  data = path.read_bytes()
  path.write_bytes(data.replace(b'0' * 10, b'2' * 10, 1))
  with pytest.raises(InputError, match=r'cannot read x\.png in .*a\.zip \(Bad CRC'):
    open_pictures(str(path)).read('x.png')
  path.write_bytes(data[:-30])
  with pytest.raises(InputError, match=r'^data\.images: .*a\.zip is not a whole zip archive'):
    open_pictures(str(path))
  start = data.index(b'PK\1\2')
  for place in (6, start + 8):  # the flags of the first member: encrypted
    data = data[:place] + b'\1' + data[place + 1 :]
  path.write_bytes(data)
  with pytest.raises(InputError, match='encrypted'):
    open_pictures(str(path)).read('x.png')


def test_members_that_are_too_large_are_not_unpacked(tmp_path, monkeypatch):
  monkeypatch.setattr(pictures, '_MOST_BYTES', 10)
  path = archive(tmp_path / 'a.zip', {'x.png': b'0' * 11})
  with pytest.raises(InputError, match=r'x\.png in .* has 11 bytes, expected at most 10'):
    open_pictures(str(path)).read('x.png')


@pytest.mark.parametrize('ending', ['.tar', '.tar.gz', '.7Z'])
def test_archives_of_another_kind_are_refused(tmp_path, ending):
  path = tmp_path / f'photos{ending}'
  path.touch()
  kind = re.escape(path.suffix)
  with pytest.raises(InputError, match=rf'^input: .* ends in {kind}, expected a \.zip archive'):
    list_pictures(str(path))


def test_nothing_there(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'input: there is no file or folder'):
    list_pictures(str(tmp_path / 'no'))
  with pytest.raises(FileNotFoundError, match=r"^input: there is no file or folder ''$"):
    list_pictures('')
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'sub/a.png').write_bytes(b'')
  with pytest.raises(
    InputError, match=r'^input: .* has pictures only in folders \(sub\), expected one of these'
  ):
    list_pictures(str(tmp_path))
  (tmp_path / 'sub/a.png').unlink()
  with pytest.raises(InputError, match=r'^input: .* has no picture, expected files that end in'):
    list_pictures(str(tmp_path))
  with pytest.raises(InputError, match=r'^data\.images: .* has no picture'):
    open_pictures(str(tmp_path))


def test_views():
  picture = smooth(64, 64)
  assert view(picture, 'plain') is picture
  np.testing.assert_array_equal(view(picture, 'flip')[:, 0], picture[:, -1])
  corners = {'crop0': (0, 0), 'crop1': (0, -1), 'crop2': (-1, 0), 'crop3': (-1, -1)}
  for name, corner in corners.items():
    found = view(picture, name)
    assert (found.shape, found.dtype) == (picture.shape, np.uint8)
    assert off(found[corner], picture[corner]) < 4
    far = tuple(-1 - place for place in corner)
    assert off(found[far], picture[tuple(55 if p == -1 else 8 for p in far)]) < 4
  assert off(view(picture, 'crop4')[0, 0], picture[4, 4]) < 4
  assert set(VIEWS) == {'plain', 'flip', 'crop4', *corners}
  with pytest.raises(InputError, match="view is 'flop', expected one of plain, flip"):
    view(picture, 'flop')
