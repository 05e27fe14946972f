"""Fixtures of the whole suite."""

import fcntl
import gc
import os
import pathlib
import shutil

import jax
import pytest
from fork_server import DPI, GARBAGE
from launching import COMPILED_ONCE, QUICK_XLA, TINY, prose, run

import launch
from rnn_research.analysis.reports import plots
from rnn_research.training import backend

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Before any test starts the backend, which reads it; the user's own flags come last and win.
os.environ['XLA_FLAGS'] = f'{QUICK_XLA} {os.environ.get("XLA_FLAGS", "")}'.strip()
DATA_DIR = (ROOT / os.environ.get('RNN_RESEARCH_DATA', '../shared/data')).resolve()


@pytest.fixture(scope='session')
def data_dir() -> pathlib.Path:
  """Returns the folder of real data, $RNN_RESEARCH_DATA relative to the repository; skips without it."""
  if not DATA_DIR.is_dir():
    pytest.skip(f'no real data: {DATA_DIR} is not a folder')
  return DATA_DIR


@pytest.fixture
def strict_shapes():
  """Makes silent broadcasting over axes that one operand lacks an error."""
  with jax.numpy_rank_promotion('raise'):
    yield


@pytest.fixture(scope='session')
def shared_folder(tmp_path_factory):
  """Returns a folder of this run of the suite, the same for all pytest workers."""
  base = tmp_path_factory.getbasetemp()
  return base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base


@pytest.fixture(scope='session', autouse=True)
def compiled_once(shared_folder):
  """Compiles quickly, and keeps compiled programs for all pytest workers and the processes that they start."""
  jax.config.update('jax_disable_most_optimizations', True)
  jax.config.update('jax_compilation_cache_dir', str(shared_folder / 'compiled'))
  for name, value in COMPILED_ONCE.items():
    jax.config.update(name, value)


@pytest.fixture(scope='session', autouse=True)
def small_figures():
  """Draws few pixels."""
  plots.DPI = DPI


@pytest.fixture(scope='session')
def make_once(shared_folder):
  """Returns `(name, make) -> folder`, filled by `make(folder)` once for all pytest workers; not to be changed."""

  def make(name, fill):
    folder, made = shared_folder / name, shared_folder / f'{name}.made'
    with open(shared_folder / f'{name}.lock', 'w') as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      if not made.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        fill(folder)
        made.touch()
    return folder

  return make


@pytest.fixture(scope='module', autouse=True)
def few_programs():
  """Drops compiled programs before they use up the memory maps that Linux grants a process, 65,530 by default."""
  yield
  maps = pathlib.Path('/proc/self/maps')
  if maps.exists() and maps.read_bytes().count(b'\n') > 40_000:
    jax.clear_caches()


@pytest.fixture(scope='session')
def text(make_once):
  """Returns a small UTF-8 text file."""
  return (
    make_once('texts', lambda folder: (folder / 'prose.txt').write_text(prose(), 'utf-8'))
    / 'prose.txt'
  )


@pytest.fixture(scope='session')
def trained(make_once, text):
  """Returns a workdir in which a tiny model was trained for 12 steps; not to be changed, see `workdir`."""
  return make_once(
    'trained',
    lambda folder: run(
      '--experiment=char_lm:debug',
      f'--config.data.path={text}',
      f'--workdir={folder}',
      *TINY,
      '--config.train.steps=12',
    ),
  )


@pytest.fixture
def workdir(trained, tmp_path):
  """Returns a copy of `trained`."""
  return shutil.copytree(trained, tmp_path / 'workdir')


@pytest.fixture
def main(monkeypatch, capsys):
  """Returns `launch.main` for this process, whose backend is set up already: `(*flags) -> (code, stdout, stderr)`."""

  def call(*flags):
    monkeypatch.setattr(backend, 'configure', lambda *args: None)
    monkeypatch.setattr('sys.argv', ['launch.py', *map(str, flags)])
    capsys.readouterr()
    return launch.main(None) or 0, *capsys.readouterr()

  return call


def pytest_collection_finish():
  """Searches for garbage less often, and never in what imports and the list of tests have made."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(GARBAGE)


def pytest_terminal_summary(terminalreporter):
  """Says at the end of every run that the tests on real data did not run."""
  if not DATA_DIR.is_dir():
    terminalreporter.section('NO REAL DATA')
    terminalreporter.write_line(
      f'{DATA_DIR} is not a folder: set RNN_RESEARCH_DATA to run the tests that read it'
    )
