"""The search for units that tell concepts: found on one half of a text, scored on the other."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.analysis.concepts import is_binary, occurs
from rnn_research.analysis.measures.probes import SIZES, control_task, probe_scores, word_beginnings
from rnn_research.analysis.measures.recording import Recording, Unit
from rnn_research.analysis.measures.unit_scores import (
  BLOCKS,
  as_read,
  score,
  significant,
  strengths,
)

LEVEL = 0.05  # of q-values: the share of false ones among what is called found
FEWEST = 2 * 20 * BLOCKS  # symbols of a text, so that blocks of a half have some length


class Found(NamedTuple):
  """What units know of one concept. Scores are AUC of a binary concept, else |correlation|, on the
  half of the text that served no choice.

  Attributes:
    concept: its name.
    binary: whether it holds or not, rather than being a number.
    unit: the best one, chosen on the first half.
    score: of it.
    sign: 1 where the unit is greater where the concept holds, or is; else -1.
    q: of it, among all pairs of unit and concept.
    num_found: units with q <= `LEVEL`.
    untrained: score of the best unit, chosen in the same way, of a model that was never trained.
    probes: of linear probes of 1, 4, 16 and all units.
    controls: the same of probes for the control task.
  """

  concept: str
  binary: bool
  unit: Unit
  score: float
  sign: int
  q: float
  num_found: int
  untrained: float
  probes: tuple[float, ...]
  controls: tuple[float, ...]

  @property
  def selectivity(self) -> tuple[float, ...]:
    """How much better each probe is for the concept than for its control task."""
    return tuple(probe - control for probe, control in zip(self.probes, self.controls, strict=True))

  @property
  def kind(self) -> str:
    """What its scores are."""
    return 'AUC' if self.binary else '|correlation|'


PROBES = (*map(str, SIZES), 'all')  # sizes of `Found.probes`


def varies(labels: np.ndarray) -> bool:
  """Returns whether labels, [N] float32, differ within both halves of a text, so that the concept
  can be searched."""
  return all(map(occurs, np.array_split(labels, 2)))


def search(
  recording: Recording,
  untrained: np.ndarray,
  text: str,
  concepts: Sequence[str],
  labels: np.ndarray,
) -> list[Found]:
  """Returns what is known of each concept, the best first.

  Args:
    recording: of the trained model.
    untrained: `Recording.values` of an untrained one of the same shape.
    text: N symbols, `FEWEST` at least.
    concepts: C names.
    labels: [C, N] float32, NaN where there is none; each `varies`.
  """
  middle = len(text) // 2
  first, second = slice(middle), slice(middle, None)
  values = recording.values
  both = np.concatenate([labels, _controls(text, labels)])
  found_strengths = strengths(values[first], both[:, first])
  chosen = np.abs(found_strengths[: len(labels)]).argmax(1)
  scores = score(values[second], labels[:, second])
  q = significant(scores.p)
  probes, of_controls = np.split(
    probe_scores(
      (values[first], both[:, first]), found_strengths, (values[second], both[:, second])
    ),
    2,
  )
  before = _untrained(untrained, labels, first, second)
  found = []
  for i, concept in enumerate(concepts):
    strength, binary = float(scores.strength[i, chosen[i]]), is_binary(labels[i])
    found.append(
      Found(
        concept,
        binary,
        recording.units[chosen[i]],
        as_read(strength, binary),
        1 if strength >= 0.0 else -1,
        float(q[i, chosen[i]]),
        int((q[i] <= LEVEL).sum()),
        as_read(before[i], binary),
        tuple(map(float, probes[i])),
        tuple(map(float, of_controls[i])),
      )
    )
  strength_of = lambda one: 2.0 * one.score - 1.0 if one.binary else one.score
  return sorted(found, key=strength_of, reverse=True)


def _controls(text, labels):
  """Returns labels of control tasks, [C, N]; where frequent types have drawn all the same ones,
  they draw again."""
  types = word_beginnings(text)
  draws = lambda row: (control_task(types, row, seed) for seed in itertools.count())
  return np.stack([next(filter(varies, draws(row))) for row in labels])


def _untrained(values, labels, first, second):
  """Returns the strength of the unit that is best on the first half, on the second: [C]."""
  chosen = np.abs(strengths(values[first], labels[:, first])).argmax(1)
  return [
    float(strengths(values[second, unit : unit + 1], row[None, second])[0, 0])
    for unit, row in zip(chosen, labels, strict=True)
  ]
