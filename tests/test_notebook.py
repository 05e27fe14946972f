"""The notebooks run from the first cell to the last, and hold what they showed when they were stored."""

import re

import pytest
from launching import environment

nbformat = pytest.importorskip('nbformat')
notebooks = pytest.importorskip('notebooks', exc_type=ModuleNotFoundError)  # needs nbclient

MOST_BYTES = 1_500_000  # of all of them
# What a path of a machine begins with; '/dev/null' in a sample of Python source is none.
ABSOLUTE = re.compile(r'(?<![\w.:/])/(home|root|tmp|Users|opt|mnt|private)/|site-packages')
every_notebook = pytest.mark.parametrize('path', notebooks.PATHS, ids=lambda path: path.stem)


def read(path):
  return nbformat.read(path, as_version=4)


def code_cells(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def pictures(notebook):
  return [
    output.data['image/png']
    for cell in code_cells(notebook)
    for output in cell.outputs
    if 'image/png' in output.get('data', {})
  ]


@pytest.mark.slow
@every_notebook
def test_a_notebook_runs(path, tmp_path):
  notebook = read(path)
  notebooks.make_fast(notebook)
  notebooks.execute(notebook, str(tmp_path), environment())
  assert pictures(notebook)
  assert not code_cells(notebook)[0].outputs  # nothing is installed here


@every_notebook
def test_a_notebook_is_stored_as_it_ran(path):
  notebook = read(path)
  cells = code_cells(notebook)
  assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
  outputs = [output for cell in cells for output in cell.outputs]
  assert all(output.output_type != 'error' for output in outputs)
  assert all(output.get('name') != 'stderr' for output in outputs)
  assert pictures(notebook)
  assert not ABSOLUTE.search(path.read_text('utf-8'))


@every_notebook
def test_what_a_notebook_carries_does_not_depend_on_where_it_ran(path):
  notebook = read(path)
  kernel = {'display_name': 'Python 3', 'language': 'python', 'name': 'python3'}
  assert notebook.metadata == {'kernelspec': kernel, 'language_info': {'name': 'python'}}
  assert {name for cell in notebook.cells for name in cell.metadata} == {'tags', 'fast'}


@every_notebook
def test_fast_settings_are_settings(path):
  (cell,) = (cell for cell in read(path).cells if 'fast' in cell.metadata)
  assert cell.metadata.tags == ['parameters']
  assert set(cell.metadata.fast) <= set(re.findall(r'^(\w+) = ', cell.source, re.MULTILINE))


@every_notebook
def test_links_between_notebooks_lead_somewhere(path):
  found = re.findall(r'\]\((\w+\.ipynb)\)', path.read_text('utf-8'))
  assert found
  assert {path.parent / name for name in found} <= set(notebooks.PATHS)


def test_all_notebooks_begin_with_the_same_cell():
  first = {code_cells(read(path))[0].source for path in notebooks.PATHS}
  assert len(first) == 1


def test_notebooks_are_small():
  assert sum(path.stat().st_size for path in notebooks.PATHS) <= MOST_BYTES
