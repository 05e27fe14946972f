"""Scores of units against slow oracles, and a null that autocorrelated noise does not pass."""

import itertools

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import mannwhitneyu, rankdata, spearmanr
from scipy.stats import t as student

from rnn_research.analysis.measures import unit_scores
from rnn_research.analysis.measures.unit_scores import (
  as_read,
  centred_ranks,
  scorable,
  score,
  significant,
  strengths,
)


def random():
  return np.random.default_rng(0)


def test_ranks_by_counting_are_ranks_with_ties_averaged():
  values = np.round(random().normal(size=(200, 3)) * [1.0, 4.0, 1e4], 1).astype(np.float16)
  values[:5] = [[0.0, -0.0, np.inf]] * 5
  values[5:9] = [[-0.0, 0.0, -65504.0]] * 4
  expected = rankdata(values.astype(np.float64), axis=0) - (200 + 1) / 2
  np.testing.assert_allclose(centred_ranks(values), expected.T)


def test_strength_is_auc_and_spearman():
  values = random().normal(size=(300, 4)).round(1).astype(np.float16)
  binary = (random().random(300) < 0.2).astype(np.float32)
  number = (values[:, 1].astype(np.float32) + random().normal(size=300)).round().astype(np.float32)
  found = score(values, np.stack([binary, number]), [True, False]).strength
  for unit in range(4):
    column = values[:, unit].astype(np.float64)
    positives, negatives = column[binary == 1], column[binary == 0]
    auc = mannwhitneyu(positives, negatives).statistic / (len(positives) * len(negatives))
    assert found[0, unit] == pytest.approx(2 * auc - 1, abs=1e-5)
    assert found[1, unit] == pytest.approx(spearmanr(column, number).statistic, abs=1e-5)
  np.testing.assert_allclose(
    strengths(values, np.stack([binary, number]), [True, False]), found, atol=1e-6
  )


def test_places_without_labels_do_not_count():
  values = random().normal(size=(400, 2)).astype(np.float16)
  labels = (values[:, :1].T > 0.3).astype(np.float32)
  there = random().random(400) < 0.5
  partly = np.where(there, labels, np.nan)
  all_of_it = score(values[there], labels[:, there], [True])
  both = score(values, np.concatenate([partly, labels]), [True, True])
  np.testing.assert_allclose(both.strength[0], all_of_it.strength[0], atol=1e-6)
  np.testing.assert_allclose(both.p[0], all_of_it.p[0], rtol=1e-4)
  assert abs(both.strength[1, 1]) < 0.2 < both.strength[1, 0]


def test_chance_is_that_of_all_permutations_of_blocks(monkeypatch):
  monkeypatch.setattr(unit_scores, 'BLOCK', 8)
  ranks = centred_ranks(random().normal(size=(43, 2)).astype(np.float16))  # 3 are left over
  w = random().random(43).astype(np.float32)
  blocks = lambda a, i: a[..., 8 * i : 8 * i + 8]
  drawn = [
    sum(blocks(ranks, i) @ blocks(w, j) for i, j in enumerate(order))
    for order in itertools.permutations(range(5))
  ]
  z = np.abs(drawn[0] - np.mean(drawn, 0)) / np.std(drawn, 0)
  np.testing.assert_allclose(unit_scores._chance(ranks, w), 2 * student.sf(z, 4), rtol=1e-3)


def test_autocorrelated_noise_is_not_found():
  noise = random().normal(size=(20_000, 201))
  slow = lfilter([1.0], [1.0, -0.98], noise, axis=0)
  values, labels = slow[:, 1:].astype(np.float16), (slow[:, :1].T > 0).astype(np.float32)
  found = score(values, labels, [True])
  # As if symbols were independent, most of these units would be "significant".
  z = found.strength[0] / np.sqrt(4 / 3 / 20_000)
  assert (np.abs(z) > 1.96).mean() > 0.5
  assert 0.01 < (found.p < 0.05).mean() < 0.1
  assert not (significant(found.p) <= 0.05).any()


@pytest.mark.parametrize('length', [10_000, 40_000])
@pytest.mark.parametrize('memory', [0.98, 0.99])
def test_texts_of_any_length_have_few_false_discoveries(length, memory):
  noise = np.random.default_rng(length).normal(size=(length, 100))
  slow = lfilter([1.0], [1.0, -memory], noise, axis=0)
  rows = lfilter([1.0], [1.0, -memory], random().normal(size=(4, length)), axis=1)
  found = score(slow.astype(np.float16), (rows > 0).astype(np.float32), [True] * 4)
  assert (found.p < 0.05).mean() < 0.12
  assert (significant(found.p) <= 0.05).mean() < 0.01


def test_rare_concepts_are_not_tested():
  once = np.zeros(100_000, np.float32)
  once[40_000:40_300] = 1.0
  assert not scorable(once) and not scorable(1 - once)
  often = np.zeros(100_000, np.float32)
  often[np.arange(12) * 8000] = 1.0
  assert scorable(often) and scorable(1 - often)
  assert not scorable(often[:9000])
  often[7] = np.nan  # one place without a label makes no concept rare
  assert scorable(often[:-1]) and scorable(np.tile(often[:20], 500))
  assert not scorable(np.full(100_000, np.nan, np.float32))


def test_a_unit_that_tells_the_concept_is_found_among_noise():
  noise = random().normal(size=(20_000, 201))
  slow = lfilter([1.0], [1.0, -0.98], noise, axis=0)
  values, labels = slow.astype(np.float16), (slow[:, :1].T > 0).astype(np.float32)
  q = significant(score(values, labels, [True]).p)
  assert np.flatnonzero(q[0] <= 0.05).tolist() == [0]


def test_q_values_are_those_of_benjamini_and_hochberg():
  # The 15 p-values of the paper's example, of which it rejects four at 0.05.
  p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262]
  p = np.array([*p, 0.5719, 0.6528, 0.7590, 1.0])
  q = significant(p.reshape(3, 5))
  assert q.shape == (3, 5) and (q <= 0.05).sum() == 4
  assert q[0, 0] == pytest.approx(0.0015) and q[-1, -1] == 1.0
  shuffled = random().permutation(15)
  np.testing.assert_allclose(significant(p[shuffled]), q.ravel()[shuffled])


def test_a_number_that_is_0_or_1_in_this_part_stays_a_number():
  values = random().normal(size=(300, 1)).astype(np.float16)
  number = (values[:, 0] > 1).astype(np.float32)
  found = strengths(values, number[None], [False])[0, 0]
  assert found == pytest.approx(spearmanr(values[:, 0], number).statistic, abs=1e-5)
  assert strengths(values, number[None], [True])[0, 0] == pytest.approx(1, abs=1e-5) != found


def test_a_unit_that_never_moves_scores_nothing():
  labels = np.stack([np.arange(200) % 2, np.arange(200)]).astype(np.float32)
  found = score(np.zeros((200, 1), np.float16), labels, [True, False])
  np.testing.assert_array_equal(found.strength, [[0], [0]])
  np.testing.assert_array_equal(found.p, [[1], [1]])


def test_scores_for_people():
  assert as_read(-0.9, True) == pytest.approx(0.05) and as_read(-0.9, False) == -0.9
