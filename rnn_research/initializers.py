"""Initialisers that `jax.nn.initializers` lacks. An initialiser is a function `(key, shape, dtype) -> array`."""

import jax
import jax.numpy as jnp

from rnn_research.typing import Array, Key, Params


def identity(key: Key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
  """Returns the identity matrix `[H, H]` (Le et al. 2015, for ReLU recurrences)."""
  del key
  return jnp.eye(*shape, dtype=dtype)


def uniform(scale: float):
  """Returns an initialiser that draws from U[-scale, scale]."""
  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -scale, scale)
  return init


def redraw_uniform(key: Key, params: Params, scale: float) -> Params:
  """Returns `params` with every leaf, biases included, drawn anew from U[-scale, scale].

  The initialisation of char-rnn (scale 0.08) and of Zaremba et al. 2014 (0.1, 0.05, 0.04).
  """
  leaves, structure = jax.tree.flatten(params)
  keys = jax.random.split(key, len(leaves))
  return jax.tree.unflatten(structure, [uniform(scale)(k, a.shape, a.dtype) for k, a in zip(keys, leaves, strict=True)])
