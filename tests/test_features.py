"""Features of pictures on disk: computed once, kept through kills and full disks, found by content."""

import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from rnn_research.data.pictures import Pictures, open_pictures
from rnn_research.errors import InputError
from rnn_research.tasks import cache
from rnn_research.tasks.captioning import feature_store
from rnn_research.tasks.captioning.features import cached_features, take

SIZE, BATCH, COUNT = 8, 4, 10
SHAPES = {'columns': (SIZE,), 'pair': (2, SIZE)}  # of `Network`


def photo(number, size=SIZE):
  """Returns the file of a picture, all of whose pixels are its number but for the left column."""
  array = np.full((size, size, 3), number, np.uint8)
  array[:, 0] = 0
  file = io.BytesIO()
  Image.fromarray(array).save(file, 'PNG')
  return file.getvalue()


def source(files):
  return Pictures(sorted(files), files.__getitem__)


def files_of(count=COUNT):
  return {f'{i}.png': photo(20 + i) for i in range(count)}


class Network:
  """Means of pictures; it keeps the numbers of those that it was shown, and dies after some batches."""

  def __init__(self, batches=99, error=KeyboardInterrupt):
    self.seen, self.left, self.error = [], batches, error

  def __call__(self, batch):
    if not self.left:
      raise self.error
    self.left -= 1
    assert (batch.shape, batch.dtype) == ((BATCH, SIZE, SIZE, 3), np.uint8)
    self.seen += [int(number) for number in batch[:, 0, 4, 0] if number]
    columns = batch.astype(np.float32).mean((1, 3))
    return {'columns': columns, 'pair': np.stack([columns, -columns], 1)}


def compute(files, network, folder, names=None, shapes=SHAPES, **options):
  options = {'key': 'net', 'batch_size': BATCH, 'cache_dir': str(folder)} | options
  pictures = source(files)
  return cached_features(pictures, names or pictures.names, SIZE, network, shapes, **options)


def wanted(number):
  return [0.0] + [float(number)] * (SIZE - 1)


def test_a_row_per_picture(tmp_path, capsys):
  names = ['3.png', '0.png', '9.png', '3.png', '1.png', '2.png']
  found = compute(files_of(), Network(), tmp_path, names)
  values = take(found, 'columns', np.arange(6))
  np.testing.assert_array_equal(values, [wanted(20 + int(name[0])) for name in names])
  np.testing.assert_array_equal(take(found, 'pair', np.array([2]))[0, 1], -values[2])
  assert {name: a.shape[1:] for name, a in found.arrays.items()} == SHAPES
  assert {a.dtype for a in found.arrays.values()} == {np.dtype(np.float16)}
  assert all(isinstance(array, np.memmap) for array in found.arrays.values())
  assert found.skipped == {}
  said = capsys.readouterr().err
  assert said.startswith('pictures 0/5  ')
  (store,) = tmp_path.iterdir()
  assert f'features of 5 pictures are kept in {store} (0.0 MB with those before); the' in said
  assert '"key": "net"' in (store / 'about.txt').read_text()


def test_what_is_known_is_not_computed_again(tmp_path, capsys):
  first = compute(files_of(6), Network(), tmp_path)
  capsys.readouterr()
  again = compute(files_of(6), None, tmp_path)
  assert capsys.readouterr() == ('', '')
  np.testing.assert_array_equal(again.rows, first.rows)
  network = Network()
  compute(files_of(8), network, tmp_path)  # two more
  assert network.seen == [26, 27]
  renamed = {f'x{name}': data for name, data in files_of(8).items()}
  found = compute(renamed, None, tmp_path)
  np.testing.assert_array_equal(take(found, 'columns', np.array([7])), [wanted(27)])


def test_what_changes_is_computed(tmp_path):
  compute(files_of(3), Network(), tmp_path)
  network = Network()
  compute(files_of(3) | {'1.png': photo(99)}, network, tmp_path)
  assert network.seen == [99]
  for changed in ({'key': 'other'}, {'look': 'crop4'}, {'look': 'flip'}):
    network = Network()
    compute(files_of(3), network, tmp_path, **changed)
    assert network.seen == [20, 21, 22]


def test_views_are_what_the_network_sees(tmp_path):
  found = compute(files_of(1), Network(), tmp_path, look='flip')
  np.testing.assert_array_equal(take(found, 'columns', np.array([0]))[0], wanted(20)[::-1])
  with pytest.raises(InputError, match="look is 'upside', expected one of plain, flip"):
    compute(files_of(1), Network(), tmp_path, look='upside')


@pytest.mark.parametrize('batches', range(4))
def test_goes_on_where_it_was_interrupted(tmp_path, batches):
  first = Network(batches)
  if batches < 3:
    with pytest.raises(KeyboardInterrupt):
      compute(files_of(), first, tmp_path)
  else:
    compute(files_of(), first, tmp_path)
  second = Network()
  found = compute(files_of(), second, tmp_path)
  assert first.seen + second.seen == [20 + i for i in range(COUNT)]
  np.testing.assert_array_equal(
    take(found, 'columns', np.arange(COUNT)), [wanted(20 + i) for i in range(COUNT)]
  )


KILLED = """
  import os, pathlib, signal, sys
  sys.path.insert(0, {tests!r})
  import test_features as t

  network, write = t.Network(), t.feature_store._put

  def put(path, *args):
    if network.left == 97 and path.name == {last!r}:
      os.kill(os.getpid(), signal.SIGKILL)
    write(path, *args)

  t.feature_store._put = put
  t.compute(t.files_of(), network, {folder!r})
"""


@pytest.mark.parametrize('last', ['pair.npy', 'rows.sha256'])
def test_goes_on_where_it_was_killed(tmp_path, last):
  """While the second batch was being written."""
  program = KILLED.format(tests=os.path.dirname(__file__), folder=str(tmp_path), last=last)
  child = subprocess.run([sys.executable, '-c', textwrap.dedent(program)], check=False)
  assert child.returncode == -signal.SIGKILL
  network = Network()
  found = compute(files_of(), network, tmp_path)
  assert network.seen == [20 + i for i in range(4, COUNT)]
  np.testing.assert_array_equal(
    take(found, 'columns', np.arange(COUNT)), [wanted(20 + i) for i in range(COUNT)]
  )


@pytest.mark.parametrize('lost', ['columns.npy', 'pair.npy', 'rows.sha256', '*.npy'])
def test_lost_files_are_made_again(tmp_path, lost):
  compute(files_of(), Network(), tmp_path)
  (store,) = tmp_path.iterdir()
  for path in store.glob(lost):
    path.unlink()
  network = Network(1)
  with pytest.raises(KeyboardInterrupt):
    compute(files_of(), network, tmp_path)
  found = compute(files_of(), network := Network(), tmp_path)
  assert network.seen == [20 + i for i in range(4, COUNT)]
  assert found.arrays.keys() == SHAPES.keys()
  np.testing.assert_array_equal(take(found, 'columns', np.array([9])), [wanted(29)])


def test_digests_of_lost_rows_stand_for_no_new_ones(tmp_path, monkeypatch):
  """The first batch in their place has been written, its digests have not."""
  compute(files_of(), Network(), tmp_path)
  (store,) = tmp_path.iterdir()
  for path in store.glob('*.npy'):
    path.unlink()

  def put(path, *args):
    if path.name == 'rows.sha256':
      raise KeyboardInterrupt
    write(path, *args)

  write = feature_store._put
  monkeypatch.setattr(feature_store, '_put', put)
  backwards = sorted(files_of(), reverse=True)
  with pytest.raises(KeyboardInterrupt):
    compute(files_of(), Network(), tmp_path, backwards)
  monkeypatch.setattr(feature_store, '_put', write)
  found = compute(files_of(), Network(), tmp_path)
  np.testing.assert_array_equal(
    take(found, 'columns', np.arange(COUNT)), [wanted(20 + i) for i in range(COUNT)]
  )


DAMAGED = {
  'junk': lambda path: path.write_bytes(b'junk'),
  'an archive': lambda path: path.write_bytes(b'PK\3\4junk'),
  'cut off': lambda path: os.truncate(path, 150),
  'empty': lambda path: os.truncate(path, 0),
  'a folder': lambda path: path.unlink() or path.mkdir(),
  'of no rows': lambda path: np.save(path, np.float16(3)),
  'of another rank': lambda path: np.save(path, np.zeros((COUNT, SIZE), np.float16)),
  'of another shape': lambda path: np.save(path, np.zeros((COUNT, 2, 1), np.float16)),
  'of another type': lambda path: np.save(path, np.zeros((COUNT, 2, SIZE), np.float32)),
}


@pytest.mark.parametrize('case', DAMAGED)
def test_damaged_files_are_named(tmp_path, case):
  compute(files_of(), Network(), tmp_path)
  (store,) = tmp_path.iterdir()
  DAMAGED[case](store / 'pair.npy')
  with pytest.raises(InputError, match=r'^data\.cache_dir: .*pair\.npy is damaged \(') as raised:
    compute(files_of(), None, tmp_path)
  assert str(raised.value).endswith(f', delete the folder {store}')
  assert '\n' not in str(raised.value)


@pytest.mark.parametrize(
  ('lose', 'found'),
  [
    (lambda data: bytes(64) + data[64:], '10 digests, 9 of them different, of 10 rows'),
    (lambda data: data + bytes(32), '11 digests, 11 of them different, of 10 rows'),
  ],
)
def test_digests_that_belong_to_no_rows_are_damage(tmp_path, lose, found):
  """Else the numbers of rows were off from there on, and pictures had none."""
  compute(files_of(), Network(), tmp_path)
  (store,) = tmp_path.iterdir()
  digests = store / 'rows.sha256'
  digests.write_bytes(lose(digests.read_bytes()))
  with pytest.raises(InputError, match=rf'rows\.sha256 is damaged \({found}\), delete the folder'):
    compute(files_of(), Network(), tmp_path)


def test_digests_that_were_cut_off_stand_for_fewer_rows(tmp_path):
  compute(files_of(), Network(), tmp_path)
  (store,) = tmp_path.iterdir()
  os.truncate(store / 'rows.sha256', 100)
  found = compute(files_of(), network := Network(), tmp_path)
  assert network.seen == [20 + i for i in range(3, COUNT)]
  np.testing.assert_array_equal(
    take(found, 'columns', np.arange(COUNT)), [wanted(20 + i) for i in range(COUNT)]
  )


def test_other_files_are_left_alone(tmp_path):
  compute(files_of(), Network(), tmp_path)
  (store,) = tmp_path.iterdir()
  np.save(store / 'junk.npy', np.zeros((3, 5)))
  assert compute(files_of(), None, tmp_path).arrays.keys() == SHAPES.keys()
  (store / 'rows.sha256').unlink()
  assert compute(files_of(), Network(), tmp_path).arrays.keys() == SHAPES.keys()
  assert (store / 'junk.npy').exists()


def test_two_at_once_compute_once(tmp_path, capsys):
  networks, found = [Network(), Network()], [None, None]
  started = threading.Event()

  def slow(batch):
    started.set()
    while 'waits until it is done' not in said():
      pass
    return networks[0](batch)

  told = []
  said = lambda: told.append(capsys.readouterr().err) or ''.join(told)
  run = lambda i, network: found.__setitem__(i, compute(files_of(), network, tmp_path))
  threads = [threading.Thread(target=run, args=(0, slow))]
  threads[0].start()
  started.wait(10)
  threads.append(threading.Thread(target=run, args=(1, networks[1])))
  threads[1].start()
  for thread in threads:
    thread.join(20)
  assert networks[1].seen == []
  np.testing.assert_array_equal(found[0].rows, found[1].rows)


def test_readers_see_whole_rows_while_others_are_written(tmp_path):
  network = Network()

  def shown(batch):
    if network.seen:
      read = compute(files_of(4), None, tmp_path)
      np.testing.assert_array_equal(
        take(read, 'columns', np.arange(4)), [wanted(20 + i) for i in range(4)]
      )
    return network(batch)

  compute(files_of(), shown, tmp_path)
  assert len(network.seen) == COUNT


def test_damaged_pictures_have_no_row(tmp_path, capsys):
  files = files_of() | {'2.png': photo(5)[:45], '5.png': b'', '7.png': b'GIF', '8.png': b'x'}
  found = compute(files, Network(), tmp_path)
  assert [name for name in files if name in found.skipped] == ['2.png', '5.png', '7.png', '8.png']
  assert found.rows.tolist() == [0, 1, -1, 2, 3, -1, 4, -1, -1, 5]
  assert found.skipped['5.png'].startswith('5.png is empty, expected a picture')
  said = capsys.readouterr().err.splitlines()[-1]
  assert said.startswith('warning: 4 of 10 pictures are skipped: 2.png is damaged (')
  assert '7.png is no picture' in said
  assert '8.png' not in said
  np.testing.assert_array_equal(take(found, 'columns', np.array([9])), [wanted(29)])
  with pytest.raises(ValueError, match=r'pictures \[2, 5\] were skipped'):
    take(found, 'columns', np.array([0, 2, 5]))
  with pytest.raises(InputError, match=r'none of the 2 pictures can be read: 5\.png is empty'):
    compute(files, Network(), tmp_path, ['5.png', '8.png'])
  assert 'are kept' not in capsys.readouterr().err


def test_files_that_vanished_have_no_row(tmp_path):
  for name, data in files_of(3).items():
    (tmp_path / name).write_bytes(data)
  pictures = open_pictures(str(tmp_path))
  (tmp_path / '1.png').unlink()
  options = {'batch_size': BATCH, 'cache_dir': str(tmp_path)}
  found = cached_features(pictures, pictures.names, SIZE, Network(), SHAPES, 'k', **options)
  assert found.rows.tolist() == [0, -1, 1]
  assert 'cannot read' in found.skipped['1.png']


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
  def full(path, place, data, header):
    write(path, place, data[: len(data) // 2], b'')
    raise OSError(errno.ENOSPC, 'No space left on device')

  write = feature_store._put
  with pytest.raises(KeyboardInterrupt):
    compute(files_of(), Network(1), tmp_path)
  monkeypatch.setattr(feature_store, '_put', full)
  with pytest.raises(
    InputError, match=r'^data\.cache_dir: .* cannot be written \(No space left on device\), name'
  ):
    compute(files_of(), Network(), tmp_path)
  monkeypatch.setattr(feature_store, '_put', write)
  found = compute(files_of(), network := Network(), tmp_path)
  assert network.seen == [20 + i for i in range(4, COUNT)]
  np.testing.assert_array_equal(take(found, 'columns', np.array([9])), [wanted(29)])


def test_a_disk_that_is_too_small_is_known_after_a_batch(tmp_path, monkeypatch):
  monkeypatch.setattr(cache.shutil, 'disk_usage', lambda path: type('Usage', (), {'free': 10}))
  with pytest.raises(InputError, match=r'needs 0 MB more, its disk has 0 MB left, name another'):
    compute(files_of(), Network(), tmp_path)


def test_a_place_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('x')
  with pytest.raises(
    InputError,
    match=r'data\.cache_dir: .*file/.* cannot be written \(Not a directory\), name another folder '
    r'with --config\.data\.cache_dir',
  ):
    compute(files_of(), Network(), tmp_path / 'file')


def test_the_default_is_the_folder_for_caches(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert cache.folder_of('', 'features') == tmp_path / 'rnn_research/features'
  compute(files_of(2), Network(), '')
  assert len(list((tmp_path / 'rnn_research/features').iterdir())) == 1
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  assert cache.folder_of('', 'features') == tmp_path / 'home/.cache/rnn_research/features'


@pytest.mark.parametrize('value', [np.nan, 1e5])
def test_numbers_that_float16_cannot_hold_are_refused(tmp_path, value):
  with pytest.raises(InputError, match='the features x are not finite, or too large for float16'):
    compute(
      files_of(2), lambda batch: {'x': np.full((BATCH, 3), value)}, tmp_path, shapes={'x': (3,)}
    )
  compute(files_of(2), Network(), tmp_path)


def test_a_compiled_network_has_one_trace(tmp_path):
  traces = []

  @jax.jit
  def extract(batch):
    traces.append(batch.shape)
    return {'mean': jnp.mean(batch.astype(jnp.float32), (1, 2))}

  found = compute(files_of(), extract, tmp_path, shapes={'mean': (3,)})
  assert traces == [(BATCH, SIZE, SIZE, 3)]
  means = [[(20 + i) * (SIZE - 1) / SIZE] * 3 for i in range(COUNT)]
  np.testing.assert_allclose(take(found, 'mean', np.arange(COUNT)), means, rtol=1e-3)


def test_flickr8k(data_dir, tmp_path):
  path = data_dir / 'flickr8k/Flickr8k_Dataset.zip'
  if not path.exists():
    pytest.skip('no flickr8k')
  pictures = open_pictures(str(path))
  assert len(pictures.names) == 8091
  extract = lambda batch: {'mean': batch.astype(np.float32).mean((1, 2))}
  found = cached_features(
    pictures, pictures.names[:40], 224, extract, {'mean': (3,)}, 'means', cache_dir=str(tmp_path)
  )
  image = Image.open(io.BytesIO(pictures.read(pictures.names[33]))).convert('RGB')
  np.testing.assert_allclose(
    take(found, 'mean', np.array([33]))[0], np.asarray(image).mean((0, 1)), rtol=1e-3
  )
