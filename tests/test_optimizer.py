"""Update rules, schedules and clipping against NumPy twins of the published equations."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnn_research.cells import CELLS, lstm
from rnn_research.cells.dnc import dnc
from rnn_research.cells.entnet import entnet
from rnn_research.cells.ntm import ntm
from rnn_research.combinators.weights import LearnedStart
from rnn_research.training import optimizer, schedules

EPS = 1e-8


def config_with(**fields):
  config = optimizer.default_config()
  config.update(fields)
  return config


def gradients(num_steps=4):
  return np.random.default_rng(0).normal(size=(num_steps, 5)).astype(np.float32)


def run(config, grads, steps_per_epoch=2, total_steps=10, eval_every=3, values=None):
  """Returns the parameters after each update, [steps, 5], starting from a matrix of ones."""
  tx, _ = optimizer.make_optimizer(config, steps_per_epoch, total_steps, eval_every)
  params, out = {'w': jnp.ones((1, 5))}, []
  opt_state = tx.init(params)
  update = jax.jit(tx.update)
  for step, grad in enumerate(grads):
    value = jnp.float32(values[step] if values else jnp.inf)
    updates, opt_state = update({'w': jnp.asarray(grad)[None]}, opt_state, params, value=value)
    params = optax.apply_updates(params, updates)
    out.append(np.asarray(params['w'][0]))
  return np.stack(out)


def sgd_twin(p, g, memory, step, c):
  return p - c.learning_rate * g


def rmsprop_twin(p, g, memory, step, c):
  m = memory['m'] = c.decay * memory.get('m', 0) + (1 - c.decay) * g * g
  return p - c.learning_rate * g / (np.sqrt(m) + EPS)


def adagrad_twin(p, g, memory, step, c):
  m = memory['m'] = memory.get('m', 0) + g * g
  return p - c.learning_rate * g / np.sqrt(m + EPS)


def adam_twin(p, g, memory, step, c):
  m = memory['m'] = c.beta1 * memory.get('m', 0) + (1 - c.beta1) * g
  v = memory['v'] = c.beta2 * memory.get('v', 0) + (1 - c.beta2) * g * g
  m_hat, v_hat = m / (1 - c.beta1 ** (step + 1)), v / (1 - c.beta2 ** (step + 1))
  return p - c.learning_rate * m_hat / (np.sqrt(v_hat) + EPS)


def adamw_twin(p, g, memory, step, c):
  return adam_twin(p, g, memory, step, c) - c.learning_rate * c.weight_decay * p


@pytest.mark.parametrize('name', optimizer.NAMES)
@pytest.mark.parametrize('scale', [1.0, 1e-5])
def test_rule_is_the_published_one(name, scale):
  config = config_with(name=name, learning_rate=0.1, weight_decay=0.3 if name == 'adamw' else 0.0)
  grads, twin, memory = gradients() * np.float32(scale), globals()[f'{name}_twin'], {}
  p, expected = np.ones(5), []
  for step, g in enumerate(grads.astype(np.float64)):
    p = twin(p, g, memory, step, config)
    expected.append(p)
  np.testing.assert_allclose(run(config, grads), expected, rtol=2e-5, atol=2e-6)


class Parameters(NamedTuple):
  w_h: Any
  b: Any
  peepholes: Any


def test_weights_alone_are_decayed():
  """Also those whose names have a 'b' or a 'start' in them; biases by their names, of any rank."""
  matrix, vector = jnp.ones((2, 3)), jnp.ones(3)
  params = {
    'cells': (
      Parameters(w_h=(matrix, matrix), b=matrix, peepholes=matrix),
      LearnedStart(Parameters(w_h=matrix, b=vector, peepholes=vector), start={'h': matrix}),
      {'b_hn': matrix, 'w_bare': matrix, 'restart': matrix, 'kernel': matrix, 'scale': vector},
    ),
    'embedding': matrix,
    'encoder': {'embedding': matrix, 'bias': matrix},
    'head': {'w': matrix, 'b': vector},
  }
  config = config_with(name='adamw', learning_rate=1.0, weight_decay=0.25)
  tx, _ = optimizer.make_optimizer(config, 2, 10, 3)
  grads = jax.tree.map(jnp.zeros_like, params)
  updates, _ = tx.update(grads, tx.init(params), params, value=0.0)
  kept = [
    jax.tree_util.keystr(path, simple=True, separator='/')
    for path, update in jax.tree_util.tree_leaves_with_path(updates)
    if not np.any(update)
  ]
  assert kept == [
    *('cells/0/b', 'cells/0/peepholes', 'cells/1/cell/b', 'cells/1/cell/peepholes'),
    *('cells/1/start/h', 'cells/2/b_hn', 'cells/2/scale'),
    *('embedding', 'encoder/bias', 'encoder/embedding', 'head/b'),
  ]
  others = [update for update in jax.tree.leaves(updates) if np.any(update)]
  assert len(others) == 7
  for update in others:
    np.testing.assert_allclose(update, np.full((2, 3), -0.25))


@pytest.mark.parametrize('cell', ['gru', 'lru', 'lstm_peephole', 'layer_norm_lstm', 'rhn'])
def test_weights_of_cells_are_those_that_decay(cell):
  x = jax.ShapeDtypeStruct((1, 4), jnp.float32)
  params = jax.eval_shape(lambda key: CELLS[cell](3).init(key, x), jax.random.key(0))
  for path, is_decayed in jax.tree_util.tree_leaves_with_path(optimizer.decayed(params)):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    assert is_decayed == (name.startswith('w_') and not name.endswith(('scale', 'offset'))), name


def test_first_states_of_machines_are_not_decayed():
  x = jnp.ones((1, 4))
  for cell in (ntm(lstm(4), num_rows=8), dnc(lstm(4), num_rows=8), entnet(3)):
    told = optimizer.decayed(cell.init(jax.random.key(0), x))
    names = [
      jax.tree_util.keystr(path)
      for path, is_decayed in jax.tree.leaves_with_path(told)
      if is_decayed
    ]
    assert names and not [name for name in names if name.endswith(('places', 'reads', 'keys'))]


def test_a_state_of_optax_adamw_goes_on():
  config = config_with(name='adamw', weight_decay=0.1)
  ours = optimizer.update_rule(config, optax.constant_schedule(0.1))
  theirs = optax.adamw(optax.constant_schedule(0.1), weight_decay=0.1)
  params = {'w': jnp.ones((2, 3))}
  assert jax.tree.structure(ours.init(params)) == jax.tree.structure(theirs.init(params))


def test_clips_value_first_then_norm():
  config = config_with(name='sgd', learning_rate=1.0, clip_value=1.0, clip_norm=1.5)
  grad = np.float32([3.0, -4.0, 0.5, 0.0, -1.0])
  clipped = np.clip(grad, -1, 1)
  expected = clipped * 1.5 / np.linalg.norm(clipped)
  np.testing.assert_allclose(1 - run(config, [grad])[0], expected, rtol=1e-6)


def test_small_gradients_are_not_clipped():
  config = config_with(name='sgd', learning_rate=1.0, clip_value=1.0, clip_norm=5.0)
  grad = np.float32([0.5, -0.25, 0.125, 0.0, -0.75])
  np.testing.assert_array_equal(1 - run(config, [grad])[0], grad)


def test_share_clipped():
  grads = {'a': jnp.float32([3.0, 0.1]), 'b': jnp.float32([-2.0, 0.0])}
  share = lambda **fields: optimizer.describe_gradients(config_with(**fields), grads)['clipped']
  assert share() == 0.0
  assert share(clip_norm=3.0) == 1.0
  assert share(clip_norm=4.0) == 0.0
  assert share(clip_value=2.5) == 0.25


def rates(num_steps, **fields):
  _, schedule = optimizer.make_optimizer(config_with(learning_rate=1.0, **fields), 3, num_steps, 1)
  return np.array([schedule(step) for step in range(num_steps)])


def test_exponential_holds_the_full_rate_for_decay_after_epochs():
  epoch = np.arange(24) // 3
  expected = 0.5 ** np.maximum(epoch - 4 + 1, 0)
  np.testing.assert_allclose(
    rates(24, schedule='exponential', decay_factor=0.5, decay_after=4), expected, rtol=1e-6
  )
  assert expected[11] == 1.0
  assert expected[12] == 0.5


def test_exponential_is_char_rnns_rule():
  rate, expected = 1.0, []
  for i in range(1, 25):
    expected.append(rate)
    if i % 3 == 0 and i / 3 >= 2:
      rate *= 0.97
  np.testing.assert_allclose(
    rates(24, schedule='exponential', decay_factor=0.97, decay_after=2), expected, rtol=1e-5
  )


def test_cosine_with_warmup():
  got = rates(20, schedule='cosine', warmup_steps=4, final_fraction=0.1)
  np.testing.assert_allclose(got[:4], [0.25, 0.5, 0.75, 1.0], rtol=1e-6)
  u = (np.arange(4, 20) - 4) / 16
  np.testing.assert_allclose(got[4:], 0.1 + 0.9 * (1 + np.cos(np.pi * u)) / 2, rtol=1e-5)


def test_warmup_does_not_shift_the_epochs():
  got = rates(9, schedule='exponential', decay_factor=0.5, decay_after=1, warmup_steps=3)
  np.testing.assert_allclose(got, [1 / 3, 2 / 3, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25], rtol=1e-6)


def test_updates_follow_the_schedule():
  config = config_with(
    name='sgd', learning_rate=1.0, schedule='exponential', decay_factor=0.5, decay_after=1
  )
  steps = np.diff(
    np.concatenate([np.ones((1, 5)), run(config, np.ones((6, 5), np.float32))]), axis=0
  )
  np.testing.assert_allclose(-steps[:, 0], [1, 1, 0.5, 0.5, 0.25, 0.25], rtol=1e-6)


@pytest.mark.parametrize(
  ('patience', 'expected'),
  [
    (1, [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]),
    (2, [1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]),
  ],
)
def test_plateau_compares_once_per_evaluation(patience, expected):
  """Evaluations after updates 3, 6, 9, 12 give 2.0, 2.1, 2.0, 1.5: the first and the last are the best so far."""
  values = [np.inf] * 3 + [2.0] * 3 + [2.1] * 3 + [2.0] * 3 + [1.5]
  config = config_with(
    name='sgd', learning_rate=1.0, schedule='plateau', decay_factor=0.5, patience=patience
  )
  steps = np.diff(
    np.concatenate([np.ones((1, 5)), run(config, np.ones((13, 5), np.float32), values=values)]),
    axis=0,
  )
  np.testing.assert_allclose(-steps[:, 0], expected, rtol=1e-6)


def test_logged_rate_includes_the_plateau():
  config = config_with(schedule='plateau', decay_factor=0.5, learning_rate=0.1)
  tx, schedule = optimizer.make_optimizer(config, 3, 10, 1)
  params = {'scale': jnp.ones(3)}
  opt_state = tx.init(params)
  for _ in range(3):
    _, opt_state = tx.update(params, opt_state, params, value=jnp.float32(1.0))
  np.testing.assert_allclose(schedules.learning_rate(schedule, opt_state, 3), 0.05, rtol=1e-6)


@pytest.mark.parametrize(
  ('field', 'value', 'text'),
  [
    ('learning_rate', -1.0, 'optimizer.learning_rate is -1.0, expected a number > 0'),
    ('learning_rate', float('nan'), 'optimizer.learning_rate is nan'),
    ('name', 'adm', "optimizer.name is 'adm', expected one of sgd, rmsprop"),
    ('schedule', 'cos', "optimizer.schedule is 'cos'"),
    ('decay_after', 0, 'optimizer.decay_after is 0'),
    ('weight_decay', 0.1, 'only adamw'),
  ],
)
def test_bad_values_are_refused(field, value, text):
  with pytest.raises(ValueError, match=text):
    optimizer.make_optimizer(config_with(**{field: value}), 1, 1, 1)


def test_cosine_needs_steps_after_the_warmup():
  with pytest.raises(ValueError, match='warmup_steps is 5'):
    optimizer.make_optimizer(config_with(schedule='cosine', warmup_steps=5), 1, 5, 1)


@pytest.mark.parametrize('schedule', ['constant', 'plateau'])
def test_some_parameters_are_trained_at_a_share_of_the_rate(schedule):
  params = {'eye': {'w': jnp.ones(2)}, 'eyelid': jnp.ones(2), 'head': {'w': jnp.ones(2)}}
  config = config_with(name='adam', schedule=schedule, clip_norm=1.0)
  tx, _ = optimizer.make_optimizer(config, 2, 10, 1)
  shared = optimizer.at_shares(tx, {'eye': 0.1, 'head/w': 1.0, 'head': 0.5})
  plain_state, state = tx.init(params), shared.init(params)
  for value in (1.0, 2.0, 3.0):
    grads = jax.tree.map(lambda a, v=value: v * a, params)
    plain, plain_state = tx.update(grads, plain_state, params, value=value)
    updates, state = shared.update(grads, state, params, value=value)
    np.testing.assert_allclose(updates['eye']['w'], 0.1 * plain['eye']['w'], rtol=1e-6)
    np.testing.assert_allclose(updates['head']['w'], 0.5 * plain['head']['w'], rtol=1e-6)
    np.testing.assert_array_equal(updates['eyelid'], plain['eyelid'])


def test_exponential_decays_every_so_many_epochs():
  got = rates(
    27, schedule='exponential', decay_factor=0.5, decay_after=4, decay_every=2, warmup_steps=0
  )
  expected = np.repeat([1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125], 3)
  np.testing.assert_allclose(got, expected, rtol=1e-6)
