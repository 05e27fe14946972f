"""The experiment `gradient_flow` through `launch.py`: untrained cells, a trained workdir, and what is refused."""

import csv
import shutil

import pytest
from launching import files_of, read_json, run

FIGURES = ['gradient_by_lag', 'linear_case', 'jacobians', 'paths_lstm', 'gates', 'clipping']


def assert_report(workdir, figures):
  report = workdir / 'report'
  text = (report / 'README.md').read_text('utf-8')
  assert {path.name for path in report.iterdir()} == {
    'README.md',
    *(f'{figure}.{kind}' for figure in figures for kind in ('png', 'csv')),
  }
  for figure in figures:
    assert f'({figure}.png)' in text
    assert f'({figure}.csv)' in text
    assert (report / f'{figure}.png').read_bytes().startswith(b'\x89PNG')
  return text


def columns(workdir, figure):
  with open(workdir / 'report' / f'{figure}.csv', newline='') as f:
    rows = list(csv.DictReader(f))
  return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.fixture(scope='module')
def drawn(make_once):
  """Returns a finished workdir of `gradient_flow:debug`; not to be changed."""

  def fill(folder):
    _, err = run('--experiment=gradient_flow:debug', '--mode=report', f'--workdir={folder / "new"}')
    assert err == ''

  return make_once('gradient_flow', fill) / 'new'


def test_report_mode_draws_into_a_new_workdir(drawn):
  assert_report(drawn, FIGURES)
  result = read_json(drawn, 'result.json')
  assert result['experiment'] == 'gradient_flow:debug'
  assert {'elman', 'lstm: c', 'lstm: h', 'linear', 'tanh', 'clipped at 1'} <= set(result['metrics'])
  assert columns(drawn, 'gradient_by_lag').keys() == {
    'lag',
    *(
      f'{label}: {what}'
      for label in ('elman', 'lstm: c', 'lstm: h')
      for what in ('median', '10 %', '90 %')
    ),
  }
  assert columns(drawn, 'gradient_by_lag')['lag'] == [str(k) for k in range(1, 11)]
  assert set(columns(drawn, 'gates')['gate']) == {'i', 'f', 'o'}


def test_no_mode_prints_the_result_and_report_mode_draws_again(drawn, main, tmp_path):
  drawn = shutil.copytree(drawn, tmp_path / 'copy')
  before = files_of(drawn)
  code, out, err = main(f'--workdir={drawn}')
  assert (code, err) == (0, '')
  assert 'done' not in out
  assert files_of(drawn) == before
  code, _, err = main(f'--workdir={drawn}', '--mode=report', '--config.flow.lags=9')
  assert code == 1
  assert 'another flow.lags (10 in the workdir, now 9); use a new workdir' in err
  assert files_of(drawn) == before
  (drawn / 'report' / 'gates.png').unlink()
  code, out, err = main(f'--workdir={drawn}', '--mode=report')
  assert (code, err) == (0, '')
  assert 'Open and shut gates: done' in out
  after = files_of(drawn)
  assert after.keys() == before.keys()
  csv_files = [path for path in before if path.endswith('.csv')]
  assert csv_files
  assert [path for path in csv_files if after[path] != before[path]] == []


@pytest.mark.parametrize('mode', ['--mode=train', '--mode=report'])
def test_a_trained_model(main, trained, tmp_path, mode):
  """The debug model is a GRU: it has gates, but not the two paths of an LSTM."""
  before = files_of(trained)
  code, _, err = main(
    '--experiment=gradient_flow:debug',
    f'--workdir={tmp_path}',
    mode,
    f'--config.workdir_of={trained}',
  )
  assert (code, err) == (0, '')
  assert trained.name in assert_report(tmp_path, ['gradient_by_lag', 'jacobians', 'gates'])
  assert set(columns(tmp_path, 'gates')['gate']) == {'r', 'z'}
  assert {'trained', 'trained, gate z'} <= set(read_json(tmp_path, 'result.json')['metrics'])
  assert files_of(trained) == before


# flags, what the sentence says
REFUSED = {
  'unknown cell': ('flow.cells=elman,lstn', "unknown cell 'lstn', did you mean lstm?"),
  'no cell': ('flow.cells=,', "flow.cells is ',', expected names of cells"),
  'no gates': (
    'flow.gate_cells=lstm,elman',
    'elman has no gates, so there are no gate statistics of it',
  ),
  'few steps': (
    'flow.num_steps=5',
    'num_steps is 5, too short for the lag range: expected flow.lags, 10, at least',
  ),
  'no lags': ('flow.lags=0', 'flow.lags is 0, expected an integer >= 1'),
  'no sizes': (
    'flow.largest_singular_values=()',
    'flow.largest_singular_values is (), expected numbers > 0',
  ),
  'size': ('flow.largest_singular_values=(1.0,0.0)', 'expected numbers > 0'),
  'updates': ('clipping.updates=0', 'clipping.updates is 0, expected an integer >= 1'),
  'norm': ('clipping.clip_norm=0', 'clipping.clip_norm is 0.0, expected a number in (1e-30'),
  'norm of float64': (
    'clipping.clip_norm=1e300',
    'clipping.clip_norm is 1e+300, expected a number in',
  ),
  'rate': ('clipping.learning_rate=nan', 'clipping.learning_rate is nan'),
  'no run': ('workdir_of=nowhere', 'workdir_of: nowhere holds no run: it has no config.json'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_is_refused(main, tmp_path, monkeypatch, case):
  flag, said = REFUSED[case]
  monkeypatch.chdir(tmp_path)
  for mode in ([], ['--mode=report']):
    code, out, err = main(
      '--experiment=gradient_flow:debug', '--workdir=run', f'--config.{flag}', *mode
    )
    assert (code, out, err.count('\n')) == (1, '', 1)
    assert said in err
  assert not list(tmp_path.iterdir())


def test_workdirs_that_cannot_be_analysed(main, drawn, trained, tmp_path):
  flags = ['--experiment=gradient_flow:debug', f'--workdir={tmp_path / "run"}']
  code, _, err = main(*flags, f'--config.workdir_of={drawn}')
  assert (code, err) == (
    1,
    f'error: workdir_of: {drawn} holds a run of gradient_flow:debug, which trains no model to open\n',
  )
  code, _, err = main(*flags, f'--config.workdir_of={trained}', '--config.flow.num_steps=100000')
  assert (code, err.count('\n')) == (1, 1)
  assert 'expected 100001 at least' in err
  assert not list(tmp_path.iterdir())


def test_report_mode_of_what_is_trained_still_needs_a_run(main, tmp_path):
  for flags in (['--experiment=char_lm:debug'], []):
    code, _, err = main(*flags, '--mode=report', f'--workdir={tmp_path}')
    assert (code, err.count('\n')) == (2, 1)
    assert '--mode=report needs --workdir, a folder with a trained run' in err
