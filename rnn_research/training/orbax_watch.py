"""What orbax and tensorstore say while they work, and what they leave behind where they fail."""

import asyncio
import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from rnn_research.training.progress import warn


@contextlib.contextmanager
def watched() -> Iterator[None]:
  """Prints what orbax warns of, one line each; where it fails, the error that is raised says more.

  After a failed read or write orbax's threads go on for a while, and tensorstore reports to event
  loops that are closed by then: the threads are waited for, the loops drop the reports, and what
  was not begun is not warned of.
  """
  policy = asyncio.get_event_loop_policy()
  asyncio.set_event_loop_policy(_LoopPolicy())
  try:
    with log_of_orbax() as log:
      try:
        yield
      except Exception:
        # Of writes that were not begun Python tells when it clears them away, maybe at its end.
        never = r"coroutine '.*\.write_fragment' was never awaited"
        warnings.filterwarnings('ignore', never, RuntimeWarning)
        for thread in threading.enumerate():
          if type(thread).__module__.startswith('orbax.'):
            threading.Thread.join(thread)
        raise
  finally:
    asyncio.set_event_loop_policy(policy)
  for text in log:
    warn(text.split('\n')[0])


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
