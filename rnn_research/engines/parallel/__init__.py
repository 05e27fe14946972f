"""Whole-sequence forms that run in parallel over time."""

from collections.abc import Callable

from rnn_research.cell import Cell
from rnn_research.errors import InputError


def in_parallel(run: Callable, cell: Cell, **options) -> Cell:
  """Returns a cell that is evaluated over whole sequences by a form for every cell.

  Args:
    run: `newton_scan` or `shooting_scan`.
    cell: as `run` needs it.
    **options: of `run`.

  Raises:
    InputError: the cell draws at every step, which these forms do not.
  """
  if cell.noisy:
    raise InputError(
      f"engine is '{run.__name__.removesuffix('_scan')}', expected 'scan' for a cell that draws at "
      'every step (zoneout, stacks with dropout)'
    )

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    return run(cell, params, state, xs, mask=mask, reset=reset, reset_state=reset_state, **options)[
      :2
    ]

  return cell._replace(scan=scan)
