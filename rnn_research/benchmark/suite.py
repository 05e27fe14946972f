"""The measurements: contenders in turn, what a step costs at several sizes, sampling, the data pipeline."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rnn_research.benchmark import contenders, workers
from rnn_research.benchmark.contenders import Contender, Setting
from rnn_research.benchmark.workers import WorkerError

AXES = ('hidden_size', 'num_layers', 'batch_size', 'unroll_length')


class Effort(NamedTuple):
  """Attributes:
    rounds: how often each worker is woken up.
    calls: how often it calls each part then, after one call that does not count.
    seconds: fewer calls where they would take longer than this, but at least one.
  """

  rounds: int
  calls: int
  seconds: float


def libraries() -> dict[str, dict[str, Any]]:
  """Returns what each library says about itself, {'failed': why} of one that cannot be imported."""
  with workers.started(contenders.LIBRARIES) as crew:
    return {name: _attempt(lambda w=worker: workers.ask(w, {'ask': []})) for name, worker in crew.items()}


def compare(rivals: Mapping[str, Contender], setting: Setting, parts: Mapping[str, Sequence[str]], effort: Effort,
            discard: int = 1) -> dict[str, dict[str, Any]]:
  """Measures contenders in turn, each in a process of its own, one at work at a time.

  Args:
    rivals: label -> contender.
    setting: what all of them do.
    parts: label -> names of programs; memory and compilation are those of the first.
    effort: how long.
    discard: calls after each wake-up that do not count.

  Returns:
    label -> {'times': part -> [second, ..], 'compile_seconds', 'memory' in bytes}, or {'failed': why}.
  """
  with workers.started(rivals) as crew:
    results = {label: _attempt(lambda w=worker, n=label: _build(w, setting, parts[n]))
               for label, worker in crew.items()}
    for _ in range(effort.rounds):
      for label, result in results.items():
        if 'failed' not in result:
          results[label] = _attempt(lambda w=crew[label], r=result: _measured(w, r, effort, discard))
  return results


def scaling(base: Setting, factors: Iterable[int], effort: Effort) -> dict[str, list[dict[str, Any]]]:
  """Measures our training step with each of `AXES` multiplied by each factor.

  Returns:
    axis -> [{'factor', 'size', 'times' or 'failed'}, ..]
  """
  changed = {(axis, factor): base._replace(**{axis: factor * getattr(base, axis)})
             for axis in AXES for factor in factors}
  results = {}
  for batch_size in sorted({setting.batch_size for setting in changed.values()}):
    # The devices follow the batch size and cannot change in a process, all else can.
    group = dict.fromkeys(setting for setting in changed.values() if setting.batch_size == batch_size)
    with workers.started(contenders.OURS) as crew:
      results |= {setting: _attempt(lambda s=setting, w=crew['ours']: _alone(w, s, effort)) for setting in group}
  return {axis: [{'factor': factor, 'size': getattr(setting, axis), **results[setting]}
                 for (name, factor), setting in changed.items() if name == axis] for axis in AXES}


def long_gradients(num_steps: int) -> dict[str, dict[str, Any]]:
  """Measures the gradient of one long sequence, with every state stored and with few: label -> `memory.gradient`."""
  ways = {'every state stored': None, f'remat_every={math.isqrt(num_steps)}': math.isqrt(num_steps)}
  with workers.started(dict.fromkeys(ways, contenders.MEMORY)) as crew:
    return {label: _attempt(lambda w=crew[label], e=every: workers.ask(w, {'ask': [num_steps, e]}))
            for label, every in ways.items()}


def _alone(worker, setting, effort):
  built = _build(worker, setting, ['step'])
  for _ in range(effort.rounds):
    built = _measured(worker, built, effort, discard=1)
  return {'times': built['times']['step']}


def _build(worker, setting, parts):
  built = workers.ask(worker, {'build': setting, 'parts': parts})
  return {**built, 'times': {part: [] for part in parts}}


def _measured(worker, result, effort, discard):
  calls = {part: max(1, min(effort.calls, int(effort.seconds / seconds)))
           for part, seconds in result['seconds'].items()}
  times = workers.ask(worker, {'calls': calls, 'discard': discard})
  return {**result, 'times': {part: [*result['times'][part], *times[part]] for part in times}}


def _attempt(work):
  try:
    return work()
  except WorkerError as e:
    return {'failed': str(e)}
