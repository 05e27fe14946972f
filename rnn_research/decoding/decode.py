"""Decoding by whatever way is asked for, of translators, captioners and language models."""

from collections.abc import Callable

from rnn_research.decoding.beam import Beam, beam_search
from rnn_research.decoding.sampling import Sampling
from rnn_research.decoding.single import greedy, sampled
from rnn_research.decoding.step import Hypotheses, Rules, Step
from rnn_research.typing import Array, Key, State


def decode(
  stepper: Callable[[int], Step],
  state: State,
  first: Array,
  limits: Array,
  rules: Rules,
  how: Beam | Sampling,
  *,
  key: Key | None = None,
  source_mask: Array | None = None,
) -> Hypotheses:
  """Writes one sequence per row, or the best few.

  Args:
    stepper: `(copies) -> step` for N = B * copies rows, the copies of a row side by side.
    state: [B, ...] state before the first step.
    first: [B] int32, the symbols that are read first.
    limits: [B] int32, see `single.greedy`.
    rules: what may be written.
    how: searched for with a beam, of which size 1 is greedy; or drawn.
    key: of the draws, needed for them alone.
    source_mask: see `beam_search`.

  Raises:
    ValueError: symbols are to be drawn, and there is no key.
  """
  if isinstance(how, Sampling):
    if key is None:
      raise ValueError('there is no key, expected one to draw symbols with')
    return sampled(stepper(1), state, first, limits, rules, how, key)
  if how.size == 1:
    return greedy(stepper(1), state, first, limits, rules)
  return beam_search(stepper(how.size), state, first, limits, rules, how, source_mask)
