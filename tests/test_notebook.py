"""The notebooks run from the first cell to the last."""

import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
nbclient = pytest.importorskip('nbclient')
nbformat = pytest.importorskip('nbformat')
jupyter_client = pytest.importorskip('jupyter_client')


@pytest.mark.slow
@pytest.mark.parametrize(
  'path', sorted((ROOT / 'notebooks').glob('*.ipynb')), ids=lambda path: path.stem
)
def test_a_notebook_runs(path):
  notebook = nbformat.read(path, as_version=4)
  # No folders to look in: the kernel is then that of this environment, whatever the user has installed beside it.
  specs = jupyter_client.kernelspec.KernelSpecManager(kernel_dirs=[])
  kernel = jupyter_client.AsyncKernelManager(kernel_name='python3', kernel_spec_manager=specs)
  client = nbclient.NotebookClient(
    notebook, km=kernel, timeout=300, resources={'metadata': {'path': str(ROOT)}}
  )
  client.execute(cleanup_kc=True)
  assert any(
    output.get('data', {}).get('image/png')
    for cell in notebook.cells
    for output in cell.get('outputs', ())
  )
