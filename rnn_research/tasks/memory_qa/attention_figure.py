"""Which sentences a model attends to: a heat map over the sentences of a story."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from rnn_research.analysis.reports.plots import LABEL, TICK, VERMILLION, Plot, caption

_MOST = 24  # sentences that are drawn, the last ones


def attention_figure(
  weights: np.ndarray,
  sentences: Sequence[str],
  supports: Sequence[int],
  columns: Sequence[str],
  label: str,
  text: str,
) -> Plot:
  """Draws the weights of sentences, one below the other; those that the answer follows from are
  marked and in another colour.

  Args:
    weights: [K, L] float32 in [0, 1] or, of linear attention and of associations, any; drawn as 0
      below and as 1 above.
    sentences: L of them.
    supports: places of the supporting ones.
    columns: K names: of hops, or of slots.
    label: what the weights are.
    text: the caption.
  """
  first = max(0, len(sentences) - _MOST)
  marks = ['▶ ' if i in supports else '' for i in range(len(sentences))]
  height = 2.6 + 0.42 * (len(sentences) - first) + 0.06 * max(map(len, columns))
  figure = Figure(figsize=(11, height), layout='constrained')
  axes = figure.subplots()
  image = axes.imshow(weights[:, first:].T, cmap='Greys', vmin=0, vmax=1, aspect='auto')
  axes.set_yticks(
    range(len(sentences) - first),
    [f'{mark}{sentence}' for mark, sentence in zip(marks, sentences, strict=True)][first:],
    fontsize=TICK,
  )
  for i, tick in enumerate(axes.get_yticklabels(), first):
    tick.set_color(VERMILLION if i in supports else 'black')
  turn = 90 if len(columns) > 6 else 0
  axes.set_xticks(range(len(columns)), columns, fontsize=TICK, rotation=turn)
  bar = figure.colorbar(image, ax=axes, shrink=0.8)
  bar.set_label(label, fontsize=LABEL)
  bar.ax.tick_params(labelsize=TICK)
  caption(figure, text)
  table: dict[str, Sequence[float | str]] = {'sentence': list(sentences)}
  table['supports'] = [float(i in supports) for i in range(len(sentences))]
  for i, (name, row) in enumerate(zip(columns, weights, strict=True), 1):
    table[f'{i} {name}'] = row.tolist()
  return Plot(figure, table)
