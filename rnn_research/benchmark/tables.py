"""The tables of speed.md."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from rnn_research.analysis.reports.tables import markdown
from rnn_research.benchmark.contenders import PARTS, Setting
from rnn_research.benchmark.measure import Results

_PARTS = dict(zip(PARTS, ('forward', 'forward + backward', 'training step'), strict=True))

Means = Mapping[str, Mapping[str, Mapping[str, float]]]  # cell -> label -> part -> ratio


def means_table(means: Means) -> str:
  """Returns ratios as Markdown."""
  rows = [
    ([cell, label], by_part)
    for cell, by_label in means.items()
    for label, by_part in by_label.items()
  ]
  measured = {part for _, by_part in rows for part in by_part}
  cell = lambda by_part, part: f'{by_part[part]:.2f}' if part in by_part else ''
  columns = {_PARTS[part]: functools.partial(cell, part=part) for part in PARTS if part in measured}
  return table(['cell', 'against'], columns, rows)


def comparison_table(rows: Results) -> str:
  """Returns a comparison (as of `shown`) as Markdown."""
  measured = {part for values in rows.values() for part in values.get('parts', ())}
  columns = {
    **_times_of(part for part in PARTS if part in measured),
    'symbols/s': lambda values: f'{values["symbols_per_second"]:,.0f}',
    'compile, s': lambda values: _known(values['compile_seconds'], 1, '.1f'),
    'memory, MiB': lambda values: _known(values['memory'], 2**20, ',.0f'),
  }
  return table([''], columns, [([values['which']], values) for values in rows.values()])


def engines_table(parallel: Iterable[Mapping[str, Any]]) -> str:
  """Returns what `groups.parallel` measured as Markdown."""
  rows = [
    ([f'{Setting(**one["setting"])}: {label}'], values)
    for one in parallel
    for label, values in one['engines'].items()
  ]
  difference = {'largest difference': lambda values: f'{values["difference"]:.1e}'}
  return table([''], _times_of(PARTS[:2]) | difference, rows)


def rates_table(measured: Results, amount: int, unit: str) -> str:
  """Returns label -> quartiles as Markdown: times, how much of `amount` a second, ratios to the
  first, which is ours."""
  ours = next(iter(measured.values()))
  is_compared = lambda values: values is not ours and 'median' in ours
  columns = {
    'ms': milliseconds,
    f'{unit}/s': lambda values: f'{amount / values["median"]:,.0f}',
    'time / ours': lambda values: (
      f'{values["median"] / ours["median"]:.2f}' if is_compared(values) else ''
    ),
  }
  return table([''], columns, [([label], values) for label, values in measured.items()])


def table(names, columns, rows):
  """Returns Markdown.

  Args:
    names: headings of the first columns.
    columns: heading -> `values -> cell`, of the others.
    rows: (names, values), or (names, {'failed': why}), each.
  """

  def cells(values):
    if 'failed' in values:
      return [f'failed: {values["failed"].replace("|", "/")}', *[''] * (len(columns) - 1)]
    return [cell(values) for cell in columns.values()]

  return markdown([*names, *columns], [[*name, *cells(values)] for name, values in rows])


def _times_of(parts):
  """Returns columns with the times of parts, and in bold their ratios."""

  def cell(values, part):
    bold = f' **{values["ratios"][part]:.2f}**' if part in values['ratios'] else ''
    return milliseconds(values['parts'][part]) + bold

  return {f'{_PARTS[part]}, ms': functools.partial(cell, part=part) for part in parts}


def milliseconds(values):
  """Returns quartiles for people: the median, and the other two."""
  median, lower, upper = (f'{1e3 * values[name]:.4g}' for name in ('median', 'lower', 'upper'))
  return f'{median} ({lower} - {upper})'


def _known(value, unit, form):
  return '' if value is None else f'{value / unit:{form}}'
