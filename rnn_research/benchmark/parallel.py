"""Engines for a long sequence, those in parallel over time among them: a GRU's outputs and the
gradient of a loss.

A function `(setting) -> part -> () -> Program` each; see `contenders`.
"""

import functools

import jax
import jax.numpy as jnp

from rnn_research.benchmark.contenders import Setting
from rnn_research.benchmark.jax_programs import device_memory, timed
from rnn_research.benchmark.serve import Program
from rnn_research.cells import make_cell
from rnn_research.unroll import unroll


def _engine(name: str, setting: Setting):
  """One layer in float32 reads H normal numbers a step; the loss is the mean square of its
  outputs."""
  of_inputs, of_params = jax.random.split(jax.random.key(setting.seed))
  xs = jax.random.normal(
    of_inputs, (setting.unroll_length, setting.batch_size, setting.hidden_size)
  )
  cell, plain = (make_cell('gru', setting.hidden_size, engine=engine) for engine in (name, 'scan'))
  params = plain.init(of_params, xs[0])
  outputs, expected = (
    jax.jit(lambda params, xs, cell=cell: unroll(cell, params, xs)[1]) for cell in (cell, plain)
  )
  gradient = jax.jit(jax.grad(lambda params, xs: jnp.mean(outputs(params, xs) ** 2)))

  def program(function, difference=None):
    seconds = timed(lambda: function.lower(params, xs).compile())[1]
    return Program(
      lambda: jax.block_until_ready(function(params, xs)), seconds, device_memory(), difference
    )

  difference = lambda: float(jnp.max(jnp.abs(outputs(params, xs) - expected(params, xs))))
  return {'forward': lambda: program(outputs, difference), 'gradient': lambda: program(gradient)}


scan, fused, newton, shooting = (
  functools.partial(_engine, name) for name in ('scan', 'fused', 'newton', 'shooting')
)
