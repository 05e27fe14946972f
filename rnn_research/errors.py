"""Mistakes of people, as opposed to mistakes of the program."""


class InputError(ValueError):
  """What a user gave cannot be used: a number, a name, a file. Its text is one sentence that says what and why.

  The launcher prints that sentence without a traceback; every other exception but OSError keeps its own.
  """
