"""Measuring: the protocol of workers, the arithmetic of the tables, and the whole of it through `launch.py`."""

import contextlib
import math
import os
import signal
import sys
import time

import jax
import numpy as np
import optax
import pytest
from launching import files_of, read_json, run, start

import experiments
from rnn_research.analysis import plots
from rnn_research.benchmark import contenders, figures, jax_contenders, suite, tables, workers
from rnn_research.benchmark.contenders import Contender, Setting
from rnn_research.benchmark.pipeline import batches

SETTING = Setting('lstm', 4, 2, 2, 3)
STUB = '''
import os, signal, sys
from rnn_research.benchmark.serve import Program
print('noise')  # must not come between the answers
calls = []

def counts(setting):
  def part(name, compile_seconds=None):
    return lambda: Program(lambda: calls.append(name), compile_seconds)
  return {'a': part('a', 1.5), 'b': part('b'), 'length': lambda: Program(lambda: sys.exit(len(calls)))}

def dies(setting):
  os.kill(os.getpid(), signal.SIGKILL)

def exits(setting):
  print('no more of this', file=sys.stderr)
  os._exit(7)

def raises(setting):
  raise ValueError('first line\\nsecond line')

def about():
  import jax
  return {'backends': len(jax._src.xla_bridge._backends), 'cache': os.environ['JAX_ENABLE_COMPILATION_CACHE']}
'''


@pytest.fixture
def stub(tmp_path, monkeypatch):
  """Returns `(function) -> Contender` of a module that needs no library."""
  (tmp_path / 'stub.py').write_text(STUB)
  monkeypatch.setenv('PYTHONPATH', str(tmp_path))
  return lambda function: Contender('stub', function)


def test_a_worker_calls_what_it_is_asked_to(stub):
  with workers.started({'x': stub('counts')}) as crew:
    built = workers.ask(crew['x'], {'build': SETTING, 'parts': ['a', 'b']})
    assert built.keys() == {'seconds', 'memory', 'compile_seconds'}
    assert built['compile_seconds'] == 1.5
    assert built['memory'] >= 0
    times = workers.ask(crew['x'], {'calls': {'b': 3, 'a': 2}, 'discard': 4})
    assert {part: len(seconds) for part, seconds in times.items()} == {'b': 3, 'a': 2}
    with pytest.raises(workers.WorkerError, match=f'exit status {2 * 2 + 4 + 3 + 2}'):
      workers.ask(crew['x'], {'build': SETTING, 'parts': ['length']})
  assert crew['x'].process.returncode is not None


def test_a_worker_has_its_environment_before_jax_starts(stub):
  with workers.started({'x': stub('about')}) as crew:
    assert workers.ask(crew['x'], {'ask': []}) == {'backends': 0, 'cache': 'false'}


def test_what_fails_is_said_in_one_line_and_the_others_go_on(stub):
  rivals = {name: stub(name) for name in ('dies', 'exits', 'raises', 'counts', 'gone')}
  rivals['missing'] = Contender('no_such_library', 'x')
  results = suite.compare(rivals, SETTING, dict.fromkeys(rivals, ('a', 'b')), suite.Effort(2, 3, 1.0))
  assert {name: result['failed'] for name, result in results.items() if 'failed' in result} == {
      'dies': 'killed by SIGKILL, probably for want of memory',
      'exits': 'exit status 7: no more of this',
      'raises': 'ValueError: first line',
      'gone': "AttributeError: module 'stub' has no attribute 'gone'",
      'missing': "ModuleNotFoundError: No module named 'no_such_library'"}
  assert {part: len(seconds) for part, seconds in results['counts']['times'].items()} == {'a': 6, 'b': 6}


def test_workers_end_with_whatever_ends_the_parent(stub):
  with contextlib.suppress(KeyboardInterrupt), workers.started({'x': stub('counts'), 'y': stub('counts')}) as crew:
    raise KeyboardInterrupt
  assert [worker.process.returncode for worker in crew.values()] == [-signal.SIGKILL] * 2


def test_one_works_at_a_time_and_long_calls_are_fewer(monkeypatch):
  asked = []

  def ask(worker, request):
    asked.append((worker, request.get('calls')))
    return {'seconds': {'a': 0.3}, 'compile_seconds': None, 'memory': 0} if 'build' in request else {'a': [1.0]}

  monkeypatch.setattr(workers, 'started', lambda rivals: contextlib.nullcontext({name: name for name in rivals}))
  monkeypatch.setattr(workers, 'ask', ask)
  suite.compare({'x': None, 'y': None}, SETTING, {'x': ['a'], 'y': ['a']}, suite.Effort(2, 4, 1.0))
  assert asked == [('x', None), ('y', None)] + 2 * [('x', {'a': 3}), ('y', {'a': 3})]


def times(**parts):
  return {'times': {part: np.array(values) / 1e3 for part, values in parts.items()}, 'compile_seconds': None,
          'memory': 2**20}


RESULTS = {
    'ours': times(forward=[1, 2, 3], step=[9, 10, 11, 10]),
    'plain lax.scan': times(forward=[4, 5, 3], step=[20, 20, 20, 40]),
    'PyTorch with oneDNN': times(forward=[1], step=[30]),
    'PyTorch without oneDNN': times(forward=[9], step=[5]),
    'flax.nnx.RNN': {'failed': 'a | b'},
}
AGAINST = dict.fromkeys(RESULTS, 'ours')


def test_the_arithmetic_of_a_comparison():
  summaries = tables.summary(RESULTS, AGAINST, 500)
  assert summaries['ours']['parts']['forward'] == {'median': 0.002, 'lower': 0.0015, 'upper': 0.0025, 'calls': 3}
  assert summaries['ours']['ratios'] == {}
  assert summaries['ours']['symbols_per_second'] == pytest.approx(50_000)
  assert summaries['plain lax.scan']['ratios'] == pytest.approx({'forward': 2.0, 'step': 2.0})
  assert summaries['PyTorch without oneDNN']['ratios'] == pytest.approx({'forward': 4.5, 'step': 0.5})
  assert summaries['flax.nnx.RNN'] == {'failed': 'a | b'}


def test_ratios_without_the_one_to_compare_with():
  summaries = tables.summary(RESULTS | {'ours': {'failed': 'dead'}}, AGAINST, 500)
  assert summaries['plain lax.scan']['ratios'] == {}
  assert tables.geometric_means([tables.shown(summaries)]) == {}


def test_the_quicker_of_two_is_shown():
  rows = tables.shown(tables.summary(RESULTS, AGAINST, 500))
  assert list(rows) == ['ours', 'plain lax.scan', 'PyTorch', 'flax.nnx.RNN']
  assert rows['PyTorch']['which'] == 'PyTorch without oneDNN'
  failed = tables.summary(RESULTS | {'PyTorch without oneDNN': {'failed': 'dead'}}, AGAINST, 500)
  assert tables.shown(failed)['PyTorch']['which'] == 'PyTorch with oneDNN'


def test_geometric_means():
  rows = [{'x': {'ratios': {'step': ratio}}, 'y': {'failed': 'dead'}} for ratio in (0.5, 4.0, 4.0)]
  assert tables.geometric_means(rows) == {'x': {'step': pytest.approx(2.0)}}


def test_a_comparison_as_markdown():
  parts = {part: [1.0] for part in contenders.PARTS}
  table = tables.comparison_table(tables.shown(tables.summary(
      {'ours': times(**parts), 'flax.nnx.RNN': RESULTS['flax.nnx.RNN'],
       'plain lax.scan': times(**parts | {'step': [1.5]})}, AGAINST, 500)))
  assert '| flax.nnx.RNN | failed: a / b |  |' in table
  assert '1.5 (1.5 - 1.5) **1.50**' in table
  assert {line.count('|') for line in table.splitlines()} == {8}


def comparison(cell, **ratios):
  rows = {name: {'ratios': {'step': ratio}} if ratio else {'failed': ''} for name, ratio in ratios.items()}
  return {'setting': SETTING._replace(cell=cell), 'rows': rows}


@pytest.mark.filterwarnings('error')
def test_figures_show_what_there_is(tmp_path):
  plot = figures.ratio_figure([comparison('lstm', a=2.0, b=None), comparison('gru', a=1.0, b=0.5)])
  plots.save(plot, tmp_path / 'ratios.png')
  assert (tmp_path / 'ratios.csv').read_text() == (
      'cell,shape,a,b\nlstm,"2 x 4, 2, 3",2,\ngru,"2 x 4, 2, 3",1,0.5\n')
  plots.save(figures.ratio_figure([comparison('lstm', a=None)]), tmp_path / 'nothing.png')
  point = {'factor': 2, 'size': 8, 'step': {'median': 0.25, 'lower': 0.125, 'upper': 0.5}}
  for points, said in (([point, {'factor': 4, 'size': 16, 'failed': 'x'}], 'hidden_size,8,0.25,0.125,0.5\n'), ([], '')):
    plots.save(figures.scaling_figure({'hidden_size': points}), tmp_path / 'scaling.png')
    assert (tmp_path / 'scaling.csv').read_text() == f'axis,size,median,lower,upper\n{said}'


@pytest.fixture
def one_device(monkeypatch):
  """Lets JAX's contenders run in this process, whose backend has started."""
  monkeypatch.setattr(jax_contenders, '_configure', lambda setting: None)


@pytest.mark.parametrize('cell', contenders.CELLS)
@pytest.mark.parametrize('name', ['ours', 'plain_scan', 'linen', 'nnx', 'ours_bfloat16'])
def test_contenders_of_jax_run_every_part(name, cell, one_device, quick_compilation):
  makers = getattr(jax_contenders, name)(SETTING._replace(cell=cell))
  for part in contenders.PARTS:
    program = makers[part]()
    program.run()
    program.run()
  assert program.compile_seconds > 0


def test_ours_trains(one_device, quick_compilation, monkeypatch):
  """The programs do what they are named after: a state goes on, and only the step changes parameters."""
  seen = []
  carried = jax_contenders._carried

  def spy(advance, state):
    def spied(state):
      state, result = advance(state)
      seen.append((state, result))
      return state, result
    return carried(spied, state)

  monkeypatch.setattr(jax_contenders, '_carried', spy)
  makers = jax_contenders.ours(SETTING)
  step = makers['step']()
  losses = []
  for _ in range(30):
    step.run()
    losses.append(float(seen[-1][1]['loss']))
  assert losses[0] == pytest.approx(math.log(contenders.NUM_SYMBOLS), abs=0.5)
  assert losses[-1] < losses[0] - 0.1
  seen.clear()
  gradient, forward = makers['gradient'](), makers['forward']()
  for run_part in (gradient.run, gradient.run, forward.run):
    run_part()
  (first, ((total, weight, _), (grads,))), (second, _), (_, ((same, _), _)) = seen
  assert float(total / weight) == pytest.approx(losses[0], rel=1e-5)
  assert float(same) == pytest.approx(float(total), rel=1e-5)
  assert float(optax.tree.norm(grads)) > 0
  assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


def test_the_pipeline_draws_batches(monkeypatch):
  program = batches(SETTING)['batches']()
  program.run()


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the limit of memory needs Linux')
def test_rematerialisation_runs_where_all_states_do_not_fit():
  stored, recomputed = suite.long_gradients(80_000).values()
  assert stored['temporary'] > 512 * 2**20 > 2 * recomputed['temporary']
  assert 'Out of memory' in stored['refused']
  assert recomputed['seconds'] > 0.0


@pytest.mark.parametrize('name', ['onednn', 'native'])
def test_contenders_of_torch_run_every_part(name):
  pytest.importorskip('torch')
  from rnn_research.benchmark import torch_contenders
  for cell in contenders.CELLS:
    makers = getattr(torch_contenders, name)(SETTING._replace(cell=cell))
    for part in contenders.PARTS:
      makers[part]().run()


def assert_report(workdir, labels):
  measured = read_json(workdir / 'report', 'speed.json')
  text = (workdir / 'report' / 'speed.md').read_text('utf-8')
  (comparison,) = measured['comparisons']
  assert set(comparison['contenders']) == labels
  for label, values in comparison['contenders'].items():
    assert 'failed' not in values, values
    assert values['parts'].keys() == set(contenders.PARTS)
    assert values['ratios'].keys() == (set() if label == 'ours' else set(contenders.PARTS))
    assert (values['compile_seconds'] is None) == label.startswith('PyTorch')
  assert 'failed' not in text
  assert '--experiment=speed:debug' in text
  assert set(measured['scaling']) == set(suite.AXES)
  assert {path.name for path in (workdir / 'report').iterdir()} == {
      'ratios.csv', 'ratios.png', 'scaling.csv', 'scaling.png', 'speed.json', 'speed.md'}
  result = read_json(workdir, 'result.json')
  assert result['experiment'] == 'speed:debug'
  assert result.keys() == {'experiment', 'config', 'seed', 'seconds', 'versions', 'git_hash', 'metrics'}
  assert result['metrics'].keys() == {'elman'}
  assert read_json(workdir, 'config.json').items() <= result.items()
  return text


JAX_LABELS = {'ours', 'plain lax.scan', 'flax.linen.RNN', 'flax.nnx.RNN'}


def hide_torch(folder):
  """Returns a PYTHONPATH under which there is no PyTorch."""
  (folder / 'hidden').mkdir()
  (folder / 'hidden' / 'torch.py').write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
  return os.pathsep.join([str(folder / 'hidden'), str(jax_contenders.__file__).rsplit('rnn_research', 1)[0]])


@pytest.fixture(scope='module')
def measured(make_once):
  """Returns a finished workdir of `speed:debug`, measured without PyTorch; not to be changed."""
  def fill(folder):
    out, err = run('--experiment=speed:debug', f'--workdir={folder}', PYTHONPATH=hide_torch(folder))
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
  run('--experiment=speed:debug', f'--workdir={tmp_path}', '--config.measure.scaling_factors=(1,)')
  text = assert_report(tmp_path, JAX_LABELS | {'PyTorch with oneDNN', 'PyTorch without oneDNN'})
  assert 'is not installed' not in text
  assert 'PyTorch: nn.LSTM' in text
  assert '| remat_every=10 |' in text


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


@pytest.mark.parametrize('flags', ['--mode=evaluate', '--mode=report', '--num_devices=2', '--mode=sample'])
def test_what_needs_a_model_is_refused(measured, main, flags):
  before = files_of(measured)
  code, out, err = main(f'--workdir={measured}', flags)
  assert (code, out, err.count('\n')) == (2, '', 1)
  assert err.startswith('error: ')
  assert 'trains n' in err or flags == '--mode=sample'
  assert files_of(measured) == before


@pytest.mark.parametrize('assignment', [
    'cells=lstm,gur', 'cells=', 'shapes=()', 'shapes=(1,2,3,4)', 'shapes=((1,2,3),)', 'shapes=((1,2,3,0),)',
    'gpu_shapes=((1,2,3,1.5),)', 'rounds=0', 'calls=-1', 'seconds=0', 'seconds=nan', 'scaling_base=(1,2)',
    'scaling_factors=()', 'scaling_factors=(0,)', 'sampling=(8,)', 'sample_length=0'])
def test_measures_out_of_range(main, tmp_path, assignment):
  code, _, err = main('--experiment=speed:debug', f'--workdir={tmp_path / "run"}', f'--config.measure.{assignment}')
  assert (code, err.count('\n')) == (1, 1)
  assert err.startswith(f'error: measure.{assignment.split("=")[0]} is ')
  assert not list(tmp_path.iterdir())


def children(process):
  with open(f'/proc/{process.pid}/task/{process.pid}/children') as f:
    return [int(pid) for pid in f.read().split()]


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_an_interrupt_ends_every_worker(tmp_path):
  before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job, and so in children
  process = start('--experiment=speed:debug', f'--workdir={tmp_path}')
  signal.signal(signal.SIGINT, before)
  deadline = time.monotonic() + 120
  while len(found := children(process)) < 2 and time.monotonic() < deadline:
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=120)
  assert len(found) > 1
  assert (process.returncode, err) == (130, 'interrupted\n')
  assert not any(os.path.exists(f'/proc/{pid}') for pid in found)
  assert not (tmp_path / 'result.json').exists()


def test_a_config_says_whether_anything_is_trained():
  values = experiments.get_config('speed:debug')
  assert 'train' not in values
  assert experiments.build('speed:debug', values).loss is None
