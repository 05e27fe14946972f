"""Writes the page of config fields from the code: names, defaults, and the comments beside them."""

import ast
import importlib.util
import inspect
import io
import tokenize
from pathlib import Path

import experiments
from rnn_research.training import config as shared
from rnn_research.training import optimizer
from rnn_research.training.config import flat, trains

PAGE = 'config.md'
_HEAD = """# Config fields

`--config.block.field=value` sets a field on the command line; `python launch.py --experiment=NAME
--help` prints the fields of an experiment with their defaults. A list is a tuple in quotes,
`--config.grid.learning_rates='(1e-3, 4e-3)'`.

This page is made from the code. Where variants of an experiment have other defaults than its first
one, they are named."""


def on_files(files, config):
  """Puts the page in the place of what says that it is made here; a hook of MkDocs."""
  from mkdocs.structure.files import File

  files.remove(files.get_file_from_path(PAGE))
  files.append(File.generated(config, PAGE, content=page()))
  return files


def page() -> str:
  """Returns the whole page."""
  common = flat(shared.base_config())
  parts = [_HEAD, '## Every experiment that trains {#shared}']
  parts += _tables('shared', {'': common}, comments_of_base())
  for name in experiments.names():
    variants = {v: experiments.get_config(f'{name}:{v}') for v in experiments.variants(name)}
    known = common if trains(next(iter(variants.values()))) else {}
    values = {v: flat(config) for v, config in variants.items()}
    own = {v: _apart(of_one, known, values) for v, of_one in values.items()}
    parts += [f'## {name}', _about(name), *_tables(name, own, comments_of(name))]
  return '\n\n'.join(parts) + '\n'


def comments_of(name: str) -> dict[str, str]:
  """Returns field -> the comment beside it, '' where there is none, of an experiment's config; in
  the order of the code."""
  source = importlib.util.find_spec(f'experiments.{name}').origin
  own = _comments(Path(source).read_text('utf-8'), 'get_config')
  shared_too = {f: text for f, text in comments_of_base().items() if not own.get(f)}
  return {f: shared_too.get(f, text) for f, text in own.items()} | shared_too


def comments_of_base() -> dict[str, str]:
  """Returns the same of the blocks that every training has."""
  of_optimizer = _comments(inspect.getsource(optimizer), 'default_config')
  of_base = _comments(inspect.getsource(shared), 'base_config')
  return of_base | {f'optimizer.{field}': text for field, text in of_optimizer.items()}


def _comments(source, function):
  """Returns the comments beside or above keys of dicts and assignments, inside one function."""
  beside, above = {}, {}
  for token in tokenize.generate_tokens(io.StringIO(source).readline):
    if token.type == tokenize.COMMENT:
      alone = token.line.lstrip().startswith('#')
      (above if alone else beside)[token.start[0]] = token.string.lstrip('# ')
  body = next(node for node in ast.parse(source).body if getattr(node, 'name', '') == function)
  found = {}
  for field, first, last in sorted(_fields(body), key=lambda one: one[1]):
    lines = []
    while (line := first - 1 - len(lines)) in above:
      lines.insert(0, above[line])
    found[field] = beside.get(last) or ' '.join(lines)
  return found


def _fields(function):
  """Yields (field, its first line, its last line) for every key of a dict that is a config."""
  for node in ast.walk(function):
    prefix = ''
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
      prefix, value = ast.unparse(node.targets[0]), node.value
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith('.update'):
      prefix, value = ast.unparse(node.func).removesuffix('.update'), node.args[0]
    else:
      value = node
    if isinstance(value, ast.Call) and ast.unparse(value.func) == 'ConfigDict':
      value = value.args[0]
    elif value is node:
      continue
    if isinstance(value, ast.Dict):
      prefix = prefix.removeprefix('config').removeprefix('.')
      yield from _keys(value, f'{prefix}.' if prefix else '')


def _keys(literal, prefix):
  for key, value in zip(literal.keys, literal.values, strict=True):
    yield f'{prefix}{key.value}', key.lineno, value.end_lineno
    if isinstance(value, ast.Dict):
      yield from _keys(value, f'{prefix}{key.value}.')


def _apart(values, known, of_variants):
  """Returns the fields that the shared blocks lack, or that have another default in a variant."""
  differs = lambda field: any(other.get(field) != known[field] for other in of_variants.values())
  return {f: value for f, value in values.items() if f not in known or differs(f)}


def _about(name):
  return '\n'.join(f'- `{name}:{v}`: {told.text}' for v, told in experiments.variants(name).items())


def _tables(name, of_variants, comments):
  """Yields one table per block, each after its heading."""
  (first, defaults), *others = of_variants.items()
  blocks = {}
  for field in sorted(defaults, key=list(comments).index):
    block, _, short = field.rpartition('.')
    changed = [f'`{v}` {_code(of[field])}' for v, of in others if of[field] != defaults[field]]
    cells = f'`{short}`', _code(defaults[field]), comments[field], ', '.join(changed)
    blocks.setdefault(block, []).append(cells)
  for block, rows in blocks.items():
    head = 'field', f'default of `{first}`' if others else 'default', 'meaning', 'other variants'
    columns = 4 if any(cells[3] for cells in rows) else 3
    lines = [head, ('---',) * 4, *rows]
    yield f'### {block or "(top)"} {{#{name}-{block or "top"}}}'
    yield '\n'.join(f'| {" | ".join(cells[:columns])} |' for cells in lines)


def _code(value):
  return f'`{value:g}`' if isinstance(value, float) else f'`{value!r}`'
