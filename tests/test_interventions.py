"""Units that are held, and units that are put as after another context."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_research import gru, lstm, unroll
from rnn_research.analysis.measures import interventions
from rnn_research.analysis.measures.interventions import (
  ablate,
  check_unit,
  held,
  hold,
  matched_contexts,
  matched_units,
  patch,
)
from rnn_research.analysis.measures.recording import Recording, Unit
from rnn_research.errors import InputError
from rnn_research.models.language_model import language_model, log_probabilities

pytestmark = pytest.mark.usefixtures('strict_shapes')
SYMBOLS = 5


@pytest.fixture(scope='module')
def parts():
  cells = (lstm(6), gru(4))
  model = language_model(cells, SYMBOLS)
  ids = np.random.default_rng(0).integers(0, SYMBOLS, 400).astype(np.int32)
  return model, lambda cells: language_model(cells, SYMBOLS), model.init(jax.random.key(0)), ids


def lstm_by_hand(params, xs, c_unit, h_unit, value):
  """Returns h of every step with one unit of c and one of h held."""
  sigmoid = lambda a: 1 / (1 + np.exp(-a))
  c = h = np.zeros(6)
  hs = []
  for x in np.asarray(xs[:, 0], np.float64):
    i, f, g, o = np.split(x @ params.w_x + h @ params.w_h + params.b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    if c_unit is not None:
      c[c_unit] = value
    if h_unit is not None:
      h[h_unit] = value
    hs.append(h)
  return np.stack(hs)


@pytest.mark.parametrize('leaf', ['c', 'h'])
def test_a_held_unit_stays_and_the_others_follow_the_equations(leaf):
  cell = lstm(6)
  xs = jax.random.normal(jax.random.key(1), (9, 1, 3))
  params = cell.init(jax.random.key(0), xs[0])
  fixed = hold(cell, leaf, jnp.full(1, 2), jnp.full(1, 0.7))
  state, ys = unroll(fixed, params, xs)
  expected = lstm_by_hand(
    jax.tree.map(np.float64, params), xs, *((2, None) if leaf == 'c' else (None, 2)), 0.7
  )
  np.testing.assert_allclose(ys[:, 0], expected, atol=1e-5)
  assert getattr(state, leaf)[0, 2] == np.float32(0.7)


def test_each_row_holds_its_own_unit_or_none():
  cell = gru(4)
  xs = jnp.tile(jax.random.normal(jax.random.key(1), (6, 1, 3)), (1, 3, 1))
  params = cell.init(jax.random.key(0), xs[0])
  _, ys = unroll(
    hold(cell, 'h', jnp.array([1, 0, 3]), jnp.array([jnp.nan, 0.25, -0.5])), params, xs
  )
  np.testing.assert_allclose(ys[:, 0], unroll(cell, params, xs)[1][:, 0], atol=1e-6)
  np.testing.assert_array_equal(ys[:, 1, 0], np.full(6, 0.25, np.float32))
  np.testing.assert_array_equal(ys[:, 2, 3], np.full(6, -0.5, np.float32))


def test_units_are_held_in_rows_of_their_own(parts):
  model, remake, params, ids = parts
  units, nan = [Unit(1, 'c', 2), Unit(1, 'h', 4), Unit(2, 'h', 0)], np.nan
  values = [[nan, 0.7, nan, nan], [nan, nan, -0.4, nan], [nan, nan, nan, 0.1]]
  read = lambda cells, rows: remake(cells).unroll(
    params, model.initial_state(params, rows), np.tile(ids[:20, None], (1, rows))
  )[1]
  found = read(held(model.cells, units, values), 4)
  alone = [
    read(held(model.cells, [u], [max(v, key=np.isfinite)]), 1)
    for u, v in zip(units, values, strict=True)
  ]
  expected = jnp.concatenate([read(model.cells, 1), *alone], 1)
  np.testing.assert_allclose(found, expected, atol=1e-6)
  assert np.abs(np.diff(np.asarray(found), axis=1)).max((0, 2)).min() > 1e-3


def test_ablation_reads_the_text_without_a_unit(parts):
  model, remake, params, ids = parts
  units, values = [Unit(2, 'h', 1), Unit(2, 'h', 3)], [0.4, -0.2]
  found = ablate(model, remake, params, ids, units, values)
  assert found.shape == (3, 399)
  lanes = interventions.evaluation_lanes(ids, interventions.LANES)
  plain = np.asarray(log_probabilities(model, params, *lanes)).T.ravel()[:399]
  np.testing.assert_allclose(found[0], plain, atol=1e-5)
  for row, unit, value in zip(found[1:], units, values, strict=True):
    other = remake(held(model.cells, [unit], [value]))
    alone = np.asarray(log_probabilities(other, params, *lanes)).T.ravel()[:399]
    np.testing.assert_allclose(row, alone, atol=1e-5)
    assert np.abs(row - plain).max() > 1e-3


def test_contexts_end_alike_and_differ_in_the_concept():
  random = np.random.default_rng(0)
  ids = random.integers(0, 2, 3000).astype(np.int32)
  labels = (random.random(3000) < 0.3).astype(np.float32)
  labels[::7] = np.nan
  on, off = matched_contexts(ids, labels, 50, 4, 20, 12)
  assert len(on) == 12
  ends = [tuple(ids[i - 3 : i + 1]) for i in on]
  assert ends == [tuple(ids[i - 3 : i + 1]) for i in off] and len(set(ends)) == 12
  assert np.all(labels[on] == 1) and np.all(labels[off] == 0)
  assert min(*on, *off) >= 50 and max(*on, *off) < 3000 - 21


def test_numbers_must_differ_by_a_deviation():
  ids = np.zeros(600, np.int32)
  labels = np.linspace(0.0, 1.0, 600, dtype=np.float32)
  on, off = matched_contexts(ids, labels, 10, 3, 5, 10)
  assert len(on) == 1 and labels[on[0]] - labels[off[0]] > 0.9
  assert len(matched_contexts(ids, np.full(600, 2.0, np.float32), 10, 3, 5, 10)[0]) == 0


def test_patching_puts_one_unit_once(parts):
  model, _, params, ids = parts
  pairs, window, steps = (np.array([60, 90]), np.array([200, 310])), 40, 5
  units = [Unit(1, 'c', 4), Unit(1, 'c', 0)]
  found = patch(model, params, ids, pairs, window, steps, units)
  assert found.shape == (2, 2)
  for p, (end, other) in enumerate(zip(*pairs, strict=True)):
    read = lambda e: model.unroll(
      params, model.initial_state(params, 1), ids[e + 1 - window : e + 1, None]
    )[0]
    states, donor = read(end), read(other)
    after = ids[end + 1 : end + 1 + steps, None]
    predict = lambda s, after=after: jax.nn.softmax(
      model.logits(params, model.unroll(params, s, after)[1]), -1
    )
    for k, unit in enumerate(units):
      c = states[0].c.at[0, unit.place].set(donor[0].c[0, unit.place])
      there = predict((states[0]._replace(c=c), states[1]))
      distance = 0.5 * np.abs(there - predict(states)).sum(-1).mean()
      assert found[k, p] == pytest.approx(float(distance), abs=1e-6)


def test_peers_have_the_nearest_deviation():
  scales = np.array([1.0, 5.0, 1.1, 0.2, 1.5])
  values = (np.random.default_rng(0).normal(size=(5000, 5)) * scales).astype(np.float16)
  units = (*(Unit(1, 'c', i) for i in range(4)), Unit(1, 'h', 0))
  recording = Recording(units, values, ({},), *[np.zeros(0)] * 3)
  assert matched_units(recording, Unit(1, 'c', 0), 2) == [Unit(1, 'c', 2), Unit(1, 'c', 3)]


@pytest.mark.parametrize(
  ('unit', 'words'),
  [
    (Unit(3, 'h', 0), 'the layer of a unit is 3, expected 1 to 2'),
    (Unit(0, 'h', 0), 'the layer of a unit is 0, expected 1 to 2'),
    (Unit(2, 'c', 0), "2:c0: the state of the layer has no 'c' that can be held"),
    (Unit(1, 'c', 6), 'the unit of c is 6, expected 0 to 5'),
  ],
)
def test_units_that_are_not_there_are_refused(parts, unit, words):
  with pytest.raises(InputError) as e:
    check_unit(parts[0], parts[2], unit)
  assert words in str(e.value)
