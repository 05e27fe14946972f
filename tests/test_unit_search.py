"""The search: what is found is chosen on one half of a text and scored on the other."""

import numpy as np
import pytest

from rnn_research.analysis.measures.recording import Recording, Unit
from rnn_research.analysis.measures.unit_search import FEWEST, LEVEL, search, varies

LENGTH, UNITS = 2 * FEWEST, 30


def text_and_labels():
  random = np.random.default_rng(0)
  text = ''.join(random.choice(list('ab c.'), LENGTH))
  inside = np.repeat(random.random(LENGTH // 20) < 0.3, 20).astype(np.float32)
  return text, np.stack([inside, np.arange(LENGTH) % 50, random.random(LENGTH) < 0.5]).astype(
    np.float32
  )


@pytest.fixture(scope='module')
def found():
  text, labels = text_and_labels()
  random = np.random.default_rng(1)
  values = random.normal(size=(LENGTH, UNITS))
  values[:, 4] -= 3.0 * labels[0]
  values[:, 9] += labels[1]
  # Of no use on the second half, where it is scored.
  values[: LENGTH // 2, 7] += 2.0 * labels[2, : LENGTH // 2]
  units = tuple(Unit(1, 'h', i) for i in range(UNITS))
  recording = Recording(units, values.astype(np.float16), ({},), *[np.zeros(0)] * 3)
  untrained = random.normal(size=(LENGTH, UNITS)).astype(np.float16)
  names = ['inside', 'place', 'chance']
  return {one.concept: one for one in search(recording, untrained, text, names, labels)}


def test_units_that_tell_a_concept_are_found(found):
  inside, place = found['inside'], found['place']
  assert inside.unit == Unit(1, 'h', 4) and inside.sign == -1 and inside.binary
  assert inside.score > 0.95 and inside.q < 1e-6 and inside.kind == 'AUC'
  assert place.unit == Unit(1, 'h', 9) and place.sign == 1 and not place.binary
  assert place.score > 0.95 and place.kind == '|correlation|'
  assert inside.num_found == place.num_found == 1


def test_what_held_on_the_first_half_alone_is_not_found(found):
  assert found['chance'].unit == Unit(1, 'h', 7)
  assert found['chance'].q > LEVEL and found['chance'].score < 0.55


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
  names = ['inside', 'place', 'chance']
  made = search(recording, recording.values, text, names, labels)
  assert [one.concept for one in made] == names


def test_a_concept_must_vary_in_both_halves():
  there = np.zeros(100, np.float32)
  there[10] = 1.0
  assert not varies(there)
  there[70] = 1.0
  assert varies(there)
  there[50:] = np.nan
  assert not varies(there)


def test_a_rare_concept_has_a_control_task():
  text, _ = text_and_labels()
  rare = np.zeros((1, LENGTH), np.float32)
  rare[0, [5, LENGTH - 5]] = 1.0
  values = np.random.default_rng(1).normal(size=(LENGTH, 3)).astype(np.float16)
  recording = Recording(tuple(Unit(1, 'h', i) for i in range(3)), values, ({},), *[np.zeros(0)] * 3)
  (one,) = search(recording, values, text, ['rare'], rare)
  assert np.isfinite([one.score, one.q, *one.probes, *one.controls]).all()
