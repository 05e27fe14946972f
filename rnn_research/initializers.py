"""Initialisers that `jax.nn.initializers` lacks. An initialiser is a function `(key, shape, dtype) -> array`."""

import jax
import jax.numpy as jnp

from rnn_research.typing import Array, Key


def identity(key: Key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
  """Returns the identity matrix `[H, H]` (Le et al. 2015, for ReLU recurrences)."""
  del key
  return jnp.eye(*shape, dtype=dtype)


def uniform(scale: float):
  """Returns an initialiser that draws from U[-scale, scale], as char-rnn (0.08) and Zaremba et al. 2014 (0.1) do."""
  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -scale, scale)
  return init
