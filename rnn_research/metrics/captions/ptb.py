"""Tokens of captions as the COCO caption evaluation has them, without Java."""

from rnn_research.metrics.captions.ptb_rules import PLAIN, QUOTES, RULES, SYMBOLS

# Three and four hyphens are written as two. Brackets stay: the list of that evaluation has them in
# capitals, and its tokenizer writes small letters.
_PUNCTUATION = frozenset(["''", "'", '``', '`', *'?!,:;', '-', '--', '---', '----'])
_WRITTEN = {
  **{'(': '-lrb-', ')': '-rrb-', '[': '-lsb-', ']': '-rsb-', '{': '-lcb-', '}': '-rcb-'},
  **{'£': '#', '€': '$', '¤': '$', '₠': '$', '¢': 'cents'},
  **{'¼': '1/4', '½': '1/2', '¾': '3/4', '⅓': '1/3', '⅔': '2/3'},
  **{'&lt;': '<', '&gt;': '>', '&quot;': "''", '&apos;': "'", '&nbsp;': ''},
}
_SIGNS = str.maketrans({'(': '-lrb-', ')': '-rrb-', ' ': '\u00a0', '\u00ad': None})
_QUOTES = str.maketrans(
  {
    **dict.fromkeys('\u2018\u201b\u2039\u0091', '`'),
    **dict.fromkeys('\u2019\u203a\u0092', "'"),
    **dict.fromkeys('\u201c«\u0093', '``'),
    **dict.fromkeys('\u201d»\u0094', "''"),
  }
)


def caption_tokens(text: str) -> list[str]:
  """Returns the tokens of a caption in small letters, without punctuation.

  "A man's dog can't jump (yet)." is: a, man, 's, dog, ca, n't, jump, -lrb-, yet, -rrb-.

  A token may hold a no-break space, as '5 1/2' does. Emoji are no tokens.

  Source: Chen et al. 2015 (arXiv 1504.00325), section 3.1, as its program does it: Stanford
  PTBTokenizer 3.4.1 in small letters, then a list of punctuation left out. Deviates from it: a
  caption is read alone, not with the caption on the next line of a file.
  """
  text = text.replace('\n', ' ') + '\n\n'  # some rules look two characters ahead
  tokens, at = [], 0
  while at < len(text):
    # Where several rules match, the longest match makes the token, what must follow it included.
    found = PLAIN.match(text, at) or max(
      (match for rule in RULES if (match := rule.match(text, at))),
      key=lambda match: match.end(),
      default=None,
    )
    token = found[1] if found else text[at]
    at += len(token)
    if found or SYMBOLS.match(token):
      tokens.append(_written(token))
  return [token for token in tokens if token.strip('.\u00a0') and token not in _PUNCTUATION]


def _written(token: str) -> str:
  if QUOTES.fullmatch(token):
    return token.translate(_QUOTES).lower()
  return _WRITTEN.get(token, token).replace('&amp;', '&').translate(_SIGNS).lower()
