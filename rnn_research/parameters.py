"""Parameters: their names, sizes that give models of different kinds the same number, and what
another library can take."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from rnn_research.errors import InputError
from rnn_research.typing import PyTree


def num_parameters(tree: PyTree) -> int:
  """Returns how many numbers the arrays, or shapes, of a tree hold."""
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def name_of(path: tuple) -> str:
  """Returns the path of a parameter in its tree as text: 'encoder/summary/w'."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def below(name: str, paths: Iterable[str]) -> str:
  """Returns which of some paths a parameter lies below, 'a/b' for 'a/b/w'; '' where none."""
  return next((path for path in paths if name.startswith(f'{path}/')), '')


def fit_budget(make: Callable[[int], Any], hidden_size: int, num_params: int) -> Any:
  """Returns `make(hidden_size)`, or the largest model that has at most `num_params` parameters if
  that is positive.

  Args:
    make: hidden size -> model, which has a function `init(key)`.
    hidden_size: H.
    num_params: a budget, or 0.

  Raises:
    InputError: a model of one unit is above the budget.
  """
  if not num_params:
    return make(hidden_size)
  size = functools.cache(
    lambda units: num_parameters(jax.eval_shape(make(units).init, jax.random.key(0)))
  )
  if size(1) > num_params:
    raise InputError(
      f'model.num_params is {num_params}, expected at least {size(1)}, the parameters of a model '
      'of one unit'
    )
  return make(largest(size, num_params))


def largest(size: Callable[[int], float], most: float) -> int:
  """Returns the largest integer n from 1 on for which `size(n) <= most`.

  It asks for few sizes, five where they are a n^2 + b n + c: it starts where the parabola through
  three of them meets `most`, and takes strides that double until the answer lies between two.

  Args:
    size: does not fall, grows beyond `most`, and `size(1) <= most`.
    most: a budget.
  """
  size = functools.cache(size)
  low = _crossing(size, most)
  high, stride = low + 1, 1
  while size(low) > most:
    low, high, stride = max(1, low - stride), low, 2 * stride
  while size(high) <= most:
    low, high, stride = high, high + stride, 2 * stride
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if size(middle) <= most else (low, middle)
  return low


def _crossing(size, most):
  """Returns about where the parabola through three sizes meets `most`, an integer >= 1."""
  points = 1, 64, 128  # far apart: where sizes are rounded, small ones say little of large ones
  a, b, c = np.polyfit(points, [size(n) for n in points], 2)
  # The root in a form that is the line's where a is 0.
  root = b + np.sqrt(max(0.0, b * b + 4 * a * (most - c)))
  return max(1, int(2 * (most - c) / root + 1e-6)) if root > 0 else 1


def require_plain(params: PyTree, kinds: tuple[type[Any], ...], library: str) -> None:
  """Raises InputError unless these are parameters of one of the kinds, without what other libraries
  lack: a reset before the recurrent product, weights that a combinator wraps."""
  if not isinstance(params, kinds):
    names = ' or '.join(kind.__name__ for kind in kinds)
    raise InputError(f'{library} has no cell for {type(params).__name__}, expected {names}')
  if getattr(params, 'w_hn', None) is not None:
    raise InputError(
      f"{library} resets after the recurrent product; these are weights of gru(reset='before')"
    )
  for name, value in zip(params._fields, params, strict=True):
    if isinstance(value, tuple):
      raise InputError(
        f'{name} is wrapped in {type(value).__name__}, which a cell of {library} cannot be'
      )
