"""How the best unit parts sentences of two classes."""

import numpy as np
from matplotlib.figure import Figure

from rnn_research.analysis.reports.glyphs import shown
from rnn_research.analysis.reports.plots import (
  BLUE,
  GREY,
  LABEL,
  VERMILLION,
  Plot,
  caption,
  finish,
)
from rnn_research.tasks.language.sentiment import Sentiment

_BINS = 40


def histogram(found: Sentiment) -> Plot:
  """Draws the value of the trained network's best unit after the test sentences, a histogram per
  class, and its threshold."""
  best, labels = found.trained.best_unit, found.data.labels['test']
  values = best.values['test']
  edges = np.histogram_bin_edges(values, _BINS)
  counts = [np.histogram(values[labels == label], edges)[0] for label in (0, 1)]
  figure = Figure(figsize=(11, 6.6), layout='constrained')
  axes = figure.subplots()
  styles = ((BLUE, '-', '//'), (VERMILLION, '--', None))
  for name, count, (colour, line, hatch) in zip(found.data.classes, counts, styles, strict=True):
    axes.stairs(count, edges, fill=True, color=colour, alpha=0.25, hatch=hatch)
    axes.stairs(
      count, edges, color=colour, linestyle=line, linewidth=2.5, label=f'label {shown(name)}'
    )
  if np.isfinite(best.threshold.value):
    axes.axvline(best.threshold.value, color=GREY, linestyle=':', linewidth=2.5, label='threshold')
  axes.set_xlabel(f'value after the sentence: {best.unit}', fontsize=LABEL)
  axes.set_ylabel('test sentences', fontsize=LABEL)
  finish(axes)
  caption(
    figure,
    f'The single unit that tells the two classes apart best, of {found.num_units:,}, after each of '
    f'{len(values):,} test sentences. The unit and its threshold were chosen on train and dev; '
    f'{best.test:.1%} of the test sentences lie on the right side; the more frequent class has '
    f'{found.majority:.1%} of them.',
  )
  columns = {
    f'label {name}': count.astype(float)
    for name, count in zip(found.data.classes, counts, strict=True)
  }
  return Plot(figure, {'from': edges[:-1], 'to': edges[1:], **columns})
