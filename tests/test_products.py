"""Products of rounded factors, and their derivatives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_research import lstm, unroll
from rnn_research.layers import matmul
from rnn_research.products import rounded_product, transposed

pytestmark = pytest.mark.usefixtures('strict_shapes')


def drawn(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def rounded(a):
  return np.asarray(jnp.asarray(a).astype(jnp.bfloat16), np.float64)


X, W, DY = drawn(6, 5), drawn(5, 4, seed=1), drawn(6, 4, seed=2)


def product(x, w):
  return rounded_product(x, w, jnp.bfloat16)


def test_factors_are_rounded_and_sums_are_not():
  y, pull = jax.vjp(product, X, W)
  assert y.dtype == jnp.float32
  np.testing.assert_allclose(y, rounded(X) @ rounded(W), rtol=1e-6, atol=1e-6)
  dx, dw = pull(DY)
  np.testing.assert_allclose(dx, rounded(DY) @ rounded(W).T, rtol=1e-6, atol=1e-6)
  np.testing.assert_allclose(dw, rounded(X).T @ rounded(DY), rtol=1e-6, atol=1e-6)
  assert (rounded(dx) != np.float64(dx)).any() and (rounded(dw) != np.float64(dw)).any()


def test_gradients_have_the_precision_of_what_they_are_of():
  half = X.astype(jnp.bfloat16), W.astype(jnp.bfloat16)
  assert {g.dtype for g in jax.vjp(product, *half)[1](DY)} == {jnp.dtype(jnp.bfloat16)}


def test_forward_mode_and_second_derivatives_are_those_of_a_product():
  dx, dw = drawn(6, 5, seed=3), drawn(5, 4, seed=4)
  _, dy = jax.jvp(product, (X, W), (dx, dw))
  expected = rounded(dx) @ rounded(W) + rounded(X) @ rounded(dw)
  np.testing.assert_allclose(dy, expected, rtol=1e-5, atol=1e-5)
  energy = lambda x: (product(x, W) ** 2).sum()
  hessian = jax.hessian(energy)(X[:1]).reshape(5, 5)
  np.testing.assert_allclose(hessian, 2 * rounded(W) @ rounded(W).T, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize('axes', [(0, None), (None, 0), (0, 0), (1, None), (1, 2)])
def test_a_batch_of_products_is_every_one_of_them(axes):
  x = X if axes[0] is None else jnp.moveaxis(drawn(3, 6, 5, seed=5), 0, axes[0])
  w = W if axes[1] is None else jnp.moveaxis(drawn(3, 5, 4, seed=6), 0, axes[1])
  place = lambda a, axis, i: a if axis is None else jnp.take(a, i, axis)

  def loss(x, w):
    return (product(x, w) * DY).sum()

  found = jax.vmap(jax.value_and_grad(loss, (0, 1)), axes)(x, w)
  sums = jax.grad(lambda x, w: jax.vmap(loss, axes)(x, w).sum(), (0, 1))(x, w)
  for i in range(3):
    alone = jax.value_and_grad(loss, (0, 1))(place(x, axes[0], i), place(w, axes[1], i))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
      np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5)
    for whole, axis, b in zip(sums, axes, alone[1], strict=True):
      if axis is not None:
        np.testing.assert_allclose(place(whole, axis, i), b, rtol=1e-5, atol=1e-5)


def test_products_of_nothing_have_a_shape():
  y = jax.vmap(product, (0, None))(jnp.zeros((3, 2, 0)), jnp.zeros((0, 4)))
  np.testing.assert_array_equal(y, np.zeros((3, 2, 4)))


def test_a_transposed_factor_is_the_transposed_matrix():
  np.testing.assert_array_equal(jax.jit(transposed)(W), W.T)


@pytest.mark.parametrize('engine', ['scan', 'auto'])
def test_no_product_of_a_training_step_in_bfloat16_has_factors_in_float32(engine):
  cell = lstm(4, engine=engine, dtype=jnp.bfloat16)
  xs = drawn(7, 2, 3)
  params = cell.init(jax.random.key(0), xs[0])
  readout = drawn(4, 5)

  def loss(params, readout, xs):
    return matmul(unroll(cell, params, xs)[1], readout, jnp.bfloat16).sum()

  program = jax.jit(jax.grad(loss, (0, 1, 2))).lower(params, readout, xs).as_text()
  products = re.findall(r'stablehlo\.dot_general.*: \((.*)\) ->', program)
  assert len(products) >= 7 and all(p.count('xbf16>') == 2 for p in products), products
