"""The parent's side of the protocol of `serve`: starts workers, asks them, and ends them all."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, NamedTuple

from rnn_research.benchmark import serve
from rnn_research.benchmark.contenders import Contender

PATIENCE = 900.0  # seconds for one answer
_ROOT = Path(__file__).resolve().parents[2]


class WorkerError(Exception):
  """Why a worker gave no answer, in one line."""


class Worker(NamedTuple):
  """A contender in a process of its own."""

  process: Any  # a subprocess.Popen whose stdin and stdout are pipes
  errors: IO[str]  # what it wrote to stderr
  unfit: str = ''  # why it could not import what it needs


# As `started`.
Hire = Callable[[Mapping[str, Contender]], AbstractContextManager[dict[str, Worker]]]


@contextlib.contextmanager
def started(contenders: Mapping[str, Contender]) -> Iterator[dict[str, Worker]]:
  """Starts a worker per contender and waits for their imports; at the end, whatever it is, all of
  them are killed."""
  with contextlib.ExitStack() as stack:
    workers = {name: stack.enter_context(_started(one)) for name, one in contenders.items()}
    yield {name: worker._replace(unfit=_unfit(worker)) for name, worker in workers.items()}


@contextlib.contextmanager
def hiring(lasting: bool) -> Iterator[Hire]:
  """Yields a way to get workers: `started`, or if `lasting` one whose workers live on and serve the
  next who asks.

  Of those, a worker that has died is started anew when it is asked for again; one that could not
  import is not.
  """
  if not lasting:
    yield started
    return
  with contextlib.ExitStack() as stack:
    crew: dict[str, Worker] = {}

    @contextlib.contextmanager
    def hire(contenders):
      missing = {name: one for name, one in contenders.items() if not _serves(crew.get(name))}
      crew.update(stack.enter_context(started(missing)))
      yield {name: crew[name] for name in contenders}

    yield hire


def ask(worker: Worker, request: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a worker's answer; raises WorkerError, as `receive`."""
  send(worker, request)
  return receive(worker)


def send(worker: Worker, request: Mapping[str, Any]) -> None:
  """Sends a request, whose answer must be received before the next; what went wrong `receive`
  says."""
  with contextlib.suppress(OSError):  # the dead read nothing
    worker.process.stdin.write(json.dumps(request) + '\n')
    worker.process.stdin.flush()


def receive(worker: Worker) -> dict[str, Any]:
  """Returns the answer to a request; raises WorkerError where the worker fails, dies or stays
  silent, and ends it."""
  if worker.unfit:
    raise WorkerError(worker.unfit)
  # One line per request, so nothing can be left in the reader's buffer where `select` would not see
  # it.
  if not select.select([worker.process.stdout], [], [], PATIENCE)[0]:
    _kill(worker.process)
    raise WorkerError(f'no answer within {PATIENCE:.0f} seconds')
  line = worker.process.stdout.readline()
  if not line:
    raise WorkerError(_cause_of_death(worker))
  answer = json.loads(line)
  if 'failed' in answer:
    _kill(worker.process)  # it ends by itself, but not at once
    raise WorkerError(answer['failed'])
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
  module, function, options = contender[:3]
  command = [sys.executable, '-P', serve.__file__, module, function, json.dumps(dict(options))]
  with tempfile.TemporaryFile('w+', encoding='utf-8', errors='replace') as errors:
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'stderr': errors}
    process = subprocess.Popen(command, env=os.environ | settings, encoding='utf-8', **pipes)
    try:
      yield Worker(process, errors)
    finally:
      _end(process)


def _kill(process):
  process.kill()
  process.wait()


def _end(process):
  _kill(process)
  for pipe in (process.stdin, process.stdout):
    with contextlib.suppress(BrokenPipeError):  # a request that the dead never read
      pipe.close()


def _unfit(worker):
  try:
    receive(worker)
    return ''
  except WorkerError as e:
    return str(e)


def _serves(worker):
  return worker is not None and (bool(worker.unfit) or worker.process.poll() is None)


def _cause_of_death(worker):
  status = worker.process.wait()
  if status < 0:
    name = signal.Signals(-status).name
    return f'killed by {name}' + (', probably for want of memory' if name == 'SIGKILL' else '')
  worker.errors.seek(0)
  lines = worker.errors.read().strip().splitlines()
  return f'exit status {status}' + (f': {lines[-1][:300]}' if lines else '')
