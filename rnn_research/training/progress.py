"""What a person sees while a run trains: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from rnn_research.terminal import fitted

PLAIN_LINE_SECONDS = 5.0


class Display(NamedTuple):
  """What shows a person how a run goes.

  Attributes:
    update: `(step, loss, units_per_second) -> None`: progress after `step` updates.
    show: `(text) -> None`: prints lines, such as an evaluation, above the bar.
    show_sample: `(text) -> None`: the same of a sample, whose lines are its own.
    close: `() -> None`.
  """

  update: Callable[[int, float, float], None]
  show: Callable[[str], None]
  show_sample: Callable[[str], None]
  close: Callable[[], None]


def open_display(total_steps: int, units: str) -> Display:
  """Returns the display of a run of `total_steps` updates that consumes `units` ('characters');
  silent elsewhere than in process 0."""
  if jax.process_index() > 0:
    silent = lambda text: None
    return Display(lambda step, loss, rate: None, silent, silent, lambda: None)
  describe = _describer(total_steps, units)
  return (_bar if Console().is_terminal else _lines)(total_steps, describe)


def _describer(total_steps: int, units: str) -> Callable[[int, float, float], str]:
  """Returns `(step, loss, units_per_second) -> text`; time left goes by the pace since the first
  call."""
  first: list[tuple[float, int]] = []

  def describe(step, loss, rate):
    now = time.monotonic()
    if not first:
      first.append((now, step))
    start, start_step = first[0]
    text = f'loss {loss:.4f}  {rate:,.0f} {units}/s'
    if step == start_step:
      return text
    return f'{text}  {clock((total_steps - step) * (now - start) / (step - start_step))} left'

  return describe


def clock(seconds: float) -> str:
  """Returns h:mm:ss."""
  minutes, seconds = divmod(round(seconds), 60)
  return f'{minutes // 60}:{minutes % 60:02}:{seconds:02}'


def _bar(total_steps: int, describe: Callable) -> Display:
  progress = Progress(
    BarColumn(), MofNCompleteColumn(), TextColumn('{task.description}', markup=False)
  )
  task = progress.add_task('', total=total_steps)
  progress.start()

  def update(step, loss, rate):
    progress.update(task, completed=step, description=describe(step, loss, rate))

  def show(text):
    progress.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

  return Display(update, lambda text: show(fitted(text)), show, progress.stop)


def _lines(total_steps: int, describe: Callable) -> Display:
  last = [-PLAIN_LINE_SECONDS]

  def update(step, loss, rate):
    text = describe(step, loss, rate)
    if time.monotonic() - last[0] >= PLAIN_LINE_SECONDS:
      last[0] = time.monotonic()
      show(f'step {step}/{total_steps}  {text}')

  return Display(update, show, show, lambda: None)


def show(text: str) -> None:
  """Prints lines, with '?' for what the output's encoding cannot say."""
  encoding = sys.stdout.encoding or 'utf-8'
  print(fitted(text).encode(encoding, 'replace').decode(encoding), flush=True)


def warn(text: str) -> None:
  """Prints one line of warning, once for all processes."""
  if jax.process_index() == 0:
    tell(f'warning: {text}')


def tell(text: str) -> None:
  """Prints lines on standard error, apart from what a command writes."""
  print(fitted(text, sys.stderr), file=sys.stderr, flush=True)
