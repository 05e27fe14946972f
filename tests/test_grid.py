"""A grid of seeds and learning rates: every member is the run that it would be alone."""

import functools
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from launching import assert_same_run, log_of, read_json, run

import experiments
from rnn_research.errors import InputError
from rnn_research.training import backend, config, grid, loop
from rnn_research.training.grid import Member

NAME, HEADLINE = 'long_memory:debug', ('valid', 'mse', 'min')


def values_of(**fields):
  """Returns the config of six steps of the smallest experiment; a field is named like `grid__seeds=2`."""
  values = experiments.get_config(NAME).unlock()
  values.train.update(steps=6, eval_every=3, log_every=1)
  for name, value in fields.items():
    block, field = name.split('__')
    values[block][field] = value
  config.check_ranges(values.lock())
  return values


def train(values, workdir, num_devices=1):
  """Trains as the launcher does, without its final evaluation, and returns the lines of metrics.jsonl."""
  experiment, members = experiments.build(NAME, values), grid.members(values)
  if members:
    experiment = grid.over_grid(experiment, members)
  mesh = backend.data_mesh(values.train.batch_size, num_devices)
  loop.train(experiment, experiment.train_data(), values, str(workdir), mesh, {})
  return log_of(workdir)


def column(rows, name):
  return [row[name] for row in rows if name in row]


def of_member(rows, name, index):
  return [values[index] for values in column(rows, f'{name}_members')]


@pytest.fixture(scope='module')
def two_by_two(tmp_path_factory):
  """Returns the log of a grid of two seeds and two learning rates, and its workdir."""
  folder = tmp_path_factory.mktemp('grid')
  return train(values_of(grid__seeds=2, grid__learning_rates=(1e-2, 3e-2)), folder), folder


@pytest.mark.parametrize(('index', 'rate'), [(0, 1e-2), (2, 3e-2)])
def test_members_of_seed_0_are_the_runs_without_a_grid(two_by_two, index, rate, tmp_path):
  rows, _ = two_by_two
  alone = train(values_of(optimizer__learning_rate=rate), tmp_path)
  assert of_member(rows, 'train/loss', index) == pytest.approx(
    column(alone, 'train/loss'), rel=1e-5
  )
  assert of_member(rows, 'valid/mse', index) == pytest.approx(column(alone, 'valid/mse'), rel=1e-5)


def test_seeds_and_rates_differ(two_by_two):
  rows, _ = two_by_two
  first = [of_member(rows, 'train/loss', i)[0] for i in range(4)]
  last = [of_member(rows, 'valid/mse', i)[-1] for i in range(4)]
  assert first[0] == first[2] != first[1] == first[3]
  assert len(set(last)) == 4


def test_what_a_grid_logs(two_by_two):
  rows, _ = two_by_two
  for row in rows:
    if 'train/loss' in row:
      assert row['train/loss'] == pytest.approx(np.median(row['train/loss_members']))
      assert row['train/finite_members'] == [1.0] * 4
      assert row['train/finite'] == 1.0
    else:
      members = row['valid/mse_members']
      assert row['valid/mse'] == min(members) == members[row['valid/best_member']]


def test_two_devices_equal_one(two_by_two, tmp_path):
  out, _ = run(
    f'--experiment={NAME}',
    f'--workdir={tmp_path}',
    '--config.train.steps=6',
    '--config.train.eval_every=3',
    '--config.train.log_every=1',
    '--config.grid.seeds=2',
    '--config.grid.learning_rates=(1e-2,3e-2)',
    '--num_devices=2',
  )
  assert '2 device(s)' in out
  assert '4 x 281 parameters' in out
  for name in ('train/loss_members', 'valid/mse', 'train/gradient_norm', 'train/clipped'):
    np.testing.assert_allclose(
      column(log_of(tmp_path), name), column(two_by_two[0], name), rtol=1e-4, err_msg=name
    )


def test_a_single_learning_rate_is_that_of_the_run(two_by_two, tmp_path):
  rows = train(values_of(grid__learning_rates=(3e-2,)), tmp_path)
  assert column(rows, 'train/loss') == pytest.approx(
    of_member(two_by_two[0], 'train/loss', 2), rel=1e-6
  )


def test_the_launcher_reports_members_and_uses_the_best(tmp_path, main):
  main(
    f'--experiment={NAME}',
    f'--workdir={tmp_path}',
    '--config.train.steps=6',
    '--config.grid.seeds=2',
    '--config.grid.learning_rates=(1e-2,3e-2)',
  )
  found = read_json(tmp_path, 'result.json')
  assert [(row['seed'], row['learning_rate']) for row in found['members']] == [
    (0, 1e-2),
    (1, 1e-2),
    (0, 3e-2),
    (1, 3e-2),
  ]
  figures = [row['mse'] for row in found['members']]
  assert found['metrics']['valid']['mse'] == pytest.approx(min(figures), rel=1e-5)
  assert set(found['metrics']) == {'valid', 'test'}
  group = found['grid']['valid at the last step, learning rate 0.03']
  assert group['mse_mean'] == pytest.approx(np.mean(figures[2:]))
  assert group['mse_std'] == pytest.approx(np.std(figures[2:], ddof=1))
  best = found['members'][figures.index(min(figures))]
  assert found['best_member'] == {name: best[name] for name in ('seed', 'learning_rate')}
  assert [row['share_of_finite_steps'] for row in found['members']] == [1.0] * 4
  assert found['params'] == 281
  assert main(f'--workdir={tmp_path}', '--mode=evaluate')[0] == 0
  assert read_json(tmp_path, 'result-evaluate.json')['metrics']['test'] == found['metrics']['test']
  assert (tmp_path / 'report' / 'curves.csv').read_text().count('learning rate 0.03') == 2


def test_lost_lines_of_the_log_do_not_cost_the_result(tmp_path, main):
  flags = [f'--experiment={NAME}', f'--workdir={tmp_path}', '--config.train.steps=4']
  assert main(*flags, '--config.grid.seeds=2')[0] == 0
  found = read_json(tmp_path, 'result.json')
  log = tmp_path / 'metrics.jsonl'
  kept = [line for line in log.read_text().splitlines() if 'valid/' not in line]
  log.write_text(''.join(f'{line}\n' for line in kept))
  (tmp_path / 'result.json').unlink()
  _, _, err = main(flags[1])
  assert 'warning: the result does not name the members of the grid: no line of the log has' in err
  again = read_json(tmp_path, 'result.json')
  assert again['metrics'] == found['metrics']
  assert 'best_member' not in again


def test_a_member_that_diverges_leaves_the_others_alone(two_by_two, tmp_path):
  rows = train(values_of(grid__seeds=2, grid__learning_rates=(1e-2, 1e34)), tmp_path)
  for i in (0, 1):
    assert of_member(rows, 'train/loss', i) == of_member(two_by_two[0], 'train/loss', i)
    assert of_member(rows, 'valid/mse', i) == of_member(two_by_two[0], 'valid/mse', i)
  assert column(rows, 'train/finite')[-1] == 0.5
  assert of_member(rows, 'train/loss', 2)[-1] is None
  members = [Member(seed, rate) for rate in (1e-2, 1e34) for seed in (0, 1)]
  found = grid.results(rows, members, HEADLINE)
  assert [row['share_of_finite_steps'] for row in found][:2] == [1.0, 1.0]
  assert max(row['share_of_finite_steps'] for row in found[2:]) < 0.7
  assert [group['mse_seeds'] for group in grid.summary(found, HEADLINE).values()] == [2, 0]


@pytest.mark.parametrize(('num_devices', 'micro_batches'), [(1, 1), (1, 2), (2, 1)])
def test_a_member_skips_a_step_in_which_any_row_of_the_batch_spoils_it(num_devices, micro_batches):
  """Row 3 is not a number for member 1: it must not move by what the other rows say, however they are divided."""
  run(code=SPOILED.format(num_devices=num_devices, micro_batches=micro_batches))


SPOILED = """
import jax, jax.numpy as jnp, numpy as np, optax
jax.config.update('jax_num_cpu_devices', 2)
from rnn_research.experiment import Experiment
from rnn_research.training import backend, grid
from rnn_research.training.step import create_state, make_step, unpack

def loss(params, carry, batch, key, step):
  bad = (batch['x'] == 3.0) & (params['w'] > 1.5)
  return jnp.where(bad, jnp.nan, params['w'] * batch['x']).sum(), (jnp.float32(len(batch['x'])), (), {{}})

starts = jnp.float32([1.0, 2.0])
one = Experiment(init=lambda key: {{'w': jnp.float32(0.0)}}, loss=loss, train_data=None, evaluate={{}},
                 headline=('valid', 'x', 'min'))
whole = grid.over_grid(one, [grid.Member(0, 1.0), grid.Member(1, 0.5)])._replace(init=lambda key: {{'w': starts}})
tx = grid.over_members(optax.with_extra_args_support(optax.sgd(1.0)), jnp.float32([1.0, 0.5]))
mesh = backend.data_mesh(4 // {micro_batches}, {num_devices})
state = create_state(whole, tx, jax.random.key(0), 4, False, mesh)
describe = lambda grads, means: grid.describe(
    lambda grads: {{'gradient_norm': optax.tree.norm(grads)}}, grads, means)
batch = backend.fed(mesh, {{'x': np.float32([0, 1, 2, 3])}})
step = make_step(whole, mesh, jax.random.key(1), micro_batches={micro_batches}, ema_decay=0.0, describe=describe)
state, metrics = step(state, batch)(state, batch)
metrics = unpack(metrics)
np.testing.assert_allclose(state.params['w'], [1.0 - 1.5, 2.0])
np.testing.assert_allclose([metrics['loss'], metrics['finite']], [1.5, 0.5])
np.testing.assert_array_equal(metrics['loss_members'], [1.5, np.nan])
np.testing.assert_array_equal(metrics['finite_members'], [1.0, 0.0])
"""


def test_a_norm_too_large_for_a_float_spoils_its_member_alone(tmp_path):
  tx = grid.over_members(optax.with_extra_args_support(optax.sgd(1e-30)), jnp.float32([1.0, 1.0]))
  params, grads = {'w': jnp.zeros((2, 2))}, {'w': jnp.float32([[1e30, 1e30], [1e3, 1e3]])}
  updates, _ = tx.update(grads, tx.init(params), params)
  np.testing.assert_allclose(updates['w'], [[0.0, 0.0], [-1e-27, -1e-27]])
  described = grid.describe(lambda g: {'gradient_norm': optax.tree.norm(g)}, grads, {})
  assert described['gradient_norm'] == pytest.approx(1e3 * math.sqrt(2.0))
  np.testing.assert_array_equal(described['finite_members'], [0.0, 1.0])


def test_a_grid_of_which_nothing_is_left_stops(tmp_path):
  with pytest.raises(FloatingPointError, match='the loss is nan'):
    train(values_of(grid__seeds=2, grid__learning_rates=(1e34,)), tmp_path)


def test_interrupted_equals_uninterrupted(two_by_two, tmp_path):
  fields = {'grid__seeds': 2, 'grid__learning_rates': (1e-2, 3e-2)}
  train(values_of(**fields, train__steps=3), tmp_path)
  train(values_of(**fields), tmp_path)
  assert_same_run(two_by_two[1], tmp_path, 6)


def test_interrupted_within_a_window(tmp_path):
  """Also where a member is not a number, which JSON does not know."""
  fields = {'grid__seeds': 1, 'grid__learning_rates': (1e-2, 1e34), 'train__log_every': 4}
  fields['train__checkpoint_every'] = 2
  whole = train(values_of(**fields), tmp_path / 'whole')
  train(values_of(**fields, train__steps=4), tmp_path / 'parts')
  shutil.rmtree(tmp_path / 'parts' / 'checkpoints' / '4')  # goes on from step 2, within a window
  assert train(values_of(**fields), tmp_path / 'parts') == whole
  assert of_member(whole, 'train/loss', 1)[-1] is None


def test_one_map_for_accelerators_and_one_for_cpus(monkeypatch):
  values = values_of(grid__seeds=3)
  experiment = grid.over_grid(experiments.build(NAME, values), grid.members(values))
  params = experiment.init(jax.random.key(0))
  batch = next(experiment.train_data().iterator)
  gradient = jax.jit(
    jax.value_and_grad(
      lambda params: experiment.loss(params, (), batch, jax.random.key(1), 0), has_aux=True
    )
  )
  on_cpu = gradient(params)
  monkeypatch.setattr(grid, '_each', lambda f, *stacked: jax.vmap(f)(*stacked))
  gradient.clear_cache()
  for a, b in zip(jax.tree.leaves(gradient(params)), jax.tree.leaves(on_cpu), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_a_carry_belongs_to_its_member():
  experiment = experiments.build(NAME, values_of())._replace(
    init=lambda key: {'w': jnp.float32(jax.random.uniform(key))},
    initial_carry=lambda params, batch_size: jnp.full((batch_size, 2), params['w']),
    loss=lambda params, carry, batch, key, step: (
      carry.sum() * params['w'],
      (jnp.float32(4), carry + 1.0, {}),
    ),
  )
  whole = grid.over_grid(experiment, [Member(0, 1.0), Member(1, 1.0)])
  params = whole.init(jax.random.key(0))
  carry = whole.initial_carry(params, 4)
  assert carry.shape == (4, 2, 2)
  grads, (_, new, sums) = jax.grad(whole.loss, has_aux=True)(
    params, carry, {}, jax.random.key(0), 0
  )
  np.testing.assert_allclose(grads['w'], 8.0 * params['w'], rtol=1e-6)
  np.testing.assert_array_equal(new, carry + 1.0)
  np.testing.assert_allclose(sums['loss_members'], 8.0 * params['w'] ** 2, rtol=1e-6)


@pytest.mark.parametrize(
  ('figures', 'sense', 'best'),
  [
    ([3.0, 1.0, 2.0], 'min', 1),
    ([3.0, 1.0, 2.0], 'max', 0),
    ([math.nan, 2.0], 'min', 1),
    ([math.nan, -2.0], 'max', 1),
  ],
)
def test_best_member(figures, sense, best):
  assert grid.best_member(figures, sense) == best


@pytest.mark.parametrize(
  ('fields', 'said'),
  [
    ({'grid__seeds': 0}, 'grid.seeds is 0, expected an integer >= 1'),
    (
      {'grid__learning_rates': (1e-3, -1.0)},
      r'grid.learning_rates is \(0.001, -1.0\), expected different numbers > 0',
    ),
    (
      {'grid__learning_rates': (1e-3, 1e-3)},
      r'grid.learning_rates is \(0.001, 0.001\), expected different numbers',
    ),
    (
      {'grid__seeds': 2, 'optimizer__schedule': 'plateau'},
      'optimizer.schedule is plateau, expected another',
    ),
  ],
)
def test_what_a_grid_refuses(fields, said):
  with pytest.raises(InputError, match=said):
    values_of(**fields)


def test_clipping_is_by_member():
  from rnn_research.training import optimizer

  values = values_of(optimizer__name='sgd', optimizer__learning_rate=1.0, optimizer__clip_norm=1.0)
  tx, _ = optimizer.make_optimizer(values.optimizer, 1, 6, 3)
  whole = grid.over_members(tx, jnp.float32([1.0, 0.5]))
  params = {'w': jnp.zeros((2, 2))}
  grads = {'w': jnp.float32([[3.0, 4.0], [0.3, 0.4]])}
  updates, _ = whole.update(grads, whole.init(params), params)
  np.testing.assert_allclose(updates['w'], [[-0.6, -0.8], [-0.15, -0.2]], rtol=1e-6)
  described = grid.describe(
    functools.partial(optimizer.describe_gradients, values.optimizer), grads, {}
  )
  assert described['gradient_norm'] == pytest.approx((5.0 + 0.5) / 2)
  assert described['clipped'] == 0.5
