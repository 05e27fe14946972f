"""Mistakes of people, as opposed to mistakes of the program."""

import jax


class InputError(ValueError):
  """What a user gave cannot be used: a number, a name, a file. Its text is one sentence that says what and why."""


def sentence(error: BaseException) -> str | None:
  """Returns what the launcher says of an exception without a traceback; None for a mistake of the program."""
  if isinstance(error, InputError | OSError | FloatingPointError):
    return f'error: {error}'
  if isinstance(error, KeyboardInterrupt):
    return 'error: interrupted; a run goes on from its last checkpoint with --workdir=DIR'
  if isinstance(error, jax.errors.JaxRuntimeError) and 'RESOURCE_EXHAUSTED' in str(error):
    return f'error: {str(error).splitlines()[0]} Use a smaller model or batch, or more train.micro_batches'
  return None
