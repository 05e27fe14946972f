"""Contenders that run on JAX. A function `(setting) -> part -> () -> Program` each; see `contenders`."""

import functools
import itertools
import time

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.experimental import rnn
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from rnn_research.benchmark.contenders import CLIP_NORM, LEARNING_RATE, NUM_SYMBOLS, Setting, symbols
from rnn_research.benchmark.serve import Program
from rnn_research.cells import make_cell
from rnn_research.decoding import Sampling, sampler
from rnn_research.experiment import study
from rnn_research.language_model import cross_entropy, language_model, sequence_loss
from rnn_research.training import backend, optimizer
from rnn_research.training.config import kept_bytes
from rnn_research.training.step import create_state, make_step, sharded_gradients


def about() -> dict:
  """Returns the platform and the kind of device that JAX finds."""
  return {'platform': jax.default_backend(), 'device': jax.devices()[0].device_kind, 'version': jax.__version__}


def ours(setting: Setting):
  """What the training loop runs."""
  return _ours(setting, jnp.float32)


def ours_bfloat16(setting: Setting):
  """The same with products in bfloat16."""
  return _ours(setting, jnp.bfloat16)


def plain_scan(setting: Setting):
  """Our cells step by step under `lax.scan`, in our loop."""
  return _ours(setting, jnp.float32, scan=None)


def linen(setting: Setting):
  """`flax.linen.RNN` layers."""
  cell = {'lstm': flax.linen.OptimizedLSTMCell, 'gru': flax.linen.GRUCell, 'elman': flax.linen.SimpleCell}[setting.cell]

  class Model(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, ids, carries):
      hs, ends = jax.nn.one_hot(ids, NUM_SYMBOLS), []
      for carry in carries:
        end, hs = flax.linen.RNN(cell(setting.hidden_size), return_carry=True)(hs, initial_carry=carry)
        ends.append(end)
      return flax.linen.Dense(NUM_SYMBOLS)(hs), tuple(ends)

  model, key, batch = Model(), jax.random.key(setting.seed), symbols(setting)
  shape = setting.batch_size, setting.hidden_size
  carries = tuple(cell(setting.hidden_size).initialize_carry(key, shape) for _ in range(setting.num_layers))
  return _functional(model.apply, model.init(key, batch['inputs'], carries), carries, batch)


def cudnn(setting: Setting):
  """cuDNN's LSTM through `jax.experimental.rnn`, all layers in one call."""
  sizes = NUM_SYMBOLS, setting.hidden_size, setting.num_layers
  rnn_key, head_key = jax.random.split(jax.random.key(setting.seed))
  params = {'rnn': rnn.init_lstm_weight(rnn_key, *sizes, False),
            'w': jax.nn.initializers.lecun_normal()(head_key, (setting.hidden_size, NUM_SYMBOLS)),
            'b': jnp.zeros(NUM_SYMBOLS)}
  lengths = jnp.full(setting.batch_size, setting.unroll_length, jnp.int32)

  def apply(params, ids, carry):
    hs, *carry = rnn.lstm(jax.nn.one_hot(ids, NUM_SYMBOLS), *carry, params['rnn'], lengths, *sizes, 0.0, False)
    return hs @ params['w'] + params['b'], tuple(carry)

  zeros = jnp.zeros((setting.num_layers, setting.batch_size, setting.hidden_size))
  return _functional(apply, params, (zeros, zeros), symbols(setting))


def nnx(setting: Setting):
  """`flax.nnx.RNN` layers."""
  cell = {'lstm': flax.nnx.OptimizedLSTMCell, 'gru': flax.nnx.GRUCell, 'elman': flax.nnx.SimpleCell}[setting.cell]
  rngs, batch = flax.nnx.Rngs(setting.seed), symbols(setting)

  class Model(flax.nnx.Module):
    def __init__(self):
      sizes = [NUM_SYMBOLS] + [setting.hidden_size] * setting.num_layers
      self.layers = flax.nnx.List([
          flax.nnx.RNN(cell(num_in, num_out, rngs=rngs), return_carry=True)
          for num_in, num_out in itertools.pairwise(sizes)])
      self.head = flax.nnx.Linear(setting.hidden_size, NUM_SYMBOLS, rngs=rngs)

    def __call__(self, ids, carries):
      hs, ends = jax.nn.one_hot(ids, NUM_SYMBOLS), []
      for layer, carry in zip(self.layers, carries, strict=True):
        end, hs = layer(hs, initial_carry=carry)
        ends.append(end)
      return self.head(hs), tuple(ends)

  def loss(model, carries, batch):
    logits, carries = model(batch['inputs'], carries)
    return cross_entropy(logits, batch['targets']).mean(), carries

  differentiate = flax.nnx.value_and_grad(loss, has_aux=True)

  @flax.nnx.jit
  def forward(model, carries, batch):
    value, carries = loss(model, carries, batch)
    return carries, value

  @flax.nnx.jit
  def gradient(model, carries, batch):
    (value, carries), grads = differentiate(model, carries, batch)
    return carries, (value, grads)

  @flax.nnx.jit
  def step(model, tx, carries, batch):
    (value, carries), grads = differentiate(model, carries, batch)
    tx.update(model, grads)
    return carries, value

  model = Model()
  tx = flax.nnx.Optimizer(model, _users_optimizer(), wrt=flax.nnx.Param)
  shape = setting.batch_size, NUM_SYMBOLS
  carries = tuple(layer.cell.initialize_carry(shape, rngs) for layer in model.layers)

  def program(function, *held):
    seconds = _timed(lambda: function.lower(*held, carries, batch).compile())[1]
    return Program(_carried(lambda carries: function(*held, carries, batch), carries), seconds, _device_memory())

  return {'forward': lambda: program(forward, model), 'gradient': lambda: program(gradient, model),
          'step': lambda: program(step, model, tx)}


def sampling(setting: Setting):
  """Our sampler, which writes `unroll_length` symbols one after the other."""
  backend.configure(1)
  model = language_model(_cells(setting), NUM_SYMBOLS)
  params = model.init(jax.random.key(setting.seed))
  generate, prompt = sampler(model, Sampling()), symbols(setting)['inputs'][:, :1]

  def run():
    for _ in generate(params, prompt, setting.unroll_length, jax.random.key(1)):
      pass

  return {'sampler': lambda: Program(run)}


_first = []  # setting of this process: what was set up for it cannot change for later ones


def _configure(setting):
  if _first:
    return
  _first.append(setting)
  sizes = {'hidden_size': setting.hidden_size, 'num_layers': setting.num_layers}
  train = {'batch_size': setting.batch_size, 'micro_batches': 1, 'unroll_length': setting.unroll_length}
  backend.configure(setting.batch_size, kept_bytes=kept_bytes(ConfigDict({'model': sizes, 'train': train})))


def _cells(setting, **changes):
  dtype = changes.pop('dtype', jnp.float32)
  return tuple(make_cell(setting.cell, setting.hidden_size, dtype=dtype)._replace(**changes)
               for _ in range(setting.num_layers))


def _ours(setting, dtype, **changes):
  _configure(setting)
  mesh, key, batch = backend.data_mesh(setting.batch_size), jax.random.key(setting.seed), symbols(setting)
  model = language_model(_cells(setting, dtype=dtype, **changes), NUM_SYMBOLS, dtype=dtype)
  config = optimizer.default_config()
  config.update(clip_norm=CLIP_NORM, learning_rate=LEARNING_RATE)
  tx, _ = optimizer.make_optimizer(config, 1, 1, 1)

  def loss(params, carry, batch, key, step):
    total, carry = sequence_loss(model, params, carry, batch['inputs'].T, batch['targets'].T, key)
    return total, (jnp.float32(batch['inputs'].size), carry, {})

  experiment = study(None)._replace(init=model.init, initial_carry=model.initial_state, loss=loss)
  state = functools.partial(create_state, experiment, tx, key, setting.batch_size, False, mesh)
  placed = lambda: backend.shard_batch(mesh, batch)

  def step():
    make = make_step(experiment, mesh, key, micro_batches=1, ema_decay=0.0,
                     describe=lambda grads, means: optimizer.describe_gradients(config, grads))
    start = state()
    compiled, seconds = _timed(lambda: make(start, placed()))
    return Program(_carried(lambda state: compiled(state, placed()), start), seconds, _device_memory())

  def without_update(function):
    """`function(params, carry, batch, step) -> (result, carry, ...)`, sharded."""
    start = state()
    compiled = jax.jit(function).lower(start.params, start.carry, placed(), start.step).compile()

    def advance(carry):
      result, carry, *more = compiled(start.params, carry, placed(), start.step)
      return carry, (result, more)

    return Program(_carried(advance, start.carry))

  def forward(params, carry, batch, step):
    total, (weight, carry, _) = loss(params, carry, batch, key, step)
    return lax.psum((total, weight), 'data'), carry

  whole, rows = PartitionSpec(), PartitionSpec('data')
  sharded = jax.shard_map(forward, mesh=mesh, in_specs=(whole, rows, rows, whole), out_specs=(whole, rows),
                          check_vma=False)
  return {'forward': lambda: without_update(sharded), 'step': step,
          'gradient': lambda: without_update(sharded_gradients(experiment, mesh, key, 1))}


def _functional(apply, params, carry, batch):
  """The three programs as a user of `apply(params, ids, carry) -> (logits, carry)` writes them."""
  tx = _users_optimizer()

  def loss(params, carry, batch):
    logits, carry = apply(params, batch['inputs'], carry)
    return cross_entropy(logits, batch['targets']).mean(), carry

  differentiate = jax.value_and_grad(loss, has_aux=True)

  def forward(carry, params, batch):
    value, carry = loss(params, carry, batch)
    return carry, value

  def gradient(carry, params, batch):
    (value, carry), grads = differentiate(params, carry, batch)
    return carry, (value, grads)

  def step(state, batch):
    params, opt_state, carry = state
    (value, carry), grads = differentiate(params, carry, batch)
    updates, opt_state = tx.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state, carry), value

  def program(function, state, *rest):
    compiled, seconds = _timed(lambda: jax.jit(function).lower(state, *rest).compile())
    return Program(_carried(lambda state: compiled(state, *rest), state), seconds, _device_memory())

  return {'forward': lambda: program(forward, carry, params, batch),
          'gradient': lambda: program(gradient, carry, params, batch),
          'step': lambda: program(step, (params, tx.init(params), carry), batch)}


def _users_optimizer():
  return optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.adam(LEARNING_RATE))


def _carried(advance, state):
  """Returns `run()`, which calls `advance(state) -> (state, result)` with the state of the call before, and waits."""
  held = [state]

  def run():
    held[0], result = advance(held[0])
    jax.block_until_ready((held[0], result))

  return run


def _timed(work):
  start = time.perf_counter()
  return work(), time.perf_counter() - start


def _device_memory():
  device = jax.local_devices()[0]
  return None if device.platform == 'cpu' else lambda: device.memory_stats()['peak_bytes_in_use']
