"""Which form of a recurrence runs: one table, filled by measurement, and a way to overrule it."""

from collections.abc import Mapping

import jax

from rnn_research.cell import ScanFn
from rnn_research.errors import InputError

# (platform, cell) -> the engine that `experiments/speed.py` measured to be the fastest there.
FASTEST = {
    ('cpu', 'elman'): 'fused',
    ('cpu', 'gru'): 'fused',
    ('cpu', 'gru_reset_before'): 'fused',
    ('cpu', 'irnn'): 'fused',
    ('cpu', 'lstm'): 'fused',
    ('cpu', 'rin'): 'fused',
}
_UNMEASURED = 'fused'

DESCRIPTIONS = {
    'scan': 'step by step under lax.scan',
    'fused': 'fused scan with a hand-written backward pass',
    'cudnn': "cuDNN's LSTM",
    'pallas': 'a Pallas kernel for Hopper GPUs',
    'newton': "Newton's iteration, parallel over time",
    'shooting': 'multiple shooting, chunks of time in parallel',
}


def choose(cell: str, engine: str, offered: Mapping[str, ScanFn]) -> ScanFn | None:
  """Returns the whole-sequence form of a cell, or None to step.

  Args:
    cell: its name.
    engine: 'auto', 'scan' (steps), or a key of `offered`.
    offered: engine -> `scan` of a `Cell`. 'auto' decides when the function is traced, since asking for the platform
      starts JAX's backend, and a cell may be built before that.

  Raises:
    InputError: the cell has no such engine.
  """
  if engine == 'scan' or (engine == 'auto' and _UNMEASURED not in offered):
    return None
  if engine not in ('auto', *offered):
    raise InputError(f'engine is {engine!r}, expected one of {", ".join(["auto", "scan", *offered])} for {cell}')

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    name = fastest(cell) if engine == 'auto' else engine
    return offered[name](params, state, xs, mask=mask, reset=reset, reset_state=reset_state)

  return scan


def fastest(cell: str) -> str:
  """Returns the engine that 'auto' takes on this platform."""
  return FASTEST.get((jax.default_backend(), cell), _UNMEASURED)


def explain(cell: str, engine: str, whole: bool) -> str:
  """Returns one line for people: what runs, and why. `whole` says that the cell has a whole-sequence form."""
  if not whole and engine == 'auto':
    return f'{DESCRIPTIONS["scan"]} (this cell has no other form)'
  if engine != 'auto':
    return f'{DESCRIPTIONS[engine]} (asked for)'
  if all(name != cell for _, name in FASTEST):
    return "the cell's own form for whole sequences (it has no other)"
  platform = jax.default_backend()
  why = 'the fastest measured' if (platform, cell) in FASTEST else 'the default, nothing was measured'
  return f'{DESCRIPTIONS[fastest(cell)]} ({why} for {cell} on {platform})'
