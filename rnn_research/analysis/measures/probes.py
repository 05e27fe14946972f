"""Linear probes of few or all units, beside control tasks that only memory can solve."""

from collections.abc import Sequence

import numpy as np

from rnn_research.analysis.measures.unit_scores import as_read, strengths

SIZES = (1, 4, 16)  # units of a sparse probe
# Added to the diagonal, of units with variance 1.
RIDGE = 1e-3
_ROWS = 2**14  # of the text that are single-precision numbers at once


def token_beginnings(text: str) -> np.ndarray:
  """Returns the type of each symbol, [N] int64: the word or the run of white space up to it, or the
  symbol itself where it is of neither.

  Were each space one type, it would be a quarter of code, and one draw most of a control task.
  """
  kinds: dict[tuple, int] = {}
  types, before, kind_before = np.empty(len(text), np.int64), None, ''
  for i, symbol in enumerate(text):
    kind = 'word' if symbol.isalnum() else 'space' if symbol.isspace() else ''
    goes_on = kind and kind == kind_before
    types[i] = kinds.setdefault((before if goes_on else None, symbol), len(kinds))
    before, kind_before = types[i], kind
  return types


def control_task(types: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
  """Returns labels that are drawn at random for each type, from those of the text: whoever predicts
  them has learnt the types by heart.

  Args:
    types: [N] int64, of `token_beginnings`.
    labels: [N] float32, NaN where there is none.
    seed: of the draws.

  Source: Hewitt and Liang 2019, section 2. Deviates from the paper: the type is the token up to
  the symbol that was just read, where theirs is the whole word.
  """
  known = np.isfinite(labels)
  drawn = np.random.default_rng(seed).choice(labels[known], types.max() + 1)
  return np.where(known, drawn[types], np.nan).astype(np.float32)


def probe_scores(
  found: tuple[np.ndarray, np.ndarray],
  found_strengths: np.ndarray,
  held_out: tuple[np.ndarray, np.ndarray],
  binary: Sequence[bool],
) -> np.ndarray:
  """Returns how well linear probes of 1, 4, 16 and all units tell labels: [C, 4] float32, the AUC
  of a binary concept, Spearman's correlation of a number.

    w = (X^T X / N + lambda I)^-1 X^T y / N,    of standardised units X and labels y

  For two classes that is Fisher's discriminant. A sparse probe reads the units with the greatest
  strength.

  Args:
    found: values [N, U] float16 and labels [C, N] float32 (NaN where there is none) of the text
      that probes are fitted to.
    found_strengths: of that text, see `unit_scores.strengths`: [C, U].
    held_out: the same of the text that they are scored on.
    binary: see `unit_scores.score`.
  """
  (values, labels), (held_values, held_labels) = found, held_out
  mean, scale, gram, products = _sums(values, labels)
  order = np.argsort(-np.abs(found_strengths), 1, kind='stable')
  gram += RIDGE * np.eye(len(gram), dtype=np.float32)
  weights = np.zeros((len(labels), len(SIZES) + 1, len(gram)), np.float32)
  for concept, units in enumerate(order):
    for probe, size in enumerate(SIZES):
      some = units[:size]
      weights[concept, probe, some] = np.linalg.solve(
        gram[np.ix_(some, some)], products[concept, some]
      )
  weights[:, -1] = np.linalg.solve(gram, products.T).T
  outputs = np.concatenate(
    [x @ weights.reshape(-1, values.shape[1]).T for x in _standard(held_values, mean, scale)]
  ).reshape(-1, *weights.shape[:2])
  outputs /= np.maximum(outputs.std(0), 1e-30)  # half precision knows numbers around 1 best
  told = np.stack(
    [
      strengths(outputs[:, concept].astype(np.float16), row[None], [binary[concept]])[0]
      for concept, row in enumerate(held_labels)
    ]
  )
  return np.stack([as_read(s, holds) for s, holds in zip(told, binary, strict=True)])


def _sums(values, labels):
  """Returns the mean and deviation of units, [U] float32, X^T X / N [U, U] and X^T y / N [C, U]."""
  mean = values.mean(0, dtype=np.float32)
  one = np.ones_like(mean)
  scale = np.sqrt(
    sum(np.square(x).sum(0, dtype=np.float64) for x in _standard(values, mean, one)) / len(values)
  ).astype(np.float32)
  scale = np.where(scale > 0.0, scale, one)
  # Without a label a symbol counts as the mean.
  y = np.nan_to_num(labels - np.nanmean(labels, 1, keepdims=True))
  gram, products, start = 0.0, 0.0, 0
  for x in _standard(values, mean, scale):
    gram, products = gram + x.T @ x, products + y[:, start : start + len(x)] @ x
    start += len(x)
  return mean, scale, gram / len(values), products / len(values)


def _standard(values, mean, scale):
  """Yields (x - mean) / scale of some rows after the other."""
  for start in range(0, len(values), _ROWS):
    yield (values[start : start + _ROWS] - mean) / scale
