"""The parent's side of `serve`: starts workers, asks them, and ends them all."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from rnn_research.benchmark import serve
from rnn_research.benchmark.contenders import Rivals

PATIENCE = 900.0  # seconds for one answer
_ROOT = Path(__file__).resolve().parents[2]


class Worker(NamedTuple):
  """A contender in a process of its own."""

  process: Any  # a subprocess.Popen whose stdin and stdout are pipes
  errors: IO[str]  # what it wrote to stderr
  unfit: str = ''  # why it could not import what it needs


Crew = Mapping[str, Worker]
Hire = Callable[[Rivals], Crew]


def ask_each(asked: Rivals) -> dict[str, dict[str, Any]]:
  """Returns label -> what each contender's function returns, or {'failed': why}."""
  with hiring() as hire:
    return {label: ask(worker, 'ask') for label, worker in hire(asked).items()}


@contextlib.contextmanager
def hiring() -> Iterator[Hire]:
  """Yields `(label -> contender) -> (label -> worker)`, whose workers live on and serve the next
  who asks; at the end, whatever it is, all of them are killed.

  A worker that has died is started anew when it is asked for again; one that could not import is
  not.
  """
  with contextlib.ExitStack() as stack:
    crew: dict[str, Worker] = {}

    def hire(contenders):
      missing = {name: one for name, one in contenders.items() if not _serves(crew.get(name))}
      started = {name: stack.enter_context(_started(one)) for name, one in missing.items()}
      for name, worker in started.items():
        crew[name] = worker._replace(unfit=receive(worker).get('failed', ''))
      return {name: crew[name] for name in contenders}

    yield hire


def _serves(worker):
  return worker is not None and (bool(worker.unfit) or worker.process.poll() is None)


def ask(worker: Worker, action: str, **arguments) -> dict[str, Any]:
  """Returns a worker's answer, as `receive`."""
  send(worker, action, **arguments)
  return receive(worker)


def send(worker: Worker, action: str, **arguments) -> None:
  """Sends a request, whose answer must be received before the next; what went wrong `receive`
  says."""
  with contextlib.suppress(OSError):  # the dead read nothing
    worker.process.stdin.write(json.dumps([action, arguments]) + '\n')
    worker.process.stdin.flush()


def receive(worker: Worker) -> dict[str, Any]:
  """Returns the answer to a request, or {'failed': why} of a worker that failed, died or stayed
  silent, which is ended."""
  if worker.unfit:
    return {'failed': worker.unfit}
  # One line per request, so nothing can be left in the reader's buffer where `select` would not see
  # it.
  if not select.select([worker.process.stdout], [], [], PATIENCE)[0]:
    _kill(worker.process)
    return {'failed': f'no answer within {PATIENCE:.0f} seconds'}
  line = worker.process.stdout.readline()
  if not line:
    return {'failed': _cause_of_death(worker)}
  answer = json.loads(line)
  if 'failed' in answer:
    _kill(worker.process)  # it ends by itself, but not at once
  return answer


@contextlib.contextmanager
def _started(contender):
  # The cache of compiled programs would hide the time of compilation, and several processes share
  # an accelerator.
  settings = {
    'JAX_ENABLE_COMPILATION_CACHE': 'false',
    'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
    'PYTHONPATH': os.pathsep.join(filter(None, [str(_ROOT), os.environ.get('PYTHONPATH')])),
  }
  options = json.dumps(dict(contender.options))
  command = [
    *(sys.executable, '-P', serve.__file__),
    *(contender.module, contender.function, options),
  ]
  with tempfile.TemporaryFile('w+', encoding='utf-8', errors='replace') as errors:
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'stderr': errors}
    process = subprocess.Popen(command, env=os.environ | settings, encoding='utf-8', **pipes)
    try:
      yield Worker(process, errors)
    finally:
      _kill(process)
      for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):  # a request that the dead never read
          pipe.close()


def _kill(process):
  process.kill()
  process.wait()


def _cause_of_death(worker):
  status = worker.process.wait()
  if status < 0:
    name = signal.Signals(-status).name
    return f'killed by {name}' + (', probably for want of memory' if name == 'SIGKILL' else '')
  worker.errors.seek(0)
  lines = worker.errors.read().strip().splitlines()
  return f'exit status {status}' + (f': {lines[-1][:300]}' if lines else '')
