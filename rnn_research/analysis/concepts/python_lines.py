"""The logical lines of Python text that may be cut off, or wrong, anywhere."""

import ast
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence
from keyword import iskeyword, kwlist
from typing import NamedTuple

# In brackets no statement begins: a word of any other statement shows that one was not closed.
_EXPRESSION = {
  'False', 'None', 'True', 'and', 'async', 'await', 'else', 'for', 'from', 'if', 'in', 'is',
  'lambda', 'not', 'or', 'yield',
}  # fmt: skip
_STATEMENT = frozenset(kwlist) - _EXPRESSION
# A row that begins so and parses is hardly ever in the middle of a string, nor of brackets.
_SURE = re.compile(rf' *(?:(?:{"|".join(sorted(_STATEMENT))})\b|from [\w.]+ import\b)')
_PAIRS = {')': '(', ']': '[', '}': '{'}
# Python 3.12 and later take f-strings apart.
_OPENS = {getattr(tokenize, name, -1) for name in ('FSTRING_START', 'TSTRING_START')}
_CLOSES = {getattr(tokenize, name, -1) for name in ('FSTRING_END', 'TSTRING_END')}
_LAYOUT = {tokenize.INDENT, tokenize.DEDENT}
# What a line needs around it to be a whole statement, by its first word; `case` may be a name.
_WHOLE = {
  '@': '{}\ndef f(): pass',
  'case': 'match 1:\n {}',
  'elif': 'if 1: pass\n{}',
  'else': 'if 1: pass\n{}',
  'except': 'try: pass\n{}',
  'finally': 'try: pass\n{}',
  'try': '{}\nfinally: pass',
}
# A byte-order mark is no character of a line; a form feed begins its indentation anew.
_ROW = re.compile('\ufeff?(?P<indent>[ \t\f]*)(?P<rest>[^\r\n]*)(?:\r\n|\r|\n|\\Z)')
# No code in any version of Python, but not refused by all within strings.
_NO_CODE = str.maketrans('\0\ufeff', '??')


class Row(NamedTuple):
  """A physical line.

  Attributes:
    text: with blanks for the tabs of its indentation, and '\\n' at its end.
    column: of its first character that is no blank.
    start: where it begins in the whole text.
    shift: from a column of `text` to its place in the whole text.
  """

  text: str
  column: int
  start: int
  shift: int


class Token(NamedTuple):
  """A part of a line: its characters [start, end) of the whole text.

  Attributes:
    kind: 'comment', 'string' or 'code'; the prefix of a string is left out.
    string: its characters, '' of a string.
    start: of the first.
    end: after the last.
  """

  kind: str
  string: str
  start: int
  end: int


class Line(NamedTuple):
  """A logical line, a blank line or a line of comment.

  Attributes:
    first: the number of its first row.
    num_rows: how many it has.
    tokens: none where it does not parse.
    parses: whether Python can read it.
  """

  first: int
  num_rows: int
  tokens: Sequence[Token]
  parses: bool


def rows_of(text: str) -> list[Row]:
  """Returns the physical lines of a text."""
  text = text.encode('utf-8', 'replace').decode()  # lone surrogates, which UTF-8 does not have
  rows = []
  for found in _ROW.finditer(text):
    if found.group():
      column = len(found['indent'].rpartition('\f')[2].expandtabs(8))
      row = f'{" " * column}{found["rest"].translate(_NO_CODE)}\n'
      rows.append(Row(row, column, found.start(), found.start('rest') - column))
  return rows


def lines_of(rows: Sequence[Row]) -> list[Line]:
  """Returns the logical lines of a text; each row that Python cannot read is one of its own.

  What spans several rows and cannot be read leaves open where a string begins, so that nothing
  counts up to the next row that is sure to be code. Nor does what stands before the first such row
  if it has a mistake: it may be the end of a string that was cut off.
  """
  lines: list[Line] = []
  lost, sure = False, False
  at = unread = 0
  while at < len(rows):
    surely = bool(_SURE.match(rows[at].text))
    line = read_line(rows, at) if surely or not lost else Line(at, 1, (), False)
    if line.parses:
      lost, sure = False, sure or surely
    else:
      lost = lost or not sure or line.num_rows > 1
      if not sure:
        lines[unread:] = [Line(row, 1, (), False) for row in range(unread, at)]
        unread = at
      line = Line(at, 1, (), False)
    lines.append(line)
    at += line.num_rows
  return lines


def read_line(rows: Sequence[Row], first: int) -> Line:
  """Returns the logical line that begins at a row; as many rows as were read where it fails."""
  taken = 0

  def next_row() -> str:
    nonlocal taken
    taken += 1
    return rows[first + taken - 1].text if first + taken <= len(rows) else ''

  tokens: list[Token] = []
  try:
    for token in _tokens(next_row):
      if token.type in (tokenize.NEWLINE, tokenize.NL):
        num_rows = token.start[0]
        break
      tokens.append(_placed(token, rows, first))
    source = ''.join(row.text for row in rows[first : first + num_rows])
    if tokens:
      _require_statement(tokens, source)
  except (tokenize.TokenError, SyntaxError, ValueError, RecursionError, MemoryError):
    return Line(first, taken, (), False)
  return Line(first, num_rows, tokens, True)


def _tokens(next_row: Callable[[], str]) -> Iterator[tokenize.TokenInfo]:
  """Yields the tokens of rows, an f-string as one and without line ends in brackets.

  Raises:
    ValueError: what no version of Python reads, at the row where it stands, also where `tokenize`
      would go on.
  """
  formatted: list[tokenize.TokenInfo] = []
  brackets: list[str] = []
  before = tokenize.TokenInfo(tokenize.NL, '', (0, 0), (0, 0), '')
  for token in tokenize.generate_tokens(next_row):
    if token.type in _OPENS:
      formatted.append(token)
      continue
    if token.type in _CLOSES:
      opening = formatted.pop()
      token = opening._replace(type=tokenize.STRING, end=token.end)
    if formatted or token.type in _LAYOUT:
      continue
    _require_token(token, before, brackets)
    before = token
    if token.type == tokenize.OP and token.string in '([{':
      brackets.append(token.string)
    elif token.type == tokenize.OP and token.string in _PAIRS:
      brackets.pop()
    if token.type != tokenize.NL or not brackets:
      yield token


def _require_token(
  token: tokenize.TokenInfo, before: tokenize.TokenInfo, brackets: Sequence[str]
) -> None:
  """Raises ValueError where a token cannot stand."""
  is_bracket = token.type == tokenize.OP and token.string in _PAIRS
  is_name = token.type == tokenize.NAME
  # 0777 and 10L of Python 2, but not 1if x else y; 0777 is two tokens before Python 3.12.
  joined = before.type == tokenize.NUMBER and before.end == token.start
  is_octal = token.string.isdigit() and token.string[0] == '0' and token.string.strip('0') != ''
  if (
    token.type in (tokenize.ERRORTOKEN, tokenize.ENDMARKER)
    or (token.type == tokenize.OP and token.string in ('$', '?', '!', '`'))
    or (is_bracket and brackets[-1:] != [_PAIRS[token.string]])
    or (is_name and brackets and token.string in _STATEMENT)
    or (token.type == tokenize.NUMBER and (joined or is_octal))
    or (joined and is_name and not iskeyword(token.string))
  ):
    raise ValueError(token.string)


def _placed(token: tokenize.TokenInfo, rows: Sequence[Row], first: int) -> Token:
  """Returns a token with its place in the whole text."""
  start, end = (rows[first + row - 1].shift + column for row, column in (token.start, token.end))
  if token.type == tokenize.STRING:
    prefix = len(token.string) - len(token.string.lstrip('bBfFrRtTuU'))
    return Token('string', '', start + prefix, end)
  return Token('comment' if token.type == tokenize.COMMENT else 'code', token.string, start, end)


def _require_statement(tokens: Sequence[Token], source: str) -> None:
  """Raises SyntaxError or its like unless a logical line is one by itself, or with a block."""
  code = [token.string for token in tokens if token.kind != 'comment'] or ['']
  source = source.strip(' \n')
  if code[-1] == ':':
    source += '\n  case _: pass' if code[0] == 'match' else '\n  pass'
  try:
    ast.parse(source)
  except SyntaxError:  # not by itself, but perhaps with what belongs around it
    if code[0] not in _WHOLE:
      raise
    ast.parse(_WHOLE[code[0]].format(source))
