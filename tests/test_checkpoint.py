"""Checkpoints: exact, on other device counts, and after everything that can go wrong with a disk."""

import contextlib
import gc
import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from launching import start

from rnn_research.errors import MisfitError
from rnn_research.training import checkpoint, checkpoint_io, orbax_watch

META = {'vocabulary': ['a', 'é', '\n'], 'config': {'seed': 1}}


class Weights(NamedTuple):
  w: jax.Array
  b: jax.Array


def make_state(seed=0):
  key = jax.random.key(seed)
  weights = Weights(jax.random.normal(key, (8, 3)), jax.random.normal(key, (4,), jnp.bfloat16))
  return {
    'params': (weights, {'d': [jnp.arange(3)]}),
    'step': jnp.int32(7),
    'carry': (),
    'ema': None,
  }


def assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert x.dtype == y.dtype
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def save_steps(workdir, *steps):
  with checkpoint.open_manager(workdir) as manager:
    for step in steps:
      checkpoint.save(manager, step, make_state(step), {'next_index': step}, META)


def restore(workdir, template=None):
  with checkpoint.open_manager(workdir) as manager:
    return checkpoint.restore_latest(manager, make_state() if template is None else template)


def truncate(path):
  """Halves every file of a step that holds array data."""
  for name in path.glob('state/**/d/*'):
    os.truncate(name, name.stat().st_size // 2)


@pytest.fixture(scope='module')
def two_steps(make_once):
  """Returns a workdir with the steps 10 and 20, the second of them the best; not to be changed."""

  def fill(folder):
    save_steps(folder, 10, 20)
    checkpoint.save_best(folder, 20, make_state()['params'], 1.0)

  return make_once('two_steps', fill)


@pytest.fixture
def saved(two_steps, tmp_path):
  """Returns a copy of `two_steps`."""
  return shutil.copytree(two_steps, tmp_path / 'saved')


def run_python(code, *args, **env):
  process = start(*args, code=code, cwd=Path(__file__).parent, **env)
  out, err = process.communicate(timeout=100)
  return subprocess.CompletedProcess(code, process.returncode, out, err)


def test_restores_bit_for_bit(tmp_path):
  save_steps(tmp_path, 1, 2, 3)
  step, state, data_state, meta = restore(tmp_path)
  assert (step, data_state, meta) == (3, {'next_index': 3}, META)
  assert_same(state, make_state(3))
  assert sorted(p.name for p in (tmp_path / 'checkpoints').iterdir()) == ['2', '3']


def test_nothing_to_restore(tmp_path):
  assert restore(tmp_path) is None


def test_template_of_shapes(tmp_path):
  save_steps(tmp_path, 1)
  step, params = checkpoint.restore_params(tmp_path, jax.eval_shape(lambda: make_state()['params']))
  assert step == 1
  assert_same(params, make_state(1)['params'])


def test_grain_iterator_goes_on_where_it_was(tmp_path):
  dataset = grain.MapDataset.source(range(10)).shuffle(seed=1).repeat().batch(4).to_iter_dataset()
  iterator = iter(dataset)
  for _ in range(5):
    next(iterator)
  with checkpoint.open_manager(tmp_path) as manager:
    checkpoint.save(manager, 5, make_state(), iterator.get_state(), META)
  resumed = iter(dataset)
  resumed.set_state(restore(tmp_path).data_state)
  for _ in range(3):
    np.testing.assert_array_equal(next(resumed), next(iterator))


def test_truncated_newest_falls_back(saved, capsys):
  truncate(saved / 'checkpoints' / '20')
  restored = restore(saved)
  assert restored.step == 10
  assert_same(restored.state, make_state(10))
  warning = capsys.readouterr().err
  assert 'checkpoint 20 ' in warning
  assert 'going back to 10' in warning
  assert warning.count('\n') == 1
  save_steps(saved, 20)
  assert_same(restore(saved).state, make_state(20))


@pytest.mark.parametrize(
  'damaged', ['meta/metadata', 'data/metadata', 'state/_METADATA', 'state/manifest.ocdbt']
)
def test_any_damaged_part_falls_back(saved, damaged, capsys):
  file = saved / 'checkpoints' / '20' / damaged
  os.truncate(file, file.stat().st_size // 2)
  assert restore(saved).step == 10
  assert 'going back to 10' in capsys.readouterr().err


@pytest.mark.parametrize('harm', ['halved', 'empty', 'gone', 'other'])
def test_the_reason_is_said(saved, harm, capsys):
  file = saved / 'checkpoints' / '20' / 'meta' / 'metadata'
  {
    'halved': lambda: os.truncate(file, file.stat().st_size // 2),
    'empty': lambda: os.truncate(file, 0),
    'gone': file.unlink,
    'other': lambda: file.write_bytes(b'\x82\x00'),
  }[harm]()
  assert restore(saved).step == 10
  err = capsys.readouterr().err
  assert err.startswith(f'warning: checkpoint 20 in {saved}/checkpoints cannot be read (')
  assert any(name in err for name in ('JSONDecodeError', 'FileNotFoundError', 'UnicodeDecodeError'))


def fails(*args, **kwargs):
  """Fails as orbax does where a thread of its own failed."""
  raise RuntimeError('reading failed') from kwargs['cause']


@pytest.mark.parametrize(
  'cause',
  [
    MemoryError('no room'),
    PermissionError(13, 'no room'),
    ValueError('RESOURCE_EXHAUSTED: no room'),
    jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: no room'),
    TypeError('no room'),
  ],
  ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize('method', ['restore', 'item_metadata'])
def test_what_another_error_keeps_from_being_read_is_left_alone(
  saved, cause, method, monkeypatch, capsys
):
  with monkeypatch.context() as patch:
    patch.setattr(ocp.CheckpointManager, method, lambda *a, **k: fails(cause=cause))
    for read in (restore, lambda d: checkpoint.restore_params(d, make_state()['params'])):
      with pytest.raises(OSError, match=r'20 could not be read .*no room.*; it is left as it is'):
        read(saved)
  assert sorted(p.name for p in (saved / 'checkpoints').iterdir()) == ['10', '20']
  assert capsys.readouterr().err == ''
  assert restore(saved).step == 20


def test_missing_parts_fall_back(saved, capsys):
  shutil.rmtree(saved / 'checkpoints' / '20' / 'state')
  assert restore(saved).step == 10
  assert 'going back to 10' in capsys.readouterr().err


def test_no_readable_checkpoint(saved, capsys):
  for step in (10, 20):
    truncate(saved / 'checkpoints' / str(step))
  with pytest.raises(ValueError, match=r'none of the checkpoints in .* can be read'):
    restore(saved)


@pytest.mark.parametrize(
  ('change', 'text'),
  [
    ({'step': jnp.float32(7)}, r'step is int32\[\] there and float32\[\] here'),
    (
      {'params': (Weights(jnp.zeros((8, 4)), jnp.zeros(4, jnp.bfloat16)), {'d': [jnp.arange(3)]})},
      r'params/0/w is float32\[8, 3\] there and float32\[8, 4\] here',
    ),
    ({'ema': jnp.zeros(2)}, r'ema is absent there and float32\[2\] here'),
    ({'step': None}, r'step is int32\[\] there and absent here'),
  ],
)
def test_another_state_is_refused(tmp_path, change, text):
  save_steps(tmp_path, 10)
  with pytest.raises(ValueError, match=text):
    restore(tmp_path, make_state() | change)
  assert restore(tmp_path).step == 10


EARLIER = (
  '; it may have been trained by an earlier version: train it anew, or use the version that '
)


@pytest.mark.parametrize(
  ('config', 'advice'),
  [
    (None, f'{EARLIER}trained it'),
    ({'git_hash': None}, f'{EARLIER}trained it'),
    ({'git_hash': '12345678' * 5}, f'{EARLIER}trained it (git 1234567)'),
    ({'git_hash': '12345678' * 5 + '-dirty'}, f'{EARLIER}trained it (git 1234567-dirty)'),
    ({'git_hash': 'this version'}, ''),
  ],
)
def test_what_can_be_done_about_an_earlier_version(tmp_path, config, advice, monkeypatch):
  monkeypatch.setattr(checkpoint, 'git_hash', lambda: 'this version')
  save_steps(tmp_path, 10)
  if config is not None:
    (tmp_path / 'config.json').write_text(json.dumps(config), 'utf-8')
  params, here = ({'w': jnp.ones(2)}, {}), 'absent there and float32[2] here'
  with pytest.raises(MisfitError) as resumed:
    restore(tmp_path, make_state() | {'ema': jnp.ones(2)})
  assert str(resumed.value).endswith(
    f'/checkpoints/10 does not fit this run: ema is {here}{advice}'
  )
  for name in ('checkpoints', 'best'):
    with pytest.raises(MisfitError) as opened:
      checkpoint.restore_params(tmp_path, params)
    assert f'{name}/10 does not fit this run: ' in str(opened.value)
    assert str(opened.value).endswith(f' here{advice}')
    checkpoint.save_best(tmp_path, 10, make_state()['params'], 1.0)


def test_best_replaces_the_earlier_best(tmp_path):
  for step in (10, 30, 20, 20):
    checkpoint.save_best(tmp_path, step, make_state(step)['params'], 1.5)
    assert [p.name for p in (tmp_path / 'best').iterdir()] == [str(step)]
  save_steps(tmp_path, 40)
  step, params = checkpoint.restore_params(tmp_path, make_state()['params'])
  assert step == 20
  assert_same(params, make_state(20)['params'])
  assert checkpoint.read_meta(tmp_path) == (40, META)


def test_best_of_a_step_that_is_passed_again(tmp_path):
  for step, state, metric in ((10, 1, 1.5), (10, 2, 1.5), (20, 3, 1.2), (10, 4, 1.4)):
    checkpoint.save_best(tmp_path, step, make_state(state)['params'], metric)
    if metric == 1.5:  # the same figure again: what is there stays
      assert_same(
        checkpoint.restore_params(tmp_path, make_state()['params'])[1], make_state(1)['params']
      )
  step, params = checkpoint.restore_params(tmp_path, make_state()['params'])
  assert step == 10
  assert_same(params, make_state(4)['params'])


def test_unreadable_best_gives_the_latest(tmp_path, capsys):
  checkpoint.save_best(tmp_path, 10, make_state(10)['params'], 1.5)
  save_steps(tmp_path, 20)
  shutil.rmtree(tmp_path / 'best' / '10' / 'params')
  assert checkpoint.restore_params(tmp_path, make_state()['params'])[0] == 20
  assert 'cannot be read' in capsys.readouterr().err


@pytest.mark.parametrize(
  'read', [lambda d: checkpoint.restore_params(d, {'w': jnp.ones(2)}), checkpoint.read_meta]
)
def test_empty_workdir(tmp_path, read):
  with pytest.raises(ValueError, match='holds no readable checkpoint'):
    read(tmp_path)
  assert not list(tmp_path.iterdir())


def test_saving_is_quiet(tmp_path, capfd):
  save_steps(tmp_path, 1, 2, 3)
  restore(tmp_path)
  checkpoint.restore_params(tmp_path, make_state()['params'])
  assert capfd.readouterr() == ('', '')


SPELLINGS = [
  'lr=[0.01]',
  '[!x]',
  'a\\b',
  '\\',
  'st*r',
  'what?',
  '{a,b}',
  'sp ace',
  'ñü漢字',
  '%41#b',
  '~',
  'new\nline',
  '\'"`$x',
  '-x',
]


@pytest.mark.parametrize('name', SPELLINGS)
def test_any_name_of_a_folder(tmp_path, name, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  workdir = os.path.join(name, 'run')
  save_steps(workdir, 1, 2, 3)
  checkpoint.save_best(workdir, 2, make_state(2)['params'], 1.0)
  assert_same(restore(workdir).state, make_state(3))
  assert checkpoint.restore_params(workdir, make_state()['params'])[0] == 2
  truncate(tmp_path / name / 'run' / 'checkpoints' / '3')
  assert capsys.readouterr() == ('', '')
  assert_same(restore(workdir).state, make_state(2))
  assert f'{workdir}/checkpoints' in capsys.readouterr().err
  assert sorted(p.name for p in (tmp_path / name / 'run' / 'checkpoints').iterdir()) == [
    '2',
    'unreadable-3',
  ]
  assert [p.name for p in tmp_path.iterdir()] == [name], 'something was written elsewhere'


def test_a_way_through_a_link(tmp_path):
  (tmp_path / 'far' / 'inner').mkdir(parents=True)
  (tmp_path / 'link').symlink_to(tmp_path / 'far' / 'inner')
  save_steps(tmp_path / 'link' / '..' / 'run', 1)
  assert restore(tmp_path / 'far' / 'run').step == 1


def test_a_save_that_cannot_be_read_back_removes_nothing(tmp_path, monkeypatch):
  workdir = tmp_path / '[0.01]'
  save_steps(workdir, 1, 2)
  checkpoint.save_best(workdir, 2, make_state()['params'], 1.0)
  # Left to itself, orbax writes nothing that can be read under such a name.
  monkeypatch.setattr(checkpoint_io, '_plain_name', contextlib.nullcontext)
  said = r'step 3 was saved in .*, but cannot be read back \(.*NOT_FOUND.*earlier checkpoints are'
  with pytest.raises(OSError, match=said):
    save_steps(workdir, 3)
  with pytest.raises(OSError, match=said):
    checkpoint.save_best(workdir, 3, make_state()['params'], 0.5)
  monkeypatch.undo()
  assert [p.name for p in (workdir / 'best').iterdir() if p.name != '3'] == ['2']
  assert restore(workdir).step == 2


def record(text, path):
  return logging.LogRecord('absl', logging.WARNING, path, 1, text, (), None)


def test_what_orbax_says_of_a_save_is_printed(tmp_path, monkeypatch, capsys, caplog):
  save = ocp.CheckpointManager.save

  def talkative(*args, **kwargs):
    logging.getLogger('absl').handle(record('the merge was skipped\nand more', '/a/orbax/b.py'))
    logging.getLogger('absl').handle(record('of somebody else', '/a/grain/b.py'))
    return save(*args, **kwargs)

  monkeypatch.setattr(ocp.CheckpointManager, 'save', talkative)
  save_steps(tmp_path, 1)
  assert capsys.readouterr().err == 'warning: the merge was skipped\n'
  assert [r.getMessage() for r in caplog.records] == ['of somebody else']


def test_a_failure_leaves_hooks_and_logs_as_they_were(tmp_path, capfd):
  state = lambda: (
    sys.excepthook,
    sys.unraisablehook,
    [logging.getLogger(name).level for name in ('absl', 'asyncio')],
    [list(logging.getLogger(name).filters) for name in ('absl', 'asyncio')],
    list(warnings.filters),
  )
  before = state()
  save_steps(tmp_path, 1, 2)
  truncate(tmp_path / 'checkpoints' / '2')
  assert restore(tmp_path).step == 1
  assert state() == before
  assert capfd.readouterr().err.count('\n') == 1


LATE = """
import gc, os, sys, time
import jax
from rnn_research.training import checkpoint
state = {f'w{i}': jax.random.normal(jax.random.key(i), (300, 100)) for i in range(20)}
with checkpoint.open_manager(sys.argv[1]) as manager:
  for step in (1, 2):
    checkpoint.save(manager, step, state, None, {})
for path in (manager.path / '2').glob('state/**/d/*'):
  os.truncate(path, path.stat().st_size // 2)
with checkpoint.open_manager(sys.argv[1]) as manager:
  assert checkpoint.restore_latest(manager, state).step == 1
time.sleep(0.5)
gc.collect()
raise RuntimeError('Event loop is closed')
"""


def test_nothing_late_but_the_errors_of_others(tmp_path):
  done = run_python(LATE, tmp_path)
  lines = done.stderr.splitlines()
  assert lines[0].startswith('warning: checkpoint 2 ')
  assert lines[1] == 'Traceback (most recent call last):'
  assert lines[-1] == 'RuntimeError: Event loop is closed'
  assert done.stderr.count('Event loop is closed') == 1


SHARDED = """
import sys, jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from rnn_research.training import checkpoint
from test_checkpoint import META, make_state
mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
place = lambda x: jax.device_put(x, NamedSharding(mesh, P('data') if x.shape[:1] == (8,) else P()))
with checkpoint.open_manager(sys.argv[1]) as manager:
  checkpoint.save(manager, 4, jax.tree.map(place, make_state(4)), None, META)
checkpoint.save_best(sys.argv[1], 4, jax.tree.map(place, make_state(4)['params']), 1.0)
"""


def test_eight_devices_to_one(tmp_path):
  assert run_python(SHARDED, tmp_path, JAX_NUM_CPU_DEVICES='8').returncode == 0
  state = restore(tmp_path).state
  assert_same(state, make_state(4))
  assert all(len(x.devices()) == 1 for x in jax.tree.leaves(state))
  shapes = jax.eval_shape(lambda: make_state()['params'])
  assert_same(checkpoint.restore_params(tmp_path, shapes)[1], make_state(4)['params'])


FULL_DISK = """
import resource, sys
import jax, jax.numpy as jnp
from rnn_research.training import checkpoint
big = {'params': {'w': jax.random.normal(jax.random.key(0), (300, 1000))}}
with checkpoint.open_manager(sys.argv[1]) as manager:
  checkpoint.save(manager, 1, big, None, {})
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
  for save in (lambda: checkpoint.save(manager, 2, big, None, {}),
               lambda: checkpoint.save_best(sys.argv[1], 2, big, 1.0)):
    try:
      save()
    except OSError as e:
      print(e)
"""


def test_full_disk_keeps_the_checkpoint_before(tmp_path):
  done = run_python(FULL_DISK, tmp_path)
  assert done.returncode == 0, done.stderr
  assert done.stdout.count('step 2 could not be saved') == 2
  assert len(done.stdout.splitlines()) == 2
  step, params = checkpoint.restore_params(tmp_path, {'w': jnp.zeros((300, 1000))})
  assert step == 1
  assert_same(params['w'], jax.random.normal(jax.random.key(0), (300, 1000)))


def test_writes_that_were_not_begun_are_not_told_of():
  scope = {}
  exec(compile('async def write_fragment(): pass', '/a/orbax/b.py', 'exec'), scope)
  with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter('always')
    with pytest.raises(OSError), orbax_watch.watched():
      left = scope['write_fragment']()
      raise OSError
    del left
    gc.collect()
  assert told == []


KILLED = """
import os, signal, sys
from rnn_research.training import checkpoint
from test_checkpoint import META, make_state
with checkpoint.open_manager(sys.argv[1]) as manager:
  checkpoint.save(manager, 1, make_state(1), None, META)
  os.replace = os.rename = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
  checkpoint.save(manager, 2, make_state(2), None, META)
"""


def test_killed_while_saving(tmp_path):
  assert run_python(KILLED, tmp_path).returncode == -9
  folder = tmp_path / 'checkpoints'
  assert len(list(folder.iterdir())) == 2
  assert checkpoint.read_meta(tmp_path) == (1, META)
  assert restore(tmp_path).step == 1
  with checkpoint.open_manager(tmp_path):
    assert [p.name for p in folder.iterdir()] == ['1']
  save_steps(tmp_path, 2)
  assert sorted(p.name for p in folder.iterdir()) == ['1', '2']
  assert restore(tmp_path).step == 2
