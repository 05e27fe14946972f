"""A trained run, opened from Python: what its methods return is what the launcher prints."""

import ast
import inspect
import json
import re
from pathlib import Path

import pytest
from launching import TINY, files_of, prose, read_json, run

from rnn_research import workdir as workdir_lib
from rnn_research.errors import InputError


@pytest.fixture(scope='module')
def language(trained):
  return workdir_lib.load(trained)


def test_a_run_knows_what_it_is(language, trained):
  assert language.name == 'char_lm:debug'
  assert language.step in (4, 8, 12)
  assert language.config.model.hidden_size == 8
  assert language.params['head']['w'].shape[0] == 8
  assert {'sample', 'score', 'evaluate', 'trace'} <= set(dir(language))
  assert re.fullmatch(
    rf"Run\('{re.escape(str(trained))}', char_lm:debug, [\d,]+ parameters, step {language.step}\)",
    repr(language),
  )


def test_a_sample_is_what_the_launcher_prints(language, trained, main):
  before = files_of(trained)
  text = language.sample('the ', length=130, seed=3)
  assert text.startswith('the ')
  assert len(text) == len('the ') + 130
  assert (
    text + '\n'
    == main(f'--workdir={trained}', '--mode=sample', '--prompt=the ', '--length=130', '--seed=3')[1]
  )
  pieces = list(language.stream('the ', length=130, seed=3))
  assert len(pieces) > 1
  assert 'the ' + ''.join(pieces) == text
  assert files_of(trained) == before


def test_evaluation_is_that_of_the_run(language, trained):
  expected = read_json(trained, 'result.json')['metrics']
  found = language.evaluate()
  for split, metrics in expected.items():
    assert found[split] == pytest.approx(metrics)


def test_scores_are_numbers(language, trained, main):
  text = 'the quick brown fox'
  scores = language.score(text)
  assert scores.shape == (len(text) - 1,)
  assert (scores < 0).all()
  assert language.score(text[:10]) == pytest.approx(scores[:9], abs=1e-5)
  rows = main(f'--workdir={trained}', '--mode=score')[1].splitlines()[2:]
  held_out = language.score()
  assert [float(row.split('\t')[2]) for row in rows] == pytest.approx(held_out, abs=1e-5)
  with pytest.raises(InputError, match='the text to score has 1 symbols, expected 2 at least'):
    language.score('t')


def test_scores_of_a_named_split(language, trained, main):
  text = Path(language.config.data.path).read_text('utf-8')
  start, end = int(len(text) * 0.9), int(len(text) * 0.95)
  expected = {'train': text[:start], 'valid': text[start:end], 'test': text[end:]}
  for split, part in expected.items():
    assert language.score(split=split) == pytest.approx(language.score(part))
  rows = main(f'--workdir={trained}', '--mode=score', '--split=valid')[1].splitlines()[1:]
  assert [row.split('\t')[1] for row in rows] == list(map(repr, expected['valid']))
  with pytest.raises(
    InputError, match="split is 'vaild', expected one of train, valid, test, did you mean valid"
  ):
    language.score(split='vaild')
  with pytest.raises(InputError, match="split is 'valid', expected none where a text is given"):
    language.score('the', split='valid')


def test_search_finds_texts_that_are_as_probable_as_it_says(language):
  found = language.search('the ', length=6, beam=4)
  assert len({one.text for one in found}) == 4
  for one in found:
    assert len(one.text) == 6
    assert one.log_prob == pytest.approx(language.score(f'the {one.text}')[3:].sum(), abs=1e-4)
  assert [one.log_prob for one in found] == sorted((one.log_prob for one in found), reverse=True)


def test_the_launcher_prints_what_a_search_finds(language, trained, main):
  flags = f'--workdir={trained}', '--mode=search', '--prompt=the '
  code, out, err = main(*flags, '--length=6', '--beam=4')
  assert (code, err) == (0, '')
  rows = [line.split('\t') for line in out.splitlines()]
  found = language.search('the ', length=6, beam=4)
  assert [ast.literal_eval(text) for _, text in rows] == [one.text for one in found]
  assert [float(score) for score, _ in rows] == pytest.approx(
    [one.log_prob for one in found], abs=1e-4
  )
  for flag, value in {'--length=0': 'length is 0', '--beam=-1': 'beam is -1'}.items():
    assert main(*flags, flag)[::2] == (1, f'error: {value}, expected an integer >= 1\n')
  _, out, err = main(f'--workdir={trained}', '--mode=search', '--prompt=\u2603')
  assert (out, err.count('\n')) == ('', 1)
  assert 'which the model never saw in training' in err


@pytest.mark.parametrize('prompt', ['', 't', 'the '])
def test_a_search_with_one_text_is_greedy(language, prompt):
  (greedy,) = language.search(prompt, length=20, beam=1)
  assert prompt + greedy.text == language.sample(prompt, length=20, temperature=0)


def test_methods_of_a_run_have_the_help_of_what_they_call(language):
  assert language.search.__doc__.startswith('Returns the most probable texts')
  assert str(inspect.signature(language.search)).startswith("(prompt: str = '', length: int = 100")


def test_data_that_were_moved(trained, tmp_path, language):
  text = Path(language.config.data.path)
  moved = tmp_path / 'moved.txt'
  moved.write_bytes(text.read_bytes())
  found = workdir_lib.load(trained, {'data.path': moved})
  assert found.config.data.path == str(moved)
  assert found.evaluate() == language.evaluate()
  with pytest.raises(
    InputError, match=r"place is 'data\.unit', expected one of data\.path, data\.glob"
  ):
    workdir_lib.load(trained, {'data.unit': 'byte'})
  with pytest.raises(InputError, match=r'^place data\.path is 5, expected'):
    workdir_lib.load(trained, {'data.path': 5})


def test_what_a_run_refuses(language, workdir, tmp_path):
  with pytest.raises(InputError, match=r'holds no run: it has no config\.json'):
    workdir_lib.load(tmp_path)
  with pytest.raises(AttributeError, match=r'no command translate \(there are: sample, stream'):
    language.translate(['a'])
  with pytest.raises(InputError, match='beam is 0, expected an integer >= 1'):
    language.search(beam=0)
  with pytest.raises(InputError, match='temperature is -1, expected a number >= 0'):
    language.sample(temperature=-1)
  with pytest.raises(InputError, match='num_steps is 0, expected an integer >= 1'):
    language.trace(0)
  (workdir / 'config.json').write_text(json.dumps({'experiment': 'char_lm:debug', 'config': 3}))
  with pytest.raises(InputError, match='is not the config of a run'):
    workdir_lib.load(workdir)


def test_an_engine_that_is_missing_here_does_not_matter(workdir):
  values = read_json(workdir, 'config.json')
  values['config']['model']['engine'] = 'pallas'
  (workdir / 'config.json').write_text(json.dumps(values))
  assert len(workdir_lib.load(workdir).sample(length=3)) == 3


def test_products_in_another_precision(trained, main):
  exact, rounded = workdir_lib.load(trained), workdir_lib.load(trained, dtype='bfloat16')
  text = 'the quick brown fox'
  difference = abs(exact.score(text) - rounded.score(text))
  assert 0 < difference.max() < 0.1
  write = lambda *flags: main(f'--workdir={trained}', '--mode=sample', '--prompt=the ', *flags)[1]
  assert write('--length=40', '--config.model.dtype=bfloat16') == (
    rounded.sample('the ', length=40) + '\n'
  )
  with pytest.raises(InputError, match="dtype is 'half', expected one of float32, bfloat16 for"):
    workdir_lib.load(trained, dtype='half')


NOTEBOOK = """
import sys, warnings
warnings.simplefilter('error')
import jax
print(jax.numpy.ones(3).sum())
from rnn_research import workdir
run = workdir.load(sys.argv[1])
print(repr(run.sample('the ', length=5)))
(layer,) = run.trace(num_steps=7)
print(layer.states['h'].shape)
"""


def test_it_opens_after_other_use_of_jax(trained):
  out, err = run(trained, code=NOTEBOOK)
  assert out.splitlines()[-1] == '(7, 4, 8)'
  assert err == ''


def test_a_run_with_files_of_its_own_to_validate_on_may_be_moved(tmp_path, main):
  for name, words in (('train', 1500), ('valid', 300)):
    (tmp_path / 'a').mkdir(exist_ok=True)
    (tmp_path / 'a' / f'{name}.txt').write_text(prose(words, seed=words), 'utf-8')
  paths = lambda folder: {
    'data.path': str(tmp_path / folder / 'train.txt'),
    'data.valid_path': str(tmp_path / folder / 'valid.txt'),
  }
  flags = [f'--config.{field}={path}' for field, path in paths('a').items()]
  workdir = tmp_path / 'run'
  code, _, err = main(
    *('--experiment=char_lm:debug', f'--workdir={workdir}', *flags, *TINY),
    '--config.train.steps=4',
  )
  assert code == 0, err
  expected = workdir_lib.load(workdir).evaluate()['valid']
  (tmp_path / 'a').rename(tmp_path / 'b')
  assert workdir_lib.load(workdir, paths('b')).evaluate()['valid'] == pytest.approx(expected)
  with pytest.raises(FileNotFoundError, match=r'^data\.valid_path: '):  # no silent other text
    workdir_lib.load(workdir, {'data.path': paths('b')['data.path']})
  other = tmp_path / 'other.txt'
  other.write_text(prose(80, seed=1), 'utf-8')
  whole = workdir_lib.load(workdir, {'data.path': other, 'data.valid_path': ''}).evaluate()['text']
  moved = workdir_lib.load(workdir, paths('b') | {'data.test_path': other})
  found = moved.evaluate()
  assert list(found) == ['text', 'valid', 'test']
  assert found['valid'] == expected and found['test'] == whole
  (tmp_path / 'b').rename(tmp_path / 'a')
  for split in ('valid', 'test'):  # and not the training text, which is where it was
    assert workdir_lib.load(workdir, {f'data.{split}_path': other}).evaluate() == {split: whole}
  with pytest.raises(InputError, match='is not the one that the model was trained on'):
    workdir_lib.load(workdir, {'data.valid_path': ''}).evaluate()
