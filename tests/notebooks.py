"""Runs notebooks: for their test, and to store their outputs in them.

python tests/notebooks.py [NOTEBOOK..]     by default all of notebooks/
"""

import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping

import jupyter_client
import nbclient
import nbformat

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / 'notebooks').glob('*.ipynb'))


def execute(notebook: nbformat.NotebookNode, folder: str, environment: Mapping[str, str]) -> None:
  """Runs all cells in `folder`, where their runs are written too; their outputs are then in the notebook."""
  # No folders to look in: the kernel is then that of this environment, whatever the user has installed beside it.
  specs = jupyter_client.kernelspec.KernelSpecManager(kernel_dirs=[])
  kernel = jupyter_client.AsyncKernelManager(kernel_name='python3', kernel_spec_manager=specs)
  client = nbclient.NotebookClient(
    notebook,
    km=kernel,
    timeout=900,
    record_timing=False,
    coalesce_streams=True,
    resources={'metadata': {'path': folder}},
  )
  client.execute(cleanup_kc=True, env={**environment, 'TMPDIR': folder})


def make_fast(notebook: nbformat.NotebookNode) -> None:
  """Puts the small settings of the cell tagged `parameters`, its metadata `fast`, in place of its own."""
  (cell,) = (cell for cell in notebook.cells if 'parameters' in cell.metadata.get('tags', ()))
  lines = (f'{name} = {value!r}' for name, value in cell.metadata.fast.items())
  cell.source = '\n'.join([cell.source, *lines])


def store(path: pathlib.Path) -> None:
  """Runs a notebook in an empty folder and writes it back with its outputs."""
  notebook = nbformat.read(path, as_version=4)
  with tempfile.TemporaryDirectory() as folder:
    execute(notebook, folder, os.environ)
  notebook.metadata['language_info'] = {'name': 'python'}  # without the version
  nbformat.write(notebook, path)


if __name__ == '__main__':
  for path in [pathlib.Path(name) for name in sys.argv[1:]] or PATHS:
    print(path.stem, flush=True)
    store(path)
