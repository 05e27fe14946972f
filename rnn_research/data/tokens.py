"""Sentences as words, characters or subwords, and back; lexicons: symbols to ids and back.

Words are made for languages that put spaces between them. `join` writes a sentence as English and
German typography want it, so what `split` loses, a space before a comma, does not come back.
Characters and subwords lose no space.
"""

import functools
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnn_research.data.vocabulary import REPLACEMENT
from rnn_research.errors import InputError

KINDS = ('word', 'char', 'subword')
PAD, BOS, EOS, UNK = range(4)
SPECIALS = ('<pad>', '<bos>', '<eos>', '<unk>')

# What belongs to the letter before it, a vowel sign or an accent: Unicode's category M, which \w
# leaves out.
_MARKS = ''.join(
  chr(code) for code in range(0x300, 0x1F000) if unicodedata.category(chr(code))[0] == 'M'
)

# In turn: the unknown word; abbreviations (z.B., U.S.); words with the apostrophes, hyphens and
# ampersands in them and the hyphens around them (don't, T-Shirt, A&M, Vor- und), numbers with their
# points, commas, colons and per cent signs (3.5, 10,000, 11:27, 50%); any other symbol that is no
# white space.
WORDS = re.compile(
  r"<unk>|(?:[^\W\d_]\.){2,}|-?L+(?:['\u2018\u2019&-]L+|(?<=\d)[.,:]\dL*)*(?:(?<=\d)%)?-?|[^\w\s]".replace(
    'L', rf'[\w{_MARKS}]'
  )
)
NO_SPACE_BEFORE, NO_SPACE_AFTER = frozenset('.,:;!?…)]}/'), frozenset('([{#$£¿¡/')
# The double and the single ones. Languages differ in which of them open.
QUOTES = ('"\u201c\u201d\u201e\u00ab\u00bb', "'\u2018\u2019\u201a\u2039\u203a")


class Units(NamedTuple):
  """How sentences are split.

  Attributes:
    kind: 'word', 'char' (code points) or 'subword' (BPE).
    lower: whether all is lower-cased first; it is always put in Unicode's form NFC.
    model: JSON of a tokenizer of the package tokenizers for 'subword', else ''.
  """

  kind: str
  lower: bool
  model: str


class Lexicon(NamedTuple):
  """Attributes:
  symbols: id -> symbol: the four `SPECIALS`, then by falling frequency.
  """

  symbols: tuple[str, ...]


def train_units(kind: str, lower: bool, texts: Iterable[str], vocabulary_size: int) -> Units:
  """Returns units; subwords are learned from training texts.

  Args:
    kind: see `Units`.
    lower: see `Units`.
    texts: sentences that subwords are learned from.
    vocabulary_size: how many subwords a lexicon of them has at most, with the four specials.

  Raises:
    InputError: there is no such kind, the package tokenizers is missing, or the texts have more
    characters than that.
  """
  if kind not in KINDS:
    raise InputError(f'data.unit is {kind!r}, expected one of {", ".join(KINDS)}')
  units = Units(kind, lower, '')
  return (
    units._replace(model=_learn(normal(units, texts), vocabulary_size))
    if kind == 'subword'
    else units
  )


def _learn(texts: list[str], vocabulary_size: int) -> str:
  """Returns BPE as JSON. A space is the mark U+2581 before the word after it, so it is not lost."""
  package = _package()
  marker = package.pre_tokenizers.Metaspace(prepend_scheme='first')
  tokenizer = package.Tokenizer(package.models.BPE(unk_token=SPECIALS[UNK]))
  tokenizer.pre_tokenizer = package.pre_tokenizers.Sequence(
    [marker, package.pre_tokenizers.Punctuation()]
  )
  tokenizer.decoder = package.decoders.Metaspace(prepend_scheme='first')
  others = len(SPECIALS) - 1  # BPE has but the unknown one of them
  trainer = package.trainers.BpeTrainer(
    vocab_size=max(vocabulary_size - others, 0),
    min_frequency=2,
    special_tokens=[SPECIALS[UNK]],
    show_progress=False,
  )
  tokenizer.train_from_iterator(texts, trainer)
  if tokenizer.get_vocab_size() + others > vocabulary_size:
    raise InputError(
      f'data.vocabulary_size is {vocabulary_size}, expected {tokenizer.get_vocab_size() + others} '
      'subwords or more: '
      'the special ones and the characters of the training texts'
    )
  return tokenizer.to_str()


def _package():
  try:
    import tokenizers
  except ImportError as error:
    raise InputError("subwords need the package tokenizers: pip install -e '.[subword]'") from error
  return tokenizers


@functools.lru_cache(maxsize=4)
def _tokenizer(model: str):
  return _package().Tokenizer.from_str(model)


def normal(units: Units, texts: Iterable[str]) -> list[str]:
  """Returns sentences in Unicode's form NFC, lower-cased where the units are."""
  return [unicodedata.normalize('NFC', text.lower() if units.lower else text) for text in texts]


def split(units: Units, text: str) -> list[str]:
  """Returns a sentence as symbols."""
  return split_all(units, [text])[0]


def split_all(units: Units, texts: Iterable[str]) -> list[list[str]]:
  """Returns sentences as symbols."""
  texts = normal(units, texts)
  if units.kind == 'subword':
    return [encoding.tokens for encoding in _tokenizer(units.model).encode_batch(texts)]
  return [WORDS.findall(text) if units.kind == 'word' else list(text) for text in texts]


def join(units: Units, symbols: Sequence[str]) -> str:
  """Returns symbols as a sentence; an unknown symbol is the word `<unk>`, or else U+FFFD."""
  if units.kind == 'word':
    return _join_words(symbols)
  symbols = [REPLACEMENT if symbol == SPECIALS[UNK] else symbol for symbol in symbols]
  return (
    _tokenizer(units.model).decoder.decode(symbols) if units.kind == 'subword' else ''.join(symbols)
  )


def _join_words(words: Sequence[str]) -> str:
  """Puts spaces between words, but none inside brackets and quotes and before what ends a
  clause."""
  opening = _opening_quotes(words)
  text, space, closed = '', False, False
  for place, word in enumerate(words):
    closes_quote = word in QUOTES[0] + QUOTES[1] and place not in opening
    suffix = closed and len(word) > 1 and word[0] == '-'  # "Spiegel"-Leser
    space = space and word not in NO_SPACE_BEFORE and not closes_quote and not suffix
    text += f' {word}' if space else word
    space = word not in NO_SPACE_AFTER and place not in opening
    closed = closes_quote or word in ')]}'
  return text


def _opening_quotes(words: Sequence[str]) -> set[int]:
  """Returns the places of the quotes that open: of each kind every other one, but not the last (the
  boys' toys)."""
  places = ([place for place, word in enumerate(words) if word in quotes] for quotes in QUOTES)
  return {place for found in places for place in found[:-1:2]}


def build_lexicon(sentences: Iterable[list[str]], min_frequency: int, max_size: int = 0) -> Lexicon:
  """Returns the lexicon of training sentences.

  Args:
    sentences: symbols.
    min_frequency: how often a symbol must occur.
    max_size: how many symbols it has at most, with the four specials; 0 is no limit.

  Raises:
    InputError: `max_size` leaves no room for any symbol.
  """
  if max_size and max_size <= len(SPECIALS):
    raise InputError(
      f'data.vocabulary_size is {max_size}, expected more than the {len(SPECIALS)} specials, or 0'
    )
  counts = Counter(itertools.chain.from_iterable(sentences))
  kept = [
    symbol for symbol, count in counts.items() if count >= min_frequency and symbol not in SPECIALS
  ]
  kept.sort(key=lambda symbol: (-counts[symbol], symbol))
  return Lexicon((*SPECIALS, *kept)[: max_size or None])


def encode(lexicon: Lexicon, symbols: Sequence[str]) -> np.ndarray:
  """Returns the ids of a sentence, [N] int32, without BOS and EOS; see `encode_all`."""
  return encode_all(lexicon, [symbols])[0]


def encode_all(lexicon: Lexicon, sentences: Iterable[Sequence[str]]) -> list[np.ndarray]:
  """Returns the ids of sentences, each [N] int32; UNK for what the lexicon lacks and for the names
  of the specials."""
  index = {symbol: i for i, symbol in enumerate(lexicon.symbols) if symbol not in SPECIALS}
  return [
    np.array([index.get(symbol, UNK) for symbol in symbols], np.int32) for symbols in sentences
  ]


def decode(lexicon: Lexicon, ids: Iterable[int]) -> list[str]:
  """Returns the symbols before the first EOS, without PAD and BOS."""
  before = itertools.takewhile(lambda i: i != EOS, ids)
  return [lexicon.symbols[i] for i in before if i not in (PAD, BOS)]


def unknown_rate(lexicon: Lexicon, sentences: Iterable[Sequence[str]]) -> float:
  """Returns the share of the symbols of sentences that the lexicon lacks; 0 where there are
  none."""
  ids = np.concatenate([np.zeros(0, np.int32), *encode_all(lexicon, sentences)])
  return float(np.count_nonzero(ids == UNK) / max(len(ids), 1))


def to_json(value: Units | Lexicon) -> dict[str, Any]:
  """Returns units or a lexicon as what `json` can write."""
  return {'symbols': list(value.symbols)} if isinstance(value, Lexicon) else value._asdict()


def from_json(value: dict[str, Any]) -> Units | Lexicon:
  """Returns what `to_json` wrote."""
  return Lexicon(tuple(value['symbols'])) if 'symbols' in value else Units(**value)
