"""The noun of a phrase that a box belongs to, in the singular."""


def _words(text: str) -> frozenset[str]:
  return frozenset(text.split())


# Of "a group of people" the people are in the box, of "the arm of a swimmer" the arm.
_MEASURES = _words(
  'bunch couple crowd flock gathering group herd line lot lots number pack pair pairs party piece '
  'pieces pile piles plenty row rows series set team trio variety'
)
_NO_NOUNS = _words(
  'another both each her him it one other others something someone them this three two '
  'black blue brown gray green grey orange pink purple red white yellow'
)
_IRREGULAR = {
  **{'children': 'child', 'people': 'person', 'feet': 'foot', 'teeth': 'tooth', 'geese': 'goose'},
  **{'leaves': 'leaf', 'scarves': 'scarf', 'shelves': 'shelf', 'knives': 'knife', 'calves': 'calf'},
  **{'buses': 'bus', 'cookies': 'cookie', 'hoodies': 'hoodie', 'movies': 'movie'},
}
# Without their s they would be other words.
_PLURAL_ONLY = _words('clothes glasses shorts stairs tights trunks woods')


def head_noun(phrase: str) -> str:
  """Returns the last word of a phrase in the singular: 'dog' of 'two brown dogs'; '' of none.

  What stands before 'of' counts, but after words of measure what follows: 'arm' of 'the arm of a
  swimmer', 'person' of 'a group of people'. A colour, a number or a pronoun is no noun.
  """
  words = [word for word in phrase.lower().split() if word[0].isalnum()]
  while 'of' in words[1:-1]:
    at = words.index('of', 1)
    words = words[at + 1 :] if words[at - 1] in _MEASURES else words[:at]
  return singular(words[-1]) if words and words[-1] not in _NO_NOUNS else ''


def singular(word: str) -> str:
  """Returns the singular of a noun, by simple rules: 'puppy' of 'puppies', 'box' of 'boxes'."""
  if word in _PLURAL_ONLY or word in _IRREGULAR:
    return _IRREGULAR.get(word, word)
  if word.endswith('men'):  # also women and firemen
    return f'{word[:-3]}man'
  if len(word) < 4 or not word.endswith('s') or word.endswith(('ss', 'us', 'is')):
    return word
  if word.endswith('ies') and len(word) > 4:
    return f'{word[:-3]}y'
  return word[:-2] if word.endswith(('ches', 'shes', 'sses', 'xes', 'zes')) else word[:-1]
