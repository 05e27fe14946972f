"""Whether a model uses the units that were found: without them, with those of another context, and
writing while one is held."""

import re
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import jax
import numpy as np

from rnn_research.analysis.measures import interventions
from rnn_research.analysis.measures.recording import values_of
from rnn_research.analysis.measures.unit_search import Found, parts_of, stretches_of
from rnn_research.cell import Cell
from rnn_research.data.codec import TextCodec
from rnn_research.decoding.language import sampler
from rnn_research.decoding.sampling import Sampling
from rnn_research.models.language_model import LanguageModel
from rnn_research.tasks.language.interpret import Interpretation
from rnn_research.tasks.language.source import prompt_ids
from rnn_research.training.progress import open_counter
from rnn_research.typing import Params

PEERS = 10  # units of like deviation, beside the one that was found
ABLATED = 30_000  # symbols read without a unit
WINDOW, SAME, STEPS, PAIRS = 300, 6, 20, 100  # of patched contexts
TEXTS, LENGTH, TEMPERATURE = 64, 300, 0.8  # written while a unit is held


class Ablation(NamedTuple):
  """Loss without a unit less loss with it, in nats per symbol, the unit at its mean.

  Attributes:
    relevant: symbols that end the concept where it holds, or before which it holds.
    on_relevant: of the unit, on those.
    everywhere: of the unit, on all symbols.
    peers: of `PEERS` other units, on the relevant ones: the mean.
    most: the same: the greatest.
  """

  relevant: int
  on_relevant: float
  everywhere: float
  peers: float
  most: float


class Patching(NamedTuple):
  """How far predictions move, in total variation, when a unit is as after a context that ends alike
  but differs in the concept.

  Attributes:
    pairs: of contexts.
    unit: mean over pairs and `STEPS` predictions.
    peers: the same of other units: the mean.
  """

  pairs: int
  unit: float
  peers: float


class Holding(NamedTuple):
  """How often the model writes what ends the concept, per 1,000 symbols.

  Attributes:
    on: while the unit is as where the concept holds, or is great.
    off: while it is as where it does not, or is small.
    free: while nothing is held.
    values: of the unit, on and off.
  """

  on: float
  off: float
  free: float
  values: tuple[float, float]


class Verified(NamedTuple):
  """What depends on the unit that was found for a concept; None where it cannot be tested: no pairs
  of contexts, or nothing that ends the concept."""

  found: Found
  ablation: Ablation
  patching: Patching | None
  holding: Holding | None


def verify(
  model: LanguageModel,
  remake: Callable[[tuple[Cell, ...]], LanguageModel],
  codec: TextCodec,
  params: Params,
  made: Interpretation,
) -> list[Verified]:
  """Returns what the units that were found do, in the order in which they were.

  Args:
    model: the language model.
    remake: `cells -> model`, the same of other cells.
    codec: of the model.
    params: of the model.
    made: of `interpret`, of the same model.
  """
  real = [one for one in made.found if one.is_real]
  names = [concept.name for concept in made.labelled.concepts]
  places = [names.index(one.concept) for one in real]
  ends = [made.labelled.concepts[place].ends for place in places]
  labels = [made.labelled.labels[place] for place in places]
  holdings = _hold(model, remake, codec, params, made, real, labels, ends)
  verified = []
  with closing(open_counter(len(real), 'units')) as display:
    for one, row, pattern, holding in zip(real, labels, ends, holdings, strict=True):
      units = [one.unit, *interventions.matched_units(made.recording, one.unit, PEERS)]
      ablation = _ablate(model, remake, params, made, row, pattern, units)
      patching = _patch(model, params, made.labelled.ids, row, units)
      verified.append(Verified(one, ablation, patching, holding))
      display.update(len(verified))
  return verified


def _hold(model, remake, codec, params, made, real, labels, ends):
  """Returns a `Holding` of each unit that was found, None where nothing ends its concept."""
  tested = [i for i, pattern in enumerate(ends) if pattern]
  found = [None] * len(real)
  if not tested:
    return found
  levels = [
    _levels(values_of(made.recording, real[i].unit), labels[i], real[i].binary) for i in tested
  ]
  free, *held = _written(model, remake, codec, params, [real[i].unit for i in tested], levels)
  for i, values, on, off in zip(tested, levels, held[::2], held[1::2], strict=True):
    found[i] = Holding(*(_rate(ends[i], texts) for texts in (on, off, free)), values)
  return found


def _levels(values, labels, binary):
  """Returns the mean of a unit where a concept holds, or is great, and where it does not."""
  low, high = (0.0, 1.0) if binary else np.nanquantile(labels, (0.1, 0.9))
  if low == high:  # so common a number that the next one stands for what is great, or small
    others = labels[labels > low] if (labels > low).any() else labels[labels < low]
    low, high = sorted((low, others[np.abs(others - low).argmin()]))
  return float(values[labels >= high].mean()), float(values[labels <= low].mean())


def _ablate(model, remake, params, made, labels, ends, units):
  text, ids = made.labelled.text, made.labelled.ids
  there = np.flatnonzero(_scored(len(ids)))
  before = labels > np.nanmin(labels)
  relevant = _ended(text, ends, labels) if ends else np.append(False, before[:-1])
  means = [float(values_of(made.recording, unit).mean()) for unit in units]
  log_probs = interventions.ablate(model, remake, params, ids[there], units, means)
  cost, relevant = log_probs[:1] - log_probs[1:], relevant[there][1:]
  of_them = cost[:, relevant].mean(1) if relevant.any() else np.zeros(len(units))
  peers = _of_peers(of_them)
  return Ablation(
    int(relevant.sum()),
    float(of_them[0]),
    float(cost[0].mean()),
    float(peers.mean()),
    float(peers.max()),
  )


def _scored(length):
  """Returns symbols of the part of a text that served no choice, `ABLATED` at most, of all its
  stretches alike: [N] bool."""
  stretch = stretches_of(length)
  since = np.arange(length) - np.searchsorted(stretch, stretch)
  return parts_of(length)[1] & (since < ABLATED // (stretch[-1] // 2 + 1))


def _ended(text, pattern, labels):
  """Returns which symbols end a concept: the last of a match, where the label falls at it or at the
  next symbol: [N] bool."""
  ends = np.zeros(len(text), bool)
  ends[[m.end() - 1 for m in re.finditer(pattern, text) if m[0]]] = True
  falls = np.append(labels[1:] < labels[:-1], False)
  return ends & (falls | np.append(False, falls[:-1]))


def _patch(model, params, ids, labels, units):
  pairs = interventions.matched_contexts(ids, labels, WINDOW, SAME, STEPS, PAIRS)
  if not len(pairs[0]):
    return None
  moved = interventions.patch(model, params, ids, pairs, WINDOW, STEPS, units).mean(1)
  return Patching(len(pairs[0]), float(moved[0]), float(_of_peers(moved).mean()))


def _of_peers(of_units):
  """Returns what all units but the first have; NaN where there is no other."""
  return of_units[1:] if len(of_units) > 1 else np.full(1, np.nan)


def _written(model, remake, codec, params, units, levels):
  """Returns what a model writes, in one pass: `TEXTS` texts while nothing is held, and of each unit
  while it is at the first of its levels and at the second: [1 + 2 K, TEXTS]."""
  values = np.full((len(units), 1 + 2 * len(units), TEXTS), np.nan)
  for i, (on, off) in enumerate(levels):
    values[i, 1 + 2 * i], values[i, 2 + 2 * i] = on, off
  rows = values.reshape(len(units), -1)
  generate = sampler(remake(interventions.held(model.cells, units, rows)), codec.never_written)
  start = np.full((1, rows.shape[1]), prompt_ids(codec, '')[0], np.int32)
  drawn = []
  with closing(open_counter(LENGTH, 'symbols of every text')) as display:
    for ids in generate(params, start, LENGTH, jax.random.key(0), Sampling(TEMPERATURE)):
      drawn.extend(ids)
      display.update(len(drawn))
  texts = [codec.characters(ids) for ids in np.stack(drawn, 1)]
  return np.array(texts).reshape(-1, TEXTS)


def _rate(pattern, texts):
  """Returns how often a pattern stands in 1,000 symbols of texts."""
  found = sum(bool(m[0]) for text in texts for m in re.finditer(pattern, text))
  return 1000.0 * found / sum(map(len, texts))
