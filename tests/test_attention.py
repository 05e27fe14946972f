"""Attention and the decoder cells that read a memory, against float64 loops in NumPy and the laws of all cells."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import assert_close, assert_same, drawn, noisy

from rnn_research import elman, lstm, unroll
from rnn_research.cells.attention_decoders import bahdanau, input_feeding, luong
from rnn_research.combinators.depth import stack
from rnn_research.memory import attention
from rnn_research.memory.attention import Memory, read
from rnn_research.stepping import last_h
from rnn_research.unroll import length_mask

pytestmark = pytest.mark.usefixtures('strict_shapes')
T, B, F, H, S = 5, 3, 4, 6, 7
LENGTHS = np.int32([7, 3, 0])
SCORES = {
  'additive': lambda: attention.additive(5),
  'general': attention.general,
  'dot': attention.dot,
}


def memory(size=H, seed=3):
  values = np.random.default_rng(seed).normal(size=(B, S, size)).astype(np.float32)
  return Memory(jnp.asarray(values), length_mask(LENGTHS, S).T)


def sequence(seed=4):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(T, B, F)), jnp.float32)


@functools.cache
def make(kind, score):
  """Returns a decoder cell over an Elman network, and parameters without zeros."""
  inner = SCORES[score]()
  cell = {
    'bahdanau': lambda: bahdanau(elman(H), inner),
    'luong': lambda: luong(elman(H), inner),
    'input_feeding': lambda: input_feeding(luong(elman(H), inner), H),
  }[kind]()
  return cell, noisy(drawn(cell.init, jnp.zeros((1, F)), memory()), 1)


KINDS = ['bahdanau', 'luong', 'input_feeding']
ALL = pytest.mark.parametrize(
  ('kind', 'score'), [(kind, score) for kind in KINDS for score in SCORES]
)


def read_np(score, params, query, values, length):
  """One row: query [Q], values [S, M] to what is read and the weights."""
  if not length:
    return np.zeros(values.shape[1]), np.zeros(S)
  if score == 'additive':
    scores = [
      params.v @ np.tanh(query @ params.w_q + h @ params.w_k + params.b) for h in values[:length]
    ]
  else:
    scores = [query @ (h @ params if score == 'general' else h) for h in values[:length]]
  weights = np.exp(scores - np.max(scores))
  weights = np.concatenate([weights / weights.sum(), np.zeros(S - length)])
  return sum(w * h for w, h in zip(weights, values, strict=True)), weights


def decoder_np(kind, score, params, xs, values, length):
  """One row of every kind of decoder over an Elman network, [T] tuples of h, context, weights."""
  step = lambda x, h: np.tanh(x @ params.cell.w_x + h @ params.cell.w_h + params.cell.b)
  h, fed, outs = np.zeros(H), np.zeros(H), []
  for x in xs:
    if kind == 'bahdanau':
      context, weights = read_np(score, params.attention, h, values, length)
      h = step(np.concatenate([x, context]), h)
      outs.append((h, context, weights))
      continue
    h = step(np.concatenate([x, fed]) if kind == 'input_feeding' else x, h)
    context, weights = read_np(score, params.attention, h, values, length)
    fed = np.tanh(np.concatenate([context, h]) @ params.w_c)
    outs.append((fed, context, weights))
  return [np.stack(column) for column in zip(*outs, strict=True)]


@ALL
def test_equals_a_loop_in_float64(kind, score):
  cell, params = make(kind, score)
  _, ys = unroll(cell, params, sequence(), ctx=memory())
  exact = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, sequence(), memory().values))
  for row, length in enumerate(LENGTHS):
    expected = decoder_np(kind, score, exact[0], exact[1][:, row], exact[2][row], length)
    assert_close([y[:, row] for y in ys], expected, 1e-5, 2e-6)


@ALL
def test_two_chunks_equal_one(kind, score):
  cell, params = make(kind, score)
  xs, run = sequence(), jax.jit(functools.partial(unroll, cell))
  end, ys = run(params, xs, ctx=memory())
  state, first = run(params, xs[:2], ctx=memory())
  state, second = run(params, xs[2:], state, ctx=memory())
  assert_close(state, end, 1e-6, 1e-6)
  assert_close(jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second), ys, 1e-6, 1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_masked_steps_hold_the_state_and_give_zeros(kind):
  cell, params = make(kind, 'additive')
  lengths = np.int32([5, 2, 0])
  end, ys = unroll(
    cell, params, sequence().at[4, 1].set(jnp.nan), ctx=memory(), mask=length_mask(lengths, T)
  )
  for row, length in enumerate(lengths):
    own = jax.tree.map(lambda a, row=row: a[row : row + 1], memory())
    state, _ = (
      unroll(cell, params, sequence()[:length, row : row + 1], ctx=own)
      if length
      else (cell.initial_state(params, 1), None)
    )
    assert_close(jax.tree.map(lambda a, row=row: a[row : row + 1], end), state, 1e-6, 1e-6)
    assert_same(
      jax.tree.map(lambda a, row=row, length=length: a[length:, row], ys),
      jax.tree.map(lambda a, row=row, length=length: jnp.zeros_like(a[length:, row]), ys),
    )


@pytest.mark.parametrize('kind', KINDS)
def test_padding_of_the_memory_is_never_read(kind):
  cell, params = make(kind, 'general')
  other = memory()._replace(values=jnp.where(memory().mask[..., None], memory().values, 1e6))
  run = jax.jit(
    jax.value_and_grad(
      lambda params, m: jnp.sum(unroll(cell, params, sequence(), ctx=m)[1].h),
      (0, 1),
      allow_int=True,
    )
  )
  (value, (grads, of_memory)), (again, (more, _)) = run(params, memory()), run(params, other)
  assert_same(value, again)
  assert_close(more, grads, 1e-6, 1e-7)
  assert not np.asarray(of_memory.values)[~np.asarray(memory().mask)].any()


def test_keys_are_computed_once_per_unroll():
  calls = []
  counted = attention.general()._replace(
    keys=lambda params, values: calls.append(1) or values @ params
  )
  cell = luong(elman(H), counted)
  params = cell.init(jax.random.key(0), jnp.zeros((1, F)), memory())
  jaxpr = jax.make_jaxpr(lambda params: unroll(cell, params, sequence(), ctx=memory())[1].h)(params)
  (loop,) = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == 'scan']
  inside = str(loop.params['jaxpr'])
  assert len(calls) == 1
  assert f'f32[{B},{S},{H}] = dot_general' not in inside


@pytest.mark.parametrize('kind', ['bahdanau', 'luong'])
def test_any_cell_may_read_and_the_last_layer_asks(kind):
  inner = stack(elman(3), lstm(H))
  cell = {'bahdanau': bahdanau, 'luong': luong}[kind](inner, attention.additive(5))
  params = cell.init(jax.random.key(0), jnp.zeros((1, F)), memory(8))
  (_, top), ys = unroll(cell, params, sequence(), ctx=memory(8))
  assert last_h(((), top)) is top.h
  assert params.attention.w_q.shape == (H, 5)
  assert (ys.h.shape, ys.context.shape, ys.weights.shape) == ((T, B, H), (T, B, 8), (T, B, S))


def test_dot_needs_one_size():
  with pytest.raises(ValueError, match="dot attention needs values of the query's size 6, found 8"):
    bahdanau(elman(H), attention.dot()).init(jax.random.key(0), jnp.zeros((1, F)), memory(8))


def test_weights_are_uniform_where_all_scores_are_equal():
  params = attention.additive(5).init(jax.random.key(0), H, H)
  params = params._replace(v=jnp.zeros(5))
  m = memory()
  m = m._replace(keys=attention.additive(5).keys(params, m.values))
  context, weights = read(attention.additive(5), params, jnp.ones((B, H)), m)
  np.testing.assert_allclose(weights[0], np.full(S, 1 / 7), rtol=1e-6)
  np.testing.assert_allclose(context[1], m.values[1, :3].mean(0), rtol=1e-5)
  assert not np.asarray(context[2]).any()
