"""Runs of `launch.py` without the seconds that imports take: a process that has imported everything forks for each run.

A forked process is like a fresh one: its arguments, environment, folder, output, signals and exit status are its own, no
thread runs and JAX's backend has not started. What it cannot test are the imports and the variables that Python reads
before them (`PYTHON*`); `launching.start` makes fresh processes for those.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import IO

import jax
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
LARGEST_REQUEST = 2**17  # bytes
GARBAGE = 50_000  # objects between two searches for it: tracing makes many that stay
LATE = ('absl.app', 'scipy.linalg')  # imported by JAX and by runs only when they need them
DRAWN = (
  'train/loss',
  'valid/nats_per_symbol',
  'train/gradient_norm',
  'train/largest_gradient_norm',
  'train/clipped',
  'learning_rate',
)
DPI = 30  # of figures: half of the time to save one is that of its pixels


class Forked:
  """A run, with what the tests use of `subprocess.Popen`."""

  def __init__(self, pid: int, status: socket.socket, outputs: list[IO[str]]):
    self.pid, self.returncode = pid, None
    self._status, self._outputs = status, outputs

  def poll(self) -> int | None:
    """Returns the exit status, negative for a signal, or None while the process runs."""
    return self._wait(0)

  def communicate(self, timeout: float | None = None) -> tuple[str, ...]:
    """Waits for the end and returns (stdout, stderr); kills what runs longer and raises TimeoutExpired."""
    if self._wait(timeout) is None:
      self.send_signal(signal.SIGKILL)
      raise subprocess.TimeoutExpired('launch.py', timeout)
    return tuple(_content(file) for file in self._outputs)

  def send_signal(self, number: int) -> None:
    if self.poll() is None:
      os.kill(self.pid, number)

  def terminate(self) -> None:
    self.send_signal(signal.SIGTERM)

  def _wait(self, timeout):
    if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
      with self._status:
        self.returncode = int(self._status.recv(64))
    return self.returncode


class ForkServer:
  """The process that forks; it ends when this one closes it or ends."""

  def __init__(self, env: dict[str, str]):
    self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    env = env | {'OPENBLAS_NUM_THREADS': '1'}  # only a process without threads can be forked
    with theirs:
      self._process = subprocess.Popen(
        [sys.executable, __file__], stdin=theirs, stdout=subprocess.DEVNULL, env=env
      )

  def start(self, argv: list[str], cwd: str, env: dict[str, str]) -> Forked:
    """Does what `python *argv` does in that folder and environment."""
    outputs = [tempfile.TemporaryFile('w+', encoding='utf-8') for _ in range(2)]  # noqa: SIM115
    status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
      request = json.dumps({'argv': argv, 'cwd': cwd, 'env': env}).encode()
      socket.send_fds(self._requests, [request], [file.fileno() for file in (*outputs, theirs)])
    return Forked(int(status.recv(64)), status, outputs)

  def close(self) -> None:
    self._requests.close()
    self._process.wait()


def _content(file):
  with file:
    file.seek(0)
    return file.read()


def _import_everything():
  """Imports every module of the project, and by them what they need."""
  for package in ('rnn_research', 'experiments'):
    for module in pkgutil.walk_packages([str(ROOT / package)], f'{package}.'):
      try:
        importlib.import_module(module.name)
      except ModuleNotFoundError as e:  # PyTorch is nobody's duty
        assert e.name == 'torch', e
  for name in LATE:
    importlib.import_module(name)
  plots = sys.modules['rnn_research.analysis.reports.plots']
  plots.DPI = DPI
  _draw_once(plots)
  gc.set_threshold(GARBAGE)
  gc.collect()
  gc.freeze()  # a collection in a child would copy every page
  assert len(os.listdir('/proc/self/task')) == 1, 'an import has started a thread'


def _draw_once(plots):
  """Draws a figure, so that fonts and the shapes of letters are read before any fork."""
  rows = [{'step': step, 'train/epoch': 1.0, **dict.fromkeys(DRAWN, 0.5)} for step in (1, 2)]
  plots.loss_curves(rows).figure.savefig(io.BytesIO(), dpi=DPI)
  plots.gradient_figure(rows).figure.savefig(io.BytesIO(), dpi=DPI)


def _serve(requests):
  """Forks for every request and returns, in the forked process, (request, [stdout, stderr])."""
  while True:
    message, files, _, _ = socket.recv_fds(requests, LARGEST_REQUEST, 3)
    if not message:
      os._exit(0)
    if os.fork() == 0:
      break
    for file in files:
      os.close(file)
    with contextlib.suppress(ChildProcessError):
      while os.waitpid(-1, os.WNOHANG)[0]:
        pass
  # A parent for each run, which waits for its end while the server goes on.
  *outputs, status = files
  pid = os.fork()
  if pid == 0:
    os.close(status)
    return json.loads(message), outputs
  with socket.socket(fileno=status) as answers:
    answers.send(b'%d' % pid)
    answers.send(b'%d' % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
  os._exit(0)


def _become(request, outputs):
  """Takes on what a fresh process would have from its start, and returns the request."""
  for target, file in enumerate((os.open(os.devnull, os.O_RDONLY), *outputs)):
    os.dup2(file, target)
    os.close(file)
  os.chdir(request['cwd'])
  os.environ.clear()
  os.environ.update(request['env'])
  signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in jobs in the background
  np.random.seed()
  _read_jax_variables()
  return request


def _read_jax_variables():
  """Sets what JAX has read from the server's environment when it was imported."""
  for name, before in jax.config.values.items():
    value = os.environ.get(name.upper())
    if isinstance(before, bool) and value:
      jax.config.update(name, value.lower() in ('1', 'true'))
    elif value:
      jax.config.update(name, value if before is None else type(before)(value))


def _run(argv):
  """Does what `python *argv` does, for a file or `-c` and code."""
  if argv[0] != '-c':
    sys.argv = argv
    runpy.run_path(argv[0], run_name='__main__')
    return
  sys.argv, sys.path[0] = ['-c', *argv[2:]], ''
  sys.modules['__main__'] = main = types.ModuleType('__main__')
  exec(argv[1], vars(main))


if __name__ == '__main__':
  sys.path[0] = str(ROOT)
  _import_everything()
  request = _become(*_serve(socket.socket(fileno=os.dup(0))))
  _run(request['argv'])
