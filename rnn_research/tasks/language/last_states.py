"""What a language model is left with at the end of each of many sentences."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from rnn_research.analysis.measures.recording import units_of
from rnn_research.data import buckets
from rnn_research.models.language_model import LanguageModel
from rnn_research.typing import Params

_STEPS, _ROWS = 32, 256  # of one call; long sentences take several


def last_states(
  model: LanguageModel,
  params: Params,
  sentences: Sequence[np.ndarray],
  progress: Callable = lambda done: None,
) -> np.ndarray:
  """Returns what every unit holds after the last symbol of each of N sentences.

  Args:
    model: the language model.
    params: of the model.
    sentences: N arrays [length] int32; after one of length 0 the state is the initial one.
    progress: `(done) -> None`, called with how many are done.

  Returns:
    [N, U] float32, of `units_of`.
  """
  advance, initial = _compiled(model), model.initial_state(params, _ROWS)
  order = sorted(range(len(sentences)), key=lambda place: len(sentences[place]))
  found = np.zeros((len(sentences), len(units_of(model, params))), np.float32)
  for start in range(0, len(order), _ROWS):
    places = order[start : start + _ROWS]
    longest = -(-len(sentences[places[-1]]) // _STEPS) * _STEPS
    ids, lengths = buckets.pad([sentences[place] for place in places], longest, _ROWS)
    mask, states = np.arange(longest)[:, None] < lengths, initial
    for step in range(0, longest, _STEPS):
      steps = slice(step, step + _STEPS)
      states = advance(params, states, ids[:, steps].T, mask[steps])
    leaves = [np.asarray(leaf).reshape(_ROWS, -1) for leaf in jax.tree.leaves(states)]
    found[places] = np.concatenate(leaves, 1)[: len(places)]
    progress(start + len(places))
  return found


@functools.lru_cache(maxsize=2)
def _compiled(model):
  """Returns `(params, states, ids [T, B], mask [T, B]) -> states`.

  One program does for all lengths: a sentence of more steps goes on from the states that it left.
  """
  return jax.jit(lambda params, states, ids, mask: model.unroll(params, states, ids, mask=mask)[0])
