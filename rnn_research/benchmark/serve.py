"""A worker: one contender in a process of its own, since the thread pools of two libraries steal
cores of each other.

  python -m rnn_research.benchmark.serve MODULE FUNCTION

It imports MODULE, answers {'ready': true}, and then each line of JSON on stdin with a line of JSON
on stdout, until stdin ends:

  {'ask': [argument, ..]}                  MODULE.FUNCTION(argument, ..)
  {'build': setting, 'parts': [name, ..]}  makes each part and calls it twice; see `_build`
  {'calls': {name: n, ..}, 'discard': k}   calls the first part k times, then each part n times:
                                           {name: [second, ..]}

An exception is answered with {'failed': one line} and ends it.
"""

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
from typing import NamedTuple

from rnn_research.benchmark.contenders import Setting


class Program(NamedTuple):
  """Attributes:
  run: does the work and waits for the end of it.
  compile_seconds: what tracing and compiling took, None where nothing is compiled.
  device_memory: `() -> bytes`, peak use of an accelerator; None where the process's own memory
    counts.
  difference: `() -> float`, how far its result is from that of another way to compute it; None if
    nobody asks.
  times: how often `run` does the work; the seconds of a call are those of once.
  """

  run: Callable[[], None]
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
  try:
    function = getattr(importlib.import_module(argv[0]), argv[1])
    say({'ready': True})
    answer = _answerer(function)
    for line in sys.stdin:
      say(answer(json.loads(line)))
  except Exception as error:  # of any library that is measured
    say({'failed': f'{type(error).__name__}: {error}'.split('\n')[0][:300]})


def _answerer(function):
  programs, idle_memory = {}, _peak()

  def answer(request):
    if 'ask' in request:
      return function(*request['ask'])
    if 'calls' in request:
      first = programs[next(iter(request['calls']))]
      for _ in range(request['discard']):
        first.run()
      return {
        part: [_seconds(programs[part]) / programs[part].times for _ in range(n)]
        for part, n in request['calls'].items()
      }
    earlier = _memory(programs, idle_memory) if programs else -1
    programs.clear()
    gc.collect()  # what the last setting held
    return _build(
      function(Setting(*request['build'])), request['parts'], programs, idle_memory, earlier
    )

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
  if (
    status.exists()
  ):  # on Linux `ru_maxrss` starts with the peak of the process that started this one
    return 1024 * int(
      next(line for line in status.read_text().splitlines() if line.startswith('VmHWM')).split()[1]
    )
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
    1 if sys.platform == 'darwin' else 1024
  )


if __name__ == '__main__':
  main(sys.argv[1:])
