"""What the predictions of a language model cost on a text of any size."""

import math
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np

from rnn_research.data.streams import lane_pieces
from rnn_research.models.language_model import LanguageModel
from rnn_research.training.progress import open_if_long
from rnn_research.typing import Params

EXACT = 10_000_000  # predictions; a longer text is measured in lanes, for one stream takes hours
WARM_UP = 1024  # symbols that each lane reads before its own: see docs/results.md
# Predictions in memory at once, and steps of a piece: few, so that the time left is soon known.
_PIECE, _LEAST = 2**16, 1024


def measures(
  model: LanguageModel, read: Callable, params: Params, ids: np.ndarray, lanes: int, warm_up: int
) -> dict[str, float]:
  """Returns what the model's predictions of a text cost.

  Args:
    model: the language model.
    read: compiled `models.language_model.read_on` of it.
    params: its parameters.
    ids: [N] integers, the text.
    lanes: L streams that read it at once; 1 is exact.
    warm_up: symbols that each lane reads first, see `lane_pieces`.

  Returns:
    nats_per_symbol, bits_per_symbol, perplexity, the number of predictions, and of lanes.
  """
  count = max(len(ids) - 1, 0)
  lanes = min(lanes, count)
  pieces = _scores(model, read, params, ids, lanes, warm_up)
  nats = -sum(float(found.sum(dtype=np.float64)) for found in pieces) / count
  return {
    'nats_per_symbol': nats,
    'bits_per_symbol': nats / math.log(2.0),
    'perplexity': math.exp(min(nats, 700.0)),
    'predictions': count,
    'lanes': lanes,
  }


def final_measures(
  model: LanguageModel, read: Callable, params: Params, ids: np.ndarray, lanes: int
) -> dict[str, float | str]:
  """Returns `measures` of one exact stream, or of warmed-up lanes where the text has more than
  `EXACT` predictions, and which of them, as `reading`."""
  exact = len(ids) - 1 <= EXACT
  found = measures(model, read, params, ids, 1 if exact else lanes, 0 if exact else WARM_UP)
  return {**found, 'reading': 'exact' if found['lanes'] == 1 else 'lanes'}


def exact_scores(
  model: LanguageModel, read: Callable, params: Params, ids: np.ndarray
) -> np.ndarray:
  """Returns log p of every symbol of a text but the first, of one exact stream: [N - 1] float64,
  nats; arguments as of `measures`."""
  found = np.concatenate([*_scores(model, read, params, ids, 1, 0)])
  return found.astype(np.float64)


def _scores(model, read, params, ids, lanes, warm_up) -> Iterator[np.ndarray]:
  """Yields log p of the predictions piece by piece, with a bar where that takes long."""
  count = len(ids) - 1
  length = max(_LEAST, _PIECE // max(lanes, 1))
  states, done = model.initial_state(params, lanes), 0
  with closing(open_if_long(count, 'predictions')) as display:
    for piece in lane_pieces(ids, lanes, length, warm_up):
      states, scores = read(params, states, *piece[:3])
      if piece.counts:
        found = np.asarray(scores)[piece.mask]
        done += len(found)
        display.update(done)
        yield found
