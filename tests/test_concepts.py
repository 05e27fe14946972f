"""Concepts: the contract, lines and words, prose, a user's own, which set a text gets."""

import gzip
import random
import re

import numpy as np
import pytest
from labelled import SIGNS, soup, values

from rnn_research.analysis.concepts import (
  LANGUAGES,
  AbsentError,
  Concept,
  concepts_for,
  guess_language,
  is_binary,
  labels,
  load_concepts,
  occurs,
)
from rnn_research.analysis.concepts.common import COMMON
from rnn_research.analysis.concepts.prose import PROSE
from rnn_research.data.stdlib_corpus import standard_library_source
from rnn_research.errors import InputError

BY_NAME = {concept.name: concept for concept in COMMON + PROSE}
NAN = float('nan')


def text_of(data_dir, folder, start=0, size=100_000):
  """Returns characters of a gzipped file of the data."""
  (path,) = (data_dir / folder).glob('*.gz')
  with gzip.open(path, 'rt', encoding='utf-8', newline='') as file:
    return file.read()[start : start + size]


def label(name, text):
  return np.asarray(BY_NAME[name].label(text), np.float32)


@pytest.mark.parametrize('name, text, expected', [
  ('inside quotes', 'He said "hi" to', '000000001110000'),
  ('inside quotes', '""a"""b"c', '100101100'),
  ('inside quotes', '"lost¶¶so "a"', '1111110000110'),
  ('inside quotes', '"a¶b" c', '1111000'),
  ('inside quotes', '"a¤¶b"', '111110'),
  ('inside quotes', '"a¤¶ ¤¶"b"', '1111110110'),
  ('inside quotes', '“a "b" c” «d “e» f”', '1111111100111110000'),
  ('inside quotes', '„a“ “b” ” ”', '11001100000'),
  ('inside quotes', "don't 'so'", '0000000000'),
  ('inside parentheses', 'a (b (c) d) e) (f¶¶g', '00111111110000011100'),
  ('position in sentence', 'Go. I am! "Yes?" a¶', '1230123450123456789'),
  ('position in sentence', 'Mr. B. Go', '123456789'),
  ('position in sentence', 'So do I. Go', '12345678012'),
  ('position in sentence', 'Hi¶¶you 3.5', '1200123' + '4567'),
  ('position in line', 'ab¶¶→c¤¶d', '120012001'),
  ('position in word', 'ab  c→d¶', '12001010'),
  ('start of a line', 'ab¶¶c', '00110'),
  ('start of a word', 'ab¶ →c', '001110'),
  ('before a letter', 'a1é ²_', '01000?'),
  ('before a digit', 'a1 b2', '1001?'),
  ('before a mark', 'a_b.€ ', '10110?'),
  ('before a line end', 'a¶¤¶b', '1110?'),
])  # fmt: skip
def test_labels_by_hand(name, text, expected):
  np.testing.assert_array_equal(label(name, text.translate(SIGNS)), values(expected))


# ------------------------------------------------------------- slow oracles


def slow_quotes(text):
  """Straight quotes only, one character at a time."""
  inside, seen = [], ''
  for character in text:
    seen += character
    if character == '"':
      inside.append(not (inside and inside[-1]))
    elif re.search(r'\n[ \t\r]*\n\Z', seen[-80:]):
      inside.append(False)
    else:
      inside.append(bool(inside and inside[-1]))
  return inside


def slow_position(text, ends):
  position, found = 0, []
  for character in text:
    position = 0 if character in ends else position + 1
    found.append(position)
  return found


def slow_sentence(text):
  """The distance to the last place where one may begin, by words of the text before."""
  found, since = [], 0
  for t, character in enumerate(text):
    rest, before = text[t:], text[:t][-40:]
    blank_line = bool(re.match(r'\r?\n[ \t]*\r?\n', rest))
    over = bool(re.search(r'[.!?…]["”»\'\u2019)\]]*\Z', before)) and character.isspace()
    over &= not re.match(r'\s+[a-z]', rest)
    over &= not re.search(r'\b(Mr|Mrs|Ms|Dr|St|[A-HJ-Z])[.!?…]["”»\'\u2019)\]]*\Z', before)
    if blank_line or over:
      since = 0
    elif since or not character.isspace():
      since += 1
    found.append(since)
  return found


@pytest.mark.parametrize('seed', range(5))
def test_prose_agrees_with_reading_one_character_at_a_time(seed):
  text = soup(random.Random(seed), ['"', 'a ', '\n', '\r\n', '.', ' B', 'Mr', '\t', '!', ')'], 600)
  np.testing.assert_array_equal(label('inside quotes', text), slow_quotes(text))
  np.testing.assert_array_equal(label('position in line', text), slow_position(text, '\r\n'))
  np.testing.assert_array_equal(label('position in word', text), slow_position(text, ' \t\r\n'))


def test_real_prose_agrees_with_reading_one_character_at_a_time(data_dir):
  text = text_of(data_dir, 'warpeace', 1_000_000, 20_000)
  np.testing.assert_array_equal(label('inside quotes', text), slow_quotes(text))
  np.testing.assert_array_equal(label('position in sentence', text), slow_sentence(text))
  assert 0.2 < label('inside quotes', text).mean() < 0.8


# ------------------------------------------------------------- the contract


def concept(result):
  return Concept('mine', '', lambda text: result)


def test_labels_are_float32_and_know_nan():
  found = labels(concept(np.array([True, False, True])), 'abc')
  assert found.dtype == np.float32 and found.tolist() == [1, 0, 1]
  assert np.isnan(labels(concept([1, 0, NAN]), 'abc')[2])
  assert labels(concept([1, 2, 3]), 'abc').tolist() == [1, 2, 3]


@pytest.mark.parametrize('result, said', [
  (np.zeros(2), "concept 'mine' returned an array of shape (2,), expected (3,), a label for each"),
  (np.zeros((3, 1)), 'shape (3, 1)'),
  (1.0, 'shape ()'),
  (None, "concept 'mine' returned NoneType of object, expected an array of bool or float32"),
  ([[1], [1, 2], 3], 'returned list of object'),
  (['a', 'b', 'c'], 'returned list of <U1'),
  (np.zeros(3, complex), 'complex128'),
  ([1, np.inf, 0], 'returned infinite labels'),
])  # fmt: skip
def test_what_are_no_labels(result, said):
  with pytest.raises(InputError, match=re.escape(said)) as error:
    labels(concept(result), 'abc')
  assert not isinstance(error.value, AbsentError)


@pytest.mark.parametrize('result, said', [
  (np.zeros(3, bool), "concept 'mine' never occurs in this text"),
  (np.ones(3, bool), 'always holds'),
  ([7, 7, NAN], 'is 7 everywhere'),
  ([NAN] * 3, 'has no label'),
])  # fmt: skip
def test_what_does_not_occur(result, said):
  with pytest.raises(AbsentError, match=said):
    labels(concept(result), 'abc')
  assert not occurs(np.array(result, np.float32))


def test_truth_values_are_told_from_numbers():
  assert is_binary(values('01?0')) and not is_binary(values('0120'))
  assert occurs(values('01?')) and not occurs(values(''))


@pytest.mark.parametrize('language', LANGUAGES)
@pytest.mark.parametrize(
  'text',
  ['', '\n', 'a', '\r', '\ufeff', '\x00', '"', "'", '(', '#', '/*', '\\', '\ud800\n', '²:\t'],
)
def test_any_text_has_a_label_for_each_character(language, text):
  for one in concepts_for(text, language):
    found = np.asarray(one.label(text))
    assert found.shape == (len(text),), one.name
    assert found.dtype in (np.bool_, np.float32), one.name


def test_names_differ_and_ends_are_regular_expressions():
  for language in LANGUAGES[1:]:
    concepts = concepts_for('', language)
    assert len({one.name for one in concepts}) == len(concepts)
    assert all(re.compile(one.ends) and one.about for one in concepts)


def test_a_closing_quote_is_told_from_an_opening_one():
  ends = BY_NAME['inside quotes'].ends
  assert [found.start() for found in re.finditer(ends, '"Yes," ("no") “so”')] == [5, 11, 17]


# ------------------------------------------------------------- of the user's own


def test_functions_of_a_file_are_concepts(tmp_path):
  file = tmp_path / 'mine.py'
  file.write_text(
    'import functools\nimport numpy as np\nfrom re import escape\n'
    'ENDS = {"in_capitals": "[a-z]"}\n'
    'def in_capitals(text):\n  """After a capital.\n\n  More."""\n'
    '  return np.array([_is(c) for c in text])\n'
    'def _is(c): return c.isupper()\n'
    'def two(a, b): pass\n'
    'class Other: pass\n'
    '@functools.lru_cache\ndef count(text, start=0): return np.arange(len(text))\n',
    'utf-8',
  )
  capitals, count = load_concepts(file)
  assert capitals[:2] == ('in capitals', 'After a capital.') and capitals.ends == '[a-z]'
  assert (count.name, count.about, count.ends) == ('count', '', '')
  assert labels(capitals, 'aBc').tolist() == [0, 1, 0]
  assert labels(count, 'aBc').tolist() == [0, 1, 2]
  assert not (tmp_path / '__pycache__').exists()


@pytest.mark.parametrize('source, said', [
  ('def f(text):\n  return [\n', 'mine.py, line 2: SyntaxError: '),
  ('x = 1\ny = x / 0\n', 'mine.py, line 2: ZeroDivisionError: division by zero'),
  ('import no_such_module\n', "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
  ('\0', 'mine.py'),
  ('from re import escape\ndef _f(text): pass\n', 'mine.py has no concept, expected a function'),
  ('ENDS = {"g": "a"}\ndef gh(text): pass\n', "is 'g', expected one of gh"),
  ('ENDS = {"gh": "("}\ndef gh(text): pass\n', "ENDS['gh'] of"),
  ('ENDS = {"gh": 1}\ndef gh(text): pass\n', 'is 1, expected a regular expression'),
  ('ENDS = ["gh"]\ndef gh(text): pass\n', "is ['gh'], expected a dictionary"),
])  # fmt: skip
def test_files_that_cannot_be_used(tmp_path, source, said):
  file = tmp_path / 'mine.py'
  file.write_text(source, 'utf-8')
  with pytest.raises(InputError, match=re.escape(said)) as error:
    load_concepts(file)
  assert str(error.value).startswith('--concepts: ') and '\n' not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(InputError, match=r'--concepts: .*none\.py is not a file'):
    load_concepts(tmp_path / 'none.py')
  with pytest.raises(InputError, match='is not a file'):
    load_concepts(tmp_path)


def test_a_function_that_fails_says_where(tmp_path):
  file = tmp_path / 'mine.py'
  file.write_text('def a_b(text):\n  return _g(text)\ndef _g(text):\n  return text.no\n', 'utf-8')
  (one,) = load_concepts(file)
  said = f"concept 'a b' failed at {file}, line 4: AttributeError: 'str' object has no attribute"
  with pytest.raises(InputError, match=re.escape(said)):
    labels(one, 'abc')


# ------------------------------------------------------------- which set

C_FILE = """\
/*
 * Reads a line, and says
 * how long it is.
 */
#include <stdio.h>

static int length(const char *line)
{
  int n = 0;

  while (line[n] && line[n] != '\\n')
    n++;
  return n;
}
"""
JAVA_FILE = """\
package a.b;

import java.util.List;

/** Counts. */
public class Counter extends Base {
  private int n = 0;

  @Override
  public int next() {
    return n++;
  }
}
"""
MARKDOWN = """\
# Use

Make a model, then train it, and look at what comes of it:

```python
import rnn
model = rnn.make(3)
rnn.train(model)
```

It takes a minute. More models are made in the same way; each has
its own page, with all that can be said of it.
"""


@pytest.mark.parametrize('text, language', [
  (C_FILE, 'c'), (JAVA_FILE, 'c'), (MARKDOWN, 'prose'), ('', 'prose'), ('\n\n', 'prose'),
  ('def f(x):\n  return x\n', 'python'), (C_FILE.replace('\n', '\r\n'), 'c'),
  ('He went; she stayed;\nthe dog {barked}.\nOh why,\noh why,\n did he\ngo\nand\n{\n(stay)?\n', 'prose'),
])  # fmt: skip
def test_languages_are_guessed(text, language):
  assert guess_language(text) == language


def test_the_language_of_real_texts(data_dir):
  assert guess_language(text_of(data_dir, 'warpeace')) == 'prose'
  assert guess_language(text_of(data_dir, 'stacks')) == 'prose'  # LaTeX
  assert guess_language(text_of(data_dir, 'tinyshakespeare')) == 'prose'
  corpus = standard_library_source().decode()
  starts = range(0, len(corpus), 300_000)
  assert {guess_language(corpus[start : start + 20_000]) for start in starts} == {'python'}


def test_sets():
  names = [one.name for one in concepts_for('def f(x):\n  return x\n')]
  assert names[0] == 'position in line' and 'indentation depth' in names
  assert 'brace depth' in [one.name for one in concepts_for('', 'c')]
  assert 'inside quotes' in [one.name for one in concepts_for('')]
  with pytest.raises(InputError, match=r"language is 'pyton', .* did you mean python"):
    concepts_for('', 'pyton')
