"""The product of a matrix by a weight whose factors are rounded, also where gradients are made."""

import functools
import math

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rnn_research.typing import Array


def transposed(a: Array) -> Array:
  """Returns a matrix, or a batch of them, transposed, as a factor of a product.

  On a CPU it is written out row by row: XLA gives products whose left factor is transposed to a
  slower library, and multiplies in float32 where one of bfloat16 numbers is.
  """
  if jax.default_backend() != 'cpu':
    return a.mT
  # Without the axis between, XLA still takes it for one that lies column by column.
  return jax.lax.optimization_barrier(a.mT[..., None, :]).reshape(a.mT.shape)


def rounded_product(x: Array, w: Array, dtype) -> Array:
  """Returns `x w` in float32 of factors in `dtype`; its gradients are such products:

    dx = dy w^T    dw = x^T dy

  JAX by itself multiplies dy in float32, and rounds dx and dw.

  Args:
    x: [M, K] float32 or narrower, or a batch of them, [..., M, K].
    w: [K, N] the same, of as many axes.
    dtype: narrower than float32, as bfloat16.
  """
  return _product.bind(x, w, dtype=jnp.dtype(dtype))


def _multiply(x, w, *, dtype):
  return jnp.matmul(x.astype(dtype), w.astype(dtype), preferred_element_type=jnp.float32)


def _of_left(dy, x, w, *, dtype):
  return rounded_product(dy, transposed(w), dtype).astype(x.aval.dtype)


def _of_right(dy, x, w, *, dtype):
  return rounded_product(transposed(x), dy, dtype).astype(w.aval.dtype)


def _batched(factors, axes, *, dtype):
  x, w = (
    a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(factors, axes, strict=True)
  )
  if axes[1] is None and w.ndim == 2:  # rows of one matrix, for which there are quicker programs
    y = rounded_product(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), w, dtype)
    return y.reshape(*x.shape[:-1], w.shape[-1]), 0
  size = len(w if axes[0] is None else x)
  x, w = (
    jnp.broadcast_to(a, (size, *a.shape)) if axis is None else a
    for a, axis in zip((x, w), axes, strict=True)
  )
  return rounded_product(x, w, dtype), 0


_product = Primitive('rounded_product')
_product.def_impl(functools.partial(jax.jit, static_argnames='dtype')(_multiply))
_product.def_abstract_eval(
  lambda x, w, *, dtype: jax.core.ShapedArray((*x.shape[:-1], w.shape[-1]), jnp.float32)
)
mlir.register_lowering(_product, mlir.lower_fun(_multiply, multiple_results=False))
ad.defbilinear(_product, _of_left, _of_right)
batching.primitive_batchers[_product] = _batched
