"""Recurrences, one per file, and the registry that names them."""

import functools

from rnn_research.cells.elman import elman, irnn
from rnn_research.cells.gru import gru
from rnn_research.cells.lstm import lstm

# name -> factory(hidden_size, *, dtype=...). A new cell is one file and one line here.
CELLS = {
    'elman': elman,
    'gru': gru,
    'gru_reset_before': functools.partial(gru, reset='before'),
    'irnn': irnn,
    'lstm': lstm,
    'lstm_peephole': functools.partial(lstm, peepholes=True),
}

__all__ = ['CELLS', 'elman', 'gru', 'irnn', 'lstm']
