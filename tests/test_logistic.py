"""Linear maps that tell two classes apart: against gradients, Newton's method and every threshold there is."""

import numpy as np
import pytest
from scipy import sparse

from rnn_research.analysis.measures import logistic


def examples(seed=0, count=60, size=5):
  rng = np.random.default_rng(seed)
  xs = rng.normal(size=(count, size))
  labels = (xs @ rng.normal(size=size) + 0.3 + rng.normal(size=count) > 0).astype(int)
  return xs, labels


def newton(xs, labels, strength):
  """Returns (w, b) of the penalised logistic regression, by Newton's method on whole matrices."""
  ones = np.hstack([xs, np.ones((len(xs), 1))])
  penalty, theta = strength * np.diag([1.0] * xs.shape[1] + [0.0]), np.zeros(xs.shape[1] + 1)
  for _ in range(30):
    p = 1 / (1 + np.exp(-ones @ theta))
    gradient = ones.T @ (p - labels) / len(xs) + penalty @ theta
    theta -= np.linalg.solve((ones.T * (p * (1 - p))) @ ones / len(xs) + penalty, gradient)
  return theta[:-1], theta[-1]


@pytest.mark.parametrize('strength', [1.0, 0.01])
@pytest.mark.parametrize('wrap', [np.asarray, sparse.csr_array])
def test_a_fit_is_the_optimum(strength, wrap):
  xs, labels = examples()
  found = logistic.fit(wrap(xs), labels, strength)
  weights, bias = newton(xs, labels, strength)
  np.testing.assert_allclose(found.weights, weights, atol=3e-4)
  assert found.bias == pytest.approx(bias, abs=3e-4)
  again = logistic.fit(xs, labels, strength, found)
  np.testing.assert_allclose(again.weights, weights, atol=3e-4)


def test_a_fit_of_far_examples_stays_finite():
  found = logistic.fit(np.array([[-1e4], [1e4]]), np.array([0, 1]), 1e-4)
  assert np.isfinite(found.weights).all() and found.weights[0] > 0


def test_accuracy_counts():
  model = logistic.Logistic(np.array([2.0]), -1.0)
  xs = np.array([[0.0], [0.4], [0.6], [1.0]])
  assert logistic.accuracy(model, xs, np.array([0, 1, 1, 1])) == 0.75


def test_the_strength_is_chosen_on_what_is_held_out():
  # Few examples of many numbers, one of which counts: a weak penalty learns the noise.
  rng = np.random.default_rng(1)
  xs, held_out = rng.normal(size=(40, 30)), rng.normal(size=(2000, 30))
  labels, truth = (xs[:, 0] > 0).astype(int), (held_out[:, 0] > 0).astype(int)
  accuracies = {
    strength: np.mean((held_out @ w + b > 0) == truth)
    for strength in logistic.STRENGTHS
    for w, b in [newton(xs, labels, strength)]
  }
  model, strength = logistic.choose(xs, labels, (held_out, truth))
  assert accuracies[strength] >= max(accuracies.values()) - 0.003
  assert logistic.accuracy(model, held_out, truth) == pytest.approx(accuracies[strength], abs=2e-3)
  swapped, _ = logistic.choose(xs, labels, (held_out, 1 - truth))
  assert logistic.accuracy(swapped, held_out, truth) < accuracies[strength]


def test_of_equally_good_strengths_the_strongest_is_taken():
  xs = np.array([[-1.0], [1.0]])
  assert logistic.choose(xs, np.array([0, 1]), (xs, np.array([0, 1])))[1] == logistic.STRENGTHS[0]


def test_columns_get_mean_0_and_variance_1_of_the_first_array():
  rng = np.random.default_rng(0)
  first = rng.normal([5, -2, 0], [3, 0.1, 1], (50, 3)).astype(np.float32)
  first[:, 2] = 0.7
  other = np.array([[5.0, -2.0, 9.0]], np.float32)
  one, two = logistic.standardised(first, other)
  np.testing.assert_allclose(one[:, :2].mean(0), 0, atol=1e-12)
  np.testing.assert_allclose(one[:, :2].std(0), 1)
  assert not one[:, 2].any() and two[0, 2] == 0
  np.testing.assert_allclose(
    two[0, :2], (other[0, :2] - first[:, :2].mean(0, float)) / first[:, :2].std(0, dtype=float)
  )


def test_a_rotation_leaves_a_fit_what_it_is():
  xs, labels = examples(2)
  xs = logistic.standardised(xs @ np.random.default_rng(3).normal(size=(5, 5)))[0]
  (turned,) = logistic.rotated(xs)
  products = turned.T @ turned
  np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-9)
  weights, bias = newton(xs, labels, 0.01)
  found = logistic.fit(turned, labels, 0.01)
  np.testing.assert_allclose(turned @ found.weights + found.bias, xs @ weights + bias, atol=2e-3)


def best_of_all(values, labels):
  """Returns the highest accuracy of any threshold and side, by trying all."""
  cuts = [-np.inf, *(np.unique(values) + 1e-9), np.inf]
  return max(np.mean(((sign * (values - cut)) > 0) == labels) for cut in cuts for sign in (1, -1))


@pytest.mark.parametrize('seed', range(8))
def test_the_best_threshold_is_the_best_of_all(seed):
  rng = np.random.default_rng(seed)
  values = rng.integers(0, 6, 25).astype(np.float32)  # many are equal
  labels = rng.integers(0, 2, 25)
  found = logistic.best_threshold(values, labels)
  assert found.accuracy == pytest.approx(best_of_all(values, labels))
  assert logistic.threshold_accuracy(found, values, labels) == pytest.approx(found.accuracy)
  turned = logistic.best_threshold(-values, labels)
  assert turned.accuracy == pytest.approx(found.accuracy)


def test_a_threshold_knows_its_side():
  values, labels = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 1, 0, 0])
  assert logistic.best_threshold(values, labels) == (2.5, -1, 1.0)
  assert logistic.best_threshold(values, 1 - labels) == (2.5, 1, 1.0)
  constant = logistic.best_threshold(np.zeros(4), np.array([1, 1, 1, 0]))
  assert constant.accuracy == 0.75
  assert logistic.threshold_accuracy(constant, np.zeros(2), np.array([1, 1])) == 1.0
