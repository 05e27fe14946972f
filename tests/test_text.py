"""Corpora: sources, splits, policies and the sentences for unusable input."""

import gzip
import re
import sys

import numpy as np
import pytest

import experiments
from experiments import char_lm
from rnn_research.data.codec import RULES
from rnn_research.data.files import read_bytes
from rnn_research.data.stdlib_corpus import standard_library_source
from rnn_research.data.text import cut, load_corpus
from rnn_research.errors import InputError
from rnn_research.tasks.language import text_store

PROSE = 'The 🙂 語 sat.\r\nOn a mat\n' * 20


@pytest.fixture
def prose(tmp_path):
  path = tmp_path / 'prose.txt'
  path.write_bytes(PROSE.encode())
  return str(path)


def test_file_gz_and_folder_are_read_alike(tmp_path, prose):
  (tmp_path / 'a').mkdir()
  (tmp_path / 'a' / 'b.txt').write_bytes(b'second')
  (tmp_path / 'a' / '.hidden').write_bytes(b'\0')
  (tmp_path / 'a-c.txt.gz').write_bytes(gzip.compress(b'first'))
  assert read_bytes(prose) == PROSE.encode()
  assert read_bytes(str(tmp_path / 'a-c.txt.gz')) == b'first'
  assert read_bytes(str(tmp_path)) == b'firstsecond' + PROSE.encode()
  assert read_bytes(str(tmp_path), '*.txt') == PROSE.encode()


def test_home_folder_is_understood(tmp_path, prose, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert read_bytes('~/prose.txt') == PROSE.encode()


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
def test_splits_are_cut_by_position_in_symbols(prose, unit):
  corpus = load_corpus(path=prose, unit=unit, splits=(0.7, 0.2, 0.1))
  symbols = {'char': PROSE, 'byte': PROSE.encode(), 'word': PROSE.replace('\n', ' <eos> ').split()}[
    unit
  ]
  n = len(symbols)
  assert {split: len(ids) for split, ids in corpus.splits.items()} == {
    'train': n * 7 // 10, 'valid': n * 9 // 10 - n * 7 // 10, 'test': n - n * 9 // 10,
  }  # fmt: skip
  whole = np.concatenate([corpus.splits[split] for split in ('train', 'valid', 'test')])
  assert whole.dtype == np.int32
  expected = PROSE if unit != 'word' else re.sub(r'\s*\n', '\n', PROSE)
  assert corpus.codec.decode(whole) == expected
  assert corpus.unknown == {'train': 0, 'valid': 0, 'test': 0}


def test_fraction_zero_leaves_the_split_out_and_decimal_fractions_are_exact():
  assert cut('abcd', (1.0, 0, 0)) == {'train': 'abcd'}
  assert cut('abcd', (0.5, 0, 0.5)) == {'train': 'ab', 'test': 'cd'}
  assert cut('0123456789', (0.7, 0.2, 0.1)) == {'train': '0123456', 'valid': '78', 'test': '9'}
  assert len(cut('x' * 100, (0.29, 0.01, 0.7))['train']) == 29
  assert sum(map(len, cut('0123456789', (1 / 3, 1 / 3, 1 / 3)).values())) == 10
  assert cut('0123456789', (0.9999995, 0.0, 0.0)) == {'train': '0123456789'}


@pytest.mark.parametrize('splits, found', [
  ((0.9, 0.2, 0.1), 'sum is 1.2'), ((0.9, 0.1), 'expected three'), ((1.1, -0.1, 0.0), r'in \[0, 1\]'),
  ((0.0, 0.5, 0.5), 'the first above 0'), ((float('nan'), 0.5, 0.5), 'expected three'),
  ((0.5, 0.4, 0.09), 'sum is 0.99'),
])  # fmt: skip
def test_wrong_fractions_are_refused(prose, splits, found):
  with pytest.raises(ValueError, match=rf'^data\.splits is .*{found}'):
    load_corpus(path=prose, splits=splits)


def test_vocabulary_comes_from_training_only_and_unknown_symbols_are_counted(tmp_path):
  path = tmp_path / 'text'
  path.write_text('ab' * 40 + 'abcb' * 5)
  corpus = load_corpus(path=str(path), splits=(0.8, 0.1, 0.1))
  assert corpus.codec.symbols == ('a', 'b', '<unk>')
  assert corpus.unknown == {'train': 0, 'valid': 0.2, 'test': 0.3}
  assert corpus.codec.decode(corpus.splits['valid']) == 'ab\ufffdbab\ufffdbab'


def test_unknown_symbols_are_said_before_training(tmp_path, capsys):
  (tmp_path / 'text').write_text('a b ' * 600 + 'a c ' * 150)
  config = char_lm.get_config('debug')
  config.data.update({'path': str(tmp_path / 'text'), 'unit': 'word', 'splits': (0.8, 0.1, 0.1)})
  assert char_lm.build(config).train_data().about == (
    'train: 1,200 words; unknown symbols 0.00%\n'
    'valid: 150 words; unknown symbols 50.00%\n'
    'test: 150 words; unknown symbols 50.00%'
  )
  assert capsys.readouterr() == ('', '')


def test_separate_files_are_whole_splits_and_never_trained_on(tmp_path, prose):
  for name in ('v.txt', 't.txt', 'x.txt'):
    (tmp_path / name).write_text(f'{name} ' * 3)
  corpus = load_corpus(
    path=str(tmp_path), valid_path=str(tmp_path / 'v.txt'), test_path=str(tmp_path / 't.txt')
  )
  assert len(corpus.splits['train']) == len(PROSE) + 18
  assert len(corpus.splits['valid']) == len(corpus.splits['test']) == 18
  assert corpus.unknown['valid'] == 3 / 18
  only_test = load_corpus(path=prose, test_path=str(tmp_path / 't.txt'))
  assert sorted(only_test.splits) == ['test', 'train']
  with pytest.raises(ValueError, match=r'every file of .* is held out'):
    load_corpus(path=prose, valid_path=prose)


def encode_foreign(path, encoding, codec):
  data = {'path': str(path), 'glob': '**/*', 'encoding': encoding, 'cache_dir': ''}
  return text_store.encode_foreign(data, codec)


def test_foreign_text_is_encoded_whole(tmp_path, prose):
  codec = load_corpus(path=prose).codec
  (tmp_path / 'other').write_text('That? 🙂')
  assert codec.decode(encode_foreign(tmp_path / 'other', 'utf-8', codec)) == 'That\ufffd 🙂'


def test_fingerprint_sees_text_and_vocabulary(tmp_path):
  digests = set()
  for text in ('abab', 'abba', 'acac', 'abab'):
    (tmp_path / 't').write_text(text)
    digests.add(load_corpus(path=str(tmp_path / 't'), splits=(1.0, 0.0, 0.0)).fingerprint)
  assert len(digests) == 3
  assert all(re.fullmatch('[0-9a-f]{64}', digest) for digest in digests)


def test_fingerprint_sees_held_out_text(tmp_path):
  digests = set()
  for text in ('ababab', 'abbaba'):
    (tmp_path / 'train').write_text('abab')
    (tmp_path / 'valid').write_text(text)
    digests.add(
      load_corpus(path=str(tmp_path / 'train'), valid_path=str(tmp_path / 'valid')).fingerprint
    )
  assert len(digests) == 2


def symbols_of(path, unit, **options):
  corpus = load_corpus(path=str(path), unit=unit, splits=(1, 0, 0), **options)
  return corpus.codec.decode(corpus.splits['train'])


def test_files_of_a_folder_begin_lines_of_words_without_byte_order_marks(tmp_path):
  contents = ['\ufeffhello world', '', '\ufeff', 'foo bar\r\n', 'a\ufeff b', '\ufeffc']
  for number, content in enumerate(contents):
    (tmp_path / f'{number}').write_bytes(content.encode())
  assert symbols_of(tmp_path, 'word') == 'hello world\nfoo bar\na\ufeff b\nc'
  assert symbols_of(tmp_path, 'char') == 'hello worldfoo bar\r\na\ufeff bc'
  assert symbols_of(tmp_path, 'byte') == ''.join(contents)
  assert symbols_of(tmp_path, 'word', rules=1) == '\ufeffhello world\ufefffoo bar\na\ufeff b\ufeffc'
  assert symbols_of(tmp_path, 'char', rules=1) == ''.join(contents)


def test_another_text_is_read_by_the_rules_of_the_codec(tmp_path):
  (tmp_path / 'a').write_text('\ufeffa b', 'utf-8')
  (tmp_path / 'b').write_text('a c', 'utf-8')
  new = load_corpus(path=str(tmp_path), unit='word', splits=(1, 0, 0)).codec
  old = load_corpus(path=str(tmp_path), unit='word', splits=(1, 0, 0), rules=1).codec
  read = lambda codec: codec.decode(encode_foreign(tmp_path, 'utf-8', codec))
  assert (read(new), read(old)) == ('a b\na c', '\ufeffa ba c')


def test_a_model_trained_before_goes_on_with_the_text_as_it_was_read(tmp_path):
  (tmp_path / 'a').write_text('\ufeffa b ' * 9, 'utf-8')
  (tmp_path / 'b').write_text('b c ' * 9, 'utf-8')
  config = char_lm.get_config('debug')
  config.data.update({'path': str(tmp_path), 'unit': 'word', 'splits': (0.8, 0.2, 0.0)})
  config.train.update({'batch_size': 1, 'unroll_length': 2})
  old = text_store.load_corpus(config.data, 1)
  assets = {
    'vocabulary': {'unit': 'word', 'symbols': list(old.codec.symbols)},
    'data': config.data.to_dict(),
    'held_out': ['valid'],
    'fingerprint': old.fingerprint,
  }
  again = char_lm.build(config, assets)
  assert again.train_data().fingerprint == old.fingerprint
  assert again.assets['vocabulary']['rules'] == 1
  new = char_lm.build(config)
  assert new.train_data().fingerprint != old.fingerprint
  assert new.assets['vocabulary']['rules'] == RULES


TEXTS = {
  'crlf': 'a b\r\nc\r\n', 'mark': '\ufeffa b\n', 'no last line end': 'a\nb', 'blank lines': '\n\n a \n\n',
  'separators': 'a\x85b\u2028c\x1cd\xa0e\x0bf', 'decomposed': 'e\u0301 é \U0001f642', 'names': '<unk> <eos> x<eos>y <pad>',
}  # fmt: skip


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
@pytest.mark.parametrize('name', TEXTS)
@pytest.mark.parametrize('place', ['file', 'gzip', 'folder', 'valid_path'])
def test_every_text_comes_back_from_every_reader(tmp_path, unit, name, place):
  text = TEXTS[name]
  expected = text if unit == 'byte' else text.removeprefix('\ufeff')
  if unit == 'word':
    expected = expected.replace(' <eos> ', '\n')
    expected = '\n'.join(re.sub(r'\s+', ' ', line).strip() for line in expected.split('\n'))
  (tmp_path / 'folder').mkdir()
  path = tmp_path / 'folder' / 'text.txt'
  path.write_bytes(gzip.compress(text.encode()) if place == 'gzip' else text.encode())
  where = tmp_path / 'folder' if place == 'folder' else path
  split = 'valid' if place == 'valid_path' else 'train'
  held_out = {'valid_path': str(where)} if split == 'valid' else {}
  if split == 'valid':
    where = tmp_path / 'train'
    where.write_bytes(path.read_bytes() * 2)
  corpus = load_corpus(path=str(where), unit=unit, splits=(1, 0, 0), **held_out)
  assert corpus.codec.decode(corpus.splits[split]) == expected
  assert corpus.codec.normalise(expected) == expected


ENCODED = 'naïve café\r\nÅse\nx'


@pytest.mark.parametrize('unit', ['char', 'word'])
@pytest.mark.parametrize('encoding', ['utf-16', 'utf-16-be', 'utf-8-sig', 'latin-1', 'cp1252'])
def test_texts_in_other_encodings(tmp_path, unit, encoding):
  data = ENCODED.encode(encoding)
  (tmp_path / 'a').write_bytes(data)
  (tmp_path / 'b').write_bytes(gzip.compress(data))
  line_end = '' if unit == 'char' else '\n'
  expected = ENCODED if unit == 'char' else ENCODED.replace('\r', '')
  assert symbols_of(tmp_path, unit, encoding=encoding) == f'{expected}{line_end}{expected}'
  paths = {f'{split}_path': str(tmp_path / 'b') for split in ('valid', 'test')}
  corpus = load_corpus(path=str(tmp_path / 'a'), unit=unit, encoding=encoding, **paths)
  assert {corpus.codec.decode(ids) for ids in corpus.splits.values()} == {expected}
  foreign = encode_foreign(tmp_path, encoding, corpus.codec)
  assert corpus.codec.decode(foreign) == f'{expected}{line_end}{expected}'


@pytest.mark.parametrize('encoding, data, found', [
  ('utf-16', 'añ'.encode('utf-16')[:-1], r'UTF-16 \(byte 0xf1 at offset 4\), expected UTF-16 text'),
  ('utf-16', 'añ'.encode('latin-1'), r'without a byte order mark, expected UTF-16 text'),
  ('utf-8-sig', b'\xef\xbb\xbfab\xe9', r'UTF-8-SIG \(byte 0xe9 at offset 5\)'),
  ('cp1252', b'ab\x81', r'CP1252 \(byte 0x81 at offset 2\)'),
  ('punycode', b'\x02\x18W\njwh[', r'PUNYCODE \(malformed\)'),
])  # fmt: skip
def test_text_that_is_in_another_encoding(tmp_path, encoding, data, found):
  (tmp_path / 'text').write_bytes(data)
  advice = 'name its encoding with --config.data.encoding, such as'
  with pytest.raises(InputError, match=rf'^data\.path: .*/text is (not )?{found}.*; .*{advice}'):
    load_corpus(path=str(tmp_path / 'text'), encoding=encoding)


CONTENTS = {
  'empty': (b'', "is empty; expected a text"),
  'binary': (b'MZ\0\1', r'binary is binary \(a NUL byte at offset 2\)'),
  'latin1': (b'caf\xe9 au lait', r'latin1 is not UTF-8 \(byte 0xe9 at offset 3\)'),
  'utf16': ('héllo'.encode('utf-16'), r'NUL byte at offset 3'),
  'cut.gz': (gzip.compress(b'text' * 100)[:-9], 'cut.gz is not a whole gzip file'),
  'no.gz': (b'plain text', 'no.gz is not a whole gzip file'),
  'cut': (gzip.compress(b'text' * 100)[:-9], 'cut is not a whole gzip file'),
  'flipped.gz': (gzip.compress(b'text' * 100)[:10] + b'\xff' * 30, 'flipped.gz is not a whole gzip file'),
  'short': (b'x', 'split has 0 symbols|split has 1 symbols'),
}  # fmt: skip


@pytest.mark.parametrize('name', CONTENTS)
@pytest.mark.parametrize('flag', ['path', 'valid_path'])
def test_unusable_files_give_one_sentence(tmp_path, prose, name, flag):
  content, sentence = CONTENTS[name]
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=sentence) as caught:
    load_corpus(**({'path': prose} | {flag: str(tmp_path / name)}))
  assert '\n' not in str(caught.value)
  if name != 'short':
    assert str(caught.value).startswith(f'data.{flag}: ')
  if name in ('binary', 'latin1', 'utf16'):
    likely = 'utf-16' if name == 'utf16' else 'latin-1'
    assert str(caught.value).endswith(
      f'name its encoding with --config.data.encoding, such as {likely}, or model bytes with '
      '--config.data.unit=byte'
    )
    assert len(
      load_corpus(path=str(tmp_path / name), unit='byte', splits=(1, 0, 0)).splits['train']
    ) == len(content)


def test_bad_file_of_a_folder_is_named(tmp_path, prose):
  (tmp_path / 'z.bin').write_bytes(b'\xff')
  with pytest.raises(ValueError, match=r'z\.bin is not UTF-8 \(byte 0xff at offset 0\)'):
    load_corpus(path=str(tmp_path))


def test_missing_sources_and_contradictions(tmp_path, prose):
  with pytest.raises(FileNotFoundError, match=r"data\.path: there is no file or folder '/no/such'"):
    load_corpus(path='/no/such')
  with pytest.raises(FileNotFoundError, match=r"has no file that matches data\.glob='\*\.c'"):
    load_corpus(path=str(tmp_path), glob='*.c')
  with pytest.raises(ValueError, match='need a training text'):
    load_corpus(valid_path=prose)
  with pytest.raises(ValueError, match=r'data\.tfds brings its own text'):
    load_corpus(path=prose, tfds='tiny_shakespeare')
  with pytest.raises(ValueError, match=r"data\.unit is 'letter'"):
    load_corpus(path=prose, unit='letter')


def test_embedded_corpus_is_the_standard_library():
  source = standard_library_source()
  assert len(source) == 3_000_000
  assert source.isascii()
  with open(sys.modules['abc'].__file__, 'rb') as stream:
    assert stream.read() in source
  assert source == standard_library_source()
  corpus = load_corpus()
  assert [len(corpus.splits[split]) for split in ('train', 'valid', 'test')] == [
    2_700_000,
    150_000,
    150_000,
  ]
  assert 90 < len(corpus.codec.symbols) <= 129


def test_embedded_corpus_takes_ascii_files_in_order_and_leaves_tests_out(tmp_path, monkeypatch):
  sources = {
    'b.py': b'3', 'a/z.py': b'2', 'a-b.py': b'1', 'B/x.py': b'0', 'c.txt': b'text', 'd.py': 'é'.encode(),
    'a/test/t.py': b't', 'tests/t.py': b't', 'site-packages/p/q.py': b'p', 'idlelib/i.py': b'i',
    'e.py': b'x' * 3_000_000,
  }  # fmt: skip
  for name, source in sources.items():
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(source)
  monkeypatch.setattr('sysconfig.get_path', lambda name: str(tmp_path))
  assert standard_library_source() == b'0123' + b'x' * 2_999_996
  monkeypatch.setattr('sysconfig.get_path', lambda name: str(tmp_path / 'none'))
  with pytest.raises(FileNotFoundError, match='no Python source of the standard library'):
    standard_library_source()


def test_war_and_peace_has_the_published_symbols(data_dir):
  path = str(data_dir / 'warpeace/warpeace_input.txt.gz')
  corpus = load_corpus(path=path, unit='byte', splits=(0.8, 0.1, 0.1))
  assert sum(map(len, corpus.splits.values())) == 3_258_246
  assert len(set(read_bytes(path))) == 87
  characters = load_corpus(path=path)
  assert '\r' in characters.codec.symbols


def test_novels_in_a_folder(data_dir):
  folder = data_dir / 'adventure_novels'
  held_out = {'valid_path': 'white-fang.txt.gz', 'test_path': 'the-prisoner-of-zenda.txt.gz'}
  held_out = {flag: str(folder / name) for flag, name in held_out.items()}
  corpus = load_corpus(path=str(folder), unit='byte', **held_out)
  assert sum(map(len, corpus.splits.values())) == len(read_bytes(str(folder)))


@pytest.mark.parametrize(
  ('num_words', 'embedding_size', 'assets', 'hinted'),
  [(512, 0, False, True), (511, 0, False, False), (512, 2, False, False), (512, 0, True, False)],
)
def test_a_new_run_says_where_one_hot_words_are_costly(
  tmp_path, num_words, embedding_size, assets, hinted
):
  """With the unknown word there is one more; a run that goes on cannot change its model."""
  text = ' '.join(map(str, range(num_words)))
  (tmp_path / 'words.txt').write_text(f'{text} {text}', 'utf-8')
  config = experiments.get_config('char_lm:debug')
  config.data.update({'path': str(tmp_path / 'words.txt'), 'unit': 'word', 'splits': (1.0, 0, 0)})
  config.model.update({'hidden_size': 2, 'embedding_size': embedding_size})
  made = experiments.build('char_lm:debug', config)
  if assets:
    trained = {**made.assets, 'fingerprint': made.train_data().fingerprint}
    made = experiments.build('char_lm:debug', config, trained)
  hints = [line for line in made.train_data().about.splitlines() if line.startswith('hint: ')]
  assert len(hints) == hinted
  for hint in hints:
    assert hint.startswith('hint: 513 words are read as one-hot vectors')
    assert '--config.model.embedding_size=' in hint
