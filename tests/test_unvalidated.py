"""Runs that hold nothing out to validate on: the last parameters are the best, and all modes know it."""

import numpy as np
import pytest
from launching import TINY, arrays, log_of, read_json

from rnn_research import workdir

ALL = '--config.data.splits=(1.0,0.0,0.0)'


def best_of(folder):
  return [path.name for path in (folder / 'best').iterdir()]


def test_a_language_model_of_the_whole_text(main, trained, text, tmp_path):
  flags = ['--experiment=char_lm:debug', f'--config.data.path={text}', *TINY, ALL]
  run = tmp_path / 'run'
  assert main(*flags, f'--workdir={run}', '--config.train.steps=3')[0] == 0
  assert best_of(run) == ['3']
  code, out, err = main(f'--workdir={run}', '--config.train.steps=6')
  assert code == 0, err
  assert 'nothing is held out to evaluate on\nafter 6 steps' in out
  assert not any('valid' in name for line in log_of(run) for name in line)
  assert best_of(run) == ['6']
  result = read_json(run, 'result.json')
  assert (result['best_step'], result['metrics']) == (6, {})
  found = workdir.load(run)
  np.testing.assert_array_equal(
    found.params['head']['w'], arrays(run, 6)["['params']['head']['w']"]
  )
  assert len(found.sample(length=5)) == 5

  said = 'error: nothing is held out to evaluate on; name other data with --config.data.path\n'
  code, out, err = main(f'--workdir={run}', '--mode=evaluate')
  assert (code, out) == (1, '') and err == said
  code, out, _ = main(f'--workdir={run}', '--mode=evaluate', f'--config.data.path={__file__}')
  assert (code, out[:22]) == (0, 'text: nats_per_symbol ')
  assert main(f'--workdir={run}', '--mode=sample', '--length=3')[0] == 0
  said = 'error: no text is held out; name one with --config.data.path, or --split=train\n'
  assert main(f'--workdir={run}', '--mode=score')[::2] == (1, said)
  assert main(f'--workdir={run}', '--mode=report')[0] == 0
  assert 'Nothing is held out to evaluate on.' in (run / 'report/README.md').read_text('utf-8')
  compare = ('--experiment=compare', f'--workdir={tmp_path / "compared"}')
  assert main(*compare, f'--config.workdirs={run}')[0] == 0
  assert {'README.md', 'curves.png', 'curves.csv'} <= {
    path.name for path in (tmp_path / 'compared/report').iterdir()
  }
  outcome = main(*compare, f'--config.workdirs={run},{trained}')
  assert outcome[0] == 1
  assert 'is measured by valid/nats_per_symbol' in outcome[2] and 'by train/loss' in outcome[2]


def test_a_translator_of_all_pairs(main, tmp_path):
  flags = ('--experiment=seq2seq:debug', f'--workdir={tmp_path}', ALL, '--config.train.steps=3')
  sizes = ('--config.data.examples=60', '--config.train.show_steps=0', '--config.data.buckets=1')
  code, out, err = main(*flags, *sizes)
  assert code == 0, err
  assert 'train: 60 pairs' in out and 'valid' not in out
  assert best_of(tmp_path) == ['3']
  assert read_json(tmp_path, 'result.json')['metrics'] == {}
  assert (tmp_path / 'report/curves.png').exists()
  assert len(workdir.load(tmp_path).translate(['a b'])) == 1


@pytest.mark.parametrize(
  ('field', 'expected'),
  [
    ('train.stop_after=2', 'train.stop_after is 2, expected 0'),
    ('optimizer.schedule=plateau', "optimizer.schedule is 'plateau', expected another"),
    ('grid.seeds=2', 'grid.seeds is 2, expected 1'),
    ('grid.learning_rates=(1e-3,)', 'grid.learning_rates is (0.001,), expected none'),
  ],
)
def test_what_follows_an_evaluation_is_refused(main, text, tmp_path, field, expected):
  flags = f'--config.data.path={text}', f'--workdir={tmp_path / "run"}', f'--config.{field}'
  code, _, err = main('--experiment=char_lm:debug', *TINY, ALL, *flags)
  assert code == 1
  assert err.startswith(f'error: {expected}, since no validation data are held out')
  assert err.count('\n') == 1
  assert not (tmp_path / 'run').exists()
