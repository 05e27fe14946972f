"""The drivers: lengths, truncated backpropagation, rematerialisation, context, errors, directions, free running."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  BATCH,
  HALF,
  HIDDEN,
  NUM_INPUTS,
  NUM_STEPS,
  assert_close,
  inputs,
  make,
  noisy,
  perturbed,
)

from rnn_research import (
  bidirectional,
  elman,
  free_run,
  gru,
  layer_norm,
  learned_initial_state,
  length_mask,
  lstm,
  residual,
  stack,
  unroll,
  unroll_layers,
  variational_dropout,
  zoneout,
)

pytestmark = pytest.mark.usefixtures('strict_shapes')

KEY = jax.random.key(11)
LSTM = make('lstm')
PARAMS = perturbed(LSTM)


@functools.partial(jax.jit, static_argnums=0)
def one_step(cell, params, x, state):
  return cell.step(params, state, cell.project(params, x[None])[0])


def by_steps(cell, params, xs, state):
  ys = []
  for x in xs:
    state, y = one_step(cell, params, x, state)
    ys.append(y)
  return state, jnp.stack(ys)


# Masks and lengths.


def test_length_mask():
  expected = [[1, 0, 1], [1, 0, 1], [1, 0, 0]]
  np.testing.assert_array_equal(length_mask(np.array([3, 0, 2]), 3), np.array(expected, bool))


def test_every_length_equals_the_shortened_sequence():
  lengths = np.array([*range(NUM_STEPS + 1)])
  row = inputs(batch_size=1)
  end, ys = unroll(
    LSTM, PARAMS, jnp.repeat(row, len(lengths), 1), mask=length_mask(lengths, NUM_STEPS)
  )
  states = [LSTM.initial_state(PARAMS, 1)]
  for t in range(NUM_STEPS):
    state, y = by_steps(LSTM, PARAMS, row[t : t + 1], states[-1])
    states.append(state)
    assert_close(ys[t, t + 1 :], jnp.repeat(y[0], NUM_STEPS - t, 0))
    assert not np.asarray(ys[t, : t + 1]).any()
  assert_close(end, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *states))


def test_inputs_may_be_trees():
  cell = LSTM._replace(project=lambda params, xs: xs['a'] @ params.w_x + xs['b'], scan=None)
  xs = {'a': inputs(), 'b': jnp.ones((NUM_STEPS, BATCH, 4 * HIDDEN))}
  mask = length_mask(np.array([8, 0, 3]), NUM_STEPS)
  params = PARAMS._replace(b=jnp.ones(4 * HIDDEN))
  assert_close(
    unroll(cell, PARAMS, xs, mask=mask, remat_every=3), unroll(LSTM, params, inputs(), mask=mask)
  )


# Truncated backpropagation through time.


def chunk_loss(params, xs, state):
  end, ys = unroll(LSTM, params, xs, state)
  return jnp.sum(jnp.sin(ys)), (end, ys)


def test_truncated_backpropagation_within_one_chunk_is_the_full_one():
  state = LSTM.initial_state(PARAMS, BATCH)

  def full(params):
    total, ys = 0.0, by_steps(LSTM, params, inputs(), state)[1]
    for y in ys:
      total += jnp.sum(jnp.sin(y))
    return total

  truncated = jax.grad(chunk_loss, has_aux=True)(PARAMS, inputs(), state)[0]
  assert_close(truncated, jax.grad(full)(PARAMS), rtol=1e-4, atol=1e-5)


def test_states_continue_across_chunks_and_the_gradient_stops_at_the_edge():
  xs, start = inputs(), LSTM.initial_state(PARAMS, BATCH)
  whole_end, whole = unroll(LSTM, PARAMS, xs)
  grad = jax.jit(jax.grad(chunk_loss, has_aux=True))

  def two_chunks(xs):
    first, (middle, first_ys) = grad(PARAMS, xs[:HALF], start)
    second, (end, second_ys) = grad(PARAMS, xs[HALF:], middle)
    return first, second, middle, end, jnp.concatenate([first_ys, second_ys])

  first, second, middle, end, ys = two_chunks(xs)
  assert_close((end, ys), (whole_end, whole))
  stopped = lambda params: sum(
    chunk_loss(params, xs[i : i + HALF], jax.lax.stop_gradient(s))[0]
    for i, s in ((0, start), (HALF, middle))
  )
  assert_close(
    jax.tree.map(jnp.add, first, second), jax.grad(stopped)(PARAMS), rtol=1e-4, atol=1e-5
  )
  full = jax.grad(chunk_loss, has_aux=True)(PARAMS, xs, start)[0]
  assert np.abs(np.asarray(full.w_h - first.w_h - second.w_h)).max() > 1e-3
  across = jax.grad(
    lambda early: chunk_loss(
      PARAMS, xs[HALF:], jax.lax.stop_gradient(chunk_loss(PARAMS, early, start)[1][0])
    )[0]
  )(xs[:HALF])
  assert not np.asarray(across).any()


# Rematerialisation.


@pytest.mark.parametrize('cell', [LSTM, LSTM._replace(scan=None)], ids=['scan', 'stepped'])
def test_rematerialisation_needs_less_memory(cell):
  def temporaries(remat_every):
    loss = lambda params, xs: jnp.sum(unroll(cell, params, xs, remat_every=remat_every)[1])
    shapes = jax.eval_shape(lambda: (PARAMS, jnp.zeros((900, 16, NUM_INPUTS))))
    return jax.jit(jax.grad(loss)).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

  assert temporaries(30) < 0.1 * temporaries(None)


@pytest.mark.parametrize('every', [1, 4, NUM_STEPS, NUM_STEPS + 5])
def test_rematerialisation_by_any_number_of_steps(every):
  assert_close(unroll(LSTM, PARAMS, inputs(), remat_every=every), unroll(LSTM, PARAMS, inputs()))


# Context.


def test_ctx_reaches_every_step():
  step = lambda params, state, u, *, key=None, ctx=None: LSTM.step(params, state, u + ctx)
  cell = LSTM._replace(step=step, scan=None)
  shift = 0.5 * jnp.ones((BATCH, 4 * HIDDEN))
  expected = unroll(LSTM, PARAMS._replace(b=PARAMS.b + 0.5), inputs())
  assert_close(unroll(cell, PARAMS, inputs(), ctx=shift), expected)
  both = stack(cell, make('gru')._replace(scan=None))
  params = both.init(KEY, inputs()[0], shift)
  got = unroll(both, params, inputs(), ctx=shift)
  assert_close(got, unroll_layers((cell, make('gru')), params, inputs(), ctx=shift))


def test_a_cell_with_a_scan_scans_beside_a_ctx():
  def step(params, state, u, *, key=None, ctx=None):
    raise AssertionError('it steps')

  cell, ctx = LSTM._replace(step=step), jnp.ones((BATCH, 2))
  expected = unroll(LSTM, PARAMS, inputs())
  assert_close(unroll(cell, PARAMS, inputs(), ctx=ctx), expected)
  assert_close(unroll(cell, PARAMS, inputs(), ctx=ctx, remat_every=4), expected)
  (end,), ys = unroll_layers((cell,), (PARAMS,), inputs(), ctx=ctx)
  assert_close((end, ys), expected)


def test_prepare_may_compute_the_context_once():
  def prepare(params, ctx, batch_size, *, key=None):
    return params, jnp.tile(ctx, (1, 4))

  step = lambda params, state, u, *, key=None, ctx=None: LSTM.step(params, state, u + ctx)
  cell = LSTM._replace(step=step, scan=None, prepare=prepare)
  memory = 0.1 * jnp.ones((BATCH, HIDDEN))
  expected = unroll(LSTM, PARAMS._replace(b=PARAMS.b + 0.1), inputs())
  assert_close(unroll(cell, PARAMS, inputs(), ctx=memory), expected)
  stacked = stack(cell)
  end, ys = unroll(stacked, (PARAMS,), inputs(), ctx=memory)
  assert_close((end[0], ys), expected)


# Errors name both shapes.


@pytest.mark.parametrize(
  ('keywords', 'message'),
  [
    ({'mask': np.ones((3, NUM_STEPS), bool)}, r'mask.*\(3, 8\).*\(8, 3\)'),
    ({'reset': np.ones((NUM_STEPS, 1), bool)}, r'reset.*\(8, 1\).*\(8, 3\)'),
    ({'state': LSTM.initial_state(PARAMS, 2)}, r'state.*\(2, 5\).*\(3, 5\)'),
    ({'state': make('gru').initial_state(perturbed(make('gru')), BATCH)}, r'GRUState.*LSTMState'),
    ({'xs': jnp.ones(5)}, r'\(5,\).*\[T, B'),
    ({'xs': inputs(num_inputs=6)}, r'\(8, 3, 6\).*\(4, 20\)'),
    ({'remat_every': 0}, r'remat_every is 0'),
  ],
)
def test_errors_name_what_they_got_and_what_they_expected(keywords, message):
  with pytest.raises(ValueError, match=message):
    unroll(LSTM, PARAMS, **({'xs': inputs()} | keywords))


def test_unequal_numbers_of_layers_are_refused():
  with pytest.raises(ValueError, match='2 cells do not fit 1 params'):
    unroll_layers((LSTM, LSTM), (PARAMS,), inputs())
  with pytest.raises(ValueError, match='1 cells do not fit 1 params and 2 states'):
    unroll_layers((LSTM,), (PARAMS,), inputs(), (LSTM.initial_state(PARAMS, BATCH),) * 2)


def test_combinators_refuse_what_they_cannot_change():
  learned = learned_initial_state(lstm(HIDDEN))
  with pytest.raises(ValueError, match='no weights w_x'):
    layer_norm(learned).init(KEY, inputs()[0])
  with pytest.raises(ValueError, match='no weights w_h'):
    dropped = variational_dropout(learned, state_rate=0.5)
    unroll(dropped, dropped.init(KEY, inputs()[0]), inputs(), key=KEY)
  with pytest.raises(ValueError, match='field h, found tuple'):
    whole = zoneout(stack(LSTM, LSTM), 0.5)
    unroll(whole, perturbed(whole), inputs())
  with pytest.raises(ValueError, match=r'\(3, 4\).*\(3, 5\)'):
    perturbed(residual(LSTM))


def test_scan_with_a_reset_needs_a_state_to_put_in_place():
  with pytest.raises(ValueError, match='reset_state'):
    LSTM.scan(
      PARAMS, LSTM.initial_state(PARAMS, BATCH), inputs(), reset=np.ones((NUM_STEPS, BATCH), bool)
    )


# Both directions.


def test_bidirectional_equals_a_loop_over_sequences():
  cells, lengths = (lstm(HIDDEN), gru(3)), [8, 0, 3]
  params = perturbed(cells[0]), perturbed(cells[1], seed=8)
  states = noisy(tuple(c.initial_state(p, BATCH) for c, p in zip(cells, params, strict=True)), 6)
  assert all((np.asarray(p.b) != 0.0).all() for p in params)
  xs = jnp.where(length_mask(np.array(lengths), NUM_STEPS)[..., None], inputs(), jnp.nan)
  ends, ys = bidirectional(
    *cells, params, xs, states, mask=length_mask(np.array(lengths), NUM_STEPS)
  )
  assert ys.shape == (NUM_STEPS, BATCH, HIDDEN + 3)
  for b, length in enumerate(lengths):
    row = xs[:length, b : b + 1]
    for i, (sequence, columns) in enumerate(
      ((row, slice(HIDDEN)), (row[::-1], slice(HIDDEN, None)))
    ):
      start = jax.tree.map(lambda a, b=b: a[b : b + 1], states[i])
      end, expected = (
        by_steps(cells[i], params[i], sequence, start) if length else (start, jnp.zeros((0, 1, 1)))
      )
      assert_close(jax.tree.map(lambda a, b=b: a[b : b + 1], ends[i]), end)
      expected = expected if i == 0 else expected[::-1]
      np.testing.assert_allclose(
        ys[:length, b, columns], expected[:, 0] if length else ys[:0, b, columns], 2e-5, 2e-6
      )
    assert not np.asarray(ys[length:, b]).any()


def test_bidirectional_keys_differ_by_direction_and_its_default_state_is_the_initial_one():
  cell = variational_dropout(elman(HIDDEN), state_rate=0.5)
  params = perturbed(cell)
  palindrome = jnp.concatenate([inputs(), inputs()[::-1]])
  _, ys = bidirectional(cell, cell, (params, params), palindrome)
  np.testing.assert_allclose(ys[..., :HIDDEN], ys[::-1, :, HIDDEN:], rtol=1e-6)
  _, dropped = bidirectional(cell, cell, (params, params), palindrome, key=KEY)
  assert (np.asarray(dropped[..., :HIDDEN]) != np.asarray(dropped[::-1, :, HIDDEN:])).any()


# Free running.


def test_free_run_equals_a_loop():
  cell = stack(lstm(HIDDEN), gru(NUM_INPUTS))
  params = perturbed(cell)
  state, x = noisy(cell.initial_state(params, BATCH), 3), inputs()[0]
  feed = lambda y, key: (2.0 * y, jnp.sum(y, -1))
  end, outs = jax.jit(lambda *args: free_run(cell, *args, feed, 6))(params, state, x)
  expected = []
  for _ in range(6):
    state, ys = by_steps(cell, params, x[None], state)
    x, out = feed(ys[0], None)
    expected.append(out)
  assert_close((end, outs), (state, jnp.stack(expected)))
