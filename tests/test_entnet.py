"""The recurrent entity network against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import sigmoid

from rnn_research.cells import gru
from rnn_research.cells.entnet import EntNetParams, EntNetState, entnet
from rnn_research.errors import InputError
from rnn_research.models.entity_network import entity_network, story_reader
from rnn_research.unroll import unroll

V, D, M, S, J = 9, 6, 4, 5, 4


def drawn(init, *args, seed=0):
  """Returns numbers in the place of first parameters, `init(key, *args)`: no bias is 0, no slope 1."""
  rng = np.random.default_rng(seed)
  tree = jax.eval_shape(init, jax.random.key(0), *args)
  return jax.tree.map(lambda a: rng.normal(size=a.shape) * 0.6, tree)


def phi(a, slope):
  return np.where(a > 0, a, slope * a)


def slots(p: EntNetParams, sentences):
  """Returns the slots after sentences [L, D], slot by slot, and the gates [L, M]."""
  h, gates = [key.copy() for key in p.keys], []
  for s in sentences:
    gates.append([sigmoid(s @ h[j] + s @ p.keys[j] + p.b_g[j]) for j in range(M)])
    for j in range(M):
      n = phi(h[j] @ p.u + p.keys[j] @ p.v + s @ p.w + p.b, p.slope)
      h[j] = h[j] + gates[-1][j] * n
      h[j] = h[j] / np.sqrt((h[j] ** 2).sum())
  return np.array(h), np.array(gates)


def test_the_cell_is_the_papers():
  cell, xs = entnet(M, dtype=jnp.float64), np.random.default_rng(1).normal(size=(S, 2, D))
  params = drawn(cell.init, jax.ShapeDtypeStruct((1, D), jnp.float32))
  mask = np.arange(S)[:, None] < np.array([S, 3])
  with jax.enable_x64(True):
    state, gates = unroll(cell, jax.tree.map(jnp.asarray, params), xs, mask=jnp.asarray(mask))
  for b, length in enumerate((S, 3)):
    h, g = slots(params, xs[:length, b])
    np.testing.assert_allclose(state.h[b], h, rtol=1e-8)
    np.testing.assert_allclose(gates[:length, b], g, rtol=1e-8)
    np.testing.assert_array_equal(gates[length:, b], 0.0)


def test_first_parameters():
  params = entnet(M).init(jax.random.key(0), jax.ShapeDtypeStruct((1, 200), jnp.float32))
  np.testing.assert_array_equal(params.slope, 1.0)
  np.testing.assert_array_equal(np.concatenate([params.b, params.b_g]), 0.0)
  assert 0.09 < float(jnp.std(params.u)) < 0.11


def test_the_network_is_the_papers():
  model = entity_network(V, D, num_slots=M, longest=J, dtype=jnp.float64)
  p = drawn(model.init)
  rng = np.random.default_rng(2)
  stories, questions = rng.integers(1, V, (2, S, J)), rng.integers(1, V, (2, J))
  stories[0, 3:] = stories[1, 1, 2:] = questions[:, 3:] = 0
  with jax.enable_x64(True):
    logits, gates = model.outputs(jax.tree.map(jnp.asarray, p), stories, questions)
  table = p['embedding'].copy()
  table[0] = 0.0
  for b, length in enumerate((3, S)):
    encode = lambda mask, ids: (mask * table[ids]).sum(0)
    h, g = slots(p['cell'], [encode(p['story_mask'], ids) for ids in stories[b, :length]])
    q = encode(p['question_mask'], questions[b])
    share = np.exp(h @ q) / np.exp(h @ q).sum()
    y = phi(q + (share @ h) @ p['h'], p['cell'].slope)
    np.testing.assert_allclose(logits[b], y @ p['r'], rtol=1e-7)
    np.testing.assert_allclose(gates[b, :, :length], g.T, rtol=1e-7)
    np.testing.assert_array_equal(gates[b, :, length:], 0.0)


def test_gradients_of_an_empty_story_are_finite():
  model = entity_network(V, D, num_slots=M, longest=J)
  params = model.init(jax.random.key(0))
  stories = np.zeros((2, S, J), np.int32)
  grads = jax.jit(jax.grad(lambda p: model.outputs(p, stories, stories[:, 0])[0].sum()))(params)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_a_story_reader_reads_all_words_in_order():
  cell = gru(D)
  model = story_reader(cell, V, 3, most_words=S * J + J)
  params = model.init(jax.random.key(0))
  rng = np.random.default_rng(3)
  stories, questions = rng.integers(1, V, (1, S, J)), rng.integers(1, V, (1, J))
  stories[0, 3:] = stories[0, 1, 2:] = questions[0, 3:] = 0
  words = np.concatenate([stories.ravel(), questions.ravel()])
  xs = params['embedding'][words[words != 0]][:, None]
  last = unroll(cell, params['cell'], xs)[1][-1]
  expected = last @ params['head']['w'] + params['head']['b']
  logits, weights = model.outputs(params, stories, questions)
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
  assert weights.shape == (1, 0, S)


def test_a_story_reader_reads_the_last_words():
  model = story_reader(gru(D), V, 3, most_words=5)
  params = model.init(jax.random.key(0))
  stories, questions = np.array([[[1, 2, 3], [4, 5, 0]]]), np.array([[6, 7, 0]])
  cut = np.array([[[0, 0, 3], [4, 5, 0]]])
  logits = model.outputs(params, stories, questions)[0]
  np.testing.assert_array_equal(logits, model.outputs(params, cut, questions)[0])


def test_gradients_of_slots_of_length_zero():
  """Such slots stay, as nothing is written, and hand the gradient of later steps back as it is."""
  cell, steps = entnet(M), 20
  params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((1, D), jnp.float32))
  params = jax.tree.map(jnp.zeros_like, params)
  xs, h = jnp.zeros((steps, 1, D)), EntNetState(jnp.zeros((1, M, D)))
  for form in (cell, cell._replace(scan=None)):

    def loss(h, form=form):
      state, gates = unroll(form, params, xs, h)
      return state.h.sum() + gates.sum()

    value, grad = jax.jit(jax.value_and_grad(loss))(h)
    assert value == 0.5 * steps * M
    np.testing.assert_array_equal(grad.h, 1.0)


def test_there_is_a_slot():
  with pytest.raises(InputError, match='num_slots is 0'):
    entnet(0)


def test_the_form_for_whole_sequences_has_the_gradients_of_steps():
  """The laws run it with resets, which it leaves to steps."""
  cell = entnet(M)
  params = drawn(cell.init, jax.ShapeDtypeStruct((1, D), jnp.float32))
  params = jax.tree.map(jnp.float32, params)
  rng = np.random.default_rng(1)
  xs = jnp.asarray(rng.normal(size=(S, 2, D)), jnp.float32)
  h = EntNetState(jnp.asarray(rng.normal(size=(2, M, D)), jnp.float32))
  mask = np.arange(S)[:, None] < np.array([S, 3])

  def gradients(cell):
    def loss(params, xs, h):
      state, gates = unroll(cell, params, xs, h, mask=mask)
      return (state.h**3).sum() + (gates * jnp.arange(M)).sum()

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(params, xs, h)

  expected = gradients(cell._replace(scan=None))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), gradients(cell), expected
  )
