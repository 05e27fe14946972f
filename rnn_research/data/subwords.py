"""Sentences as subwords (byte-pair encoding, with the package tokenizers), and back.

A model is the JSON of a tokenizer of that package.
"""

import functools
import re
from collections.abc import Iterable, Sequence

from rnn_research.errors import InputError

_SPACE, _ESCAPE = '\u2581', '\uffed'
_ESCAPED = (_ESCAPE, _SPACE, '<')


def learn(texts: Iterable[str], size: int, unknown: str) -> str:
  """Learns subwords: the characters of the texts, and what occurs together most often.

  A space is the mark U+2581 before the subword after it, so it is not lost.

  Args:
    texts: sentences.
    size: how many subwords there are at most, with the unknown one.
    unknown: the symbol of a character that the texts do not have.

  Returns:
    The model. It has more subwords than `size` where the texts have more characters.

  Raises:
    InputError: the package tokenizers is missing.
  """
  package = _package()
  marker = package.pre_tokenizers.Metaspace(prepend_scheme='first')
  tokenizer = package.Tokenizer(package.models.BPE(unk_token=unknown))
  tokenizer.pre_tokenizer = package.pre_tokenizers.Sequence(
    [marker, package.pre_tokenizers.Punctuation()]
  )
  tokenizer.decoder = package.decoders.Metaspace(prepend_scheme='first')
  trainer = package.trainers.BpeTrainer(
    vocab_size=max(size, 0), min_frequency=2, special_tokens=[unknown], show_progress=False
  )
  tokenizer.train_from_iterator(texts, trainer)
  return tokenizer.to_str()


def escape(text: str) -> str:
  """Returns a text without what stands for something else in subwords: the mark of a space and the
  name of the unknown symbol."""
  return re.sub(
    f'[{_ESCAPE}{_SPACE}]|<(?=unk>)', lambda match: f'{_ESCAPE}{_ESCAPED.index(match[0])}', text
  )


def unescape(text: str) -> str:
  """Returns the text of which `escape` made this one."""
  return re.sub(f'{_ESCAPE}([012])', lambda match: _ESCAPED[int(match[1])], text)


def characters(model: str) -> set[str]:
  """Returns the subwords of one character."""
  return {subword for subword in _tokenizer(model).get_vocab() if len(subword) == 1}


def count(model: str) -> int:
  """Returns how many subwords a model has, with the unknown one."""
  return _tokenizer(model).get_vocab_size()


def split_all(model: str, texts: Sequence[str]) -> list[list[str]]:
  """Returns sentences, whose white space is single spaces between others, as subwords."""
  tokens_of = _splitter(model)
  return [[token for word in text.split(' ') for token in tokens_of(word)] for text in texts]


def join(model: str, subwords: Sequence[str]) -> str:
  """Returns subwords as a sentence."""
  return _tokenizer(model).decoder.decode(subwords)


def _package():
  try:
    import tokenizers
  except ImportError as error:
    raise InputError("subwords need the package tokenizers: pip install -e '.[subword]'") from error
  return tokenizers


@functools.lru_cache(maxsize=4)
def _tokenizer(model: str):
  return _package().Tokenizer.from_str(model)


@functools.lru_cache(maxsize=4)
def _splitter(model: str):
  """Returns the function from what stands between spaces to its subwords, none of which goes over a
  space; most was seen before."""
  encode = _tokenizer(model).encode
  return functools.lru_cache(maxsize=2**16)(lambda word: tuple(encode(word).tokens))
