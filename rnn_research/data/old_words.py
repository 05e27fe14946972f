"""Sentences as words, and back, by the rules of models that were trained before tokens were marked
where they join.

`join` writes a sentence as English and German typography want it, so what `split` loses, a space
before a comma, does not come back.
"""

import re
from collections.abc import Sequence

from rnn_research.data.words import LETTER

# In turn: the unknown word; abbreviations (z.B., U.S.); words with the apostrophes, hyphens and
# ampersands in them and the hyphens around them (don't, T-Shirt, A&M, Vor- und), numbers with their
# points, commas, colons and per cent signs (3.5, 10,000, 11:27, 50%); any other symbol that is no
# white space.
WORDS = re.compile(
  r"<unk>|(?:[^\W\d_]\.){2,}|-?L+(?:['\u2018\u2019&-]L+|(?<=\d)[.,:]\dL*)*(?:(?<=\d)%)?-?|[^\w\s]".replace(
    'L', LETTER
  )
)
NO_SPACE_BEFORE, NO_SPACE_AFTER = frozenset('.,:;!?…)]}/'), frozenset('([{#$£¿¡/')
# The double and the single ones. Languages differ in which of them open.
QUOTES = ('"\u201c\u201d\u201e\u00ab\u00bb', "'\u2018\u2019\u201a\u2039\u203a")


def split(text: str) -> list[str]:
  """Returns a sentence as words."""
  return WORDS.findall(text)


def join(words: Sequence[str]) -> str:
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
