"""A worker: one contender in a process of its own, since the thread pools of two libraries steal cores of each other.

  python -m rnn_research.benchmark.serve MODULE FUNCTION

It imports MODULE, answers {'ready': true}, and then each line of JSON on stdin with a line of JSON on stdout, until
stdin ends:

  {'ask': [argument, ..]}                    MODULE.FUNCTION(argument, ..)
  {'build': setting, 'parts': [name, ..]}    makes each part and calls it twice; seconds of a call, compilation, memory
  {'calls': {name: n, ..}, 'discard': k}     calls the first part k times, then each part n times: {name: [second, ..]}

An exception is answered with {'failed': one line} and ends it.
"""

import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from rnn_research.benchmark.contenders import Setting


class Program(NamedTuple):
  """Attributes:
    run: does the work once and waits for the end of it.
    compile_seconds: what tracing and compiling took, None where nothing is compiled.
    device_memory: `() -> bytes`, peak use of an accelerator; None where the process's own memory counts.
  """

  run: Callable[[], None]
  compile_seconds: float | None = None
  device_memory: Callable[[], int] | None = None


def main(argv: list[str]) -> None:
  """Serves until stdin ends."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
  replies = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what libraries print must not come between
  say = lambda answer: print(json.dumps(answer), file=replies, flush=True)
  try:
    function = getattr(importlib.import_module(argv[0]), argv[1])
    say({'ready': True})
    answer = _answerer(function, _peak())
    for line in sys.stdin:
      say(answer(json.loads(line)))
  except Exception as error:  # of any library that is measured
    say({'failed': f'{type(error).__name__}: {error}'.split('\n')[0][:300]})


def _answerer(function, idle_memory):
  programs = {}

  def answer(request):
    if 'ask' in request:
      return function(*request['ask'])
    if 'calls' in request:
      first = programs[next(iter(request['calls']))]
      for _ in range(request['discard']):
        first.run()
      return {part: [_seconds(programs[part].run) for _ in range(n)] for part, n in request['calls'].items()}
    programs.clear()
    return _build(function(Setting(*request['build'])), request['parts'], programs, idle_memory)

  return answer


def _build(makers, parts, programs, idle_memory):
  """Makes the programs; the memory is that of the first one, before there are others."""
  seconds, memory = {}, None
  for part in parts:
    programs[part] = makers[part]()
    programs[part].run()
    seconds[part] = _seconds(programs[part].run)
    if memory is None:
      device_memory = programs[part].device_memory
      memory = device_memory() if device_memory else _peak() - idle_memory
  return {'seconds': seconds, 'memory': memory, 'compile_seconds': programs[parts[0]].compile_seconds}


def _seconds(run):
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def _peak():
  """Returns the peak of this process's memory in bytes."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


if __name__ == '__main__':
  main(sys.argv[1:])
