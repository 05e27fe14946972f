"""Recordings: one exact pass in pieces, for every cell."""

import jax
import numpy as np
import pytest
from cells_under_test import drawn, noisy

from rnn_research import CELLS, gru, lstm
from rnn_research.analysis.measures import recording as recording_lib
from rnn_research.analysis.measures.recording import Unit, gate_values, gather, record, units_of
from rnn_research.analysis.measures.traces import named_leaves, trace_layers
from rnn_research.cells import make_cell
from rnn_research.models.language_model import language_model, log_probabilities

pytestmark = pytest.mark.usefixtures('strict_shapes')
SYMBOLS, LENGTH, PIECE = 7, 12, 4  # few: states of random weights may grow


@pytest.fixture
def short_pieces(monkeypatch):
  monkeypatch.setattr(recording_lib, 'CHUNK', PIECE)


def model_of(*cells):
  model = language_model(cells, SYMBOLS)
  ids = np.random.default_rng(0).integers(0, SYMBOLS, LENGTH).astype(np.int32)
  return model, noisy(drawn(model.init), 2, 0.1), ids


def whole(model, params, ids):
  shown = []
  made = gather(units_of(model, params), record(model, params, ids), len(ids), shown.append)
  assert shown == [*range(PIECE, len(ids), PIECE), len(ids)]
  return made


@pytest.mark.parametrize('name', CELLS)
def test_pieces_are_one_pass_for_every_cell(name, short_pieces):
  model, params, ids = model_of(make_cell(name, 6))
  made = whole(model, params, ids)
  traces = trace_layers(model.cells, params['cells'], model.embed(params, ids[:, None]))
  expected, gates = [], []
  for layer, trace in enumerate(traces, 1):
    for leaf in named_leaves(model.initial_state(params, 1)[layer - 1]):
      columns = np.asarray(trace.states[leaf]).reshape(LENGTH, -1).T
      expected += [(Unit(layer, leaf, i), column) for i, column in enumerate(columns)]
    gates.append(trace.gates)
  assert made.units == tuple(unit for unit, _ in expected)
  np.testing.assert_allclose(
    made.values, np.stack([column for _, column in expected], 1), rtol=2e-3, atol=2e-3
  )
  for layer, named in enumerate(gates, 1):
    assert made.gates[layer - 1].keys() == named.keys()
    for gate, values in named.items():
      found = np.stack([gate_values(made, layer, gate, i) for i in range(values.shape[-1])], 1)
      np.testing.assert_allclose(found, np.clip(values[:, 0], -1.0, 1.0), atol=5e-3)


def test_predictions_are_those_of_the_exact_single_stream(short_pieces):
  model, params, ids = model_of(lstm(6), gru(5))
  ids = ids[:11]
  made = whole(model, params, ids)
  mask = np.ones((len(ids) - 1, 1), bool)
  exact = log_probabilities(model, params, ids[:-1, None], ids[1:, None], mask)
  np.testing.assert_allclose(made.log_probs[:-1], exact[:, 0], atol=1e-5)
  assert np.isnan(made.log_probs[-1])


def test_guesses_are_the_most_probable_symbols(short_pieces):
  model, params, ids = model_of(lstm(6), gru(5))
  made = whole(model, params, ids)
  assert made.units[-1] == Unit(2, 'h', 4) and made.values.shape == (LENGTH, 17)
  _, hs = model.unroll(params, model.initial_state(params, 1), ids[:, None])
  probs = np.asarray(jax.nn.softmax(model.logits(params, hs[:, 0]), -1))
  best = np.argsort(-probs, 1)[:, : recording_lib.GUESSES]
  np.testing.assert_array_equal(made.guesses, best)
  np.testing.assert_allclose(made.probs, np.take_along_axis(probs, best, 1), atol=1e-5)
