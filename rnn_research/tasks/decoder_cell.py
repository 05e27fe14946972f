"""The cell of a decoder that is conditioned on something, as the block `model` of a config names
it."""

from rnn_research.cell import Cell
from rnn_research.cells import make_cell, options_for
from rnn_research.engines import dispatch
from rnn_research.errors import require
from rnn_research.models.decoders import has_h
from rnn_research.training.config import DTYPES


def decoder_cell(config, **options) -> Cell:
  """Returns the cell.

  Args:
    config: the block `model`.
    **options: of the cell, further ones, where it has them.

  Raises:
    InputError: its state has no h.
  """
  cell = make_cell(
    config.cell,
    config.hidden_size,
    engine=config.engine,
    dtype=DTYPES[config.dtype],
    **options_for(config.cell, forget_bias=config.forget_bias, **options),
  )
  require('model.cell', config.cell, has_h(cell), 'a cell whose state has an h')
  return cell


def engine_of(config, cell: Cell, does: str) -> str:
  """Returns what runs the cell, for people.

  Args:
    config: the block `model`.
    cell: of `decoder_cell`.
    does: what the decoder does at every step, so that it cannot be run in parallel over time; ''
      for nothing.
  """
  chosen = dispatch.explain(config.cell, config.engine, cell.scan)
  steps = f'; the decoder, whose every step {does}, steps' if does else ''
  return f'{chosen}{steps}'
