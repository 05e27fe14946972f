"""What the oracles of cells share: NumPy functions in float64."""

import numpy as np


def sigmoid(a):
  return 1.0 / (1.0 + np.exp(-a))


def norm(a, weights):
  scaled = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)
  return weights.scale * scaled + weights.offset


def product(x, w):
  return norm(x @ w.w, w) if hasattr(w, 'scale') else x @ w
