"""tensorflow-datasets without TensorFlow: preparing, reading back, formats, the sentences for what is missing."""

import gzip
import shutil
import subprocess
import sys

import pytest
from array_record.python.array_record_module import ArrayRecordReader
from tensorboardX.record_writer import RecordWriter

from rnn_research.data import builders
from rnn_research.data.text import load_corpus


@pytest.fixture(scope='module')
def raw(data_dir):
  return gzip.open(data_dir / 'tinyshakespeare/input.txt.gz').read()


@pytest.fixture(scope='module')
def prepared(data_dir, tmp_path_factory):
  folder = tmp_path_factory.mktemp('tfds')
  builders.prepare_tiny_shakespeare(str(data_dir / 'tinyshakespeare/input.txt.gz'), str(folder))
  return folder


def read(name, data_dir, download=False, split='train'):
  return builders.read_text(builders.prepared_builder(name, data_dir, download), split)


def as_tfrecord(folder):
  """Rewrites a prepared folder as stock tensorflow-datasets writes it by default."""
  info = folder / 'dataset_info.json'
  info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
  for path in folder.glob('*.array_record-*'):
    reader = ArrayRecordReader(str(path))
    writer = RecordWriter(str(path).replace('array_record', 'tfrecord'))
    for record in reader.read_all():
      writer.write(record)
    writer.close()
    path.unlink()


def test_prepared_text_is_read_back_exactly(prepared, raw):
  parts = [
    read('tiny_shakespeare', str(prepared), split=s) for s in ('train', 'validation', 'test')
  ]
  assert [len(part) for part in parts] == [1_003_854, 55_770, 55_770]
  assert b''.join(parts) == raw
  assert read('tiny_shakespeare:1.0.0', str(prepared)) == parts[0]


def test_corpus_uses_the_splits_of_the_data_set(prepared):
  corpus = load_corpus(tfds='tiny_shakespeare', data_dir=str(prepared))
  sizes = {split: len(ids) for split, ids in corpus.splits.items()}
  assert sizes == {'train': 1_003_854, 'valid': 55_770, 'test': 55_770}
  assert len(corpus.codec.symbols) == 66
  words = load_corpus(tfds='tiny_shakespeare', data_dir=str(prepared), unit='word')
  assert words.unknown['valid'] > words.unknown['train'] == 0


def test_tfrecord_folders_are_read(prepared, raw, tmp_path):
  shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
  as_tfrecord(tmp_path / 'tiny_shakespeare/1.0.0')
  assert read('tiny_shakespeare', str(tmp_path)) == raw[:1_003_854]


def test_download_prepares_once(raw, tmp_path, monkeypatch):
  (tmp_path / 'input.txt').write_bytes(raw)
  monkeypatch.setattr(builders, 'URL', (tmp_path / 'input.txt').as_uri())
  where = str(tmp_path / 'data')
  assert read('tiny_shakespeare', where, download=True) == raw[:1_003_854]
  (tmp_path / 'input.txt').unlink()
  assert read('tiny_shakespeare', where, download=True, split='test') == raw[-55_770:]


def test_failed_and_changed_downloads_leave_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(builders, 'URL', (tmp_path / 'input.txt').as_uri())
  with pytest.raises(ValueError, match=r'data\.download: cannot download file:'):
    read('tiny_shakespeare', str(tmp_path / 'data'), download=True)
  (tmp_path / 'input.txt').write_text('something else')
  with pytest.raises(ValueError, match='is not the file expected'):
    read('tiny_shakespeare', str(tmp_path / 'data'), download=True)
  assert not (tmp_path / 'data').exists()


def test_code_points_are_not_cut(tmp_path):
  (tmp_path / 'raw').write_text('語' * 101)
  builders.prepare_tiny_shakespeare(str(tmp_path / 'raw'), str(tmp_path))
  parts = [
    read('tiny_shakespeare', str(tmp_path), split=s) for s in ('train', 'validation', 'test')
  ]
  assert [part.decode() for part in parts] == ['語' * 90, '語' * 5, '語' * 6]


def test_what_is_missing_is_named(tmp_path, prepared):
  where = str(tmp_path)
  with pytest.raises(FileNotFoundError) as caught:
    load_corpus(tfds='tiny_shakespeare', data_dir=where)
  message = str(caught.value)
  assert (
    where in message
    and '--config.data.download=true' in message
    and 'prepare_tiny_shakespeare' in message
  )
  assert '\n' not in message
  with pytest.raises(
    FileNotFoundError, match=r"no prepared 'lm1b' in .*; prepare it with tensorflow-datasets"
  ):
    load_corpus(tfds='lm1b', data_dir=where, download=True)
  with pytest.raises(ValueError, match=r'^data\.tfds: .*two words'):
    load_corpus(tfds='two words', data_dir=where)
  with pytest.raises(ValueError, match=r"has no split 'dev', it has"):
    read('tiny_shakespeare', str(prepared), split='dev')


def test_tensorflow_is_never_imported(prepared):
  code = (
    'import sys; from rnn_research.data.text import load_corpus; assert "tensorflow_datasets" not in sys.modules; '
    f'load_corpus(tfds="tiny_shakespeare", data_dir={str(prepared)!r}); assert "tensorflow" not in sys.modules'
  )
  subprocess.run([sys.executable, '-c', code], check=True)
  assert 'tensorflow' not in sys.modules
