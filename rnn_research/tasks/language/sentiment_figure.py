"""How a unit parts sentences of two classes."""

from collections.abc import Sequence

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

_BINS = 40


def histogram(
  values: np.ndarray,
  labels: np.ndarray,
  classes: Sequence[str],
  threshold: float,
  unit: str,
  about: str,
) -> Plot:
  """Draws the value of a unit after sentences, a histogram per class, and its threshold.

  Args:
    values: [N] float32.
    labels: [N] 0 or 1.
    classes: names of both.
    threshold: between them; one that is infinite is not drawn.
    unit: its name.
    about: the caption.
  """
  edges = np.histogram_bin_edges(values, _BINS)
  counts = [np.histogram(values[labels == label], edges)[0] for label in (0, 1)]
  names = [f'label {name}' for name in classes]
  figure = Figure(figsize=(11, 6.6), layout='constrained')
  axes = figure.subplots()
  for name, count, colour, line in zip(names, counts, (BLUE, VERMILLION), ('-', '--'), strict=True):
    axes.stairs(count, edges, fill=True, color=colour, alpha=0.2)
    axes.stairs(count, edges, color=colour, linestyle=line, linewidth=2.5, label=shown(name))
  if np.isfinite(threshold):
    axes.axvline(threshold, color=GREY, linestyle=':', linewidth=2.5, label='threshold')
  axes.set_xlabel(f'value after the sentence: {unit}', fontsize=LABEL)
  axes.set_ylabel('test sentences', fontsize=LABEL)
  finish(axes)
  caption(figure, about)
  columns = dict(zip(names, np.array(counts, float), strict=True))
  return Plot(figure, {'from': edges[:-1], 'to': edges[1:], **columns})
