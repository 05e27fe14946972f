"""Two classes told apart by linear maps: by all numbers of an example, and by a single one."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# From nearly no weights to nearly no penalty, for thousands of examples with unit variance.
STRENGTHS = tuple(10.0 ** (-i / 2) for i in range(7))


class Logistic(NamedTuple):
  """p(1 | x) = sigmoid(w x + b).

  Attributes:
    weights: [D] float64, w.
    bias: b.
  """

  weights: np.ndarray
  bias: float


class Threshold(NamedTuple):
  """The class 1 lies above a number, or below it.

  Attributes:
    value: the number.
    sign: 1 where class 1 lies above, -1 where it lies below.
    accuracy: share of the examples it was chosen by that lie on the right side.
  """

  value: float
  sign: int
  accuracy: float


def fit(xs: Any, labels: np.ndarray, strength: float, start: Logistic | None = None) -> Logistic:
  """Fits a logistic regression with an L2 penalty by L-BFGS.

    minimise over w, b:   1/N sum_n log(1 + exp(-s_n (w x_n + b))) + strength / 2 |w|^2,
    s_n = 1 of class 1, -1 of class 0

  Args:
    xs: [N, D] float64 or a sparse array of scipy; columns of like scale, see `standardised`, and
      `rotated` where they are correlated.
    labels: [N] 0 or 1.
    strength: of the penalty; the bias has none.
    start: where the search begins, such as the fit of a neighbouring strength; default zero.
  """
  from scipy.optimize import minimize  # slow to load

  signs = np.where(labels, 1.0, -1.0)
  start = start or Logistic(np.zeros(xs.shape[1]), 0.0)
  # Weights in units in which the curvature at zero is about 1: far fewer steps.
  scales = np.sqrt((xs * xs).mean(0) / 4 + strength)

  def objective(theta):
    weights, bias = theta[:-1] / scales, theta[-1]
    margins = signs * (xs @ weights + bias)
    slopes = -signs * np.exp(-np.logaddexp(0.0, margins)) / len(signs)
    loss = np.logaddexp(0.0, -margins).mean() + 0.5 * strength * weights @ weights
    return loss, np.append((xs.T @ slopes + strength * weights) / scales, slopes.sum())

  found = minimize(
    objective,
    np.append(start.weights * scales, start.bias),
    jac=True,
    method='L-BFGS-B',
    options={'maxiter': 1000, 'ftol': 1e-7, 'gtol': 1e-5},
  )
  return Logistic(found.x[:-1] / scales, float(found.x[-1]))


def accuracy(model: Logistic, xs: Any, labels: np.ndarray) -> float:
  """Returns the share of N examples whose more probable class is theirs; see `fit`."""
  return float(np.mean((xs @ model.weights + model.bias > 0.0) == labels))


def choose(
  xs: Any,
  labels: np.ndarray,
  held_out: tuple[Any, np.ndarray],
  strengths: Sequence[float] = STRENGTHS,
) -> tuple[Logistic, float]:
  """Fits with penalties of several strengths; returns the fit that has the highest accuracy on
  held-out examples, of equals the one of the strongest penalty, and its strength.

  Args:
    xs: see `fit`, as for `labels`.
    held_out: (xs, labels) of other examples.
    strengths: falling, so that each fit is a good start of the next.
  """
  best, model = (-1.0, Logistic(np.zeros(0), 0.0), 0.0), None
  for strength in strengths:
    model = fit(xs, labels, strength, model)
    best = max(best, (accuracy(model, *held_out), model, strength), key=lambda found: found[0])
  return best[1:]


def standardised(first: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
  """Returns arrays [N, D] as float64 with the columns of the first at mean 0 and variance 1; a
  column that is constant there is 0 in all."""
  mean, scale = first.mean(0, dtype=np.float64), first.std(0, dtype=np.float64)
  varies = scale > 1e-12 * np.maximum(1.0, np.abs(mean))
  factors = np.where(varies, 1.0 / np.where(varies, scale, 1.0), 0.0)
  return [(xs - mean) * factors for xs in (first, *others)]


def rotated(first: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
  """Returns arrays [N, D] along the principal axes of the first, whose columns have mean 0.

  A rotation changes neither the penalty of `fit` nor what it predicts, but how long it takes.
  """
  axes = np.linalg.eigh(first.T @ first)[1]
  return [xs @ axes for xs in (first, *others)]


def best_threshold(values: np.ndarray, labels: np.ndarray) -> Threshold:
  """Returns the threshold and the side of it that are right of the most examples.

  The value lies half-way between two neighbours; where nothing beats the more frequent class it is
  infinite.

  Args:
    values: [N] float, one number of each example.
    labels: [N] 0 or 1.
  """
  values = np.asarray(values, np.float64)
  order = np.argsort(values, kind='stable')
  values, labels = values[order], np.asarray(labels)[order]
  # Right if class 1 lies above a cut after the first k: zeros below it and ones above it.
  right = np.concatenate([[0], np.cumsum(1 - 2 * labels)]) + labels.sum()
  cuts = np.concatenate([[-np.inf], (values[:-1] + values[1:]) / 2, [np.inf]])
  allowed = np.concatenate([[True], values[:-1] < values[1:], [True]])
  cuts, right = cuts[allowed], right[allowed]
  above, below = right.argmax(), right.argmin()
  if right[above] >= len(labels) - right[below]:
    return Threshold(float(cuts[above]), 1, float(right[above] / len(labels)))
  return Threshold(float(cuts[below]), -1, float(1 - right[below] / len(labels)))


def threshold_accuracy(threshold: Threshold, values: np.ndarray, labels: np.ndarray) -> float:
  """Returns the share of N examples on the right side; see `best_threshold`."""
  # -inf lies below every value and inf above it, whatever the sign.
  above = np.asarray(values, np.float64) > threshold.value
  return float(np.mean((above if threshold.sign > 0 else ~above) == labels))
