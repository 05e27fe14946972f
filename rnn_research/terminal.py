"""Lines for people: on a terminal they end between words, in a pipe or a file they stay whole."""

import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

_JOINED = '\xa0'  # white space at which `textwrap` ends no line


def fitted(text: str, stream: TextIO | None = None) -> str:
  """Returns lines that are no wider than the terminal, each going on two columns further in.

  A line in which double spaces part facts, as in 'loss 1.5  step 3', ends only there.

  Args:
    text: lines; those for a pipe or a file come back as they are.
    stream: where they go; standard output by default.
  """
  stream = stream or sys.stdout
  return '\n'.join(_filled(line) for line in text.split('\n')) if stream.isatty() else text


def table(rows: Iterable[tuple[str, str]], most: int = 48) -> str:
  """Returns lines of two columns; a terminal ends lines in the second one.

  Args:
    rows: of the table.
    most: the widest that the first column gets; on a terminal a wider entry stands above its line.
  """
  rows = list(rows)
  width = max((len(first) for first, _ in rows if len(first) <= most), default=0) + 2
  if not sys.stdout.isatty():
    return '\n'.join(f'{first.ljust(width - 2)}  {second}' for first, second in rows)
  return '\n'.join(line for first, second in rows for line in _row(first, second, width))


def aligned(rows: Iterable[Sequence[str]]) -> str:
  """Returns rows of cells as lines of columns, which no terminal ends earlier."""
  rows = list(rows)
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return '\n'.join('  '.join(map(str.ljust, row, widths)).rstrip() for row in rows)


def command(words: Iterable[str]) -> str:
  """Returns a command as a shell reads it, indented; what is too wide for a terminal goes on in
  lines of its own."""
  lines, room = [' '], _columns() - 2 if sys.stdout.isatty() else None
  for word in map(_quoted, words):
    if room and len(lines[-1]) + 1 + len(word) > room and lines[-1].strip():
      lines.append('   ')
    lines[-1] += f' {word}'
  return ' \\\n'.join(lines)


def _row(first, second, width):
  above = len(first) > width - 2
  if above:
    yield first
  yield _fill(second or ' ', ' ' * width if above else first.ljust(width), ' ' * width)


def _filled(line):
  text = line.lstrip()
  indent = line[: len(line) - len(text)]
  joined = re.sub(r'(?<=\S) (?=\S)', _JOINED, text) if '  ' in text else text
  return _fill(joined, indent, indent + '  ').replace(_JOINED, ' ')


def _fill(text, first, others):
  return textwrap.fill(
    text,
    _columns(),
    initial_indent=first,
    subsequent_indent=others,
    break_long_words=False,
    break_on_hyphens=False,
  )


def _columns():
  return shutil.get_terminal_size().columns


def _quoted(word):
  """Returns a word as a person would write it, with the quotes after the name of a flag."""
  name, equals, value = word.partition('=')
  return f'{name}={shlex.quote(value)}' if equals and name.startswith('--') else shlex.quote(word)
