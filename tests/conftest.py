"""Fixtures of the whole suite."""

import os
import pathlib

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
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


def pytest_terminal_summary(terminalreporter):
  """Says at the end of every run that the tests on real data did not run."""
  if not DATA_DIR.is_dir():
    terminalreporter.section('NO REAL DATA')
    terminalreporter.write_line(f'{DATA_DIR} is not a folder: set RNN_RESEARCH_DATA to run the tests that read it')
