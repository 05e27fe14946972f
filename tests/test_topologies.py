"""Shapes and values of every way to relate inputs to outputs, against explicit single steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import BATCH, HIDDEN, NUM_INPUTS, assert_close, inputs, noisy, perturbed

from rnn_research import elman, gru, length_mask, lstm
from rnn_research.models import topologies

pytestmark = pytest.mark.usefixtures('strict_shapes')

CELL = lstm(HIDDEN)
PARAMS = perturbed(CELL)
SQUARE = gru(NUM_INPUTS)  # its outputs fit its inputs
SQUARE_PARAMS = perturbed(SQUARE)


@functools.partial(jax.jit, static_argnums=0)
def one_step(cell, params, x, state):
  return cell.step(params, state, cell.project(params, x[None])[0])


def by_steps(cell, params, xs, state=None):
  """Returns the last state and every output, from an explicit loop over single steps."""
  state, ys = cell.initial_state(params, BATCH) if state is None else state, []
  for x in xs:
    state, y = one_step(cell, params, x, state)
    ys.append(y)
  return state, jnp.stack(ys)


def test_one_to_one():
  x, start = inputs()[0], noisy(CELL.initial_state(PARAMS, BATCH), 5)
  for state in (None, start):
    end, y = topologies.one_to_one(CELL, PARAMS, x, state)
    expected_end, expected = by_steps(CELL, PARAMS, [x], state)
    assert y.shape == (BATCH, HIDDEN)
    assert_close((end, y), (expected_end, expected[0]))


@pytest.mark.parametrize('num_steps', [1, 5])
def test_one_to_many_with_zeros(num_steps):
  x = inputs()[0]
  got = topologies.one_to_many_zeros(CELL, PARAMS, x, num_steps)
  assert got[1].shape == (num_steps, BATCH, HIDDEN)
  assert_close(got, by_steps(CELL, PARAMS, [x] + [jnp.zeros_like(x)] * (num_steps - 1)))


def test_one_to_many_with_the_input_repeated():
  x = inputs()[0]
  got = topologies.one_to_many_repeat(CELL, PARAMS, x, 5)
  assert got[1].shape == (5, BATCH, HIDDEN)
  assert_close(got, by_steps(CELL, PARAMS, [x] * 5))


def test_one_to_many_with_the_output_fed_back():
  x, xs = inputs()[0], []
  end, ys = topologies.one_to_many_feedback(SQUARE, SQUARE_PARAMS, x, 5)
  assert ys.shape == (5, BATCH, NUM_INPUTS)
  xs = [x, *ys[:-1]]
  assert_close((end, ys), by_steps(SQUARE, SQUARE_PARAMS, xs))


def test_one_to_many_with_a_feed_that_records_something_else():
  feed = lambda y, key: (y[:, :NUM_INPUTS] * 2.0, jnp.argmax(y, -1))
  end, picks = topologies.one_to_many_feedback(CELL, PARAMS, inputs()[0], 4, feed)
  state, x, expected = None, inputs()[0], []
  for _ in range(4):
    state, ys = by_steps(CELL, PARAMS, [x], state)
    x, pick = feed(ys[0], None)
    expected.append(pick)
  assert_close((end, picks), (state, jnp.stack(expected)))


def test_many_to_one():
  end, y = topologies.many_to_one(CELL, PARAMS, inputs())
  expected_end, expected = by_steps(CELL, PARAMS, inputs())
  assert y.shape == (BATCH, HIDDEN)
  assert_close((end, y), (expected_end, expected[-1]))


def test_many_to_one_takes_the_last_real_step_of_every_row():
  xs, lengths = inputs(), np.array([len(inputs()), 0, 3])
  _, y = topologies.many_to_one(CELL, PARAMS, xs, mask=length_mask(lengths, len(xs)))
  _, expected = by_steps(CELL, PARAMS, xs)
  assert_close(y[0], expected[-1, 0])
  assert not np.asarray(y[1]).any()
  assert_close(y[2], expected[2, 2])


def test_many_to_many():
  xs, mask = inputs(), length_mask(np.array([8, 0, 3]), len(inputs()))
  assert_close(topologies.many_to_many(CELL, PARAMS, xs), by_steps(CELL, PARAMS, xs))
  _, ys = topologies.many_to_many(CELL, PARAMS, xs, mask=mask)
  assert_close(ys, jnp.where(mask[..., None], by_steps(CELL, PARAMS, xs)[1], 0.0))


def test_encoder_decoder():
  xs, targets = inputs(), inputs(num_steps=5, num_inputs=2, seed=9)
  decoder = lstm(HIDDEN)
  params = PARAMS, perturbed(decoder, num_inputs=2, seed=4)
  lengths = np.array([8, 4, 4])
  end, ys = topologies.encoder_decoder(
    CELL,
    decoder,
    params,
    xs,
    targets,
    mask=length_mask(lengths, len(xs)),
    target_mask=length_mask(np.array([5, 2, 5]), 5),
  )
  assert ys.shape == (5, BATCH, HIDDEN)
  summary, _ = by_steps(CELL, PARAMS, xs)
  expected_end, expected = by_steps(decoder, params[1], targets, summary)
  assert_close((end.h[0], ys[:, 0]), (expected_end.h[0], expected[:, 0]))
  summary, _ = by_steps(CELL, PARAMS, xs[:4])
  expected_end, expected = by_steps(decoder, params[1], targets, summary)
  assert_close((end.c[2], ys[:, 2]), (expected_end.c[2], expected[:, 2]))
  assert_close(ys[:2, 1], expected[:2, 1])
  assert not np.asarray(ys[2:, 1]).any()


def test_encoder_decoder_refuses_states_that_do_not_fit():
  decoder = elman(HIDDEN)
  with pytest.raises(ValueError, match=r'LSTMState.*expected.*ElmanState'):
    topologies.encoder_decoder(CELL, decoder, (PARAMS, perturbed(decoder)), inputs(), inputs())
