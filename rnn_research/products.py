"""The product of a matrix by a weight whose factors are rounded, also where gradients are made."""

import functools

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rnn_research.typing import Array


def transposed(a: Array) -> Array:
  """Returns a matrix transposed, as a factor of a product.

  On a CPU it is written out row by row: XLA gives products whose left factor is transposed to a
  slower library, and multiplies in float32 where one of bfloat16 numbers is.
  """
  if jax.default_backend() != 'cpu':
    return a.T
  # Without the axis between, XLA still takes it for one that lies column by column.
  return jax.lax.optimization_barrier(a.T[:, None]).reshape(a.T.shape)


def rounded_product(x: Array, w: Array, dtype) -> Array:
  """Returns `x w` in float32 of factors in `dtype`; its gradients are such products:

    dx = dy w^T    dw = x^T dy

  JAX by itself multiplies dy in float32, and rounds dx and dw.

  Args:
    x: [M, K] float32 or narrower.
    w: [K, N] float32 or narrower.
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
    a[None] if axis is None else jnp.moveaxis(a, axis, 0)
    for a, axis in zip(factors, axes, strict=True)
  )
  if len(w) > 1 or axes[0] is None:
    return _multiply(x, w, dtype=dtype), 0
  y = rounded_product(x.reshape(-1, x.shape[-1]), w[0], dtype)
  return y.reshape(*x.shape[:-1], y.shape[-1]), 0


_product = Primitive('rounded_product')
_product.def_impl(functools.partial(jax.jit, static_argnames='dtype')(_multiply))
_product.def_abstract_eval(
  lambda x, w, *, dtype: jax.core.ShapedArray((x.shape[0], w.shape[1]), jnp.float32)
)
mlir.register_lowering(_product, mlir.lower_fun(_multiply, multiple_results=False))
ad.defbilinear(_product, _of_left, _of_right)
batching.primitive_batchers[_product] = _batched
