"""Whether a model uses the units that were found: without them, with those of another context, and
writing while one is held."""

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from rnn_research.analysis.measures import interventions
from rnn_research.analysis.measures.recording import values_of
from rnn_research.analysis.measures.unit_search import LEVEL, Found
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
    relevant: symbols that end the concept, or before which it holds.
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
  """How often the model ends the concept, per 1,000 symbols that it writes.

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
  real = [one for one in made.found if one.q <= LEVEL]
  display = open_counter(len(real), 'units')
  verified = []
  for one in real:
    verified.append(_verify_one(model, remake, codec, params, made, one))
    display.update(len(verified))
  display.close()
  return verified


def _verify_one(model, remake, codec, params, made, found):
  labelled = made.labelled
  place = [concept.name for concept in labelled.concepts].index(found.concept)
  concept, labels = labelled.concepts[place], labelled.labels[place]
  units = [found.unit, *interventions.matched_units(made.recording, found.unit, PEERS)]
  ends = _ends(labelled.text, concept.ends)
  part = slice(len(labels) // 2, len(labels) // 2 + ABLATED)
  relevant = ends[part][1:] if concept.ends else _holds(labels, found.binary)[part][:-1]
  ablation = _ablate(model, remake, params, made.recording, labelled.ids[part], units, relevant)
  patching = _patch(model, params, labelled.ids, labels, units)
  holding = None
  if concept.ends:
    holding = _hold(model, remake, codec, params, made.recording, labels, found, concept.ends)
  return Verified(found, ablation, patching, holding)


def _ends(text, pattern):
  """Returns where a text has the last symbol of what ends a concept, [N] bool."""
  there = np.zeros(len(text), bool)
  if pattern:
    there[[match.end() - 1 for match in re.finditer(pattern, text)]] = True
  return there


def _holds(labels, binary):
  """Returns where a concept holds, or is great: [N] bool."""
  return labels >= (1.0 if binary else np.nanquantile(labels, 0.9))


def _ablate(model, remake, params, recording, ids, units, relevant):
  means = [float(values_of(recording, unit).mean()) for unit in units]
  log_probs = interventions.ablate(model, remake, params, ids, units, means)
  cost = log_probs[:1] - log_probs[1:]
  there = cost[:, relevant].mean(1) if relevant.any() else np.zeros(len(units))
  return Ablation(
    int(relevant.sum()),
    float(there[0]),
    float(cost[0].mean()),
    float(there[1:].mean()),
    float(there[1:].max()),
  )


def _patch(model, params, ids, labels, units):
  pairs = interventions.matched_contexts(ids, labels, WINDOW, SAME, STEPS, PAIRS)
  if not len(pairs[0]):
    return None
  moved = interventions.patch(model, params, ids, pairs, WINDOW, STEPS, units).mean(1)
  return Patching(len(pairs[0]), float(moved[0]), float(moved[1:].mean()))


def _hold(model, remake, codec, params, recording, labels, found, pattern):
  values = values_of(recording, found.unit)
  on = _holds(labels, found.binary)
  off = labels <= (0.0 if found.binary else np.nanquantile(labels, 0.1))
  levels = float(values[on].mean()), float(values[off].mean())
  rate = functools.partial(_rate, codec, params, pattern)
  held = lambda value: remake(interventions.held(model.cells, [found.unit], [value]))
  return Holding(rate(held(levels[0])), rate(held(levels[1])), rate(model), levels)


def _rate(codec, params, pattern, model):
  """Returns how often a pattern stands in 1,000 symbols of what a model writes."""
  generate = sampler(model, codec.never_written)
  start = np.full((1, TEXTS), prompt_ids(codec, '')[0], np.int32)
  drawn = generate(params, start, LENGTH, jax.random.key(0), Sampling(TEMPERATURE))
  texts = np.concatenate(list(drawn)).T
  count = sum(len(re.findall(pattern, codec.characters(ids))) for ids in texts)
  return 1000.0 * count / texts.size
