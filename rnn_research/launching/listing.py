"""What `--list` prints; JAX, which is slow to load, only where cells are counted."""

import experiments
from rnn_research.launching.flags import Mode
from rnn_research.terminal import fitted, table

# As far as flags go, a mode of its own.
LISTING = Mode(run=print, config=False)
_ABOUT = (
  'Times are of whole runs on 1 or 2 CPU cores, as measured; -: not yet measured. '
  "Scores are in the first lines of the experiment's file."
)


def experiment_listing() -> str:
  """Returns experiments and variants with the time of a run, one line each, and what the times
  are."""
  rows = [
    (f'{name}:{variant}', told)
    for name in experiments.names()
    for variant, told in experiments.variants(name).items()
  ]
  width = max(len(name) for name, _ in rows)
  return '\n'.join(
    [
      table((f'{name:{width}}  {told.time or "-":>6}', told.text) for name, told in rows),
      fitted(_ABOUT),
    ]
  )


def cell_listing(input_size: int = 64, hidden_size: int = 128) -> str:
  """Returns all cells, one line each, with their parameter counts at one size."""
  import jax
  import jax.numpy as jnp

  from rnn_research.cells import CELLS
  from rnn_research.parameters import num_parameters

  x = jax.ShapeDtypeStruct((1, input_size), jnp.float32)
  lines = [f'{"cell":20} parameters at {input_size} inputs and {hidden_size} hidden units']
  for name, factory in CELLS.items():
    params = jax.eval_shape(lambda key, f=factory: f(hidden_size).init(key, x), jax.random.key(0))
    lines.append(f'{name:20} {num_parameters(params):,}')
  return '\n'.join(lines)
