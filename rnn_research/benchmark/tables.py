"""From times to medians, ratios and Markdown."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rnn_research.analysis.reports.tables import markdown
from rnn_research.benchmark.contenders import EITHER, PARTS

_HEADINGS = {'forward': 'forward', 'gradient': 'forward + backward', 'step': 'training step'}


def quartiles(times: Sequence[float]) -> dict[str, float]:
  """Returns {'median', 'lower', 'upper', 'calls'}: the quartiles of times in seconds, and how many
  there are."""
  lower, median, upper = map(float, np.percentile(times, (25, 50, 75)))
  return {'median': median, 'lower': lower, 'upper': upper, 'calls': len(times)}


def summary(
  results: Mapping[str, Mapping[str, Any]], against: Mapping[str, str], num_symbols: int
) -> dict[str, dict[str, Any]]:
  """Returns what is to be known of each contender of a comparison.

  Args:
    results: of `suite.compare`.
    against: label -> label of the one it is compared with.
    num_symbols: in a training step.

  Returns:
    label -> {'parts': part -> quartiles, 'ratios': part -> median / median of the one it is
    compared with (above 1: that one is quicker), 'symbols_per_second', 'compile_seconds',
    'memory'}, or {'failed': why}. `ratios` is empty for one that is compared with itself, and where
    the other one failed.
  """
  summaries = _summaries(results, ('compile_seconds', 'memory'))
  for label, values in summaries.items():
    if 'failed' not in values:
      other = summaries.get(against[label], {}) if against[label] != label else {}
      values['ratios'] = _ratios(values['parts'], other.get('parts', {}))
      values['symbols_per_second'] = num_symbols / values['parts']['step']['median']
  return summaries


def speedups(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """Returns what is to be known of each engine for a long sequence.

  Args:
    results: of `suite.compare`; the first is that of the plain scan.

  Returns:
    label -> {'parts': part -> quartiles, 'ratios': part -> median of the plain scan / median (above
    1: quicker than it), 'difference'}, or {'failed': why}. `ratios` is empty for the plain scan,
    and where that failed.
  """
  summaries = _summaries(results, ('difference',))
  plain = next(iter(summaries))
  for label, values in summaries.items():
    if 'failed' not in values:
      others = {} if label == plain else summaries[plain].get('parts', {})
      values['ratios'] = _ratios(others, values['parts'])
  return summaries


def _summaries(results, names):
  """Returns label -> {'parts': part -> quartiles, and the entries `names`}, or {'failed': why}."""
  return {
    label: dict(result)
    if 'failed' in result
    else {'parts': {part: quartiles(times) for part, times in result['times'].items()}}
    | {name: result[name] for name in names}
    for label, result in results.items()
  }


def _ratios(parts, others):
  return {part: parts[part]['median'] / others[part]['median'] for part in parts if part in others}


def shown(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """Returns summaries with one row for the quicker of `EITHER`, its label as 'which', in the place
  of the first."""
  step = lambda values: values['parts']['step']['median'] if 'parts' in values else math.inf
  rows: dict[str, dict[str, Any]] = {}
  for label, values in summaries.items():
    name = next((name for name, labels in EITHER.items() if label in labels), label)
    if name not in rows or step(values) < step(rows[name]):
      rows[name] = {**values, 'which': label}
  return rows


def geometric_means(
  comparisons: Iterable[Mapping[str, Mapping[str, Any]]],
) -> dict[str, dict[str, float]]:
  """Returns label -> part -> geometric mean of the ratios over the comparisons (as of `shown`) that
  have one."""
  logs: dict[str, dict[str, list[float]]] = {}
  for rows in comparisons:
    for label, values in rows.items():
      for part, ratio in values.get('ratios', {}).items():
        logs.setdefault(label, {}).setdefault(part, []).append(math.log(ratio))
  return {
    label: {part: math.exp(sum(found) / len(found)) for part, found in by_part.items()}
    for label, by_part in logs.items()
  }


def table(
  header: Sequence[str],
  rows: Iterable[tuple[Sequence[str], Mapping[str, Any]]],
  cells: Callable[[Mapping[str, Any]], Sequence[str]],
) -> str:
  """Returns rows as Markdown: names, then `cells(values)`, or why there are none.

  Args:
    header: of all columns.
    rows: names, values.
    cells: values -> what stands in the other columns.
  """

  def row(names, values):
    if 'failed' not in values:
      return [*names, *cells(values)]
    failed = f'failed: {values["failed"].replace("|", "/")}'
    return [*names, failed, *[''] * (len(header) - len(names) - 1)]

  return markdown(header, [row(*one) for one in rows])


def comparison_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns a comparison (as of `shown`) as Markdown."""
  parts = _measured(values.get('parts', ()) for values in rows.values())

  def cells(values):
    compiled, memory = values['compile_seconds'], values['memory']
    return [
      *_times(values, parts),
      f'{values["symbols_per_second"]:,.0f}',
      '' if compiled is None else f'{compiled:.1f}',
      '' if memory is None else f'{memory / 2**20:,.0f}',
    ]

  header = ['', *_milliseconds(parts), 'symbols/s', 'compile, s', 'memory, MiB']
  name = lambda label, values: values['which'] if 'parts' in values else label
  return table(header, [([name(*row)], row[1]) for row in rows.items()], cells)


def engines_table(measured: Iterable[Mapping[str, Any]]) -> str:
  """Returns {'setting', 'engines': as of `speedups`} of every setting as Markdown."""
  rows = [
    ([f'{one["setting"]}: {label}'], values)
    for one in measured
    for label, values in one['engines'].items()
  ]
  cells = lambda values: [*_times(values, PARTS[:2]), f'{values["difference"]:.1e}']
  return table(['', *_milliseconds(PARTS[:2]), 'largest difference'], rows, cells)


def means_table(means: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
  """Returns cell -> label -> part -> ratio as Markdown."""
  parts = _measured(by_part for by_label in means.values() for by_part in by_label.values())
  rows = [
    ([cell, label], by_part)
    for cell, by_label in means.items()
    for label, by_part in by_label.items()
  ]
  cells = lambda by_part: [f'{by_part[part]:.2f}' if part in by_part else '' for part in parts]
  return table(['cell', 'against', *(_HEADINGS[part] for part in parts)], rows, cells)


def rates_table(measured: Mapping[str, Mapping[str, Any]], amount: int, unit: str) -> str:
  """Returns label -> quartiles as Markdown: times, how much of `amount` a second, ratios to the
  first, which is ours."""
  ours = next(iter(measured.values())).get('median')

  def cells(values):
    ratio = '' if values['is_ours'] or not ours else f'{values["median"] / ours:.2f}'
    return [milliseconds(values), f'{amount / values["median"]:,.0f}', ratio]

  rows = [
    ([label], {**values, 'is_ours': label.startswith('ours')}) for label, values in measured.items()
  ]
  return table(['', 'ms', f'{unit}/s', 'time / ours'], rows, cells)


def milliseconds(values: Mapping[str, float]) -> str:
  """Returns quartiles for people: the median, and the other two."""
  median, lower, upper = (f'{1e3 * values[name]:.4g}' for name in ('median', 'lower', 'upper'))
  return f'{median} ({lower} - {upper})'


def _measured(by_part):
  """Returns those of `PARTS` that any of the mappings has."""
  found = {part for parts in by_part for part in parts}
  return [part for part in PARTS if part in found]


def _milliseconds(parts):
  return [f'{_HEADINGS[part]}, ms' for part in parts]


def _times(values, parts):
  bold = {part: f' **{ratio:.2f}**' for part, ratio in values['ratios'].items()}
  return [milliseconds(values['parts'][part]) + bold.get(part, '') for part in parts]
