"""From times to medians, ratios and Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rnn_research.analysis.reports.tables import markdown
from rnn_research.benchmark.contenders import EITHER, PARTS

_HEADINGS = {'forward': 'forward', 'gradient': 'forward + backward', 'step': 'training step'}


def spread(times: Sequence[float]) -> dict[str, float]:
  """Returns {'median', 'lower', 'upper', 'calls'}: the quartiles of times in seconds, and how many
  there are."""
  lower, median, upper = np.percentile(times, (25, 50, 75))
  return {
    'median': float(median),
    'lower': float(lower),
    'upper': float(upper),
    'calls': len(times),
  }


def summary(
  results: Mapping[str, Mapping[str, Any]], against: Mapping[str, str], num_symbols: int
) -> dict[str, dict[str, Any]]:
  """Returns what is to be known of each contender of a comparison.

  Args:
    results: of `suite.compare`.
    against: label -> label of the one it is compared with.
    num_symbols: in a training step.

  Returns:
    label -> {'parts': part -> spread, 'ratios': part -> median / median of the one it is compared
    with (above 1: that one is quicker), 'symbols_per_second', 'compile_seconds', 'memory'}, or
    {'failed': why}. `ratios` is empty for one that is compared with itself, and where the other one
    failed.
  """
  parts = {
    label: {part: spread(times) for part, times in result['times'].items()}
    for label, result in results.items()
    if 'failed' not in result
  }
  return {
    label: dict(result)
    if 'failed' in result
    else {
      'parts': parts[label],
      'ratios': {}
      if against[label] == label
      else ratios(parts[label], parts.get(against[label], {})),
      'symbols_per_second': num_symbols / parts[label]['step']['median'],
      'compile_seconds': result['compile_seconds'],
      'memory': result['memory'],
    }
    for label, result in results.items()
  }


def speedups(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """Returns what is to be known of each engine for a long sequence.

  Args:
    results: of `suite.compare`; the first is that of the plain scan.

  Returns:
    label -> {'parts': part -> spread, 'ratios': part -> median of the plain scan / median (above 1:
    quicker than it), 'difference'}, or {'failed': why}. `ratios` is empty for the plain scan, and
    where that failed.
  """
  parts = {
    label: {part: spread(times) for part, times in result['times'].items()}
    if 'times' in result
    else {}
    for label, result in results.items()
  }
  plain = next(iter(results))
  return {
    label: dict(result)
    if 'failed' in result
    else {
      'parts': parts[label],
      'ratios': {} if label == plain else ratios(parts[plain], parts[label]),
      'difference': result['difference'],
    }
    for label, result in results.items()
  }


def ratios(
  parts: Mapping[str, Mapping[str, float]], others: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
  """Returns part -> median / median of the other one, for parts that both have."""
  return {part: parts[part]['median'] / others[part]['median'] for part in parts if part in others}


def shown(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """Returns summaries with one row for the quicker of `EITHER`, its label as 'which', in the place
  of the first."""
  rows = {}
  for label, values in summaries.items():
    name = next((name for name, labels in EITHER.items() if label in labels), label)
    if name not in rows or _step(values) < _step(rows[name]):
      rows[name] = {**values, 'which': label}
  return rows


def geometric_means(
  comparisons: Iterable[Mapping[str, Mapping[str, Any]]],
) -> dict[str, dict[str, float]]:
  """Returns label -> part -> geometric mean of the ratios over the comparisons (as of `shown`) that
  have one."""
  collected = {}
  for rows in comparisons:
    for label, values in rows.items():
      for part, ratio in values.get('ratios', {}).items():
        collected.setdefault(label, {}).setdefault(part, []).append(ratio)
  return {
    label: {
      part: math.exp(sum(map(math.log, values)) / len(values)) for part, values in by_part.items()
    }
    for label, by_part in collected.items()
  }


def comparison_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns a comparison (as of `shown`) as Markdown."""
  parts = _measured(values.get('parts', ()) for values in rows.values())
  header = ['', *_milliseconds(parts), 'symbols/s', 'compile, s', 'memory, MiB']
  return markdown(
    header, [[_named(label, values), *_cells(values, parts)] for label, values in rows.items()]
  )


def engines_table(measured: Iterable[Mapping[str, Any]]) -> str:
  """Returns {'setting', 'engines': as of `speedups`} of every setting as Markdown."""
  rows, parts = [], PARTS[:2]
  for one in measured:
    for label, values in one['engines'].items():
      rest = (
        [_failed(values), *[''] * len(parts)]
        if 'failed' in values
        else [*_times(values, parts), f'{values["difference"]:.1e}']
      )
      rows.append([f'{one["setting"]}: {label}', *rest])
  return markdown(['', *_milliseconds(parts), 'largest difference'], rows)


def means_table(means: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
  """Returns cell -> label -> part -> ratio as Markdown."""
  parts = _measured(by_part for by_label in means.values() for by_part in by_label.values())
  return markdown(
    ['cell', 'against', *(_HEADINGS[part] for part in parts)],
    [
      [cell, label, *(f'{by_part[part]:.2f}' if part in by_part else '' for part in parts)]
      for cell, by_label in means.items()
      for label, by_part in by_label.items()
    ],
  )


def milliseconds(values: Mapping[str, float]) -> str:
  """Returns a spread for people: median and quartiles."""
  return '{} ({} - {})'.format(
    *(f'{1e3 * values[name]:.4g}' for name in ('median', 'lower', 'upper'))
  )


def _step(values):
  return values['parts']['step']['median'] if 'parts' in values else math.inf


def _named(label, values):
  return values['which'] if 'parts' in values else label


def _measured(by_part):
  """Returns those of `PARTS` that any of the mappings has."""
  found = {part for parts in by_part for part in parts}
  return [part for part in PARTS if part in found]


def _milliseconds(parts):
  return [f'{_HEADINGS[part]}, ms' for part in parts]


def _cells(values, parts):
  if 'failed' in values:
    return [_failed(values), *[''] * (len(parts) + 2)]
  compiled, memory = values['compile_seconds'], values['memory']
  return [
    *_times(values, parts),
    f'{values["symbols_per_second"]:,.0f}',
    '' if compiled is None else f'{compiled:.1f}',
    '' if memory is None else f'{memory / 2**20:,.0f}',
  ]


def _times(values, parts):
  bold = {part: f' **{ratio:.2f}**' for part, ratio in values['ratios'].items()}
  return [milliseconds(values['parts'][part]) + bold.get(part, '') for part in parts]


def _failed(values):
  return f'failed: {values["failed"].replace("|", "/")}'
