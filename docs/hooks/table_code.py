"""Lets code in tables break between words only: a flag stays in one piece."""

import re

_CELL = re.compile(r'<td.*?</td>', re.DOTALL)
_CODE = re.compile(r'(<code>)([^<]*)(</code>)')
_WORD = re.compile(r'\S+')


def on_page_content(html, **kwargs):
  """Wraps the words of code in the cells of tables; a hook of MkDocs."""
  wrap = lambda found: found[1] + _WORD.sub(r'<span class="word">\g<0></span>', found[2]) + found[3]
  return _CELL.sub(lambda cell: _CODE.sub(wrap, cell[0]), html)
