"""The fused engine over sequences long enough to be cut into chunks, and the choice of an engine."""

import jax
import numpy as np
import pytest
from cells_under_test import (
  assert_close,
  assert_near,
  assert_same,
  gradients,
  inputs,
  loss_of,
  noisy,
  perturbed,
  stepped,
)

from rnn_research import CELLS, gru, lstm, unroll
from rnn_research.cells.elman import elman
from rnn_research.engines import dispatch, fused

FUSED = ['elman', 'irnn', 'lstm', 'gru', 'gru_reset_before']
CHUNK, LONG = 40, 89  # steps: two chunks and a rest
GATES = {'elman': 1, 'irnn': 1, 'lstm': 4, 'gru': 3, 'gru_reset_before': 3}

pytestmark = pytest.mark.usefixtures('quick_compilation')


@pytest.fixture(params=FUSED)
def long(request, monkeypatch):
  """Returns a cell, parameters that keep its states bounded, inputs of LONG steps and a state."""
  monkeypatch.setattr(
    fused, '_CACHE_BYTES', CHUNK * 3 * GATES[request.param] * 5 * 4
  )  # steps, rows, gates, units
  cell = CELLS[request.param](5)
  params = jax.tree.map(lambda a: 0.5 * a, perturbed(cell, scale=0.1))
  return cell, params, inputs(LONG), noisy(cell.initial_state(params, 3), 3)


def test_chunks_equal_stepping_in_values_and_gradients(long):
  cell, params, xs, state = long
  rng = np.random.default_rng(5)
  loops = {}, {'mask': rng.random((LONG, 3)) < 0.8, 'reset': rng.random((LONG, 3)) < 0.05}
  for loop in loops:
    got, expected = (gradients(c, params, xs, state, **loop) for c in (cell, stepped(cell)))
    assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(abs(expected[0][0])))


def test_chunks_under_rematerialisation_equal_stepping(long):
  cell, params, xs, state = long
  got = gradients(
    cell, params, xs, state, remat_every=84
  )  # three chunks of 28, and a rest of 5 steps
  expected = gradients(stepped(cell), params, xs, state)
  assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(abs(expected[0][0])))


@pytest.mark.parametrize(('num_steps', 'batch_size'), [(0, 3), (4, 0), (0, 0)])
@pytest.mark.parametrize('name', FUSED)
def test_no_steps_or_no_rows(name, num_steps, batch_size):
  cell = CELLS[name](5)
  params, xs = perturbed(cell), inputs(num_steps, batch_size)
  state = noisy(cell.initial_state(params, batch_size), 3)
  assert_same(
    jax.tree.map(np.asarray, unroll(cell, params, xs, state)),
    unroll(stepped(cell), params, xs, state),
  )
  assert unroll(cell, params, xs, state)[1].shape == (num_steps, batch_size, 5)


def test_a_batch_larger_than_a_chunk_is_taken_step_by_step(monkeypatch):
  monkeypatch.setattr(
    fused, '_CACHE_BYTES', 20
  )  # of 12 bytes of a matrix and 36 of three rows of gates
  cell = gru(1)
  params, state = perturbed(cell), noisy(cell.initial_state(perturbed(cell), 3), 3)
  got, expected = (gradients(c, params, inputs(), state) for c in (cell, stepped(cell)))
  assert_close(got, expected, rtol=1e-4, atol=2e-5)
  assert outer_loops(cell, params, inputs(), state) == [len(inputs())]


def test_the_input_is_cut_into_chunks(long):
  cell, params, xs, state = long
  assert outer_loops(cell, params, xs, state) == [2]
  assert outer_loops(cell, params, xs[:84], state) == [3]


def outer_loops(cell, *args):
  """Returns the number of chunks of every loop over chunks, each around a loop over steps."""
  equations = jax.make_jaxpr(loss_of(cell))(*args).eqns
  return [e.params['length'] for e in equations if e.primitive.name == 'scan']


@pytest.mark.parametrize(
  'hidden_size, num_steps, batch_size, expected',
  [
    (128, 50, 25, 10),
    (128, 47, 25, 20),
    (128, 100, 50, 10),
    (128, 10, 25, 10),
    (128, 3, 5000, 1),
    (512, 50, 25, 50),
    (512, 1024, 25, 256),
  ],
)
def test_a_chunk_of_gates_fits_the_cache_or_is_large_beside_the_matrix(
  hidden_size, num_steps, batch_size, expected
):
  w_h = [np.zeros((hidden_size, 4 * hidden_size))]
  assert fused._chunk_length(num_steps, batch_size, w_h) == expected


@pytest.mark.parametrize(
  'name, lengths',
  [*((name, None) for name in FUSED), ('gru_reset_before', (9, 0, 3)), ('lstm', ())],
)
def test_the_form_for_accelerators_equals_that_for_cpus(monkeypatch, name, lengths):
  cell = CELLS[name](5, engine='fused')
  params, xs = perturbed(cell), inputs(0 if lengths == () else 9)
  mask = np.arange(9)[:, None] < np.array(lengths) if lengths else None
  loss = lambda params, xs: sum(
    a.sum() for a in jax.tree.leaves(unroll(cell, params, xs, mask=mask))
  )
  expected = jax.value_and_grad(loss, (0, 1))(params, xs)
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert_near(jax.value_and_grad(loss, (0, 1))(params, xs), expected, 3e-6)


@pytest.mark.parametrize('factory', [elman, gru, lstm])
def test_an_engine_can_be_forced(factory):
  assert factory(4, engine='scan').scan is None
  auto = factory(4)
  params, xs = perturbed(auto), inputs()
  for engine in ('fused', 'newton', 'shooting'):
    assert_close(
      unroll(factory(4, engine=engine), params, xs), unroll(auto, params, xs), rtol=1e-4, atol=1e-5
    )
  with pytest.raises(ValueError, match="engine is 'warp', expected one of auto, scan, fused"):
    factory(4, engine='warp')


def test_the_choice_is_explained():
  assert dispatch.explain('lstm', 'auto', lstm(5).scan) == (
    f'fused scan with a hand-written backward pass (the fastest measured for lstm on {jax.default_backend()})'
  )
  assert dispatch.explain('gru', 'scan', None) == 'step by step under lax.scan (asked for)'
  own = dispatch.explain('lru', 'auto', CELLS['lru'](4).scan)
  assert own == "the cell's own form for whole sequences (it has no other)"
  assert (
    dispatch.explain('lstm_peephole', 'auto', None)
    == 'step by step under lax.scan (this cell has no other form)'
  )
