"""A worker: one contender in a process of its own, since the thread pools of two libraries steal
cores of each other.

  python -P serve.py MODULE FUNCTION OPTIONS

It imports nothing of the package but MODULE, answers {'ready': true}, and then each line of JSON on
stdin with a line of JSON on stdout, until stdin ends. OPTIONS, as JSON, are passed to FUNCTION by
name.

  {'ask': [argument, ..]}                  FUNCTION(argument, ..)
  {'build': setting, 'parts': [name, ..]}  makes each part and calls it twice; see `_build`
  {'calls': {name: n, ..}, 'discard': k}   calls the first part k times, then each part n times:
                                           {name: [second, ..]}

An exception is answered with {'failed': one line} and ends it.
"""

import functools
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Setting(NamedTuple):
  """A model and its batch.

  Attributes:
    cell: lstm, gru or elman.
    hidden_size: H.
    num_layers: L.
    batch_size: B.
    unroll_length: T; the number of symbols where one is written after the other.
    seed: of data and parameters.
    engine: of our cells.
  """

  cell: str
  hidden_size: int
  num_layers: int
  batch_size: int
  unroll_length: int
  seed: int = 0
  engine: str = 'auto'

  def in_a_row(self) -> int:
    """Returns how many steps an accelerator takes before anybody waits for it, as in a training
    loop; few long ones."""
    return max(1, min(10, 2000 // (self.num_layers * self.unroll_length)))

  def __str__(self):
    sizes = f'{self.num_layers} x {self.hidden_size}'
    return f'{self.cell} {sizes}, batch {self.batch_size}, unroll {self.unroll_length}'


class Program(NamedTuple):
  """Work that can be timed.

  Attributes:
    run: does the work, waits for the end of it, and may return what came of it.
    compile_seconds: what tracing and compiling took, None where nothing is compiled.
    device_memory: `() -> bytes`, peak use of an accelerator; None where the process's own memory
      counts.
    difference: `() -> float`, how far its result is from that of another way to compute it; None if
      nobody asks.
    times: how often `run` does the work; the seconds of a call are those of once.
  """

  run: Callable[[], Any]
  compile_seconds: float | None = None
  device_memory: Callable[[], int] | None = None
  difference: Callable[[], float] | None = None
  times: int = 1


def main(argv: list[str]) -> None:
  """Serves until stdin ends."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
  replies = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what libraries print must not come between
  say = lambda answer: print(json.dumps(answer), file=replies, flush=True)
  module, function, options = argv
  try:
    function = getattr(importlib.import_module(module), function)
    say({'ready': True})
    answer = _answerer(functools.partial(function, **json.loads(options)))
    for line in sys.stdin:
      say(answer(json.loads(line)))
  except Exception as error:  # of any library that is measured
    say({'failed': f'{type(error).__name__}: {error}'.split('\n')[0][:300]})


def _answerer(function):
  programs, idle_memory = {}, _peak()

  def call(counts, discard):
    first = programs[next(iter(counts))]
    for _ in range(discard):
      first.run()
    seconds = lambda program: _seconds(program) / program.times
    return {part: [seconds(programs[part]) for _ in range(n)] for part, n in counts.items()}

  def answer(request):
    if 'ask' in request:
      return function(*request['ask'])
    if 'calls' in request:
      return call(request['calls'], request['discard'])
    earlier = _memory(programs, idle_memory) if programs else -1
    programs.clear()
    gc.collect()  # what the last setting held
    makers = function(Setting(*request['build']))
    return _build(makers, request['parts'], programs, idle_memory, earlier)

  return answer


def _build(makers, parts, programs, idle_memory, earlier):
  """Makes the programs, each called twice.

  Args:
    makers: part -> `() -> Program`.
    parts: names of the programs.
    programs: filled with them.
    idle_memory: bytes, the peak of this process before it worked.
    earlier: bytes, its peak in all that it built before.

  Returns:
    'seconds' of a call, part -> number; and of the first part 'compile_seconds', its 'difference'
    if it has one, and 'memory', the peak in bytes before there were other parts, None where the
    process needed as much before.
  """
  seconds, memory = {}, None
  for part in parts:
    programs[part] = makers[part]()
    programs[part].run()
    seconds[part] = _seconds(programs[part])
    memory = _memory(programs, idle_memory) if memory is None else memory
  first = programs[parts[0]]
  difference = first.difference() if first.difference else None
  gc.collect()  # so that the first timed calls do not
  return {
    'seconds': seconds,
    'memory': memory if memory > earlier else None,
    'compile_seconds': first.compile_seconds,
    'difference': difference,
  }


def _memory(programs, idle_memory):
  """Returns the peak of this process in bytes: of its device where the first program is on one."""
  first = next(iter(programs.values()))
  return first.device_memory() if first.device_memory else _peak() - idle_memory


def _seconds(program):
  start = time.perf_counter()
  program.run()
  return time.perf_counter() - start


def _peak():
  """Returns the peak of this process's memory in bytes."""
  status = Path('/proc/self/status')
  if status.exists():  # here `ru_maxrss` starts with the peak of the process that started this one
    line = next(line for line in status.read_text().splitlines() if line.startswith('VmHWM'))
    return 1024 * int(line.split()[1])
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
    1 if sys.platform == 'darwin' else 1024
  )


if __name__ == '__main__':
  main(sys.argv[1:])
