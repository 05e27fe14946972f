"""Learning to write in one picture: the loss, and beside it what the model wrote meanwhile."""

import textwrap
from string import ascii_lowercase

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnn_research.analysis.reports import plots
from rnn_research.analysis.reports.glyphs import MONO, families, shown
from rnn_research.analysis.reports.plots import GREY, LABEL, TICK, Plot
from rnn_research.analysis.reports.tables import Rows, samples_of

_PANELS, _LINES, _LETTERS = 3, 6, 54  # samples, their lines, letters of a line


def learning_figure(rows: Rows) -> Plot | None:
  """Draws the loss over steps and beside it the beginnings of the first sample, of one half way
  through the samples, and of the last.

  Args:
    rows: lines of a log, see `plots.loss_curves`; those of samples have `sample`.

  Returns:
    The figure, None where there are fewer than two samples.
  """
  samples = samples_of(rows)
  if len(samples) < 2:
    return None
  chosen = [samples[i] for i in sorted({0, len(samples) // 2, len(samples) - 1})]
  figure = Figure(figsize=(14, 6.2), layout='constrained')
  grid = figure.add_gridspec(_PANELS, 2, width_ratios=(1, 1.15))
  axes = figure.add_subplot(grid[:, 0])
  plots.draw_losses(axes, rows)
  for row, (step, text) in enumerate(chosen):
    letter = ascii_lowercase[row]
    _mark(axes, step, letter)
    _text_panel(figure.add_subplot(grid[row, 1]), f'({letter}) {_when(step)}', text)
  plots.finish(axes)
  steps, texts = zip(*chosen, strict=True)
  return Plot(figure, {'step': steps, 'sample': texts})


def _when(step: int) -> str:
  return 'before any training' if step == 0 else f'after {step:,} steps'


def _mark(axes: Axes, step: int, letter: str) -> None:
  """Draws a line across the curves where a sample was written, with its letter above."""
  axes.axvline(step, color=GREY, linewidth=1, linestyle=':')
  axes.annotate(
    f'({letter})',
    (step, 1.0),
    (0, 4),
    xycoords=('data', 'axes fraction'),
    textcoords='offset points',
    ha='center',
    fontsize=TICK,
  )


def _text_panel(axes: Axes, title: str, text: str) -> None:
  axes.set(xticks=[], yticks=[], facecolor='#f4f4f4')
  axes.spines[:].set_visible(False)
  axes.set_title(title, loc='left', fontsize=LABEL)
  axes.text(
    0.015,
    0.95,
    '\n'.join(_lines(text)),
    va='top',
    family=families(MONO),
    fontsize=TICK - 2,
    linespacing=1.15,
    parse_math=False,
    transform=axes.transAxes,
  )


def _lines(text: str) -> list[str]:
  """Returns the first lines of a sample, long ones broken."""
  lines = [
    part
    for line in text.split('\n')
    for part in textwrap.wrap(
      shown(line.expandtabs(2), MONO),
      _LETTERS,
      drop_whitespace=False,
      replace_whitespace=False,
      break_on_hyphens=False,
    )
    or ['']
  ]
  return lines[:_LINES]
