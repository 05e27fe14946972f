"""Writes the page of cells: a section for each module, those of registered cells first."""

import pkgutil

from rnn_research import cells

PAGE = 'reference/cells.md'
_PLACE = '<!-- a section for each module of `rnn_research/cells/` is made here -->'


def on_page_markdown(markdown, *, page, **kwargs):
  """Puts the sections in the place of what says that they are made here; a hook of MkDocs."""
  return markdown.replace(_PLACE, sections()) if page.file.src_uri == PAGE else markdown


def sections() -> str:
  """Returns the sections, in the order of `CELLS`."""
  registered = [getattr(factory, 'func', factory).__module__ for factory in cells.CELLS.values()]
  others = [module.name for module in pkgutil.iter_modules(cells.__path__, 'rnn_research.cells.')]
  return '\n\n'.join(f'::: {name}' for name in dict.fromkeys([*registered, *others]))
