"""Stories that are made: who went where, as in the first task of bAbI."""

import numpy as np

from rnn_research.data.babi import Babi, Question

_PEOPLE = ('mary', 'john', 'sandra', 'daniel')
_PLACES = ('bathroom', 'hallway', 'kitchen', 'garden', 'office', 'bedroom')
_VERBS = (('went',), ('moved',), ('journeyed',), ('went', 'back'))
_LENGTH = 6  # sentences of a story


def make_stories(count: int) -> Babi:
  """Returns questions of task 1, each about a story of its own: `count` to train on, and a tenth as
  many, but 10 at least, to validate and to test with."""
  rng = np.random.default_rng(0)
  held_out = max(count // 10, 10)
  sizes = {'train': count, 'valid': held_out, 'test': held_out}
  splits = {
    name: [_question(rng, number) for number in range(size)] for name, size in sizes.items()
  }
  return Babi(splits, (1,))


def _question(rng: np.random.Generator, number: int) -> Question:
  people = [_PEOPLE[i] for i in rng.integers(len(_PEOPLE), size=_LENGTH)]
  places = [_PLACES[i] for i in rng.integers(len(_PLACES), size=_LENGTH)]
  verbs = [_VERBS[i] for i in rng.integers(len(_VERBS), size=_LENGTH)]
  story = tuple(
    (who, *verb, 'to', 'the', where) for who, verb, where in zip(people, verbs, places, strict=True)
  )
  support = int(rng.integers(_LENGTH))
  who = people[support]
  last = max(i for i in range(_LENGTH) if people[i] == who)
  return Question(story, ('where', 'is', who), places[last], (last,), 1, number)
