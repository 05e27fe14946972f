"""A training from Python is that of the launcher, and ends with the run opened."""

import numpy as np
import pytest
from launching import TINY, files_of, read_json

from rnn_research import workdir
from rnn_research.errors import InputError
from rnn_research.launching.python import train

FIELDS = {
  'model.hidden_size': 8,
  'train.batch_size': 4,
  'train.unroll_length': 8,
  'train.eval_every': 4,
  'train.show_steps': (),
}


def test_it_is_the_training_of_the_launcher(text, main, tmp_path, capsys):
  run = train('char_lm:debug', tmp_path / 'python', {**FIELDS, 'data.path': text, 'train.steps': 4})
  said = capsys.readouterr().out
  assert said.startswith(f'writes to {run.workdir}; ')
  assert 'next:' not in said  # in a shell, where this is no program
  flags = [*TINY, f'--config.data.path={text}', '--config.train.steps=4']
  assert main('--experiment=char_lm:debug', f'--workdir={tmp_path / "shell"}', *flags)[0] == 0
  there = workdir.load(tmp_path / 'shell')
  np.testing.assert_array_equal(run.params['head']['w'], there.params['head']['w'])
  assert run.workdir == str(tmp_path / 'python') and run.sample(length=3)
  more = train('char_lm:debug', run.workdir, {'train.steps': 6})
  assert read_json(more.workdir, 'result.json')['steps'] == 6


@pytest.mark.parametrize(
  ('name', 'fields', 'said'),
  [
    ('char_lm:debag', {}, "unknown variant of char_lm 'debag'"),
    ('char_lm:debug', {'model.hiden_size': 8}, 'did you mean --config.model.hidden_size'),
    ('char_lm:debug', {'train.steps': 'many'}, "steps is 'many', expected an integer"),
    ('char_lm:debug', {'train.batch_size': 0}, 'train.batch_size is 0'),
    ('gradient_flow:debug', {}, 'expected one that trains a model'),
  ],
)
def test_what_the_launcher_refuses_is_refused(tmp_path, name, fields, said):
  with pytest.raises(InputError, match=said):
    train(name, tmp_path / 'new', fields)
  assert not (tmp_path / 'new').exists()


def test_a_run_of_another_identity_is_left_alone(trained, text):
  before = files_of(trained)
  with pytest.raises(InputError, match=r'another model\.cell'):
    train('char_lm:debug', trained, {'model.cell': 'lstm'})
  assert files_of(trained) == before
