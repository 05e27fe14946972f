"""Makes Markdown of plain docstrings: what is indented is a block of code, `<eos>` is no HTML."""

import re

import griffe

# A blank line, or the start, and then lines that are indented: equations, commands, tables.
_BLOCK = re.compile(r'(?:(?<=\n\n)|\A)((?:  .*(?:\n|\Z)|\n(?=  ))+)')
_CODE = re.compile(r'(```.*?```|`[^`\n]*`)', re.DOTALL)


class PlainDocstrings(griffe.Extension):
  """Changes every docstring before it is rendered."""

  def on_object(self, *, obj, **kwargs):
    """Called by Griffe for every module, class, function and attribute."""
    if obj.docstring:
      obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
  """Returns a docstring with its indented blocks as fenced code, and no HTML outside of
  code."""
  fenced = _BLOCK.sub(lambda found: _fence(found[1]), text)
  parts = _CODE.split(fenced)
  parts[::2] = [part.replace('<', '\\<') for part in parts[::2]]
  return ''.join(parts)


def _fence(block):
  lines = block.rstrip('\n').split('\n')
  shift = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
  end = '\n' * (len(block) - len(block.rstrip('\n')))
  return '\n'.join(['```text', *(line[shift:] for line in lines), '```']) + end
