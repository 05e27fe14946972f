"""Batches of pictures and captions: what is in them, in which order, and again from any point."""

import numpy as np
import pytest

from rnn_research.data.codec import BOS, EOS, PAD, SPECIALS, UNK, TextCodec
from rnn_research.errors import InputError
from rnn_research.tasks.captioning.batches import (
  EVALUATED,
  Seen,
  captioned,
  encode,
  evaluation_batches,
  train_stream,
)

WORDS = 'ant', 'bee', 'cat', 'dog', 'elk', 'fox', 'gnu', 'hen'
CODEC = TextCodec('sentences', 'word', (*SPECIALS, *WORDS), True)
MAX_LENGTH, EMPTY = 3, 3
CAPTIONS = [
  ['Ant bee.', 'cat dog cat', 'elk', 'ant ant ant ant'],
  ['fox, gnu'],
  ['hen zebra hen', 'bee', 'cat'],
  ['ant bee cat dog elk'],
  ['dog', 'dog elk', 'dog elk fox', 'dog elk gnu', 'dog elk hen'],
  ['gnu', 'hen'],
]


def ids_of(text):
  return [CODEC.symbols.index(word) if word in WORDS else UNK for word in text.split()]


def seen(captions=CAPTIONS):
  """Returns pictures whose one feature is their number, and one that the rng decides."""

  def inputs(rows, rng=None):
    views = np.zeros(len(rows)) if rng is None else rng.random(len(rows))
    return {'number': np.asarray(rows), 'view': views}

  names = [f'{i}.png' for i in range(len(captions))]
  return Seen(names, captions, inputs, lambda number: np.zeros((2, 2, 3), np.uint8))


def stream(batch_size=2, copies=2, seed=0, captions=CAPTIONS, buckets=1, max_length=MAX_LENGTH):
  encoded = encode(CODEC, captions, max_length)
  return train_stream(seen(captions), encoded, batch_size, copies, buckets, seed, 'abc')


def taken(data, count):
  return [next(data.iterator) for _ in range(count)]


def assert_equal(batch, other):
  assert batch.keys() == other.keys()
  for name in batch:
    np.testing.assert_array_equal(batch[name], other[name])


def texts_of(batch):
  """Returns the captions of every picture of a batch, read back and checked against its lengths."""
  rows = len(batch['number'])
  captions = [[] for _ in range(rows)]
  for n, (ids, targets, length) in enumerate(
    zip(batch['ids'], batch['targets'], batch['lengths'], strict=True)
  ):
    assert ids[0] == BOS
    np.testing.assert_array_equal(ids[1:], targets[:-1])
    if length:
      assert targets[length - 1] == EOS
      assert (targets[length:] == PAD).all() and (targets[: length - 1] > EOS).all()
      written = ' '.join(CODEC.symbols[i] for i in targets[: length - 1])
      captions[n * rows // len(batch['ids'])].append(written)
  return captions


def within(captions):
  """Returns captions of at most MAX_LENGTH words as they are read back."""
  cleaned = [caption.lower().replace('.', '').replace(',', '') for caption in captions]
  return [
    ' '.join(CODEC.symbols[i] for i in ids_of(caption))
    for caption in cleaned
    if len(caption.split()) <= MAX_LENGTH
  ]


def test_captions_as_ids():
  targets, lengths, left_out = encode(CODEC, CAPTIONS, MAX_LENGTH)
  assert (targets.shape, targets.dtype, lengths.dtype) == ((6, 5, 4), np.int32, np.int32)
  assert left_out == 2
  np.testing.assert_array_equal(lengths[0], [3, 4, 2, 0, 0])
  np.testing.assert_array_equal(lengths[EMPTY], 0)
  assert targets[0, 0].tolist() == [*ids_of('ant bee'), EOS, PAD]
  assert targets[0, 1].tolist() == [*ids_of('cat dog cat'), EOS]
  assert targets[2, 0].tolist() == [*ids_of('hen zebra hen'), EOS]
  for row, captions in enumerate(CAPTIONS):
    # Those within the length come first.
    assert (np.diff((lengths[row] > 0).astype(int)) <= 0).all()
    assert (lengths[row] > 0).sum() == len(within(captions))


def test_captions_without_a_word_are_left_out():
  targets, lengths, left_out = encode(CODEC, [['...', 'ant bee'], ['!']], MAX_LENGTH)
  np.testing.assert_array_equal(lengths, [[3, 0], [0, 0]])
  assert targets[0, 0, 0] == ids_of('ant')[0]
  assert left_out == 2


def test_every_picture_comes_once_in_an_epoch():
  data = stream(batch_size=2)
  assert (data.steps_per_epoch, data.fingerprint) == (2, 'abc')
  epochs = [
    np.concatenate([batch['number'] for batch in taken(data, 2)]).tolist() for _ in range(30)
  ]
  for rows in epochs:
    assert len(set(rows)) == 4
    assert EMPTY not in rows  # its caption is too long
  assert {row for rows in epochs for row in rows} == {0, 1, 2, 4, 5}  # the rest differs
  assert len({tuple(rows) for rows in epochs}) > 10


@pytest.mark.parametrize('copies', [1, 2, 4, 5, 9])
def test_captions_are_drawn_without_repetition(copies):
  data, found = stream(batch_size=5, copies=copies), {row: set() for row in (0, 1, 2, 4, 5)}
  width = min(copies, 5)
  for batch in taken(data, 40):
    assert batch['ids'].shape == batch['targets'].shape == (5 * width, MAX_LENGTH + 1)
    assert batch['ids'].dtype == batch['targets'].dtype == batch['lengths'].dtype == np.int32
    for row, captions in zip(batch['number'], texts_of(batch), strict=True):
      known = within(CAPTIONS[row])
      assert len(captions) == len(set(captions)) == min(width, len(known))
      assert set(captions) <= set(known)
      found[row].add(tuple(captions))
  # Each of them at times, in any order.
  for row, drawn in found.items():
    assert {caption for captions in drawn for caption in captions} == set(within(CAPTIONS[row]))
  assert len(found[4]) > 4


# 36 pictures of two captions, the longer of which has 1 to 9 words.
MANY = [[' '.join(WORDS[:1] * (1 + row % 9)), 'ant'] for row in range(36)]


@pytest.mark.parametrize('buckets', [1, 2, 3, 9, 20])
def test_pictures_with_captions_of_like_length_share_a_batch(buckets):
  data = stream(4, 2, captions=MANY, buckets=buckets, max_length=9)
  widths = sorted({batch['ids'].shape[1] for batch in data.shapes})
  assert len(data.shapes) == len(widths) == min(buckets, 9) and widths[-1] == 10
  for _ in range(3):  # epochs
    batches = taken(data, 9)
    assert sorted(row for batch in batches for row in batch['rows']) == list(range(36))
    for batch in batches:
      texts_of(batch)
      # The least of the lengths that it fits in, of which the program is compiled.
      least = min(width for width in widths if width >= batch['lengths'].max())
      assert batch['ids'].shape == batch['targets'].shape == (8, least)
      if buckets >= 9:
        assert (batch['lengths'].reshape(4, 2).max(1) == least).all()
  assert len({batch['ids'].shape for batch in batches}) == len(widths)


def test_captions_that_nothing_reads_have_one_length_beside_the_same_pictures():
  encoded = encode(CODEC, MANY, 9)
  given = seen(MANY), encoded, 4, 2, 3, 0, 'abc'
  data, read = train_stream(*given, unread=True), train_stream(*given)
  assert [batch['ids'].shape for batch in data.shapes] == [(8, 10)]
  for batch, other in zip(taken(data, 18), taken(read, 18), strict=True):
    assert batch['ids'].shape == (8, 10)
    for name in ('rows', 'view', 'lengths'):
      np.testing.assert_array_equal(batch[name], other[name])


def test_buckets_leave_out_no_long_caption_of_a_picture_with_more():
  captions = [['ant', 'ant bee cat dog'], ['bee', 'cat bee']]  # of which one is read, at times
  data = stream(2, 1, captions=captions, buckets=3, max_length=4)
  drawn = {text for batch in taken(data, 40) for own in texts_of(batch) for text in own}
  assert drawn == {text for own in captions for text in own}


def test_batches_of_short_and_of_long_captions_are_mixed():
  data = stream(4, 2, captions=MANY, buckets=3, max_length=9)
  orders = {tuple(batch['ids'].shape[1] for batch in taken(data, 9)) for _ in range(10)}
  assert len(orders) > 5


@pytest.mark.parametrize('buckets', [1, 3])
def test_a_stream_goes_on_where_it_was(buckets):
  data = stream(buckets=buckets)
  taken(data, 3)
  state = data.iterator.get_state()
  expected = taken(data, 5)
  again = stream(buckets=buckets)
  again.iterator.set_state(state)
  for batch, other in zip(taken(again, 5), expected, strict=True):
    assert_equal(batch, other)


def test_a_seed_decides_order_captions_and_views():
  one, other, same = (taken(stream(seed=seed), 6) for seed in (0, 1, 0))
  for batch, repeated in zip(one, same, strict=True):
    assert_equal(batch, repeated)
  joined = lambda batches, name: np.concatenate([batch[name] for batch in batches]).tolist()
  for name in ('number', 'ids', 'view'):
    assert joined(one, name) != joined(other, name)
  assert len(set(joined(one, 'view'))) == 12


def test_too_few_pictures_are_one_sentence():
  with pytest.raises(InputError, match=r'there are 5 training pictures .*, expected a batch of 6'):
    stream(batch_size=6)


def test_a_batch_as_the_model_reads_it():
  (batch,) = taken(stream(), 1)
  found = captioned(batch)
  assert found.inputs.keys() == {'number', 'view'}
  for name in ('ids', 'targets', 'lengths'):
    assert getattr(found, name) is batch[name]


@pytest.mark.parametrize('count', [3, EVALUATED, EVALUATED + 4])
def test_evaluation_reads_every_caption_once(count):
  captions = [CAPTIONS[i % len(CAPTIONS)] for i in range(count)]
  found, views = {}, []
  for rows, batch in evaluation_batches(seen(captions), encode(CODEC, captions, MAX_LENGTH)):
    assert batch['number'].shape == (EVALUATED,)
    np.testing.assert_array_equal(batch['number'][: len(rows)], rows)
    texts = texts_of(batch)
    assert not any(texts[len(rows) :])
    found |= dict(zip(rows.tolist(), texts, strict=False))
    views.append(batch['view'])
  assert found == {i: within(own) for i, own in enumerate(captions)}
  assert not np.concatenate(views).any()  # seen plainly
