"""Which concepts a text is searched for, by its language."""

import re

from rnn_research.analysis.concepts.c_code import C
from rnn_research.analysis.concepts.common import COMMON
from rnn_research.analysis.concepts.concept import Concept
from rnn_research.analysis.concepts.prose import PROSE
from rnn_research.analysis.concepts.python_code import PYTHON, unparsed_lines
from rnn_research.errors import require_one_of

_SETS = {'python': PYTHON, 'c': C, 'prose': PROSE}
LANGUAGES = ('auto', *_SETS)

# Lines that one language has many of, and others few.
_PYTHON_LINE = re.compile(
  r'(?:async )?def \w+\(|class \w+.*:\s*$|import [\w.]+(?:,| as |\s*$)|from [\w.]+ import '
  r'|(?:if|elif|for|while|with|except)\b.*:\s*(?:#.*)?$|(?:else|try):\s*$|@\w'
  r'|(?:return|raise)\b[^;]*$|self\.\w|\w+ = [^;]*$'
)
_C_ASIDE = re.compile(r'/\*.*?(?:\*/|\Z)|//.*?$', re.DOTALL | re.MULTILINE)
_C_LINE = re.compile(
  r'#[ \t]*(?:include|define|ifn?def|if|else|endif)\b|[^\\\s].*[;{]\s*$|\}[;,)]*\s*$'
)
_ENOUGH = 0.2
_LOOK = 200_000  # characters


def guess_language(text: str) -> str:
  """Returns 'python', 'c' or 'prose': what enough of the lines look like, prose if nothing; Python
  only if it can read most of them, as it cannot where examples stand between prose."""
  text = text[:_LOOK]
  c, python = _share(_C_LINE, _C_ASIDE.sub('', text)), _share(_PYTHON_LINE, text)
  if max(c, python) < _ENOUGH:
    return 'prose'
  if c > python:
    return 'c'
  return 'python' if 2 * unparsed_lines(text) < len(text.splitlines()) else 'prose'


def _share(pattern: re.Pattern[str], text: str) -> float:
  """Returns the share of lines, blank ones aside, that match after their indentation."""
  lines = [line.strip() for line in text.splitlines()]
  return sum(bool(pattern.match(line)) for line in lines) / max(1, sum(map(bool, lines)))


def concepts_for(text: str, language: str = 'auto') -> tuple[Concept, ...]:
  """Returns the concepts of every text, and those of a language.

  Args:
    text: from which 'auto' guesses the language.
    language: one of `LANGUAGES`.

  Raises:
    InputError: it is no such language.
  """
  require_one_of('language', language, LANGUAGES)
  return COMMON + _SETS[guess_language(text) if language == 'auto' else language]
