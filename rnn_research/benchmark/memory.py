"""What rematerialisation is for: the gradient of a sequence so long that its states do not fit into
memory."""

import resource
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from rnn_research.cells import lstm
from rnn_research.unroll import unroll

HIDDEN, BATCH, INPUTS = 64, 4, 16
LIMIT = 512 * 2**20  # bytes beyond what the process held before


def gradient(num_steps: int, every: int | None) -> dict:
  """Compiles the gradient of an LSTM's outputs, and runs it with at most `LIMIT` bytes more than
  are held already.

  Args:
    num_steps: T.
    every: `remat_every` of `unroll`.

  Returns:
    'temporary', the bytes that the compiled program asks for beside arguments and results, with
    'seconds' of a run, or 'refused': why it did not run. Only Linux has the limit, and an
    accelerator's memory has none.
  """
  cell = lstm(HIDDEN)
  params = cell.init(jax.random.key(0), jnp.zeros((BATCH, INPUTS)))
  xs = jax.random.normal(jax.random.key(1), (num_steps, BATCH, INPUTS))
  loss = lambda params, xs: jnp.mean(unroll(cell, params, xs, remat_every=every)[1] ** 2)
  compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
  result = {'temporary': compiled.memory_analysis().temp_size_in_bytes}
  _limit_memory()
  start = time.perf_counter()
  try:
    jax.block_until_ready(compiled(params, xs))
  except jax.errors.JaxRuntimeError as error:
    return {**result, 'refused': str(error).split('\n')[0]}
  return {**result, 'seconds': time.perf_counter() - start}


def _limit_memory():
  path = Path('/proc/self/status')
  if path.exists() and jax.default_backend() == 'cpu':
    held = next(line for line in path.read_text().splitlines() if line.startswith('VmData'))
    limit = int(held.split()[1]) * 1024 + LIMIT
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
