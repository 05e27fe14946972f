"""Sizes that give models of different kinds the same number of parameters."""

from collections.abc import Callable

import jax

from rnn_research.errors import InputError
from rnn_research.typing import PyTree


def count(tree: PyTree) -> int:
  """Returns how many numbers the arrays, or shapes, of a tree hold."""
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def largest_size(num_params: Callable[[int], int], budget: int) -> int:
  """Returns the largest size >= 1 whose model has at most `budget` parameters.

  Args:
    num_params: size -> parameters, rising with the size.
    budget: the most that are allowed.

  Raises:
    InputError: the smallest model has more.
  """
  if num_params(1) > budget:
    raise InputError(f'model.num_params is {budget}, expected at least {num_params(1)}, the parameters of one unit')
  high = 2
  while num_params(high) <= budget:
    high *= 2
  low = high // 2  # fits, while high does not
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if num_params(middle) <= budget else (low, middle)
  return low
