"""A laboratory of recurrent networks: cells as pure functions, one driver, one training loop.

Its names are those of `rnn_research.names`, loaded when the first of them is asked for: what needs
no JAX, such as the list of experiments, does not wait for it.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from rnn_research.names import *  # noqa: F403

# Where a name is that of a function and of its module, the function is offered.
_MODULES = {path.stem for path in Path(__file__).parent.iterdir()} - {'unroll'}


class _Package(ModuleType):
  def __getattr__(self, name):
    if name not in _MODULES:  # `from rnn_research import` asks for those too, before it loads them
      names = importlib.import_module('rnn_research.names')
      if name == '__all__' or name in names.__all__:
        return getattr(names, name)
    raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')

  def __setattr__(self, name, value):
    # An import of the module `unroll` would put it in the place of the function.
    if name != 'unroll' or not isinstance(value, ModuleType):
      super().__setattr__(name, value)

  def __dir__(self):
    return sorted({*super().__dir__(), *self.__all__})


sys.modules[__name__].__class__ = _Package
