"""Which form of a recurrence runs: one table, filled by measurement, and a way to overrule it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from rnn_research.cell import Cell, ScanFn
from rnn_research.engines.parallel.newton import parallel
from rnn_research.engines.parallel.shooting import shooting
from rnn_research.errors import InputError

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
_UNMEASURED = 'fused'

DESCRIPTIONS = {
  'scan': 'step by step under lax.scan',
  'fused': 'fused scan with a hand-written backward pass',
  'cudnn': "cuDNN's LSTM",
  'pallas': 'a Pallas kernel for Hopper GPUs, and the fused scan under masks and resets',
  'newton': "Newton's iteration, parallel over time",
  'shooting': 'multiple shooting, chunks of time in parallel',
}


class Engine(NamedTuple):
  """A whole-sequence form that does not run everywhere.

  Attributes:
    scan: `scan` of a `Cell`.
    unavailable: `()` -> the reason in one sentence why it cannot run here, or None.
  """

  scan: ScanFn
  unavailable: Callable[[], str | None]

  def __call__(self, params, state, xs, *, mask=None, reset=None, reset_state=None):
    return self.scan(params, state, xs, mask=mask, reset=reset, reset_state=reset_state)


class Fastest(NamedTuple):
  """The engine 'auto', as `scan` of a `Cell`.

  Attributes:
    cell: its name.
    offered: (engine, form) of each.
  """

  cell: str
  offered: tuple[tuple[str, ScanFn], ...]

  def __call__(self, params, state, xs, *, mask=None, reset=None, reset_state=None):
    return dict(self.offered)[self.name()](
      params, state, xs, mask=mask, reset=reset, reset_state=reset_state
    )

  def name(self) -> str:
    """Returns the engine that runs on this platform; the question starts JAX's backend."""
    offered = dict(self.offered)
    runs = lambda form: not isinstance(form, Engine) or form.unavailable() is None
    ranked = FASTEST.get((jax.default_backend(), self.cell), ())
    return next((name for name in ranked if runs(offered[name])), _UNMEASURED)


def with_engine(cell: Cell, name: str, engine: str, forms: Mapping[str, ScanFn]) -> Cell:
  """Returns the cell with a whole-sequence form, or without one, to step.

  Args:
    cell: steps.
    name: that of the cell, in `FASTEST`.
    engine: 'auto', 'scan' (steps), 'newton', 'shooting' or a key of `forms`. Shooting runs its
      chunks in the form of 'auto'.
    forms: engine -> `scan` of the cell, an `Engine` where it does not run everywhere. 'auto'
      decides when the function is traced, since a cell may be built before JAX's backend may start.

  Raises:
    InputError: the cell has no such engine.
  """
  auto = Fastest(name, tuple(forms.items())) if _UNMEASURED in forms else None
  offered = {
    **forms,
    'newton': parallel(cell).scan,
    'shooting': shooting(cell._replace(scan=auto)).scan,
  }
  if engine not in ('auto', 'scan', *offered):
    raise InputError(
      f'engine is {engine!r}, expected one of {", ".join(["auto", "scan", *offered])} for {name}'
    )
  return cell._replace(scan={'auto': auto, 'scan': None, **offered}[engine])


def explain(cell: str, engine: str, scan: ScanFn | None) -> str:
  """Returns one line for people: what runs, and why. `scan` is the cell's."""
  if scan is None and engine == 'auto':
    return f'{DESCRIPTIONS["scan"]} (this cell has no other form)'
  if engine != 'auto':
    return f'{DESCRIPTIONS[engine]} (asked for)'
  if not isinstance(scan, Fastest):
    return "the cell's own form for whole sequences (it has no other)"
  platform, name = jax.default_backend(), scan.name()
  first, *others = FASTEST.get((platform, cell), ('',))
  why = (
    'the fastest measured'
    if name == first
    else 'the fastest measured that runs here'
    if name in others
    else 'the default, nothing was measured'
  )
  return f'{DESCRIPTIONS[name]} ({why} for {cell} on {platform})'
