"""Concepts of the user's own: the functions of a Python file."""

import functools
import inspect
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rnn_research.analysis.concepts.concept import Concept
from rnn_research.data.files import expand
from rnn_research.errors import InputError, require_one_of

# The name of the module that such a file makes.
_MODULE = 'concepts_of_the_user'


def load_concepts(path: str | Path) -> tuple[Concept, ...]:
  """Returns the concepts of a Python file, one for each of its public functions of one argument.

  A function takes a text of N characters and returns [N] labels. Its name, with spaces for
  underscores, is the concept's, and the first line of its docstring says what it is. A dictionary
  `ENDS` of function names may hold regular expressions of what ends the concept.

  Raises:
    InputError: there is no such file, it cannot be run, or it has no such function.
  """
  path = str(expand(path))
  module = _run(path)
  functions = {name: value for name, value in module.items() if _is_concept(name, value)}
  if not functions:
    raise InputError(
      f'--concepts: {path} has no concept, expected a function of one argument, the text, whose '
      'name does not begin with an underscore'
    )
  ends = _ends(path, module.get('ENDS', {}), functions)
  return tuple(
    Concept(
      name.replace('_', ' '),
      (inspect.getdoc(function) or '').partition('\n')[0],
      functools.partial(_call, path, name, function),
      ends.get(name, ''),
    )
    for name, function in functions.items()
  )


def _run(path: str) -> dict[str, Any]:
  """Returns the names that a Python file defines."""
  if not Path(path).is_file():
    raise InputError(f'--concepts: {path} is not a file, expected one of Python functions')
  module: dict[str, Any] = {'__name__': _MODULE, '__file__': path}
  try:
    exec(compile(Path(path).read_bytes(), path, 'exec'), module)
  except (Exception, SystemExit) as error:
    raise InputError(f'--concepts: {_place(path, error)}: {_said(error)}') from error
  return module


def _is_concept(name: str, value: Any) -> bool:
  if name.startswith('_') or inspect.isclass(value) or not callable(value):
    return False
  if getattr(value, '__module__', '') != _MODULE:  # imported there
    return False
  try:
    inspect.signature(value).bind('')
  except TypeError:
    return False
  return True


def _ends(path: str, ends: dict[str, str], functions: dict[str, Callable]) -> dict[str, str]:
  """Returns the regular expressions of `ENDS`, checked."""
  if not isinstance(ends, dict):
    raise InputError(f'--concepts: ENDS of {path} is {ends!r}, expected a dictionary')
  for name, pattern in ends.items():
    require_one_of(f'--concepts: a name in ENDS of {path}', name, functions)
    try:
      empty = re.fullmatch(pattern, '')
    except (re.error, TypeError) as error:
      raise InputError(
        f'--concepts: ENDS[{name!r}] of {path} is {pattern!r}, expected a regular expression '
        f'({error})'
      ) from error
    if empty:
      raise InputError(
        f'--concepts: ENDS[{name!r}] of {path} is {pattern!r}, expected one that matches a symbol'
      )
  return ends


def _call(path: str, name: str, function: Callable[[str], np.ndarray], text: str) -> np.ndarray:
  """Returns what a function of the file returns; its mistakes are the user's."""
  try:
    return function(text)
  except (Exception, SystemExit) as error:
    said = f'failed at {_place(path, error)}: {_said(error)}'
    raise InputError(f'concept {name.replace("_", " ")!r} {said}') from error


def _place(path: str, error: BaseException) -> str:
  """Returns the file with the line of it that an exception comes from."""
  if isinstance(error, SyntaxError) and error.filename == path:
    return f'{path}, line {error.lineno}'
  lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == path]
  return f'{path}, line {lines[-1]}' if lines else path


def _said(error: BaseException) -> str:
  """Returns an exception as part of one sentence."""
  message = error.msg if isinstance(error, SyntaxError) else str(error)
  return f'{type(error).__name__}: {" ".join(message.split())}'.removesuffix(': ')
