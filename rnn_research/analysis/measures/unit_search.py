"""The search for units that tell concepts: chosen on one part of a text, scored on the other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.analysis.concepts import is_binary, occurs
from rnn_research.analysis.measures.probes import (
  SIZES,
  control_task,
  probe_scores,
  token_beginnings,
)
from rnn_research.analysis.measures.recording import Recording, Unit
from rnn_research.analysis.measures.unit_scores import (
  BLOCK,
  as_read,
  scorable,
  score,
  significant,
  strengths,
)

LEVEL = 0.05  # of q-values: the share of false ones among what is called found
FEWEST = 2 * 20 * BLOCK  # symbols of a text
_STRETCHES = 20  # of a text, by turns for the choice and for the score
_DRAWS = 20  # of a control task whose labels are all the same


class Found(NamedTuple):
  """What units know of one concept.

  Scores are AUC of a binary concept, else Spearman's correlation r, on the part of the text that
  served no choice, turned by the sign found on the other part.

  Attributes:
    concept: its name.
    binary: whether it holds or not, rather than being a number.
    unit: the best one.
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
  def is_real(self) -> bool:
    """Whether the unit tells the concept, better than one of an untrained network does."""
    return self.q <= LEVEL and self.gain > 0.0

  @property
  def selectivity(self) -> tuple[float, ...]:
    """How much better each probe is for the concept than for its control task."""
    return tuple(probe - control for probe, control in zip(self.probes, self.controls, strict=True))

  @property
  def kind(self) -> str:
    """What its scores are."""
    return 'AUC' if self.binary else 'r'

  @property
  def gain(self) -> float:
    """How much better the unit is than the best one of an untrained network, in AUC or in half a
    correlation."""
    return (self.score - self.untrained) * (1.0 if self.binary else 0.5)


PROBES = (*map(str, SIZES), 'all')  # sizes of `Found.probes`


def stretches_of(length: int) -> np.ndarray:
  """Returns the stretch of a text in which each symbol lies, of 20 alike: [N] int64."""
  return np.arange(length) * _STRETCHES // length


def parts_of(length: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns which symbols serve the choice of units, and which the scores: [N] bool each, stretches
  of the text by turns, since a text changes from its beginning to its end."""
  first = stretches_of(length) % 2 == 0
  return first, ~first


def searchable(labels: np.ndarray) -> bool:
  """Returns whether a concept is there often enough, in both parts of a text.

  Args:
    labels: [N] float32, NaN where there is none.
  """
  return all(scorable(labels[part]) for part in parts_of(len(labels)))


def search(
  recording: Recording,
  untrained: np.ndarray,
  text: str,
  concepts: Sequence[str],
  labels: np.ndarray,
) -> list[Found]:
  """Returns what is known of each concept, first what is most above the untrained network.

  Args:
    recording: of the trained model.
    untrained: `Recording.values` of an untrained one of the same shape.
    text: N symbols, `FEWEST` at least.
    concepts: C names.
    labels: [C, N] float32, NaN where there is none; each `searchable`.
  """
  first, second = parts_of(len(text))
  both = np.concatenate([labels, _controls(text, labels)])
  binary = [is_binary(row) for row in labels]
  chosen_by = recording.values[first], both[:, first]
  scored_by = recording.values[second], both[:, second]
  found_strengths = strengths(*chosen_by, 2 * binary)
  units, signs = _best(found_strengths[: len(labels)])
  scores = score(scored_by[0], labels[:, second], binary)
  q = significant(scores.p)
  probes, controls = np.split(probe_scores(chosen_by, found_strengths, scored_by, 2 * binary), 2)
  before = _untrained(untrained, labels, binary, first, second)
  found = []
  for i, concept in enumerate(concepts):
    unit = units[i]
    found.append(
      Found(
        concept,
        binary[i],
        recording.units[unit],
        as_read(float(signs[i] * scores.strength[i, unit]), binary[i]),
        int(signs[i]),
        float(q[i, unit]),
        int((q[i] <= LEVEL).sum()),
        as_read(before[i], binary[i]),
        tuple(map(float, probes[i])),
        tuple(map(float, controls[i])),
      )
    )
  return sorted(found, key=lambda one: one.gain, reverse=True)


def _best(strengths_):
  """Returns the strongest unit of each concept, and which way it goes: [C] each."""
  units = np.abs(strengths_).argmax(1)
  return units, np.where(strengths_[np.arange(len(units)), units] < 0, -1, 1)


def _controls(text, labels):
  """Returns labels of control tasks, [C, N]; where frequent types have drawn all the same ones,
  they draw again, a few times."""
  types = token_beginnings(text)

  def draw(row):
    for seed in range(_DRAWS):
      control = control_task(types, row, seed)
      if all(occurs(control[part]) for part in parts_of(len(row))):
        break
    return control

  return np.stack([draw(row) for row in labels])


def _untrained(values, labels, binary, first, second):
  """Returns the strength on the second part of the unit that is best on the first: [C]."""
  units, signs = _best(strengths(values[first], labels[:, first], binary))
  return [
    float(sign * strengths(values[second, unit][:, None], row[None, second], [holds])[0, 0])
    for unit, sign, row, holds in zip(units, signs, labels, binary, strict=True)
  ]
