"""The groups of the experiment `speed`: numbers for its report, and lines for people who wait."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rnn_research.benchmark import contenders, suite, tables, workers
from rnn_research.benchmark.contenders import Contender, Setting
from rnn_research.benchmark.suite import Effort
from rnn_research.training.progress import show


def comparisons(
  settings: Iterable[Setting],
  rivals: Callable[[str], Mapping[str, Contender]],
  parts: Sequence[str],
  effort: Effort,
) -> list[dict[str, Any]]:
  """Returns {'setting', 'contenders': as of `tables.summary`} of each setting.

  Args:
    settings: models and batches.
    rivals: cell -> (label -> contender).
    parts: what is measured, memory and compilation of the first.
    effort: how long.
  """
  with workers.hiring(effort.accelerator) as hire:
    return [_compare(setting, rivals(setting.cell), parts, effort, hire) for setting in settings]


def parallel(settings: Iterable[Setting], effort: Effort) -> list[dict[str, Any]]:
  """Returns {'setting', 'engines': as of `tables.speedups`} of each setting."""
  with workers.hiring(effort.accelerator) as hire:
    return [_engines(setting, effort, hire) for setting in settings]


def scaling(
  base: Setting, factors: Iterable[int], effort: Effort
) -> dict[str, list[dict[str, Any]]]:
  """Returns axis -> [{'factor', 'size', 'step': spread, or 'failed'}, ..] of our training step."""
  measured = suite.scaling(base, factors, effort)
  for points in measured.values():
    for point in points:
      if 'times' in point:
        point['step'] = tables.spread(point.pop('times'))
  show('cost of each size: done')
  return measured


def sampling(
  setting: Setting, rivals: Mapping[str, Contender], effort: Effort
) -> dict[str, dict[str, Any]]:
  """Returns label -> spread, or {'failed': why}, of whole texts: one is enough for a turn, three in
  all."""
  parts = {'ours': ['sampler'], 'PyTorch': ['LSTMCell', 'nn.LSTM']}
  measured, effort = {}, effort._replace(rounds=min(effort.rounds, 3), calls=1)
  for label, result in suite.compare(rivals, setting, parts, effort, discard=0).items():
    for part in parts[label]:
      measured[f'{label}: {part}'] = (
        result if 'failed' in result else tables.spread(result['times'][part])
      )
  show(f'sampling: {_rates(measured, setting.unroll_length, "characters")}')
  return measured


def translation(
  setting: Setting, rivals: Mapping[str, Contender], effort: Effort
) -> dict[str, dict[str, Any]]:
  """Returns label -> spread, or {'failed': why}, of a batch of sentences."""
  results = suite.compare(rivals, setting, dict.fromkeys(rivals, ('greedy',)), effort)
  measured = {
    label: result if 'failed' in result else tables.spread(result['times']['greedy'])
    for label, result in results.items()
  }
  show(f'translation: {_rates(measured, setting.batch_size, "sentences")}')
  return measured


def pipeline(settings: Iterable[Setting], effort: Effort) -> list[dict[str, Any]]:
  """Returns {'batch_size', 'unroll_length', 'symbols_per_second', and the spread of a call, or
  'failed'} of each."""
  return [_draw(setting, effort) for setting in settings]


def _compare(setting, rivals, parts, effort, hire):
  results = suite.compare(rivals, setting, dict.fromkeys(rivals, parts), effort, hire=hire)
  against = {label: rival.against for label, rival in rivals.items()}
  summaries = tables.summary(results, against, setting.batch_size * setting.unroll_length)
  show(f'{setting}: {_line(tables.shown(summaries))}')
  return {'setting': setting._asdict(), 'contenders': summaries}


def _line(rows):
  """Returns the time of ours and the ratios of the others, for people who wait."""
  parts = []
  for label, values in rows.items():
    if 'failed' in values:
      parts.append(f'{label} failed: {values["failed"]}')
    elif 'step' in values['ratios']:
      parts.append(f'{values["which"]} {values["ratios"]["step"]:.2f}')
    else:
      parts.append(f'{label} {1e3 * values["parts"]["step"]["median"]:.4g} ms')
  return ', '.join(parts)


def _engines(setting, effort, hire):
  parts = dict.fromkeys(contenders.ENGINES, ('forward', 'gradient'))
  engines = tables.speedups(suite.compare(contenders.ENGINES, setting, parts, effort, hire=hire))
  said = [
    f'{label} failed: {values["failed"]}'
    if 'failed' in values
    else f'{label} {1e3 * values["parts"]["gradient"]["median"]:.4g} ms'
    for label, values in engines.items()
  ]
  show(f'{setting}: {", ".join(said)}')
  return {'setting': setting._asdict(), 'engines': engines}


def _rates(measured, amount, unit):
  return ', '.join(
    f'{label} failed'
    if 'failed' in values
    else f'{label} {amount / values["median"]:,.0f} {unit}/s'
    for label, values in measured.items()
  )


def _draw(setting, effort):
  (result,) = suite.compare(
    contenders.PIPELINE, setting, {'pipeline': ['batches']}, effort
  ).values()
  row = {'batch_size': setting.batch_size, 'unroll_length': setting.unroll_length}
  if 'failed' in result:
    return {**row, **result}
  drawn = tables.spread(result['times']['batches'])
  rate = contenders.BATCHES_DRAWN * setting.batch_size * setting.unroll_length / drawn['median']
  show(
    f'drawing batches of {setting.batch_size} x {setting.unroll_length}: {rate:,.0f} characters/s'
  )
  return {**row, **drawn, 'symbols_per_second': rate}
