"""The house: what stands on which floor. Imports go down only, and never in a circle."""

import ast
import graphlib
import pathlib
import sys

import pytest

import rnn_research
from rnn_research import names

ROOT = pathlib.Path(__file__).resolve().parent.parent

# From the roof to the ground. A module may import what stands on floors below its own, and on its own.
FLOORS = [
  ['launch'],
  ['rnn_research.launching'],
  ['experiments'],
  ['rnn_research.workdir'],
  ['rnn_research.tasks', 'rnn_research.benchmark'],
  ['rnn_research.analysis'],
  ['rnn_research.training'],
  ['rnn_research.decoding'],
  [
    'rnn_research.models',
    'rnn_research.encoders',
    'rnn_research.data',
    'rnn_research.metrics',
  ],
  [
    'rnn_research.cells',
    'rnn_research.combinators',
    'rnn_research.flax_compat',
    'rnn_research.torch_compat',
  ],
  ['rnn_research.engines', 'rnn_research.memory'],
  [
    'rnn_research.experiment',
    'rnn_research.unroll',
    'rnn_research.stepping',
    'rnn_research.parameters',
    'rnn_research.cell',
    'rnn_research.layers',
    'rnn_research.products',
    'rnn_research.losses',
    'rnn_research.initializers',
    'rnn_research.typing',
    'rnn_research.errors',
    'rnn_research.terminal',
  ],
]
# `load` finds out which experiment a workdir belongs to only when it is called.
UP = {('rnn_research.workdir', 'experiments')}
# Names for notebooks, from everywhere; nothing inside imports it.
FRONT_DOOR = {'rnn_research', 'rnn_research.names'}


def modules():
  """Returns the name of every module of the house -> its file."""
  files = [ROOT / 'launch.py']
  files += [
    file for room in ('experiments', 'rnn_research') for file in (ROOT / room).rglob('*.py')
  ]
  return {
    '.'.join(file.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): file
    for file in files
  }


MODULES = modules()


def imports_of(name):
  """Returns the modules of the house that a module imports anywhere, also inside of functions."""
  found = set()
  for node in ast.walk(ast.parse(MODULES[name].read_text('utf-8'))):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{name} has a relative import'
      for alias in node.names:
        whole = f'{node.module}.{alias.name}'
        found.add(whole if whole in MODULES else node.module)
  return found & MODULES.keys()


ARROWS = {(name, other) for name in MODULES for other in imports_of(name)} - UP


def floor_of(name):
  """Returns the number of a module's floor, 0 for the roof."""
  for number, rooms in enumerate(FLOORS):
    if any(name == room or name.startswith(f'{room}.') for room in rooms):
      return number
  raise AssertionError(f'{name} stands on no floor: add it to FLOORS')


@pytest.mark.parametrize('name', sorted(MODULES.keys() - FRONT_DOOR))
def test_imports_go_down(name):
  up = {
    (one, other)
    for one, other in ARROWS
    if one == name and (other in FRONT_DOOR or floor_of(other) < floor_of(one))
  }
  assert up == set()


def test_there_is_no_circle():
  below = {name: {other for one, other in ARROWS if one == name} for name in MODULES}
  graphlib.TopologicalSorter(below).prepare()


def test_what_is_excused_is_still_there():
  every = {(name, other) for name in MODULES for other in imports_of(name)}
  assert every >= UP


def test_every_floor_is_inhabited():
  for room in (room for rooms in FLOORS for room in rooms):
    assert any(name == room or name.startswith(f'{room}.') for name in MODULES), room


def test_the_front_door_offers_its_names_beside_the_modules():
  assert rnn_research.__all__ == names.__all__
  for name in names.__all__:
    assert getattr(rnn_research, name) is getattr(names, name), name
  assert {*dir(rnn_research)} >= {*names.__all__}
  assert 'rnn_research.unroll' in sys.modules  # whose function has the same name
  with pytest.raises(AttributeError, match="'rnn_research' has no attribute 'lsmt'"):
    _ = rnn_research.lsmt
