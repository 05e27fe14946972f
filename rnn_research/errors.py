"""Mistakes of people, as opposed to mistakes of the program."""

import contextlib
import csv
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from numbers import Integral

from rnn_research.terminal import fitted


class InputError(ValueError):
  """What a user gave cannot be used: a number, a name, a file. Its text is one sentence that says
  what and why."""


class MisfitError(InputError):
  """What a trained model left on disk is not what this run would have made, perhaps since another
  version trained it."""


class UsageError(InputError):
  """A mistake in a flag."""


def did_you_mean(name: str, known: Iterable[str], spell: Callable[[str], str] = str) -> str:
  """Returns ', did you mean ..?' with the known name that is nearest, as `spell` writes it; ''
  where none is near."""
  near = difflib.get_close_matches(name, known, 1)
  return f', did you mean {spell(near[0])}?' if near else ''


def comma_list(text: str) -> list[str]:
  """Returns the names in a flag such as 'lstm, gru', without spaces around them; [] of none.

  A name with commas stands in double quotes, as in a CSV file: 'runs/a,"runs/b, c"'.
  """
  rows = csv.reader(text.splitlines(), skipinitialspace=True)
  return [name.strip() for row in rows for name in row if name.strip()]


def require(field: str, value, holds: bool, expected: str) -> None:
  """Raises InputError, '<field> is <value>, expected <expected>', unless it holds."""
  if not holds:
    raise InputError(f'{field} is {value!r}, expected {expected}')


def require_one_of(field: str, value, known: Iterable[str], owner: str = '') -> None:
  """Raises InputError, with the known name that is nearest, unless it is one of those of the owner,
  such as ' for gru'."""
  if value not in known:
    hint = did_you_mean(str(value), known)
    raise InputError(
      f'{field} is {value!r}, expected one of {", ".join(known) or "none"}{owner}{hint}'
    )


def require_seed(field: str, value: int) -> None:
  """Raises InputError unless `value` can be a seed."""
  holds = isinstance(value, Integral) and 0 <= value < 2**32
  require(field, value, holds, 'an integer in [0, 2**32)')


def require_size(name: str, size: int) -> None:
  """Raises InputError unless `size` can be that of an array's axis."""
  holds = isinstance(size, Integral) and not isinstance(size, bool) and size >= 1
  require(name, size, holds, 'an integer >= 1')


def require_sizes(block: str = '', /, **sizes: int) -> None:
  """As `require_size` of each, named after the block, such as 'model.'."""
  for name, size in sizes.items():
    require_size(f'{block}{name}', size)


@contextlib.contextmanager
def of_flag(flag: str) -> Iterator[None]:
  """Names the flag in front of what is wrong with the files that it holds."""
  try:
    yield
  except (InputError, OSError) as e:
    # In place of the flag that such a file has elsewhere.
    raise InputError(f'{flag}: {str(e).removeprefix("workdir: ")}') from e


def exit_code(run: Callable[[], None]) -> int:
  """Returns the exit status of `run()`, with one sentence on stderr for what people can mend
  themselves.

  A mistake of the program keeps its traceback.
  """
  try:
    run()
  except BrokenPipeError:
    # The reader, such as `head`, has seen enough.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    return 130
  except Exception as error:
    said = _sentence(error)
    if said is None:
      raise
    print(fitted(f'error: {said}', sys.stderr), file=sys.stderr)
    return 2 if isinstance(error, UsageError) else 1
  return 0


def _sentence(error):
  if isinstance(error, OSError) and error.strerror:  # of the system, not one of our sentences
    return f'{error.filename or "a file"} cannot be used ({error.strerror})'
  if isinstance(error, InputError | OSError | FloatingPointError):
    return str(error)
  from jax.errors import JaxRuntimeError  # slow to load, and what is said above needs none of it

  if isinstance(error, JaxRuntimeError) and 'RESOURCE_EXHAUSTED' in str(error):
    return f'{str(error).splitlines()[0]} Use a smaller model or batch, or more train.micro_batches'
  return None
