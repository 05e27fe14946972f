"""What `--list` prints."""

import jax
import jax.numpy as jnp

import experiments
from rnn_research.cells import CELLS
from rnn_research.launching.flags import Mode
from rnn_research.parameters import num_parameters

# As far as flags go, a mode of its own.
LISTING = Mode(run=print, config=False)


def experiment_listing() -> str:
  """Returns experiments and variants, one line each."""
  return '\n'.join(
    f'{f"{name}:{variant}":32} {text}'
    for name in experiments.names()
    for variant, text in experiments.variants(name).items()
  )


def cell_listing(input_size: int = 64, hidden_size: int = 128) -> str:
  """Returns all cells, one line each, with their parameter counts at one size."""
  x = jax.ShapeDtypeStruct((1, input_size), jnp.float32)
  lines = [f'{"cell":20} parameters at {input_size} inputs and {hidden_size} hidden units']
  for name, factory in CELLS.items():
    params = jax.eval_shape(lambda key, f=factory: f(hidden_size).init(key, x), jax.random.key(0))
    lines.append(f'{name:20} {num_parameters(params):,}')
  return '\n'.join(lines)
