"""A worker: one contender in a process of its own, since the thread pools of two libraries steal
cores of each other.

  python -P serve.py MODULE FUNCTION OPTIONS

It imports nothing of the package but MODULE and answers {'ready': true}, then each line of JSON on
stdin, [action, {argument: value}], with a line of JSON on stdout, until stdin ends. The actions are
the functions in `_actions`. OPTIONS, as JSON, are passed to FUNCTION by name. An exception is
answered with {'failed': one line} and ends it.
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
  """A model and its batch."""

  cell: str  # lstm, gru or elman
  hidden_size: int
  num_layers: int
  batch_size: int
  unroll_length: int  # or the number of symbols that are written
  seed: int = 0  # of data and parameters
  engine: str = 'auto'  # of our cells

  def in_a_row(self) -> int:
    """Returns how many steps an accelerator takes before anybody waits for it, as in a training
    loop; few long ones."""
    return max(1, min(10, 2000 // (self.num_layers * self.unroll_length)))

  def __str__(self):
    sizes = f'{self.num_layers} x {self.hidden_size}'
    return f'{self.cell} {sizes}, batch {self.batch_size}, unroll {self.unroll_length}'


class Program(NamedTuple):
  """Work that can be timed."""

  run: Callable[[], Any]  # does the work and waits for the end of it
  compile_seconds: float | None = None  # tracing included; None where nothing is compiled
  device_memory: Callable[[], int] | None = None  # peak bytes; None: the process's own count
  difference: Callable[[], float] | None = None  # of its result to that of another way
  times: int = 1  # how often `run` does the work; the seconds of a call are those of once


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
    actions = _actions(functools.partial(function, **json.loads(options)))
    for line in sys.stdin:
      action, arguments = json.loads(line)
      say(actions[action](**arguments))
  except Exception as error:  # of any library that is measured
    say({'failed': f'{type(error).__name__}: {error}'.split('\n')[0][:300]})


def _actions(function):
  programs, idle_memory = {}, _peak()

  def build(setting, parts):
    """Makes each part of `function(setting)` and calls it twice.

    Returns 'seconds' of a call, part -> number; and of the first part 'compile_seconds',
    'difference', and 'memory', the peak in bytes before there were other parts, None where the
    process needed as much for an earlier setting.
    """
    earlier, memory = _memory(programs, idle_memory) if programs else -1, None
    programs.clear()
    gc.collect()  # what the last setting held
    makers, seconds = function(Setting(*setting)), {}
    for part in parts:
      programs[part] = makers[part]()
      programs[part].run()
      seconds[part] = timed(programs[part].run)[1]
      memory = _memory(programs, idle_memory) if memory is None else memory
    first = programs[parts[0]]
    difference = first.difference() if first.difference else None
    gc.collect()  # so that the first timed calls do not
    return {
      'seconds': seconds,
      'compile_seconds': first.compile_seconds,
      'memory': memory if memory > earlier else None,
      'difference': difference,
    }

  def call(counts, discard):
    """Calls the first part `discard` times, then each part as often as it counts; returns
    part -> [second, ..]."""
    for _ in range(discard):
      programs[next(iter(counts))].run()
    seconds = lambda program: timed(program.run)[1] / program.times
    return {part: [seconds(programs[part]) for _ in range(n)] for part, n in counts.items()}

  return {'ask': function, 'build': build, 'call': call}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
  """Returns the result of `work()` and the seconds it took."""
  start = time.perf_counter()
  return work(), time.perf_counter() - start


def process_memory(field: str) -> int | None:
  """Returns a field of Linux's account of this process in bytes; None on other systems."""
  status = Path('/proc/self/status')
  if not status.exists():
    return None
  line = next(line for line in status.read_text().splitlines() if line.startswith(field))
  return 1024 * int(line.split()[1])


def _memory(programs, idle_memory):
  """Returns the peak of this process in bytes: of its device where the first program is on one."""
  first = next(iter(programs.values()))
  return first.device_memory() if first.device_memory else _peak() - idle_memory


def _peak():
  """Returns the peak of this process's memory in bytes."""
  peak = process_memory('VmHWM')
  if peak is not None:  # here `ru_maxrss` starts with the peak of the process that started this one
    return peak
  unit = 1 if sys.platform == 'darwin' else 1024
  return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == '__main__':
  main(sys.argv[1:])
