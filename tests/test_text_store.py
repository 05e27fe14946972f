"""Large texts: encoded piece by piece and kept on disk, equal to what is encoded in memory."""

import gzip
import os
import pathlib
import shutil

import numpy as np
import pytest
from launching import at_once

from experiments import char_lm
from rnn_research.data import codec as codec_lib
from rnn_research.data import files, running_text, text
from rnn_research.data.codec import RULES
from rnn_research.data.files import decode_pieces, decode_text
from rnn_research.errors import InputError
from rnn_research.tasks import contents, kept
from rnn_research.tasks.language import text_store
from rnn_research.tasks.language.source import open_source

PROSE = '\ufeffThe 🙂 語 sat.\r\nOn a  mat\tmat\n<eos> <unk> ' * 20
MANY = ''.join(map(chr, range(0x4E00, 0x4E00 + 400))) * 2


@pytest.fixture
def small_pieces(monkeypatch):
  """Makes every text large, and its pieces 7 bytes."""
  monkeypatch.setattr(kept, 'LARGE', 0)
  monkeypatch.setattr(files, '_PIECE', 7)


def fields(tmp_path, **changes):
  config = char_lm.get_config('debug')
  config.data.update({'path': str(tmp_path / 'text'), 'cache_dir': str(tmp_path / 'cache')})
  config.data.update(changes)
  return config.data


def in_memory(data):
  return text.load_corpus(**{k: v for k, v in data.items() if k != 'cache_dir'}, rules=RULES)


def assert_equal(stored, expected):
  assert stored.codec == expected.codec
  assert (stored.unknown, stored.fingerprint) == (expected.unknown, expected.fingerprint)
  assert list(stored.splits) == list(expected.splits)
  for split, ids in expected.splits.items():
    assert isinstance(stored.splits[split], np.memmap)
    np.testing.assert_array_equal(stored.splits[split], ids)


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
@pytest.mark.parametrize('splits', [(0.8, 0.1, 0.1), (0.5, 0, 0.5), (1, 0, 0)])
def test_pieces_on_a_disk_are_the_text_in_memory(tmp_path, small_pieces, unit, splits):
  folder = tmp_path / 'text'
  folder.mkdir()
  (folder / 'a').write_bytes(PROSE.encode())
  (folder / 'b.gz').write_bytes(gzip.compress('no line end, ß'.encode()))
  (folder / 'c').write_bytes(b'')
  (folder / 'd').write_bytes('\ufeffonly here: §\n'.encode())
  data = fields(tmp_path, unit=unit, splits=splits)
  assert_equal(text_store.load_corpus(data, RULES), in_memory(data))
  assert_equal(text_store.load_corpus(data, RULES), in_memory(data))  # from the disk


def test_separate_files_and_many_symbols(tmp_path, small_pieces):
  for name, content in (('text', MANY), ('v', MANY[:9] + 'x'), ('t', 'yz' + MANY)):
    (tmp_path / name).write_text(content)
  data = fields(tmp_path, valid_path=str(tmp_path / 'v'), test_path=str(tmp_path / 't'))
  stored = text_store.load_corpus(data, RULES)
  assert_equal(stored, in_memory(data))
  assert {ids.dtype for ids in stored.splits.values()} == {np.dtype('uint16')}


def test_a_small_text_leaves_nothing_on_the_disk(tmp_path):
  (tmp_path / 'text').write_text(PROSE)
  assert isinstance(text_store.load_corpus(fields(tmp_path), RULES).splits['train'], np.ndarray)
  assert not (tmp_path / 'cache').exists()


def test_a_model_trains_on_the_same_batches(tmp_path, monkeypatch):
  (tmp_path / 'text').write_text('a small text of letters. ' * 400)
  config = char_lm.get_config('debug')
  config.data.update(fields(tmp_path))
  small = char_lm.build(config).train_data()
  monkeypatch.setattr(kept, 'LARGE', 0)
  large = char_lm.build(config).train_data()
  assert (large.fingerprint, large.about) == (small.fingerprint, small.about)
  for _ in range(3):
    batches = next(large.iterator), next(small.iterator)
    for name in ('inputs', 'targets'):
      assert type(batches[0][name]) is np.ndarray
      assert batches[0][name].dtype == np.int32
      np.testing.assert_array_equal(batches[0][name], batches[1][name])


def test_what_a_killed_process_left_is_written_again(tmp_path, small_pieces, monkeypatch):
  (tmp_path / 'text').write_text(PROSE)
  data, calls, encoder = fields(tmp_path), [], codec_lib.encoder

  def killed(codec):
    encode = encoder(codec)

    def one(symbols):
      calls.append(symbols)
      if len(calls) == 9:
        raise KeyboardInterrupt
      return encode(symbols)

    return one

  monkeypatch.setattr(codec_lib, 'encoder', killed)
  with pytest.raises(KeyboardInterrupt):
    text_store.load_corpus(data, RULES)
  assert list((tmp_path / 'cache').glob('*/*.npy'))
  assert_equal(text_store.load_corpus(data, RULES), in_memory(data))


def test_of_two_processes_one_encodes(tmp_path, small_pieces, monkeypatch):
  (tmp_path / 'text').write_text(PROSE)
  data, times, encode = fields(tmp_path), [], text_store._encode

  def counted(*arguments):
    times.append(1)
    return encode(*arguments)

  monkeypatch.setattr(text_store, '_encode', counted)
  found = at_once(lambda: text_store.load_corpus(data, RULES))
  assert len(times) == 1
  for one in found:
    assert_equal(one, in_memory(data))


def test_a_changed_file_is_encoded_again(tmp_path, small_pieces):
  path = tmp_path / 'text'
  path.write_text('ab' * 30)
  first = text_store.load_corpus(fields(tmp_path), RULES)
  path.write_text('ac' * 30)
  second = text_store.load_corpus(fields(tmp_path), RULES)
  assert (first.codec.symbols[1], second.codec.symbols[1]) == ('b', 'c')


def encoded(tmp_path):
  return len(list((tmp_path / 'cache').glob('*/')))


def test_a_changed_file_whose_time_is_put_back_is_encoded_again(tmp_path, small_pieces):
  path, data = tmp_path / 'text', fields(tmp_path)
  path.write_text(PROSE)
  assert_equal(text_store.load_corpus(data, RULES), in_memory(data))
  status = path.stat()
  path.write_text(PROSE[::-1])
  os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
  assert_equal(text_store.load_corpus(data, RULES), in_memory(data))
  assert encoded(tmp_path) == 2


def test_a_text_is_encoded_once_wherever_it_lies(tmp_path, small_pieces, monkeypatch):
  (tmp_path / 'text').write_text(PROSE)
  shutil.copy2(tmp_path / 'text', tmp_path / 'copy')
  monkeypatch.chdir(tmp_path)
  for changes in (
    {},
    {'path': 'text'},
    {'path': './copy', 'glob': '*'},
    {'splits': [0.9, 0.05, 0.05]},
  ):
    assert_equal(
      text_store.load_corpus(fields(tmp_path, **changes), RULES), in_memory(fields(tmp_path))
    )
  assert encoded(tmp_path) == 1
  text_store.load_corpus(fields(tmp_path, splits=(0.8, 0.1, 0.1)), RULES)
  text_store.load_corpus(
    fields(tmp_path, valid_path='copy', path=str(tmp_path), glob='[ct]*t'), RULES
  )
  assert encoded(tmp_path) == 3


def test_the_second_start_reads_no_file(tmp_path, small_pieces, monkeypatch):
  (tmp_path / 'text').write_text(PROSE)
  read, digest_of = [], contents.digest_of
  monkeypatch.setattr(contents, 'digest_of', lambda *args: read.append(args) or digest_of(*args))
  expected = in_memory(fields(tmp_path))

  def times_read():
    read.clear()
    assert_equal(text_store.load_corpus(fields(tmp_path), RULES), expected)
    return len(read)

  # The file is so new that it could be changed within a tick of the clock.
  assert [times_read(), times_read()] == [1, 1]
  monkeypatch.setattr(contents, '_TICK', 0)
  assert [times_read(), times_read()] == [1, 0]
  index = tmp_path / 'cache' / '.files.json'
  good = index.read_bytes()
  for damaged in (
    b'',
    good[:-9],
    b'[]',
    b'null',
    b'{"a": 1}',
    b'\xff',
    good.replace(b'"]', b'0"]'),
  ):
    index.write_bytes(damaged)
    assert [times_read(), times_read()] == [1, 0]
    assert index.read_bytes() == good
  os.utime(tmp_path / 'text', ns=(0, 0))
  assert [times_read(), times_read()] == [1, 0]


def test_a_text_that_cannot_be_read_is_said_in_a_sentence(tmp_path, small_pieces, monkeypatch):
  (tmp_path / 'text').write_text(PROSE)

  def refuse(*arguments):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr('builtins.open', refuse)
  with pytest.raises(InputError, match=r'^data\.path: cannot read .*text \(Permission denied\)$'):
    text_store.load_corpus(fields(tmp_path), RULES)


@pytest.mark.parametrize('content', [
  b'good text, then \xe2\x82', b'good \xe2\x28\xa1 text', b'good text and \0 no text',
])  # fmt: skip
def test_the_same_sentences_as_in_memory(tmp_path, small_pieces, content):
  (tmp_path / 'text').write_bytes(content)
  with pytest.raises(InputError) as expected:
    in_memory(fields(tmp_path))
  with pytest.raises(InputError) as found:
    text_store.load_corpus(fields(tmp_path), RULES)
  assert str(found.value) == str(expected.value)


def test_another_text_is_encoded_with_the_codec_of_a_model(tmp_path, small_pieces):
  (tmp_path / 'text').write_text(PROSE)
  codec = text_store.load_corpus(fields(tmp_path, unit='word'), RULES).codec
  (tmp_path / 'other').write_text('The cat \nsat. On')
  data = fields(tmp_path, path=str(tmp_path / 'other'))
  found = text_store.encode_foreign(data, codec)
  assert isinstance(found, np.memmap)
  expected = codec.encode('The cat \nsat. On')
  np.testing.assert_array_equal(found, expected)
  assert codec.unknown in found


@pytest.mark.parametrize('unit', ['char', 'word'])
def test_a_text_is_encoded_once_to_be_told_from_that_of_a_model(
  tmp_path, small_pieces, monkeypatch, unit
):
  words = PROSE[1:].replace('<unk>', 'unknown')
  (tmp_path / 'text').write_text(words)
  (tmp_path / 'other').write_text(words[:-40] + ' §')
  shutil.copy2(tmp_path / 'text', tmp_path / 'copy')
  open_there = lambda assets=None, **there: open_source(
    fields(tmp_path, unit=unit, **there), assets
  )
  trained = open_there()
  assets = {**trained.assets, 'fingerprint': trained.corpus().fingerprint}
  times, encode = [], text_store._encode
  monkeypatch.setattr(text_store, '_encode', lambda *args: times.append(1) or encode(*args))
  other = open_there(assets, path=str(tmp_path / 'other'))
  assert other.measured == ('text',)
  np.testing.assert_array_equal(other.texts()['text'], trained.codec.encode(words[:-40] + ' §'))
  assert len(times) == 1
  for there, count in (({}, 1), ({'cache_dir': str(tmp_path / 'elsewhere')}, 2)):
    same = open_there(assets, path=str(tmp_path / 'copy'), **there)
    assert same.measured == ('valid', 'test')
    assert_equal(same.corpus(), trained.corpus())
    assert same.texts() is same.corpus().splits
    assert len(times) == count


def test_an_unknown_word_of_a_text_is_no_word_of_another(tmp_path, small_pieces):
  (tmp_path / 'text').write_text(PROSE)
  (tmp_path / 'other').write_text(PROSE.replace('<unk>', 'rare', 1))
  trained = open_source(fields(tmp_path, unit='word'), None)
  assets = {**trained.assets, 'fingerprint': trained.corpus().fingerprint}
  other = open_source(fields(tmp_path, unit='word', path=str(tmp_path / 'other')), assets)
  assert list(other.texts()) == ['text']
  np.testing.assert_array_equal(
    other.texts()['text'], np.concatenate(list(trained.corpus().splits.values()))
  )


def test_a_text_that_changes_while_it_is_read_is_refused(tmp_path, small_pieces, monkeypatch):
  path = tmp_path / 'text'
  path.write_text(PROSE)
  encode = text_store._encode

  def slow(*arguments):
    found = encode(*arguments)
    path.write_text(PROSE + 'more')
    return found

  monkeypatch.setattr(text_store, '_encode', slow)
  with pytest.raises(InputError, match=r'^data\.path: .*text has changed while it was read$'):
    text_store.load_corpus(fields(tmp_path), RULES)
  monkeypatch.setattr(text_store, '_encode', encode)
  assert_equal(text_store.load_corpus(fields(tmp_path), RULES), in_memory(fields(tmp_path)))


@pytest.mark.parametrize('changes, said', [
  ({'unit': 'letter'}, r"data\.unit is 'letter'"), ({'splits': (0.5, 0.6, 0.1)}, r'whose sum is 1\.2'),
])  # fmt: skip
def test_fields_are_checked_before_the_text_is_read(tmp_path, small_pieces, changes, said):
  (tmp_path / 'text').write_text(PROSE)
  with pytest.raises(InputError, match=said):
    text_store.load_corpus(fields(tmp_path, **changes), RULES)
  assert not (tmp_path / 'cache').exists()


def test_a_damaged_or_forbidden_cache_is_said_in_a_sentence(tmp_path, small_pieces, monkeypatch):
  (tmp_path / 'text').write_text(PROSE)
  data = fields(tmp_path)
  text_store.load_corpus(data, RULES)
  (damaged,) = (tmp_path / 'cache').glob('*/valid.npy')
  damaged.write_bytes(b'x')
  with pytest.raises(InputError, match=r'^data\.cache_dir: .* is damaged .*, delete the folder$'):
    text_store.load_corpus(data, RULES)
  with pytest.raises(InputError, match=r'^data\.cache_dir: .* cannot be written'):
    text_store.load_corpus(fields(tmp_path, cache_dir=str(tmp_path / 'text')), RULES)
  with pytest.raises(
    InputError, match=r"^data\.cache_dir is 'a\\x00', expected the path of a folder$"
  ):
    text_store.load_corpus(fields(tmp_path, cache_dir='a\0'), RULES)
  with pytest.raises(InputError, match=r'cannot be written \(File name too long\)'):
    text_store.load_corpus(fields(tmp_path, cache_dir=str(tmp_path / ('a' * 300))), RULES)


@pytest.mark.parametrize('name, change', [
  ('corpus.json', lambda data, _: b''), ('corpus.json', lambda data, _: b'[]'),
  ('corpus.json', lambda data, _: b'null'), ('corpus.json', lambda data, _: b'{"about": 1, "digest": 2}'),
  ('corpus.json', lambda data, _: data.replace(b'"T"', b'"t"')),
  ('train.npy', lambda data, _: b''), ('train.npy', lambda data, _: data[:-1]),
  ('train.npy', lambda data, _: data[:128] + bytes(len(data) - 128)), ('train.npy', lambda data, valid: valid),
  ('train.npy', lambda data, _: None),
])  # fmt: skip
def test_a_folder_that_is_not_as_it_was_written_is_refused(tmp_path, small_pieces, name, change):
  (tmp_path / 'text').write_text(PROSE)
  text_store.load_corpus(fields(tmp_path), RULES)
  (folder,) = (tmp_path / 'cache').glob('*/')
  changed = change((folder / name).read_bytes(), (folder / 'valid.npy').read_bytes())
  (folder / name).unlink()
  if changed is not None:
    (folder / name).write_bytes(changed)
  with pytest.raises(
    InputError, match=r'^data\.cache_dir: .* is damaged \(.*\), delete the folder$'
  ):
    text_store.load_corpus(fields(tmp_path), RULES)


def test_all_of_a_folder_is_on_the_disk_before_it_counts(tmp_path, small_pieces, monkeypatch):
  (tmp_path / 'text').write_text(PROSE)
  done, fsync = [], os.fsync

  def synced(number):
    where = pathlib.Path(os.readlink(f'/proc/self/fd/{number}'))
    done.append((where.name, len(list((tmp_path / 'cache').glob('*/corpus.json')))))
    fsync(number)

  monkeypatch.setattr(os, 'fsync', synced)
  text_store.load_corpus(fields(tmp_path), RULES)
  (folder,) = (tmp_path / 'cache').glob('*/')
  before = ['corpus.json.part', 'test.npy', 'train.npy', 'valid.npy']
  assert sorted(done) == sorted([*((name, 0) for name in before), (folder.name, 1)])


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'shift_jis', 'latin-1'])
@pytest.mark.parametrize('size', [4, 5, 7, 100])
def test_pieces_of_bytes_are_decoded_as_the_whole(encoding, size):
  sample = (
    'a日本語b\r\n' if encoding == 'shift_jis' else 'aß\r\nb' if encoding == 'latin-1' else PROSE
  )
  data = sample.encode(encoding)
  pieces = [data[i : i + size] for i in range(0, len(data), size)]
  assert ''.join(decode_pieces(pieces, 'file', '', encoding)) == data.decode(encoding)
  if encoding in ('utf-8', 'utf-8-sig', 'shift_jis'):
    bad = data + b'\xff\xff'
    with pytest.raises(InputError) as whole:
      decode_text(bad, 'file', 'advice', encoding)
    with pytest.raises(InputError) as found:
      list(
        decode_pieces(
          [bad[i : i + size] for i in range(0, len(bad), size)], 'file', 'advice', encoding
        )
      )
    assert str(found.value) == str(whole.value)
    assert f'offset {len(data)})' in str(found.value)


@pytest.mark.parametrize('size', [1, 2, 5, 1000])
def test_words_that_are_cut_by_a_piece_stay_whole(size):
  sample = PROSE + 'end'
  pieces = [sample[i : i + size] for i in range(0, len(sample), size)]
  words = [word for piece in running_text.split_pieces(pieces, 'word') for word in piece]
  assert words == running_text.split(sample, 'word')
