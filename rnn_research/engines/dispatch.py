"""Which form of a recurrence runs: one table, filled by measurement, and a way to overrule it."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from rnn_research.cell import Cell, ScanFn
from rnn_research.engines.parallel import in_parallel
from rnn_research.engines.parallel.newton import newton_scan
from rnn_research.engines.parallel.shooting import shooting_scan
from rnn_research.errors import require_one_of

# (platform, cell) -> the engines that `experiments/speed.py` measured to be the fastest there; the
# first that can run does.
FASTEST = {
  ('cpu', 'elman'): ('fused',),
  ('cpu', 'gru'): ('fused',),
  ('cpu', 'gru_reset_before'): ('fused',),
  ('cpu', 'irnn'): ('fused',),
  ('cpu', 'lstm'): ('fused',),
  ('cpu', 'rin'): ('fused',),
  ('gpu', 'gru'): ('pallas', 'fused'),
  ('gpu', 'lstm'): ('pallas', 'fused'),
}

DESCRIPTIONS = {
  'scan': 'step by step under lax.scan',
  'fused': 'fused scan with a hand-written backward pass',
  'linear': 'associative scan of a linear recurrence, parallel over time',
  'cudnn': "cuDNN's LSTM, and the fused scan under masks and resets",
  'pallas': 'a Pallas kernel for Hopper GPUs, and the fused scan under masks and resets',
  'newton': "Newton's iteration, parallel over time",
  'shooting': 'multiple shooting, chunks of time in parallel',
}
_FOR_EVERY_CELL = {'newton': newton_scan, 'shooting': shooting_scan}


class Form(NamedTuple):
  """A whole-sequence form of a recurrence.

  Attributes:
    name: of the engine.
    scan: `scan` of a `Cell`.
    unavailable: `()` -> the reason in one sentence why it cannot run here, or None.
  """

  name: str
  scan: ScanFn
  unavailable: Callable[[], str | None] = lambda: None


class Auto(NamedTuple):
  """The engine 'auto', as `scan` of a `Cell`: the fastest of its forms.

  It decides when a function is traced, since a cell may be built before JAX's backend may start.

  Attributes:
    cell: its name in `FASTEST`.
    forms: the first of them runs everywhere, and is taken where nothing was measured.
  """

  cell: str
  forms: tuple[Form, ...]

  def __call__(self, params, state, xs, *, mask=None, reset=None, reset_state=None):
    scan = {form.name: form.scan for form in self.forms}[self.name()]
    return scan(params, state, xs, mask=mask, reset=reset, reset_state=reset_state)

  def name(self) -> str:
    """Returns the engine that runs on this platform; the question starts JAX's backend."""
    forms = {form.name: form for form in self.forms}
    ranked = FASTEST.get((jax.default_backend(), self.cell), ())
    return next((n for n in ranked if forms[n].unavailable() is None), self.forms[0].name)


def with_engine(cell: Cell, engine: str, name: str = '') -> Cell:
  """Returns the cell with the whole-sequence form of this name, or without one, to step.

  Args:
    cell: its `scan` is an `Auto` where it has forms to choose from.
    engine: 'auto' (the `scan` it has), 'scan' (steps), 'newton', 'shooting' (its chunks run in the
      form of 'auto') or the name of one of its forms.
    name: what an error calls the cell; '' is what its forms call it.

  Raises:
    InputError: the cell has no such engine, or draws at every step, which forms for every cell do
      not.
  """
  known = cell.scan.cell if isinstance(cell.scan, Auto) else 'this cell'
  check_engine('engine', engine, cell, name or known)
  if engine in _FOR_EVERY_CELL:
    return in_parallel(_FOR_EVERY_CELL[engine], cell)
  return cell._replace(scan=_scans(cell)[engine])


def check_engine(field: str, engine: str, cell: Cell, name: str) -> None:
  """Raises InputError, which begins with the field, unless the cell of this name has the engine."""
  require_one_of(field, engine, (*_scans(cell), *_FOR_EVERY_CELL), f' for {name}')


def _scans(cell):
  """Returns the engines that differ in `scan` alone: name -> `scan`."""
  forms = cell.scan.forms if isinstance(cell.scan, Auto) else ()
  return {'auto': cell.scan, 'scan': None} | {form.name: form.scan for form in forms}


def explain(cell: str, engine: str, scan: ScanFn | None) -> str:
  """Returns one line for people: what runs, and why. `scan` is that of the cell of this name."""
  if engine != 'auto':
    return f'{DESCRIPTIONS[engine]} (asked for)'
  if scan is None:
    return f'{DESCRIPTIONS["scan"]} ({cell} has no form of its own for whole sequences)'
  if not isinstance(scan, Auto):
    return f'the form for whole sequences of {cell} itself'
  platform, name = jax.default_backend(), scan.name()
  ranked = FASTEST.get((platform, scan.cell), ())
  why = (
    'the fastest measured'
    if ranked and name == ranked[0]
    else 'the fastest measured that runs here'
    if name in ranked
    else 'the default, nothing was measured'
  )
  return f'{DESCRIPTIONS[name]} ({why} for {cell} on {platform})'
