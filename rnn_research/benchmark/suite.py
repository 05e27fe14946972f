"""Contenders measured in turn, each in a process of its own."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rnn_research.benchmark import contenders, workers
from rnn_research.benchmark.contenders import Contender, Setting
from rnn_research.benchmark.workers import Hire, WorkerError


class Effort(NamedTuple):
  """How long is measured.

  Attributes:
    rounds: how often each worker is woken up.
    calls: how often it calls each part then, after one call that does not count.
    seconds: fewer calls where they would take longer than this, but at least one.
    accelerator: workers build at the same time, since the host's cores compile, and live on from
      setting to setting. On a CPU they would take its cores from each other, and the number of
      devices follows the batch.
  """

  rounds: int
  calls: int
  seconds: float
  accelerator: bool = False


def libraries() -> dict[str, dict[str, Any]]:
  """Returns what each library says about itself, {'failed': why} of one that cannot be imported."""
  return ask(contenders.LIBRARIES, dict.fromkeys(contenders.LIBRARIES, ()))


def ask(
  asked: Mapping[str, Contender], arguments: Mapping[str, Sequence[Any]]
) -> dict[str, dict[str, Any]]:
  """Returns label -> what each contender's function says to its arguments, or {'failed': why}."""
  with workers.started(asked) as crew:
    return {
      label: _attempt(functools.partial(workers.ask, worker, {'ask': arguments[label]}))
      for label, worker in crew.items()
    }


def compare(
  rivals: Mapping[str, Contender],
  setting: Setting,
  parts: Mapping[str, Sequence[str]],
  effort: Effort,
  discard: int = 1,
  hire: Hire = workers.started,
) -> dict[str, dict[str, Any]]:
  """Measures contenders in turn, each in a process of its own, one at work at a time.

  Args:
    rivals: label -> contender.
    setting: what all of them do.
    parts: label -> names of programs; memory, compilation and difference are those of the first.
    effort: how long.
    discard: calls after each wake-up that do not count.
    hire: where the processes come from, see `workers.hiring`.

  Returns:
    label -> {'times': part -> [second, ..], 'compile_seconds', 'memory' in bytes or None,
    'difference' or None}, or {'failed': why}.
  """
  with hire(rivals) as crew:
    results: dict[str, dict[str, Any]] = {}
    for labels in [list(crew)] if effort.accelerator else [[label] for label in crew]:
      for label in labels:
        workers.send(crew[label], {'build': setting, 'parts': parts[label]})
      for label in labels:
        results[label] = _attempt(functools.partial(_built, crew[label], parts[label]))
    for _ in range(effort.rounds):
      for label, result in results.items():
        if 'failed' not in result:
          measure = functools.partial(_measured, crew[label], result, effort, discard)
          results[label] = _attempt(measure)
  return results


def _built(worker, parts):
  return {**workers.receive(worker), 'times': {part: [] for part in parts}}


def _measured(worker, result, effort, discard):
  calls = {
    part: max(1, min(effort.calls, int(effort.seconds / seconds)))
    for part, seconds in result['seconds'].items()
  }
  times = workers.ask(worker, {'calls': calls, 'discard': discard})
  return {**result, 'times': {part: [*result['times'][part], *times[part]] for part in times}}


def _attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
  try:
    return work()
  except WorkerError as e:
    return {'failed': str(e)}
