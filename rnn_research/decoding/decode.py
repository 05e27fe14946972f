"""Decoding by whatever way is asked for, of translators, captioners and language models."""

from collections.abc import Callable

from rnn_research.decoding.beam import FLAGS, Beam, beam_search, check_beam
from rnn_research.decoding.sampling import Sampling, check_sampling
from rnn_research.decoding.single import greedy, sampled
from rnn_research.decoding.step import Hypotheses, Rules, Step
from rnn_research.errors import require
from rnn_research.typing import Array, Key, State


def chosen_way(beam: Beam, usual: Beam, temperature: float) -> Beam | Sampling:
  """Returns how sequences are found: they are drawn where the temperature is above 0.

  Args:
    beam: how they are searched for.
    usual: the same where nobody asks for anything.
    temperature: see `Sampling`.

  Raises:
    InputError: a number is out of range, or a search is asked for where sequences are drawn.
  """
  check_beam(beam)
  check_sampling(Sampling(temperature))
  for field, asked, expected in zip(FLAGS, beam, usual, strict=True):
    require(
      field,
      asked,
      asked == expected or not temperature,
      f'{expected}, since it is not used where sequences are drawn (temperature above 0)',
    )
  return Sampling(temperature) if temperature else beam


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
