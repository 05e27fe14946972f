"""Concepts of code: by hand, against whole files, cut anywhere, and in text that is no code."""

import ast
import io
import random
import re
import time
import tokenize
from pathlib import Path

import numpy as np
import pytest
from labelled import drawn, soup

from rnn_research.analysis.concepts import python_lines
from rnn_research.analysis.concepts.c_code import C
from rnn_research.analysis.concepts.python_code import PYTHON, read_python, unparsed_lines
from rnn_research.data.stdlib_corpus import standard_library_source

# As rows of a drawing name them.
KEYS = {
  'c': 'inside a comment',
  's': 'inside a string',
  'i': 'inside an if condition',
  'b': 'bracket depth',
  'l': 'indentation depth',
  '{': 'brace depth',
  '#': 'inside a preprocessor line',
}

# fmt: off
PYTHON_DRAWINGS = {
  'strings': r"""
| x = f(r'a[', "b\"#") + '' # ['¶
c 0000000000000000000000000011110
s 0000000111000111110000010000000
b 0000011111111111111000000000000
""",
  'three quotes': r"""
| def f():¶
c 000000000
s 000000000
l 000000000
| →'''a 'b' # c¤¶
c 000000000000000
s 011111111111111
l 011111111111111
| d'''¶
c 00000
s 11100
l 11111
| →# e¶
c 01110
s 00000
l 11111
| ¶
c 0
s 0
l 1
|  # f¶
c 01110
s 00000
l 11111
| g('''¶
c 000000
s 001111
l 000000
| ''')
c 0000
s 1100
l 0000
""",
  'f-strings': r"""
| if f'{a["b"]:>{w}} {{' f'c': # d¶
c 000000000000000000000000000001110
s 000011111111111111111000110000000
b 000000000000000000000000000000000
i 011111111111111111111111111000000
|   F'''{x:¶
c 0000000000
s 0001111111
b 0000000000
i 0000000000
| }'''¶
c 00000
s 11100
b 00000
i 00000
""",
  'conditions': r"""
| if(a[1:2] and (lambda b: b)(c)): e¶
i 01111111111111111111111111111110000
b 00112222111111222222222222122100000
| elif lambda: d: e¶
i 000111111111110000
b 000000000000000000
| elif {1: 2}[x] == ':' \¶
i 000111111111111111111111
b 000001111101100000000000
|   and (y := z): # if¶
i 111111111111110000000
b 000000111111100000000
|   w = [q if q else p for q in r if q]¶
i 00000000000000000000000000000000000000
b 00000011111111111111111111111111111100
| ifs = 1 if a else b¶
i 00000000000000000000
b 00000000000000000000
| if (a ¶
i 0111111
b 0001111
|   if b else c): d¶
i 111111111111110000
b 111111111111100000
""",
  'blocks': r"""
| if a:¶
l 000000
|   if b:¶
l 00111111
|     c¶
l 111122
|       # d¶
l 2222222222
| ¶
l 2
|   else: d¶
l 2211111111
| e; \¶
l 00000
|     f(g,¶
l 000000000
| h)¶
l 000
| class A: # b¶
l 0000000000000
| →x¶
l 011
| →if y:¶
l 1111111
|         →z¶
l 11111111122
|         w¶
l 2222222211
| ⊢u
l 10
""",
  'levels that cannot be known': r"""
| b = 2¶
l 000000
|     c¶
l 0000??
|   d¶
l ????
| if a:¶
l 000000
|     if b:¶
l 0000111111
|   c¶
l 11??
| d¶
l 00
""",
  'what cannot be read': r"""
| import a¶
c 000000000
b 000000000
l 000000000
| if x:¶
c 000000
b 000000
l 000000
|   print 'b' # c¶
c ????????????????
b ????????????????
l ????????????????
|   y # d¶
c 00001110
b 00000000
l 00111111
|   z = (1,¶
c ??????????
b ??????????
l ??????????
|     '¶
c ??????
b ??????
l ??????
|   w # lost¶
c ???????????
b ???????????
l ???????????
|   pass # found¶
c 000000011111110
b 000000000000000
l 111111111111111
| f(0777, # e¶
c ????????????
b ????????????
l ????????????
|    ])¶
c ??????
b ??????
l ??????
| x¶
c 00
b 00
l 00
| g(¶
c ???
b ???
l ???
|   h # i¶
c ????????
b ????????
l ????????
| def j(): # k¶
c 0000000001110
b 0000010000000
l 0000000000000
|   it's
c ??????
b ??????
l ??????
""",
}
C_DRAWINGS = {
  'comments and strings': r"""
| a("b\"//", '"', '\''); // "c" '¶
c 00000000000000000000000011111110
s 00111111000110001110000000000000
b 01111111111111111111000000000000
| /* { ' // ¶
c 01111111111
s 00000000000
b 00000000000
|  * **/ d['x']; /**/ {/¶
c 11111000000000001100000
s 00000000011000000000000
b 00000000111100000000111
| e = "f¶
c 0000000
s 0000110
b 1111111
| g" /* h
c 0000000
s 0111111
b 1111111
""",
  'conditions': r"""
| if (a[(1)] /*)*/ && ")") { b(c); }¶
i 00011111111111111111111000000000000
b 00011233211111111111111001112211100
| else if/* */(d)¶
i 0000000000001100
b 0000000000001100
| ifs (e); x.if_(f); if constexpr (g) h;¶
i 000000000000000000000000000000001100000
b 000011000000001100000000000000001100000
| while (i) if(j)¶
i 0000000000001100
b 0000001100001100
""",
  'preprocessor': r"""
| #if A /* # ¶
# 111111111111
b 000000000000
{ 000000000000
| */ && (b¶
# 111111110
b 000000000
{ 000000000
| f(1) {¶
# 0000000
b 0110011
{ 0000011
| # elif C \¶
# 11111111111
b 00000000000
{ 00000000000
|   {¶
# 1110
b 0000
{ 0000
| f(2, 3) {¶
# 0000000000
b 0111110011
{ 0000000011
| #else // d¤¶
# 111111111100
b 000000000000
{ 000000000000
| f() { {¶
# 00000000
b 01001122
{ 00001122
| #endif¶
# 1111110
b 2222222
{ 2222222
| a # b } }
# 000000000
b 222222110
{ 222222110
""",
  'unmatched': r"""
| } ) f(a[1) {¶
b 0000011220011
{ 0000000000011
| g({ (h }¶
b 123344422
{ 112222211
| } ]
b 000
{ 000
""",
  'raw': r"""
| R"x((")y")x" u8R"(a)" L'b' 1'000'000 (¶
c 000000000000000000000000000000000000000
s 011111111110000011110001100000000000000
b 000000000000000000000000000000000000011
| case'c':0x'
c 00000000000
s 00001100001
b 11111111111
""",
  'indentation': r"""
| a¶
l 00
| →b c¶
l 08888
| ¶
l 8
|     →d¶
l 8888888
|   e
l 882
""",
}
# fmt: on


def label(concepts, key, text):
  (one,) = [concept for concept in concepts if concept.name == KEYS[key]]
  return np.asarray(one.label(text), np.float32)


@pytest.mark.parametrize('name', PYTHON_DRAWINGS)
def test_python_by_hand(name):
  text, rows = drawn(PYTHON_DRAWINGS[name])
  for key, expected in rows.items():
    np.testing.assert_array_equal(label(PYTHON, key, text), expected, KEYS[key])


@pytest.mark.parametrize('name', C_DRAWINGS)
def test_c_by_hand(name):
  text, rows = drawn(C_DRAWINGS[name])
  for key, expected in rows.items():
    np.testing.assert_array_equal(label(C, key, text), expected, KEYS[key])


@pytest.mark.parametrize('concepts', [PYTHON, C])
def test_inside_a_comment_or_string_is_either(concepts):
  text = 'a = "b" # c\nif (d) { e("f") /* g */; } // h\n'
  either = np.asarray(concepts[0].label(text), np.float32)
  expected = np.maximum(label(concepts, 'c', text), label(concepts, 's', text))
  np.testing.assert_array_equal(either, expected)


# ------------------------------------------------------------- Python against whole files


def places(text):
  """Returns (row, column) -> place in a text of '\\n'."""
  starts = np.cumsum([0, *(len(line) for line in text.splitlines(keepends=True))])
  return lambda row, column: int(starts[row - 1]) + column


def whole_file(text):
  """Returns comments, strings and bracket depth of a file that is whole, by its tokens."""
  at = places(text)
  comment, string, depth = np.zeros((3, len(text)), int)
  opening = []
  for token in tokenize.generate_tokens(io.StringIO(text).readline):
    name = tokenize.tok_name[token.type]
    if name == 'COMMENT':
      comment[at(*token.start) : at(*token.end)] = 1
    if name == 'FSTRING_START':
      opening.append(at(*token.start))
    if (name == 'STRING' and not opening) or (name == 'FSTRING_END' and len(opening) == 1):
      start, end = opening[0] if opening else at(*token.start), at(*token.end)
      start += re.match('[a-zA-Z]*', text[start:]).end()
      string[start : end - 1] = 1
    if name == 'FSTRING_END':
      opening.pop()
    if name == 'OP' and not opening and token.string in '([{':
      depth[at(*token.start) :] += 1
    if name == 'OP' and not opening and token.string in ')]}':
      depth[at(*token.start) :] -= 1
  return comment, string, depth


def conditions(text, tree):
  """Returns what is inside of the conditions of a file, by its syntax tree."""
  at, inside = places(text), np.zeros(len(text), int)
  for node in ast.walk(tree):
    if isinstance(node, ast.If):
      start = at(node.lineno, node.col_offset)
      end = at(node.test.end_lineno, node.test.end_col_offset)
      colon = re.compile(r'(?:[\s)\\]|#.*)*').match(text, end).end()
      assert text[colon] == ':'
      inside[start + re.match('(?:el)?if', text[start:]).end() - 1 : colon] = 1
  return inside


def levels(text, node, level, found):
  """Fills in place of each statement -> its level, by the syntax tree."""
  at = places(text)
  for name in ('body', 'orelse', 'finalbody', 'handlers', 'cases'):
    block = getattr(node, name, [])
    for child in block if isinstance(block, list) else []:
      inner = level
      if isinstance(child, ast.stmt):
        place = at(child.lineno, child.col_offset)
        inner -= text.startswith('elif', place)
        if not text[:place].rpartition('\n')[2].strip():
          found[place] = inner
      # Handlers and cases: the blocks of the one are in no block of their own, those of the other are.
      levels(text, child, inner + (not isinstance(child, ast.ExceptHandler)), found)


@pytest.mark.parametrize('name', ['textwrap', 'tokenize', 'fractions', 'pprint'])
def test_python_agrees_with_whole_files(name):
  text = Path(__import__(name).__file__).read_text('utf-8')
  tree, read = ast.parse(text), read_python(text)
  assert unparsed_lines(text) == 0 and read.parsed.all()
  comment, string, depth = whole_file(text)
  np.testing.assert_array_equal(read.comment, comment)
  np.testing.assert_array_equal(read.string, string)
  np.testing.assert_array_equal(read.brackets, depth)
  np.testing.assert_array_equal(read.condition, conditions(text, tree))
  found = {}
  levels(text, tree, 0, found)
  assert len(found) > 100
  assert {place: read.levels[place] for place in found} == found


# ------------------------------------------------------------- cut anywhere, and no code


@pytest.fixture(scope='module')
def corpus():
  return standard_library_source().decode()


def test_the_corpus_is_read(corpus):
  text = corpus[:200_000]
  begun = time.monotonic()
  read = read_python(text)
  assert time.monotonic() - begun < 20  # seconds: one where nothing else runs
  assert read.num_unparsed < 30 and read.parsed.mean() > 0.99
  assert np.isnan(read.levels).mean() < 0.2


def test_labels_of_python_cut_anywhere_are_those_of_the_whole(corpus):
  """But for the little that cannot be known, such as an example in a docstring cut off."""
  whole, rng = read_python(corpus[:100_000]), random.Random(1)
  wrong, levels_wrong, unread, total = 0, 0, 0, 0
  for _ in range(60):
    start = rng.randrange(95_000)
    end = start + rng.randrange(2_000, 5_000)
    part = read_python(corpus[start:end])
    for name in ('comment', 'string', 'brackets', 'condition'):
      differs = getattr(part, name) != getattr(whole, name)[start:end]
      wrong += int((differs & part.parsed).sum())
    known = part.parsed & ~np.isnan(part.levels)
    levels_wrong += int((part.levels != whole.levels[start:end])[known].sum())
    unread += int((~part.parsed).sum())
    total += end - start
  assert wrong < 0.002 * total
  assert levels_wrong < 0.01 * total
  assert 0 < unread < 0.25 * total


def test_the_number_of_lines_that_do_not_parse():
  assert unparsed_lines('') == 0
  assert unparsed_lines('import a\n\n# b\n') == 0
  assert unparsed_lines('import a\nprint "b"\nc = 1\n') == 1
  assert unparsed_lines('import a\nb = (1,\n2,\n') == 2
  assert unparsed_lines('The dog\nbarks\n') == 2


def test_every_kind_of_statement_parses_by_itself():
  text = """\
@a(1)
async def f(x: int = 2, *y) -> {}:
  try: await b
  except (C, D) as e:  # :
    raise
  except E: pass
  else:
    return {'a': [f'{x}']}
  finally:
    async for z in y: yield z
  match x, y:
    case [1, {'a': b}] if b:
      pass
    case _: x = 1; y = 2
  match = case = 3
  while x: break
  else: pass
  if x: nonlocal_ = lambda: 0
  elif y: pass
  else: pass
@a
class C(D): x = {}
with open('a') as b, c: del b
case(match)
"""
  assert unparsed_lines(text) == 0


def test_a_text_that_begins_in_a_docstring_has_no_labels_up_to_its_end():
  text = 'word\n  what it is.\n  """\n  return 1\n\ndef f():\n  """G."""\n'
  end = text.index('  return')
  parsed = read_python(text).parsed
  assert not parsed[:end].any() and parsed[end:].all()


@pytest.mark.parametrize('row', ['a = b c\n', 'a = 1\na = b c\n'])
def test_each_row_that_is_no_python_is_blanked_once(monkeypatch, row):
  made = []
  line = python_lines.Line
  monkeypatch.setattr(python_lines, 'Line', lambda *fields: made.append(0) or line(*fields))
  read = read_python(row * 200)
  assert not read.parsed.any() and len(made) <= 4 * 400


def test_warnings_of_the_text_are_none_of_ours():
  assert unparsed_lines("import a\nb = '\\d'\nc = 1 is 2\nd = 1if a else 2\n") == 0


@pytest.mark.parametrize('unit', [
  '(', '"""', 'f("""\n', 'x = (\n', 'if (\n', 'class (\n', "f'{", '@(\n', 'pass\nx = """\n', '/*', 'R"(',
  '#if (\n', '(}', '#if\n{', '//\\\n', '\r',
])  # fmt: skip
def test_time_grows_with_the_length_whatever_stands_there(unit):
  text = 'import a\n' + unit * (20_000 // len(unit))
  begun = time.monotonic()
  for concept in PYTHON + C:
    assert concept.label(text).shape == (len(text),)
  assert time.monotonic() - begun < 10


@pytest.mark.parametrize('seed', range(10))
def test_any_soup_is_read(seed):
  symbols = [*'abif 01"\'()[]{}:#/*\\\n\r\t²é', '"""', 'if ', 'f"', '\n#if', '\n#endif', 'def f(']
  text = soup(random.Random(seed), symbols, 500)
  for concept in PYTHON + C:
    assert concept.label(text).shape == (len(text),)


# ------------------------------------------------------------- C against a slow reader


def slow_c(text):
  """Comments, strings and brackets one character at a time; no preprocessor, no raw strings."""
  comment, string, depth = [], [], []
  state, begun, open_brackets, skip = '', 0, [], False
  for t, character in enumerate(text):
    two = text[t : t + 2]
    before = text[t - 1 : t + 1] if t else ''
    if state == '//' and character == '\n':
      state = ''
    elif state in ('"', "'"):
      if skip:
        skip = False
      elif character == '\\':
        skip = True
      elif character in (state, '\n'):
        state = ''
    elif state == '/*':
      if before == '*/' and t >= begun + 3:
        state = ''
    elif not state and two in ('//', '/*'):
      state, begun = two, t
    elif not state and character in '"\'':
      state = character
    elif not state and character in '([{':
      open_brackets.append(character)
    elif not state and character in ')]}':
      opener = {')': '(', ']': '[', '}': '{'}[character]
      if opener in open_brackets:
        while open_brackets.pop() != opener:
          pass
    comment.append(state in ('//', '/*') and t > begun)
    string.append(state in ('"', "'"))
    depth.append(len(open_brackets))
  return comment, string, depth


@pytest.mark.parametrize('seed', range(20))
def test_c_agrees_with_reading_one_character_at_a_time(seed):
  symbols = [*'ab "\'()[]{}/*;', '//', '/*', '*/', '\\"', '\n']
  text = soup(random.Random(seed), symbols, 400)
  comment, string, depth = slow_c(text)
  np.testing.assert_array_equal(label(C, 'c', text), comment)
  np.testing.assert_array_equal(label(C, 's', text), string)
  np.testing.assert_array_equal(label(C, 'b', text), depth)


def test_c_is_quick():
  text = 'int f(int a) {\n  if (a) { g("x", \'y\'); } // z\n}\n' * 4000
  begun = time.monotonic()
  for concept in C:
    assert concept.label(text).shape == (len(text),)
  assert time.monotonic() - begun < 10  # one where nothing else runs
