"""The mode that verifies what units do: its table, on the terminal and as Markdown."""

from collections.abc import Sequence
from typing import Any

from rnn_research.analysis.reports.sections import Section, write
from rnn_research.analysis.reports.tables import markdown
from rnn_research.experiment import Command
from rnn_research.tasks.language.interpret import INTERPRET
from rnn_research.tasks.language.verify import PEERS, SAME, STEPS, Verified
from rnn_research.terminal import aligned
from rnn_research.training.progress import tell
from rnn_research.training.result import report_folder

_HEADER = (
  *('concept', 'unit', 'symbols', 'loss without', 'of peers', 'most', 'everywhere'),
  *('moved', 'by peers', 'pairs', 'ends, on', 'off', 'free', 'held at'),
)


def rows(verified: Sequence[Verified]) -> list[tuple[str, ...]]:
  """Returns what was verified as rows of text, first the header."""
  return [_HEADER, *map(_row, verified)]


def _row(one):
  found, ablation, patching, holding = one
  return (
    found.concept,
    str(found.unit),
    f'{ablation.relevant:,}',
    f'{ablation.on_relevant:+.4f}',
    f'{ablation.peers:+.4f}',
    f'{ablation.most:+.4f}',
    f'{ablation.everywhere:+.4f}',
    *(
      (f'{patching.unit:.2g}', f'{patching.peers:.2g}', f'{patching.pairs}') if patching else '---'
    ),
    *_held(holding),
  )


def _held(holding):
  if holding is None:
    return '----'
  on, off = holding.values
  rates = (f'{rate:.2f}' for rate in (holding.on, holding.off, holding.free))
  return *rates, f'{on:+.2f} and {off:+.2f}'


def print_verified(run: Any, **options) -> None:
  """Prints what `verify` finds of the units that `interpret` finds, and writes it as Markdown."""
  made = run.interpret(**options)
  verified = run.verify(made)
  if not verified:
    tell('no unit was found to verify')
    return
  table = rows(verified)
  print(aligned(table))
  out = report_folder(run.workdir, 'units')
  page = Section('', before=markdown(table[0], table[1:]), after=_ABOUT)
  write(out, run.name, [page], 'verified.md')
  tell(f'{_ABOUT}\nwritten to {out}/verified.md')


_ABOUT = f"""
loss without: nats per symbol more, on the symbols that end the concept where it holds (or before
which it holds), when the unit stays at its mean; of peers: the mean of {PEERS} units of like
deviation; most: the greatest of them; everywhere: of the unit, on all symbols. moved: total
variation of {STEPS} predictions when the unit is as after another context that ends in the same
{SAME} symbols but differs in the concept; by peers: the same of other units. ends: how often what
ends the concept comes in 1,000 symbols that the model writes, while the unit is held as where it
holds (on), as where it does not (off), and free.
"""

VERIFY = Command(
  'tests whether the model uses the units that interpret finds: without them, patched, held',
  INTERPRET.flags,
  print_verified,
  reads_data=True,
)
