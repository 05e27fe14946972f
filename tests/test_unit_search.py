"""The search: what is found is chosen on one half of a text and scored on the other."""

import numpy as np
import pytest

from rnn_research.analysis.measures.recording import Recording, Unit
from rnn_research.analysis.measures.unit_search import FEWEST, LEVEL, parts_of, search, searchable

LENGTH, UNITS = 2 * FEWEST, 30


def text_and_labels():
  random = np.random.default_rng(0)
  text = ''.join(random.choice(list('ab c.'), LENGTH))
  inside = np.repeat(random.random(LENGTH // 20) < 0.3, 20).astype(np.float32)
  return text, np.stack(
    [inside, np.arange(LENGTH) % 53, *(random.random((2, LENGTH)) < 0.5)]
  ).astype(np.float32)


@pytest.fixture(scope='module')
def found():
  text, labels = text_and_labels()
  random = np.random.default_rng(1)
  values = random.normal(size=(LENGTH, UNITS))
  values[:, 4] -= 3.0 * labels[0]
  values[:, 9] += labels[1]
  # Of no use where it is scored; and the opposite there.
  first, second = parts_of(LENGTH)
  values[first, 7] += 2.0 * labels[2, first]
  values[first, 8] += 1.0 * labels[3, first]
  values[second, 8] -= 1.0 * labels[3, second]
  units = tuple(Unit(1, 'h', i) for i in range(UNITS))
  recording = Recording(units, values.astype(np.float16), ({},), *[np.zeros(0)] * 3)
  untrained = random.normal(size=(LENGTH, UNITS)).astype(np.float16)
  names = ['inside', 'place', 'chance', 'turned']
  return {one.concept: one for one in search(recording, untrained, text, names, labels)}


def test_units_that_tell_a_concept_are_found(found):
  inside, place = found['inside'], found['place']
  assert inside.unit == Unit(1, 'h', 4) and inside.sign == -1 and inside.binary
  assert inside.score > 0.95 and inside.q < 1e-6 and inside.kind == 'AUC'
  assert place.unit == Unit(1, 'h', 9) and place.sign == 1 and not place.binary
  assert place.score > 0.95 and place.kind == 'r'
  assert inside.num_found == place.num_found == 1


def test_what_held_on_the_first_half_alone_is_not_found(found):
  assert found['chance'].unit == Unit(1, 'h', 7)
  assert found['chance'].q > LEVEL and found['chance'].score < 0.55


def test_a_unit_that_turns_round_is_worse_than_chance(found):
  assert found['turned'].unit == Unit(1, 'h', 8) and found['turned'].sign == 1
  assert found['turned'].score < 0.3 and not found['turned'].is_real
  assert found['inside'].is_real and not found['chance'].is_real


def test_an_untrained_network_and_control_tasks_know_nothing(found):
  inside = found['inside']
  assert inside.untrained < 0.6
  assert max(inside.controls) < 0.6 and min(inside.selectivity) > 0.3
  assert inside.selectivity[-1] == inside.probes[-1] - inside.controls[-1]


def test_the_best_concept_comes_first():
  text, labels = text_and_labels()
  values = np.random.default_rng(1).normal(size=(LENGTH, 3))
  values[:, 0] += 5.0 * labels[0]
  values[:, 1] += 0.02 * labels[1]
  recording = Recording(
    tuple(Unit(1, 'h', i) for i in range(3)), values.astype(np.float16), ({},), *[np.zeros(0)] * 3
  )
  names = ['inside', 'place', 'chance', 'other']
  noise = np.random.default_rng(2).normal(size=(LENGTH, 3)).astype(np.float16)
  made = search(recording, noise, text, names, labels)
  assert [one.concept for one in made][:2] == names[:2]


def test_both_parts_have_stretches_of_the_whole_text():
  first, second = parts_of(200)
  assert np.flatnonzero(first)[[0, 9, 10, -1]].tolist() == [0, 9, 20, 189]
  assert np.array_equal(first, ~second)


def test_a_concept_must_be_there_in_both_parts():
  labels = (np.arange(2 * FEWEST) % 100 == 0).astype(np.float32)
  assert searchable(labels)
  first, _ = parts_of(len(labels))
  assert not searchable(np.where(first, labels, 0.0).astype(np.float32))
  assert not searchable(np.where(first, labels, np.nan).astype(np.float32))


def test_a_text_of_one_symbol_after_another_has_an_end():
  text = 'x' * FEWEST
  labels = (np.arange(FEWEST) % 50).astype(np.float32)[None]
  values = np.random.default_rng(1).normal(size=(FEWEST, 3)).astype(np.float16)
  units = tuple(Unit(1, 'h', i) for i in range(3))
  recording = Recording(units, values, ({},), *[np.zeros(0)] * 3)
  (one,) = search(recording, values, text, ['place'], labels)
  assert np.isfinite([one.score, one.q, *one.probes, *one.controls]).all()
