"""The cells of Show, Attend and Tell against float64 loops in NumPy; several queries to each memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import assert_close, assert_near, assert_same, drawn, noisy
from test_attention import LENGTHS, SCORES, B, F, H, S, T, memory, read_np

from rnn_research import elman, lstm, unroll
from rnn_research.cells.attention_decoders import bahdanau, input_feeding, luong
from rnn_research.cells.visual_attention import hard_attention, soft_attention
from rnn_research.combinators.depth import stack
from rnn_research.errors import InputError
from rnn_research.memory import attention
from rnn_research.memory.attention import mean, prepared, read, weigh
from rnn_research.stepping import repeat_rows, take_step

pytestmark = pytest.mark.usefixtures('strict_shapes')
M, K = H, 2
LOOKERS = {
  'soft': lambda score: soft_attention(elman(H), score),
  'hard': lambda score: hard_attention(elman(H), score),
}
CELLS = LOOKERS | {
  'bahdanau': lambda score: bahdanau(elman(H), score),
  'luong': lambda score: luong(elman(H), score),
  'input_feeding': lambda score: input_feeding(luong(elman(H), score), H),
}


def sequence(rows=B):
  return jnp.asarray(np.random.default_rng(4).normal(size=(T, rows, F)), jnp.float32)


@functools.cache
def make(kind, score='additive'):
  """Returns a cell over an Elman network, and parameters without zeros."""
  cell = CELLS[kind](SCORES[score]())
  return cell, noisy(drawn(cell.init, jnp.zeros((1, F)), memory()), 1)


def looker_np(kind, score, params, xs, values, length):
  """One row, [T] h, context, weights and chosen."""
  h, outs = np.zeros(H), []
  for x in xs:
    _, weights = read_np(score, params.attention, h, values, length)
    chosen = weights if kind == 'soft' else np.eye(S)[np.argmax(weights)]
    gate = 1 / (1 + np.exp(-(h @ params.gate['w'][:, 0] + params.gate['b'][0])))
    real = [values[i] if i < length else np.zeros(M) for i in range(S)]
    context = gate * sum(w * a for w, a in zip(chosen, real, strict=True))
    seen = np.concatenate([x, context])
    h = np.tanh(seen @ params.cell.w_x + h @ params.cell.w_h + params.cell.b)
    outs.append((h, context, weights, chosen))
  return [np.stack(column) for column in zip(*outs, strict=True)]


@pytest.mark.parametrize('score', SCORES)
@pytest.mark.parametrize('kind', LOOKERS)
def test_equals_a_loop_in_float64(kind, score):
  cell, params = make(kind, score)
  _, ys = unroll(cell, params, sequence(), ctx=memory())
  exact = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, sequence(), memory().values))
  for row, length in enumerate(LENGTHS):
    expected = looker_np(kind, score, exact[0], exact[1][:, row], exact[2][row], length)
    assert_close([y[:, row] for y in ys], expected, 1e-5, 2e-6)


def draws(rate, rows, steps, seed=0):
  """Returns the outputs [T, N, ..] of hard attention with a key, all rows of one memory."""
  cell = hard_attention(elman(H), attention.additive(5), expected_rate=rate)
  _, params = make('hard')
  one = jax.tree.map(lambda a: a[:1], memory())
  xs = jnp.repeat(sequence(1)[:steps], rows, 1)
  run = jax.jit(lambda key: unroll(cell, params, xs, key=key, ctx=one)[1])
  return run(jax.random.key(seed))


def test_with_a_key_places_are_drawn_by_their_weights():
  rows = 20_000
  ys = draws(0.0, rows, 1)
  chosen, weights = np.asarray(ys.chosen[0]), np.asarray(ys.weights[0, 0], np.float64)
  assert_same(np.sort(chosen, -1), np.tile(np.eye(S, dtype=np.float32)[-1], (rows, 1)))
  deviation = np.sqrt(weights * (1 - weights) / rows)
  assert (np.abs(chosen.mean(0) - weights) < 4 * deviation).all()
  assert weights.max() - weights.min() > 8 * deviation.max()  # even draws would be seen


def test_every_step_draws_anew_and_what_was_drawn_is_seen():
  ys = draws(0.0, 400, 2)
  first, second = np.asarray(ys.chosen.argmax(-1))
  assert 0.02 < np.mean(first == second) < 0.9
  _, params = make('hard')
  one = jax.tree.map(lambda a: a[:1], memory())
  gate = ys.context[0] / np.asarray(mean(one, ys.chosen[0]))
  expected = 1 / (1 + np.exp(-float(params.gate['b'][0])))  # the first state is 0
  np.testing.assert_allclose(gate, expected, rtol=1e-4)


def test_a_share_of_the_rows_looks_softly_through_the_whole_unroll():
  rate, rows = 0.3, 2_000
  ys = draws(rate, rows, 4)
  softly = np.asarray((ys.chosen == ys.weights).all(-1))
  assert_same(softly, np.broadcast_to(softly[0], softly.shape))
  assert abs(softly.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / rows)
  assert (np.asarray(ys.chosen)[~softly].max(-1) == 1.0).all()


def test_rows_that_all_look_softly_equal_soft_attention():
  cell, params = make('soft')
  one = jax.tree.map(lambda a: a[:1], memory())
  _, expected = unroll(cell, params, jnp.repeat(sequence(1), 3, 1), ctx=one)
  assert_close(draws(1.0, 3, T), expected, 1e-6, 1e-6)


def test_a_draw_has_no_gradient():
  cell = hard_attention(elman(H), attention.additive(5), expected_rate=0.0)
  _, params = make('hard')
  one = jax.tree.map(lambda a: a[:1], memory())

  @jax.grad
  def gradients(params):
    _, ys = unroll(cell, params, sequence(1), key=jax.random.key(1), ctx=one)
    return ys.context.sum()

  grads = gradients(params)
  assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads.attention))
  assert np.asarray(grads.gate['w']).any()


@pytest.mark.parametrize('rate', [-0.1, 1.5, float('nan')])
def test_a_rate_outside_of_0_to_1_is_refused(rate):
  with pytest.raises(InputError, match=r'expected_rate is .*, expected a number in \[0, 1\]'):
    hard_attention(elman(H), attention.additive(5), expected_rate=rate)


@pytest.mark.parametrize('score', SCORES)
def test_several_queries_read_as_one_by_one(score):
  scored = SCORES[score]()
  params = noisy(scored.init(jax.random.key(0), H, M), 1)
  queries = jnp.asarray(np.random.default_rng(5).normal(size=(B * K, H)), jnp.float32)
  context, weights = read(scored, params, queries, prepared(scored, params, memory()))
  exact = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, queries, memory().values))
  for row in range(B * K):
    expected = read_np(score, exact[0], exact[1][row], exact[2][row // K], LENGTHS[row // K])
    assert_close([context[row], weights[row]], list(expected), 1e-5, 2e-6)


@pytest.mark.parametrize('kind', CELLS)
def test_several_rows_to_a_memory_equal_its_copies(kind):
  cell, params = make(kind)
  xs = sequence(B * K)

  def loss(params, values, copies):
    m = memory()._replace(values=values)
    _, ys = unroll(cell, params, xs, ctx=repeat_rows(m, copies))
    return sum(jnp.sum(jnp.sin(3 * a + 1)) for a in ys), ys

  run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True), static_argnums=2)
  (_, shared), grads = run(params, memory().values, 1)
  (_, copied), expected = run(params, memory().values, K)
  assert_close(shared, copied, 1e-5, 1e-6)
  assert_near(grads, expected, 1e-5)
  assert np.asarray(grads[1]).any()


def test_a_memory_of_several_rows_is_not_copied():
  scored = SCORES['general']()
  params = scored.init(jax.random.key(0), H, M)
  m = prepared(scored, params, memory())
  jaxpr = jax.make_jaxpr(lambda q: mean(m, weigh(scored, params, q, m)))(jnp.zeros((B * 40, H)))
  assert f'[{B * 40},{S},{M}]' not in str(jaxpr)
  assert f'[{B},40,{S},{M}]' not in str(jaxpr)


@pytest.mark.parametrize('kind', LOOKERS)
def test_not_a_number_behind_the_mask_reaches_nothing(kind):
  cell, params = make(kind)
  hidden = ~np.asarray(memory().mask)[..., None]

  def run(values):
    loss = lambda p, values: unroll(cell, p, sequence(), ctx=memory()._replace(values=values))[
      1
    ].h.sum()
    return jax.value_and_grad(loss, (0, 1))(params, values)

  assert_same(run(jnp.where(hidden, jnp.nan, memory().values)), run(memory().values))


@pytest.mark.parametrize('kind', LOOKERS)
def test_the_last_layer_asks_and_a_stack_steps_as_it_unrolls(kind):
  make_cell = {'soft': soft_attention, 'hard': hard_attention}[kind]
  cell = make_cell(stack(elman(3), lstm(H)), attention.additive(5))
  params = cell.init(jax.random.key(0), jnp.zeros((1, F)), memory())
  assert params.attention.w_q.shape == (H, 5)
  assert params.gate['w'].shape == (H, 1)
  _, ys = unroll(cell, params, sequence(), ctx=memory())
  state = cell.initial_state(params, B)
  for x, *expected in zip(sequence(), *ys, strict=True):
    state, y = take_step(cell, params, state, x, memory())
    assert_close(list(y), expected, 1e-5, 1e-6)


@pytest.mark.parametrize('kind', LOOKERS)
def test_it_says_what_it_needs(kind):
  cell, _ = make(kind)
  with pytest.raises(InputError, match=r'needs ctx=Memory\(.*found none'):
    cell.init(jax.random.key(0), jnp.zeros((1, F)))
