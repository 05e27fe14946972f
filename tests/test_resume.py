"""Interrupted runs: whatever stops one, the same command makes of it the run that nothing had stopped."""

import json
import os
import shutil
import signal
import time

import pytest
from launching import (
  ROOT,
  TINY,
  arrays,
  assert_same_run,
  files_of,
  log_of,
  prose,
  read_json,
  run,
  start,
)

from rnn_research.training import checkpoint, signals

STEPS = 24
# Everything with a memory: dropout, parameter average, a rate that follows the validation, micro-batches, lane resets.
FLAGS = [
  '--experiment=char_lm:debug',
  *TINY,
  f'--config.train.steps={STEPS}',
  '--config.model.num_layers=2',
  '--config.model.dropout=0.2',
  '--config.train.ema_decay=0.9',
  '--config.train.micro_batches=2',
  '--config.train.reset_rate=0.1',
  '--config.optimizer.schedule=plateau',
  '--config.optimizer.patience=1',
  '--config.optimizer.learning_rate=2.0',
  '--config.train.eval_every=6',
  '--config.train.checkpoint_every=4',
  '--config.train.log_every=5',
  '--config.train.show_steps=0,10',
  '--num_devices=2',
]

SIGNALLED = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
import launch
from rnn_research.training import loop
number, step = int(sys.argv.pop(1)), int(sys.argv.pop(1))
take, calls = loop.fed, []
def counted(*args):
  calls.append(1)
  if len(calls) == step + 1:  # the first call is the compilation's
    os.kill(os.getpid(), number)
  return take(*args)
loop.fed = counted
sys.exit(launch.main(None))
"""


@pytest.fixture(scope='module')
def whole(make_once, text):
  """Returns the workdir of an uninterrupted run; not to be changed.

  It hashes strings in its own way, as every process does, but those that one server forks: a run that depends on the
  order of a set differs from it.
  """
  flags = (*FLAGS, f'--config.data.path={text}')
  return make_once('whole', lambda folder: run(*flags, f'--workdir={folder}', PYTHONHASHSEED='12'))


@pytest.fixture
def copy(whole, tmp_path):
  """Returns a copy of `whole`."""
  return shutil.copytree(whole, tmp_path / 'copy')


def signalled(number, step, *flags, rc):
  """Runs `launch.py`, which gets a signal at the start of its `step`-th step; returns stdout."""
  return run(int(number), step, *flags, code=SIGNALLED, rc=rc)[0]


def test_the_run_has_something_to_lose(whole):
  """The rate has been reduced and the average differs from the parameters; without that the other tests say little."""
  state = arrays(whole, STEPS)
  scales = [value for name, value in state.items() if name.endswith("['scale']")]
  (scale,) = scales
  assert scale < 1
  averages = [name for name in state if name.startswith("['average']")]
  assert averages
  assert all((state[name] != state[name.replace('average', 'params')]).any() for name in averages)


def test_the_best_evaluation_is_kept_when_later_ones_are_worse(whole):
  figures = {
    line['step']: line['valid/nats_per_symbol']
    for line in log_of(whole)
    if 'valid/nats_per_symbol' in line
  }
  best = min(figures, key=figures.get)
  assert best < STEPS
  result = read_json(whole, 'result.json')
  assert result['best_step'] == best
  assert [path.name for path in (whole / 'best').iterdir()] == [str(best)]
  final = result['metrics']['valid']['nats_per_symbol']  # of one lane, and so not quite the same
  assert abs(final - figures[best]) < abs(final - figures[STEPS])


def test_killed_twice(whole, text, tmp_path):
  flags = [*FLAGS, f'--config.data.path={text}', f'--workdir={tmp_path}']
  for step in (9, 5):  # of this start: the second goes on from checkpoint 8
    signalled(signal.SIGKILL, step, *flags, rc=-signal.SIGKILL)
  assert not (tmp_path / 'result.json').exists()
  # Where there is no checkpoint yet it is not known.
  run(f'--workdir={tmp_path}', '--num_devices=2')
  assert_same_run(tmp_path, whole, STEPS)
  same, other = read_json(whole, 'result.json'), read_json(tmp_path, 'result.json')
  assert same['metrics'] == other['metrics']
  assert same['best_step'] == other['best_step']


def test_killed_before_the_first_checkpoint(whole, text, tmp_path):
  flags = [*FLAGS, f'--config.data.path={text}', f'--workdir={tmp_path}']
  signalled(signal.SIGKILL, 2, *flags, rc=-signal.SIGKILL)
  assert [line['step'] for line in log_of(tmp_path)] == [0]
  run(*flags)
  assert_same_run(tmp_path, whole, STEPS)


def test_a_signal_saves(whole, text, tmp_path):
  step = 9  # neither evaluated, logged nor saved otherwise
  for number, name, rc in ((signal.SIGTERM, 'SIGTERM', 0), (signal.SIGINT, 'Ctrl-C', 130)):
    flags = [*FLAGS, f'--config.data.path={text}', f'--workdir={tmp_path / name}']
    out = signalled(number, step, *flags, rc=rc)
    said = f'stopped by {name} after step {step}: saved, --workdir={tmp_path / name} goes on from'
    assert f'{said} here' in out
    assert checkpoint.read_meta(tmp_path / name)[0] == step
    assert not (tmp_path / name / 'result.json').exists()
  # Since they are the same, one of them is enough to go on with.
  assert_same_run(tmp_path / 'SIGTERM', tmp_path / 'Ctrl-C', step)
  run(f'--workdir={tmp_path / "Ctrl-C"}')
  assert_same_run(tmp_path / 'Ctrl-C', whole, STEPS)


def test_a_second_ctrl_c_stops_at_once(text, tmp_path):
  flags = [*FLAGS, f'--config.data.path={text}', f'--workdir={tmp_path}']
  twice = SIGNALLED.replace(
    'os.kill(os.getpid(), number)', 'os.kill(os.getpid(), number)\n    ' * 2
  )
  out, err = run(int(signal.SIGINT), 2, *flags, code=twice, rc=130)
  assert 'saved' not in out and 'Ctrl-C again stops at once' in err and 'interrupted' in err
  assert checkpoint.newest_step(str(tmp_path)) is None


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with signals.heard() as asked:
      assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
      assert asked() == ''
  finally:
    signal.signal(signal.SIGINT, before)


def test_sigterm_from_outside(text, tmp_path):
  process = start(
    '--experiment=char_lm:debug',
    *TINY,
    '--config.train.steps=1000000',
    f'--config.data.path={text}',
    '--config.train.eval_every=1000000',
    f'--workdir={tmp_path}',
  )
  while not (tmp_path / 'metrics.jsonl').exists():
    assert process.poll() is None, process.communicate()
    time.sleep(0.05)
  process.terminate()
  out, err = process.communicate(timeout=60)
  assert (process.returncode, err) == (0, '')
  assert f'stopped by SIGTERM after step {checkpoint.read_meta(tmp_path)[0]}: saved' in out


def test_a_workdir_of_any_name(main, text, tmp_path):
  workdir = tmp_path / 'lr=[0.01], {a}*?' / 'ñ \\'
  flags = ['--experiment=char_lm:debug', *TINY, f'--config.data.path={text}']
  assert main(*flags, f'--workdir={workdir}', '--config.train.steps=4')[0] == 0
  code, out, err = main(f'--workdir={workdir}', '--config.train.steps=12')
  assert (code, err) == (0, '')
  assert 'after 12 steps' in out
  assert main(*flags, f'--workdir={tmp_path / "plain"}', '--config.train.steps=12')[0] == 0
  assert log_of(workdir)[-1] == log_of(tmp_path / 'plain')[-1]
  assert main(f'--workdir={workdir}', '--mode=sample', '--length=5')[0] == 0


def test_truncated_newest_checkpoint(whole, copy):
  for path in (copy / 'checkpoints' / str(STEPS) / 'state').glob('**/d/*'):
    os.truncate(path, path.stat().st_size // 2)
  (copy / 'result.json').unlink()
  _, err = run(f'--workdir={copy}')
  assert f'warning: checkpoint {STEPS} in ' in err
  assert 'going back to 20' in err
  assert_same_run(copy, whole, STEPS)
  assert read_json(copy, 'result.json')['metrics'] == read_json(whole, 'result.json')['metrics']


IDENTITY = {
  'model.cell': 'lstm',
  'model.hidden_size': '9',
  'model.num_layers': '1',
  'model.dtype': 'bfloat16',
  'data.unit': 'byte',
  'data.splits': '(0.8,0.1,0.1)',
  'optimizer.name': 'sgd',
  'seed': '1',
  'train.batch_size': '8',
}


@pytest.mark.parametrize('field', IDENTITY)
def test_another_identity_is_refused(main, whole, field):
  before = files_of(whole)
  code, out, err = main(
    f'--workdir={whole}', f'--config.{field}={IDENTITY[field]}', '--config.train.steps=30'
  )
  assert (code, out) == (1, '')
  assert err.startswith(f'error: workdir: {whole} holds a run with another {field} (')
  assert f'now {IDENTITY[field]!r})'.replace("'", '') in err.replace("'", '').replace(', 0', ',0')
  assert 'train.steps' not in err
  assert files_of(whole) == before


def test_all_fields_that_differ_are_named(main, whole):
  _, _, err = main(f'--workdir={whole}', '--config.model.cell=lstm', '--config.model.dropout=0.3')
  assert (
    "another model.cell ('gru' in the workdir, now 'lstm'), another model.dropout (0.2 in the"
    in err
  )


def test_numbers_of_steps_may_change(whole, copy):
  epochs, per_epoch = 2, (int(len(prose()) * 0.9) - 1) // (4 * 8)
  assert epochs * per_epoch > STEPS
  out, err = run(
    f'--workdir={copy}',
    '--config.train.steps=0',
    f'--config.train.epochs={epochs}',
    '--config.train.eval_every=40',
    '--config.train.checkpoint_every=50',
    '--config.train.log_every=9',
    '--config.model.engine=scan',
    '--config.train.show_steps=()',
  )
  assert err == ''
  assert f'after {epochs * per_epoch} steps' in out
  assert log_of(copy)[: len(log_of(whole))] == log_of(whole)
  assert min(line['step'] for line in log_of(copy) if line['step'] > STEPS) == 27
  assert read_json(copy, 'config.json')['config']['train']['epochs'] == epochs


def test_another_device_count(whole, copy):
  _, err = run(f'--workdir={copy}', '--config.train.steps=26', '--num_devices=1')
  assert err == 'warning: the run began on 2 devices and goes on with 1: not bit for bit\n'
  assert read_json(copy, 'config.json')['num_devices'] == 1
  out, err = run(f'--workdir={copy}', '--config.train.steps=27')
  assert err == ''
  assert '1 device(s)' in out


def test_the_device_count_of_the_workdir_is_kept(text, tmp_path):
  """Also where it is above what would be chosen here."""
  flags = [
    f'--workdir={tmp_path}',
    f'--config.data.path={text}',
    '--num_devices=4',
    '--config.train.steps=4',
  ]
  run('--experiment=char_lm:debug', *TINY, *flags)
  out, err = run(f'--workdir={tmp_path}', '--config.train.steps=5')
  assert err == ''
  assert '4 device(s)' in out


def test_another_version_is_said(main, copy, monkeypatch):
  monkeypatch.setattr('rnn_research.training.loop.versions', lambda: {'jax': '9.9.9'})
  _, _, err = main(f'--workdir={copy}', f'--config.train.steps={STEPS + 1}')
  assert 'warning: resumed with jax ' in err
  assert '-> 9.9.9: the run goes on, but not bit for bit' in err


def test_changed_training_data_are_refused(main, text, copy, tmp_path):
  (tmp_path / 'changed.txt').write_text(prose().replace('dog', 'god'), 'utf-8')
  values = read_json(copy, 'config.json')
  values['config']['data']['path'] = str(tmp_path / 'changed.txt')
  (copy / 'config.json').write_text(json.dumps(values))
  before = files_of(copy)
  code, _, err = main(f'--workdir={copy}', '--config.train.steps=30')
  assert code == 1
  assert 'error: the training data differ from those of the checkpoint (digest ' in err
  assert 'Traceback' not in err
  assert files_of(copy) == before
