"""Questions about stories, from the launch to the answer."""

import csv
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import read_json, run

import experiments
from rnn_research import workdir
from rnn_research.analysis.reports import run_curves
from rnn_research.analysis.reports.curve_figure import curve_figure
from rnn_research.data.babi import Question
from rnn_research.errors import InputError
from rnn_research.tasks.memory_qa import corpus
from rnn_research.tasks.memory_qa.answering import Answer, num_read, slot_names, text_of
from rnn_research.tasks.memory_qa.report import medians
from rnn_research.tasks.memory_qa.synthetic import make_stories
from rnn_research.training import grid
from rnn_research.training.metrics_log import read_log

DEBUG = '--experiment=memory_qa:debug'
STORY = 'Mary went to the office.\nJohn moved to the garden. Mary went back to the kitchen.'


@pytest.fixture(scope='module')
def trained_grid(make_once):
  """Returns the workdir of two members that were trained on stories that are made."""
  return make_once(
    'memory_qa',
    lambda folder: run(
      DEBUG, f'--workdir={folder}', '--config.grid.seeds=2', '--config.train.steps=40'
    ),
  )


def test_made_stories_say_the_answer():
  babi = make_stories(100)
  assert {name: len(split) for name, split in babi.splits.items()} == {
    'train': 100,
    'valid': 10,
    'test': 10,
  }
  for question in babi.splits['train']:
    told = [i for i, sentence in enumerate(question.story) if sentence[0] == question.question[2]]
    assert question.supports == (told[-1],)
    assert question.story[told[-1]][-1] == question.answer


def test_encoding():
  story = (('john', 'sat'), ('mary', 'went', 'to', 'mars'), ('john', 'sat'))
  question = Question(story, ('where', 'is', 'mary'), 'mars', (1,), 1, 0)
  babi = corpus.Babi({'train': [question], 'valid': [], 'test': []}, (1,))
  whole = corpus.make_vocabulary(babi, 50)
  assert whole[1:] == (4, 3, 11, (1,)) and whole.words[0] == ''
  assert corpus.from_json(corpus.to_json(whole)) == whole
  vocabulary = corpus.make_vocabulary(babi, 2)
  other = question._replace(answer='venus', question=('where', 'is', 'pluto'))
  encoded = corpus.encode(vocabulary, [question, other])
  words = lambda ids: ' '.join(vocabulary.words[i] for i in ids).rstrip()
  assert [words(ids) for ids in encoded.stories[0]] == ['mary went to mars', 'john sat']
  assert words(encoded.questions[1]) == 'where is'
  np.testing.assert_array_equal(encoded.answers, [vocabulary.words.index('mars'), 0])
  np.testing.assert_array_equal(encoded.lengths, 2)


def test_evaluation_has_every_question_once():
  encoded = corpus.encode(
    corpus.make_vocabulary(make_stories(150), 50), make_stories(150).splits['train']
  )
  rows = list(corpus.evaluation_batches(encoded))
  assert sorted(place for places, _ in rows for place in places) == list(range(150))
  for places, batch in rows:
    np.testing.assert_array_equal(batch['answers'][: len(places)], encoded.answers[places])


def build_without(*words):
  """Returns an experiment on made stories whose model knows all but these words, and parameters by
  which all words are equally likely."""
  config = experiments.get_config('memory_qa:debug')
  whole = corpus.make_vocabulary(corpus.load(config.data), 50)
  known = whole._replace(words=tuple(word for word in whole.words if word not in words))
  made = experiments.build('memory_qa:debug', config, {'vocabulary': corpus.to_json(known)})
  return made, jax.tree.map(jnp.zeros_like, made.init(jax.random.key(0))), known


def test_an_answer_that_cannot_be_given_is_wrong_however_the_model_guesses():
  answers = [question.answer for question in make_stories(200).splits['test']]
  made, params, known = build_without(answers[0])
  found = made.evaluate['test'](params, None)
  share = 1 - answers.count(answers[0]) / len(answers)
  assert 0 < share < 1 and found['error'] == 100
  assert found['expected_error'] == pytest.approx(100 * (1 - share / len(known.words)))
  assert found['loss'] == pytest.approx(np.log(len(known.words)))
  made, params, _ = build_without(*answers)
  found = made.evaluate['test'](params, None)
  assert found['expected_error'] == 100 and 'loss' not in found


def test_what_is_left_out_of_a_split_is_said_once(capsys):
  made, params, _ = build_without('kitchen', 'garden')
  questions = make_stories(200).splits['test']
  has = lambda sentences: any(w in s for s in sentences for w in ('kitchen', 'garden'))
  told = sum(has(question.story) for question in questions)
  asked = sum(question.answer in ('kitchen', 'garden') for question in questions)
  for _ in range(2):
    made.evaluate['test'](params, None)
  assert capsys.readouterr().err == (
    f"warning: test questions: {told} of {len(questions)} have words that the model never saw ('garden', "
    f"'kitchen'), which are left out, {asked} of {len(questions)} have an answer that the model cannot give\n"
  )
  made.train_data()
  assert 'warning: valid questions: ' in capsys.readouterr().err


def test_what_is_left_out_of_questions():
  question = Question((('mary', 'sat'),) * 2, ('where', 'is', 'mary'), 'here', (0,), 1, 0)
  babi = corpus.Babi({'train': [question], 'valid': []}, (1,))
  vocabulary = corpus.make_vocabulary(babi, 50)
  assert corpus.left_out(vocabulary, [question] * 3) == ''
  long = question._replace(story=(('mary', 'sat', 'is', 'here'),))
  unread = question._replace(story=(('mars',) * 9, *question.story))
  assert corpus.left_out(vocabulary, [question, long, long, unread]) == (
    '2 of 4 have sentences that are cut to 3 words'
  )
  new = question._replace(story=(tuple('abcdefg'),), answer='there')
  assert corpus.left_out(vocabulary, [question, new]) == (
    "1 of 2 have words that the model never saw ('a', 'b', 'c', 'd', 'e' and 2 more), which are "
    'left out, 1 of 2 have an answer that the model cannot give'
  )


def test_a_run(trained_grid):
  result = read_json(trained_grid, 'result.json')
  assert result['headline'] == ['valid', 'expected_error', 'min']
  test = result['metrics']['test']
  assert test['error'] == test['error_1'] and test['failed'] == float(test['error'] > 5)
  assert 0 < test['error'] < 100
  report = trained_grid / 'report'
  text = (report / 'README.md').read_text('utf-8')
  assert '| 1 single supporting fact |' in text and '| mean |' in text
  assert '| median at rate 0.02, % |' in text and '\n| median | 0.02 |' in text
  for stem in ('tasks', 'members', 'task_1', 'curves'):
    assert text.count(f'Numbers: [{stem}.csv]({stem}.csv)') == 1
  assert (report / 'task_1.png').stat().st_size > 1000
  with open(report / 'members.csv', encoding='utf-8') as f:
    assert [row['seed'] for row in csv.DictReader(f)] == ['0', '1']
  with open(report / 'tasks.csv', encoding='utf-8') as f:
    (row,) = csv.DictReader(f)
  assert float(row['error']) == pytest.approx(test['error'])
  assert 0 < float(row['hop 1']) < 1 and float(row['even']) == pytest.approx(1 / 6)


def test_curves_have_a_unit(trained_grid):
  logged = run_curves.read_run(trained_grid)
  curves = list(run_curves.by_learning_rate(logged).values())
  (axes,) = curve_figure(curves, logged.about['headline'], None).figure.axes
  assert axes.get_ylabel() == 'expected error (percent)'


def test_variants_for_a_single_task_have_one():
  for variant in ('memn2n_task', 'entnet'):
    assert experiments.get_config(f'memory_qa:{variant}').data.tasks == '1'


def test_medians_are_of_one_rate_and_count_what_diverged():
  errors = np.array([[10.0, 1.0], [20.0, 2.0], [np.nan, 3.0], [50.0, 4.0]])
  found = medians([0.1, 0.1, 0.1, 0.2], errors)
  assert {rate: list(own) for rate, own in found.items()} == {0.1: [20.0, 2.0], 0.2: [50.0, 4.0]}
  np.testing.assert_array_equal(medians([1, 1], errors[1:3])[1][0], 60.0)


def test_answers(trained_grid, tmp_path, main):
  trained = workdir.load(trained_grid)
  found = trained.answer(STORY, 'Where is Mary?')
  assert found.sentences == tuple(STORY.replace('. ', '.\n').split('\n'))
  assert found.weights.shape == (3, 3) and found.columns == ('hop 1', 'hop 2', 'hop 3')
  np.testing.assert_allclose(found.weights.sum(1), 1.0, rtol=1e-5)
  assert found.probability >= found.others[0][1] >= found.others[-1][1]
  file = tmp_path / 'story.txt'
  lines = [f'{i} {line}' for i, line in enumerate(STORY.split('\n'), 1)]
  file.write_text('\n'.join([*lines, '3 Where is John?\tgarden\t2']), 'utf-8')
  flags = f'--workdir={trained_grid}', '--mode=answer', f'--story={file}'
  code, out, err = main(*flags, '--question=Where is Mary?')
  assert (code, err) == (0, '') and out == f'{text_of(found)}\n'
  code, _, err = main(*flags, '--question=Where is Mary')
  assert code == 1 and "question is 'Where is Mary', expected words and a '?' behind" in err
  code, _, err = main(*flags[:2], '--question=Where is Mary?')
  assert code == 1 and "story is '', expected a file" in err
  file.write_bytes(b'Mary\0')
  code, _, err = main(*flags, '--question=Where is Mary?')
  assert code == 1 and 'expected UTF-8 text; name a file with a sentence per line' in err


def test_lines_with_tabs_are_read(trained_grid):
  story = 'John went to the kitchen.\n\tMary went to the garden.\n3 Where is John? \tkitchen\t1'
  found = workdir.load(trained_grid).answer(story, 'Where is Mary?')
  assert found.sentences == ('John went to the kitchen.', 'Mary went to the garden.')


def test_what_was_not_read_is_said(trained_grid):
  story = 'Mary went to the garden.\n' * 60
  found = workdir.load(trained_grid).answer(story, 'Where is Mary?')
  assert (len(found.sentences), found.left_out) == (6, 54)
  assert text_of(found).splitlines()[2] == 'read the last 6 of 60 sentences'
  short = found._replace(left_out=0)
  assert 'read the last' not in text_of(short)


def test_a_cell_reads_whole_sentences():
  told = [('mary', 'went')] * 3
  vocabulary = corpus.StoryVocabulary(('', 'mary', 'went'), 5, 3, 7, (1,))
  assert num_read(told, ('mary',), vocabulary, by_word=True) == 3
  assert num_read(told, ('mary', 'went'), vocabulary, by_word=True) == 2
  assert num_read(told, ('mary', 'went'), vocabulary, by_word=False) == 3
  assert num_read(told * 2, ('mary',), vocabulary, by_word=False) == 3


@pytest.mark.parametrize(
  ('story', 'question', 'said'),
  [
    ('', 'Where is Mary?', 'story is empty'),
    (['Mary sat.'], 'Where is Mary?', r"story is \['Mary sat\.'\], expected a text"),
    (STORY, None, 'question is None, expected a text'),
    (STORY, ' ?', "question is ' \\?', expected words and a '\\?' behind them"),
    (STORY, 'Where is Jon?', "question: the model never saw 'jon', did you mean john"),
    ('1 Mary sat.\n2 John sat.\n1 John sat.\n1 Mary sat.', 'Where is Mary?', 'story has 3 stories'),
    (f'{STORY}\nWhere is John?', 'Where is Mary?', "story has the question 'Where is John\\?'"),
    ('Is John here? Mary sat.', 'Where is Mary?', "story has the question 'Is John here\\?'"),
    ('Mary ate fish.', 'Where is Mary?', "story: the model never saw 'ate', 'fish'"),
    (STORY, 'Where is is is is is is Mary?', 'has 8 words, expected 6 at most'),
  ],
)
def test_what_cannot_be_answered_is_said(trained_grid, story, question, said):
  with pytest.raises(InputError, match=said):
    workdir.load(trained_grid).answer(story, question)


WEIGHTED = {'entnet': 20, 'tpr': 3, 'gru': 0}  # what has weights


@pytest.mark.parametrize('name', WEIGHTED)
def test_other_models_learn(name, tmp_path):
  run(
    DEBUG,
    f'--workdir={tmp_path}',
    f'--config.model.name={name}',
    '--config.data.made=20',
    '--config.train.steps=30',
    '--config.optimizer.learning_rate=0.005',
    '--num_devices=2',  # where a call to LAPACK in a step waits for ever
  )
  losses = [row['train/loss'] for row in read_log(tmp_path) if 'train/loss' in row]
  assert losses[-1] < 0.9 * losses[0]
  found = workdir.load(tmp_path).answer(STORY, 'Where is Mary?')
  assert found.weights.shape == (WEIGHTED[name], 3)


def test_what_is_left_out_is_said():
  babi = make_stories(20)._replace(missing=(3,))
  said = corpus.about(babi, corpus.make_vocabulary(babi, 50))
  assert 'task 3 is left out: its training file or its test file is missing' in said


def test_a_variant_is_built_from_real_data(data_dir):
  path = str(data_dir / 'babi' / 'babi_v1.2_en-10k.tar.gz')
  config = experiments.get_config('memory_qa:entnet').unlock()
  config.data.path = path
  made = experiments.build('memory_qa:entnet', config)
  assert 277 <= made.train_data().steps_per_epoch <= 281


@pytest.mark.parametrize(
  ('flag', 'said'),
  [
    ('data.made=0', "data.path is '', expected the folder"),
    ('data.made=-1', 'data.made is -1'),
    ('data.tasks=21', "data.tasks is '21'"),
    ('model.name=memnn', "model.name is 'memnn'"),
    ('model.num_slots=0', 'model.num_slots is 0'),
    ('model.relation_size=0', 'model.relation_size is 0'),
    ('model.noise=2', 'model.noise is 2.0'),
    ('data.path=/nowhere', "data.path is '/nowhere', expected ''"),
    ('data.tasks=2', "data.tasks is '2', expected all or 1"),
    ('model.engine=foo', "model.engine is 'foo', expected 'auto'"),
    ('model.engine=foo model.name=gru', "model.engine is 'foo', expected one of auto, scan, fused"),
    ('train.batch_size=201', 'train.batch_size is 201, expected 200 at most'),
  ],
)
def test_bad_fields(flag, said, tmp_path, main):
  flags = [f'--config.{one}' for one in flag.split()]
  code, _, err = main(DEBUG, f'--workdir={tmp_path}', *flags)
  assert code == 1 and said in err


def test_a_lost_seed_is_the_worst_of_a_median():
  found = grid.spread([1.0, 5.0, None, 2.0, math.nan], 'min')
  assert (found['median'], found['mean'], found['seeds']) == (5.0, pytest.approx(8 / 3), 3)
  assert grid.spread([1.0, 5.0, None, 2.0, math.inf], 'max')['median'] == 1.0
  assert 'median' not in grid.spread([1.0, 2.0, None, None, None], 'min')
  assert grid.spread([None, math.nan], 'min') == {'seeds': 0}


def test_stories_of_like_length_share_batches():
  questions = make_stories(100).splits['train']
  cuts = np.random.default_rng(0).choice([1, 1, 1, 2, 5, 6], len(questions))
  some = [q._replace(story=q.story[:n]) for q, n in zip(questions, cuts, strict=True)]
  vocabulary = corpus.make_vocabulary(corpus.Babi({'train': some, 'valid': []}, (1,)), 50)
  encoded = corpus.encode(vocabulary, some)
  data = corpus.train_data(encoded, vocabulary, 5, 3, seed=0)
  sizes = [batch['stories'].shape[1] for batch in data.shapes]
  assert sizes == [1, 2, 6]
  epochs = [[next(data.iterator) for _ in range(data.steps_per_epoch)] for _ in range(2)]
  key = lambda batch: sorted(map(bytes, np.ascontiguousarray(batch['stories'])))
  assert [key(b) for b in epochs[0]] != [key(b) for b in epochs[1]]
  for batch in epochs[0]:
    told = batch['stories'].any(-1).sum(1)
    assert len(told) == 5
    assert batch['stories'].shape[1] == min(size for size in sizes if size >= told.max())
  rows = [row.any(-1).sum() for batch in epochs[0] for row in batch['stories']]
  for size, low in zip(sizes, (0, 1, 2), strict=True):
    count = ((cuts > low) & (cuts <= size)).sum()
    assert sum(low < n <= size for n in rows) == count // 5 * 5
  few = corpus.train_data(encoded, vocabulary, 90, 3, seed=0)
  assert [batch['stories'].shape for batch in few.shapes] == [(90, 6, vocabulary.longest)]
  with pytest.raises(InputError, match=r'train\.batch_size is 101, expected 100 at most'):
    corpus.train_data(encoded, vocabulary, 101, 3, seed=0)


def test_slots_are_named_by_the_nearest_word():
  embedding = np.array([[9.0, 9.0], [1.0, 0.0], [0.0, 5.0]])
  keys = np.array([[0.1, 3.0], [2.0, 1.0]])
  assert slot_names(keys, embedding, ('', 'mary', 'john')) == ('john', 'mary')
  several = slot_names(keys[[0, 1, 0]], embedding, ('', 'mary', 'john'))
  assert several == ('john 1', 'mary', 'john 2')


def test_three_weights_are_told_of_a_sentence():
  weights = np.array([[0.3], [0.06], [0.9], [0.04], [0.5]], np.float32)
  found = Answer('x', 1.0, (), ('Mary sat.',), 0, weights, tuple('abcde'))
  assert text_of(found).splitlines()[-1] == '  Mary sat.  (a 0.30, c 0.90, e 0.50)'
  assert text_of(found._replace(weights=weights[[3, 1, 3, 3, 3]])).endswith('(b 0.06)')
