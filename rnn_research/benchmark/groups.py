"""The groups of the experiment `speed`: numbers for its report, and lines for people who wait."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rnn_research.benchmark import contenders, suite, tables, workers
from rnn_research.benchmark.contenders import Contender, Setting
from rnn_research.benchmark.suite import Effort
from rnn_research.training.progress import show

AXES = ('hidden_size', 'num_layers', 'batch_size', 'unroll_length')


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


def _compare(setting, rivals, parts, effort, hire):
  results = suite.compare(rivals, setting, dict.fromkeys(rivals, parts), effort, hire=hire)
  against = {label: rival.against for label, rival in rivals.items()}
  summaries = tables.summary(results, against, setting.batch_size * setting.unroll_length)
  _say(setting, tables.shown(summaries), _ratio_or_time)
  return {'setting': setting._asdict(), 'contenders': summaries}


def _ratio_or_time(label, values):
  if 'step' in values['ratios']:
    return f'{values["which"]} {values["ratios"]["step"]:.2f}'
  return f'{label} {1e3 * values["parts"]["step"]["median"]:.4g} ms'


def parallel(settings: Iterable[Setting], effort: Effort) -> list[dict[str, Any]]:
  """Returns {'setting', 'engines': as of `tables.speedups`} of each setting."""
  rivals, measured = contenders.ENGINES, []
  parts = dict.fromkeys(rivals, ('forward', 'gradient'))
  time = lambda label, values: f'{label} {1e3 * values["parts"]["gradient"]["median"]:.4g} ms'
  with workers.hiring(effort.accelerator) as hire:
    for setting in settings:
      engines = tables.speedups(suite.compare(rivals, setting, parts, effort, hire=hire))
      _say(setting, engines, time)
      measured.append({'setting': setting._asdict(), 'engines': engines})
  return measured


def scaling(
  base: Setting, factors: Iterable[int], effort: Effort
) -> dict[str, list[dict[str, Any]]]:
  """Measures our training step with each of `AXES` multiplied by each factor.

  Returns:
    axis -> [{'factor', 'size', 'step': quartiles, or 'failed'}, ..]
  """
  changed = {
    (axis, factor): base._replace(**{axis: factor * getattr(base, axis)})
    for axis in AXES
    for factor in factors
  }
  steps = _steps(dict.fromkeys(changed.values()), effort)
  show('cost of each size: done')
  return {
    axis: [
      {'factor': factor, 'size': getattr(setting, axis), **steps[setting]}
      for (name, factor), setting in changed.items()
      if name == axis
    ]
    for axis in AXES
  }


def _steps(settings, effort):
  """Returns setting -> {'step': quartiles} of our training step, or {'failed': why}."""
  # On a CPU the devices follow the batch size and cannot change in a process, all else can.
  sizes, steps = sorted({setting.batch_size for setting in settings}), {}
  for group in [sizes] if effort.accelerator else [[size] for size in sizes]:
    with workers.hiring(lasting=True) as hire:
      for setting in (one for one in settings if one.batch_size in group):
        parts = {'ours': ['step']}
        ours = suite.compare(contenders.OURS, setting, parts, effort, hire=hire)['ours']
        step = _quartiles(ours, 'step')
        steps[setting] = step if 'failed' in step else {'step': step}
  return steps


def sampling(
  setting: Setting, rivals: Mapping[str, Contender], effort: Effort
) -> dict[str, dict[str, Any]]:
  """Returns label -> quartiles, or {'failed': why}, of whole texts: one is enough for a turn, three
  in all."""
  parts = {'ours': ['sampler'], 'PyTorch': ['LSTMCell', 'nn.LSTM']}
  effort = effort._replace(rounds=min(effort.rounds, 3), calls=1)
  results = suite.compare(rivals, setting, parts, effort, discard=0)
  measured = {
    f'{label}: {part}': _quartiles(result, part)
    for label, result in results.items()
    for part in parts[label]
  }
  _say_rates('sampling', measured, setting.unroll_length, 'characters')
  return measured


def translation(
  setting: Setting, rivals: Mapping[str, Contender], effort: Effort
) -> dict[str, dict[str, Any]]:
  """Returns label -> quartiles, or {'failed': why}, of a batch of sentences."""
  results = suite.compare(rivals, setting, dict.fromkeys(rivals, ('greedy',)), effort)
  measured = {label: _quartiles(result, 'greedy') for label, result in results.items()}
  _say_rates('translation', measured, setting.batch_size, 'sentences')
  return measured


def pipeline(settings: Iterable[Setting], effort: Effort) -> list[dict[str, Any]]:
  """Returns {'batch_size', 'unroll_length', 'symbols_per_second', and the quartiles of a call, or
  'failed'} of each."""
  return [_draw(setting, effort) for setting in settings]


def _draw(setting, effort):
  found = suite.compare(contenders.PIPELINE, setting, {'pipeline': ['batches']}, effort)
  drawn = _quartiles(found['pipeline'], 'batches')
  num_rows, num_steps = setting.batch_size, setting.unroll_length
  if 'failed' not in drawn:
    num_symbols = contenders.BATCHES_DRAWN * num_rows * num_steps
    drawn['symbols_per_second'] = num_symbols / drawn['median']
  rate = lambda label, values: f'{values["symbols_per_second"]:,.0f} characters/s'
  _say(f'drawing batches of {num_rows} x {num_steps}', {'pipeline': drawn}, rate)
  return {'batch_size': num_rows, 'unroll_length': num_steps, **drawn}


def memory(num_steps: int) -> dict[str, dict[str, Any]]:
  """Measures the gradient of one long sequence, with every state stored and with few: label ->
  `workloads.long_gradient`."""
  every = math.isqrt(num_steps)
  ways = {'every state stored': (num_steps, None), f'remat_every={every}': (num_steps, every)}
  return suite.ask(dict.fromkeys(ways, contenders.MEMORY), ways)


def _quartiles(result, part):
  return dict(result) if 'failed' in result else tables.quartiles(result['times'][part])


def _say_rates(about, measured, amount, unit):
  rate = lambda label, values: f'{label} {amount / values["median"]:,.0f} {unit}/s'
  _say(about, measured, rate)


def _say(about, measured, word):
  """Shows `word(label, values)` of all that were measured, or why one failed."""
  said = (
    f'{label} failed: {values["failed"]}' if 'failed' in values else word(label, values)
    for label, values in measured.items()
  )
  show(f'{about}: {", ".join(said)}')
