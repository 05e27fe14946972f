"""Codecs of running texts: round trips, the unknown symbol, exact counts on real text, speed."""

import json
import re
import time

import numpy as np
import pytest

from rnn_research.data import codec as codecs
from rnn_research.data import running_text
from rnn_research.data.codec import TextCodec, train_text_codec
from rnn_research.data.files import read_bytes

TEXT = '\ufeffnaïve 🙂 日本語\r\nsecond\tline\x85\u2028🙂\n'


def train(data, unit):
  return train_text_codec(running_text.split(data, unit), unit)


@pytest.mark.parametrize('unit', ['char', 'byte'])
def test_round_trip_keeps_every_character(unit):
  codec = train(TEXT.encode(), unit)
  ids = codec.encode(TEXT)
  assert ids.dtype == np.int32
  assert len(ids) == len(TEXT if unit == 'char' else TEXT.encode())
  assert codec.decode(ids) == TEXT
  np.testing.assert_array_equal(ids, codec.encode(TEXT.encode()))
  assert len(codec.symbols) == len(set(ids.tolist())) + 1


def test_ids_are_the_places_of_the_sorted_symbols():
  assert train('hello', 'char').symbols == ('e', 'h', 'l', 'o', '<unk>')
  assert train(b'ba\xff', 'byte').symbols == (97, 98, 255, -1)
  assert train('b a\nb\n', 'word').symbols == ('<eos>', 'a', 'b', '<unk>')
  np.testing.assert_array_equal(train('hello', 'char').encode('hole'), [1, 3, 2, 0])
  np.testing.assert_array_equal(train('b a\nb\n', 'word').encode('b b\nc a'), [2, 2, 0, 3, 1])


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
def test_symbols_not_seen_become_the_unknown_one(unit):
  codec = train('a b c', unit)
  ids = codec.encode('a z c 語 z')
  assert codec.unknown == len(codec.symbols) - 1
  expected = (
    ['a', '\ufffd', 'c', '\ufffd', '\ufffd']
    if unit != 'word'
    else ['a', '<unk>', 'c', '<unk>', '<unk>']
  )
  if unit == 'byte':
    expected[3] = '\ufffd' * 3
  assert codec.decode(ids) == ' '.join(expected)
  missing = {'char': ['z', '語'], 'byte': [ord('z'), *'語'.encode()], 'word': ['z', '語']}[unit]
  assert codec.unseen('a z c 語 z') == missing
  assert np.count_nonzero(ids == codec.unknown) == len(missing) + 1
  assert codec.unseen('c a') == []


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
def test_the_known_part_of_a_text_has_whole_characters(unit):
  known = train('a bé è\n', unit).known_part
  assert known('a  bé\n ') == 'a  bé\n '
  # ê shares its first byte with é; a surrogate stands for a byte that is no UTF-8.
  assert known('a ê  bé\udcff') == ('a' if unit == 'word' else 'a   bé')
  assert known('ê') == ''


def test_character_above_all_known_ones_and_lone_surrogates_are_unknown():
  codec = train('ab', 'char')
  np.testing.assert_array_equal(codec.encode('a\U0010ffff\udc80b'), [0, 2, 2, 1])
  assert len(codec.encode('')) == 0


def test_unknown_word_of_the_text_is_the_unknown_symbol():
  codec = train('the <unk> sat\n', 'word')
  assert codec.symbols == ('<eos>', 'sat', 'the', '<unk>')
  assert codec.encode('dog')[0] == codec.encode('<unk>')[0] == 3


def random_texts(count):
  rng = np.random.default_rng(0)
  pieces = [
    *'ab日🙂é',
    'e\u0301',
    *' \n\r\t\x85\u2028\x1c\xa0\0',
    '\r\n',
    '  ',
    '\ufeff',
    '\ufffd',
    '<unk>',
    '<eos>',
    '<pad>',
  ]
  return [''.join(rng.choice(pieces, size)) for size in rng.integers(0, 30, count)]


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
def test_any_text_comes_back(unit):
  texts = random_texts(2000)
  codec = train('\n'.join(texts), unit)
  for text in texts:
    lines = re.sub(r'(^|(?<=\s))<eos>($|(?=\s))', '\n', text).split('\n')
    words = '\n'.join(re.sub(r'\s+', ' ', line).strip() for line in lines)
    assert codec.normalise(text) == (words if unit == 'word' else text)
    assert codec.decode(codec.encode(text)) == codec.normalise(text)


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
def test_pieces_of_a_text_can_be_joined(unit):
  text = 'é 漢\n🙂 a\n\nb c'
  codec = train(text, unit)
  ids = codec.encode(text)
  for size in (1, 2, 3, 100):
    pieces = (ids[start : start + size] for start in range(0, len(ids), size))
    assert ''.join(codec.decode_pieces(pieces)) == text
  before = {'word': ['a', 'a\n', '\n'], 'char': ['a'], 'byte': ['a']}[unit]
  joined = [f'{text}{"".join(codec.decode_pieces([ids[:1]], text))}' for text in before]
  assert joined == {'word': ['a é', 'a\né', '\né'], 'char': ['aé'], 'byte': ['a\ufffd']}[unit]


def test_bytes_of_an_unfinished_character_are_written():
  codec = train('漢', 'byte')
  assert list(codec.decode_pieces([codec.encode('漢')[:2]])) == ['', '\ufffd']
  assert list(codec.decode_pieces([])) == ['']


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
def test_the_unknown_symbol_is_written_where_the_text_has_it(unit):
  codec = train('a b <unk', unit)
  assert codec.never_written == (codec.unknown,)
  assert codec.unseen('a <unk>') == {'char': ['>'], 'byte': [ord('>')], 'word': ['<unk>']}[unit]
  codec = train('a <unk> b', unit)
  assert codec.never_written == (() if unit == 'word' else (codec.unknown,))
  assert codec.unseen('<unk>') == []
  again = codecs.from_json(json.loads(json.dumps(codec.to_json())))
  assert again == codec


def test_invalid_bytes_are_written_as_replacement():
  codec = train('é', 'byte')
  assert codec.decode(codec.encode('é')[:1]) == '\ufffd'


def test_words_and_ends_of_line_are_decoded():
  codec = train('the cat\n\nsat  on\n', 'word')
  assert codec.decode(codec.encode('the cat\n\nsat  on\n')) == 'the cat\n\nsat on\n'


@pytest.mark.parametrize('unit', ['char', 'byte', 'word'])
def test_json_round_trip(unit):
  codec = train(TEXT, unit)
  assert codecs.from_json(json.loads(json.dumps(codec.to_json()))) == codec


def test_unknown_unit_is_refused():
  with pytest.raises(ValueError, match=r"data\.unit is 'letter', expected one of char, byte, word"):
    train('a', 'letter')


def test_penn_treebank_has_the_published_counts(data_dir):
  texts = {
    split: read_bytes(data_dir / f'ptb/ptb.{split}.txt.gz') for split in ('train', 'valid', 'test')
  }
  codec = train(texts['train'], 'word')
  counts = {split: len(codec.encode(text)) for split, text in texts.items()}
  assert counts == {'train': 929_589, 'valid': 73_760, 'test': 82_430}
  assert len(codec.symbols) == 10_000
  assert codec.unseen(texts['valid']) == codec.unseen(texts['test']) == []


def test_encoding_three_million_symbols_is_fast():
  text = TEXT * (3_000_000 // len(TEXT))
  for unit, data in (('char', text), ('byte', text.encode())):
    codec = train(data, unit)
    start = time.perf_counter()
    codec.encode(data)
    assert time.perf_counter() - start < 1.0


def test_codec_is_a_plain_value():
  assert train('ab', 'char') == TextCodec('text', 'char', ('a', 'b', '<unk>'))


def test_vocabularies_of_earlier_checkpoints_are_read():
  codec = codecs.from_json(json.loads('{"unit": "char", "symbols": ["a", "b", "<unk>"]}'))
  np.testing.assert_array_equal(codec.encode('bac'), [1, 0, 2])
  assert (codec.rules, codec.never_written) == (1, (2,))
  codec = codecs.from_json(json.loads('{"unit": "byte", "symbols": [97, 255, -1]}'))
  np.testing.assert_array_equal(codec.encode('ab'), [0, 2])
  assert codec.decode([0, 2]) == 'a\ufffd'
  codec = codecs.from_json(json.loads('{"unit": "word", "symbols": ["<eos>", "a", "<unk>"]}'))
  np.testing.assert_array_equal(codec.encode('a\n b'), [1, 0, 2])
  assert (codec.rules, codec.never_written) == (1, ())
