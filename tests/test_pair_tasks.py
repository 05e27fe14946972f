"""Synthetic pairs: targets follow from sources, sources are distinct and held-out ones unseen."""

import datetime
import re

import numpy as np
import pytest

from rnn_research.data.pairs import Pairs
from rnn_research.tasks.translation import corpus
from rnn_research.tasks.translation.synthetic import (
  FORMATS,
  MONTHS,
  PAIR_TASKS,
  draw,
  draw_splits,
  write_date,
)

COUNT = 3000


def drawn(task):
  pairs = PAIR_TASKS[task](np.random.default_rng(0), COUNT)
  assert len(pairs.sources) == len(pairs.targets) == COUNT
  return list(zip(pairs.sources, pairs.targets, strict=True))


@pytest.mark.parametrize(
  'task, solve', [('reverse', lambda letters: letters[::-1]), ('sort', sorted)]
)
def test_letters(task, solve):
  pairs = drawn(task)
  for source, target in pairs:
    assert re.fullmatch('[a-z]( [a-z])*', source)
    assert target.split(' ') == solve(source.split(' '))
  assert {len(source.split()) for source, _ in pairs} == set(range(5, 16))
  assert len({letter for source, _ in pairs for letter in source.split()}) == 26


def read(written):
  """Returns the date that a person reads, and the format."""
  name = re.search('|'.join(f'{month[:3]}(?:{month[3:]})?\\b' for month in MONTHS), written)
  numbers = [int(number) for number in re.findall(r'\d+', written)]
  year = max(numbers)
  others = [number for number in numbers if number != year]
  if name:
    assert len(others) == 1
    month = [month[:3] for month in MONTHS].index(name[0][:3]) + 1
    return datetime.date(year, month, others[0])
  assert re.fullmatch(r'\d{4}/\d\d/\d\d', written)
  return datetime.date(year, *numbers[1:])


def test_dates():
  pairs = drawn('dates')
  weekdays = set()
  for source, target in pairs:
    day = read(source)
    assert day.isoformat() == target
    for weekday in re.findall(r'\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*', source):
      assert weekday in (day.strftime('%A'), day.strftime('%a'))
      weekdays.add(weekday)
  assert len(weekdays) == 7 + 7
  assert min(target for _, target in pairs) < '1901' and max(target for _, target in pairs) > '2099'
  assert len(
    {re.sub(r'\d+', '0', re.sub('[A-Z][a-z]+', 'A', source)) for source, _ in pairs}
  ) >= len(FORMATS)


@pytest.mark.parametrize('written, target', [
  ('Saturday, 3 May 2014', '2014-05-03'), ('May 1st, 1900', '1900-05-01'), ('the 22nd of June 2000', '2000-06-22'),
  ('January 13th, 1950', '1950-01-13'), ('Sat 3 May 2014', '2014-05-03'), ('3-Sep-2014', '2014-09-03'),
])  # fmt: skip
def test_known_dates_are_written_as_people_do(written, target):
  assert written in {write_date(datetime.date.fromisoformat(target), form) for form in FORMATS}


@pytest.mark.parametrize(
  'examples, splits, counts',
  [
    (1000, (0.5, 0.25, 0.25), [500, 250, 250]),
    (20_000, (0.9, 0.05, 0.05), [18_000, 1000, 1000]),
    (100, (0.71, 0.29, 0), [71, 29]),
    (270, (0.9, 0.05, 0.05), [244, 13, 13]),
    (3, (0.98, 0.01, 0.01), [1, 1, 1]),
    (3, (1.0, 0.0, 0.0), [3]),
    (10, (0.9, 0.0, 0.1), [9, 1]),
  ],
)
def test_tasks_are_divided_by_their_fractions(examples, splits, counts):
  files = {'valid_source': '', 'test_source': ''}
  data = {'task': 'dates', 'examples': examples, 'splits': splits, **files}
  found = corpus.load_corpus(data)
  assert [len(pairs.sources) for pairs in found.splits.values()] == counts
  assert tuple(found.splits) == ('train', *corpus.held_out_names(data))
  assert found.drawn == ()


def test_fractions_that_leave_no_pairs_are_refused():
  with pytest.raises(ValueError, match=r'^data.examples is 3'):
    corpus.load_corpus({'task': 'dates', 'examples': 3, 'splits': (0.01, 0.98, 0.01)})


@pytest.mark.parametrize('task', PAIR_TASKS)
def test_splits_share_no_source(task):
  counts = {'train': 5000, 'valid': 200, 'test': 300}
  splits = draw_splits(task, counts, 1)
  assert {split: len(pairs.sources) for split, pairs in splits.items()} == counts
  sources, targets = (
    [text for pairs in splits.values() for text in pairs[side]] for side in (0, 1)
  )
  assert len(set(sources)) == len(sources)
  assert draw(task, 5500, 1) == Pairs(sources, targets, 0)
  assert splits == draw_splits(task, counts, 1)
  assert splits != draw_splits(task, counts, 2)


def test_repeated_sources_are_drawn_anew(monkeypatch):
  def few(rng, count):
    letters = [str(number) for number in rng.integers(20, size=count)]
    return PAIR_TASKS['reverse'](rng, count)._replace(sources=letters, targets=letters)

  monkeypatch.setitem(PAIR_TASKS, 'few', few)
  assert sorted(map(int, draw('few', 20, 0).sources)) == list(range(20))
  with pytest.raises(
    ValueError, match=r'^the task few has no 21 pairs with different sources, only 20 were found$'
  ):
    draw('few', 21, 0)


def test_unknown_task_is_refused():
  with pytest.raises(
    ValueError,
    match=r"^data\.task is 'revers', expected one of reverse, sort, dates, did you mean reverse[?]$",
  ):
    draw('revers', 3, 0)
