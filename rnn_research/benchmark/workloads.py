"""Our work beside training: writing symbols, translating, drawing batches, the gradient of a long
sequence.

All but the last are functions `(setting) -> part -> () -> Program`; see `contenders`.
"""

import resource
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.benchmark import contenders
from rnn_research.benchmark.contenders import NUM_SYMBOLS
from rnn_research.benchmark.serve import Program, Setting, process_memory, timed
from rnn_research.cells import lstm, make_cell
from rnn_research.data.streams import text_stream
from rnn_research.decoding.language import sampler
from rnn_research.decoding.sampling import Sampling
from rnn_research.experiment import TrainData
from rnn_research.models.language_model import language_model
from rnn_research.training import backend
from rnn_research.unroll import unroll

_TEXT_SIZE = 1_000_000  # symbols, as in tiny Shakespeare
_LONG_INPUTS = 16


def sampling(setting: Setting, dtype: str = 'float32'):
  """Our sampler, which writes `unroll_length` symbols one after the other; products in `dtype`."""
  backend.configure(1)
  precision = jnp.dtype(dtype)
  cell = make_cell(setting.cell, setting.hidden_size, engine=setting.engine, dtype=precision)
  model = language_model((cell,) * setting.num_layers, NUM_SYMBOLS, dtype=precision)
  params = model.init(jax.random.key(setting.seed))
  generate, prompt = sampler(model), contenders.symbols(setting)['inputs'][:, :1]
  write = lambda: list(
    generate(params, prompt, setting.unroll_length, jax.random.key(1), Sampling())
  )
  return {'sampler': lambda: Program(write)}


def batches(setting: Setting):
  """Draws `BATCHES_DRAWN` batches of [B, T] inputs and targets, as the training loop does; no
  device is used."""
  iterator = random_text(setting).iterator

  def run():
    for _ in range(contenders.BATCHES_DRAWN):
      next(iterator)

  return {'batches': lambda: Program(run)}


def random_text(setting: Setting) -> TrainData:
  """Returns the batches of a text of random symbols."""
  size = max(_TEXT_SIZE, setting.batch_size * setting.unroll_length + 1)
  ids = np.random.default_rng(setting.seed).integers(NUM_SYMBOLS, size=size, dtype=np.int32)
  return text_stream(ids, setting.batch_size, setting.unroll_length, '')


def long_gradient(num_steps: int, every: int | None) -> dict:
  """Runs the gradient of an LSTM's outputs over a sequence whose states may not fit into memory,
  with at most `LONG_LIMIT` bytes more than are held already; `every` is `remat_every` of `unroll`.

  Returns 'temporary', the bytes that the compiled program asks for beside arguments and results,
  with 'seconds' of a run, or 'refused': why it did not run. Only Linux has the limit, and an
  accelerator's memory has none.
  """
  cell = lstm(contenders.LONG_HIDDEN)
  params = cell.init(jax.random.key(0), jnp.zeros((contenders.LONG_BATCH, _LONG_INPUTS)))
  shape = num_steps, contenders.LONG_BATCH, _LONG_INPUTS
  xs = np.random.default_rng(1).standard_normal(shape, np.float32)
  loss = lambda params, xs: jnp.mean(unroll(cell, params, xs, remat_every=every)[1] ** 2)
  compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
  memory: Any = compiled.memory_analysis()  # every backend that runs this can tell
  result = {'temporary': memory.temp_size_in_bytes}
  _limit_memory()
  try:
    seconds = timed(lambda: jax.block_until_ready(compiled(params, xs)))[1]
  except jax.errors.JaxRuntimeError as error:
    return {**result, 'refused': str(error).split('\n')[0]}
  return {**result, 'seconds': seconds}


def _limit_memory():
  held = process_memory('VmData')
  if held is not None and jax.default_backend() == 'cpu':
    limit = held + contenders.LONG_LIMIT
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
