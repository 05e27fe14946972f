"""A stranger's experiment, on image files of its own: one file beside the others, and nothing else changed."""

import re
import sys

import numpy as np
import pytest
from launching import files_of, read_json
from PIL import Image

import experiments
from rnn_research.errors import InputError

ROWS = '''
"""Which way do the stripes run? PNG files, read row by row."""

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from rnn_research.cells import make_cell
from rnn_research.data.examples import loaded
from rnn_research.errors import InputError
from rnn_research.experiment import Experiment
from rnn_research.losses import cross_entropy
from rnn_research.models.sequence_model import sequence_model
from rnn_research.training.config import base_config

VARIANTS = {'small': 'a GRU of 8 units'}
PLACES = ('data.path',)


def get_config(variant='small'):
  config = base_config()
  config.data = ConfigDict({'path': ''})
  config.model = ConfigDict({'cell': 'gru', 'units': 8})
  config.train.update({'steps': 40, 'batch_size': 8, 'eval_every': 20, 'log_every': 10})
  config.optimizer.learning_rate = 3e-2
  return config.lock()


def check(config):
  if config.model.units < 1:
    raise InputError(f'model.units is {config.model.units}, expected an integer >= 1')


def list_files(folder, split):
  files = sorted((Path(folder) / split).glob('*/*.png'))
  if not files:
    raise InputError(f'data.path: there are no images in {folder}/{split}, expected CLASS/NAME.png')
  return files


def load(file):
  image = np.asarray(Image.open(file), np.float32) / 255
  return {'inputs': image, 'targets': np.int32(file.parent.name == 'along')}


def build(config, assets=None):
  model = sequence_model((make_cell(config.model.cell, config.model.units),), 6, 2)

  def loss(params, carry, batch, key, step):
    total = cross_entropy(model.outputs(params, batch['inputs'], key), batch['targets']).sum()
    return total, (jnp.float32(len(batch['targets'])), carry, {})

  def train_data():
    files = list_files(config.data.path, 'train')
    digest = hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()
    return loaded(files, load, config.train.batch_size, config.seed, digest)

  def valid(params, key):
    examples = [load(file) for file in list_files(config.data.path, 'valid')]
    answers = model.outputs(params, np.stack([one['inputs'] for one in examples])).argmax(-1)
    return {'error': float((answers != np.stack([one['targets'] for one in examples])).mean())}

  return Experiment(model.init, loss, train_data, {'valid': valid}, ('valid', 'error', 'min'))
'''


MEAN = '''
"""What is the mean of a few numbers? Nothing but the five fields."""

import jax.numpy as jnp
import numpy as np

from rnn_research.data.examples import shuffled
from rnn_research.experiment import Experiment
from rnn_research.training.config import base_config

VARIANTS = {'one': 'one parameter'}
NUMBERS = np.arange(32, dtype=np.float32)


def get_config(variant='one'):
  config = base_config()
  config.train.update({'steps': 4, 'batch_size': 8})
  return config.lock()


def build(config, assets=None):
  def loss(params, carry, batch, key, step):
    return ((batch['x'] - params) ** 2).sum(), (jnp.float32(len(batch['x'])), carry, {})

  return Experiment(
    lambda key: jnp.zeros(()),
    loss,
    lambda: shuffled({'x': NUMBERS}, config.train.batch_size, config.seed, 'numbers'),
    {'valid': lambda params, key: {'error': float(abs(params - NUMBERS.mean()))}},
    ('valid', 'error', 'min'),
  )
'''


def draw(folder, split, count, seed):
  """Writes images of 6 x 6 pixels, half of them with stripes along the rows."""
  rng = np.random.default_rng(seed)
  for i in range(count):
    stripes = np.broadcast_to(rng.integers(0, 256, (6, 1)), (6, 6))
    way = 'along' if i % 2 else 'across'
    (folder / split / way).mkdir(parents=True, exist_ok=True)
    pixels = np.uint8(stripes if way == 'along' else stripes.T)
    Image.fromarray(pixels).save(folder / split / way / f'{i}.png')


@pytest.fixture
def add(tmp_path, monkeypatch):
  """Returns `(name, source)`, which puts an experiment beside the others."""
  folder = tmp_path / 'mine'
  folder.mkdir()
  monkeypatch.setattr(experiments, '__path__', [*experiments.__path__, str(folder)])

  def put(name, source):
    (folder / f'{name}.py').write_text(source)
    monkeypatch.delitem(sys.modules, f'experiments.{name}', raising=False)

  return put


@pytest.fixture
def images(tmp_path, add):
  """Puts the experiment `rows` beside the others; returns a folder of images."""
  add('rows', ROWS)
  folder = tmp_path / 'images'
  draw(folder, 'train', 40, 0)
  draw(folder, 'valid', 20, 1)
  return folder


def test_an_experiment_with_images_is_one_file(images, main, tmp_path):
  code, out, _ = main('--list')
  assert code == 0
  assert re.search(r'^rows:small +- +a GRU of 8 units$', out, re.MULTILINE)
  workdir = tmp_path / 'run'
  code, out, err = main('--experiment=rows', f'--workdir={workdir}', f'--config.data.path={images}')
  assert (code, err) == (0, '')
  assert 'after 40 steps' in out
  assert read_json(workdir, 'result.json')['metrics']['valid']['error'] < 0.4
  assert (workdir / 'report' / 'curves.png').exists()

  # The images may lie elsewhere when the model is used, and be others.
  moved = images.rename(tmp_path / 'moved')
  draw(moved, 'valid', 60, 2)
  code, out, err = main(f'--workdir={workdir}', '--mode=evaluate', f'--config.data.path={moved}')
  assert (code, err) == (0, '')
  assert 'valid: error ' in out
  for path in (workdir / 'report').iterdir():
    path.unlink()
  assert main(f'--workdir={workdir}', '--mode=report')[0] == 0
  assert (workdir / 'report' / 'README.md').exists()


def test_variants_of_no_experiment_are_refused():
  with pytest.raises(InputError, match="unknown experiment 'row'"):
    experiments.variants('row')


def test_five_fields_are_enough_to_train_evaluate_and_report(add, main, tmp_path):
  add('mean', MEAN)
  flag = f'--workdir={tmp_path / "run"}'
  assert main('--experiment=mean', flag)[0] == 0
  assert (tmp_path / 'run' / 'report' / 'curves.png').exists()
  assert '1 parameters' in (tmp_path / 'run' / 'report' / 'README.md').read_text()
  for mode in ('evaluate', 'report'):
    assert main(flag, f'--mode={mode}')[0] == 0


def test_what_it_declares_is_what_may_change(images, main, tmp_path):
  flags = ['--experiment=rows', f'--workdir={tmp_path / "run"}', f'--config.data.path={images}']
  code, _, err = main(*flags, '--config.model.units=0')
  assert (code, err) == (1, 'error: model.units is 0, expected an integer >= 1\n')
  assert main(*flags, '--config.train.steps=2')[0] == 0
  before = files_of(tmp_path / 'run')
  code, _, err = main(flags[1], '--mode=evaluate', '--config.model.units=9')
  assert code == 1
  assert 'another model.units (8 in the workdir, now 9)' in err
  code, _, err = main(flags[1], f'--config.data.path={tmp_path}')
  assert code == 1
  assert 'another data.path' in err
  code, _, err = main(flags[1], '--mode=sample')
  assert (code, err.count('\n')) == (2, 1)
  assert 'expected one of train, evaluate, report' in err
  assert files_of(tmp_path / 'run') == before
