"""Whether an engine computes what it should on this machine: it runs once before anybody relies on
it."""

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.cell import Cell, ScanFn

# More steps than buffers, more rows than a cluster of blocks takes.
_NUM_STEPS, _BATCH_SIZE, _NUM_INPUTS = 5, 17, 3

_found: dict[Hashable, str | None] = {}


def disagreement(key: Hashable, engine: ScanFn, cell: Cell, tolerance: float) -> str | None:
  """Returns in one sentence what is wrong with an engine on the default device, or None where it
  agrees with the cell.

  Several processes decide each for itself, so their GPUs have to be of one kind.

  Args:
    key: all that the answer depends on; it is found once per process and key.
    engine: as `scan` of the cell, called without masks and resets.
    cell: its `scan` is the reference.
    tolerance: on `deviation`.
  """
  if key not in _found:
    # Where a caller's function is being traced nothing can be run in its thread.
    with ThreadPoolExecutor(1) as pool:
      _found[key] = pool.submit(_verdict, engine, cell, tolerance).result()
  return _found[key]


def _verdict(engine, cell, tolerance):
  try:
    found = deviation(engine, cell)
  except Exception as e:  # of a compiler or a driver: other engines may work
    first = str(e).splitlines()[0][:200] if str(e) else ''
    return f'its check fails on this machine ({type(e).__name__}: {first})'
  if found <= tolerance:
    return None
  return (
    f'on this machine it differs from the fused scan, by {found:.1e} of the norm: please report it'
  )


def deviation(engine: ScanFn, cell: Cell) -> float:
  """Returns the largest error of states, outputs and gradients, relative to their norms; arguments
  of `disagreement`.

  Outputs are those of a forward pass alone, which is another program than that of the gradients.
  """
  given = _example(cell)
  with jax.default_matmul_precision('highest'):
    got, expected = (_run(scan, given) for scan in (engine, cell.scan))
  error = lambda a, b: (
    jnp.linalg.norm((a - b).astype(jnp.float32)) / jnp.linalg.norm(b.astype(jnp.float32))
  )
  return float(jnp.stack(jax.tree.leaves(jax.tree.map(error, got, expected))).max())


def _run(scan, given):
  return [jax.jit(f)(*given) for f in (scan, _gradients(scan))]


def _example(cell):
  """Returns parameters without zeros, a state and inputs."""
  rng = np.random.default_rng(0)

  def noise(shape, scale):
    return jnp.asarray(rng.normal(0.0, scale, shape), jnp.float32)

  xs = noise((_NUM_STEPS, _BATCH_SIZE, _NUM_INPUTS), 1.0)
  params = jax.tree.map(
    lambda a: a + noise(a.shape, 0.3 / (a.shape[0] ** 0.5 if a.ndim > 1 else 1.0)),
    cell.init(jax.random.key(0), xs[0]),
  )
  return (
    params,
    jax.tree.map(lambda a: a + noise(a.shape, 0.5), cell.initial_state(params, _BATCH_SIZE)),
    xs,
  )


def _gradients(scan: ScanFn) -> Callable:
  def loss(params, state, xs):
    return sum(
      jnp.sin(leaf.astype(jnp.float32)).sum() for leaf in jax.tree.leaves(scan(params, state, xs))
    )

  return jax.grad(loss, (0, 1, 2))
