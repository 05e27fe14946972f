"""Sets of labelled pictures: idx files, folders, archives, drawn digits; and pictures one at a time."""

import zipfile

import numpy as np
import pytest
from PIL import Image
from test_long_memory import write_idx

from rnn_research.data.image_set import as_trained, checked, load_images, read_images
from rnn_research.errors import InputError

RED, GREY = (200, 30, 30), (90, 90, 90)


def make_folder(folder, colours=(RED, GREY), count=20, size=12):
  for number, colour in enumerate(colours):
    (folder / f'class {number}').mkdir(parents=True)
    for i in range(count):
      picture = Image.new('RGB', (size, size), colour)
      picture.putpixel((i % size, i // size), (255, 255, 255))
      picture.save(folder / f'class {number}' / f'{i}.png')
  return folder


def test_drawn_digits_are_the_same_in_every_run_and_differ_between_splits():
  found = load_images('', 16)
  assert found.classes == tuple('0123456789')
  assert {name: part.images.shape[1:] for name, part in found.splits.items()} == {
    name: (16, 16, 1) for name in ('train', 'valid', 'test')
  }
  assert found.fingerprint == load_images('', 16).fingerprint
  images = [image.tobytes() for part in found.splits.values() for image in part.images]
  assert len({*images}) == len(images)
  assert set(found.splits['valid'].labels) == set(range(10))


def test_a_folder_of_classes_is_split_without_loss(tmp_path):
  found = load_images(str(make_folder(tmp_path / 'set')), 12)
  assert found.classes == ('class 0', 'class 1')
  sizes = {name: len(part.labels) for name, part in found.splits.items()}
  assert sizes == {'train': 32, 'valid': 4, 'test': 4}
  images = [image.tobytes() for part in found.splits.values() for image in part.images]
  assert len({*images}) == 40
  for part in found.splits.values():
    assert part.images.shape[1:] == (12, 12, 3)
    np.testing.assert_array_equal(part.images[:, -1, -1], np.array([RED, GREY])[part.labels])


def test_of_every_class_a_tenth_is_held_out_or_nothing_if_it_is_rare(tmp_path):
  counts = (40, 3, 2, 1, 11)
  for number, count in enumerate(counts):
    make_folder(tmp_path / str(number), [(number, 0, 90)], count=count)
    (tmp_path / str(number) / 'class 0').rename(tmp_path / f'class {number}')
    (tmp_path / str(number)).rmdir()
  found = load_images(str(tmp_path), 12)
  held_out = [4, 1, 0, 0, 1]
  for split in ('valid', 'test'):
    assert np.bincount(found.splits[split].labels, minlength=5).tolist() == held_out
  expected = np.array(counts) - 2 * np.array(held_out)
  np.testing.assert_array_equal(np.bincount(found.splits['train'].labels), expected)
  assert found.scarce == ('class 2', 'class 3') and found.shared
  assert not load_images('', 8).shared


def test_an_archive_is_the_same_as_its_folder(tmp_path):
  folder = make_folder(tmp_path / 'set', count=5)
  with zipfile.ZipFile(tmp_path / 'set.zip', 'w') as archive:
    for file in sorted(folder.rglob('*.png')):
      archive.write(file, file.relative_to(tmp_path))
  of_archive = load_images(str(tmp_path / 'set.zip'), 12)
  assert of_archive.fingerprint == load_images(str(folder), 12).fingerprint


def test_grey_pictures_have_one_channel_and_other_sizes_are_resized(tmp_path):
  found = load_images(str(make_folder(tmp_path / 'set', [GREY], count=10)), 6)
  assert found.splits['train'].images.shape == (8, 6, 6, 1)
  assert found.splits['train'].images[0, -1, -1, 0] == GREY[0]
  flat = tmp_path / 'flat'
  flat.mkdir()
  for file in (tmp_path / 'set' / 'class 0').iterdir():
    file.rename(flat / file.name)
  assert load_images(str(flat), 6).classes == ('',)


def test_an_empty_folder_is_refused(tmp_path):
  with pytest.raises(InputError, match=r'data\.path: .* has no picture'):
    load_images(str(tmp_path), 28)
  make_folder(tmp_path / 'set', [GREY], count=1)
  with pytest.raises(InputError, match=r'has 1 picture\(s\), expected 3 at least'):
    load_images(str(tmp_path / 'set'), 28)
  with pytest.raises(FileNotFoundError):
    load_images(str(tmp_path / 'none'), 28)


def test_a_picture_that_cannot_be_read_is_named_with_its_folder(tmp_path):
  folder = make_folder(tmp_path / 'set', count=3)
  (folder / 'class 0' / '0.png').write_bytes(b'cut')
  with pytest.raises(InputError, match=r'^data\.path: .*/set/class 0/0\.png is no picture'):
    load_images(str(folder), 12)


def test_pictures_beside_folders_of_them_are_refused(tmp_path):
  folder = make_folder(tmp_path / 'set', count=3)
  Image.new('L', (4, 4)).save(folder / 'beside.png')
  with pytest.raises(InputError, match=r'has beside\.png beside folders of pictures'):
    load_images(str(folder), 12)


def test_folders_of_folders_are_refused(tmp_path):
  for split in ('train', 'test'):
    make_folder(tmp_path / 'set' / split, count=2)
  with zipfile.ZipFile(tmp_path / 'set.zip', 'w') as archive:
    for file in (tmp_path / 'set').rglob('*.png'):
      archive.write(file, file.relative_to(tmp_path))
  for name in ('set', 'set.zip'):
    said = (
      rf'{name} has \w+/class \d/\d\.png, expected pictures in one folder per class, or in none'
    )
    with pytest.raises(InputError, match=said):
      load_images(str(tmp_path / name), 12)


def test_pictures_are_those_that_a_model_knows_or_are_refused():
  found = load_images('', 8)
  assert as_trained(found, found.classes, 1).splits['test'].images.shape == (500, 8, 8, 1)
  coloured = as_trained(found, None, 3).splits['test'].images
  np.testing.assert_array_equal(coloured, np.repeat(found.splits['test'].images, 3, -1))
  with pytest.raises(InputError, match=r'has the classes 0, .*, 9, expected those of training: a'):
    as_trained(found, ('a',), 1)
  with pytest.raises(InputError, match='pictures in colour, expected grey ones'):
    as_trained(as_trained(found, None, 3), None, 1)


def test_idx_files_of_letters_and_of_few_pictures(tmp_path):
  for split, count in (('train', 4), ('t10k', 2)):
    write_idx(tmp_path / f'{split}-images-idx3-ubyte', np.zeros((count, 8, 8)))
    write_idx(tmp_path / f'{split}-labels-idx1-ubyte', np.full(count, 25))
  found = load_images(str(tmp_path), 8)
  assert len(found.classes) == 26
  assert [len(part.labels) for part in found.splits.values()] == [3, 1, 2]


def test_a_picture_in_colour_is_refused_where_the_model_has_seen_grey_ones(tmp_path):
  folder = make_folder(tmp_path / 'set', count=1)
  grey, red = str(folder / 'class 1' / '0.png'), str(folder / 'class 0' / '0.png')
  assert read_images(grey, 12, 1, canvas=False)['0.png'].shape == (12, 12, 1)
  assert read_images(red, 8, 3, canvas=False)['0.png'].shape == (8, 8, 3)
  with pytest.raises(InputError, match=r'0\.png is a picture in colour, expected grey'):
    read_images(red, 12, 1, canvas=False)


def test_a_small_picture_lies_on_a_canvas_as_it_is(tmp_path):
  for name, sides in (('small', (5, 4)), ('long', (5, 12)), ('large', (30, 30))):
    Image.new('L', sides, 200).save(tmp_path / f'{name}.png')
  found = read_images(str(tmp_path), 12, 1, canvas=True)
  expected = np.zeros((12, 12, 1), np.uint8)
  expected[4:8, 3:8] = 200
  np.testing.assert_array_equal(found['small.png'], expected)
  for name in ('long.png', 'large.png'):
    assert (found[name] == 200).all()
  assert (read_images(str(tmp_path), 12, 1, canvas=False)['small.png'] == 200).all()


def test_images_from_python_are_levels():
  images = np.full((2, 4, 4, 1), 7, np.uint8)
  np.testing.assert_array_equal(checked(list(images), (4, 4, 1)), images)
  for others in (images / np.float32(255), images > 3):
    said = f'images are {others.dtype}, expected uint8, levels from 0 to 255'
    with pytest.raises(InputError, match=said):
      checked(others, (4, 4, 1))
  with pytest.raises(InputError, match='images differ in shape'):
    checked([images[0], images[0, 1:]], (4, 4, 1))


def test_mnist(data_dir):
  found = load_images(str(data_dir / 'mnist'), 28)
  sizes = {name: len(part.labels) for name, part in found.splits.items()}
  assert sizes == {'train': 55_000, 'valid': 5_000, 'test': 10_000}
  half = load_images(str(data_dir / 'mnist'), 14).splits['test']
  assert half.images.shape == (10_000, 14, 14, 1)
  np.testing.assert_array_equal(half.labels, found.splits['test'].labels)
