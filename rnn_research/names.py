"""The names that `rnn_research` offers to notebooks and programs; nothing inside imports them."""

from rnn_research.cell import Cell
from rnn_research.cells import (
  CELLS,
  Tree,
  elman,
  gru,
  irnn,
  layer_norm_lstm,
  lru,
  lstm,
  lstm_variant,
  mgu,
  min_gru,
  min_lstm,
  mlstm,
  mut1,
  mut2,
  mut3,
  nas,
  recurrent_highway,
  rin,
  tree_cell,
  with_engine,
)
from rnn_research.cells.dnc import dnc
from rnn_research.cells.entnet import entnet
from rnn_research.cells.ntm import ntm
from rnn_research.cells.tpr_rnn import tpr_rnn
from rnn_research.combinators.depth import highway, residual, stack
from rnn_research.combinators.weights import (
  layer_norm,
  learned_initial_state,
  variational_dropout,
  weight_dropout,
  zoneout,
)
from rnn_research.stepping import free_run
from rnn_research.unroll import bidirectional, length_mask, unroll, unroll_layers

__all__ = [
  'CELLS',
  'Cell',
  'Tree',
  'bidirectional',
  'dnc',
  'elman',
  'entnet',
  'free_run',
  'gru',
  'highway',
  'irnn',
  'layer_norm',
  'layer_norm_lstm',
  'learned_initial_state',
  'length_mask',
  'lru',
  'lstm',
  'lstm_variant',
  'mgu',
  'min_gru',
  'min_lstm',
  'mlstm',
  'mut1',
  'mut2',
  'mut3',
  'nas',
  'ntm',
  'recurrent_highway',
  'residual',
  'rin',
  'stack',
  'tpr_rnn',
  'tree_cell',
  'unroll',
  'unroll_layers',
  'variational_dropout',
  'weight_dropout',
  'with_engine',
  'zoneout',
]
