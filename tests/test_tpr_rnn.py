"""The TPR-RNN against NumPy in float64, association by association."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import noisy
from test_entnet import drawn

from rnn_research.cells.tpr_rnn import TPRState, facts_of, tpr_rnn
from rnn_research.engines.associative import write_stories
from rnn_research.errors import InputError
from rnn_research.memory.associations import Facts, recall, tensor
from rnn_research.models.tensor_network import tensor_network
from rnn_research.unroll import unroll

V, D, E, R, H, S, J = 9, 6, 5, 3, 4, 6, 4
LENGTHS = (S, 3)


def network(p, k, x):
  """Returns what network k says of a sentence."""
  width = p.w_out.shape[1]
  own = slice(k * width, (k + 1) * width)
  return np.tanh(np.tanh(x @ p.w_in[:, own] + p.b_in[own]) @ p.w_out[k] + p.b_out[k])


def outer(a, b, c):
  return a[:, None, None] * b[:, None] * c


def told(p, sentences, f):
  """Returns the memory after sentences [L, D], and what each of them found, [L, 3 E]."""
  all_found = []
  for s in sentences:
    e1, e2 = (network(p.entities, k, s) for k in range(2))
    r1, r2, r3 = (network(p.relations, k, s) for k in range(3))
    w, m, b = (np.einsum('e,r,erf', e, r, f) for e, r in ((e1, r1), (e1, r2), (e2, r3)))
    f = f - outer(e1, r1, w) + outer(e1, r1, e2)  # equation 10
    f = f - outer(e1, r2, m) + outer(e1, r2, w)  # equation 12
    f = f - outer(e2, r3, b) + outer(e2, r3, e1)  # equation 14
    all_found.append(np.concatenate([w, m, b]))
  return f, np.array(all_found)


@pytest.mark.parametrize('form', ['whole stories', 'steps'])
def test_the_cell_is_the_papers(form):
  cell = tpr_rnn(E, R, hidden_size=H, dtype=jnp.float64)
  params = drawn(cell.init, jax.ShapeDtypeStruct((1, D), jnp.float32))
  rng = np.random.default_rng(1)
  xs, before = rng.normal(size=(S, 2, D)), rng.normal(size=(2, E, R, E)) * 0.3
  mask = np.arange(S)[:, None] < np.array(LENGTHS)
  cell = cell if form == 'whole stories' else cell._replace(scan=None)
  with jax.enable_x64(True):
    own = jax.tree.map(jnp.asarray, params)
    state, ys = unroll(cell, own, xs, TPRState(jnp.asarray(before)), mask=jnp.asarray(mask))
  for b, length in enumerate(LENGTHS):
    f, found = told(params, xs[:length, b], before[b])
    np.testing.assert_allclose(state.f[b], f, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ys[:length, b], found, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(ys[length:, b], 0.0)


def test_a_place_holds_what_was_said_last():
  """With orthogonal vectors of length 1 nothing is mixed: who got what, and what they had before."""
  people, things, relations = np.eye(6)[:2], np.eye(6)[2:4], np.eye(4)
  said = [(0, 0), (1, 0), (0, 1)]  # somebody takes something
  entities = np.array([[[people[who], things[what]] for who, what in said]])
  facts = Facts(jnp.asarray(entities), jnp.asarray(np.tile(relations[:3], (1, len(said), 1, 1))))
  memory = tensor(write_stories(facts, jnp.ones((1, len(said)), bool)).triples)
  asked = [(people[0], 0), (people[0], 1), (people[1], 0), (people[1], 1), (things[0], 2)]
  subjects, order = jnp.asarray([[who for who, _ in asked]]), [relation for _, relation in asked]
  found = recall(memory, subjects, jnp.asarray(relations[order])[None])[0]
  # The second thing and before it the first; the first and nothing; whoever took it last.
  expected = [things[1], things[0], things[0], np.zeros(6), people[1]]
  np.testing.assert_allclose(found, expected, atol=1e-6)


def answers(p, stories, questions):
  """Returns logits [B, V] and shares [B, 3, S]."""
  table = p['embedding'].copy()
  table[0] = 0.0
  total = lambda ids: (p['position'][: len(ids)] * table[ids]).sum(0)
  logits, shares = [], np.zeros((len(stories), 3, S))
  for b, length in enumerate(LENGTHS):
    memories = [np.zeros((E, R, E))]
    for ids in stories[b, :length]:
      memories.append(told(p['story'], [total(ids)], memories[-1])[0])
    q = total(questions[b])
    i, out = network(p['entity'], 0, q), 0.0
    for hop in range(3):
      relation = network(p['relations'], hop, q)
      parts = [np.einsum('e,r,erf', i, relation, memory) for memory in memories]
      shares[b, hop, :length] = np.diff(parts, axis=0) @ parts[-1] / (parts[-1] @ parts[-1])
      centred = parts[-1] - parts[-1].mean()
      i = centred / np.sqrt((centred**2).mean() + 1e-7) * p['gain'][hop] + p['bias'][hop]
      out = out + i
    logits.append(out @ p['z'])
  return np.array(logits), shares


def test_the_network_is_the_papers():
  sizes = {'entity_size': E, 'relation_size': R, 'hidden_size': H}
  model = tensor_network(V, D, **sizes, longest=J, dtype=jnp.float64)
  p = drawn(model.init)
  rng = np.random.default_rng(2)
  stories, questions = rng.integers(1, V, (2, S, J)), rng.integers(1, V, (2, J))
  stories[1, LENGTHS[1] :] = stories[1, 1, 2:] = questions[:, 3:] = 0
  with jax.enable_x64(True):
    logits, shares = model.outputs(jax.tree.map(jnp.asarray, p), stories, questions)
  expected, of_sentences = answers(p, stories, questions)
  np.testing.assert_allclose(logits, expected, rtol=1e-7)
  np.testing.assert_allclose(shares, of_sentences, rtol=1e-7, atol=1e-12)
  np.testing.assert_allclose(np.asarray(shares).sum(-1), 1.0)


def test_a_story_without_sentences_has_finite_gradients():
  model = tensor_network(V, D, entity_size=E, relation_size=R, hidden_size=H, longest=J)
  params = noisy(drawn(model.init), 3)
  stories, questions = np.zeros((2, S, J), int), np.ones((2, J), int)

  def loss(params):
    logits, shares = model.outputs(params, stories, questions)
    return jax.nn.logsumexp(logits) + shares.sum()

  grads = jax.jit(jax.grad(loss))(params)
  assert all(np.isfinite(a).all() for a in jax.tree.leaves(grads))


@pytest.mark.parametrize('sizes', [(0, 2), (4, 0)], ids=['no sentences', 'no stories'])
def test_nothing_is_read(sizes):
  cell = tpr_rnn(E, R, hidden_size=H)
  params = noisy(drawn(cell.init, jax.ShapeDtypeStruct((1, D), jnp.float32)), 3)
  state, ys = unroll(cell, params, jnp.zeros((*sizes, D)))
  assert ys.shape == (*sizes, 3 * E) and state.f.shape == (sizes[1], E, R, E)
  assert not state.f.any()
  model = tensor_network(V, D, entity_size=E, relation_size=R, hidden_size=H, longest=J)
  stories = np.zeros((*sizes[::-1], J), int)
  params, questions = noisy(drawn(model.init), 3), np.ones((sizes[1], J), int)
  logits, shares = model.outputs(params, stories, questions)
  assert logits.shape == (sizes[1], V) and shares.shape == (sizes[1], 3, sizes[0])


def test_first_parameters():
  cell = tpr_rnn(90, 20)
  params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 100), jnp.float32))
  bound = (6 / 140) ** 0.5  # Glorot's, of one network
  assert 0.95 * bound < float(jnp.abs(params.entities.w_in).max()) <= bound
  assert params.relations.w_out.shape == (3, 40, 20)
  facts = facts_of(params, jnp.zeros((7, 100)))
  assert facts.entities.shape == (7, 2, 90) and not facts.entities.any()


@pytest.mark.parametrize('sizes', [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_sizes_are_checked(sizes):
  with pytest.raises(InputError, match='is 0, expected an integer >= 1'):
    tpr_rnn(*sizes[:2], hidden_size=sizes[2])
