"""The experiment `speed` through `launch.py`, and what the launcher refuses where nothing is trained."""

import importlib.util
import os
import signal
import sys
import time

import pytest
from launching import ROOT, files_of, read_json, run, start

import experiments
from experiments.speed import GROUPS
from rnn_research.benchmark import contenders, groups
from rnn_research.experiment import Study


def assert_report(workdir, labels):
  measured = read_json(workdir / 'report', 'speed.json')
  text = (workdir / 'report' / 'speed.md').read_text('utf-8')
  (comparison,) = measured['comparisons']
  assert set(comparison['contenders']) == labels
  for label, values in comparison['contenders'].items():
    assert 'failed' not in values, values
    assert list(values['parts']) == ['step', 'forward']
    assert values['ratios'].keys() == (set() if label == 'ours' else {'step', 'forward'})
    assert (values['compile_seconds'] is None) == label.startswith('PyTorch')
  assert measured.keys() & set(GROUPS) == set(GROUPS) - {'parallel'}
  assert text.count('--config.measure.groups=parallel') == 1
  assert 'failed' not in text
  assert '--experiment=speed:debug' in text
  assert set(measured['scaling']) == set(groups.AXES)
  assert {path.name for path in (workdir / 'report').iterdir()} == {
    'ratios.csv',
    'ratios.png',
    'scaling.csv',
    'scaling.png',
    'speed.json',
    'speed.md',
  }
  result = read_json(workdir, 'result.json')
  assert result['experiment'] == 'speed:debug'
  assert result.keys() == {
    'experiment',
    'config',
    'seed',
    'seconds',
    'versions',
    'git_hash',
    'metrics',
  }
  assert result['metrics'].keys() == {'elman'}
  assert read_json(workdir, 'config.json').items() <= result.items()
  return text


JAX_LABELS = {'ours', 'plain lax.scan', 'flax.linen.RNN'}


def without_torch(folder):
  """Returns the environment of a run that finds no PyTorch: no change where none is installed, since a process with
  other imports takes long to start."""
  if importlib.util.find_spec('torch') is None:
    return {}
  (folder / 'hidden').mkdir()
  (folder / 'hidden' / 'torch.py').write_text(
    "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
  )
  return {'PYTHONPATH': os.pathsep.join([str(folder / 'hidden'), str(ROOT)])}


def measure(workdir, *flags, **env):
  """Runs `speed:debug` with two programs, one size and one of Flax's: each is tested by itself."""
  few = [
    f'--config.measure.{assignment}'
    for assignment in ('parts=forward,step', 'rivals=scan,linen,torch', 'scaling_factors=(1,)')
  ]
  return run('--experiment=speed:debug', f'--workdir={workdir}', *few, *flags, **env)


@pytest.fixture(scope='module')
def measured(make_once):
  """Returns a finished workdir of `speed:debug`, measured without PyTorch; not to be changed."""

  def fill(folder):
    out, err = measure(folder, **without_torch(folder))
    (folder / 'stdout').write_text(out)
    assert err == ''

  return make_once('speed', fill)


def test_speed_without_torch(measured):
  text = assert_report(measured, JAX_LABELS)
  assert text.count('PyTorch is not installed: its rows were not run.') == 1
  out = (measured / 'stdout').read_text()
  assert 'elman 1 x 8, batch 4, unroll 4: ours ' in out
  assert f'the report is in {measured}/report' in out


def test_speed_with_torch(tmp_path):
  pytest.importorskip('torch')
  measure(tmp_path)
  text = assert_report(tmp_path, JAX_LABELS | {'PyTorch with oneDNN', 'PyTorch without oneDNN'})
  assert 'is not installed' not in text
  assert 'PyTorch: nn.LSTM' in text
  assert text.count('\n| PyTorch | ') == 3  # translators learn, and one translates
  assert '| remat_every=10 |' in text


STUB = """
from __main__ import Program

def ours(setting, engine=''):
  assert setting.engine == 'newton'
  return {'step': lambda: Program(lambda: None, 1.0)}
"""


def test_parts_rivals_and_engines_are_chosen(main, tmp_path, monkeypatch):
  """Who trains is a stub, who reads a long sequence is real: two of the engines."""
  (tmp_path / 'stub.py').write_text(STUB)
  monkeypatch.setenv('PYTHONPATH', str(tmp_path))
  monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
  monkeypatch.setattr(contenders, '_JAX', 'stub')
  engines = {name: contenders.ENGINES[name] for name in ('plain lax.scan', 'fused')}
  monkeypatch.setattr(contenders, 'ENGINES', engines)
  code, out, _ = main(
    '--experiment=speed:debug',
    f'--workdir={tmp_path}',
    '--config.measure.groups=comparisons, parallel,',
    '--config.measure.parts=step',
    '--config.measure.rivals=scan, cudnn',
    '--config.measure.engine=newton',
  )
  assert code == 0
  measured = read_json(tmp_path / 'report', 'speed.json')
  assert measured.keys() & set(GROUPS) == {'comparisons', 'parallel'}
  (comparison,), (parallel,) = measured['comparisons'], measured['parallel']
  assert comparison['setting']['engine'] == 'newton'
  assert {label: list(values['parts']) for label, values in comparison['contenders'].items()} == {
    'ours': ['step'],
    'plain lax.scan': ['step'],
  }
  assert list(parallel['engines']) == list(engines)
  for values in parallel['engines'].values():
    assert values['parts'].keys() == {'forward', 'gradient'}
    assert values['difference'] < 1e-5
  text = (tmp_path / 'report' / 'speed.md').read_text('utf-8')
  assert 'Ours runs with the engine newton.' in text
  assert '| gru 1 x 4, batch 2, unroll 16: fused | ' in text
  assert 'were left out' not in text
  assert 'gru 1 x 4, batch 2, unroll 16: plain lax.scan ' in out


def test_a_finished_study_prints_its_result_again(measured, main):
  before = files_of(measured)
  for flags in ([], ['--experiment=speed:debug'], ['--config.measure.shapes=((8, 1, 4, 4),)']):
    code, out, err = main(f'--workdir={measured}', *flags)
    assert (code, err) == (0, '')
    assert 'elman: plain lax.scan ' in out
    assert f'\nall of it is in {measured}/result.json' in out
  code, _, err = main(f'--workdir={measured}', '--config.measure.cells=gru')
  assert code == 1
  assert "another measure.cells ('elman' in the workdir, now 'gru'); use a new workdir" in err
  assert files_of(measured) == before


@pytest.mark.parametrize('flags', ['--mode=evaluate', '--num_devices=2', '--mode=sample'])
def test_what_needs_a_model_is_refused(measured, main, flags):
  before = files_of(measured)
  code, out, err = main(f'--workdir={measured}', flags)
  assert (code, out, err.count('\n')) == (2, '', 1)
  assert err.startswith('error: ')
  assert 'trains n' in err or flags == '--mode=sample'
  assert files_of(measured) == before


@pytest.mark.parametrize(
  'assignment',
  [
    'groups=memory,x',
    'groups=,',
    'cells=lstm,gur',
    'cells=',
    'parts=',
    'parts=forward',
    'parts=step,backward',
    'rivals=linen,flax',
    'rivals=ours',
    'engine=fsued',
    'engine=',
    'parallel=()',
    'parallel=((1,2),)',
    'shapes=()',
    'shapes=(1,2,3,4)',
    'shapes=((1,2,3),)',
    'shapes=((1,2,3,0),)',
    'gpu_shapes=((1,2,3,1.5),)',
    'gpu_shapes=((1,2,3),)',
    'rounds=0',
    'calls=-1',
    'seconds=0',
    'seconds=nan',
    'seconds=inf',
    'scaling_base=(1,2)',
    'scaling_factors=()',
    'scaling_factors=(0,)',
    'sampling=(8,)',
    'sample_length=0',
    'translation=(8,1)',
    'translation=(8,1,0)',
  ],
)
def test_measures_out_of_range(main, tmp_path, assignment):
  code, _, err = main(
    '--experiment=speed:debug', f'--workdir={tmp_path / "run"}', f'--config.measure.{assignment}'
  )
  assert (code, err.count('\n')) == (1, 1)
  assert err.startswith(f'error: measure.{assignment.split("=")[0]} is ')
  assert not list(tmp_path.iterdir())


def children(process):
  with open(f'/proc/{process.pid}/task/{process.pid}/children') as f:
    return [int(pid) for pid in f.read().split()]


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_an_interrupt_ends_every_worker(tmp_path):
  # Ignored in a background job, and so in children.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  process = start('--experiment=speed:debug', f'--workdir={tmp_path}')
  signal.signal(signal.SIGINT, before)
  deadline = time.monotonic() + 120
  while len(found := children(process)) < 2 and time.monotonic() < deadline:
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=120)
  assert len(found) > 1
  assert (process.returncode, err) == (130, 'interrupted\n')
  # They end when they notice, and are gone when the system has collected them.
  deadline = time.monotonic() + 30
  while any(os.path.exists(f'/proc/{pid}') for pid in found) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert not any(os.path.exists(f'/proc/{pid}') for pid in found)
  assert not (tmp_path / 'result.json').exists()


def test_a_config_says_whether_anything_is_trained():
  values = experiments.get_config('speed:debug')
  assert 'train' not in values
  assert isinstance(experiments.build('speed:debug', values), Study)
