"""The measurements: contenders in turn, what a step costs at several sizes, the gradient of a long
sequence."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rnn_research.benchmark import contenders, workers
from rnn_research.benchmark.contenders import Contender, Setting
from rnn_research.benchmark.workers import Hire, WorkerError

AXES = ('hidden_size', 'num_layers', 'batch_size', 'unroll_length')


class Effort(NamedTuple):
  """Attributes:
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
  with workers.started(contenders.LIBRARIES) as crew:
    return {
      name: _attempt(lambda w=worker: workers.ask(w, {'ask': []})) for name, worker in crew.items()
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
    results = {}
    for labels in [list(crew)] if effort.accelerator else [[label] for label in crew]:
      for label in labels:
        workers.send(crew[label], {'build': setting, 'parts': parts[label]})
      results |= {label: _attempt(lambda n=label: _built(crew[n], parts[n])) for label in labels}
    for _ in range(effort.rounds):
      for label, result in results.items():
        if 'failed' not in result:
          results[label] = _attempt(
            lambda w=crew[label], r=result: _measured(w, r, effort, discard)
          )
  return results


def scaling(
  base: Setting, factors: Iterable[int], effort: Effort
) -> dict[str, list[dict[str, Any]]]:
  """Measures our training step with each of `AXES` multiplied by each factor.

  Returns:
    axis -> [{'factor', 'size', 'times' or 'failed'}, ..]
  """
  changed = {
    (axis, factor): base._replace(**{axis: factor * getattr(base, axis)})
    for axis in AXES
    for factor in factors
  }
  # On a CPU the devices follow the batch size and cannot change in a process, all else can.
  sizes = sorted({setting.batch_size for setting in changed.values()})
  results = {}
  for group in [sizes] if effort.accelerator else [[size] for size in sizes]:
    with workers.hiring(lasting=True) as hire:
      results |= {
        setting: _alone(setting, effort, hire)
        for setting in dict.fromkeys(changed.values())
        if setting.batch_size in group
      }
  return {
    axis: [
      {'factor': factor, 'size': getattr(setting, axis), **results[setting]}
      for (name, factor), setting in changed.items()
      if name == axis
    ]
    for axis in AXES
  }


def long_gradients(num_steps: int) -> dict[str, dict[str, Any]]:
  """Measures the gradient of one long sequence, with every state stored and with few: label ->
  `memory.gradient`."""
  ways = {'every state stored': None, f'remat_every={math.isqrt(num_steps)}': math.isqrt(num_steps)}
  with workers.started(dict.fromkeys(ways, contenders.MEMORY)) as crew:
    return {
      label: _attempt(lambda w=crew[label], e=every: workers.ask(w, {'ask': [num_steps, e]}))
      for label, every in ways.items()
    }


def _alone(setting, effort, hire):
  result = compare(contenders.OURS, setting, {'ours': ['step']}, effort, hire=hire)['ours']
  return result if 'failed' in result else {'times': result['times']['step']}


def _built(worker, parts):
  return {**workers.receive(worker), 'times': {part: [] for part in parts}}


def _measured(worker, result, effort, discard):
  calls = {
    part: max(1, min(effort.calls, int(effort.seconds / seconds)))
    for part, seconds in result['seconds'].items()
  }
  times = workers.ask(worker, {'calls': calls, 'discard': discard})
  return {**result, 'times': {part: [*result['times'][part], *times[part]] for part in times}}


def _attempt(work):
  try:
    return work()
  except WorkerError as e:
    return {'failed': str(e)}
