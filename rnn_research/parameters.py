"""Parameters: their names, sizes that give models of different kinds the same number, and what
another library can take."""

from collections.abc import Callable, Iterable
from typing import Any

import jax

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
  size = lambda hidden_size: num_parameters(
    jax.eval_shape(make(hidden_size).init, jax.random.key(0))
  )
  if size(1) > num_params:
    raise InputError(
      f'model.num_params is {num_params}, expected at least {size(1)}, the parameters of a model '
      'of one unit'
    )
  return make(largest(lambda hidden_size: size(hidden_size) <= num_params))


def largest(fits: Callable[[int], bool]) -> int:
  """Returns the largest integer from 1 on that fits, where all smaller ones do; 1 always does."""
  low, high = 1, 2
  while fits(high):
    low, high = high, 2 * high
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if fits(middle) else (low, middle)
  return low


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
