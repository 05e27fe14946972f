"""Figures of what a recurrent model gets that an n-gram does not, and of what its errors are."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from rnn_research.analysis.measures.text_errors import EDGES, ByDistance, Comparison, Gains
from rnn_research.analysis.reports.glyphs import families, shown
from rnn_research.analysis.reports.plots import (
  BLUE,
  GREY,
  LABEL,
  TICK,
  VERMILLION,
  Plot,
  caption,
  finish,
  legend_beside,
  styles,
)
from rnn_research.analysis.reports.sections import Section
from rnn_research.analysis.reports.tables import markdown

_SHOWN = 12  # characters at each end of the ranking
_LEAST = 20  # predictions of a character, or of a closer, without which it is not drawn


def sections(comparison: Comparison) -> list[Section]:
  """Returns the sections of a comparison with n-grams."""
  ngram = f'{comparison.order}-gram'
  found = [
    Section('Loss', before=_losses(comparison), metrics={'nats per symbol': _nats(comparison)}),
    Section(
      f'Which characters it gets that the {ngram} does not',
      'gains',
      gain_figure(comparison.symbols, ngram),
      before=_classes(comparison.classes, ngram),
    ),
    Section(
      'What its errors are',
      'errors',
      error_figure(comparison.causes, comparison.predictions, ngram),
      before=_counts(comparison, ngram),
      metrics={'errors': comparison.causes},
    ),
  ]
  often = {k: v for k, v in comparison.distances.items() if v.counts.sum() >= _LEAST}
  if often:
    plot = distance_figure(often, ngram)
    found.append(Section('Closing what was opened long ago', 'distances', plot))
  return found


def gain_figure(gains: Gains, ngram: str) -> Plot:
  """Draws the difference between the mean probabilities that two models give each character, of
  those that gain and lose most.

  Args:
    gains: of the recurrent model over the n-gram, per character.
    ngram: name of the n-gram model.
  """
  often = np.flatnonzero(gains.counts >= _LEAST)
  ends = often if len(often) <= 2 * _SHOWN else np.r_[often[:_SHOWN], often[-_SHOWN:]]
  difference = gains.probs[0] - gains.probs[1]
  figure = Figure(figsize=(11, 2.2 + 0.34 * len(ends)), layout='constrained')
  axes = figure.subplots()
  places = np.arange(len(ends)) + (np.arange(len(ends)) >= _SHOWN) * (len(ends) < len(often))
  colours = [BLUE if d >= 0 else VERMILLION for d in difference[ends]]
  bars = axes.barh(places, difference[ends], color=colours)
  texts = [f'{p:.2f} against {q:.2f}' for p, q in gains.probs[:, ends].T]
  axes.bar_label(bars, texts, padding=4, fontsize=TICK - 3)
  names = [
    f'{_name(c)}   {n:,}' for c, n in zip(gains.labels[ends], gains.counts[ends], strict=True)
  ]
  axes.set_yticks(places, names, family=families())
  axes.set_xlabel('difference of the mean probability', fontsize=LABEL)
  axes.set_ylabel('next character, how often', fontsize=LABEL)
  axes.invert_yaxis()
  axes.axvline(0, color='black', linewidth=1)
  finish(axes)
  axes.margins(x=0.25, y=0.01)
  axes.grid(False, axis='y')
  caption(
    figure,
    f'Mean probability of a character where it is the next: recurrent model less {ngram}, and the '
    f'two beside the bar. Of the characters that are to be predicted {_LEAST} times at least, '
    f'at most {_SHOWN} from each end.',
  )
  return Plot(
    figure,
    {
      'character': [_name(c) for c in gains.labels],
      'predictions': gains.counts,
      'p of recurrent model': gains.probs[0],
      f'p of {ngram}': gains.probs[1],
      'log p of recurrent model': gains.log_probs[0],
      f'log p of {ngram}': gains.log_probs[1],
    },
  )


def error_figure(causes: Mapping[str, int], predictions: int, ngram: str) -> Plot:
  """Draws the errors of a model as one bar in pieces, each piece in a row of its own.

  Args:
    causes: cause -> errors, in the order in which they are removed.
    predictions: of which these are the errors.
    ngram: name of the longest of the n-gram models that make up the oracle.
  """
  counts = np.array([*causes.values()])
  total = max(counts.sum(), 1)
  figure = Figure(figsize=(11, 2.4 + 0.55 * len(counts)), layout='constrained')
  axes = figure.subplots()
  left = np.concatenate([[0], np.cumsum(counts)[:-1]])
  colours = [GREY if i == len(counts) - 1 else BLUE for i in range(len(counts))]
  bars = axes.barh(range(len(counts)), counts / total, left=left / total, color=colours)
  axes.bar_label(bars, [f'{c / total:.1%}' for c in counts], padding=4, fontsize=TICK)
  axes.set_yticks(range(len(counts)), [*causes])
  axes.set_xlabel(f'share of {counts.sum():,} errors', fontsize=LABEL)
  axes.xaxis.set_major_formatter(PercentFormatter(1.0))
  axes.invert_yaxis()
  finish(axes)
  axes.set_xlim(0, 1.12)
  axes.set_xticks(np.linspace(0, 1, 6))
  axes.grid(False, axis='y')
  caption(
    figure,
    f'Errors: probability of the right character below one half, {counts.sum() / predictions:.1%} '
    f'of {predictions:,} predictions. Removed from top to bottom, each counted under the first '
    f'cause that explains it. Oracle: an n-gram of order 1 up to that of the {ngram} gives the '
    'right character one half or more.',
  )
  return Plot(figure, {'cause': [*causes], 'errors': counts, 'share': counts / total})


def distance_figure(distances: Mapping[str, ByDistance], ngram: str) -> Plot:
  """Draws the mean log p of the closers that are most frequent, four at most, over the distance
  from their opener.

  Args:
    distances: closer -> bins between `EDGES`, of a recurrent model and an n-gram.
    ngram: name of the n-gram model.
  """
  often = sorted(distances.items(), key=lambda item: -item[1].counts.sum())[:4]
  figure = Figure(figsize=(max(9.0, 6.2 * len(often)), 7.2), layout='constrained')
  columns = figure.subplots(2, len(often), squeeze=False, sharex='col', height_ratios=(3, 1)).T
  for (closer, bins), (upper, lower) in zip(often, columns, strict=True):
    _panel(upper, lower, closer, bins, ngram)
  columns[0][0].set_ylabel('mean log p of the closer', fontsize=LABEL)
  columns[0][1].set_ylabel('how many', fontsize=LABEL)
  for upper, _ in columns[:-1]:
    upper.get_legend().remove()
  legend_beside(columns[-1][0])
  caption(
    figure,
    'Mean log-probability, nats, of a closing quote or bracket where it comes, over the characters '
    'since its opener. Below: how many closers these are.',
    max(80, 56 * len(often)),
  )
  return Plot(figure, _table(distances, ngram))


def _panel(upper: Axes, lower: Axes, closer: str, bins: ByDistance, ngram: str) -> None:
  some = np.flatnonzero(bins.counts)
  labels = 'recurrent model', ngram
  for label, row, (colour, line, marker) in zip(labels, bins.log_probs, styles(2), strict=True):
    upper.plot(
      some,
      row[some],
      color=colour,
      linestyle=line,
      linewidth=2.5,
      marker=marker,
      markersize=9,
      label=label,
    )
  bars = lower.bar(some, bins.counts[some], color=GREY, width=0.7)
  lower.bar_label(bars, fontsize=TICK - 3)
  lower.set_yticks([])
  lower.set_xticks(some, [_range(k) for k in some], rotation=60)
  lower.set_xlabel('characters since the opener', fontsize=LABEL)
  upper.set_title(f'closing  {_name(closer)}', fontsize=LABEL, family=families())
  for axes in (upper, lower):
    finish(axes)
  lower.margins(y=0.4)
  lower.grid(False)


def _table(distances, ngram):
  rows = [
    (_name(closer), EDGES[k], EDGES[k + 1] - 1, bins.counts[k], *bins.log_probs[:, k])
    for closer, bins in distances.items()
    for k in range(len(bins.counts))
  ]
  names = 'closer', 'from', 'to', 'count', 'log p of recurrent model', f'log p of {ngram}'
  return dict(zip(names, zip(*rows, strict=True), strict=True))


def _range(k):
  low, high = EDGES[k], EDGES[k + 1] - 1
  return str(low) if low == high else f'{low}\u2013{high}'


def _name(character):
  """Returns a character as people can tell it: white space by name."""
  known = {' ': 'space', '\n': '\\n', '\r': '\\r', '\t': '\\t'}
  return known.get(character) or (
    shown(character) if character.isprintable() else ascii(character)[1:-1]
  )


def _nats(comparison):
  ngrams = {f'{n}-gram': value for n, value in enumerate(comparison.ngram_nats.tolist(), 1)}
  return {'recurrent model': comparison.nats, **ngrams}


def _losses(comparison):
  rows = [[name, f'{value:.4f}'] for name, value in _nats(comparison).items()]
  return (
    f'Of {comparison.predictions:,} predictions. The n-grams have modified Kneser-Ney smoothing '
    'and saw the same training text; an n-gram reads the n - 1 symbols before.\n\n'
    + markdown(['model', 'nats per symbol'], rows)
  )


def _classes(classes, ngram):
  header = ['class', 'predictions', 'p of recurrent model', f'p of {ngram}', 'nats gained per one']
  rows = zip(classes.labels, classes.counts, *classes.probs, *classes.log_probs, strict=True)
  return markdown(
    header,
    [[name, f'{n:,}', f'{p:.3f}', f'{q:.3f}', f'{a - b:+.3f}'] for name, n, p, q, a, b in rows],
  )


def _counts(comparison, ngram):
  ours, theirs = comparison.errors
  return (
    f'{ours:,} errors of the recurrent model ({ours / comparison.predictions:.1%} of the '
    f'predictions), {theirs:,} of the {ngram} ({theirs / comparison.predictions:.1%}).\n'
  )
