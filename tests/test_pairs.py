"""Pairs of sentences: what a line is, sources, the sentences for files that do not correspond."""

import gzip
import re

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import registered

import experiments
from rnn_research.data.codec import RULES, SPECIALS, TextCodec
from rnn_research.data.pairs import Pairs, language_of, read_pairs, read_tfds_pairs
from rnn_research.errors import InputError
from rnn_research.tasks.translation import corpus
from rnn_research.tasks.translation.commands import describe

SENTENCES = [' '.join(['word'] * (7 * i % 23 + 1)) for i in range(400)]


def write(folder, **contents):
  """Writes name -> content, with the ending .txt, and returns the paths."""
  paths = [folder / f'{name}.txt' for name in contents]
  for path, content in zip(paths, contents.values(), strict=True):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return list(map(str, paths))


def refusal(*args):
  with pytest.raises(ValueError) as caught:
    read_pairs(*args)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_lines_end_with_newlines_only(tmp_path):
  source, target = write(
    tmp_path, a='\ufeffeins\r\nzwei\x85\u2028drei\x0c!\r\n ä \n', b=' one \ntwo\n\tthree'
  )
  assert read_pairs(source, target) == Pairs(
    ['eins', 'zwei\x85\u2028drei\x0c!', 'ä'], ['one', 'two', 'three'], 0
  )


def test_compressed_files_are_read(tmp_path):
  (tmp_path / 'a.de.gz').write_bytes(gzip.compress('für\n'.encode()))
  (tmp_path / 'b').write_text('for\n')
  assert read_pairs(str(tmp_path / 'a.de.gz'), str(tmp_path / 'b')) == Pairs(['für'], ['for'], 0)


def test_gzip_files_are_read_under_any_name_and_marks_are_no_text(tmp_path):
  (tmp_path / 'a.txt').write_bytes(gzip.compress('\ufeffein s\r\nzwei'.encode()))
  (tmp_path / 'b').write_bytes('\ufeffone s\r\n\ufefftwo'.encode())
  assert read_pairs(str(tmp_path / 'a.txt'), str(tmp_path / 'b')) == Pairs(
    ['ein s', 'zwei'], ['one s', '\ufefftwo'], 0
  )


@pytest.mark.parametrize('encoding', ['utf-16', 'utf-16-le', 'latin-1'])
def test_pairs_in_other_encodings(tmp_path, encoding):
  (tmp_path / 'a').write_bytes('für\r\nÅse\n'.encode(encoding))
  (tmp_path / 'b').write_bytes(gzip.compress('\nö\n'.encode(encoding)))
  source, target = str(tmp_path / 'a'), str(tmp_path / 'b')
  assert read_pairs(source, target, encoding=encoding) == Pairs(['Åse'], ['ö'], 1)


def test_pairs_with_an_empty_side_are_left_out_and_counted(tmp_path):
  source, target = write(tmp_path, a='a\n\n \nd\n\n', b='1\n2\n\n4\n5\n')
  assert read_pairs(source, target) == Pairs(['a', 'd'], ['1', '4'], 3)


def test_one_file_of_pairs_has_a_tab_in_every_line(tmp_path):
  (path,) = write(tmp_path, a='a b\tc d\r\n\n\te\n \nf\tg\n')
  assert read_pairs(path) == Pairs(['a b', 'f'], ['c d', 'g'], 3, columns=2)
  for content, found in {
    '\na\tb\n\nc\td\te\n': 'has 2 tabs in line 4, expected 1 as in line 2',
    'a\tb\tc\n\nd\te\n': 'has 1 tabs in line 3, expected 2 as in line 1',
    'a\tb\tc\nd\te\tf\tg': 'has 3 tabs in line 2, expected 2 as in line 1',
    'a\tb\tc\td\n': 'has 3 tabs in line 1, expected one between source and target',
  }.items():
    (path,) = write(tmp_path, a=content)
    assert f'data.source: {path} {found}' in refusal(path)
  (path,) = write(tmp_path, a='a b\n')
  assert refusal(path, '', 'data.valid_source').startswith(
    f'data.valid_source: {path} has 0 tabs in line 1, '
  )
  assert refusal(path, '', 'data.valid_source').endswith(
    'or a file of targets in data.valid_target'
  )


def test_a_third_column_is_no_part_of_the_pairs_and_that_is_said(tmp_path):
  text = 'Go.\tGeh.\tCC-BY 2.0 (France) #2877272 & #8597805\n\n \tx\tCC\nHi.\tHallo!\t\n'
  (path,) = write(tmp_path, a=text)
  assert read_pairs(path) == Pairs(['Go.', 'Hi.'], ['Geh.', 'Hallo!'], 2, columns=3)
  data = of_files(path, splits=(0.5, 0.5, 0.0))
  found = corpus.load_corpus(data)
  codec = corpus.train_codec(found, data | {'min_frequency': 1, 'vocabulary_size': 0})
  encoded = {split: corpus.encode_pairs(codec, pairs) for split, pairs in found.splits.items()}
  train, valid, *_ = describe(codec, found, encoded, 1, 9, []).split('\n')
  assert train.startswith('train: 1 pairs, 2 left out with an empty side; unknown')
  assert train.endswith('in targets; the third column is ignored')
  assert not valid.endswith('ignored')


def of_files(source, **data):
  return {
    'task': '', 'tfds': '', 'source': source, 'target': '', 'valid_source': '', 'valid_target': '',
    'test_source': '', 'test_target': '', 'encoding': 'utf-8', 'unit': 'word', 'lower': True, **data,
  }  # fmt: skip


def with_duplicates(folder):
  """Writes 20 pairs, of which 10 are there twice as a model reads them, and 4 sources with two translations."""
  letters = 'abcdefghijklmnopqrst'
  lines = [f'{letter} x\t{letter}' for letter in letters]
  again = [f'{letter.upper()}  X\t{letter}' for letter in letters[:10]]
  others = [f'{letter} x\t{letter}{letter}' for letter in letters[:4]]
  return write(folder, a='\n'.join([*lines, *again, *others]))[0]


@pytest.mark.parametrize('lower, kept', [(True, 24), (False, 34)])
def test_no_pair_stands_in_two_splits_that_are_drawn(tmp_path, lower, kept):
  data = of_files(with_duplicates(tmp_path), lower=lower, splits=(0.5, 0.25, 0.25))
  found = corpus.load_corpus(data)
  pairs = [pair for part in found.splits.values() for pair in zip(*part[:2], strict=True)]
  assert len(pairs) == len(set(pairs)) == kept
  assert [part.duplicates for part in found.splits.values()] == [34 - kept, 0, 0]
  assert len(found.splits['valid'].sources) == round(kept / 4)
  read = {(' '.join(source.lower().split()), target) for source, target in pairs}
  assert len(read) == 24


def test_pairs_whose_splits_have_files_keep_their_duplicates(tmp_path):
  path = with_duplicates(tmp_path)
  data = of_files(path, valid_source=path, splits=(1.0, 0.0, 0.0))
  assert {part.duplicates for part in corpus.load_corpus(data).splits.values()} == {0}
  assert len(corpus.load_corpus(data).splits['train'].sources) == 34
  drawn = corpus.load_corpus(data | {'splits': (0.8, 0.0, 0.2)}).splits
  assert [part.duplicates for part in drawn.values()] == [10, 0, 0]
  assert [len(part.sources) for part in drawn.values()] == [19, 34, 5]


def test_a_pair_that_is_repeated_cannot_be_divided(tmp_path):
  (tmp_path / 'pairs.tsv').write_text('a b\tc d\n' * 5, 'utf-8')
  with pytest.raises(InputError, match=r'gives valid 0 of 1 pairs \(without 4 duplicates\)'):
    corpus.load_corpus(of_files(str(tmp_path / 'pairs.tsv'), splits=(0.5, 0.25, 0.25)))


def test_a_translator_trained_before_goes_on_with_its_splits(tmp_path):
  config = experiments.get_config('seq2seq:debug')
  config.data.update(of_files(with_duplicates(tmp_path), splits=(0.5, 0.25, 0.25)))
  config.train.update({'batch_size': 1})
  old = corpus.load_corpus(config.data, rules=2)
  assert len(old.splits['train'].sources) == 34 - 8 - 8
  codec = corpus.train_codec(old, config.data)
  codec = codec._replace(
    source=codec.source._replace(rules=2), target=codec.target._replace(rules=2)
  )
  assets = {'codec': corpus.to_json(codec), 'fingerprint': old.fingerprint}
  again = experiments.build('seq2seq:debug', config, assets)
  data = again.train_data()
  assert data.fingerprint == old.fingerprint
  assert 'duplicates' not in data.about
  assert again.commands['pairs'](None, 'test') == old.splits['test']
  assert again.assets['codec']['source']['rules'] == 2
  new = experiments.build('seq2seq:debug', config)
  data = new.train_data()
  assert data.fingerprint != old.fingerprint
  assert data.about.startswith('train: 12 pairs, 10 duplicates left out; unknown')
  assert new.assets['codec']['source']['rules'] == RULES


@pytest.mark.parametrize('start, count', [(0, 1), (123, 1), (250, 3), (396, 4)])
@pytest.mark.parametrize('swapped', [False, True])
def test_first_line_without_partner_is_named(tmp_path, start, count, swapped):
  translations = [f'{sentence} {"x" * (i % 3)}' for i, sentence in enumerate(SENTENCES)]
  del translations[start : start + count]
  paths = write(tmp_path, a='\n'.join(SENTENCES), b='\n'.join(translations) + '\n')
  found = refusal(*reversed(paths) if swapped else paths)
  counts = [400 - count, 400] if swapped else [400, 400 - count]
  assert re.search(r'has (\d+) lines and .* has (\d+), expected as many', found).groups() == tuple(
    map(str, counts)
  )
  assert abs(int(re.search(r'the first suspicious line is (\d+)$', found)[1]) - (start + 1)) <= 1


def test_a_line_that_is_empty_in_one_file_only_is_suspicious(tmp_path):
  source, target = write(
    tmp_path, a='\n'.join(SENTENCES), b='\n'.join([*SENTENCES[:200], '', *SENTENCES[200:]])
  )
  assert refusal(source, target).endswith('the first suspicious line is 201')


def test_unusable_files_give_one_sentence(tmp_path):
  good, empty, blank, binary, latin = write(
    tmp_path, g='a\n', e='', b=' \n\n', n=b'a\0', l=b'caf\xe9'
  )
  with pytest.raises(
    FileNotFoundError, match=r"data\.source: there is no file or folder '/no/such'"
  ):
    read_pairs('/no/such', good)
  with pytest.raises(
    FileNotFoundError, match=r"data\.valid_target: there is no file or folder '/no/such'"
  ):
    read_pairs(good, '/no/such', 'data.valid_source')
  assert refusal(good, empty) == f"data.target: '{empty}' is empty; expected a text"
  assert (
    refusal(good, str(tmp_path)) == f'data.target: {tmp_path} is a folder, expected a text file'
  )
  assert 'has no pair of sentences: a side of each of its 2 pairs is empty' in refusal(blank)
  for path, found in ((binary, 'is binary'), (latin, 'is not UTF-8')):
    assert f'data.target: {path} {found}' in refusal(good, path)
    assert refusal(good, path).endswith(
      'expected UTF-8 text; name its encoding with --config.data.encoding, such as latin-1'
    )


def test_language_is_the_last_suffix():
  names = {
    'train.de.gz': 'de', '/data/v1.2/train.lc.en': 'en', 'pairs.tsv': '', 'a.txt.gz': '', 'v1.2/train': '', 'a.gz': '',
  }  # fmt: skip
  assert {name: language_of(name) for name in names} == names


def prepare(folder, name, features, supervised_keys=None, splits=('train',)):
  """Prepares a data set of three examples per split, whose texts end with the names of their features."""
  with registered.skip_registration():

    class Toy(tfds.core.GeneratorBasedBuilder):
      VERSION = tfds.core.Version('1.0.0')

      def _info(self):
        return tfds.core.DatasetInfo(
          builder=self, features=features, supervised_keys=supervised_keys
        )

      def _split_generators(self, dl_manager):
        return {split: self._generate_examples() for split in splits}

      def _generate_examples(self):
        for number in range(3):
          yield number, {key: (' ', 'olá ', 'é ')[number] + key for key in features}

  Toy.name = name
  Toy(data_dir=str(folder), file_format='array_record').download_and_prepare()


def test_translation_data_sets_are_read(tmp_path):
  tfds.disable_progress_bar()
  prepare(tmp_path, 'keyed', tfds.features.Translation(languages=('pt', 'en')), ('pt', 'en'))
  prepare(tmp_path, 'plain', tfds.features.Translation(languages=('pt', 'en')))
  keyed = read_tfds_pairs('keyed', str(tmp_path), 'train')
  assert sorted(keyed.sources) == ['olá pt', 'pt', 'é pt']
  assert keyed.targets == [source.replace('pt', 'en') for source in keyed.sources]
  plain = read_tfds_pairs('plain', str(tmp_path), 'train')
  assert (plain.sources, plain.targets) == (keyed.targets, keyed.sources)


@pytest.mark.parametrize('names, drawn', [
  (('train',), ('valid', 'test')), (('train', 'validation'), ('test',)), (('train', 'test'), ('valid',)),
  (('train', 'validation', 'test'), ()),
])  # fmt: skip
def test_splits_that_a_data_set_lacks_are_shares_of_its_training_pairs(tmp_path, names, drawn):
  tfds.disable_progress_bar()
  features = tfds.features.Translation(languages=('pt', 'en'))
  prepare(tmp_path, 'lacking', features, ('pt', 'en'), names)
  data = {
    'task': '', 'tfds': 'lacking', 'data_dir': str(tmp_path), 'splits': (0.4, 0.3, 0.3), 'test_source': '',
    'valid_source': '', 'lower': True,
  }  # fmt: skip
  found = corpus.load_corpus(data)
  sizes = {split: len(pairs.sources) for split, pairs in found.splits.items()}
  whole = lambda split: 1 if split in drawn else 3
  assert sizes == {'train': 3 - len(drawn), 'valid': whole('valid'), 'test': whole('test')}
  assert found.drawn == drawn
  held_out = corpus.load_held_out(data, found.fingerprint, lambda data: found)
  assert held_out == {split: found.splits[split] for split in ('valid', 'test')}
  trained = found.splits['train'].sources
  assert not set(trained) & {s for split in drawn for s in found.splits[split].sources}
  assert 'test' not in corpus.load_corpus(data | {'splits': (0.7, 0.3, 0)}).splits
  assert corpus.load_corpus(data | {'splits': (1.0, 0.0, 0.0)}).splits.keys() == {'train'}


def test_held_out_pairs_of_a_trained_model_may_get_files(tmp_path):
  for name, first in (('train', 0), ('other', 90)):
    for side in 'ab':
      lines = [f'{side} {first + number}' for number in range(20)]
      (tmp_path / f'{name}.{side}').write_text('\n'.join(lines), 'utf-8')
  place = lambda name: {
    f'{name}_{side}'.lstrip('_'): str(tmp_path / f'{"other" if name else "train"}.{end}')
    for side, end in (('source', 'a'), ('target', 'b'))
  }
  none = dict.fromkeys(corpus.FILES, '')
  data = none | {'task': '', 'tfds': '', 'splits': (0.8, 0.1, 0.1), 'encoding': 'utf-8'}
  data |= {'lower': True, **place('')}
  trained = corpus.load_corpus(data)
  for name, drawn in (('valid', 'test'), ('test', 'valid')):
    found = corpus.load_held_out(data | place(name), trained.fingerprint, corpus.load_corpus)
    assert found[drawn] == trained.splits[drawn]
    assert found[name].sources == (tmp_path / 'other.a').read_text('utf-8').splitlines()
  (tmp_path / 'train.a').write_text('\n'.join(lines), 'utf-8')
  with pytest.raises(InputError, match='are not the pairs that the model was trained on'):
    corpus.load_held_out(data | place(name), trained.fingerprint, corpus.load_corpus)


def test_what_is_a_share_of_the_training_pairs_is_said():
  codec = corpus.Codec(*(TextCodec('sentences', 'word', SPECIALS),) * 2, ('', ''))
  splits = {'valid': Pairs(['a'], ['b'], 0), 'test': Pairs(['a'], ['b'], 2)}
  encoded = {split: corpus.encode_pairs(codec, pairs) for split, pairs in splits.items()}
  loaded = corpus.ParallelCorpus(splits, ('', ''), '', ('valid',))
  said = describe(codec, loaded, encoded, 1, 9, [])
  valid, test, *_ = said.split('\n')
  assert valid.startswith('valid: 1 pairs, a share of those to train on; unknown symbols')
  assert test.startswith('test: 1 pairs, 2 left out with an empty side; unknown symbols')


def test_translation_data_sets_have_two_texts(tmp_path):
  tfds.disable_progress_bar()
  prepare(
    tmp_path, 'two', tfds.features.FeaturesDict({key: tfds.features.Text() for key in ('z', 'm')})
  )
  assert read_tfds_pairs('two', str(tmp_path), 'train').sources[0].endswith('m')
  three = tfds.features.FeaturesDict({key: tfds.features.Text() for key in 'abc'})
  prepare(tmp_path, 'keyed', three, ('c', 'a'))
  prepare(tmp_path, 'three', three)
  assert read_tfds_pairs('keyed', str(tmp_path), 'train').sources[0].endswith('c')
  with pytest.raises(ValueError, match=r"^data\.tfds: keyed has no split 'dev', it has train$"):
    read_tfds_pairs('keyed', str(tmp_path), 'dev')
  with pytest.raises(
    ValueError, match=r'^data\.tfds: three has the texts a, b, c, expected source and target$'
  ):
    read_tfds_pairs('three', str(tmp_path), 'train')
  with pytest.raises(FileNotFoundError, match="no prepared 'missing'"):
    read_tfds_pairs('missing', str(tmp_path), 'train')


def test_multi30k_has_the_published_counts(data_dir):
  folder = data_dir / 'multi30k'
  counts = {}
  for split in ('train', 'val', 'test_2016_flickr'):
    pairs = read_pairs(str(folder / f'{split}.de.gz'), str(folder / f'{split}.en.gz'))
    counts[split] = len(pairs.sources), len(pairs.targets), pairs.empty
  assert counts == {
    'train': (29_000, 29_000, 0), 'val': (1_014, 1_014, 0), 'test_2016_flickr': (1_000, 1_000, 0),
  }  # fmt: skip
