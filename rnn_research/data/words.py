"""Sentences as words and signs, and back exactly.

Where two tokens stand together without a space, one of them has `JOINER` on the side of the other:
'("Go," he said.)' is `(￭ "￭ Go ￭, ￭" he said ￭. ￭)`. It is the sign, not the word, that has it, and
of two signs the second one, but the first one in front of the first word: so a word is one token
wherever it stands, and so is a comma, which is nearly always joined to what is before it. The sign
`JOINER` of a text is a word here.

Made for languages that put spaces between words.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable

JOINER = '\uffed'

# What belongs to the letter before it, a vowel sign or an accent: Unicode's category M, which \w
# leaves out.
_MARKS = ''.join(
  chr(code) for code in range(0x300, 0x1F000) if unicodedata.category(chr(code))[0] == 'M'
)
_LETTER = rf'[\w{_MARKS}]'

# Words, the group, in turn: the unknown one; abbreviations (z.B., U.S.); those with apostrophes,
# hyphens and ampersands in them and hyphens around them (don't, T-Shirt, A&M, Vor- und), numbers
# with their points, commas and colons (3.5, 10,000, 11:27). Then signs: whatever is left.
_TOKEN = re.compile(
  r"(<unk>|J|(?:[^\W\d_]\.){2,}|-?L+(?:['\u2018\u2019&-]L+|(?<=\d)[.,:]\dL*)*-?)|.".replace(
    'L', _LETTER
  ).replace('J', JOINER),
  re.DOTALL,
)


def split(text: str) -> list[str]:
  """Returns the tokens of a sentence whose white space is single spaces between others."""
  return [token for part in text.split() for token in _tokens(part)]


@functools.lru_cache(maxsize=2**16)  # most of what stands between spaces was seen before
def _tokens(part: str) -> tuple[str, ...]:
  """Returns the tokens of what stands between two spaces."""
  found = [(match[0], match[1] is not None) for match in _TOKEN.finditer(part)]
  first_word = next((i for i, (_, is_word) in enumerate(found) if is_word), 0)
  tokens, joined = [], True
  for i, (token, is_word) in enumerate(found):
    before = '' if joined else JOINER
    before_word = i + 1 < len(found) and found[i + 1][1]
    joined = not is_word and (i < first_word or before_word)
    tokens.append(f'{before}{token}{JOINER if joined else ""}')
  return tuple(tokens)


def join(tokens: Iterable[str]) -> str:
  """Returns the sentence of tokens."""
  text, joined = '', True
  for token in tokens:
    before, word, after = _taken_apart(token)
    text += word if joined or before else f' {word}'
    joined = after
  return text


def _taken_apart(token: str) -> tuple[bool, str, bool]:
  """Returns whether a token is joined to the one before it, what is written, and whether it is
  joined to the one after it."""
  if token in (JOINER, 2 * JOINER):
    return len(token) == 2, JOINER, False
  return token[:1] == JOINER, token.strip(JOINER), token[-1:] == JOINER
