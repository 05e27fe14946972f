"""The one loop: the same numbers on any devices, averages, carries, precision, exact evaluation, every experiment."""

import itertools
import json
import os
import signal
import socket

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import TINY, assert_same_run, log_of, read_json, run, start

import experiments
from rnn_research.cells import CELLS, make_cell
from rnn_research.data.codec import RULES
from rnn_research.experiment import Command
from rnn_research.models import language_model
from rnn_research.tasks.language import text_store
from rnn_research.training import backend, config, loop, optimizer
from rnn_research.training.step import create_state, make_step, unpack

LOSSES = ['train/loss', 'train/gradient_norm', 'valid/nats_per_symbol']
LAUNCH = [
  '--experiment=char_lm:debug',
  *TINY,
  '--config.train.batch_size=8',
  '--config.train.steps=6',
  '--config.train.log_every=1',
  '--config.train.eval_every=3',
]


def tiny(text, **changes):
  """Returns the config of a tiny model; a change is named like `model__cell='elman'`."""
  values = experiments.get_config('char_lm:debug').unlock()
  values.data.path = str(text)
  values.model.hidden_size, values.train.show_steps = 6, ()
  values.train.update(batch_size=4, unroll_length=8, steps=5, eval_every=5, log_every=1)
  for name, value in changes.items():
    block, field = name.split('__')
    values[block][field] = value
  config.check_ranges(values.lock())
  return values


def train(values, workdir):
  """Trains on one device and returns the lines of metrics.jsonl."""
  experiment = experiments.build('char_lm:debug', values)
  mesh = backend.data_mesh(values.train.batch_size, 1)
  loop.train(experiment, experiment.train_data(), values, str(workdir), mesh, {})
  return log_of(workdir)


def stepper(values, loss=lambda loss: loss):
  """Returns a train state and the function `state -> (state, metrics)`; `loss` wraps the experiment's."""
  experiment = experiments.build('char_lm:debug', values)
  experiment = experiment._replace(loss=loss(experiment.loss))
  data, mesh = experiment.train_data(), backend.data_mesh(values.train.batch_size, 1)
  tx, _ = optimizer.make_optimizer(values.optimizer, data.steps_per_epoch, values.train.steps, 5)
  averaged = values.train.ema_decay > 0
  state = create_state(experiment, tx, jax.random.key(0), values.train.batch_size, averaged, mesh)
  make = make_step(
    experiment,
    mesh,
    jax.random.key(1),
    micro_batches=values.train.micro_batches,
    ema_decay=values.train.ema_decay,
    describe=lambda grads, means: {},
  )
  position = data.iterator.get_state()
  compiled = make(state, backend.fed(mesh, next(data.iterator)))
  data.iterator.set_state(position)

  def step(state):
    state, metrics = compiled(state, backend.fed(mesh, next(data.iterator)))
    return jax.block_until_ready(state), unpack(metrics)

  return state, step


def assert_losses_close(lines, others):
  count = 0
  for line, other in zip(lines, others, strict=True):
    assert line.keys() == other.keys()
    for name in set(LOSSES) & line.keys():
      assert line[name] == pytest.approx(other[name], rel=1e-5)
      count += 1
  assert count >= 10


@pytest.fixture(scope='module')
def one_device(make_once, text):
  """Returns the workdir of a run on one device; not to be changed."""
  return make_once(
    'one_device',
    lambda folder: run(
      *LAUNCH, f'--config.data.path={text}', '--num_devices=1', f'--workdir={folder}'
    ),
  )


def test_eight_devices_equal_one(one_device, text, tmp_path):
  out, _ = run(*LAUNCH, f'--config.data.path={text}', '--num_devices=8', f'--workdir={tmp_path}')
  assert '8 device(s)' in out
  assert_losses_close(log_of(tmp_path), log_of(one_device))
  for split in ('valid', 'test'):
    figure = lambda folder, s=split: read_json(folder, 'result.json')['metrics'][s][
      'nats_per_symbol'
    ]
    assert figure(tmp_path) == pytest.approx(figure(one_device), rel=1e-5)


def test_two_processes_equal_one(one_device, text, tmp_path):
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{s.getsockname()[1]}'
  flags = [*LAUNCH, f'--config.data.path={text}', '--num_devices=2', f'--workdir={tmp_path}']
  processes = [
    start(*flags, JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES='2', JAX_PROCESS_ID=str(i))
    for i in range(2)
  ]
  outputs = [process.communicate(timeout=600) for process in processes]
  assert [process.returncode for process in processes] == [0, 0], outputs
  assert 'after 6 steps' in outputs[0][0]
  assert [line for line in outputs[1][0].splitlines() if '[Gloo]' not in line] == []
  assert_losses_close(log_of(tmp_path), log_of(one_device))
  assert read_json(tmp_path, 'result.json')['num_devices'] == 2
  assert any((tmp_path / 'report').iterdir())


@pytest.mark.parametrize('flags', [['--mode=sample'], []])
def test_several_processes_need_a_training_workdir(main, workdir, monkeypatch, flags):
  flags = [*flags, f'--workdir={workdir}'] if flags else []
  env = {'JAX_COORDINATOR_ADDRESS': '127.0.0.1:1', 'JAX_NUM_PROCESSES': '2', 'JAX_PROCESS_ID': '0'}
  for name, value in env.items():
    monkeypatch.setenv(name, value)
  code, _, err = main(*flags)
  assert (code, err) == (
    2,
    'error: several processes run only --mode=train, in the one --workdir that all of them name\n',
  )


@pytest.mark.parametrize(
  ('name', 'value', 'said'),
  [
    ('JAX_NUM_PROCESSES', '2', 'only JAX_NUM_PROCESSES is set'),
    ('JAX_PROCESS_ID', 'first', "is 'first'"),
  ],
)
def test_half_set_variables(main, monkeypatch, tmp_path, name, value, said):
  if name == 'JAX_PROCESS_ID':
    monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', '127.0.0.1:1')
    monkeypatch.setenv('JAX_NUM_PROCESSES', '2')
  monkeypatch.setenv(name, value)
  code, _, err = main(f'--workdir={tmp_path / "run"}')
  assert code == 1
  assert said in err


def test_micro_batches_equal_the_whole_batch(text, tmp_path):
  assert_losses_close(
    train(tiny(text, train__micro_batches=2), tmp_path / 'two'), train(tiny(text), tmp_path / 'one')
  )


def test_average_of_parameters(text):
  state, step = stepper(tiny(text, train__ema_decay=0.7))
  numpy = lambda tree: [np.array(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
  average = numpy(state.params)
  for _ in range(4):
    state, _ = step(state)
    average = [0.7 * a + 0.3 * p for a, p in zip(average, numpy(state.params), strict=True)]
  for found, expected, last in zip(numpy(state.average), average, numpy(state.params), strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert np.abs(expected - last).max() > 1e-4


def test_the_average_is_what_is_evaluated(text, tmp_path):
  averaged = train(tiny(text, train__ema_decay=0.99), tmp_path / 'averaged')[-1][
    'valid/nats_per_symbol'
  ]
  latest = train(tiny(text), tmp_path / 'latest')[-1]['valid/nats_per_symbol']
  assert averaged > latest + 0.01


def test_the_carry_goes_on_from_step_to_step(text):
  def digest(carry):
    return sum(
      jnp.sum(leaf * jnp.arange(1.0, leaf.size + 1).reshape(leaf.shape))
      for leaf in jax.tree.leaves(carry)
    )

  def spy(loss):
    def spied(params, carry, batch, key, step):
      total, (weight, after, metrics) = loss(params, carry, batch, key, step)
      return total, (weight, after, metrics | {'before': digest(carry) * weight})

    return spied

  state, step = stepper(tiny(text), spy)
  after = 0.0
  for _ in range(4):
    state, metrics = step(state)
    assert float(metrics['before']) == pytest.approx(after, rel=1e-6)
    after = float(digest(state.carry))
    assert abs(after) > 1e-3


def test_bfloat16_keeps_float32_where_it_must(text):
  for cell in ('gru', 'lstm'):
    values = tiny(text, model__dtype='bfloat16', model__cell=cell, train__ema_decay=0.5)
    experiment = experiments.build('char_lm:debug', values)
    state, step = stepper(values)
    batch, key = next(experiment.train_data().iterator), jax.random.key(0)
    told = jax.eval_shape(experiment.loss, state.params, state.carry, batch, key, state.step)
    for _ in range(3):
      state, metrics = step(state)
    assert np.isfinite(metrics['loss'])
    kept = jax.tree.leaves((state.params, state.carry, state.average, told))
    assert {leaf.dtype for leaf in kept} == {np.dtype('float32')}


def slow_nats(model_params, cell, ids):
  """Returns -log p of every symbol of a stream but the first: float64 softmax after single steps of the cell."""
  (params,), head = (
    model_params['cells'],
    jax.tree.map(lambda a: np.asarray(a, np.float64), model_params['head']),
  )
  advance = jax.jit(
    lambda state, x: cell.step(params, state, cell.project(params, x[None, None])[0])
  )
  state, nats = cell.initial_state(params, 1), []
  for symbol, target in itertools.pairwise(ids):
    state, y = advance(state, jnp.eye(len(head['b']), dtype=jnp.float32)[symbol])
    logits = np.asarray(y[0], np.float64) @ head['w'] + head['b']
    nats.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[target])
  return np.array(nats)


@pytest.fixture(scope='module')
def scored(text):
  """Returns (experiment, params, ids by split, cell) of an untrained tiny model with evaluation in 3 lanes."""
  values = tiny(text, train__eval_lanes=3)
  experiment = experiments.build('char_lm:debug', values)
  params = jax.tree.map(lambda a: 2 * a, experiment.init(jax.random.key(5)))
  with pytest.MonkeyPatch.context() as patch:
    # Chunks of 60 and of 20 steps.
    patch.setattr(language_model, '_LOGITS_LIMIT', 20 * 3 * len(params['head']['b']))
    yield experiment, params, text_store.load_corpus(values.data, RULES).splits, make_cell('gru', 6)


def test_evaluation_counts_every_prediction_once(scored):
  experiment, params, splits, cell = scored
  assert list(experiment.final_evaluate) == ['valid', 'test']
  for split, measure in experiment.final_evaluate.items():
    nats = slow_nats(params, cell, splits[split])
    metrics = measure(params, jax.random.key(0))
    assert metrics['predictions'] == len(splits[split]) - 1 == len(nats)
    assert metrics['nats_per_symbol'] == pytest.approx(nats.mean(), rel=1e-6)


def test_evaluation_in_lanes(scored):
  """Each lane begins afresh; all together they make every prediction once."""
  experiment, params, splits, cell = scored
  ids = splits['valid']
  size = -(-(len(ids) - 1) // 3)
  nats = np.concatenate(
    [slow_nats(params, cell, ids[i * size : (i + 1) * size + 1]) for i in range(3)]
  )
  metrics = experiment.evaluate['valid'](params, jax.random.key(0))
  assert metrics['predictions'] == len(ids) - 1 == len(nats)
  assert metrics['nats_per_symbol'] == pytest.approx(nats.mean(), rel=1e-6)
  assert metrics['nats_per_symbol'] != pytest.approx(slow_nats(params, cell, ids).mean(), rel=1e-6)


ALL = [
  f'{name}:{variant}' for name in experiments.names() for variant in experiments.variants(name)
]


@pytest.mark.parametrize('name', ALL)
def test_every_variant_has_a_config(name):
  values = experiments.get_config(name)
  config.check_ranges(values)
  if config.trains(values):
    assert list(values) == list(experiments.get_config('char_lm')), (
      'the same blocks wherever a model is trained'
    )
  saved = json.loads(json.dumps(values.to_dict()))
  assert (
    config.update_from_json(experiments.get_config(name).unlock(), saved).to_dict()
    == values.to_dict()
  )


@pytest.mark.parametrize(
  'name',
  [name for name in ALL if name.endswith(':debug') and config.trains(experiments.get_config(name))],
)
def test_every_experiment_trains_stops_and_goes_on(name, text, tmp_path, monkeypatch):
  values = experiments.get_config(name).unlock()
  values.train.update(steps=3, epochs=0, eval_every=0, checkpoint_every=0, log_every=1)
  if 'show_steps' in values.train:
    values.train.show_steps = (3,)
  if 'buckets' in values.data:
    values.data.update(buckets=1, examples=200)
  elif name.startswith('char_lm'):
    values.data.path = str(text)
  values.lock()

  build = lambda: experiments.build(name, values)

  def start(folder, experiment):
    mesh = backend.data_mesh(values.train.batch_size, 1)
    assert experiment.commands.keys() >= experiments.commands(name).keys()
    return loop.train(experiment, experiment.train_data(), values, str(tmp_path / folder), mesh, {})

  experiment = build()
  assert start('whole', experiment).finished
  put, calls = loop.fed, []
  compiled = len(experiment.train_data().shapes) or 1

  def terminated(*args):
    calls.append(1)
    if len(calls) == compiled + 2:  # the second step
      os.kill(os.getpid(), signal.SIGTERM)
    return put(*args)

  monkeypatch.setattr(loop, 'fed', terminated)
  stopped = start('stopped', experiment)
  assert (stopped.step, stopped.finished) == (2, False)
  assert start('stopped', build()).finished  # as in a process of its own
  assert_same_run(tmp_path / 'whole', tmp_path / 'stopped', 3)
  assert ('sample' in log_of(tmp_path / 'whole')[-1]) == ('show_steps' in values.train)


@pytest.mark.parametrize(
  ('name', 'cell'),
  [*((name, cell) for name in ('char_lm', 'long_memory') for cell in CELLS), ('seq2seq', 'gru')],
)
def test_parameters_are_float32_whatever_jax_is_set_to(name, cell, text):
  values = tiny(text) if name == 'char_lm' else experiments.get_config(f'{name}:debug')
  with values.unlocked():
    values.model.cell = cell
  config.check_ranges(values)
  experiment = experiments.build(f'{name}:debug', values)
  tree = lambda: jax.eval_shape(experiment.init, jax.random.key(0))
  plain = tree()
  with jax.enable_x64(True):
    assert tree() == plain
  assert {leaf.dtype for leaf in jax.tree.leaves(plain)} == {jnp.dtype(jnp.float32)}


def test_64_bits_and_back(text, tmp_path):
  for steps, wide in ((2, True), (4, False), (6, True)):
    with jax.enable_x64(wide):
      changes = {'optimizer__schedule': 'plateau', 'train__ema_decay': 0.9, 'train__eval_every': 2}
      rows = train(tiny(text, train__steps=steps, **changes), tmp_path)
    assert rows[-1]['step'] == steps


def test_every_command_describes_its_flags():
  for name in experiments.names():
    for command in experiments.commands(name).values():
      assert isinstance(command, Command)
      assert all(
        isinstance(default, str | int | float | bool) and text
        for default, text in command.flags.values()
      )
      assert command.help
