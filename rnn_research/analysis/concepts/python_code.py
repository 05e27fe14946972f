"""Concepts of Python code, by Python's own tokenizer and parser."""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.analysis.concepts.concept import Concept
from rnn_research.analysis.concepts.python_lines import Line, Row, lines_of, rows_of
from rnn_research.analysis.concepts.spans import held, painted


class PythonText(NamedTuple):
  """What a text of N characters is as Python code; see `PYTHON`.

  Attributes:
    comment: [N] bool, as all that follow but the last.
    string: inside a string.
    condition: inside the condition of an `if` or `elif`.
    brackets: [N] float32, how many are open.
    levels: [N] float32, blocks around the statement; NaN until the first line at column 0.
    parsed: [N] bool, whether Python can read the line.
    num_unparsed: lines that it cannot.
  """

  comment: np.ndarray
  string: np.ndarray
  condition: np.ndarray
  brackets: np.ndarray
  levels: np.ndarray
  parsed: np.ndarray
  num_unparsed: int


@functools.lru_cache(maxsize=2)
def read_python(text: str) -> PythonText:
  """Returns what a text is as Python code of the running interpreter, line by line.

  Time grows with the length of the text, whatever stands in it.
  """
  rows = rows_of(text)
  with warnings.catch_warnings():  # of escape sequences, and of `is` with a literal
    warnings.simplefilter('ignore')
    lines = lines_of(rows)
  size = len(text)
  tokens = [token for line in lines for token in line.tokens]
  return PythonText(
    painted(size, ((t.start, t.end) for t in tokens if t.kind == 'comment')),
    # The last quotation mark closes.
    painted(size, ((t.start, t.end - 1) for t in tokens if t.kind == 'string')),
    painted(size, (span for line in lines for span in _conditions(line))),
    held(size, *_depths(lines)),
    held(size, *_levels(lines, rows)),
    painted(size, (_span(line, rows, size) for line in lines if line.parses)),
    sum(not line.parses for line in lines),
  )


def unparsed_lines(text: str) -> int:
  """Returns how many lines of a text have no labels as Python, since they cannot be read."""
  return read_python(text).num_unparsed


def _span(line: Line, rows: Sequence[Row], size: int) -> tuple[int, int]:
  after = line.first + line.num_rows
  return rows[line.first].start, rows[after].start if after < len(rows) else size


def _conditions(line: Line) -> Iterator[tuple[int, int]]:
  """Yields where the condition of a line that is an `if` or `elif` lies, if it is one."""
  if not line.tokens or line.tokens[0].string not in ('if', 'elif'):
    return
  depth = lambdas = 0
  for token in line.tokens:
    depth += (token.string in ('(', '[', '{')) - (token.string in (')', ']', '}'))
    lambdas += not depth and token.string == 'lambda'
    if not depth and token.string == ':':
      if not lambdas:
        # The keyword is there with its last letter.
        yield line.tokens[0].end - 1, token.start
        return
      lambdas -= 1


def _depths(lines: Sequence[Line]) -> tuple[list[int], list[int]]:
  """Returns where brackets stand, and how many are open from there on."""
  places, depths = [], []
  for line in lines:
    depth = 0
    for token in line.tokens:
      if token.string in ('(', '[', '{', ')', ']', '}'):
        depth += 1 if token.string in '([{' else -1
        places.append(token.start)
        depths.append(depth)
  return places, depths


def _levels(lines: Sequence[Line], rows: Sequence[Row]) -> tuple[list[int], list[float]]:
  """Returns where the first character of each statement stands, and in how many blocks it is."""
  places: list[int] = [0]
  levels: list[float] = [np.nan]
  columns: list[int] = []  # of the blocks around; none where that is unknown
  opens = False
  for line in lines:
    code = [token for token in line.tokens if token.kind != 'comment']
    if line.parses and not code:
      continue
    column = rows[line.first].column
    if line.parses:
      columns = _enter(columns, column, opens)
      places.append(code[0].start)
      levels.append(len(columns) - 1 if columns else np.nan)
    opens = not line.parses or code[-1].string == ':'
  return places, levels


def _enter(columns: list[int], column: int, opens: bool) -> list[int]:
  """Returns the columns of the blocks around a statement, given those around the one before."""
  if not column:
    return [0]
  around = [other for other in columns if other <= column]
  if around and around[-1] < column:
    # A block begins after a colon only.
    return [*around, column] if opens and around == columns else []
  return around


def _where_parsed(part: Callable[[PythonText], np.ndarray]) -> Callable[[str], np.ndarray]:
  """Returns the labels of a part of `read_python`, [N] float32; NaN where the line does not
  parse."""

  def label(text: str) -> np.ndarray:
    read = read_python(text)
    return np.where(read.parsed, part(read), np.nan).astype(np.float32)

  return label


PYTHON = (
  Concept(
    'inside a comment or string',
    'after # up to the line end, or between the quotes of a string, f-strings included',
    _where_parsed(lambda read: read.comment | read.string),
    '["\'\n]',
  ),
  Concept(
    'inside a comment', 'after # up to the line end', _where_parsed(lambda read: read.comment), '\n'
  ),
  Concept(
    'inside a string',
    'between the quotes of a string, f-strings included',
    _where_parsed(lambda read: read.string),
    '["\']',
  ),
  Concept(
    'inside an if condition',
    'from the keyword of an if or elif statement to its colon',
    _where_parsed(lambda read: read.condition),
    ':',
  ),
  Concept(
    'bracket depth',
    'open brackets of all kinds',
    _where_parsed(lambda read: read.brackets),
    r'[)\]}]',
  ),
  Concept(
    'indentation depth',
    'blocks around the statement, from its first character on',
    _where_parsed(lambda read: read.levels),
    r'\n(?=\S)',
  ),
)
