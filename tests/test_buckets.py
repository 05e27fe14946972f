"""Batches of pairs: shapes with the least padding, every pair once in every epoch, exact resume, evaluation."""

import itertools
import json

import numpy as np
import pytest

from rnn_research.data.buckets import (
  Bucket,
  EncodedPairs,
  evaluation_batches,
  evaluation_rows,
  like_lengths,
  make_buckets,
  pad,
  pair_stream,
)
from rnn_research.data.codec import BOS, EOS, PAD, train_sentence_codec
from rnn_research.data.pairs import read_pairs
from rnn_research.data.sentences import chosen, joined, taken


def pairs_of(lengths):
  """Returns pairs of sentences of these lengths; all symbols of pair i are 10 + i, those of its target negative."""
  full = lambda length, value: np.full(length, value, np.int32)
  sources = [full(length, 10 + i) for i, (length, _) in enumerate(lengths)]
  targets = [full(length, -10 - i) for i, (_, length) in enumerate(lengths)]
  return EncodedPairs(joined(sources), joined(targets))


def random_pairs(count, longest=12):
  return pairs_of(np.random.default_rng(0).integers(1, longest, (count, 2)))


def take(iterator, count):
  return list(itertools.islice(iterator, count))


def rows_of(batch):
  """Returns the numbers of the pairs in a batch of `pairs_of`, all of whose rows it checks."""
  sizes = batch['source_lengths'], batch['target_lengths']
  assert {array.dtype for array in batch.values()} == {np.dtype(np.int32)}
  assert batch['inputs'].shape == batch['targets'].shape
  found = []
  for row, (source_length, target_length) in enumerate(zip(*sizes, strict=True)):
    source, inputs, targets = (
      batch[name][row].tolist() for name in ('sources', 'inputs', 'targets')
    )
    number = source[0] - 10
    words = [-10 - number] * (target_length - 1)
    if source_length:
      found.append(number)
      assert inputs == [BOS, *words] + [PAD] * (len(inputs) - target_length)
      assert targets == [*words, EOS] + [PAD] * (len(targets) - target_length)
      assert source == [10 + number] * source_length + [PAD] * (len(source) - source_length)
    else:
      assert target_length == 0
      assert {*source, *inputs, *targets} == {PAD}
  return found


def padding(batches):
  """Returns the share of the positions of batches that is padding."""
  real = sum(
    int(batch['source_lengths'].sum() + batch['target_lengths'].sum()) for batch in batches
  )
  return 1 - real / sum(batch['sources'].size + batch['targets'].size for batch in batches)


def shape_of(batch):
  return Bucket(batch['sources'].shape[1], batch['targets'].shape[1], len(batch['targets']))


def test_buckets_have_the_lengths_of_what_they_hold():
  pairs = pairs_of([(2, 1), (3, 2), (1, 2), (9, 1), (4, 8), (20, 4)])
  assert make_buckets(pairs, 3, 40, 2) == (Bucket(3, 3, 4), Bucket(9, 9, 2), Bucket(20, 5, 2))
  assert make_buckets(pairs, 1, 1, 2) == (Bucket(20, 9, 2),)
  assert len(make_buckets(pairs, 100, 40, 2)) == 4
  with pytest.raises(ValueError, match='there are no pairs of sentences'):
    make_buckets(pairs_of([]), 3, 40, 2)


@pytest.mark.parametrize('count, batch_tokens, multiple, rows', [
  (100, 60, 1, 6), (12, 60, 1, 6), (13, 60, 1, 5), (4, 60, 1, 4), (100, 60, 4, 4), (6, 80, 4, 8), (9, 80, 4, 8),
  (100, 9, 3, 3), (17, 85, 4, 8),
])  # fmt: skip
def test_rows_fill_the_fewest_batches_evenly(count, batch_tokens, multiple, rows):
  assert make_buckets(pairs_of([(10, 3)] * count), 1, batch_tokens, multiple) == (
    Bucket(10, 4, rows),
  )


@pytest.mark.parametrize('num_buckets', [1, 2, 3, 4])
def test_no_other_edges_leave_less_padding(num_buckets):
  pairs = pairs_of([(i, 1 if i < 8 else i) for i in range(1, 16)] * 2)
  sides = np.stack([pairs.sources.lengths, pairs.targets.lengths + 1], 1)
  longer = sides.max(1)

  def positions(edges):
    places = np.searchsorted(edges, longer)
    parts = [sides[places == place] for place in range(len(edges))]
    return sum(len(part) * part.max(0).sum() for part in parts)

  lengths = np.unique(longer)
  least = min(
    positions([*edges, lengths[-1]])
    for edges in itertools.combinations(lengths[:-1].tolist(), num_buckets - 1)
  )
  buckets = make_buckets(pairs, num_buckets, 64, 1)
  assert len(buckets) == num_buckets
  assert positions([max(bucket[:2]) for bucket in buckets]) == least


def test_every_epoch_has_every_pair_once_in_a_new_order():
  pairs = random_pairs(101)
  buckets = make_buckets(pairs, 3, 60, 2)
  data = pair_stream(pairs, buckets, 7, 'abc')
  assert data.fingerprint == 'abc'
  epochs = []
  for _ in range(4):
    batches = take(data.iterator, data.steps_per_epoch)
    assert {shape_of(batch) for batch in batches} == set(buckets)
    epochs.append([rows_of(batch) for batch in batches])
    assert sorted(itertools.chain(*epochs[-1])) == list(range(101))
    assert sum(shape_of(batch).rows for batch in batches) > 101
  together = [{frozenset(rows) for rows in epoch} for epoch in epochs]
  assert together[0] != together[1]
  other = take(pair_stream(pairs, buckets, 8, '').iterator, data.steps_per_epoch)
  assert [rows_of(batch) for batch in other] != epochs[0]


def test_batches_of_all_buckets_are_mixed():
  pairs = random_pairs(200)
  data = pair_stream(pairs, make_buckets(pairs, 2, 24, 1), 0, '')
  shapes = [shape_of(batch) for batch in take(data.iterator, data.steps_per_epoch)]
  changes = sum(a != b for a, b in itertools.pairwise(shapes))
  assert changes > len(shapes) / 5


def test_one_empty_batch_is_given_for_every_shape():
  pairs = random_pairs(50)
  buckets = make_buckets(pairs, 3, 40, 2)
  shapes = pair_stream(pairs, buckets, 0, '').shapes
  assert tuple(map(shape_of, shapes)) == buckets
  assert all(rows_of(batch) == [] for batch in shapes)
  batch = next(pair_stream(pairs, buckets, 0, '').iterator)
  assert list(batch) == list(shapes[0])


@pytest.mark.parametrize('taken', [0, 1, 'steps', 'more'])
def test_resume_is_exact_within_and_across_epochs(taken):
  pairs = random_pairs(30)
  make = lambda: pair_stream(pairs, make_buckets(pairs, 2, 40, 2), 3, '')
  data = make()
  take(
    data.iterator,
    {'steps': data.steps_per_epoch, 'more': 2 * data.steps_per_epoch + 1}.get(taken, taken),
  )
  state = json.loads(json.dumps(data.iterator.get_state()))
  expected = take(data.iterator, 2 * data.steps_per_epoch)
  resumed = make().iterator
  next(resumed)
  resumed.set_state(state)
  for a, b in zip(expected, take(resumed, len(expected)), strict=True):
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize('count', [1, 2, 37])
def test_evaluation_has_every_pair_once_and_says_where(count):
  pairs = random_pairs(count)
  places = []
  for rows, batch in evaluation_batches(pairs):
    assert rows == rows_of(batch)
    np.testing.assert_array_equal(batch['target_lengths'] > 0, np.arange(64) < len(rows))
    assert batch['sources'].shape == batch['targets'].shape
    assert batch['sources'].shape[1] in (8, 16)
    places += rows
  assert sorted(places) == list(range(count))


def test_sentences_of_like_length_are_evaluated_together():
  assert list(like_lengths([3, 0, 130, 8, 64, 9])) == [
    ([0, 3], 8),
    ([5], 16),
    ([4], 64),
    ([2], 192),
  ]
  assert [len(places) for places, _ in like_lengths([5] * 65)] == [64, 1]
  assert [len(places) for places, _ in like_lengths([200] * 20)] == [16, 4]
  assert [evaluation_rows(length) for length in (8, 64, 128, 4096, 10**6)] == [64, 64, 32, 1, 1]
  assert list(like_lengths([0, 0])) == []


def test_sentences_in_one_array_are_found_by_their_places():
  arrays = [np.arange(length, dtype=np.int32) + length for length in (3, 0, 2, 4)]
  sentences = joined(arrays)
  lists = lambda found: [ids.tolist() for ids in found]
  assert lists(taken(sentences, [3, 1, 0])) == lists([arrays[3], arrays[1], arrays[0]])
  assert taken(sentences, []) == []
  some = chosen(sentences, np.array([False, True, True, False]))
  assert lists(taken(some, [1, 0])) == lists([arrays[2], arrays[1]])
  assert joined([]).ids.dtype == sentences.ids.dtype == np.int32


def test_sentences_are_padded():
  ids, lengths = pad([np.array([4, 5], np.int32), np.array([], np.int32)], 3, 3)
  np.testing.assert_array_equal(ids, [[4, 5, PAD], [PAD] * 3, [PAD] * 3])
  np.testing.assert_array_equal(lengths, [2, 0, 0])
  assert ids.dtype == lengths.dtype == np.int32


def test_padding_of_multi30k(data_dir):
  texts = read_pairs(
    *(str(data_dir / f'multi30k/train.{language}.gz') for language in ('de', 'en'))
  )
  encoded = lambda side: train_sentence_codec(side, 'word', True, 2, 0).encode_all(side)
  pairs = EncodedPairs(*(joined(encoded(side)) for side in texts[:2]))
  data = pair_stream(pairs, make_buckets(pairs, 8, 4096, 8), 0, '')
  batches = take(data.iterator, data.steps_per_epoch)
  assert sum(int(np.count_nonzero(batch['target_lengths'])) for batch in batches) == 29_000
  assert len({shape_of(batch) for batch in batches}) == 8
  assert padding(batches) < 0.145
