"""What a person sees while a run trains: a live bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import NamedTuple, TypeVar

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from rnn_research.terminal import fitted

S = TypeVar('S', bound=Sized)
T = TypeVar('T')
PLAIN_LINE_SECONDS = 5.0
_LONG = 30.0  # seconds that a person is told of
_on_terminal: list[Progress] = []  # the bar that is open, if any: two would draw on the same line


class Display(NamedTuple):
  """What shows a person how a run goes.

  Attributes:
    update: `(step, loss, units_per_second) -> None`: progress after `step` updates.
    show: `(text) -> None`: prints lines, such as an evaluation, above the bar.
    show_sample: `(text) -> None`: the same of a sample, whose lines are its own.
    close: `() -> None`; a bar that stays open hides the cursor of a terminal.
  """

  update: Callable[..., None]
  show: Callable[[str], None]
  show_sample: Callable[[str], None]
  close: Callable[[], None]


def open_display(total_steps: int, units: str) -> Display:
  """Returns the display of a run of `total_steps` updates that consumes `units` ('characters');
  silent elsewhere than in process 0."""
  pace = _pacer(total_steps)

  def describe(step, loss, rate):
    return f'loss {loss:.4f}  {rate:,.0f} {units}/s{pace(step)[1]}'

  return _open(total_steps, describe, 'step', Console(), show)


def open_counter(total: int, units: str) -> Display:
  """Returns the display, on standard error, of `total` `units` ('pictures') that are done one after
  the other; silent elsewhere than in process 0. Its `update` is `(done) -> None`."""
  return _counter(total, units, _pacer(total))


def open_if_long(total: int, units: str) -> Display:
  """As `open_counter`, of what may be quick: nothing is shown until the pace since the first
  update, before which a program is compiled, says that it is not; then a line tells how long it
  takes."""
  pace = _pacer(total)
  opened: list[Display] = []

  def update(done):
    if not opened:
      rate, _ = pace(done)
      if total - done <= _LONG * rate or not rate:
        return
      opened.append(_counter(total, units, pace))
      opened[0].show(f'{total:,} {units} take about {clock(total / rate)}')
    opened[0].update(done)

  def close():
    for display in opened:
      display.close()

  return SILENT._replace(update=update, close=close)


def watched(batches: Iterable[tuple[S, T]], total: int, units: str) -> Iterator[tuple[S, T]]:
  """Yields batches, each after the places that it has of `total`, with `open_if_long` of these."""
  done = 0
  with contextlib.closing(open_if_long(total, units)) as display:
    for places, batch in batches:
      yield places, batch
      done += len(places)
      display.update(done)


def _counter(total: int, units: str, pace: Callable[[int], tuple[float, str]]) -> Display:
  def describe(done):
    rate, left = pace(done)
    return f'{rate:,.1f} {units}/s{left}'

  return _open(total, describe, units, Console(stderr=True), tell)


def _open(
  total: int, describe: Callable, units: str, console: Console, say: Callable[[str], None]
) -> Display:
  if jax.process_index() > 0:
    return SILENT
  if console.is_terminal:
    return _bar(total, describe, console)
  return _lines(total, describe, units, say)


def _silent(*args):
  pass


SILENT = Display(_silent, _silent, _silent, _silent)


def _pacer(total: int) -> Callable[[int], tuple[float, str]]:
  """Returns `step -> (steps per second, text of the time left)`, by the pace since the first
  call."""
  first: list[tuple[float, int]] = []

  def pace(step):
    now = time.monotonic()
    if not first:
      first.append((now, step))
    start, start_step = first[0]
    if step == start_step:
      return 0.0, ''
    rate = (step - start_step) / max(now - start, 1e-9)
    return rate, f'  {clock((total - step) / rate)} left'

  return pace


def clock(seconds: float) -> str:
  """Returns h:mm:ss."""
  minutes, seconds = divmod(round(seconds), 60)
  return f'{minutes // 60}:{minutes % 60:02}:{seconds:02}'


def _bar(total: int, describe: Callable, console: Console) -> Display:
  """Returns a bar of its own, or one below that which is open."""
  own = not _on_terminal
  progress = _start_bar(console) if own else _on_terminal[0]
  task = progress.add_task('', total=total)

  def update(step, *numbers):
    progress.update(task, completed=step, description=describe(step, *numbers))

  def show(text):
    progress.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

  def close():
    if own:
      progress.stop()
      _on_terminal.clear()
    else:
      progress.remove_task(task)

  return Display(update, lambda text: show(fitted(text)), show, close)


def _start_bar(console: Console) -> Progress:
  progress = Progress(
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn('{task.description}', markup=False),
    console=console,
  )
  progress.start()
  _on_terminal.append(progress)
  return progress


def _lines(total: int, describe: Callable, units: str, say: Callable[[str], None]) -> Display:
  last = [-PLAIN_LINE_SECONDS]

  def update(step, *numbers):
    text = describe(step, *numbers)
    if time.monotonic() - last[0] >= PLAIN_LINE_SECONDS:
      last[0] = time.monotonic()
      say(f'{units} {step}/{total}  {text}')

  return Display(update, say, say, lambda: None)


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
