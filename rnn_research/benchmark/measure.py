"""Contenders measured in turn: which processes work when, and the numbers that come of it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from rnn_research.benchmark import workers
from rnn_research.benchmark.contenders import Rivals, Setting
from rnn_research.training.progress import show

Results = Mapping[str, Mapping[str, Any]]  # label -> numbers, or {'failed': why}


class Effort(NamedTuple):
  """How long is measured."""

  rounds: int  # how often each worker is woken up
  calls: int  # of each part then, after one call that does not count
  seconds: float  # fewer calls where they would take longer than this, but at least one
  accelerator: bool = False  # whether workers build at the same time, and serve all settings


def measure(
  settings: Iterable[Setting], rivals: Callable[[Setting], Rivals], effort: Effort, discard: int = 1
) -> dict[Setting, Results]:
  """Returns setting -> `compare` of its rivals, and shows times and ratios of the first parts to
  people who wait.

  On an accelerator the same processes serve all settings; on a CPU each setting has its own, since
  the number of devices and how memory is kept follow it and cannot change in a process.
  """
  found = {}
  for shift in [settings] if effort.accelerator else [[setting] for setting in settings]:
    with workers.hiring() as hire:
      for setting in shift:
        those = rivals(setting)
        found[setting] = compare(hire(those), those, setting, effort, discard)
        show(f'{setting}: {", ".join(_said(*item) for item in found[setting].items())}')
  return found


def _said(label, values):
  if 'failed' in values:
    return f'{label} failed: {values["failed"]}'
  part, times = next(iter(values['parts'].items()))
  ratio = f' ({values["ratios"][part]:.2f})' if part in values['ratios'] else ''
  return f'{label} {1e3 * times["median"]:.4g} ms{ratio}'


def compare(
  crew: workers.Crew, rivals: Rivals, setting: Setting, effort: Effort, discard: int = 1
) -> Results:
  """Returns `summary` of contenders measured in turn, one at work at a time, but that on an
  accelerator all build at the same time, since the host's cores compile.

  The first `discard` calls after each wake-up do not count.
  """
  results: dict[str, dict] = {}
  for labels in [list(rivals)] if effort.accelerator else [[label] for label in rivals]:
    for label in labels:
      workers.send(crew[label], 'build', setting=setting, parts=rivals[label].parts)
    results |= {label: workers.receive(crew[label]) for label in labels}
  for _ in range(effort.rounds):
    for label, result in results.items():
      if 'failed' in result:
        continue
      counts = {
        part: max(1, min(effort.calls, int(effort.seconds / seconds)))
        for part, seconds in result['seconds'].items()
      }
      answer = workers.ask(crew[label], 'call', counts=counts, discard=discard)
      if 'failed' in answer:
        results[label] = answer
      else:
        times = result.setdefault('times', {part: [] for part in answer})
        for part in times:
          times[part] += answer[part]
  return summary(results, rivals)


def summary(results: Results, rivals: Rivals) -> Results:
  """Returns label -> {'parts': part -> `quartiles`, 'compile_seconds', 'memory' in bytes or None,
  'difference' or None, 'ratios': part -> median / median of the one it is compared with}. `ratios`
  is empty for one that is compared with itself, and where the other one failed or has other parts.
  """
  parts = {
    label: {part: quartiles(times) for part, times in result['times'].items()}
    for label, result in results.items()
    if 'failed' not in result
  }
  found = dict(results)
  for label, own in parts.items():
    other = rivals[label].against
    others = parts.get(other, {}) if other != label else {}
    found[label] = {
      'parts': own,
      **{name: results[label][name] for name in ('compile_seconds', 'memory', 'difference')},
      'ratios': {
        part: times['median'] / others[part]['median']
        for part, times in own.items()
        if part in others
      },
    }
  return found


def quartiles(times: list[float]) -> dict[str, float]:
  """Returns {'median', 'lower', 'upper', 'calls'}: the quartiles of times in seconds, and how many
  there are."""
  lower, median, upper = map(float, np.percentile(times, (25, 50, 75)))
  return {'median': median, 'lower': lower, 'upper': upper, 'calls': len(times)}
