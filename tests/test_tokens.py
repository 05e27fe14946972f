"""Units of sentences and lexicons: round trips, special symbols, exact counts on real text."""

import json
import sys

import numpy as np
import pytest

from rnn_research.data import tokens
from rnn_research.data.pairs import read_pairs
from rnn_research.data.tokens import (
  BOS,
  EOS,
  PAD,
  UNK,
  Lexicon,
  build_lexicon,
  decode,
  encode,
  encode_all,
  join,
  split,
  split_all,
  train_units,
  unknown_rate,
)

WORD, CHAR = train_units('word', False, (), 0), train_units('char', False, (), 0)
TEXTS = ['Der Hund, der bellt, beißt nicht.', 'a  dog (old)  "barks"', "don't -- stop!"] * 2


@pytest.mark.parametrize('text, words', [
  ("Don't touch the T-Shirt.", ["Don't", 'touch', 'the', 'T-Shirt', '.']),
  ('It is 3.5, not 10,000!', ['It', 'is', '3.5', ',', 'not', '10,000', '!']),
  ('At 11:27: z.B. the U.S. team', ['At', '11:27', ':', 'z.B.', 'the', 'U.S.', 'team']),
  ('Vor- und Nachteile', ['Vor-', 'und', 'Nachteile']),
  ('No.5,six', ['No', '.', '5', ',', 'six']),
  ('a <unk> word<', ['a', '<unk>', 'word', '<']),
  ('50% or 50 %', ['50%', 'or', '50', '%']),
  ('  tabs\tand\xa0spaces ', ['tabs', 'and', 'spaces']),
])  # fmt: skip
def test_words_keep_what_belongs_to_them(text, words):
  assert split(WORD, text) == words


@pytest.mark.parametrize('text', [
  'Well, well: who is it? It is me; nobody else!', 'Wait... what?', 'A man (old) and a dog (young).',
  'He says "stop," and "go".', "He says 'stop' and 'go'.", 'Er sagt: „Halt!“', 'He says “stop”.', '«Halt», sagt er.',
  "The boys' toys.", 'Das „Spiegel“-Heft und "Zeit"-Leser.', '"A" - "B" \u2013 C', 'She said "he\'s \'odd\'".',
  'Papierteller und -tassen', 'A&M, rock & roll', 'und/oder', 'Number #5 costs $3.50.', '("Quoted.")', 'Ça va?',
])  # fmt: skip
def test_ordinary_sentences_come_back(text):
  assert join(WORD, split(WORD, text)) == text


def test_white_space_that_words_lose_comes_back_as_typography_wants_it():
  assert join(WORD, split(WORD, 'Eins ,zwei  ( drei )')) == 'Eins, zwei (drei)'
  assert join(WORD, []) == ''


def test_lower_case_and_composed_characters():
  decomposed = 'U\u0308ber'
  assert split(train_units('word', True, (), 0), decomposed) == ['über']
  assert split(WORD, decomposed) == ['Über']
  assert split(train_units('char', True, (), 0), decomposed) == list('über')


def test_characters_are_code_points():
  assert split(CHAR, 'a  🙂\t') == ['a', ' ', ' ', '🙂', '\t']
  assert join(CHAR, ['a', '<unk>', ' ', 'b']) == 'a\ufffd b'


def test_unknown_kind_is_refused():
  with pytest.raises(
    ValueError, match=r"^data\.unit is 'letter', expected one of word, char, subword$"
  ):
    train_units('letter', True, (), 0)


def test_lexicon_is_by_falling_frequency():
  sentences = [
    ['d', 'a', 'c'],
    ['c', 'b', 'a'],
    ['c', '<pad>', '<pad>', '<pad>', '<pad>', '<unk>', '<unk>'],
  ]
  specials = '<pad>', '<bos>', '<eos>', '<unk>'
  assert build_lexicon(sentences, 1).symbols == (*specials, 'c', 'a', 'b', 'd')
  assert build_lexicon(sentences, 2).symbols == (*specials, 'c', 'a')
  assert build_lexicon(iter(sentences), 1, 6).symbols == (*specials, 'c', 'a')
  with pytest.raises(
    ValueError, match=r'^data\.vocabulary_size is 4, expected more than the 4 specials, or 0$'
  ):
    build_lexicon(sentences, 1, 4)


def test_ids_come_back_without_special_symbols():
  lexicon = build_lexicon([['a', 'b']], 1)
  assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
  ids = encode(lexicon, ['b', 'a', 'z'])
  assert ids.dtype == np.int32
  np.testing.assert_array_equal(ids, [5, 4, UNK])
  assert decode(lexicon, [BOS, *ids, PAD, 4, EOS, 5, EOS]) == ['b', 'a', '<unk>', 'a']
  assert decode(lexicon, np.array([5, PAD], np.int32)) == ['b']
  assert encode(lexicon, []).dtype == np.int32


def test_names_of_special_symbols_in_a_text_are_unknown():
  names = ['<pad>', '<bos>', '<eos>', '<unk>']
  lexicon = build_lexicon([names * 3], 1)
  assert len(lexicon.symbols) == 4
  np.testing.assert_array_equal(encode(lexicon, names), [UNK] * 4)
  words = split(WORD, 'a <pad> <unk>')
  assert not set(encode(build_lexicon([words], 1), words).tolist()) & {PAD, BOS, EOS}


def test_unknown_rate_is_the_share_of_symbols():
  lexicon = build_lexicon([['a']], 1)
  assert unknown_rate(lexicon, [['a', 'b', 'a'], ['<unk>']]) == 0.5
  assert unknown_rate(lexicon, []) == 0.0


def test_json_round_trip():
  for value in (WORD, Lexicon(('<pad>', '<bos>', '<eos>', '<unk>', 'ä'))):
    assert tokens.from_json(json.loads(json.dumps(tokens.to_json(value)))) == value


def test_subwords_lose_no_space_and_are_deterministic():
  pytest.importorskip('tokenizers')
  units = train_units('subword', False, TEXTS, 60)
  assert units == train_units('subword', False, TEXTS, 60)
  restored = tokens.from_json(json.loads(json.dumps(tokens.to_json(units))))
  for text in (*TEXTS, 'not  a dog,dog', ''):
    symbols = split(restored, text)
    assert join(restored, symbols) == text
    assert symbols == split_all(units, ['Der', text])[1]
  assert split(units, 'Der Hund,')[0] == '▁Der'
  assert split(units, 'Der Hund,')[-1] == ','
  assert len(build_lexicon(split_all(units, TEXTS), 1).symbols) <= 60
  assert split(train_units('subword', True, TEXTS, 60), 'DER')[0] == '▁der'


def test_subwords_know_the_characters_of_the_training_texts_only():
  pytest.importorskip('tokenizers')
  units = train_units('subword', False, TEXTS, 60)
  symbols = split(units, 'dog語 <unk> <pad>')
  assert symbols.count('<unk>') == 4
  assert '<pad>' not in symbols
  assert join(units, symbols) == 'dog\ufffd \ufffd \ufffdpad\ufffd'
  assert join(units, split(units, 'dog<unk>dog')) == 'dog\ufffddog'
  with pytest.raises(
    ValueError, match=r'^data\.vocabulary_size is 9, expected \d+ subwords or more'
  ):
    train_units('subword', False, TEXTS, 9)


def test_missing_package_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'tokenizers', None)
  with pytest.raises(ValueError, match=r"pip install -e '\.\[subword\]'"):
    train_units('subword', False, TEXTS, 60)


@pytest.fixture(scope='module')
def multi30k(data_dir):
  """Returns language -> split -> sentences."""
  splits = {'train': 'train', 'valid': 'val', 'test': 'test_2016_flickr'}
  pairs = {
    split: read_pairs(
      *(str(data_dir / f'multi30k/{name}.{language}.gz') for language in ('de', 'en'))
    )
    for split, name in splits.items()
  }
  return {
    'de': {split: pair.sources for split, pair in pairs.items()},
    'en': {split: pair.targets for split, pair in pairs.items()},
  }


@pytest.mark.parametrize('language, size, unknown', [('de', 7_854, 0.0374), ('en', 5_970, 0.0180)])
def test_words_of_multi30k(multi30k, language, size, unknown):
  units = train_units('word', True, (), 0)
  sentences = {name: split_all(units, texts) for name, texts in multi30k[language].items()}
  lexicon = build_lexicon(sentences['train'], 2)
  assert len(lexicon.symbols) == size
  assert unknown_rate(lexicon, sentences['test']) == pytest.approx(unknown, abs=1e-4)
  for name, least in (('train', 0.995), ('valid', 0.998), ('test', 0.998)):
    pairs = zip(sentences[name], multi30k[language][name], strict=True)
    assert np.mean([join(units, words) == text.lower() for words, text in pairs]) >= least
  ids = encode_all(lexicon, sentences['train'])
  assert decode(lexicon, [BOS, *ids[0], EOS]) == sentences['train'][0]


def test_subwords_of_multi30k_come_back_and_are_known(multi30k):
  pytest.importorskip('tokenizers')
  units = train_units('subword', True, multi30k['de']['train'], 4_000)
  sentences = {name: split_all(units, multi30k['de'][name]) for name in ('train', 'test')}
  assert [join(units, symbols) for symbols in sentences['test']] == [
    text.lower() for text in multi30k['de']['test']
  ]
  lexicon = build_lexicon(sentences['train'], 1)
  assert 3_800 < len(lexicon.symbols) <= 4_000
  assert unknown_rate(lexicon, sentences['train']) == 0.0
  assert unknown_rate(lexicon, sentences['test']) < 0.001


def test_marks_belong_to_the_letters_before_them():
  units = tokens.Units('word', True, '')
  assert tokens.split(units, 'नमस्ते दुनिया!') == ['नमस्ते', 'दुनिया', '!']
  assert tokens.split(units, 'İstanbul') == ['i\u0307stanbul']
