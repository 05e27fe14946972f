"""Recurrences, one per file, and the registry that names them."""

import functools
import inspect
from collections.abc import Callable

from rnn_research.cell import Cell
from rnn_research.cells.elman import elman, irnn, rin
from rnn_research.cells.gru import gru
from rnn_research.cells.layer_norm_lstm import layer_norm_lstm
from rnn_research.cells.lru import lru
from rnn_research.cells.lstm import lstm
from rnn_research.cells.lstm_variants import lstm_variant
from rnn_research.cells.mgu import mgu
from rnn_research.cells.min_gru import min_gru
from rnn_research.cells.min_lstm import min_lstm
from rnn_research.cells.mlstm import mlstm
from rnn_research.cells.mut import mut1, mut2, mut3
from rnn_research.cells.nas import nas
from rnn_research.cells.rhn import recurrent_highway
from rnn_research.cells.tree import Tree, tree_cell
from rnn_research.engines.dispatch import with_engine
from rnn_research.errors import InputError, did_you_mean

# name -> factory(hidden_size, *, dtype=...). A new cell is one file, and three lines in this one.
CELLS: dict[str, Callable[..., Cell]] = {
  'elman': elman,
  'gru': gru,
  'gru_reset_before': functools.partial(gru, reset='before'),
  'irnn': irnn,
  'layer_norm_lstm': layer_norm_lstm,
  'lru': lru,
  'lstm': lstm,
  'lstm_cifg': functools.partial(lstm_variant, change='cifg'),
  'lstm_fgr': functools.partial(lstm_variant, change='fgr'),
  'lstm_nfg': functools.partial(lstm_variant, change='nfg', forget_bias=0.0),  # it has no such gate
  'lstm_niaf': functools.partial(lstm_variant, change='niaf'),
  'lstm_nig': functools.partial(lstm_variant, change='nig'),
  'lstm_noaf': functools.partial(lstm_variant, change='noaf'),
  'lstm_nog': functools.partial(lstm_variant, change='nog'),
  'lstm_np': functools.partial(lstm_variant, change='np'),
  'lstm_peephole': functools.partial(lstm_variant, change=''),
  'mgu': mgu,
  'min_gru': min_gru,
  'min_lstm': min_lstm,
  'mlstm': mlstm,
  'mut1': mut1,
  'mut2': mut2,
  'mut3': mut3,
  'nas': nas,
  'rhn': recurrent_highway,
  'rin': rin,
}

__all__ = [
  'CELLS',
  'Tree',
  'elman',
  'gru',
  'irnn',
  'layer_norm_lstm',
  'lru',
  'lstm',
  'lstm_variant',
  'make_cell',
  'mgu',
  'min_gru',
  'min_lstm',
  'mlstm',
  'mut1',
  'mut2',
  'mut3',
  'nas',
  'recurrent_highway',
  'rin',
  'tree_cell',
  'with_engine',
]


def options_of(name: str) -> set[str]:
  """Returns the options of a registered cell beside its engine, which every cell has."""
  fixed = getattr(CELLS[name], 'keywords', {})
  return set(inspect.signature(CELLS[name]).parameters) - {'hidden_size', 'engine', *fixed}


def options_for(name: str, **wanted) -> dict:
  """Returns those of the wanted options that a cell takes; all of them for an unknown name."""
  return {k: v for k, v in wanted.items() if name not in CELLS or k in options_of(name)}


def make_cell(name: str, hidden_size: int, *, engine: str = 'auto', **options) -> Cell:
  """Makes a registered cell.

  Args:
    name: a key of `CELLS`.
    hidden_size: H.
    engine: see `with_engine`.
    **options: keywords of the cell's factory, such as `forget_bias`, `w_h_init` or `dtype`.

  Raises:
    InputError: there is no such cell, it has no such engine or option, or `hidden_size` is no
      integer of 1 or more, which its factory refuses too.
  """
  if name not in CELLS:
    raise InputError(
      f'unknown cell {name!r}{did_you_mean(name, CELLS)} (cells: {", ".join(CELLS)})'
    )
  known = sorted(options_of(name))
  for option in options:
    if option not in known:
      near = did_you_mean(option, known)
      raise InputError(f'{name} has no option {option!r}{near} (options: {", ".join(known)})')
  return with_engine(CELLS[name](hidden_size, **options), engine, name)
