"""Sentiment in the units of a language model: files, last states, what is told by them, and the mode."""

import csv
import gzip

import jax
import numpy as np
import pytest

from rnn_research import workdir as workdirs
from rnn_research.analysis.measures.recording import units_of
from rnn_research.cells.gru import gru
from rnn_research.cells.lstm import lstm
from rnn_research.data.codec import TextCodec
from rnn_research.errors import InputError
from rnn_research.models.language_model import language_model
from rnn_research.tasks.language import last_states as last_states_lib
from rnn_research.tasks.language.labelled_sentences import character_ngrams, read_labelled
from rnn_research.tasks.language.last_states import last_states
from rnn_research.tasks.language.sentiment import sentiment

SPLITS = ('train', 'dev', 'test')


def write(folder, **splits):
  """Writes a CSV file of every split, each a list of rows below a header."""
  folder.mkdir(exist_ok=True)
  for split, rows in splits.items():
    with open(folder / f'{split}.csv', 'w', encoding='utf-8', newline='') as f:
      csv.writer(f).writerows([('label', 'sentence'), *rows])
  return folder


def easy(count, seed):
  """Returns sentences whose last word is their label's."""
  rng = np.random.default_rng(seed)
  words = ['the', 'quick', 'dog', 'a', 'over']
  return [
    (
      label,
      ' '.join([*rng.choice(words, rng.integers(0, 12)), 'fox' if label == 'good' else 'and']),
    )
    for label in rng.choice(['bad', 'good'], count)
  ]


@pytest.fixture
def folder(tmp_path):
  splits = {split: easy(60, seed) for seed, split in enumerate(SPLITS)}
  return write(tmp_path / 'labelled', **splits)


@pytest.fixture(scope='module')
def stack():
  """Returns a model of two layers of different kinds, and its parameters."""
  model = language_model((lstm(3), gru(2)), 5)
  return model, model.init(jax.random.key(0))


def test_last_states_are_those_of_each_sentence_alone(stack, monkeypatch):
  monkeypatch.setattr(last_states_lib, '_STEPS', 4)
  monkeypatch.setattr(last_states_lib, '_ROWS', 3)
  model, params = stack
  rng = np.random.default_rng(0)
  sentences = [rng.integers(0, 5, length).astype(np.int32) for length in (9, 0, 4, 1, 5, 12, 3)]
  done = []
  found = last_states(model, params, sentences, done.append)
  assert done == [3, 6, 7] and found.dtype == np.float32
  units = units_of(model, params)
  assert found.shape == (7, len(units)) == (7, 3 + 3 + 2)
  unroll = jax.jit(model.unroll)
  for row, ids in zip(found, sentences, strict=True):
    states = model.initial_state(params, 1)
    for one in ids:
      states, _ = unroll(params, states, np.array([[one]], np.int32))
    values = [getattr(states[unit.layer - 1], unit.leaf)[0, unit.place] for unit in units]
    np.testing.assert_allclose(row, values, atol=1e-6)
  assert str(units[0]) != str(units[3])


def test_csv_is_read_as_it_was_written(tmp_path):
  rows = [
    ('neg', 'a "quoted", part'),
    ('pos', ''),
    ('neg', 'two\nlines\u2028\x85 é'),
    ('pos', ' x '),
  ]
  write(tmp_path, train=rows, dev=rows[:1], test=rows[1:])
  whole = (tmp_path / 'test.csv').read_bytes().replace(b'\r\n', b'\r')  # any line ends
  (tmp_path / 'test.csv').unlink()
  (tmp_path / 'test.csv.gz').write_bytes(gzip.compress(b'\xef\xbb\xbf' + whole))
  found = read_labelled(str(tmp_path), 'labelled')
  assert found.classes == ('neg', 'pos')
  assert found.sentences['train'] == [sentence for _, sentence in rows]
  assert found.sentences['test'] == found.sentences['train'][1:]
  assert {split: labels.tolist() for split, labels in found.labels.items()} == {
    'train': [0, 1, 0, 1],
    'dev': [0],
    'test': [1, 0, 1],
  }


def test_the_stanford_sentiment_treebank_is_read(data_dir):
  found = read_labelled(str(data_dir / 'sst_binary'), 'labelled')
  assert [len(found.sentences[split]) for split in SPLITS] == [6920, 872, 1821]
  assert found.classes == ('0', '1') and found.labels['test'].sum() == 909


BOTH = [('0', 'a'), ('1', 'b')]


@pytest.mark.parametrize('splits, said', [
  ({'train': BOTH, 'dev': BOTH}, r"there is no file .*test\.csv or test\.csv\.gz"),
  ({'train': BOTH[:1], 'dev': BOTH, 'test': BOTH}, r"train\.csv has 1 values \('0'\), expected two"),
  ({'train': [*BOTH, ('2', 'c')], 'dev': BOTH, 'test': BOTH}, r"has 3 values \('0', '1', '2'\)"),
  ({'train': BOTH, 'dev': [('yes', 'a')], 'test': BOTH}, r"dev\.csv has the label 'yes', expected '0' or '1'"),
  ({'train': BOTH, 'dev': [], 'test': BOTH}, r'dev\.csv has no rows'),
  ({'train': BOTH, 'dev': [('0',)], 'test': BOTH}, r"dev\.csv has the short row \('0', None\)"),
])  # fmt: skip
def test_files_that_cannot_be_used_are_refused(tmp_path, splits, said):
  with pytest.raises((InputError, FileNotFoundError), match=said):
    read_labelled(str(write(tmp_path, **splits)), 'labelled')


def test_folders_and_headers_that_cannot_be_used_are_refused(tmp_path, folder):
  refused = lambda path, said: pytest.raises((InputError, FileNotFoundError), match=said)
  with refused('', "labelled is ''"):
    read_labelled('', 'labelled')
  with refused('', 'labelled: there is no file or folder'):
    read_labelled(str(tmp_path / 'missing'), 'labelled')
  with refused('', 'is a file, expected a folder'):
    read_labelled(str(folder / 'dev.csv'), 'labelled')
  (folder / 'dev.csv').write_text('label,text\n0,a\n')
  with refused('', r'dev\.csv has the columns label, text, expected label and sentence'):
    read_labelled(str(folder), 'labelled')


def test_ngrams_are_short_ones_of_five_sentences_at_least():
  train = [*['abcd'] * 5, 'abc', 'q', 'q', 'q', 'qq']
  found = character_ngrams({'train': train, 'dev': ['', 'abcd'], 'test': ['cabab q']})
  # a b c d ab bc cd abc bcd; not q of four sentences, nor abcd.
  assert found['train'].shape == (10, 9) and found['train'].max() == 1
  rows = {split: array.sum(1).tolist() for split, array in found.items()}
  assert rows == {'train': [9] * 5 + [6, 0, 0, 0, 0], 'dev': [0, 9], 'test': [4]}


def test_sentiment_is_found_where_it_is(trained, folder):
  run = workdirs.load(trained)
  found = run.sentiment(str(folder))
  assert found.num_units == 8  # a GRU
  majority = np.mean(found.data.labels['test'] == (np.mean(found.data.labels['train']) > 0.5))
  assert found.majority == majority < 0.7
  assert found.trained.all_units.test > 0.95 and found.ngrams.test > 0.95
  best = found.trained.best_unit
  assert best.test > 0.8
  above = best.values['test'] > best.threshold.value
  assert best.test == np.mean((above == (best.threshold.sign > 0)) == found.data.labels['test'])
  assert found.untrained.best_unit.values['test'].tolist() != best.values['test'].tolist()
  # Test labels decide nothing but the scores.
  turned = {split: [(label, s) for label, s in easy(60, seed)] for seed, split in enumerate(SPLITS)}
  turned['test'] = [('good' if label == 'bad' else 'bad', s) for label, s in turned['test']]
  again = run.sentiment(str(write(folder, **turned)))
  assert again.trained.best_unit[:2] == best[:2]
  assert again.trained.best_unit.test == pytest.approx(1 - best.test)


def test_the_mode_prints_a_table_and_draws_the_best_unit(workdir, folder, main):
  rows = [('good', 'the fox'), ('bad', ''), ('bad', 'the dog & and &')]
  write(folder, dev=rows)
  code, out, err = main(f'--workdir={workdir}', '--mode=sentiment', f'--labelled={folder}')
  assert code == 0
  lines = out.splitlines()
  assert lines[0].startswith('60 test sentences') and 'accuracy' in lines[0]
  named = [
    'more frequent',
    'best unit of the un',
    'all 8 units of the un',
    'best unit of the trained',
  ]
  assert all(name in line for name, line in zip(named, lines[1:], strict=False))
  assert len(lines) == 7 and lines[-1].startswith('n-grams')
  assert '2 of the ' in err and 'are skipped: the model never saw them' in err
  table = list(csv.DictReader((workdir / 'report' / 'sentiment.csv').read_text().splitlines()))
  assert sum(float(row['label bad']) + float(row['label good']) for row in table) == 60
  assert (workdir / 'report' / 'sentiment.png').read_bytes().startswith(b'\x89PNG')


def test_the_mode_refuses_in_one_sentence(workdir, tmp_path, main):
  code, out, err = main(f'--workdir={workdir}', '--mode=sentiment', f'--labelled={tmp_path}/no')
  assert code == 1 and not out
  assert err.strip().splitlines()[-1].startswith('error: labelled: there is no file or folder')


def test_a_model_of_words_is_refused(stack, folder):
  codec = TextCodec('text', 'word', ('a', 'b', 'c', 'd', '<unk>'))
  with pytest.raises(InputError, match=r"data\.unit is 'word', expected one of char, byte"):
    sentiment(stack[0], codec, stack[1], str(folder))
