"""The loss of a language model on a text: exact in pieces, close to it in warmed-up lanes."""

import functools

import jax
import numpy as np
import pytest

from rnn_research.cells import make_cell
from rnn_research.models.language_model import language_model, log_probabilities, read_on
from rnn_research.tasks.language import evaluation
from tests.cells_under_test import noisy

SIZE = 400


@pytest.fixture(scope='module')
def model():
  model = language_model((make_cell('gru', 6),), 5)
  params = noisy(jax.device_get(model.init(jax.random.key(0))), 1, 0.5)
  read = jax.jit(functools.partial(read_on, model))
  ids = np.random.default_rng(0).integers(0, 5, SIZE + 1).astype(np.uint8)
  rows = ids.astype(np.int32)[:, None]
  mask = np.ones((SIZE, 1), bool)
  exact = -float(np.mean(log_probabilities(model, params, rows[:-1], rows[1:], mask)))
  return functools.partial(evaluation.measures, model, read, params, ids), exact


def test_one_stream_is_exact_in_pieces_of_any_size(model, monkeypatch):
  measure, exact = model
  assert measure(1, 0)['nats_per_symbol'] == pytest.approx(exact, rel=1e-6)
  monkeypatch.setattr(evaluation, '_LEAST', 16)
  monkeypatch.setattr(evaluation, '_PIECE', 64)
  found = measure(1, 0)
  assert found['nats_per_symbol'] == pytest.approx(exact, rel=1e-6)
  assert (found['predictions'], found['lanes']) == (SIZE, 1)
  assert found['bits_per_symbol'] == pytest.approx(exact / np.log(2), rel=1e-6)
  assert found['perplexity'] == pytest.approx(np.exp(exact), rel=1e-6)


def test_lanes_that_read_all_that_stands_before_them_are_exact(model, monkeypatch):
  measure, exact = model
  assert measure(7, SIZE)['nats_per_symbol'] == pytest.approx(exact, rel=1e-6)
  monkeypatch.setattr(evaluation, '_LEAST', 16)
  monkeypatch.setattr(evaluation, '_PIECE', 64)
  assert measure(7, SIZE)['nats_per_symbol'] == pytest.approx(exact, rel=1e-6)
  errors = [abs(measure(7, warm_up)['nats_per_symbol'] - exact) for warm_up in (0, 4, 32)]
  assert errors[0] > errors[1] > errors[2]
  assert errors[0] > 1e-4 > errors[2]


def test_a_long_text_is_measured_in_lanes(model, monkeypatch):
  measure, _ = model
  final = functools.partial(evaluation.final_measures, *measure.args)
  assert final(4) == measure(1, 0) | {'reading': 'exact'}
  monkeypatch.setattr(evaluation, 'EXACT', SIZE - 1)
  assert final(4) == measure(4, evaluation.WARM_UP) | {'reading': 'lanes'}
  assert final(1)['reading'] == 'exact'
  assert final(4)['lanes'] == 4


def test_scores_in_pieces_are_those_of_one_stream(model, monkeypatch):
  measure, _ = model
  net, read, params, _ = measure.args
  ids = np.random.default_rng(1).integers(0, 5, 5000)
  rows = ids.astype(np.int32)[:, None]
  whole = log_probabilities(net, params, rows[:-1], rows[1:], np.ones((4999, 1), bool))
  monkeypatch.setattr(evaluation, '_PIECE', 2048)
  lengths = []

  def watched(params, states, *piece):
    lengths.append(len(piece[0]))
    return read(params, states, *piece)

  found = evaluation.exact_scores(net, watched, params, ids)
  assert lengths == 3 * [1667]
  assert found.dtype == np.float64
  np.testing.assert_array_equal(found, np.asarray(jax.device_get(whole))[:, 0])
