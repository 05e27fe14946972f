"""Training streams (contiguous lanes, exact resume) and evaluation lanes (exact count of predictions)."""

import itertools
import json

import numpy as np
import pytest

from rnn_research.data.streams import evaluation_lanes, lane_pieces, text_stream

B, U = 3, 4


def ids(n):
  return np.arange(n, dtype=np.int32)


def take(iterator, n):
  return list(itertools.islice(iterator, n))


def test_batches_are_the_segments_in_order():
  data = text_stream(ids(30), B, U, 'abc')
  assert (data.steps_per_epoch, data.fingerprint) == (2, 'abc')
  first, second = take(data.iterator, 2)
  assert first['inputs'].dtype == first['targets'].dtype == np.int32
  np.testing.assert_array_equal(first['inputs'], [[0, 1, 2, 3], [8, 9, 10, 11], [16, 17, 18, 19]])
  np.testing.assert_array_equal(second['inputs'], first['inputs'] + 4)
  np.testing.assert_array_equal(second['targets'], first['inputs'] + 5)


def test_lanes_run_on_over_epoch_borders():
  steps = (50 - 1) // (B * U)
  batches = take(text_stream(ids(50), B, U, '').iterator, 2 * B * steps)
  inputs = np.concatenate([batch['inputs'] for batch in batches], axis=1)
  targets = np.concatenate([batch['targets'] for batch in batches], axis=1)
  end = B * steps * U
  np.testing.assert_array_equal(targets, inputs + 1)
  np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1] % end)
  for epoch in range(2 * B):
    part = inputs[:, epoch * steps * U : (epoch + 1) * steps * U]
    np.testing.assert_array_equal(np.sort(part, axis=None), np.arange(end))


@pytest.mark.parametrize('taken', [0, 1, 3, 4, 5, 11, 12, 13])
def test_resume_is_exact_within_and_across_epochs(taken):
  data = text_stream(ids(50), B, U, '')
  take(data.iterator, taken)
  state = json.loads(json.dumps(data.iterator.get_state()))
  expected = take(data.iterator, 20)
  resumed = text_stream(ids(50), B, U, '').iterator
  next(resumed)
  resumed.set_state(state)
  for a, b in zip(expected, take(resumed, 20), strict=True):
    np.testing.assert_array_equal(a['inputs'], b['inputs'])
    np.testing.assert_array_equal(a['targets'], b['targets'])
  data.iterator.set_state(state)
  np.testing.assert_array_equal(next(data.iterator)['inputs'], expected[0]['inputs'])


def test_batches_do_not_share_memory_with_the_text():
  text = ids(50)
  next(text_stream(text, B, U, '').iterator)['inputs'][:] = -1
  np.testing.assert_array_equal(text, ids(50))


def test_shortest_text_that_fits_and_the_sentence_for_a_shorter_one():
  assert text_stream(ids(B * U + 1), B, U, '').steps_per_epoch == 1
  with pytest.raises(
    ValueError, match='has 12 symbols: the largest batch_size x unroll_length that fits is 11, and'
  ):
    text_stream(ids(B * U), B, U, '')
  with pytest.raises(ValueError, match='has 0 symbols'):
    text_stream(ids(0), B, U, '')


@pytest.mark.parametrize('n', [2, 3, 7, 12, 13, 14, 100])
@pytest.mark.parametrize('lanes', [1, 2, 5, 12, 1000])
def test_each_prediction_is_made_exactly_once(n, lanes):
  inputs, targets, mask = evaluation_lanes(ids(n), lanes)
  assert (
    inputs.shape
    == targets.shape
    == mask.shape
    == (-(-(n - 1) // min(lanes, n - 1)), min(lanes, n - 1))
  )
  assert (inputs.dtype, targets.dtype, mask.dtype) == (np.int32, np.int32, bool)
  assert mask.sum() == n - 1
  np.testing.assert_array_equal(inputs.T[mask.T], np.arange(n - 1))
  np.testing.assert_array_equal(targets.T[mask.T], np.arange(1, n))
  assert (np.diff(mask.astype(int), axis=0) <= 0).all()


def test_one_lane_is_the_single_stream():
  inputs, targets, mask = evaluation_lanes(ids(6), 1)
  np.testing.assert_array_equal(inputs[:, 0], [0, 1, 2, 3, 4])
  np.testing.assert_array_equal(targets[:, 0], [1, 2, 3, 4, 5])
  assert mask.all()


def test_evaluation_needs_two_symbols():
  with pytest.raises(ValueError, match='has 1 symbols'):
    evaluation_lanes(ids(1), 1)


@pytest.mark.parametrize(
  'n, lanes, length', [(14, 1, 4), (14, 1, 9), (14, 3, 2), (100, 7, 1000), (3, 5, 1)]
)
def test_pieces_of_lanes_are_the_lanes(n, lanes, length):
  whole = evaluation_lanes(ids(n), lanes)
  pieces = list(lane_pieces(ids(n).astype(np.uint8), lanes, length))
  assert len({piece.inputs.shape for piece in pieces}) == 1
  assert sum(len(piece.mask) for piece in pieces) - len(whole[2]) < len(pieces)
  assert {piece.inputs.dtype for piece in pieces} == {np.dtype('int32')}
  mask = np.concatenate([piece.mask for piece in pieces])
  assert not mask[len(whole[2]) :].any()
  np.testing.assert_array_equal(mask[: len(whole[2])], whole[2])
  for i in range(2):
    joined = np.concatenate([piece[i] for piece in pieces])
    np.testing.assert_array_equal(joined[mask], whole[i][whole[2]])


def test_the_warm_up_is_what_stands_before_a_lane():
  first, *others = lane_pieces(ids(13), 3, 100, warm_up=6)
  assert not first.counts
  assert [piece.counts for piece in others] == [True]
  for lane, before in enumerate([[], [0, 1, 2, 3], [2, 3, 4, 5, 6, 7]]):
    assert first.inputs[first.mask[:, lane], lane].tolist() == before
    assert first.mask[6 - len(before) :, lane].all()
