"""What orbax and tensorstore say while they work, and what they leave behind where they fail."""

import asyncio
import contextlib
import gc
import inspect
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from rnn_research.training.progress import warn


@contextlib.contextmanager
def watched() -> Iterator[None]:
  """Prints what orbax warns of, one line each; where it fails, the error that is raised says more.

  After a failed read or write orbax's threads go on for a while, and tensorstore reports to event
  loops that are closed by then: the threads are waited for, the loops drop the reports, and
  coroutines that were not begun are closed.
  """
  policy = asyncio.get_event_loop_policy()
  asyncio.set_event_loop_policy(_LoopPolicy())
  try:
    with log_of_orbax() as log:
      try:
        yield
      except Exception:
        for thread in threading.enumerate():
          if type(thread).__module__.startswith('orbax.'):
            threading.Thread.join(thread)
        _close_what_was_not_begun()
        raise
  finally:
    asyncio.set_event_loop_policy(policy)
  for text in log:
    warn(text.split('\n')[0])


def _close_what_was_not_begun():
  """Closes orbax's coroutines that never ran: Python warns of each when it clears it away."""
  for thing in filter(inspect.iscoroutine, gc.get_objects()):
    of_orbax = 'orbax' in Path(thing.cr_code.co_filename).parts
    if of_orbax and inspect.getcoroutinestate(thing) == inspect.CORO_CREATED:
      thing.close()


@contextlib.contextmanager
def log_of_orbax() -> Iterator[list[str]]:
  """Yields a list that gets orbax's warnings and errors, which then are not printed."""
  texts = []

  def others_only(record):
    if 'orbax' not in Path(record.pathname).parts:
      return True
    if record.levelno >= logging.WARNING:
      texts.append(record.getMessage())
    return False

  logger = logging.getLogger('absl')
  logger.addFilter(others_only)
  try:
    yield texts
  finally:
    logger.removeFilter(others_only)


class _Loop(asyncio.SelectorEventLoop):
  """An event loop that does not complain of what comes after it was closed."""

  def call_soon_threadsafe(self, callback, *args, context=None):
    try:
      return super().call_soon_threadsafe(callback, *args, context=context)
    except RuntimeError:
      if not self.is_closed():
        raise

  def call_exception_handler(self, context):
    if not self.is_closed():
      super().call_exception_handler(context)


class _LoopPolicy(asyncio.DefaultEventLoopPolicy):
  _loop_factory = _Loop
