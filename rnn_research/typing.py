"""Axis letters and array aliases used by every docstring of the package.

  T  time steps            B  batch rows (lanes of text)
  F  features of an input  H  hidden units
  V  vocabulary symbols    P  units after a projection
  N  items of a data set   W  width of a memory word

`[T, B, H] float32, meaning` documents an array: axes, dtype, content. Sequences are time-major.
"""

from typing import Any

import jax

Array = jax.Array
Key = jax.Array  # a typed key of `jax.random.key`
Params = Any  # pytree of float32 arrays
State = Any  # pytree of arrays [B, ...]
PyTree = Any
