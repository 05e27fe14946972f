"""Vocabularies: round trips, the unknown symbol, exact counts on real text, speed."""

import json
import time

import numpy as np
import pytest

from rnn_research.data import vocabulary as vocabularies
from rnn_research.data.files import read_bytes
from rnn_research.data.vocabulary import (
  Vocabulary,
  build_vocabulary,
  decode,
  encode,
  unknown_id,
  unseen,
)

TEXT = '\ufeffnaïve 🙂 日本語\r\nsecond\tline\x85\u2028🙂\n'


@pytest.mark.parametrize('unit', ['char', 'byte'])
def test_round_trip_keeps_every_character(unit):
  vocab = build_vocabulary(TEXT.encode(), unit)
  ids = encode(vocab, TEXT)
  assert ids.dtype == np.int32
  assert len(ids) == len(TEXT if unit == 'char' else TEXT.encode())
  assert decode(vocab, ids) == TEXT
  np.testing.assert_array_equal(ids, encode(vocab, TEXT.encode()))
  assert len(vocab.symbols) == len(set(ids.tolist())) + 1


def test_ids_are_the_places_of_the_sorted_symbols():
  assert build_vocabulary('hello', 'char').symbols == ('e', 'h', 'l', 'o', '<unk>')
  assert build_vocabulary(b'ba\xff', 'byte').symbols == (97, 98, 255, -1)
  assert build_vocabulary('b a\nb\n', 'word').symbols == ('<eos>', 'a', 'b', '<unk>')
  np.testing.assert_array_equal(encode(build_vocabulary('hello', 'char'), 'hole'), [1, 3, 2, 0])
  np.testing.assert_array_equal(
    encode(build_vocabulary('b a\nb\n', 'word'), 'b b\nc a'), [2, 2, 0, 3, 1]
  )


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
def test_symbols_not_seen_become_the_unknown_one(unit):
  vocab = build_vocabulary('a b c', unit)
  ids = encode(vocab, 'a z c 語 z')
  assert unknown_id(vocab) == len(vocab.symbols) - 1
  expected = (
    ['a', '\ufffd', 'c', '\ufffd', '\ufffd']
    if unit != 'word'
    else ['a', '<unk>', 'c', '<unk>', '<unk>']
  )
  if unit == 'byte':
    expected[3] = '\ufffd' * 3
  assert decode(vocab, ids) == ' '.join(expected)
  missing = {'char': ['z', '語'], 'byte': [ord('z'), *'語'.encode()], 'word': ['z', '語']}[unit]
  assert unseen(vocab, 'a z c 語 z') == missing
  assert np.count_nonzero(ids == unknown_id(vocab)) == len(missing) + 1
  assert unseen(vocab, 'c a') == []


def test_character_above_all_known_ones_and_lone_surrogates_are_unknown():
  vocab = build_vocabulary('ab', 'char')
  np.testing.assert_array_equal(encode(vocab, 'a\U0010ffff\udc80b'), [0, 2, 2, 1])
  assert len(encode(vocab, '')) == 0


def test_unknown_word_of_the_text_is_the_unknown_symbol():
  vocab = build_vocabulary('the <unk> sat\n', 'word')
  assert vocab.symbols == ('<eos>', 'sat', 'the', '<unk>')
  assert encode(vocab, 'dog')[0] == encode(vocab, '<unk>')[0] == 3


def test_invalid_bytes_are_written_as_replacement():
  vocab = build_vocabulary('é', 'byte')
  assert decode(vocab, encode(vocab, 'é')[:1]) == '\ufffd'


def test_words_and_ends_of_line_are_decoded():
  vocab = build_vocabulary('the cat\n\nsat  on\n', 'word')
  assert decode(vocab, encode(vocab, 'the cat\n\nsat  on\n')) == 'the cat\n\nsat on\n'


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
def test_json_round_trip(unit):
  vocab = build_vocabulary(TEXT, unit)
  assert vocabularies.from_json(json.loads(json.dumps(vocabularies.to_json(vocab)))) == vocab


def test_unknown_unit_is_refused():
  with pytest.raises(ValueError, match=r"data\.unit is 'letter', expected one of char, byte, word"):
    build_vocabulary('a', 'letter')


def test_penn_treebank_has_the_published_counts(data_dir):
  texts = {
    split: read_bytes(data_dir / f'ptb/ptb.{split}.txt.gz') for split in ('train', 'valid', 'test')
  }
  vocab = build_vocabulary(texts['train'], 'word')
  counts = {split: len(encode(vocab, text)) for split, text in texts.items()}
  assert counts == {'train': 929_589, 'valid': 73_760, 'test': 82_430}
  assert len(vocab.symbols) == 10_000
  assert unseen(vocab, texts['valid']) == unseen(vocab, texts['test']) == []


def test_encoding_three_million_symbols_is_fast():
  text = TEXT * (3_000_000 // len(TEXT))
  for unit, data in (('char', text), ('byte', text.encode())):
    vocab = build_vocabulary(data, unit)
    start = time.perf_counter()
    encode(vocab, data)
    assert time.perf_counter() - start < 1.0


def test_vocabulary_is_a_plain_value():
  assert build_vocabulary('ab', 'char') == Vocabulary('char', ('a', 'b', '<unk>'))
