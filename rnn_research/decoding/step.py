"""The one contract of decoding: what a model offers, what may be written, and what was found.

A language model, a translator or a captioner offers a step

  step: (state, ids [N] int32) -> (state, log_probs [N, V] float32, extras)

which reads the symbols written last and gives the log probabilities of the next ones. `state` has
leaves [N, ...] that beam search reorders at every step, so what stays the same from step to step,
such as an encoded source, belongs in the closure of `step`. `extras` is a dict of arrays [N, ...],
recorded beside every symbol; 'weights' [N, S], where the model looked in its memory of S positions,
is the one that a coverage penalty reads. Rows that have ended are stepped on until the last one
has, from any ids; nothing is read from them.

Letters: S positions, K hypotheses per row, T = `Rules.max_length`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnn_research.data.codec import BOS, EOS, PAD
from rnn_research.typing import Array, State

Step = Callable[[State, Array], tuple[State, Array, dict[str, Array]]]

# Symbols per block of `most_probable`, the fastest of 8 to 128 on a CPU.
_BLOCK = 16


class Specials(NamedTuple):
  """Ids of the symbols that mean padding, the start and the end of a sequence; -1 where there is
  none."""

  pad: int = PAD
  bos: int = BOS
  eos: int = EOS


NO_SPECIALS = Specials(-1, -1, -1)  # of a model of running text, which neither starts nor ends


class Rules(NamedTuple):
  """What may be written.

  Attributes:
    max_length: T, symbols of the longest sequence, EOS included.
    forbidden: symbols that are never written.
    specials: ids of PAD, BOS and EOS; `NO_SPECIALS` for a model of running text, whose symbols are
      all to be written.
  """

  max_length: int
  forbidden: tuple[int, ...] = ()
  specials: Specials = Specials()


class Hypotheses(NamedTuple):
  """What was decoded, of each row the best first.

  Attributes:
    ids: [B, K, T] int32, EOS included and PAD after it.
    lengths: [B, K] int32, with EOS; 0 where a row has fewer than K hypotheses.
    log_probs: [B, K] float32, the sum of the model's log p; -inf where there is no hypothesis.
    scores: [B, K] float32, what they are ranked by; `log_probs` unless there are penalties.
    extras: name -> [B, K, T, ...], those under which each symbol was written; 0 after EOS.
  """

  ids: Array
  lengths: Array
  log_probs: Array
  scores: Array
  extras: dict[str, Array]


class Hypothesis(NamedTuple):
  """One decoded sequence of t symbols.

  Attributes:
    ids: [t] int32, EOS included where the model ended it.
    log_prob: the sum of the model's log p.
    score: what it is ranked by.
    extras: name -> [t, ...].
  """

  ids: np.ndarray
  log_prob: float
  score: float
  extras: dict[str, np.ndarray]


def hypotheses_of(found: Hypotheses, row: int) -> list[Hypothesis]:
  """Returns the hypotheses of one row of what `jax.device_get` brought, best first."""
  return [
    Hypothesis(
      np.asarray(found.ids[row, k, :length]),
      float(found.log_probs[row, k]),
      float(found.scores[row, k]),
      {name: np.asarray(a[row, k, :length]) for name, a in found.extras.items()},
    )
    for k, length in enumerate(found.lengths[row])
    if length or k == 0
  ]


def extras_of(step: Step, state: State, ids: Array) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns shapes and dtypes of what a step records."""
  return jax.eval_shape(step, state, ids)[2]


def forbid(log_probs: Array, forbidden: tuple[int, ...]) -> Array:
  """Returns log probabilities [N, V] with those of forbidden symbols at -inf."""
  return log_probs.at[:, jnp.array(forbidden, int)].set(-jnp.inf)


def most_probable(log_probs: Array, k: int) -> tuple[Array, Array]:
  """Returns the k largest of every row of [N, V] and their places, as `lax.top_k` does.

  In two stages where that is faster: the k blocks with the highest maxima hold the k largest. The
  blocks stay in their order, so of equals the lowest ids are taken here too.
  """
  num_rows, size = log_probs.shape
  if size < 4 * k * _BLOCK:
    return lax.top_k(log_probs, k)
  blocks = jnp.pad(log_probs, ((0, 0), (0, -size % _BLOCK)), constant_values=-jnp.inf).reshape(
    num_rows, -1, _BLOCK
  )
  chosen = jnp.sort(lax.top_k(blocks.max(-1), k)[1], -1)
  values, places = lax.top_k(
    jnp.take_along_axis(blocks, chosen[:, :, None], 1).reshape(num_rows, -1), k
  )
  return values, jnp.take_along_axis(chosen, places // _BLOCK, 1) * _BLOCK + places % _BLOCK
