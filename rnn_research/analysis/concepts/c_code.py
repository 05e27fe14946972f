"""Concepts of C, C++, Java and their like, by a small lexer that reads any text."""

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rnn_research.analysis.concepts.concept import Concept
from rnn_research.analysis.concepts.spans import held, painted

# Whatever begins an alternative, all of it matches, closed or not: no character is read twice.
_TOKEN = re.compile(
  r"""
    //(?P<line>(?:\\(?:\r\n|.|\Z)|[^\\\r\n])*)
  | /\*(?P<block>.*?)(?:\*/|\Z)
  | \b(?:u8|[uUL])?R"(?P<tag>[^()\\\s"]{0,16})\((?P<raw>.*?)(?:\)(?P=tag)"|\Z)
  | "(?P<string>(?:\\(?:\r\n|.|\Z)|[^"\\\r\n])*)"?
  | '(?P<character>(?:\\(?:\r\n|.|\Z)|[^'\\\r\n])*)'?
  | ^[ \t]*(?P<directive>\#[ \t]*[a-z]*)
  | \\(?:\r\n|[\r\n])
  | (?P<newline>[\r\n])
  | \d(?:[\w.]|'(?=\w))*
  | (?P<word>\w+)
  | (?P<bracket>[()\[\]{}])
  | \S
  """,
  re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_COMMENTS = ('line', 'block')
_STRINGS = ('string', 'character', 'raw')
_OPENING, _CLOSING = '([{', ')]}'
_INDENTATION = re.compile(r'^[ \t]*(?=\S)', re.MULTILINE)


class _Open(NamedTuple):
  """The innermost open bracket.

  Attributes:
    bracket: its character, '' where none is open.
    counts: how many of ( [ { are open.
    conditions: how many of them open a condition of an `if`.
    outer: the bracket around it.
  """

  bracket: str
  counts: tuple[int, ...]
  conditions: int
  outer: '_Open | None'


class CText(NamedTuple):
  """What a text of N characters is as C code; see `C`.

  Attributes:
    comment: [N] bool, as the next two.
    string: inside a string or a character constant.
    directive: inside a line of the preprocessor.
    brackets: [N] float32, how many are open; those of the preprocessor aside, as in what follows.
    braces: [N] float32, how many of them are braces.
    condition: [N] bool, inside the parentheses of an `if`.
  """

  comment: np.ndarray
  string: np.ndarray
  directive: np.ndarray
  brackets: np.ndarray
  braces: np.ndarray
  condition: np.ndarray


@functools.lru_cache(maxsize=2)
def read_c(text: str) -> CText:
  """Returns what a text is as C code.

  A closing bracket also closes those inside of its own; one without an opening bracket is ignored.
  At `#else` and `#elif` the brackets are those at `#if`, at `#endif` those of the last branch.
  """
  size = len(text)
  comments, strings, directives = _spans(text)
  places, states = _brackets(text)
  conditions = held(size, places, [state.conditions for state in states])
  return CText(
    painted(size, comments),
    painted(size, strings),
    painted(size, directives),
    held(size, places, [sum(state.counts) for state in states]),
    held(size, places, [state.counts[2] for state in states]),
    conditions > 0,
  )


def _spans(text: str) -> tuple[list[tuple[int, int]], ...]:
  """Returns where comments, strings and lines of the preprocessor are."""
  comments, strings, directives = [], [], []
  directive = -1
  for found in _TOKEN.finditer(text):
    kind = found.lastgroup or ''
    # The last character of what closes it, if that is there, is outside.
    end = found.end() - (kind in (*_COMMENTS, *_STRINGS) and found.end(kind) < found.end())
    if kind in _COMMENTS:
      comments.append((found.start() + 1, end))
    elif kind in _STRINGS:
      strings.append((found.start('tag' if kind == 'raw' else kind) - 1, end))
    elif kind == 'directive':
      directive = found.start(kind)
    elif kind == 'newline' and directive >= 0:
      directives.append((directive, found.start()))
      directive = -1
  if directive >= 0:
    directives.append((directive, len(text)))
  return comments, strings, directives


def _brackets(text: str) -> tuple[list[int], list[_Open]]:
  """Returns where the open brackets change, and which is the innermost from there on."""
  places, states = [], [_Open('', (0, 0, 0), 0, None)]
  branches: list[_Open] = []  # as they were at each `#if` around
  in_directive = after_if = False
  for found in _TOKEN.finditer(text):
    kind, state = found.lastgroup, states[-1]
    if kind == 'directive':
      in_directive = True
      state = _branch(found[kind].strip('# \t'), state, branches)
    elif kind == 'newline':
      in_directive = False
    elif kind == 'bracket' and not in_directive:
      state = _step(state, found[kind], after_if)
    if state is not states[-1]:
      places.append(found.start(kind or 0))
      states.append(state)
    if not in_directive and kind not in (*_COMMENTS, 'newline'):
      word = found['word']
      after_if = word == 'if' or (after_if and word == 'constexpr')
  return places, states[1:]


def _branch(directive: str, state: _Open, branches: list[_Open]) -> _Open:
  """Returns the innermost bracket after a line such as `#else`; keeps those at each `#if`."""
  if directive.startswith('if'):
    branches.append(state)
  elif directive.startswith('el') and branches:
    return branches[-1]
  elif directive == 'endif' and branches:
    branches.pop()
  return state


def _step(state: _Open, bracket: str, after_if: bool) -> _Open:
  """Returns the innermost bracket after one more."""
  if bracket in _OPENING:
    counts = tuple(
      count + (bracket == other) for count, other in zip(state.counts, _OPENING, strict=True)
    )
    return _Open(bracket, counts, state.conditions + (after_if and bracket == '('), state)
  kind = _CLOSING.index(bracket)
  if not state.counts[kind]:
    return state
  while state.outer and state.bracket != _OPENING[kind]:
    state = state.outer
  return state.outer or state


def indentation(text: str) -> np.ndarray:
  """Returns the columns of blanks before the line's first other character, from that on, [N]
  float32; tabs reach to multiples of 8."""
  lines = list(_INDENTATION.finditer(text))
  columns = [len(line.group().expandtabs(8)) for line in lines]
  return held(len(text), [line.end() for line in lines], columns)


def _part(part: Callable[[CText], np.ndarray]) -> Callable[[str], np.ndarray]:
  """Returns the labels of a part of `read_c`."""
  return lambda text: part(read_c(text))


C = (
  Concept(
    'inside a comment or string',
    'after // or /*, or between the quotes of a string or character',
    _part(lambda read: read.comment | read.string),
    r'["\'\n]|\*/',
  ),
  Concept('inside a comment', 'after // or /*', _part(lambda read: read.comment), r'\n|\*/'),
  Concept(
    'inside a string',
    'between the quotes of a string or character',
    _part(lambda read: read.string),
    '["\']',
  ),
  Concept(
    'inside an if condition',
    'between the parentheses after if',
    _part(lambda read: read.condition),
    r'\)',
  ),
  Concept(
    'inside a preprocessor line',
    'after # up to the line end',
    _part(lambda read: read.directive),
    r'\n',
  ),
  Concept(
    'bracket depth', 'open brackets of all kinds', _part(lambda read: read.brackets), r'[)\]}]'
  ),
  Concept('brace depth', 'open braces', _part(lambda read: read.braces), r'\}'),
  Concept('indentation depth', 'columns before the first character', indentation, r'\n(?=\S)'),
)
