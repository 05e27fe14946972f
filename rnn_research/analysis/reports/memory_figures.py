"""Figures of gradients through soft memory: of softmax solid, of gates dashed."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from rnn_research.analysis.reports.plots import (
  GREY,
  LABEL,
  TICK,
  Plot,
  caption,
  finish,
  legend_beside,
  styles,
)
from rnn_research.analysis.reports.tables import quantiles

_LINES = {'softmax': '-', 'gates': '--'}

Curves = Mapping[tuple[str, float], np.ndarray]  # (selection, strength) -> [draws, places]


def reach_figure(curves: Curves, text: str) -> Plot:
  """Draws which share of the gradient reaches the cells of a memory, those of the largest weight
  first.

  Args:
    curves: [S, N] shares that add up to 1 over cells.
    text: the caption's first sentences.
  """
  figure = Figure(figsize=(11, 7.2), layout='constrained')
  axes = figure.subplots()
  places = np.arange(1, len(next(iter(curves.values()))[0]) + 1)
  table = {'rank': places, **_draw(axes, curves, places)}
  axes.axhline(1.0 / len(places), color=GREY, linewidth=1.2, linestyle=':', zorder=1)
  axes.set_yscale('log')
  axes.set_xlabel('cell, by falling weight', fontsize=LABEL)
  axes.set_ylabel("share of the gradient's norm", fontsize=LABEL)
  finish(axes)
  legend_beside(axes)
  caption(figure, f'{text} Dotted: the same share for every cell. Medians over draws.')
  return Plot(figure, table)


def shaking_figure(reads: Curves, gradients: Curves, text: str) -> Plot:
  """Draws how much a reading and its gradient change in each step of a path.

  Args:
    reads: [S, T - 1] relative changes of what is read, as `gradients` of the gradient.
    text: the caption's first sentences.
  """
  figure = Figure(figsize=(12.5, 6.6), layout='constrained')
  parts = 'what is read', 'the gradient'
  table: dict[str, np.ndarray] = {}
  for axes, curves, name in zip(figure.subplots(1, 2), (reads, gradients), parts, strict=True):
    count = len(next(iter(curves.values()))[0])
    places = (np.arange(count) + 0.5) / count
    drawn = _draw(axes, curves, places)
    table |= {'place': places} | {f'{name}, {label}': values for label, values in drawn.items()}
    axes.set_ylim(bottom=0.0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel('query, from one cell to the other', fontsize=LABEL)
    axes.set_ylabel(f'change of {name}', fontsize=LABEL)
    finish(axes)
    axes.get_legend().remove()
  handles, labels = axes.get_legend_handles_labels()
  figure.legend(
    handles, labels, loc='outside upper center', ncols=len(_LINES), fontsize=TICK, frameon=False
  )
  caption(figure, f'{text} Left: what is read; right: the gradient. Medians over draws.', 122)
  return Plot(figure, table)


def _draw(axes, curves, places):
  """Draws medians, in a colour for each strength, and returns them: label -> [places]."""
  strengths = sorted({strength for _, strength in curves})
  colours = dict(zip(strengths, (style[0] for style in styles(len(strengths))), strict=True))
  drawn = {}
  for (name, strength), values in curves.items():
    (middle,) = quantiles(values.T, (0.5,))
    label = f'{name}, strength {strength:g}'
    axes.plot(
      places, middle, color=colours[strength], linestyle=_LINES[name], linewidth=2.2, label=label
    )
    drawn[label] = middle
  return drawn
