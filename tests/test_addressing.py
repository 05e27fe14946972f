"""Soft addressing and the bookkeeping of a DNC against float64 loops in NumPy, and at their edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_research.errors import InputError
from rnn_research.memory import addressing, usage

pytestmark = pytest.mark.usefixtures('strict_shapes')
B, R, N, W = 2, 3, 7, 4


def softmax(a):
  return np.exp(a - a.max()) / np.exp(a - a.max()).sum()


def content_np(memory, key, strength):
  """One head: columns [W, N], a key [W], a number."""
  norm = lambda a: np.sqrt(a @ a + addressing.NORM_EPSILON)
  return softmax(np.array([strength * (key @ row) / (norm(key) * norm(row)) for row in memory.T]))


def shift_np(weights, shifts):
  moved, reach = np.zeros_like(weights), len(shifts) // 2
  for place, weight in enumerate(weights):
    for j, share in enumerate(shifts):
      moved[(place + j - reach) % len(weights)] += share * weight
  return moved


def sharpen_np(weights, exponent):
  return weights**exponent / np.sum(weights**exponent)


def write_np(memory, weights, erase, add):
  """Columns [W, N], K heads one after the other: all erase before one adds."""
  memory = memory.copy()
  for w, e in zip(weights, erase, strict=True):
    memory *= 1.0 - np.outer(e, w)
  return memory + sum(np.outer(a, w) for w, a in zip(weights, add, strict=True))


def allocation_np(used):
  used = usage.USAGE_EPSILON + (1.0 - usage.USAGE_EPSILON) * used
  weights, product = np.zeros_like(used), 1.0
  for place in np.argsort(used, kind='stable'):
    weights[place] = (1.0 - used[place]) * product
    product *= used[place]
  return weights


def linked_np(links, precedence, weights):
  new = np.zeros_like(links)
  for i, to in enumerate(weights):
    for j, since in enumerate(weights):
      if i != j:
        new[i, j] = (1.0 - to - since) * links[i, j] + to * precedence[j]
  return new


rng = np.random.default_rng(0)
MEMORY, KEYS, ADD = (rng.normal(size=(B, *shape)) for shape in ((W, N), (R, W), (R, W)))
WEIGHTS, OTHER = rng.dirichlet(np.ones(N), (2, B, R))
GATES, ERASE = rng.uniform(size=(B, R)), rng.uniform(size=(B, R, W))
STRENGTHS, LINKS = 1.0 + 5.0 * GATES, rng.uniform(size=(B, N, N)) / N
SHIFTS, WIDE = rng.dirichlet(np.ones(3), (B, R)), rng.dirichlet(np.ones(7), (B, R))
USED = np.array([[0.5, 0.0, 0.9, 0.5, 1.0, 0.0, 0.2], [1.0] * 6 + [0.3]])
over_heads = lambda f: lambda *rows: [f(*head) for head in zip(*rows, strict=True)]

# name -> (function, oracle of one batch row, arguments)
ORACLES = {
  'content': (
    addressing.content_weights,
    lambda memory, keys, strengths: over_heads(lambda k, s: content_np(memory, k, s))(
      keys, strengths
    ),
    (MEMORY, KEYS, STRENGTHS),
  ),
  'interpolate': (
    addressing.interpolate,
    over_heads(lambda new, old, g: g * new + (1.0 - g) * old),
    (WEIGHTS, OTHER, GATES),
  ),
  'shift': (addressing.shift, over_heads(shift_np), (WEIGHTS, SHIFTS)),
  'shift_all_the_way': (addressing.shift, over_heads(shift_np), (WEIGHTS, WIDE)),
  'sharpen': (addressing.sharpen, over_heads(sharpen_np), (WEIGHTS, STRENGTHS)),
  'read': (addressing.read, lambda m, ws: [m @ w for w in ws], (MEMORY, WEIGHTS)),
  'write': (addressing.write, write_np, (MEMORY, WEIGHTS, ERASE, ADD)),
  'retention': (
    usage.retention,
    lambda ws, gates: np.prod([1.0 - g * w for w, g in zip(ws, gates, strict=True)], 0),
    (WEIGHTS, GATES),
  ),
  'usage': (
    usage.usage,
    lambda u, w, kept: (1.0 - (1.0 - u) * (1.0 - w)) * kept,
    (USED, WEIGHTS[:, 0], OTHER[:, 0]),
  ),
  'allocation': (usage.allocation, allocation_np, (USED,)),
  'linked': (usage.linked, linked_np, (LINKS, OTHER[:, 0], WEIGHTS[:, 0])),
  'preceding': (
    usage.preceding,
    lambda p, w: (1.0 - w.sum()) * p + w,
    (WEIGHTS[:, 0], 0.7 * OTHER[:, 0]),
  ),
  'forward': (usage.forward_weights, lambda links, ws: [links @ w for w in ws], (LINKS, WEIGHTS)),
  'backward': (usage.backward_weights, lambda links, ws: [w @ links for w in ws], (LINKS, WEIGHTS)),
}


@pytest.mark.parametrize('name', ORACLES)
def test_equals_a_loop_in_float64(name):
  function, oracle, arguments = ORACLES[name]
  with jax.enable_x64(True):
    got = jax.jit(function)(*arguments)
  expected = np.array([oracle(*row) for row in zip(*arguments, strict=True)])
  np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize('name', ORACLES)
def test_products_are_of_full_precision(name):
  function, _, arguments = ORACLES[name]
  text = str(jax.make_jaxpr(function)(*(np.float32(a) for a in arguments)))
  assert text.count('dot_general[') == text.count(
    'precision=(Precision.HIGHEST, Precision.HIGHEST)'
  )


def test_a_head_moves_ahead_and_around_the_end():
  last = jnp.eye(N)[None, -1:]
  moved = addressing.shift(last, jnp.array([[[0.0, 0.0, 1.0]]]))
  np.testing.assert_array_equal(moved, jnp.eye(N)[None, :1])


@pytest.mark.parametrize('num_moves', [0, 2, N + 1, N + 2])
def test_moves_have_a_middle_and_are_at_most_as_many_as_rows(num_moves):
  said = rf'shifts are over {num_moves} moves, expected an odd number up to that of rows, {N}'
  with pytest.raises(InputError, match=said):
    addressing.shift(jnp.ones((B, R, N)), jnp.ones((B, R, num_moves)))


def test_the_next_free_row_is_the_least_used_and_a_full_memory_has_none():
  weights = usage.allocation(jnp.asarray([[0.5, 0.0, 0.9], [1.0, 1.0, 1.0]]))
  np.testing.assert_allclose(weights, [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], atol=2e-6)


def test_links_lead_along_the_order_of_writing():
  links, precedence = jnp.zeros((1, N, N)), jnp.zeros((1, N))
  for place in (4, 1, 2):
    weights = jnp.eye(N)[None, place]
    links = usage.linked(links, precedence, weights)
    precedence = usage.preceding(precedence, weights)
  at = lambda place: jnp.eye(N)[None, place, None]
  np.testing.assert_array_equal(usage.forward_weights(links, at(4)), at(1))
  np.testing.assert_array_equal(usage.backward_weights(links, at(2)), at(1))
  assert not np.asarray(usage.backward_weights(links, at(4))).any()


def _zeros(*shape):
  return jnp.zeros(shape, jnp.float32)


ONE_HOT = jnp.eye(N)[None, :R]
# What a gradient must be finite at, in float32.
EDGES = {
  'empty rows': (addressing.content_weights, (_zeros(1, W, N), _zeros(1, R, W) + 1.0, _zeros(1, R) + 20.0)),
  'no key': (addressing.content_weights, (jnp.ones((1, W, N)), _zeros(1, R, W), _zeros(1, R) + 20.0)),
  'sharpest': (addressing.sharpen, (jnp.asarray(WEIGHTS[:1], jnp.float32), jnp.full((1, R), 1000.0))),
  'sharpest of one row': (addressing.sharpen, (ONE_HOT, jnp.full((1, R), 1000.0))),
  'sharpened nothing': (addressing.sharpen, (_zeros(1, R, N), jnp.ones((1, R)))),
  'nothing used': (usage.allocation, (_zeros(1, N),)),
  'all used': (usage.allocation, (_zeros(1, N) + 1.0,)),
  'everything freed': (usage.retention, (ONE_HOT, jnp.ones((1, R)))),
}  # fmt: skip


@pytest.mark.parametrize('name', EDGES)
def test_values_and_gradients_are_finite_at_the_edges(name):
  function, arguments = EDGES[name]

  def loss(args):
    found = function(*args)
    return jnp.sum(jnp.sin(jnp.arange(1.0, found.size + 1)) * found.ravel())

  value, gradients = jax.jit(jax.value_and_grad(loss))(arguments)
  assert np.isfinite(value)
  for gradient in gradients:
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() < 1e4


def test_the_sharpest_weighting_is_that_of_the_largest_weight():
  sharp = addressing.sharpen(jnp.asarray([[[0.2, 0.4, 0.39, 0.01]]]), jnp.full((1, 1), 1000.0))
  np.testing.assert_allclose(sharp, [[[0.0, 1.0, 0.0, 0.0]]], atol=1e-6)


def test_rows_without_usage_get_the_gradient_of_theirs():
  used = jnp.asarray([[0.3, 0.0, 0.6]])
  slope = jax.jacobian(lambda u: usage.allocation(u)[0])(used)[:, 0]
  # a = ((1 - u_0) u_1, 1 - u_1, (1 - u_2) u_1 u_0)
  np.testing.assert_allclose(slope, [[0, 0.7, 0], [0, -1, 0], [0, 0.12, 0]], atol=1e-5)
