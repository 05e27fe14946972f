"""Synthetic pairs of sentences, to learn from without data.

Each task is a function `(rng, count) -> Pairs`.
"""

import datetime
import itertools
import string
from collections.abc import Callable, Mapping

import numpy as np

from rnn_research.data.pairs import Pairs
from rnn_research.errors import InputError, require_one_of

LETTERS = np.array(list(string.ascii_lowercase))
SHORTEST, LONGEST = 5, 15
FIRST_DAY, LAST_DAY = datetime.date(1900, 1, 1).toordinal(), datetime.date(2099, 12, 31).toordinal()
DAYS = ('Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday')
MONTHS = (
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
)
# Day and month in digits alone could be taken for each other, but not behind the year.
FORMATS = (
  '{day} {month} {year}',
  '{month} {day}, {year}',
  '{month} {day}{th}, {year}',
  'the {day}{th} of {month} {year}',
  '{weekday}, {day} {month} {year}',
  '{weekday}, {month} {day}, {year}',
  '{weekday:.3} {day} {month:.3} {year}',
  '{day}-{month:.3}-{year}',
  '{month:.3} {day} {year}',
  '{year}/{number:02}/{day:02}',
)


def reverse(rng: np.random.Generator, count: int) -> Pairs:
  """5 to 15 random letters with spaces between them; the target is the letters in reverse."""
  words = _words(rng, count)
  return Pairs([' '.join(word) for word in words], [' '.join(reversed(word)) for word in words], 0)


def sort(rng: np.random.Generator, count: int) -> Pairs:
  """The sources of `reverse`; the target is the letters in alphabetical order."""
  words = _words(rng, count)
  return Pairs([' '.join(word) for word in words], [' '.join(sorted(word)) for word in words], 0)


def _words(rng: np.random.Generator, count: int) -> list[list[str]]:
  letters = LETTERS[rng.integers(len(LETTERS), size=(count, LONGEST))].tolist()
  lengths = rng.integers(SHORTEST, LONGEST + 1, count)
  return [word[:length] for word, length in zip(letters, lengths, strict=True)]


def dates(rng: np.random.Generator, count: int) -> Pairs:
  """English dates from 1900 to 2099 as people write them, 'Saturday, 3 May 2014'; the target is
  '2014-05-03'."""
  days = [
    datetime.date.fromordinal(day) for day in rng.integers(FIRST_DAY, LAST_DAY + 1, count).tolist()
  ]
  forms = [FORMATS[form] for form in rng.integers(len(FORMATS), size=count)]
  written = [write_date(day, form) for day, form in zip(days, forms, strict=True)]
  return Pairs(written, [day.isoformat() for day in days], 0)


def write_date(day: datetime.date, form: str) -> str:
  """Returns a date as one of `FORMATS` has it."""
  ending = 'th' if day.day in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(day.day % 10, 'th')
  return form.format(
    day=day.day,
    th=ending,
    month=MONTHS[day.month - 1],
    number=day.month,
    year=day.year,
    weekday=DAYS[day.weekday()],
  )


PAIR_TASKS: Mapping[str, Callable[[np.random.Generator, int], Pairs]] = {
  'reverse': reverse,
  'sort': sort,
  'dates': dates,
}


def draw(task: str, count: int, seed: int) -> Pairs:
  """Returns `count` pairs of a task, no two of the same source.

  Args:
    task: a key of `PAIR_TASKS`.
    count: how many.
    seed: of the random numbers.

  Raises:
    InputError: there is no such task, or it has fewer such pairs than that.
  """
  require_one_of('data.task', task, PAIR_TASKS)
  rng = np.random.default_rng(seed)
  found: dict[str, str] = {}
  while len(found) < count:
    before = len(found)
    drawn = PAIR_TASKS[task](rng, count)
    found.update(zip(drawn.sources, drawn.targets, strict=True))
    if len(found) == before:
      raise InputError(
        f'the task {task} has no {count} pairs with different sources, only {before} were found'
      )
  chosen = list(itertools.islice(found.items(), count))
  return Pairs([source for source, _ in chosen], [target for _, target in chosen], 0)


def draw_splits(task: str, counts: Mapping[str, int], seed: int) -> dict[str, Pairs]:
  """Returns split -> that many pairs of a task; no source occurs twice, in one split or two; raises
  as `draw` does."""
  drawn = draw(task, sum(counts.values()), seed)
  ends = list(itertools.accumulate(counts.values()))
  places = zip(counts, [0, *ends], ends, strict=False)
  return {
    split: Pairs(drawn.sources[start:end], drawn.targets[start:end], 0)
    for split, start, end in places
  }
