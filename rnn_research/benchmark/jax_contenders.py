"""Our training, and our engines on a long sequence. A function `(setting, **options) -> part ->
() -> Program` each; see `contenders`."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from rnn_research.benchmark import contenders
from rnn_research.benchmark.jax_programs import carried, device_memory, training_of
from rnn_research.benchmark.serve import Program, Setting, timed
from rnn_research.cells import make_cell
from rnn_research.experiment import Experiment, TrainData
from rnn_research.models.language_model import language_model, sequence_loss
from rnn_research.training import backend
from rnn_research.training.config import kept_by_layers
from rnn_research.training.step import sharded_gradients
from rnn_research.unroll import unroll


def about() -> dict:
  """Returns the platform and the kind of device that JAX finds."""
  device = jax.devices()[0].device_kind
  return {'platform': jax.default_backend(), 'device': device, 'version': jax.__version__}


def ours(setting: Setting, engine: str = '', dtype: str = 'float32'):
  """What the training loop runs, with the engine of the setting unless another is given; products
  in `dtype`."""
  configure(setting)
  batch = contenders.symbols(setting)
  experiment = symbol_experiment(setting, batch, engine or setting.engine, jnp.dtype(dtype))
  mesh, key, start_of, make, place = training_of(setting, experiment, contenders.CLIP_NORM)
  placed = lambda: place(batch)

  def step():
    start = start_of()
    compiled, seconds = timed(lambda: make(start, placed()))
    return carried(setting, lambda state: compiled(state, placed()), start, seconds)

  def without_update(function):
    """`function(params, carry, batch, step) -> (result, carry, ...)`, sharded."""
    start, rows = start_of(), lambda: backend.shard_batch(mesh, batch)
    compiled = jax.jit(function).lower(start.params, start.carry, rows(), start.step).compile()

    def advance(carry):
      result, carry, *more = compiled(start.params, carry, rows(), start.step)
      return carry, (result, more)

    return carried(setting, advance, start.carry)

  return {
    'forward': lambda: without_update(_forward(experiment, mesh, key)),
    'gradient': lambda: without_update(sharded_gradients(experiment, mesh, key, 1)),
    'step': step,
  }


# The setting of this process: what was set up for it cannot change for later ones.
_first: list[Any] = []


def configure(setting: Setting) -> None:
  """Sets up this process for a setting, unless that was done for an earlier one."""
  if _first:
    return
  _first.append(setting)
  sizes = {'hidden_size': setting.hidden_size, 'num_layers': setting.num_layers}
  train = {'batch_size': setting.batch_size, 'micro_batches': 1}
  kept = kept_by_layers(ConfigDict({'model': sizes, 'train': train}), setting.unroll_length)
  backend.configure(setting.batch_size, kept_bytes=kept)


def symbol_experiment(
  setting: Setting, batch: dict[str, np.ndarray], engine: str, dtype=jnp.float32
) -> Experiment:
  """Returns the training of a language model on one batch, over and over."""
  cell = make_cell(setting.cell, setting.hidden_size, engine=engine, dtype=dtype)
  model = language_model((cell,) * setting.num_layers, contenders.NUM_SYMBOLS, dtype=dtype)

  def loss(params, carry, batch, key, step):
    total, carry = sequence_loss(model, params, carry, batch['inputs'].T, batch['targets'].T, key)
    return total, (jnp.float32(batch['inputs'].size), carry, {})

  return Experiment(
    init=model.init,
    loss=loss,
    train_data=lambda: TrainData(itertools.repeat(batch), 1, ''),  # type: ignore[arg-type]
    evaluate={},
    headline=('train', 'loss', 'min'),
    initial_carry=model.initial_state,
  )


def _forward(experiment, mesh, key):
  def forward(params, carry, batch, step):
    total, (weight, carry, _) = experiment.loss(params, carry, batch, key, step)
    return lax.psum((total, weight), 'data'), carry

  whole, rows = PartitionSpec(), PartitionSpec('data')
  specs = {'in_specs': (whole, rows, rows, whole), 'out_specs': (whole, rows)}
  return jax.shard_map(forward, mesh=mesh, **specs, check_vma=False)


def long(setting: Setting, engine: str):
  """Engines for a long sequence, those in parallel over time among them: one GRU layer in float32
  reads H normal numbers a step; the loss is the mean square of its outputs."""
  of_inputs, of_params = jax.random.split(jax.random.key(setting.seed))
  shape = setting.unroll_length, setting.batch_size, setting.hidden_size
  xs = jax.random.normal(of_inputs, shape)
  cell, plain = (make_cell('gru', setting.hidden_size, engine=name) for name in (engine, 'scan'))
  params = plain.init(of_params, xs[0])
  outputs, expected = (
    jax.jit(lambda params, xs, cell=cell: unroll(cell, params, xs)[1]) for cell in (cell, plain)
  )
  gradient = jax.jit(jax.grad(lambda params, xs: jnp.mean(outputs(params, xs) ** 2)))
  difference = lambda: float(jnp.max(jnp.abs(outputs(params, xs) - expected(params, xs))))

  def program(function, difference=None):
    seconds = timed(lambda: function.lower(params, xs).compile())[1]
    run = lambda: jax.block_until_ready(function(params, xs))
    return Program(run, seconds, device_memory(), difference)

  return {'forward': lambda: program(outputs, difference), 'gradient': lambda: program(gradient)}
