"""A text as symbol ids and back, by character, byte, word or subword.

There are two layouts of ids. A running text, what a language model reads, has the symbols of its
training part, sorted, and last the unknown symbol. Sentences, what a translator reads one by one,
have `SPECIALS` and then their symbols by falling frequency. Whatever the training part did not show
becomes the unknown symbol.
"""

import codecs
import itertools
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnn_research.data import running_text, subwords, words
from rnn_research.data.running_text import REPLACEMENT, UNKNOWN, UNKNOWN_BYTE
from rnn_research.errors import InputError, MisfitError, require, require_one_of

SENTENCE_UNITS = ('word', 'char', 'subword')
PAD, BOS, EOS, UNK = range(4)  # ids of sentences
SPECIALS = ('<pad>', '<bos>', '<eos>', '<unk>')
RULES = 3


class TextCodec(NamedTuple):
  """How a text becomes symbol ids and back.

  Attributes:
    layout: 'text' or 'sentences', see above.
    unit: of `running_text.UNITS` or `SENTENCE_UNITS`.
    symbols: id -> symbol: str, or int byte value.
    lower: whether sentences are lower-cased.
    model: of `subwords.learn`; '' of other units.
    rules: version of the rules by which texts are read and split: `RULES`, or what the codec of a
      trained model was made with. In version 1 the files of a running text were read with their
      byte order marks, and words joined by nothing. Up to version 2 duplicates stayed among the
      pairs of sentences that splits were drawn from.
    has_unknown: whether the training text itself has the unknown symbol, as Penn Treebank has
      `<unk>`. It is not known of word texts of version 1, and taken to be so.
  """

  layout: str
  unit: str
  symbols: tuple
  lower: bool = False
  model: str = ''
  rules: int = RULES
  has_unknown: bool = False

  @property
  def unknown(self) -> int:
    """The id of the unknown symbol."""
    return UNK if self.layout == 'sentences' else len(self.symbols) - 1

  @property
  def never_written(self) -> tuple[int, ...]:
    """The ids that no sample may have, since they stand for nothing that could be written."""
    unknown = () if self.has_unknown else (self.unknown,)
    return (PAD, BOS, *unknown) if self.layout == 'sentences' else unknown

  @property
  def signs(self) -> tuple[str, ...]:
    """The symbols of a running text of characters or bytes as one character each: a byte as that of
    its number, the unknown symbol as U+FFFD."""
    known = self.symbols[:-1]
    return (*(map(chr, known) if self.unit == 'byte' else known), REPLACEMENT)

  def characters(self, ids: np.ndarray) -> str:
    """Returns ids, [N] int32, as a text of N `signs`."""
    return ''.join(map(self.signs.__getitem__, ids))

  def normalise(self, text: str) -> str:
    """Returns what `decode(encode(text))` is where every symbol is known.

    Sentences are in Unicode's form NFC, lower-cased where the codec is, their runs of white space
    one space, with none around them. The words of a running text have one space between them, none
    around a line end. Characters and bytes of a running text are as they were.
    """
    if self.layout == 'text':
      return running_text.normalise(text, self.unit)
    text = unicodedata.normalize('NFC', text.lower() if self.lower else text)
    return ' '.join(text.split())

  def split(self, text: str) -> Sequence:
    """Returns a text as symbols: a str (characters), bytes, or a list of str."""
    return self.split_all([text])[0]

  def split_all(self, texts: Iterable[str]) -> Sequence[Sequence]:
    """Returns texts as symbols."""
    if self.layout == 'text':
      return [running_text.split(text, self.unit) for text in texts]
    texts = [self.normalise(text) for text in texts]
    if self.unit == 'subword':
      return subwords.split_all(self.model, list(map(subwords.escape, texts)))
    return list(map(words.split if self.unit == 'word' else list, texts))

  def join(self, symbols: Sequence) -> str:
    """Returns symbols as text: unknown characters, subwords and bytes that are no UTF-8 as U+FFFD,
    an unknown word as `<unk>`."""
    if self.layout == 'text' or self.unit == 'char':
      return running_text.join(symbols, self.unit)
    if self.unit == 'word':
      return words.join(symbols)
    symbols = [REPLACEMENT if symbol == UNKNOWN else symbol for symbol in symbols]
    return subwords.unescape(subwords.join(self.model, symbols))

  def ids(self, symbols: Sequence) -> np.ndarray:
    """Returns the ids of symbols, [N] int32; the names of `SPECIALS` in sentences are unknown."""
    return encoder(self)(symbols)

  def encode(self, text: str) -> np.ndarray:
    """Returns the ids of a text, [N] int32; of a sentence without BOS and EOS."""
    return self.ids(self.split(text))

  def encode_all(self, texts: Iterable[str]) -> list[np.ndarray]:
    """Returns the ids of texts, each [N] int32; of sentences without BOS and EOS."""
    return list(map(encoder(self), self.split_all(texts)))

  def decode(self, ids: Iterable[int]) -> str:
    """Returns ids as text; of a sentence those before the first EOS, without PAD and BOS."""
    if self.layout == 'sentences':
      before = itertools.takewhile(lambda i: i != EOS, ids)
      ids = (i for i in before if i not in (PAD, BOS))
    return self.join([self.symbols[i] for i in ids])

  def decode_pieces(self, pieces: Iterable[Iterable[int]], before: str = '') -> Iterator[str]:
    """Yields the text of a running text's ids as they come, also where a piece ends inside a
    character.

    Args:
      pieces: ids.
      before: the text that they go on from.
    """
    if self.unit == 'byte':
      decoder = codecs.getincrementaldecoder('utf-8')('replace')
      for ids in pieces:
        yield decoder.decode(running_text.join_bytes(self.symbols[i] for i in ids))
      yield decoder.decode(b'', final=True)
      return
    for ids in pieces:
      text = self.decode(ids)
      apart = before and text and not (before[-1].isspace() or text.startswith('\n'))
      before = text or before
      yield f' {text}' if apart and self.unit == 'word' else text

  def unseen(self, text: str) -> list:
    """Returns the distinct symbols of a text that the training text lacks, in order of
    appearance."""
    known = set(self.symbols) - (set() if self.has_unknown else {UNKNOWN})
    return [symbol for symbol in dict.fromkeys(self.split(text)) if symbol not in known]

  def unknown_share(self, ids: np.ndarray) -> float:
    """Returns the share of ids, [N] int32, that are the unknown symbol; 0 of none."""
    return float(np.mean(ids == self.unknown)) if len(ids) else 0.0

  def known_part(self, text: str) -> str:
    """Returns a text without its unseen symbols; of bytes, without the characters that have
    one."""
    missing = set(self.unseen(text))
    if not missing:
      return text
    if self.unit == 'byte':
      return ''.join(char for char in text if missing.isdisjoint(self.split(char)))
    return self.join([symbol for symbol in self.split(text) if symbol not in missing])

  def to_json(self) -> dict[str, Any]:
    """Returns the codec as what `json` can write."""
    return self._asdict() | {'symbols': list(self.symbols)}


def require_characters(codec: TextCodec) -> None:
  """Raises InputError unless the symbols of a running text are characters or bytes."""
  require('data.unit', codec.unit, codec.unit in ('char', 'byte'), 'char or byte')


def from_json(value: Mapping[str, Any]) -> TextCodec:
  """Returns the codec that `to_json` wrote, now or, of a running text, in one of its earlier forms.

  Raises:
    MisfitError: an earlier version wrote it for sentences, by rules that are no longer here.
  """
  rules = value.get('rules', 1)
  sentences = value.get('layout') == 'sentences' or 'lexicon' in value  # which had no layout yet
  if sentences and rules == 1:
    raise MisfitError(
      'the codec of sentences does not fit this run: its rules are version 1 there and '
      f'{RULES} here'
    )
  earlier = {'layout': 'text', 'rules': 1, 'has_unknown': value['unit'] == 'word'}
  return TextCodec(**{**earlier, **value, 'symbols': tuple(value['symbols'])})


def train_text_codec(symbols: Sequence, unit: str) -> TextCodec:
  """Returns the codec of running texts that knows the symbols of a training text.

  A word text that has `<unk>` itself (Penn Treebank) gets no other unknown symbol.

  Args:
    symbols: of `running_text.split`.
    unit: of `running_text.UNITS`.
  """
  unknown, seen = UNKNOWN_BYTE if unit == 'byte' else UNKNOWN, set(symbols)
  known = sorted(seen - {unknown})
  return TextCodec('text', unit, (*known, unknown), has_unknown=unknown in seen)


def train_sentence_codec(
  texts: Sequence[str], unit: str, lower: bool, min_frequency: int, vocabulary_size: int
) -> TextCodec:
  """Returns the codec of sentences that knows the frequent symbols of training sentences.

  Args:
    texts: training sentences; subwords are learned from them.
    unit: of `SENTENCE_UNITS`.
    lower: whether everything is lower-cased.
    min_frequency: how often a symbol must occur; subwords of one character need not.
    vocabulary_size: how many symbols there are at most, with `SPECIALS`; 0 is no limit.

  Raises:
    InputError: there is no such unit, `vocabulary_size` leaves no room, no symbol is frequent
      enough, or the package tokenizers is missing.
  """
  codec = new_sentence_codec(texts, unit, lower, vocabulary_size)
  counts = Counter(itertools.chain.from_iterable(codec.split_all(texts)))
  return with_symbols(codec, counts, min_frequency, vocabulary_size)


def new_sentence_codec(
  texts: Iterable[str], unit: str, lower: bool, vocabulary_size: int
) -> TextCodec:
  """Returns a codec of sentences that can split, and knows no symbols yet; see
  `train_sentence_codec`. The texts are read where subwords are learned."""
  require_one_of('data.unit', unit, SENTENCE_UNITS)
  codec = TextCodec('sentences', unit, SPECIALS, lower)
  if unit == 'subword':
    normal = map(codec.normalise, texts)
    codec = codec._replace(model=_learn_subwords(map(subwords.escape, normal), vocabulary_size))
  if vocabulary_size and vocabulary_size <= len(SPECIALS):
    raise InputError(
      f'data.vocabulary_size is {vocabulary_size}, expected more than the {len(SPECIALS)} '
      'specials, or 0'
    )
  return codec


def with_symbols(
  codec: TextCodec, counts: Mapping[str, int], min_frequency: int, vocabulary_size: int
) -> TextCodec:
  """Returns a codec of `new_sentence_codec` that knows the symbols that were counted; see
  `train_sentence_codec`."""
  kept = [s for s, count in counts.items() if count >= min_frequency and s not in SPECIALS]
  if not kept:
    raise InputError(
      f'data.min_frequency is {min_frequency}, but no symbol of the training sentences occurs as '
      'often'
    )
  kept.sort(key=lambda symbol: (-counts[symbol], symbol))
  if (
    codec.unit == 'subword'
  ):  # training texts may have a character as part of longer subwords alone
    kept += sorted(subwords.characters(codec.model) - {*kept})
  return codec._replace(symbols=(*SPECIALS, *kept)[: vocabulary_size or None])


def _learn_subwords(texts, vocabulary_size):
  others = len(SPECIALS) - 1  # of the special symbols subwords have but the unknown one
  model = subwords.learn(texts, vocabulary_size - others, UNKNOWN)
  needed = subwords.count(model) + others
  if needed > vocabulary_size:
    raise InputError(
      f'data.vocabulary_size is {vocabulary_size}, expected {needed} subwords or more: the special '
      'ones and the characters of the training texts'
    )
  return model


def encoder(codec: TextCodec) -> Callable[[Sequence], np.ndarray]:
  """Returns the function from symbols to their ids, [N] int32."""
  if codec.layout == 'text' and codec.unit != 'word':
    known = codec.symbols[:-1] if codec.unit == 'byte' else list(map(ord, codec.symbols[:-1]))
    return lambda symbols: _look_up(known, _codes(symbols, codec.unit))
  places = {symbol: i for i, symbol in enumerate(codec.symbols)}
  if codec.layout == 'sentences':
    places |= dict.fromkeys(SPECIALS, UNK)
  unknown = codec.unknown
  return lambda symbols: np.fromiter(
    map(places.get, symbols, itertools.repeat(unknown)), np.int32, len(symbols)
  )


def new_symbols(symbols: Sequence, unit: str, known: Collection) -> dict:
  """Returns the symbols of a running text that are not among the known ones -> where each first
  occurs."""
  if unit == 'word':
    new = set(symbols).difference(known)
    backwards = zip(reversed(symbols), range(len(symbols) - 1, -1, -1), strict=True)
    return {symbol: place for symbol, place in backwards if symbol in new} if new else {}
  codes = _codes(symbols, unit)
  present = np.zeros(1 + int(codes.max(initial=0)), bool)
  present[codes] = True
  values = np.flatnonzero(present).tolist()
  found = values if unit == 'byte' else map(chr, values)
  return {symbol: symbols.index(symbol) for symbol in found if symbol not in known}


def _codes(symbols, unit: str) -> np.ndarray:
  """Returns the code points of a str, or the values of bytes, as [N] unsigned integers."""
  if unit == 'byte':
    return np.frombuffer(symbols, np.uint8)
  return np.frombuffer(symbols.encode('utf-32-le', 'surrogatepass'), '<u4')


def _look_up(known: Sequence[int], codes: np.ndarray) -> np.ndarray:
  """Returns the places of codes among the K known ones, [N] int32; K where they are not there."""
  table = np.full(1 + max(int(codes.max(initial=0)), *known, 0), len(known), np.int32)
  table[np.asarray(known, np.int64)] = np.arange(len(known))
  return table[codes]
