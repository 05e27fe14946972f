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


@pytest.mark.parametrize('num_symbols', [layers.ONE_HOT_LIMIT, layers.ONE_HOT_LIMIT + 1])
def test_a_lookup_is_exact_and_so_is_its_gradient(num_symbols):
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
  assert products(both) == [exact] * (2 if num_symbols <= layers.ONE_HOT_LIMIT else 0)
