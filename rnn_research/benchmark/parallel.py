"""Engines for a long sequence, those in parallel over time among them: a GRU's outputs and the
gradient of a loss."""

import jax
import jax.numpy as jnp

from rnn_research.benchmark.contenders import Setting
from rnn_research.benchmark.jax_programs import device_memory, timed
from rnn_research.benchmark.serve import Program
from rnn_research.cells import make_cell
from rnn_research.unroll import unroll


def long(setting: Setting, engine: str):
  """One layer in float32 reads H normal numbers a step; the loss is the mean square of its outputs.
  Part -> `() -> Program`; see `contenders`."""
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
