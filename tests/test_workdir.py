"""A trained run, opened from Python: what its methods return is what the launcher prints."""

import json
import subprocess
import sys

import pytest
from launching import ROOT, environment, files_of, read_json

from rnn_research import workdir as workdir_lib
from rnn_research.errors import InputError

pytestmark = pytest.mark.usefixtures('quick_compilation')


@pytest.fixture(scope='module')
def language(trained):
  return workdir_lib.load(trained)


def test_a_run_knows_what_it_is(language, trained):
  assert language.name == 'char_lm:debug'
  assert language.step in (4, 8, 12)
  assert language.config.model.hidden_size == 8
  assert language.params['head']['w'].shape[0] == 8
  assert {'sample', 'score', 'evaluate', 'trace'} <= set(dir(language))


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
    assert found[split] == pytest.approx(metrics, rel=1e-5)


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


def test_what_a_run_refuses(language, workdir, tmp_path):
  with pytest.raises(InputError, match=r'holds no run: it has no config\.json'):
    workdir_lib.load(tmp_path)
  with pytest.raises(AttributeError, match=r'no command translate \(there are: sample, stream'):
    language.translate(['a'])
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
  done = subprocess.run(
    [sys.executable, '-c', NOTEBOOK, trained],
    cwd=ROOT,
    env=environment(),
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1] == '(7, 4, 8)'
  assert done.stderr == ''
