"""The tasks of long memory: what they ask, what costs nothing to answer, and that a network learns them."""

import gzip
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import read_json

import experiments
from rnn_research import unroll
from rnn_research.cells import CELLS
from rnn_research.data import examples, idx
from rnn_research.errors import InputError
from rnn_research.losses import cross_entropy
from rnn_research.parameters import fit_budget, largest, num_parameters
from rnn_research.tasks.long_memory import synthetic
from rnn_research.training import config


def rng(seed=0):
  return np.random.default_rng(seed)


def test_adding_marks_one_number_in_each_half():
  inputs, targets = synthetic.adding(rng(), 500, 10)
  assert inputs.shape == (500, 10, 2) and inputs.dtype == np.float32
  numbers, marks = inputs[..., 0], inputs[..., 1]
  assert set(np.unique(marks)) == {0.0, 1.0}
  np.testing.assert_array_equal(marks[:, :5].sum(1), 1.0)
  np.testing.assert_array_equal(marks[:, 5:].sum(1), 1.0)
  assert (marks.sum(0) > 0).all()
  for row, target in zip(range(500), targets, strict=True):
    assert target == pytest.approx(
      sum(number for number, mark in zip(numbers[row], marks[row], strict=True) if mark)
    )


def test_answering_one_to_the_adding_problem_costs_a_sixth():
  targets = synthetic.adding(rng(), 200_000, 4).targets
  assert np.square(targets - 1.0).mean() == pytest.approx(1 / 6, rel=0.02)


def test_copy_shows_ten_symbols_and_asks_for_them_at_the_end():
  inputs, targets = synthetic.copy(rng(), 50, 7)
  assert inputs.shape == (50, 27, 10)
  np.testing.assert_array_equal(inputs.sum(-1), 1.0)
  ids = inputs.argmax(-1)
  np.testing.assert_array_equal(targets[:, -10:], ids[:, :10])
  assert set(np.unique(ids[:, :10])) == set(range(1, 9))
  np.testing.assert_array_equal(ids[:, 10:16], 0)
  np.testing.assert_array_equal(ids[:, 16], 9)
  np.testing.assert_array_equal(ids[:, 17:], 0)
  np.testing.assert_array_equal(targets[:, :-10], 0)


def test_the_memoryless_line_of_copying_is_what_guessing_costs():
  values = experiments.get_config('long_memory:copy')
  targets = synthetic.copy(rng(), 20, values.data.length).targets
  blank = np.where(np.arange(10) == 0, 50.0, -50.0)
  guess = np.where((np.arange(10) >= 1) & (np.arange(10) <= 8), 0.0, -50.0)
  logits = np.where((np.arange(targets.shape[1]) < targets.shape[1] - 10)[:, None], blank, guess)
  nats = cross_entropy(jnp.broadcast_to(logits, (*targets.shape, 10)), targets).mean()
  assert float(nats) == pytest.approx(10 * math.log(8) / 220, rel=1e-5)


@pytest.mark.parametrize('modulus', [2, 5])
def test_modular_sums(modulus):
  inputs, targets = synthetic.modular_sum(rng(), 30, 12, modulus)
  digits = inputs.argmax(-1)
  for row in range(30):
    assert list(targets[row]) == [sum(digits[row, : t + 1]) % modulus for t in range(12)]


def test_drawn_examples_repeat_with_their_seed_and_differ_between_batches_and_splits():
  draw = lambda rng: synthetic.adding(rng, 8, 6)._asdict()
  stream = examples.drawn(draw, 0, 10, 'abc').iterator
  first, second = next(stream)['inputs'], next(stream)['inputs']
  np.testing.assert_array_equal(next(examples.drawn(draw, 0, 10, 'abc').iterator)['inputs'], first)
  assert (first != second).any()
  assert (next(examples.drawn(draw, 1, 10, 'abc').iterator)['inputs'] != first).any()


def test_shuffled_examples_are_an_epoch_of_each_in_new_orders():
  data = examples.shuffled({'x': np.arange(10), 'y': 2 * np.arange(10)}, 3, 0, 'abc')
  assert data.steps_per_epoch == 3
  epochs = [[next(data.iterator) for _ in range(3)] for _ in range(2)]
  orders = [np.concatenate([batch['x'] for batch in epoch]) for epoch in epochs]
  assert all(len(set(order)) == 9 for order in orders)
  assert list(orders[0]) != list(orders[1])
  assert all((batch['y'] == 2 * batch['x']).all() for epoch in epochs for batch in epoch)


def test_fewer_examples_than_a_batch():
  with pytest.raises(
    InputError, match=r'train\.batch_size is 3, expected at most 2, as many as there are'
  ):
    examples.shuffled({'x': np.arange(2)}, 3, 0, 'abc')


def write_idx(path, array, code=8):
  """Writes an idx file as MNIST's are, with `.gz` compressed."""
  data = (
    bytes([0, 0, code, array.ndim])
    + np.array(array.shape, '>i4').tobytes()
    + array.astype(np.uint8).tobytes()
  )
  path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)


@pytest.fixture
def digits(tmp_path):
  """Returns a folder of images, 4 x 4, that show their label: 5,060 for training and 20 for testing."""
  for split, size, suffix in (('train', 5_060, '.gz'), ('t10k', 20, '')):
    labels = rng(size).integers(0, 10, size)
    images = np.repeat(25 * labels[:, None], 16, 1).reshape(size, 4, 4)
    write_idx(tmp_path / f'{split}-images-idx3-ubyte{suffix}', images)
    write_idx(tmp_path / f'{split}-labels-idx1-ubyte{suffix}', labels)
  return tmp_path


def test_idx_files_with_and_without_compression(digits):
  for split, size in (('train', 5_060), ('t10k', 20)):
    images, labels, _ = idx.read_images(str(digits), split)
    assert images.shape == (size, 4, 4) and labels.dtype == np.int32
    np.testing.assert_array_equal(images[:, 0, 0], 25 * labels)


def test_idx_files_are_unpacked_under_any_name(digits):
  before = idx.read_images(str(digits), 't10k')[0]
  spoil(digits, 't10k-images-idx3-ubyte', gzip.compress)
  np.testing.assert_array_equal(idx.read_images(str(digits), 't10k')[0], before)


def test_pixels_are_rows_and_means_of_squares():
  images = rng().integers(0, 256, (3, 4, 4)).astype(np.uint8)
  np.testing.assert_allclose(idx.pixels(images, 16), images.reshape(3, 16) / 255.0, rtol=1e-6)
  small = idx.pixels(images, 4)
  assert small[1, 2] == pytest.approx(images[1, 2:, :2].mean() / 255.0)
  with pytest.raises(
    InputError, match=r'data.length is 9, expected the pixels of a 4 x 4 image .*: 1, 4, 16'
  ):
    idx.pixels(images, 9)


def spoil(folder, name, change):
  path = folder / name
  path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (
      lambda folder: (folder / 't10k-labels-idx1-ubyte').unlink(),
      r'labels-idx1-ubyte \(or .gz\) is not there',
    ),
    (
      lambda folder: spoil(folder, 't10k-images-idx3-ubyte', lambda data: data[:-1]),
      'has 319 bytes of data, expected 320',
    ),
    (
      lambda folder: spoil(folder, 't10k-images-idx3-ubyte', lambda data: b'PK' + data[2:]),
      'is not an idx file',
    ),
    (
      lambda folder: write_idx(folder / 't10k-labels-idx1-ubyte', np.zeros(19)),
      '20 t10k images and 19 labels',
    ),
    (
      lambda folder: (folder / 't10k-images-idx3-ubyte').rename(
        folder / 't10k-images-idx3-ubyte.gz'
      ),
      'cannot be read',
    ),
  ],
)
def test_spoiled_idx_files(digits, change, said):
  change(digits)
  with pytest.raises(InputError, match=said):
    idx.read_images(str(digits), 't10k')


def test_the_real_digits(data_dir):
  images, labels, _ = idx.read_images(str(data_dir / 'mnist'), 'train')
  assert images.shape == (60_000, 28, 28)
  assert list(labels[:5]) == [5, 0, 4, 1, 9]
  assert idx.pixels(images[:100], 196).mean() == pytest.approx(
    images[:100].mean() / 255.0, rel=1e-5
  )


def test_images_of_a_file_train_and_are_evaluated(digits, tmp_path, main):
  workdir = tmp_path / 'run'
  main(
    '--experiment=long_memory:permuted_mnist',
    f'--config.data.path={digits}',
    '--config.data.length=4',
    '--config.model.num_params=2000',
    '--config.train.epochs=0',
    '--config.train.steps=40',
    '--config.optimizer.learning_rate=2e-2',
    '--config.optimizer.warmup_steps=5',
    '--config.train.batch_size=30',
    f'--workdir={workdir}',
  )
  metrics = read_json(workdir, 'result.json')['metrics']
  assert metrics['test']['accuracy'] > 2 * metrics['test']['accuracy_without_memory']
  code, out, _ = main(f'--workdir={workdir}', '--mode=evaluate')
  assert code == 0
  assert f'accuracy {metrics["test"]["accuracy"]:.4f}' in out


def test_permuted_pixels_are_in_one_order(digits):
  def first(permuted):
    values = experiments.get_config('long_memory:permuted_mnist').unlock()
    values.data.update(path=str(digits), length=16, permuted=permuted)
    values.train.batch_size = 50
    return next(
      experiments.build('long_memory:permuted_mnist', values.lock()).train_data().iterator
    )['inputs']

  images = rng().integers(0, 256, (5_060, 4, 4))
  write_idx(digits / 'train-images-idx3-ubyte.gz', images)
  plain, permuted = first(False)[..., 0], first(True)[..., 0]
  order = [int(np.flatnonzero((plain == column[:, None]).all(0))[0]) for column in permuted.T]
  assert sorted(order) == list(range(16)) != order


@pytest.mark.parametrize('cell', sorted(CELLS))
def test_budgets_of_parameters_are_kept(cell):
  values = experiments.get_config('long_memory:adding').unlock()
  values.model.update(cell=cell, num_params=5_000)
  size = num_parameters(
    jax.eval_shape(experiments.build('long_memory:adding', values.lock()).init, jax.random.key(0))
  )
  assert 0.8 * 5_000 < size <= 5_000


def test_the_largest_size_within_a_budget():
  class Model:
    def __init__(self, size):
      self.size, self.init = size, lambda key: {'w': jnp.zeros((size, size))}

  for budget, size in ((1, 1), (3, 1), (4, 2), (10_000, 100), (10_200, 100)):
    assert fit_budget(Model, 0, budget).size == size
  assert fit_budget(Model, 7, 0).size == 7
  with pytest.raises(InputError, match=r'model.num_params is 0.5, expected at least 1'):
    fit_budget(Model, 0, 0.5)


@pytest.mark.parametrize(
  ('size', 'calls'),
  [
    (lambda n: 4 * n * n + 70 * n + 3, 5),
    (lambda n: 7 * n, 5),
    (lambda n: n * n, 5),
    (lambda n: (n // 8) ** 2 + 1, 10),
    (lambda n: 3 * n * max(1, n // 5), 18),
    (lambda n: n**3, 23),
  ],
)
def test_few_sizes_are_asked_for(size, calls):
  asked = []

  def counted(n):
    asked.append(n)
    return size(n)

  for most in (size(1), 500, 5_000, size(777) - 1, size(777), 10**6, 10**8 + 3):
    asked.clear()
    found = largest(counted, most)
    assert size(found) <= most < size(found + 1) and found >= 1
    assert len(asked) <= calls, most


def test_a_small_network_learns_to_add(tmp_path, main):
  main(
    '--experiment=long_memory:debug',
    f'--workdir={tmp_path}',
    '--config.train.steps=1500',
    '--config.model.hidden_size=16',
    '--config.train.eval_every=500',
    '--config.optimizer.learning_rate=1e-2',
  )
  assert read_json(tmp_path, 'result.json')['metrics']['test']['mse'] < 0.02


def test_longer_sequences_than_in_training_are_a_split_of_their_own():
  values = experiments.get_config('long_memory:parity').unlock()
  values.model.num_params = 500
  experiment = experiments.build('long_memory:parity', values.lock())
  params = experiment.init(jax.random.key(0))
  found = experiment.final_evaluate['longer'](params, jax.random.key(0))
  assert 0.4 < found['accuracy'] < 0.6 and found['accuracy_without_memory'] == 0.5
  assert list(experiment.evaluate) == ['valid']


@pytest.mark.parametrize('name', ['adding', 'parity'])
def test_a_recurrence_has_the_loss_of_the_last_answer(name):
  values = experiments.get_config(f'long_memory:{name}').unlock()
  values.data.length, values.model.num_params, values.train.batch_size = 6, 500, 4
  experiment = experiments.build(f'long_memory:{name}', values.lock())
  params = experiment.init(jax.random.key(0))
  found = experiment.recurrence(params, 6, jax.random.key(1))
  _, ys = unroll(found.cells[0], found.params[0], found.xs)
  answers = np.asarray(ys[-1] @ params['head']['w'] + params['head']['b'])
  inputs = np.asarray(found.xs)
  if name == 'adding':
    expected = (answers[:, 0] - (inputs[..., 0] * inputs[..., 1]).sum(0)) ** 2
  else:
    classes = inputs.argmax(-1).sum(0) % 2
    expected = -np.asarray(jax.nn.log_softmax(answers))[np.arange(4), classes]
  np.testing.assert_allclose(found.loss(ys[-1]), expected, rtol=1e-5)
  with pytest.raises(InputError, match='have 6 steps, expected 7 at least'):
    experiment.recurrence(params, 7, jax.random.key(1))


@pytest.mark.parametrize(
  ('fields', 'said'),
  [
    (
      {'data': {'task': 'sorting'}},
      "data.task is 'sorting', expected one of adding, copy, mnist, modular",
    ),
    ({'data': {'task': 'coppy'}}, 'did you mean copy'),
    ({'data': {'length': 1}}, 'data.length is 1, expected an integer >= 2'),
    ({'data': {'modulus': 1}}, 'data.modulus is 1'),
    ({'data': {'task': 'mnist'}}, r'train-images-idx3-ubyte \(or .gz\) is not there'),
    ({'model': {'num_params': 10}}, 'model.num_params is 10, expected at least'),
    (
      {'model': {'hidden_size': 8}},
      'model.hidden_size is 8, expected 0 where model.num_params is positive',
    ),
    ({'model': {'num_params': 0}}, 'model.hidden_size is 0, expected an integer >= 1'),
    ({'model': {'w_h_init': 'orthogonl'}}, 'did you mean orthogonal'),
    ({'model': {'chrono_steps': 2}}, 'model.chrono_steps is 2, expected 0 or an integer >= 3'),
    ({'model': {'cell': 'gruu'}}, 'did you mean gru'),
    (
      {'model': {'cell': 'irnn', 'w_h_init': 'orthogonal'}},
      "model.w_h_init is 'orthogonal', expected '' for irnn",
    ),
    (
      {'model': {'cell': 'gru', 'forget_bias': 3.0}},
      'model.forget_bias is 3.0, expected 1.0 for gru, which has no such option',
    ),
    (
      {'model': {'cell': 'elman', 'chrono_steps': 9}},
      'model.chrono_steps is 9, expected 0 for elman',
    ),
  ],
)
def test_what_is_refused(fields, said):
  values = experiments.get_config('long_memory').unlock()
  for block, changes in fields.items():
    values[block].update(changes)
  with pytest.raises(InputError, match=said):
    config.check_ranges(values.lock())
    experiments.build('long_memory', values).train_data()


def test_an_option_that_a_cell_lacks_may_be_that_of_the_variant_alone():
  values = experiments.get_config('char_lm:zaremba_small').unlock()
  values.model.update(cell='gru', forget_bias=1.0)
  with pytest.raises(InputError, match=r'^model\.forget_bias is 1\.0, expected 0\.0 for gru'):
    experiments.build('char_lm:zaremba_small', values.lock())
