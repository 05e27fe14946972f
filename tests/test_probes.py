"""Linear probes, and the control task that only memory solves."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from rnn_research.analysis.measures.probes import (
  RIDGE,
  control_task,
  probe_scores,
  token_beginnings,
)
from rnn_research.analysis.measures.unit_scores import strengths


def made(length=4000):
  """Returns units of which 0 .. 3 tell a number together and a class each a little."""
  random = np.random.default_rng(0)
  values = random.normal(size=(length, 20)).astype(np.float16)
  total = values[:, :4].astype(np.float32).sum(1)
  labels = np.stack([total > 0.5, total + 0.1 * random.normal(size=length)]).astype(np.float32)
  return values, labels


def scores_of(found, held_out):
  return probe_scores(found, strengths(*found, [True, False]), held_out, [True, False])


def oracle(x, y, held_x, units):
  mean, scale = x.mean(0), x.std(0)
  a = ((x - mean) / scale)[:, units]
  w = np.linalg.solve(a.T @ a / len(a) + RIDGE * np.eye(len(units)), a.T @ (y - y.mean()) / len(a))
  return ((held_x - mean) / scale)[:, units] @ w


def test_probes_are_ridge_regressions_of_the_best_units():
  values, labels = made()
  first, second = slice(2000), slice(2000, None)
  found = scores_of((values[first], labels[:, first]), (values[second], labels[:, second]))
  assert found.shape == (2, 4)
  x, held = values[first].astype(np.float64), values[second].astype(np.float64)
  for units, score in (([0, 1, 2, 3], found[1, 1]), (list(range(20)), found[1, 3])):
    told = oracle(x, labels[1, first], held, units)
    assert score == pytest.approx(spearmanr(told, labels[1, second]).statistic, abs=2e-3)
  assert found[1, 0] < 0.7 < 0.98 < found[1, 1]  # one of four, and all four
  assert found[0, 0] < 0.8 < 0.95 < found[0, 1]


def test_noise_is_told_by_no_probe():
  values, labels = made()
  labels = np.random.default_rng(1).permuted(labels, axis=1)
  found = scores_of((values[:2000], labels[:, :2000]), (values[2000:], labels[:, 2000:]))
  assert np.abs(found[0] - 0.5).max() < 0.06 and np.abs(found[1]).max() < 0.1


def test_control_labels_follow_from_the_word_so_far():
  text = 'to be or  not to be,\n  to bet ' * 40
  labels = (np.arange(len(text)) % 3 == 0).astype(np.float32)
  labels[7] = np.nan
  control = control_task(token_beginnings(text), labels, 0)
  assert control.shape == labels.shape and np.isnan(control[7])
  assert set(control[np.isfinite(control)]) <= {0.0, 1.0}
  of_prefix = {}
  start = 0
  for i in range(len(text)):
    pair = text[i - 1 : i + 1]
    start = start if i and (pair.isalpha() or pair.isspace()) else i
    if i != 7:
      assert of_prefix.setdefault(text[start : i + 1], control[i]) == control[i]
  assert len(of_prefix) == 16 and len(set(of_prefix.values())) == 2


def test_control_labels_have_the_distribution_of_the_concept():
  text = ''.join(map(str, range(20_000)))  # one word, so that no beginning comes twice
  labels = (np.random.default_rng(0).random(len(text)) < 0.1).astype(np.float32)
  assert control_task(token_beginnings(text), labels, 0).mean() == pytest.approx(0.1, abs=0.01)
  assert not np.array_equal(
    control_task(token_beginnings(text), labels, 0), control_task(token_beginnings(text), labels, 1)
  )
