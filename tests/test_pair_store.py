"""Large files of pairs: encoded piece by piece and kept on disk, equal to what is encoded in memory."""

import gzip
import os
import pathlib
import re

import numpy as np
import pytest
from launching import at_once

from experiments import seq2seq
from rnn_research.data import files
from rnn_research.data.codec import RULES
from rnn_research.data.lines import cut_lines
from rnn_research.data.pairs import Pairs, pair_pieces, read_pairs
from rnn_research.data.sentences import taken
from rnn_research.errors import InputError
from rnn_research.tasks import cache, kept
from rnn_research.tasks.translation import corpus, pair_encoder, pair_store, shares

WORDS = ['der', 'Hund,', 'läuft', '語', 'z.B.', '<unk>', '🙂', "don't", 'x\u0301', '￭', 'Straße']


def sentences(seed, count=60):
  """Returns lines, some of them blank, of few words, so that pairs are repeated."""
  rng = np.random.default_rng(seed)
  lines = [' '.join(rng.choice(WORDS, rng.integers(1, 4))) for _ in range(count)]
  lines[7], lines[20 + seed] = '', ' \t '
  lines[30:36] = lines[:6]
  lines[36] = f'  {lines[8].upper()}\r'
  return lines


@pytest.fixture
def small_pieces(monkeypatch):
  """Makes all pairs large, and their pieces 97 bytes."""
  monkeypatch.setattr(kept, 'LARGE', 0)
  monkeypatch.setattr(files, '_PIECE', 97)


@pytest.fixture
def config(tmp_path):
  """Returns a config of two files of pairs."""
  config = seq2seq.get_config('debug')
  paths = {side: tmp_path / f'text.{side}' for side in ('de', 'en')}
  for seed, path in enumerate(paths.values()):
    path.write_text('\n'.join(sentences(seed)) + '\n', 'utf-8')
  config.data.update({
    'task': '', 'source': str(paths['de']), 'target': str(paths['en']), 'cache_dir': str(tmp_path / 'cache'),
    'splits': (0.6, 0.2, 0.2),
  })  # fmt: skip
  config.train.batch_size = 2
  return config


def in_memory(data, rules=RULES):
  found = corpus.load_corpus(data, rules)
  codec = corpus.train_codec(found, data)
  encode = lambda: {split: corpus.encode_pairs(codec, part) for split, part in found.splits.items()}
  return pair_store.Loaded(found, codec, encode)


def lists(side):
  return [ids.tolist() for ids in taken(side, np.arange(len(side.lengths)))]


def assert_equal(stored, expected):
  assert stored.codec == expected.codec
  assert list(stored.corpus.splits) == list(expected.corpus.splits)
  assert stored.corpus._replace(splits={}) == expected.corpus._replace(splits={})
  for split, pairs in expected.corpus.splits.items():
    texts = [texts[:3] if split == 'train' else texts for texts in pairs[:2]]
    assert stored.corpus.splits[split] == Pairs(*texts, *pairs[2:])
  ids = stored.encoded()
  assert list(ids) == list(expected.corpus.splits)
  for split, pairs in expected.encoded().items():
    assert list(map(lists, ids[split])) == list(map(lists, pairs))
  assert isinstance(ids['train'].sources.ids.base, np.memmap)


UNITS = {
  'word': {'min_frequency': 2},
  'char': {'lower': False},
  'subword': {'vocabulary_size': 45},
  'few words': {'vocabulary_size': 9},
}


@pytest.mark.parametrize('name', UNITS)
@pytest.mark.parametrize('splits', [(0.6, 0.2, 0.2), (0.7, 0.0, 0.3), (1.0, 0.0, 0.0)])
def test_pairs_on_a_disk_are_those_in_memory(config, small_pieces, name, splits):
  config.data.update({'unit': name.split()[-1].removesuffix('s'), 'splits': splits, **UNITS[name]})
  expected = in_memory(config.data)
  assert (expected.corpus.splits['train'].duplicates > 3) == (len(expected.corpus.splits) > 1)
  assert_equal(pair_store.load(config.data, RULES), expected)
  assert_equal(pair_store.load(config.data, RULES), expected)  # from the disk


def test_held_out_files_one_file_of_pairs_and_gzip(config, tmp_path, small_pieces):
  lines = [
    f'{a}\t{b.strip()}\tCC' for a, b in zip(sentences(1), sentences(2), strict=True) if a.strip()
  ]
  (tmp_path / 'pairs.gz').write_bytes(gzip.compress('\n'.join(lines).encode('utf-16')))
  (tmp_path / 'v').write_bytes('ein Hund\ta dog\n\tx\n'.encode('utf-16'))
  config.data.update({
    'source': str(tmp_path / 'pairs.gz'), 'target': '', 'valid_source': str(tmp_path / 'v'), 'encoding': 'utf-16',
  })  # fmt: skip
  expected = in_memory(config.data)
  assert expected.corpus.drawn == ('test',)
  assert [part.empty for part in expected.corpus.splits.values()] == [1, 1, 0]
  assert_equal(pair_store.load(config.data, RULES), expected)
  config.data.splits = (0.8, 0.2, 0.0)
  assert_equal(pair_store.load(config.data, RULES), in_memory(config.data))


def test_held_out_files_are_looked_for_before_anything_is_encoded(config, tmp_path, small_pieces):
  config.data.valid_source = str(tmp_path / 'none')
  with pytest.raises(FileNotFoundError, match=r'^data\.valid_source: there is no file'):
    pair_store.load(config.data, RULES)
  assert not (tmp_path / 'cache').exists()


def test_more_symbols_than_a_byte_has(config, tmp_path, monkeypatch):
  monkeypatch.setattr(kept, 'LARGE', 0)
  (tmp_path / 'text.de').write_text('\n'.join(map(chr, range(0x4E00, 0x4E00 + 60))))
  many = [' '.join(f'w{i}' for i in range(start, start + 5)) for start in range(60)]
  (tmp_path / 'text.en').write_text('\n'.join(f'{line} u{i}' for i, line in enumerate(many)))
  signs = [*range(0x20000, 0x2A6D0), *range(0x4E00, 0xA000), *range(0xAC00, 0xD7A0)]
  lines = [''.join(map(chr, signs[start : start + 500])) for start in range(0, len(signs), 500)]
  (tmp_path / 'many').write_text('\n'.join(f'{line}\ta' for line in lines), 'utf-8')
  config.data.update({
    'source': str(tmp_path / 'many'), 'target': '', 'unit': 'char', 'min_frequency': 1, 'splits': (1.0, 0.0, 0.0),
  })  # fmt: skip
  stored = pair_store.load(config.data, RULES)
  assert stored.codec == in_memory(config.data).codec
  sources = stored.encoded()['train'].sources
  assert sources.ids.dtype == np.dtype('uint32')
  assert ''.join(stored.codec.source.symbols[i] for i in taken(sources, [7])[0]) == lines[7]


def test_a_small_file_leaves_nothing_on_the_disk(config, tmp_path):
  found = pair_store.load(config.data, RULES)
  assert len(found.corpus.splits['train'].sources) > 20
  assert not (tmp_path / 'cache').exists()


def test_a_translator_trains_and_goes_on_with_the_same_batches(config, monkeypatch):
  small = seq2seq.build(config).train_data()
  monkeypatch.setattr(kept, 'LARGE', 0)
  first = seq2seq.build(config)
  large = first.train_data()
  assets = {**first.assets, 'fingerprint': large.fingerprint}
  monkeypatch.setattr(pair_encoder, 'pair_pieces', None)  # all that follows is from the disk
  again = seq2seq.build(config, assets).train_data()
  for data in (large, again):
    assert (data.fingerprint, data.about, data.steps_per_epoch) == (
      small.fingerprint, small.about, small.steps_per_epoch,
    )  # fmt: skip
  for _ in range(2 * small.steps_per_epoch):
    batch, *others = (next(data.iterator) for data in (small, large, again))
    for other in others:
      for name, values in batch.items():
        assert other[name].dtype == np.int32
        np.testing.assert_array_equal(other[name], values)
  held_out = seq2seq.build(config, assets).commands['pairs'](None, 'test')
  assert held_out == corpus.load_corpus(config.data).splits['test']


def test_the_codec_of_a_trained_model_stays(config, tmp_path, small_pieces):
  config.data.min_frequency = 3
  other = pair_store.load(config.data, RULES).codec
  config.data.min_frequency = 1
  own = pair_store.load(config.data, RULES).codec
  found = pair_store.load(config.data, RULES, other)
  expected = corpus.load_corpus(config.data)
  assert found.codec == other
  for split, pairs in expected.splits.items():
    ids = corpus.encode_pairs(other, pairs)
    assert list(map(lists, found.encoded()[split])) == list(map(lists, ids))
  assert pair_store.load(config.data, RULES).codec == own == in_memory(config.data).codec != other
  assert len(list((tmp_path / 'cache').glob('*/'))) == 3


def test_pairs_of_an_earlier_version_keep_their_duplicates(config, small_pieces):
  expected = in_memory(config.data, rules=2)
  assert expected.corpus.splits['train'].duplicates == 0
  assert_equal(pair_store.load(config.data, 2), expected)
  assert expected.corpus.fingerprint != in_memory(config.data).corpus.fingerprint


def test_the_second_start_does_not_read_the_files(config, tmp_path, small_pieces, monkeypatch):
  expected = in_memory(config.data)
  pair_store.load(config.data, RULES)
  monkeypatch.setattr(pair_encoder, 'pair_pieces', None)
  assert_equal(pair_store.load(config.data, RULES), expected)
  assert not list((tmp_path / 'cache').glob('*/*.part'))


def test_pairs_are_encoded_once_wherever_they_lie(config, tmp_path, small_pieces, monkeypatch):
  expected = pair_store.load(config.data, RULES)
  for side, field in (('de', 'source'), ('en', 'target')):
    config.data[field] = str(tmp_path / f'moved.{side}')
    (tmp_path / f'text.{side}').rename(config.data[field])
  monkeypatch.setattr(pair_encoder, 'pair_pieces', None)
  assert pair_store.load(config.data, RULES).corpus == expected.corpus
  monkeypatch.undo()
  monkeypatch.setattr(kept, 'LARGE', 0)
  config.data.source, config.data.target = config.data.target, config.data.source
  assert_equal(pair_store.load(config.data, RULES), in_memory(config.data))


def test_changed_pairs_whose_time_is_put_back_are_encoded_again(config, tmp_path, small_pieces):
  pair_store.load(config.data, RULES)
  path = tmp_path / 'text.en'
  status = path.stat()
  path.write_bytes(path.read_bytes().replace(b'Hund', b'Katz'))
  os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
  assert path.stat().st_size == status.st_size
  assert_equal(pair_store.load(config.data, RULES), in_memory(config.data))


def test_what_a_killed_process_left_is_written_again(config, tmp_path, small_pieces, monkeypatch):
  number, calls = pair_encoder._part, []

  def killed(*arguments):
    calls.append(arguments)
    if len(calls) == 40:
      raise KeyboardInterrupt
    return number(*arguments)

  monkeypatch.setattr(pair_encoder, '_part', killed)
  with pytest.raises(KeyboardInterrupt):
    pair_store.load(config.data, RULES)
  assert list((tmp_path / 'cache').glob('*/*.part'))
  assert_equal(pair_store.load(config.data, RULES), in_memory(config.data))


def test_of_two_processes_one_encodes(config, small_pieces, monkeypatch):
  times, encode = [], pair_encoder.encode

  def counted(*arguments):
    times.append(1)
    return encode(*arguments)

  monkeypatch.setattr(pair_encoder, 'encode', counted)
  found = at_once(lambda: pair_store.load(config.data, RULES))
  assert len(times) == 1
  for one in found:
    assert_equal(one, in_memory(config.data))


def test_a_changed_file_is_encoded_again(config, tmp_path, small_pieces, monkeypatch):
  first = pair_store.load(config.data, RULES)
  path = tmp_path / 'text.en'
  path.write_text(path.read_text('utf-8').replace('Hund', 'Katz'), 'utf-8')
  second = pair_store.load(config.data, RULES)
  assert 'katz' in second.codec.target.symbols
  assert first.corpus.fingerprint != second.corpus.fingerprint
  encode = pair_encoder.encode

  def slow(*arguments):
    found = encode(*arguments)
    path.write_text(path.read_text('utf-8') + 'more\n', 'utf-8')
    return found

  path.write_text(path.read_text('utf-8').replace('Katz', 'Maus'), 'utf-8')
  monkeypatch.setattr(pair_encoder, 'encode', slow)
  with pytest.raises(InputError, match=r'^data\.source: .* has changed while it was read$'):
    pair_store.load(config.data, RULES)


def test_files_that_grow_between_two_passes_are_refused(
  config, tmp_path, small_pieces, monkeypatch
):
  survey = pair_encoder._survey

  def slow(*arguments, **options):
    found = survey(*arguments, **options)
    for side in ('de', 'en'):
      with open(tmp_path / f'text.{side}', 'a', encoding='utf-8') as file:
        file.write('noch\n' * 2)
    return found

  monkeypatch.setattr(pair_encoder, '_survey', slow)
  with pytest.raises(InputError, match=r'^data\.source: .*text\.de .* while it was read$'):
    pair_store.load(config.data, RULES)


def test_a_full_disk_is_said_in_a_sentence(config, small_pieces, monkeypatch):
  monkeypatch.setattr(pair_encoder, '_part', lambda *arguments: pathlib.Path('/dev/full'))
  with pytest.raises(InputError) as caught:
    pair_store.load(config.data, RULES)
  said = (
    r'data\.cache_dir: .* cannot be written \(No space left on device\), name another folder .*'
  )
  assert re.fullmatch(said, str(caught.value))


def test_a_read_only_disk_is_said_in_a_sentence(config, small_pieces, monkeypatch):
  def mkdir(*arguments, **options):
    raise OSError(30, 'Read-only file system')

  monkeypatch.setattr(pathlib.Path, 'mkdir', mkdir)
  with pytest.raises(
    InputError, match=r'cannot be written \(Read-only file system\), name another'
  ):
    pair_store.load(config.data, RULES)


def test_a_folder_that_cannot_be_and_a_disk_that_is_too_small(
  config, tmp_path, small_pieces, monkeypatch
):
  config.data.cache_dir = str(tmp_path / 'text.de')
  with pytest.raises(
    InputError, match=r'^data\.cache_dir: .* cannot be written \(Not a directory\)'
  ):
    pair_store.load(config.data, RULES)
  config.data.cache_dir = str(tmp_path / 'cache')
  monkeypatch.setattr(cache.shutil, 'disk_usage', lambda folder: type('', (), {'free': 3})())
  with pytest.raises(InputError, match=r'^data\.cache_dir: .* MB left, name another folder'):
    pair_store.load(config.data, RULES)


@pytest.mark.parametrize('name, content', [
  ('train.source.npy', b'x'), ('valid.target.npy', b''), ('test.source.txt', b'other'), ('corpus.json', b'[]'),
])  # fmt: skip
def test_a_damaged_folder_is_said_in_a_sentence(config, tmp_path, small_pieces, name, content):
  pair_store.load(config.data, RULES)
  (damaged,) = (tmp_path / 'cache').glob(f'*/{name}')
  damaged.write_bytes(content)
  with pytest.raises(InputError, match=r'^data\.cache_dir: .* is damaged .*, delete the folder$'):
    pair_store.load(config.data, RULES)


@pytest.mark.parametrize('source, target', [
  ('a\nb\n', 'a\n'), ('\n \n', 'a\nb'), ('a\nb\0\n', 'a\nb\n'), ('', 'a\n'), ('a b\n' * 70 + 'c\n', 'd\n' * 70),
  ('a\tb\n' * 70 + 'c\n', ''), ('a\n', ''), ('\n' * 5, ''),
])  # fmt: skip
def test_the_same_sentences_as_in_memory(config, tmp_path, source, target, monkeypatch):
  (tmp_path / 'text.de').write_text(source)
  (tmp_path / 'text.en').write_text(target)
  if not target:
    config.data.target = ''
  with pytest.raises(InputError) as expected:
    in_memory(config.data)
  monkeypatch.setattr(kept, 'LARGE', 0)
  monkeypatch.setattr(files, '_PIECE', 97)
  with pytest.raises(InputError) as found:
    pair_store.load(config.data, RULES)
  assert str(found.value) == str(expected.value)


@pytest.mark.parametrize('size', [1, 2, 5, 1000])
def test_lines_that_are_cut_by_a_piece_stay_whole(tmp_path, monkeypatch, size):
  paths = [str(tmp_path / side) for side in 'ab']
  for seed, path in enumerate(paths):
    with open(path, 'w', encoding='utf-8') as file:
      file.write('\ufeff' + '\n'.join(sentences(seed)))
  expected = read_pairs(*paths)
  assert expected.sources[0] == sentences(0)[0]
  assert expected.empty == 3
  monkeypatch.setattr(files, '_PIECE', size)
  assert read_pairs(*paths) == expected
  assert len(list(pair_pieces(*paths))) > (1 if size == 1000 else 20)
  assert cut_lines('\ufeff'.encode(), 'a', 'input', 'utf-8') == ['']


def test_rows_that_are_as_one_before_them_are_found():
  rows = np.array([[1, 2], [2, 1], [1, 2], [1, 1], [2, 1], [1, 2]], np.uint64)
  assert shares.repeated(rows).tolist() == [False, False, True, False, True, True]
  assert shares.repeated(rows[:0]).tolist() == []
