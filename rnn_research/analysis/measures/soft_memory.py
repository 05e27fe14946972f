"""What selecting softly does to the gradient of a memory: how much of it reaches cells that are
hardly selected, and how much it shakes when the selected cell changes.

A memory of N cells m_i in R^D is read by a query q, and a loss L = u r looks at what was read:

  z_i = beta q m_i,    a = select(z),    r = sum_i a_i m_i

A softmax lets cells compete for one sum; gates, one for each cell as of an entity network, do not:

  softmax   dL/dz_i = a_i (m_i - r) u           dL/dm_i = a_i u + beta dL/dz_i q
  gates     dL/dz_i = a_i (1 - a_i) m_i u       dL/dm_i likewise
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research.typing import Array, Key

# name -> weights [N] of logits [N].
SELECTIONS: dict[str, Callable[[Array], Array]] = {
  'softmax': jax.nn.softmax,
  'gates': jax.nn.sigmoid,
}


class SoftMemory(NamedTuple):
  """A memory that is read, and a loss of what is read. Cells and u are random unit vectors."""

  cells: Array  # [N, D] float32
  readout: Array  # [D] float32, u


class Reading(NamedTuple):
  """One reading of a memory and its gradient."""

  weights: Array  # [N] float32, a
  read: Array  # [D] float32, r
  gradient: Array  # [N, D] float32, dL/dm


class Shaking(NamedTuple):
  """Changes relative to the mean size along a path, for each of T - 1 steps of it."""

  read: Array  # [T - 1] float32, |r_{t+1} - r_t| / mean |r|
  gradient: Array  # [T - 1] float32, the same of dL/dm


def draw(key: Key, num_cells: int, size: int) -> SoftMemory:
  """Returns a random memory of `num_cells` cells of `size` numbers."""
  vectors = jax.random.normal(key, (num_cells + 1, size))
  vectors = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)
  return SoftMemory(vectors[:-1], vectors[-1])


def reading(select: Callable, memory: SoftMemory, query: Array, strength: float) -> Reading:
  """Returns what a query [D] reads, and the gradient of the loss with respect to all cells, which
  reaches a cell through its content and through its logit."""

  def loss(cells):
    weights = select(strength * (cells @ query))
    read = weights @ cells
    return memory.readout @ read, (weights, read)

  gradient, (weights, read) = jax.grad(loss, has_aux=True)(memory.cells)
  return Reading(weights, read, gradient)


def shares(select: Callable, memory: SoftMemory, strength: float) -> tuple[Array, Array]:
  """Returns the weight of each cell relative to the largest, [N] float32, falling, and which share
  of the norms of all cells' gradients reaches it, [N] float32. The query is the first cell."""
  found = reading(select, memory, memory.cells[0], strength)
  norms = jnp.linalg.norm(found.gradient, axis=1)
  order = jnp.argsort(-found.weights)
  return (found.weights / found.weights.max())[order], (norms / norms.sum())[order]


def shaking(select: Callable, memory: SoftMemory, strength: float, num_steps: int) -> Shaking:
  """Returns how much the reading changes in each step of a query that goes straight from the first
  cell to the second, so that the selected cell changes on the way."""
  parts = jnp.linspace(0.0, 1.0, num_steps)[:, None]
  queries = (1.0 - parts) * memory.cells[:1] + parts * memory.cells[1:2]
  found = jax.vmap(lambda query: reading(select, memory, query, strength))(queries)
  return Shaking(_changes(found.read), _changes(found.gradient.reshape(num_steps, -1)))


def _changes(a):
  sizes = jnp.linalg.norm(a, axis=1)
  return jnp.linalg.norm(a[1:] - a[:-1], axis=1) / sizes.mean()
