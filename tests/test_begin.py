"""Runs that begin from a trained model: what is kept, what is drawn anew, and what is refused."""

import json
import shutil

import jax
import numpy as np
import pytest
from launching import TINY, assert_same_run, log_of, read_json
from ml_collections import ConfigDict

import experiments
from rnn_research.errors import MisfitError
from rnn_research.experiment import Experiment, Vocabulary
from rnn_research.tasks.memory_qa import corpus
from rnn_research.training import transfer

HEAD = {'head/w': '[3, vocabulary]', 'head/b': '[vocabulary]'}


def toy(symbols):
  """Returns an experiment whose parameters are random and of every kind."""

  def init_of(size):
    shapes = {'rows': (size, 2), 'columns': (2, size), 'bias': (size,), 'others': (2, 2)}
    return lambda key: {name: jax.random.normal(key, shape) for name, shape in shapes.items()}

  vocabulary = Vocabulary('char', tuple(symbols), init_of)
  headline = 'valid', 'error', 'min'
  return Experiment(
    init_of(len(symbols)), None, None, {}, headline, vocabularies={'letters': vocabulary}
  )


def test_known_symbols_are_kept_and_new_ones_drawn():
  there, here = toy('abcd'), toy('xcyaz')
  old, drawn = there.init(jax.random.key(0)), here.init(jax.random.key(1))
  begun = transfer.begin_with(here, there, old).init(jax.random.key(1))
  np.testing.assert_array_equal(begun['others'], old['others'])
  for name, axis in {'rows': 0, 'columns': 1, 'bias': 0}.items():
    for i, symbol in enumerate('xcyaz'):
      source, row = (old, 'abcd'.index(symbol)) if symbol in 'abcd' else (drawn, i)
      np.testing.assert_array_equal(begun[name].take(i, axis), source[name].take(row, axis))


def test_pretrained_parameters_may_be_new():
  old = {'head': {'w': np.ones(2)}}
  there = Experiment(lambda key: old, None, None, {}, ('valid', 'error', 'min'))
  new = {'head': {'w': np.zeros(2)}, 'eye': {'lens': np.full(3, 2.0), 'more': np.full(1, 3.0)}}
  here = there._replace(init=lambda key: new, pretrained={'eye': 0.1})
  config = ConfigDict({'model': {}})
  transfer.check_same_model(here, config, there, config)
  begun = transfer.begin_with(here, there, old).init(jax.random.key(0))
  np.testing.assert_array_equal(begun['head']['w'], 1.0)
  np.testing.assert_array_equal(begun['eye']['lens'], 2.0)
  # What there is in both comes from the trained model.
  again = transfer.begin_with(here, here, new | {'eye': {'lens': np.ones(3), 'more': np.ones(1)}})
  np.testing.assert_array_equal(again.init(jax.random.key(0))['eye']['lens'], 1.0)
  for other in (here._replace(pretrained={}), here._replace(pretrained={'eye/lens': 0.1})):
    with pytest.raises(MisfitError, match=r'the parameter eye/.* is absent there and \['):
      transfer.check_same_model(other, config, there, config)
  with pytest.raises(
    MisfitError, match=r'^its eye was trained on, .*: train\.encoder_rate above 0$'
  ):
    transfer.check_same_model(there, config, here, config)


def test_how_far_glimpses_spread_may_differ():
  trained = experiments.get_config('glimpse:debug')
  config = trained.copy_and_resolve_references().unlock()
  config.model.std = 0.2
  built = experiments.build('glimpse:debug', config)
  transfer.check_same_model(built, config, built, trained)
  config.model.scales = 2
  with pytest.raises(MisfitError, match=r'model\.scales is 1 there and 2 here'):
    transfer.check_same_model(built, config, built, trained)


def test_files_are_the_same_by_their_content(tmp_path):
  for name, content in {'a': 'weights', 'b': 'weights', 'c': 'another'}.items():
    (tmp_path / name).write_text(content)
  one, same, other = (
    toy('ab')._replace(files={'eye.weights': str(tmp_path / name)}) for name in 'abc'
  )
  of = lambda name: ConfigDict({'model': {'encoder_weights': name}})
  transfer.check_same_model(same, of('b'), one, of('a'))
  transfer.check_same_model(toy('ab'), of(''), one, of('a'))
  with pytest.raises(MisfitError, match=r'^its eye\.weights is no copy of .*c, expected files of'):
    transfer.check_same_model(other, of('a'), one, of('a'))


def built(name, folder, texts, **fields):
  """Returns the experiment on texts, field of `data` -> text, with other fields of its config."""
  config = experiments.get_config(name)
  for field, content in texts.items():
    (folder / field).write_text(content, 'utf-8')
    fields[f'data.{field}'] = str(folder / field)
  config.update_from_flattened_dict(fields)
  return experiments.build(name, config)


@pytest.mark.parametrize(
  ('cell', 'names'),
  {
    'gru': ('w_x',),
    'layer_norm_lstm': ('w_x/w',),
    'lru': ('w_x', 'w_xd'),
    'mlstm': ('w_x', 'w_xm'),
    'mut1': ('w_x', 'w_x_bare'),
    'nas': ('w_x',),
  }.items(),
)
def test_one_hot_symbols_index_the_first_weights(tmp_path, cell, names):
  size = {'model.cell': cell, 'model.hidden_size': 3, 'model.num_layers': 2}
  shapes = transfer.shapes(built('char_lm:debug', tmp_path, {'path': 'abc ' * 40}, **size))
  assert {name for name, shape in shapes.items() if 'vocabulary' in shape} == {
    *HEAD,
    *(f'cells/0/{name}' for name in names),
  }
  assert all(shapes[f'cells/0/{name}'].startswith('[vocabulary, ') for name in names)


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
def test_symbols_index_an_embedding(tmp_path, unit):
  size = {'model.hidden_size': 3, 'model.embedding_size': 2, 'data.unit': unit}
  made = built('char_lm:debug', tmp_path, {'path': 'a b c ' * 40}, **size)
  shapes = transfer.shapes(made)
  assert {name: shape for name, shape in shapes.items() if 'vocabulary' in shape} == {
    'embedding': '[vocabulary, 2]',
    **HEAD,
  }
  vocabulary = made.vocabularies['vocabulary']
  assert vocabulary.unit == unit
  assert (ord('a') if unit == 'byte' else 'a') in vocabulary.symbols


@pytest.mark.parametrize(('unit', 'tied'), [('word', False), ('subword', True)])
def test_symbols_of_two_languages(tmp_path, unit, tied):
  if unit == 'subword':
    pytest.importorskip('tokenizers')
  made = built(
    'seq2seq:debug',
    tmp_path,
    {
      'source': ''.join(f'das haus ist {i}\n' for i in range(40)),
      'target': ''.join(f'the house is {i}\n' for i in range(40)),
    },
    **{'data.task': '', 'data.unit': unit, 'data.vocabulary_size': 40},
    **{'model.tied': tied, 'model.readout_size': 8 * tied},
  )
  shapes = transfer.shapes(made)
  assert {
    name: shape for name, shape in shapes.items() if 'source' in shape or 'target' in shape
  } == {
    'encoder/embedding': '[source, 8]',
    'embedding': '[target, 8]',
    'readout/head/b': '[target]',
    **({} if tied else {'readout/head/w': '[56, target]'}),
  }
  assert made.vocabularies['target'].unit == unit
  assert '<eos>' in made.vocabularies['target'].symbols


@pytest.mark.parametrize(
  ('model', 'names'),
  {
    'memn2n': ('embedding',),
    'entnet': ('embedding', 'r'),
    'tpr': ('embedding', 'z'),
    'gru': ('embedding', 'head/w', 'head/b'),
  }.items(),
)
def test_words_of_stories(model, names):
  def made(*words):
    config = experiments.get_config('memory_qa:debug')
    config.model.update({'name': model, 'size': 4})
    vocabulary = corpus.StoryVocabulary(('', *words), 5, 3, 7, (1,))
    assets = {'vocabulary': corpus.to_json(vocabulary)}
    return experiments.build('memory_qa:debug', config, assets)

  shapes = transfer.shapes(made('following', 'garden'))
  assert {name for name, shape in shapes.items() if 'words' in shape} == {*names}
  assert shapes == transfer.shapes(made('garden'))
  assert made('garden').vocabularies['words'].symbols == ('', 'garden')


def test_shared_symbols_may_be_none():
  assert [ids.tolist() for ids in transfer.shared('ab', 'cd')] == [[], []]
  assert [ids.tolist() for ids in transfer.shared('abc', 'xca')] == [[2, 0], [1, 2]]


def test_a_grid_begins_with_what_the_trained_model_knew(main, trained, text, tmp_path):
  """With a rate of nearly 0 every member ends as the trained model did."""
  code, out, err = main(
    *('--experiment=char_lm:debug', f'--config.data.path={text}', f'--workdir={tmp_path}', *TINY),
    *(f'--config.init_from={trained}', '--config.train.steps=4', '--config.grid.seeds=2'),
    '--config.optimizer.learning_rate=1e-30',
  )
  assert code == 0, err
  trained_to = read_json(trained, 'result.json')
  best = trained_to['best_step']
  about = f'begins from the best parameters of {trained} (char_lm:debug, step {best})\nvocabulary: '
  assert about in out
  assert ' chars are known there, 0 new\n' in out
  assert 'warning: all members of a grid begin from these parameters: seeds differ' in err
  nats = lambda result: result['metrics']['valid']['nats_per_symbol']
  found = nats(read_json(tmp_path, 'result.json'))
  assert found == pytest.approx(nats(trained_to), rel=1e-5)
  figures = [line for line in log_of(tmp_path) if 'valid/nats_per_symbol_members' in line]
  assert figures[0]['valid/nats_per_symbol_members'] == pytest.approx(
    [log_of(trained)[-1]['valid/nats_per_symbol']] * 2, rel=1e-4
  )


def test_it_goes_on_without_the_model_that_it_began_from(main, workdir, text, tmp_path):
  other = tmp_path / 'other.txt'
  other.write_text(text.read_text('utf-8')[:6000].replace('q', 'Q').replace('x', 'Ж'), 'utf-8')
  flags = [
    *('--experiment=char_lm:debug', f'--config.data.path={other}', *TINY),
    *(f'--config.init_from={workdir}', '--config.train.log_every=4'),
  ]
  whole, stopped = tmp_path / 'whole', tmp_path / 'stopped'
  code, out, _ = main(*flags, f'--workdir={whole}', '--config.train.steps=8')
  assert code == 0
  assert ' chars are known there, 2 new\n' in out
  assert main(*flags, f'--workdir={stopped}', '--config.train.steps=4')[0] == 0
  shutil.rmtree(workdir)
  code, out, err = main(f'--workdir={stopped}', '--config.train.steps=8')
  assert code == 0, err
  assert 'begins from' not in out
  assert_same_run(whole, stopped, 8)
  assert read_json(stopped, 'config.json')['config']['init_from'] == str(workdir)
  code, _, err = main(f'--workdir={stopped}', '--config.init_from=', '--config.train.steps=9')
  assert code == 1
  assert f"another init_from ('{workdir}' in the workdir, now '')" in err


REFUSED = {
  '--config.model.cell=lstm': "model.cell is 'gru' there and 'lstm' here",
  '--config.model.hidden_size=9': 'model.hidden_size is 8 there and 9 here',
  '--config.model.embedding_size=3': 'model.embedding_size is 0 there and 3 here',
  '--config.model.hidden_size=0 --config.model.num_params=4000': (
    'the parameter cells/0/w_x is [vocabulary, 24] there and [vocabulary, '
  ),
  '--config.data.unit=byte': "data.unit is 'char' there and 'byte' here",
  '--config.init_from=': 'init_from: {trained}/checkpoints holds no run: it has no config.json',
}


@pytest.mark.parametrize('flags', REFUSED)
def test_another_model_is_refused(main, trained, text, tmp_path, flags):
  folder = f'{trained}/checkpoints' if 'init_from' in flags else trained
  flags = [] if 'init_from' in flags else flags.split()
  code, _, err = main(
    *('--experiment=char_lm:debug', f'--config.data.path={text}', f'--workdir={tmp_path / "run"}'),
    *(*TINY, f'--config.init_from={folder}', *flags),
  )
  said = REFUSED[' '.join(flags) or '--config.init_from='].format(trained=trained)
  assert code == 1
  assert err.startswith('error: init_from: ') and err.count('\n') == 1
  assert said in err
  assert not (tmp_path / 'run').exists()


def test_another_experiment_is_refused(main, trained, tmp_path):
  flags = f'--config.init_from={trained}', f'--workdir={tmp_path / "run"}'
  code, _, err = main('--experiment=long_memory:debug', *flags)
  assert code == 1
  said = f'{trained} holds a run of char_lm:debug, expected one of long_memory'
  assert err == f'error: init_from: {said}\n'


def test_a_workdir_from_before_the_field_goes_on(main, workdir):
  about = read_json(workdir, 'config.json')
  del about['config']['init_from']
  (workdir / 'config.json').write_text(json.dumps(about), 'utf-8')
  assert main(f'--workdir={workdir}')[0] == 0
