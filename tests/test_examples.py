"""Examples that are loaded from disk: each once per epoch, in another order, resumed exactly."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from rnn_research.data import examples
from rnn_research.errors import InputError

COUNT, BATCH = 10, 4


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Returns image files; every pixel of one is its number."""
  folder = tmp_path_factory.mktemp('images')
  for i in range(COUNT):
    Image.fromarray(np.full((3, 5), i, np.uint8)).save(folder / f'{i}.png')
  return sorted(folder.iterdir())


def load(path):
  return {'image': np.asarray(Image.open(path)), 'number': np.int32(path.stem)}


def open_data(files, load=load, seed=3, **options):
  return examples.loaded(files, load, BATCH, seed, 'digest', **options)


def numbers(data, steps):
  return [next(data.iterator)['number'].tolist() for _ in range(steps)]


def test_batches(files):
  data = open_data(files)
  batch = next(data.iterator)
  assert (batch['image'].shape, batch['image'].dtype) == ((BATCH, 3, 5), np.uint8)
  assert (batch['number'].shape, batch['number'].dtype) == ((BATCH,), np.int32)
  np.testing.assert_array_equal(batch['image'][:, 1, 2], batch['number'])
  assert (data.steps_per_epoch, data.fingerprint, data.shapes) == (2, 'digest', ())


def test_every_row_once_per_epoch_in_another_order(files):
  rows = np.concatenate(numbers(open_data(files), 10)).reshape(4, COUNT)
  np.testing.assert_array_equal(np.sort(rows), np.tile(np.arange(COUNT), (4, 1)))
  assert len({tuple(row) for row in rows}) == 4
  assert numbers(open_data(files), 3) != numbers(open_data(files, seed=4), 3)


def at_different_speeds(path):
  time.sleep(0.01 * (int(path.stem) % 3))
  return load(path)


@pytest.mark.parametrize('steps', range(7))
def test_goes_on_exactly_where_it_was(files, steps):
  """Also within an epoch, while threads have loaded rows ahead."""
  whole = numbers(open_data(files), 12)
  data = open_data(files, at_different_speeds)
  assert numbers(data, steps) == whole[:steps]
  state = data.iterator.get_state()
  numbers(data, 2)
  resumed = open_data(files, at_different_speeds)
  resumed.iterator.set_state(state)
  assert numbers(resumed, 12 - steps) == whole[steps:]


def test_threads_load(files):
  seen = set()

  def watched(path):
    seen.add(threading.current_thread())
    return at_different_speeds(path)

  numbers(open_data(files, watched), 6)
  assert len(seen - {threading.main_thread()}) > 1


@pytest.mark.parametrize('harm', ['cut off', 'gone', 'no image', 'another size'])
def test_errors_name_the_file(files, tmp_path, harm):
  copies = []
  for path in files:
    copies.append(tmp_path / path.name)
    copies[-1].write_bytes(path.read_bytes())
  bad = copies[7]
  {
    'cut off': lambda: bad.write_bytes(bad.read_bytes()[:40]),
    'gone': bad.unlink,
    'no image': lambda: bad.write_text('no image'),
    'another size': lambda: Image.fromarray(np.zeros((2, 2), np.uint8)).save(bad),
  }[harm]()
  data = open_data(copies)
  with pytest.raises(InputError) as caught:
    numbers(data, 4)
  said = str(caught.value)
  assert said.startswith(f'{bad} ')
  assert '\n' not in said
  if harm == 'another size':
    assert said == (
      f'{bad} holds image uint8[2, 2], number int32[], expected image uint8[3, 5], number int32[] '
      f'as in {copies[0]}'
    )


def test_rows_that_are_no_paths_have_a_name(files):
  rows = [(path, i) for i, path in enumerate(files)]

  def fails(row):
    if row[1] == 5:
      raise ValueError('broken')
    return load(row[0])

  with pytest.raises(InputError) as caught:
    numbers(open_data(rows, fails, name=lambda row: row[0].name), 4)
  assert str(caught.value) == '5.png cannot be loaded (ValueError: broken)'


def test_less_than_a_batch(files):
  with pytest.raises(
    InputError, match=r'train\.batch_size is 4, expected at most 3, as many as there are'
  ):
    open_data(files[:3])
