"""README.md and the pages of docs/: the one place that says how blocks of code, commands and links are found in them."""

import ast
import importlib.util
import re
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
# Packages that an example may need and that the tests do not install.
OPTIONAL = ('keras', 'tensorflow', 'torch')
SHELL = ('sh', 'bash', 'shell')

_FENCE = re.compile(
  r'^(?P<before>[^\n]*)\n(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$',
  re.M | re.S,
)
_SPAN = re.compile(r'`((?:[^`\n]|\n(?!\s*\n))+)`')
_LINK = re.compile(r'\]\(([^)\s]+)\)')
_HEADING = re.compile(r'^#+ +(.*?)(?: *\{ *#([\w-]+) *\})? *$', re.M)


class Block(NamedTuple):
  """A fenced block of code.

  Attributes:
    language: 'python', 'sh', 'text', or ''.
    title: the path of a file, where the block is one: ```python title="path".
    code: without the indentation of the fence.
    line: how many lines of the page come before its code.
    runs: False after a line `<!-- not run: why -->`.
  """

  language: str
  title: str
  code: str
  line: int
  runs: bool


def name_of(page):
  return str(page.relative_to(ROOT))


def blocks(page):
  """Returns the blocks of a page, first to last."""
  text = '\n' + page.read_text('utf-8')
  found = []
  for match in _FENCE.finditer(text):
    language, _, options = match['info'].strip().partition(' ')
    title = re.search(r'title="([^"]+)"', options)
    line = text.count('\n', 0, match.start('code')) - 1  # a line feed was put before the first
    runs = not match['before'].strip().startswith('<!-- not run:')
    code = textwrap.dedent(match['code'])
    found.append(Block(language, title[1] if title else '', code, line, runs))
  return found


def examples(page):
  """Returns the blocks of Python that are run, which is all but files and what is marked."""
  return [b for b in blocks(page) if b.language == 'python' and b.runs and not b.title]


def lacking(block):
  """Returns the packages that a block imports and that are not installed."""
  nodes = [
    node
    for node in ast.walk(ast.parse(block.code))
    if isinstance(node, ast.Import | ast.ImportFrom)
  ]
  names = [getattr(node, 'module', None) or node.names[0].name for node in nodes]
  roots = {name.split('.')[0] for name in names} & set(OPTIONAL)
  return sorted(root for root in roots if importlib.util.find_spec(root) is None)


def files():
  """Returns path -> content of the files that pages show, as if a reader had written them."""
  return {
    b.title: b.code for page in PAGES for b in blocks(page) if b.language == 'python' and b.title
  }


def commands(page):
  """Returns the arguments of every launch.py that a page starts, in blocks of sh and in the text."""
  lines = [line for b in blocks(page) if b.language in SHELL for line in _lines(b.code)]
  lines += [span for span in spans(page) if 'launch.py' in span]
  return [_words(line.split('launch.py', 1)[1]) for line in lines if 'launch.py' in line]


def fragments(page):
  """Returns the arguments that a page gives without launch.py: code that begins with `--` or `:variant`."""
  lines = [b.code for b in blocks(page) if b.language == 'text' and b.code.startswith('--')]
  lines += [span for span in spans(page) if re.match(r'--\w|:\w', span)]
  found = [_words(line) for line in lines]
  # `--val_frac .1` is another program's, and `--config.block.field=value` is any field.
  ours = lambda word: re.match(r'--(?!config\.block)|:\w|[A-Z]+$', word)
  return [words for words in found if all(map(ours, words))]


def spans(page):
  """Returns the code in the running text and in the tables of a page."""
  text = _text(page)
  return [' '.join(span.split()) for span in _SPAN.findall(text)]


def links(page):
  """Returns (file, heading or '') of every link of a page to a file of the repository."""
  text = _text(page)
  found = [link for link in _LINK.findall(text) if not re.match(r'\w+:', link)]
  parts = [link.partition('#') for link in found]
  return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in parts]


def headings(page):
  """Returns what links to the headings of a page are called."""
  text = _text(page)
  slug = lambda title: re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-')
  return {own or slug(title) for title, own in _HEADING.findall(text)}


def _text(page):
  """Returns a page without its fenced blocks."""
  return _FENCE.sub(r'\g<before>', '\n' + page.read_text('utf-8'))


def _lines(code):
  """Returns the commands of a block of sh, one per line, in the first turn of a loop."""
  for name, first in re.findall(r'^for (\w+) in (\S+)', code, re.M):
    code = code.replace(f'${name}', first)
  return code.replace('\\\n', ' ').splitlines()


def _words(text):
  """Returns the words of a command up to its end, without what only a shell could fill in."""
  text = re.split(r'\s(?:&&|\||>|;)\s', re.sub(r'\$\([^)]*\)', 'made', text))[0]
  return shlex.split(text, comments=True)
