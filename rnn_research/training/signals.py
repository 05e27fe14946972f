"""Signals that ask a training to stop: SIGTERM, and the first Ctrl-C."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

CTRL_C = 'Ctrl-C'


@contextlib.contextmanager
def heard() -> Iterator[Callable[[], str]]:
  """Yields a function that returns who has asked to stop, '' where nobody has: SIGTERM or Ctrl-C,
  whose second stops at once. Elsewhere than in the main thread none is heard."""
  came: list[str] = []

  def note(number, frame):
    if number == signal.SIGTERM:
      came.append('SIGTERM')
      return
    if came:
      signal.default_int_handler(number, frame)
    came.append(CTRL_C)
    os.write(2, b'\nstops after this step, and saves it; Ctrl-C again stops at once\n')

  before = {number: signal.signal(number, note) for number in _numbers()}
  try:
    yield lambda: came[0] if came else ''
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def agreed(asked: Callable[[], str]) -> bool:
  """Returns whether any process was asked to stop, the same in all of them."""
  if jax.process_count() == 1:
    return bool(asked())
  return bool(multihost_utils.process_allgather(np.array(bool(asked()))).any())


def _numbers():
  if threading.current_thread() is not threading.main_thread():
    return ()
  # A shell lets its jobs in the background ignore Ctrl-C.
  ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
  return (signal.SIGTERM,) if ignored else (signal.SIGTERM, signal.SIGINT)
