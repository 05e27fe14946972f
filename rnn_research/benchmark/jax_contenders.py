"""Our own forms on JAX. A function `(setting) -> part -> () -> Program` each; see `contenders`."""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from rnn_research.benchmark.contenders import (
  CLIP_NORM,
  LEARNING_RATE,
  NUM_SYMBOLS,
  Setting,
  symbols,
)
from rnn_research.benchmark.jax_programs import carried, timed
from rnn_research.benchmark.serve import Program
from rnn_research.cells import make_cell
from rnn_research.decoding.language import sampler
from rnn_research.decoding.sampling import Sampling
from rnn_research.experiment import Experiment, TrainData
from rnn_research.models.language_model import language_model, sequence_loss
from rnn_research.training import backend, optimizer
from rnn_research.training.config import kept_by_layers
from rnn_research.training.step import create_state, make_step, sharded_gradients


def about() -> dict:
  """Returns the platform and the kind of device that JAX finds."""
  return {
    'platform': jax.default_backend(),
    'device': jax.devices()[0].device_kind,
    'version': jax.__version__,
  }


def ours(setting: Setting):
  """What the training loop runs."""
  return _ours(setting, jnp.float32)


def ours_bfloat16(setting: Setting):
  """The same with products in bfloat16."""
  return _ours(setting, jnp.bfloat16)


def plain_scan(setting: Setting):
  """Our cells step by step under `lax.scan`, in our loop."""
  return _ours(setting._replace(engine='scan'), jnp.float32)


def sampling(setting: Setting):
  """Our sampler, which writes `unroll_length` symbols one after the other."""
  backend.configure(1)
  model = language_model(_cells(setting, jnp.float32), NUM_SYMBOLS)
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
  train = {'batch_size': setting.batch_size, 'micro_batches': 1}
  kept = kept_by_layers(ConfigDict({'model': sizes, 'train': train}), setting.unroll_length)
  backend.configure(setting.batch_size, kept_bytes=kept)


def _cells(setting, dtype):
  return tuple(
    make_cell(setting.cell, setting.hidden_size, engine=setting.engine, dtype=dtype)
    for _ in range(setting.num_layers)
  )


def _ours(setting, dtype):
  _configure(setting)
  mesh, key, batch = (
    backend.data_mesh(setting.batch_size),
    jax.random.key(setting.seed),
    symbols(setting),
  )
  model = language_model(_cells(setting, dtype), NUM_SYMBOLS, dtype=dtype)
  config = optimizer.default_config()
  config.update(clip_norm=CLIP_NORM, learning_rate=LEARNING_RATE)
  tx, _ = optimizer.make_optimizer(config, 1, 1, 1)

  def loss(params, carry, batch, key, step):
    total, carry = sequence_loss(model, params, carry, batch['inputs'].T, batch['targets'].T, key)
    return total, (jnp.float32(batch['inputs'].size), carry, {})

  experiment = Experiment(
    init=model.init,
    loss=loss,
    train_data=lambda: TrainData(itertools.repeat(batch), 1, ''),
    evaluate={},
    headline=('train', 'loss', 'min'),
    initial_carry=model.initial_state,
  )
  state = functools.partial(create_state, experiment, tx, key, setting.batch_size, False, mesh)
  placed = lambda: backend.shard_batch(mesh, batch)

  def step():
    make = make_step(
      experiment,
      mesh,
      key,
      micro_batches=1,
      ema_decay=0.0,
      describe=lambda grads, means: optimizer.describe_gradients(config, grads),
    )
    start = state()
    compiled, seconds = timed(lambda: make(start, placed()))
    return carried(setting, lambda state: compiled(state, placed()), start, seconds)

  def without_update(function):
    """`function(params, carry, batch, step) -> (result, carry, ...)`, sharded."""
    start = state()
    compiled = jax.jit(function).lower(start.params, start.carry, placed(), start.step).compile()

    def advance(carry):
      result, carry, *more = compiled(start.params, carry, placed(), start.step)
      return carry, (result, more)

    return carried(setting, advance, start.carry)

  def forward(params, carry, batch, step):
    total, (weight, carry, _) = loss(params, carry, batch, key, step)
    return lax.psum((total, weight), 'data'), carry

  whole, rows = PartitionSpec(), PartitionSpec('data')
  sharded = jax.shard_map(
    forward,
    mesh=mesh,
    in_specs=(whole, rows, rows, whole),
    out_specs=(whole, rows),
    check_vma=False,
  )
  return {
    'forward': lambda: without_update(sharded),
    'step': step,
    'gradient': lambda: without_update(sharded_gradients(experiment, mesh, key, 1)),
  }
