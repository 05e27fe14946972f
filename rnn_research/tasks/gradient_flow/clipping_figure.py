"""The figure of training with and without clipping."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnn_research.analysis.reports.plots import GREY, LABEL, TICK, Plot, caption, finish, styles
from rnn_research.analysis.reports.tables import finite
from rnn_research.tasks.gradient_flow.clipping import diverged_at


def clipping_figure(
  runs: Mapping[str, tuple[np.ndarray, np.ndarray]], clip_norm: float, text: str
) -> Plot:
  """Draws training with and without clipping: loss curves, and a histogram of gradient norms.

  Args:
    runs: label -> (loss [S, N], gradient norm [S, N]) of S seeds; not finite after divergence.
    clip_norm: where the norm was cut.
    text: the caption's first sentences.
  """
  figure = Figure(figsize=(12.5, 6.6), layout='constrained')
  left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
  bins = _bins(np.concatenate([norm.ravel() for _, norm in runs.values()]))
  table: dict[str, np.ndarray] = {}
  for (label, (loss, norm)), (colour, line, _) in zip(runs.items(), styles(len(runs)), strict=True):
    for i, row in enumerate(map(_smooth, finite(loss))):
      left.plot(row, color=colour, linestyle=line, linewidth=1.8, label=label if i == 0 else None)
      gone = diverged_at(loss[i])
      if gone is not None:
        left.plot(
          gone, 1.15, color=colour, marker='x', markersize=11, markeredgewidth=2.5, clip_on=False
        )
      table |= {
        f'{label}, seed {i}: loss': finite(loss[i]),
        f'{label}, seed {i}: gradient norm': finite(norm[i]),
      }
    right.hist(
      np.clip(norm[np.isfinite(norm)], bins[0], bins[-1]),
      bins,
      color=colour,
      histtype='step',
      linestyle=line,
      linewidth=2.5,
      label=label,
    )
  _clipping_axes(left, right, clip_norm)
  caption(figure, text, 122)
  return Plot(figure, {'update': np.arange(loss.shape[1]), **table})


def _bins(norms: np.ndarray) -> np.ndarray:
  """Returns edges from the smallest to the largest norm, both in [1e-3, 1e6]."""
  shown = norms[np.isfinite(norms) & (norms > 0)]
  low, high = np.clip([shown.min(), shown.max()] if len(shown) else [1.0, 1.0], 1e-3, 1e6)
  return np.geomspace(low, high, 40) if low < high else np.geomspace(low / 3.0, low * 3.0, 40)


def _clipping_axes(left: Axes, right: Axes, clip_norm: float) -> None:
  left.axhline(1 / 6, color=GREY, linewidth=1.5, linestyle=':', label='always saying 1')
  left.set(ylim=(0.03, 1.2), yscale='log')
  left.set_yticks([0.05, 0.1, 0.2, 0.5, 1.0], ['0.05', '0.1', '0.2', '0.5', '1'], minor=False)
  left.set_yticks([], minor=True)
  left.set_xlabel('update', fontsize=LABEL)
  left.set_ylabel('mean squared error', fontsize=LABEL)
  right.axvline(clip_norm, color='black', linewidth=1.5, label='clipping norm')
  right.set(xscale='log', yscale='log' if right.dataLim.y1 > 0.0 else 'linear')
  right.set_xlabel('gradient norm before clipping', fontsize=LABEL)
  right.set_ylabel('updates', fontsize=LABEL)
  for axes in (left, right):
    finish(axes)
  left.legend(fontsize=TICK, frameon=False, loc='lower left')


def _smooth(values, width=25):
  """Returns a trailing mean, which a divergence cannot reach before it happens."""
  sums = np.cumsum(np.concatenate([[0.0], values]))
  first = np.maximum(np.arange(1, len(values) + 1) - width, 0)
  return (sums[1:] - sums[first]) / (np.arange(1, len(values) + 1) - first)
