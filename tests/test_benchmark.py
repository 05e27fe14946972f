"""Measuring: the protocol of workers, the arithmetic of the tables, the figures, and who is measured."""

import contextlib
import importlib.util
import inspect
import math
import signal
import sys

import jax
import numpy as np
import optax
import pytest

from rnn_research.analysis.reports import plots
from rnn_research.benchmark import (
  contenders,
  figures,
  flax_contenders,
  groups,
  jax_contenders,
  loops,
  machine,
  measure,
  report,
  serve,
  tables,
  workers,
  workloads,
)
from rnn_research.benchmark.contenders import Contender, Present, Setting
from rnn_research.benchmark.jax_programs import carried
from rnn_research.benchmark.measure import Effort
from rnn_research.data.streams import text_stream
from rnn_research.errors import InputError
from rnn_research.training.metrics_log import read_log
from rnn_research.training.step import unpack

SETTING = Setting('lstm', 4, 2, 2, 3)
STUB = """
import gc, os, signal, sys, weakref
from __main__ import Program  # without the seconds that the package, and so JAX, takes to import
print('noise')  # must not come between the answers
calls = []

def counts(setting):
  def part(name, compile_seconds=None):
    return lambda: Program(lambda: calls.append(name), compile_seconds)
  return {'a': part('a', 1.5), 'b': part('b'), 'length': lambda: Program(lambda: sys.exit(len(calls))),
          'step': part('step', 1.0), 'forward': part('forward')}

def mortal(setting):
  left = [2 if setting.seed == 1 else 99]  # calls while it builds
  if setting.seed == 2:
    raise ValueError('not this one')
  if setting.seed == 3:
    os.kill(os.getpid(), signal.SIGKILL)
  return {'a': lambda: Program(lambda: left.append(left.pop() - 1) if left[0] else os._exit(9))}

def litters(setting):
  gc.disable()  # no collection but those that somebody asks for
  garbage = lambda: garbage
  alive = weakref.ref(garbage)

  def run():
    calls.append(alive() is not None)
    if len(calls) == 3:
      raise ValueError(str(calls))

  return {'a': lambda: Program(run)}

def hoards(setting):
  return {'a': lambda: Program(lambda: b'x' * (setting.hidden_size << 20))}

def exits(setting):
  print('no more of this', file=sys.stderr)
  os._exit(7)

def raises(setting):
  raise ValueError('first line\\nsecond line')

def about():
  import jax
  return {'backends': len(jax._src.xla_bridge._backends), 'cache': os.environ['JAX_ENABLE_COMPILATION_CACHE']}
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
  """Returns `(function, *parts) -> Contender` of a module that needs no library."""
  (tmp_path / 'stub.py').write_text(STUB)
  monkeypatch.setenv('PYTHONPATH', str(tmp_path))
  return lambda function, *parts: Contender('stub', function, parts=parts)


@pytest.fixture
def hire():
  """Returns what `workers.hiring` yields."""
  with workers.hiring() as hire:
    yield hire


@pytest.fixture
def worker(stub, hire):
  """Returns `(function) -> Worker`."""
  return lambda function: hire({function: stub(function)})[function]


def build(worker, *parts, **changes):
  return workers.ask(worker, 'build', setting=SETTING._replace(**changes), parts=parts)


def test_a_worker_calls_what_it_is_asked_to(stub):
  with workers.hiring() as hire:
    worker = hire({'x': stub('counts')})['x']
    built = build(worker, 'a', 'b')
    assert built.keys() == {'seconds', 'memory', 'compile_seconds', 'difference'}
    assert (built['compile_seconds'], built['difference']) == (1.5, None)
    assert built['memory'] >= 0
    times = workers.ask(worker, 'call', counts={'b': 3, 'a': 2}, discard=4)
    assert {part: len(seconds) for part, seconds in times.items()} == {'b': 3, 'a': 2}
    assert build(worker, 'length') == {'failed': f'exit status {2 * 2 + 4 + 3 + 2}: noise'}
  assert worker.process.returncode is not None


def test_a_worker_has_its_environment_before_jax_starts(worker):
  assert workers.ask(worker('about'), 'ask') == {'backends': 0, 'cache': 'false'}


def test_workers_end_with_whatever_ends_the_parent(stub):
  with contextlib.suppress(KeyboardInterrupt), workers.hiring() as hire:
    crew = hire({'x': stub('counts'), 'y': stub('counts')})
    raise KeyboardInterrupt
  assert [worker.process.returncode for worker in crew.values()] == [-signal.SIGKILL] * 2


def test_memory_is_said_where_it_is_that_of_the_setting(worker):
  hoards = worker('hoards')
  sizes = [build(hoards, 'a', hidden_size=size)['memory'] for size in (64, 32, 128)]
  assert 60 << 20 < sizes[0] < 90 << 20
  assert sizes[1] is None
  assert sizes[2] > 120 << 20


def test_garbage_of_building_is_not_collected_in_a_timed_call(worker):
  litters = worker('litters')
  build(litters, 'a')
  answer = workers.ask(litters, 'call', counts={'a': 1}, discard=0)
  assert 'True, True, False' in answer['failed']


def test_what_fails_is_said_in_one_line_and_the_others_go_on(stub):
  """Workers serve again, the dead are replaced, and one that could not import is not started again."""
  rivals = {name: stub(name, 'a', 'b') for name in ('exits', 'raises', 'counts', 'gone')}
  rivals |= {
    'mortal': stub('mortal', 'a'),
    'missing': Contender('no_such_library', 'x', parts=('a',)),
  }
  found, pids = [], []
  with workers.hiring() as hire:
    for seed in (0, 1, 2, 3, 0):
      setting = SETTING._replace(seed=seed)
      found.append(measure.compare(hire(rivals), rivals, setting, Effort(2, 3, 1.0)))
      crew = hire(rivals)
      pids.append({name: worker.process.pid for name, worker in crew.items()})
  for results in found:
    parts = {part: times['calls'] for part, times in results['counts']['parts'].items()}
    assert parts == {'a': 6, 'b': 6}
    assert {name: results[name]['failed'] for name in ('exits', 'raises', 'gone', 'missing')} == {
      'exits': 'exit status 7: no more of this',
      'raises': 'ValueError: first line',
      'gone': "AttributeError: module 'stub' has no attribute 'gone'",
      'missing': "ModuleNotFoundError: No module named 'no_such_library'",
    }
  assert [results['mortal'].get('failed') for results in found] == [
    None,
    'exit status 9: noise',
    'ValueError: not this one',
    'killed by SIGKILL, probably for want of memory',
    None,
  ]
  started = {
    name: len({of[name] for of in pids}) for name in ('counts', 'mortal', 'missing', 'gone')
  }
  assert started == {'counts': 1, 'mortal': 4, 'missing': 1, 'gone': 1}
  assert all(worker.process.returncode is not None for worker in crew.values())


def test_both_life_cycles_give_the_same_rows(stub, monkeypatch):
  def rivals(setting):
    functions = {'ours': 'counts', 'flax.linen.RNN': 'raises', 'jax.experimental.rnn': 'counts'}
    return {
      name: stub(function, 'step', 'forward')
      for name, function in functions.items()
      if setting.cell == 'lstm' or name != 'jax.experimental.rnn'
    }

  crews, hiring = [], workers.hiring
  monkeypatch.setattr(workers, 'hiring', lambda: crews.append(hiring()) or crews[-1])
  settings = [SETTING._replace(cell=cell) for cell in ('lstm', 'gru')]
  for accelerator in (False, True):
    crews.clear()
    rows = groups.comparisons(settings, rivals, Effort(2, 3, 1.0, accelerator))
    assert len(crews) == (1 if accelerator else 2)
    assert [
      {
        label: values.get('failed')
        or {part: times['calls'] for part, times in values['parts'].items()}
        for label, values in row['contenders'].items()
      }
      for row in rows
    ] == [
      {
        'ours': {'step': 6, 'forward': 6},
        'flax.linen.RNN': 'ValueError: first line',
        'jax.experimental.rnn': {'step': 6, 'forward': 6},
      },
      {'ours': {'step': 6, 'forward': 6}, 'flax.linen.RNN': 'ValueError: first line'},
    ]
    ours = rows[0]['contenders']['ours']
    rate = SETTING.batch_size * SETTING.unroll_length / ours['parts']['step']['median']
    assert ours['symbols_per_second'] == pytest.approx(rate)


@pytest.mark.parametrize('accelerator', [False, True])
def test_the_cost_of_each_size(stub, monkeypatch, accelerator):
  monkeypatch.setattr(contenders, 'STEP', {'ours': stub('counts', 'step')})
  found = groups.scaling(SETTING, (1, 3), Effort(2, 2, 1.0, accelerator))
  assert {
    axis: [(point['factor'], point['size'], point['step']['calls']) for point in points]
    for axis, points in found.items()
  } == {
    'hidden_size': [(1, 4, 4), (3, 12, 4)],
    'num_layers': [(1, 2, 4), (3, 6, 4)],
    'batch_size': [(1, 2, 4), (3, 6, 4)],
    'unroll_length': [(1, 3, 4), (3, 9, 4)],
  }
  monkeypatch.setattr(contenders, 'STEP', {'ours': stub('raises', 'step')})
  found = groups.scaling(SETTING, (1,), Effort(2, 2, 1.0, accelerator))
  assert [point['failed'] for (point,) in found.values()] == ['ValueError: first line'] * 4


def test_each_program_of_a_sampler_has_a_row(stub):
  rivals = {'ours': stub('counts', 'a'), 'PyTorch': stub('counts', 'b', 'step')}
  found = groups.sampling(SETTING, rivals, Effort(5, 4, 1.0))
  assert {label: times['calls'] for label, times in found.items()} == {
    'ours: a': 3,
    'PyTorch: b': 3,
    'PyTorch: step': 3,
  }
  found = groups.sampling(SETTING, {'PyTorch': stub('raises', 'b', 'step')}, Effort(1, 1, 1.0))
  assert [*found.items()] == [
    (f'PyTorch: {part}', {'failed': 'ValueError: first line'}) for part in ('b', 'step')
  ]


@pytest.mark.parametrize(
  'accelerator, building',
  [
    (False, ['build x', 'answer x', 'build y', 'answer y']),
    (True, ['build x', 'build y', 'answer x', 'answer y']),
  ],
)
def test_one_works_at_a_time_and_long_calls_are_fewer(monkeypatch, accelerator, building):
  said, asked = [], {}

  def send(worker, action, **arguments):
    asked[worker] = action
    calls = lambda: f'{worker} calls a {arguments["counts"]["a"]} times'
    said.append(f'build {worker}' if action == 'build' else calls())

  def receive(worker):
    said.append(f'answer {worker}')
    built = {'seconds': {'a': 0.3}, 'compile_seconds': None, 'memory': 0, 'difference': None}
    return built if asked[worker] == 'build' else {'a': [1.0]}

  monkeypatch.setattr(workers, 'send', send)
  monkeypatch.setattr(workers, 'receive', receive)
  rivals = {name: Contender('', '', parts=('a',)) for name in ('x', 'y')}
  crew = {name: name for name in rivals}
  measure.compare(crew, rivals, SETTING, Effort(2, 4, 1.0, accelerator))
  assert said == building + 2 * ['x calls a 3 times', 'answer x', 'y calls a 3 times', 'answer y']


def test_who_is_compared():
  assert list(contenders.ENGINES) == ['plain lax.scan', 'fused', 'newton', 'shooting']
  gpu, cpu = Present(True, torch=True, bfloat16=True), Present(False, torch=True, bfloat16=False)
  on_gpu = {cell: contenders.comparison(cell, gpu) for cell in ('lstm', 'gru')}
  assert on_gpu['lstm'].keys() - on_gpu['gru'].keys() == {'jax.experimental.rnn'}
  assert {rival.name for rival in on_gpu['lstm'].values()} == {'', *contenders.RIVALS}
  labels = lambda *arguments, names: list(contenders.comparison(*arguments, names=names))
  wanted = ['bfloat16', 'linen', 'cudnn']
  reduced = ['ours, bfloat16', 'PyTorch, bfloat16']
  assert labels('gru', gpu, names=wanted) == ['ours', 'flax.linen.RNN', *reduced]
  both = ['PyTorch with oneDNN', 'PyTorch without oneDNN']
  assert labels('gru', cpu, names=['torch', 'bfloat16']) == ['ours', *both]
  half_cpu = cpu._replace(torch=False, bfloat16=True)
  half = contenders.comparison('gru', cpu._replace(bfloat16=True), names=['bfloat16'])
  assert list(half) == ['ours', *reduced]
  assert half['PyTorch, bfloat16'].options['device'] == 'cpu'
  assert labels('mgu', cpu, names=contenders.RIVALS) == ['ours', 'plain lax.scan']
  without = cpu._replace(torch=False)
  assert labels('gru', without, names=['torch', 'scan']) == ['ours', 'plain lax.scan']
  assert list(contenders.sampling(gpu)) == ['ours', 'ours, bfloat16', 'PyTorch']
  assert list(contenders.sampling(cpu)) == ['ours', 'PyTorch']
  assert [list(who) for who in contenders.translation(without).values()] == [['ours']] * 2
  assert [list(who) for who in contenders.translation(half_cpu).values()] == [
    ['ours'],
    ['ours', 'ours, bfloat16'],
  ]


def test_every_contender_exists_and_has_its_options():
  on_cpu, on_gpu = (Present(gpu, torch=True, bfloat16=True) for gpu in (False, True))
  tables = [
    *(
      who(present)
      for who in (contenders.sampling, contenders.machines)
      for present in (on_cpu, on_gpu)
    ),
    *(contenders.comparison('lstm', present) for present in (on_cpu, on_gpu)),
    *(
      part
      for who in (contenders.translation, contenders.captioning)
      for present in (on_cpu, on_gpu)
      for part in who(present).values()
    ),
    *(
      contenders.STEP,
      contenders.LAUNCH,
      contenders.ENGINES,
      contenders.PIPELINE,
      contenders.LIBRARIES,
    ),
    contenders.long_gradients(100),
  ]
  for one in (one for table in tables for one in table.values()):
    if 'torch_' not in one.module or importlib.util.find_spec('torch'):
      function = getattr(importlib.import_module(one.module), one.function)
      setting = [SETTING] if one.parts else []  # what has no parts is asked without a setting
      inspect.signature(function).bind(*setting, **one.options)


def times(**parts):
  return {
    'times': {part: [value / 1e3 for value in values] for part, values in parts.items()},
    'compile_seconds': None,
    'memory': 2**20,
    'difference': None,
  }


RESULTS = {
  'ours': times(forward=[1, 2, 3], step=[9, 10, 11, 10]),
  'plain lax.scan': times(forward=[4, 5, 3], step=[20, 20, 20, 40]),
  'PyTorch with oneDNN': times(forward=[1], step=[30]),
  'PyTorch without oneDNN': times(forward=[9], step=[5]),
  'flax.nnx.RNN': {'failed': 'a | b'},
}
RIVALS = {label: Contender('', '') for label in RESULTS}


def summary(**changes):
  """Returns what is known of `RESULTS`, with other results in the place of some."""
  results = RESULTS | changes
  found = measure.summary({label: one for label, one in results.items() if one}, RIVALS)
  return {
    label: values | ({} if 'failed' in values else {'symbols_per_second': 50_000})
    for label, values in found.items()
  }


def test_the_arithmetic_of_a_comparison():
  summaries = summary()
  assert summaries['ours']['parts']['forward'] == {
    'median': 0.002,
    'lower': 0.0015,
    'upper': 0.0025,
    'calls': 3,
  }
  assert summaries['ours']['ratios'] == {}
  assert summaries['plain lax.scan']['ratios'] == pytest.approx({'forward': 2.0, 'step': 2.0})
  assert summaries['PyTorch without oneDNN']['ratios'] == pytest.approx(
    {'forward': 4.5, 'step': 0.5}
  )
  assert summaries['flax.nnx.RNN'] == {'failed': 'a | b'}


def in_cell(rows, cell='lstm'):
  return {'setting': SETTING._replace(cell=cell), 'rows': rows}


def test_ratios_without_the_one_to_compare_with():
  summaries = summary(ours={'failed': 'dead'})
  assert summaries['plain lax.scan']['ratios'] == {}
  assert report.geometric_means([in_cell(report.shown(summaries))]) == {'lstm': {}}


def test_the_quicker_of_two_is_shown():
  rows = report.shown(summary())
  assert list(rows) == ['ours', 'plain lax.scan', 'PyTorch', 'flax.nnx.RNN']
  assert rows['PyTorch']['which'] == 'PyTorch without oneDNN'
  failed = summary(**{'PyTorch without oneDNN': {'failed': 'dead'}})
  assert report.shown(failed)['PyTorch']['which'] == 'PyTorch with oneDNN'


def test_geometric_means():
  rows = [{'x': {'ratios': {'step': ratio}}, 'y': {'failed': 'dead'}} for ratio in (0.5, 4.0, 4.0)]
  means = report.geometric_means([*map(in_cell, rows), in_cell(rows[0], 'gru')])
  assert means == {'lstm': {'x': {'step': pytest.approx(2.0)}}, 'gru': {'x': {'step': 0.5}}}


def test_a_comparison_as_markdown():
  rows = report.shown(summary())
  table = tables.comparison_table(rows)
  assert '| flax.nnx.RNN | failed: a / b |  |' in table
  assert '20 (20 - 25) **2.00**' in table
  assert '| PyTorch without oneDNN | ' in table
  assert {line.count('|') for line in table.splitlines()} == {7}


def test_tables_have_the_parts_that_were_measured():
  alone = {'ours': times(step=[1.0]), 'plain lax.scan': times(step=[2.0])}
  rows = report.shown(summary(**dict.fromkeys(RESULTS) | alone))
  assert tables.comparison_table(rows).splitlines()[0].count('ms') == 1
  means = tables.means_table(report.geometric_means([in_cell(rows)]))
  assert means.splitlines()[0::2] == [
    '| cell | against | training step |',
    '| lstm | plain lax.scan | 2.00 |',
  ]


def test_engines_are_compared_with_the_plain_scan(monkeypatch):
  results = {
    'plain lax.scan': {**times(forward=[6.0], gradient=[8.0]), 'difference': 0.0},
    'newton': {**times(forward=[2.0], gradient=[16.0]), 'difference': 3e-7},
    'shooting': {'failed': 'a | b'},
  }

  def engines(results):
    found = measure.summary(results, contenders.ENGINES)
    monkeypatch.setattr(groups, 'measure', lambda settings, *others: {SETTING: found})
    ((row,)) = groups.parallel([SETTING], Effort(1, 1, 1.0))
    assert row['setting'] == SETTING._asdict()
    return row

  row = engines(results)
  assert row['engines']['plain lax.scan']['ratios'] == {}
  assert row['engines']['newton']['ratios'] == pytest.approx({'forward': 3.0, 'gradient': 0.5})
  assert row['engines']['shooting'] == {'failed': 'a | b'}
  rows = tables.engines_table([row]).splitlines()
  assert {row.count('|') for row in rows} == {5}
  assert rows[3] == f'| {SETTING}: newton | 2 (2 - 2) **3.00** | 16 (16 - 16) **0.50** | 3.0e-07 |'
  assert rows[4] == f'| {SETTING}: shooting | failed: a / b |  |  |'
  alone = engines(results | {'plain lax.scan': {'failed': 'dead'}})
  assert alone['engines']['newton']['ratios'] == {}


def test_rates_are_compared_with_ours():
  quick, slow = measure.quartiles([0.5]), measure.quartiles([1.0])
  measured = {'ours': quick, 'PyTorch: a': slow, 'PyTorch: b': {'failed': 'dead'}}
  rows = tables.rates_table(measured, 10, 'characters').splitlines()[2:]
  assert rows == [
    '| ours | 500 (500 - 500) | 20 |  |',
    '| PyTorch: a | 1000 (1000 - 1000) | 10 | 2.00 |',
    '| PyTorch: b | failed: dead |  |  |',
  ]
  rows = tables.rates_table(measured | {'ours': {'failed': 'x'}}, 10, 'characters').splitlines()
  assert rows[3] == '| PyTorch: a | 1000 (1000 - 1000) | 10 |  |'


def test_caches_of_a_core_are_told(tmp_path):
  rows = ('1 Data 48K 0', '1 Instruction 32K 0', '2 Unified 1024K 0-1', '3 Unified 32M 0-3,8-11')
  for number, row in enumerate(rows):
    (tmp_path / f'index{number}').mkdir()
    for name, value in zip(('level', 'type', 'size', 'shared_cpu_list'), row.split(), strict=True):
      (tmp_path / f'index{number}' / name).write_text(f'{value}\n')
  assert machine._caches(tmp_path) == ['L1d 48K', 'L2 1024K shared by 2', 'L3 32M shared by 8']
  assert machine._caches(tmp_path / 'none') == []


def test_the_report_says_how_a_gpu_was_used(tmp_path):
  measured = {
    'comparisons': [{'setting': SETTING._asdict(), 'contenders': summary()}],
    'notes': [],
    'command': ['x'],
    'measure': {'rounds': 1, 'calls': 1, 'engine': 'newton'},
    'machine': {
      'platform': 'gpu',
      'device': 'D',
      'git_hash': None,
      'processor': 'P',
      'cores': 1,
      'memory_gib': 1,
      'caches': ['L1d 48K', 'L2 1024K'],
      'instructions': ['avx2'],
      'system': 'S',
    },
  }
  report.write_report(measured, tmp_path)
  text = (tmp_path / 'speed.md').read_text()
  assert 'P, 1 cores (L1d 48K, L2 1024K; avx2), 1 GiB, D; S; ' in text
  assert 'after all have built' in text
  assert 'side by side' in text
  assert 'with the engine newton' in text
  measured['machine']['platform'], measured['measure']['engine'] = 'cpu', 'auto'
  report.write_report(measured, tmp_path)
  text = (tmp_path / 'speed.md').read_text()
  assert not any(
    said in text for said in ('after all have built', 'side by side', 'with the engine')
  )


def comparison(cell, **ratios):
  rows = {
    name: {'ratios': {'step': ratio}} if ratio else {'failed': ''} for name, ratio in ratios.items()
  }
  return in_cell(rows, cell)


@pytest.mark.filterwarnings('error')
def test_figures_show_what_there_is(tmp_path):
  plot = figures.ratio_figure([comparison('lstm', a=2.0, b=None), comparison('gru', a=1.0, b=0.5)])
  plots.save(plot, tmp_path / 'ratios.png')
  assert (tmp_path / 'ratios.csv').read_text() == (
    'cell,shape,a,b\nlstm,"2 x 4, 2, 3",2,\ngru,"2 x 4, 2, 3",1,0.5\n'
  )
  plots.save(figures.ratio_figure([comparison('lstm', a=None)]), tmp_path / 'nothing.png')
  point = {'factor': 2, 'size': 8, 'step': {'median': 0.25, 'lower': 0.125, 'upper': 0.5}}
  for points, said in (
    ([point, {'factor': 4, 'size': 16, 'failed': 'x'}], 'hidden_size,8,0.25,0.125,0.5\n'),
    ([], ''),
  ):
    plots.save(figures.scaling_figure({'hidden_size': points}), tmp_path / 'scaling.png')
    assert (tmp_path / 'scaling.csv').read_text() == f'axis,size,median,lower,upper\n{said}'


@pytest.fixture
def one_device(monkeypatch):
  """Lets JAX's contenders run in this process, whose backend has started."""
  monkeypatch.setattr(jax_contenders, 'configure', lambda setting: None)


@pytest.fixture
def results(monkeypatch):
  """Returns a list of what every call of a program of JAX gave: (state, result)."""
  seen = []

  def spy(setting, advance, state, seconds=None):
    def spied(state):
      seen.append(advance(state))
      return seen[-1]

    return carried(setting, spied, state, seconds)

  for module in (jax_contenders, flax_contenders):
    monkeypatch.setattr(module, 'carried', spy)
  return seen


def loss_of(module, part, result):
  """Returns the loss in nats per symbol that a program of JAX gave."""
  if module is flax_contenders:
    return float(result[0] if part == 'gradient' else result)
  return float(unpack(result)['loss'] if part == 'step' else result[0][0] / result[0][1])


def assert_trains(losses, tolerance, least):
  """Asserts that a forward pass, a gradient and 30 steps begin with one loss, and only steps lower it, by so much."""
  forward, gradient, first, *_, last = losses
  assert forward == pytest.approx(math.log(contenders.NUM_SYMBOLS), abs=0.5)
  assert [gradient, first] == pytest.approx([forward] * 2, abs=tolerance)
  assert last < first - least


@pytest.mark.parametrize(
  'module, name, options, cell',
  [
    *((jax_contenders, 'ours', {}, cell) for cell in contenders.CELLS),
    *((flax_contenders, 'linen', {}, cell) for cell in contenders.CELLS),
    *((flax_contenders, 'nnx', {}, cell) for cell in contenders.CELLS),
    (jax_contenders, 'ours', {'engine': 'scan'}, 'gru'),
    (jax_contenders, 'ours', {'dtype': 'bfloat16'}, 'lstm'),
  ],
)
def test_contenders_of_jax_train(module, name, options, cell, one_device, results):
  makers, losses = getattr(module, name)(SETTING._replace(cell=cell), **options), []
  for part in contenders.PARTS:
    results.clear()
    program = makers[part]()
    for _ in range(30 if part == 'step' else 1):
      program.run()
      losses.append(loss_of(module, part, results[-1][1]))
    if part == 'gradient':
      program.run()
      (state, (_, grads)), (later, _) = results
      assert any(np.any(leaf) for leaf in jax.tree.leaves(grads))
      assert any(map(np.any, jax.tree.leaves(jax.tree.map(np.subtract, later, state))))
  assert program.compile_seconds > 0
  assert_trains(losses, 1e-2 if options.get('dtype') else 1e-5, 0.05 if cell == 'elman' else 0.1)


def test_engines_reach_our_cells(one_device):
  with pytest.raises(InputError, match=r"engine is 'cudnn', expected one of .* for gru"):
    jax_contenders.ours(SETTING._replace(cell='gru', engine='cudnn'))
  plain = jax_contenders.ours(SETTING._replace(cell='gru', engine='cudnn'), engine='scan')
  assert plain.keys() == set(contenders.PARTS)


LONG = SETTING._replace(cell='gru', unroll_length=20)


@pytest.fixture(scope='module')
def plain_gradient():
  """Returns the gradient of the long sequence that the plain scan gives."""
  return jax_contenders.long(LONG, 'scan')['gradient']().run()


@pytest.mark.parametrize(
  'engine', [rival.options['engine'] for rival in contenders.ENGINES.values()]
)
def test_engines_for_long_sequences_agree(engine, plain_gradient):
  makers = jax_contenders.long(LONG, engine)
  program = makers['forward']()
  assert program.difference() <= (0.0 if engine == 'scan' else 1e-5)
  assert program.run().shape == (20, SETTING.batch_size, SETTING.hidden_size)
  gradient = plain_gradient if engine == 'scan' else makers['gradient']().run()
  assert float(optax.tree.norm(plain_gradient)) > 1e-3
  for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(plain_gradient), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_loop_and_the_step_alone(monkeypatch, tmp_path, one_device):
  monkeypatch.setattr(loops.tempfile, 'mkdtemp', lambda: str(tmp_path))
  programs = {part: make() for part, make in loops.launched(SETTING).items()}
  assert list(programs) == ['loop', 'step']
  for program in programs.values():
    assert program.times == loops.num_steps(SETTING) == 50
    program.run()
    program.run()
  log = read_log(tmp_path)
  assert [row['step'] for row in log] == [50, 100]
  assert all(row['train/loss'] == pytest.approx(math.log(65), abs=0.2) for row in log)
  assert all(row['units_per_second'] > 0 for row in log)
  assert loops.num_steps(Setting('lstm', 512, 3, 100, 100)) == 5


def test_the_pipeline_draws_batches(monkeypatch):
  drawn = []

  def spy(*args):
    stream = text_stream(*args)
    return stream._replace(iterator=(drawn.append(batch) or batch for batch in stream.iterator))

  monkeypatch.setattr(workloads, 'text_stream', spy)
  workloads.batches(SETTING)['batches']().run()
  assert len(drawn) == contenders.BATCHES_DRAWN
  shape = SETTING.batch_size, SETTING.unroll_length
  for batch in drawn:
    assert batch['inputs'].shape == batch['targets'].shape == shape
    np.testing.assert_array_equal(batch['inputs'][:, 1:], batch['targets'][:, :-1])


def test_our_sampler_writes_to_the_full_length(monkeypatch):
  monkeypatch.setattr(workloads.backend, 'configure', lambda num_devices: None)
  chunks = workloads.sampling(SETTING._replace(batch_size=1))['sampler']().run()
  ids = np.concatenate([np.ravel(chunk) for chunk in chunks])
  assert len(ids) == SETTING.unroll_length
  assert ((ids >= 0) & (ids < contenders.NUM_SYMBOLS)).all()


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the limit of memory needs Linux')
def test_rematerialisation_runs_where_all_states_do_not_fit():
  stored, recomputed = groups.memory(60_000).values()
  assert stored['temporary'] > 512 * 2**20 > 2 * recomputed['temporary']
  assert 'Out of memory' in stored['refused']
  assert recomputed['seconds'] > 0.0


@pytest.mark.parametrize('cell', contenders.CELLS)
def test_contenders_of_torch_train(cell):
  pytest.importorskip('torch')
  from rnn_research.benchmark import torch_contenders

  by_onednn = {}
  for onednn in (True, False):
    losses = []
    makers = torch_contenders.training(SETTING._replace(cell=cell), onednn=onednn)
    for part in contenders.PARTS:
      program = makers[part]()
      losses += [float(program.run()) for _ in range(30 if part == 'step' else 1)]
    assert_trains(losses, 0.2, 0.05)  # each part goes on with the state of the one before
    by_onednn[onednn] = losses
  assert by_onednn[True] == pytest.approx(by_onednn[False], abs=1e-3)


def test_torch_writes_to_the_full_length():
  pytest.importorskip('torch')
  from rnn_research.benchmark import torch_contenders

  makers = torch_contenders.sampling(SETTING, 'cpu')
  assert list(makers) == ['LSTMCell', 'nn.LSTM']
  for make in makers.values():
    ids = make().run().numpy()
    assert ids.shape == (SETTING.unroll_length,)
    assert ((ids >= 0) & (ids < contenders.NUM_SYMBOLS)).all()


def test_an_accelerator_takes_steps_in_a_row(monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  steps = []
  program = carried(
    SETTING._replace(num_layers=2, unroll_length=250), lambda state: (steps.append(state), None), 0
  )
  program.run()
  assert len(steps) == program.times == 4
  assert SETTING._replace(num_layers=1, unroll_length=5).in_a_row() == 10
  assert SETTING._replace(num_layers=4, unroll_length=1024).in_a_row() == 1


def test_seconds_are_those_of_one_step(monkeypatch):
  clock = [0.0]

  def work():
    clock[0] += 2.0

  monkeypatch.setattr(serve.time, 'perf_counter', lambda: clock[0])
  actions = serve._actions(lambda setting: {'a': lambda: serve.Program(work, times=4)})
  assert actions['build'](list(SETTING), ['a'])['seconds'] == {'a': 2.0}
  assert actions['call']({'a': 3}, discard=2) == {'a': [0.5] * 3}
  assert clock[0] == 2.0 * (2 + 2 + 3)  # twice while it builds
