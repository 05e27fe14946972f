"""Lookups in tables of symbols: exact on every device, also as products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_research import layers


def products(jaxpr):
  """Returns the precisions of all products of a program."""
  return [
    eqn.params['precision'] for eqn in jaxpr.jaxpr.eqns if eqn.primitive.name == 'dot_general'
  ]


@pytest.mark.parametrize(
  ('num_symbols', 'looks_up', 'count'),
  [
    (layers.ONE_HOT_LIMIT, True, 0),
    (layers.ONE_HOT_LIMIT, False, 2),
    (layers.ONE_HOT_LIMIT + 1, False, 0),
  ],
)
def test_a_lookup_is_exact_and_so_is_its_gradient(num_symbols, looks_up, count, monkeypatch):
  monkeypatch.setattr(layers, '_looks_up', lambda: looks_up)
  rng = np.random.default_rng(0)
  table = jnp.asarray(
    rng.normal(size=(num_symbols, 3)) * 10.0 ** rng.integers(-30, 30), jnp.float32
  )
  ids = jnp.asarray(rng.permutation(num_symbols)[:20].reshape(4, 5))
  out, pull = jax.vjp(lambda table: layers.embed(table, ids), table)
  np.testing.assert_array_equal(out, table[ids])
  (gradient,) = pull(out)
  np.testing.assert_array_equal(gradient, jnp.zeros_like(table).at[ids].add(out))
  # By default accelerators round the factors of a product.
  both = jax.make_jaxpr(jax.value_and_grad(lambda table: layers.embed(table, ids).sum()))(table)
  exact = (jax.lax.Precision.HIGHEST,) * 2
  assert products(both) == [exact] * count


def test_symbols_are_what_a_cell_reads_where_it_looks_up(monkeypatch):
  ids = jnp.asarray([[0, 2], [1, 2]])
  symbols = layers.one_hot(ids, 3)
  assert isinstance(symbols, layers.OneHot) and (symbols.shape, symbols.ndim) == ((2, 2, 3), 3)
  monkeypatch.setattr(layers, '_looks_up', lambda: False)
  vectors = layers.one_hot(ids, 3)
  np.testing.assert_array_equal(symbols + jnp.zeros((2, 2, 3)), vectors)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_products_of_symbols_equal_those_of_vectors(dtype):
  rng = np.random.default_rng(0)
  ids, w = jnp.asarray(rng.integers(0, 3, (40, 5))), jnp.asarray(rng.normal(size=(3, 4)))
  d = jnp.asarray(rng.normal(size=(40, 5, 4)), jnp.float32)
  xs, vectors = layers.OneHot(ids, 3), jax.nn.one_hot(ids, 3)
  y, pull = jax.vjp(lambda w: layers.matmul(xs, w, dtype), w)
  np.testing.assert_array_equal(y, layers.matmul(vectors, w, dtype))
  # Rounded factors, but sums in float32: of 200 rows bfloat16 would lose the third digit.
  expected = layers.matmul_transposed(vectors, d, dtype)
  for gradient in (layers.matmul_transposed(xs, d, dtype), *pull(d)):
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  'read',
  [
    lambda xs: xs.astype(jnp.bfloat16),
    lambda xs: xs.reshape(4, 3),
    lambda xs: xs[0],
    lambda xs: 2 * xs - 1.0,
    lambda xs: xs * xs + xs,
    lambda xs: xs @ np.ones((3, 2)),
    lambda xs: jnp.ones((2, 2, 3)) * xs,
    lambda xs: jnp.concatenate([xs, xs], -1),
  ],
)
def test_whatever_else_reads_symbols_sees_vectors(read):
  ids = jnp.asarray([[0, 2], [1, 2]])
  np.testing.assert_array_equal(read(layers.OneHot(ids, 3)), read(jax.nn.one_hot(ids, 3)))
