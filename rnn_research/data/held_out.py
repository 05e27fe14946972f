"""Examples held out from training, where a data set has none of its own."""

import numpy as np

from rnn_research.errors import InputError


def drawn(total: int, count: int, split: str, what: str) -> np.ndarray:
  """Returns which of N examples are held out: drawn at random, but the same in every run.

  Args:
    total: N.
    count: how many are held out.
    split: which one they become, for messages.
    what: what the examples are, for messages.

  Returns:
    [N] bool.

  Raises:
    InputError: none is held out, or none is left.
  """
  if not 0 < count < total:
    raise InputError(
      f'data.splits gives {split} {count} of {total} {what}, expected one at least and one left to '
      'train on'
    )
  chosen = np.zeros(total, bool)
  chosen[np.random.default_rng(0).choice(total, count, replace=False)] = True
  return chosen
