"""What is true of a text at each of its characters: the concepts that units are scored against."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnn_research.errors import InputError


class AbsentError(InputError):
  """A text does not show a concept: it never holds there, or always, or is the same number
  everywhere."""


class Concept(NamedTuple):
  """A property of a place in a text.

  Attributes:
    name: such as 'inside quotes'.
    about: one line for people.
    label: text of N characters -> [N] bool, or [N] float32 for a number; what is true after reading
      character t, so that a quote begins with its opening mark and no longer holds at its closing
      one. NaN where there is no label; a property that has such places is a float array of 0, 1 and
      NaN.
    ends: regular expression of what ends it in a text, '' where nothing does.
  """

  name: str
  about: str
  label: Callable[[str], np.ndarray]
  ends: str = ''


def labels(concept: Concept, text: str) -> np.ndarray:
  """Returns the labels of a text, [N] float32: 0, 1 or a number, NaN where there is none.

  Raises:
    AbsentError: they are all the same.
    InputError: the concept's function failed, or what it returned is not a label per character.
  """
  found = _array(concept.name, concept.label(text))
  if found.shape != (len(text),):
    raise InputError(
      f'concept {concept.name!r} returned an array of shape {found.shape}, expected '
      f'({len(text)},), a label for each character'
    )
  found = found.astype(np.float32)
  if np.isinf(found).any():
    raise InputError(f'concept {concept.name!r} returned infinite labels, expected numbers or NaN')
  if not occurs(found):
    raise AbsentError(f'concept {concept.name!r} {_constant(found)} in this text')
  return found


def occurs(found: np.ndarray) -> bool:
  """Returns whether labels, [N] float32, have two values or more, NaN aside."""
  known = found[~np.isnan(found)]
  return bool(known.size and known.min() < known.max())


def is_binary(found: np.ndarray) -> bool:
  """Returns whether all labels, [N] float32, are 0 or 1, NaN aside."""
  return bool(np.isin(found[~np.isnan(found)], (0, 1)).all())


def _array(name: str, result: Any) -> np.ndarray:
  """Returns what a concept's function returned as an array of truth values or numbers."""
  try:
    found = np.asarray(result)
  except ValueError:  # a ragged list
    found = np.asarray(None)
  if found.dtype.kind not in 'biuf':
    raise InputError(
      f'concept {name!r} returned {type(result).__name__} of {found.dtype}, expected an array of '
      'bool or float32'
    )
  return found


def _constant(found: np.ndarray) -> str:
  """Returns what is wrong with labels that are all the same."""
  known = found[~np.isnan(found)]
  if not known.size:
    return 'has no label'
  if is_binary(found):
    return 'always holds' if known[0] else 'never occurs'
  return f'is {known[0]:g} everywhere'
