"""An n-gram model with modified Kneser-Ney smoothing, to hold recurrent models against.

There are no dictionaries: an n-gram is a pair, the number of its first n - 1 symbols, as an
(n - 1)-gram, and its last symbol. Distinct pairs are numbered, exactly, by one sort per order.
"""

from typing import NamedTuple

import numpy as np

from rnn_research.errors import InputError, require_size

# Of n-grams that occur once, twice, and more often, where a text is too small or too regular to
# estimate them.
_DISCOUNTS = (0.5, 1.0, 1.5)


class Smoothing(NamedTuple):
  """The discounted counts of one order, as probabilities.

  Attributes:
    own: [M] float64, max(c(vw) - D, 0) / c(v) of every n-gram vw, v its first n - 1 symbols.
    rest: [C] float64, what the discounts leave to shorter contexts after every v; 1 where nothing
      was counted after it.
  """

  own: np.ndarray
  rest: np.ndarray


class Order(NamedTuple):
  """The distinct n-grams of one length.

  Attributes:
    keys: [M] int64, rising: number of the first n - 1 symbols times V, plus the last symbol. The
      place of a key is the number of its n-gram.
    counted: by how often an n-gram occurs: n is the model's highest order.
    continued: by how many symbols it occurs after: a higher order backs off to n. None of the last.
  """

  keys: np.ndarray
  counted: Smoothing
  continued: Smoothing | None


class KneserNey(NamedTuple):
  """The n-grams of a text, of lengths 1 to `len(orders)`, over V = `vocabulary_size` symbols."""

  orders: tuple[Order, ...]
  vocabulary_size: int


def train(ids: np.ndarray, order: int, vocabulary_size: int) -> KneserNey:
  """Counts and smooths the n-grams of a text: interpolated modified Kneser-Ney.

      p_n(w | v) = (c(vw) - D(c(vw))) / c(v) + rest(v) p'_(n-1)(w | v'),   v' = v without its first

  where c counts occurrences, and in p', of all shorter contexts, the distinct symbols that stand
  before vw. D takes three values per order, for c = 1, 2 and more. p'_0 is uniform over V, so that
  all symbols have a probability, those that the text lacks too, and all probabilities sum to one.

  Args:
    ids: [N] integers in [0, V).
    order: the longest n-gram; each predicts from up to `order` - 1 symbols.
    vocabulary_size: V.

  Raises:
    InputError: a text shorter than `order`, or ids out of range.

  Source: Chen and Goodman 1999, section 4.1.6 and their interpolated variant. Deviates from the
  paper: the start of the text counts as a symbol that stands before; where counts of counts give no
  discounts between 0 and c, they are 0.5, 1 and 1.5.
  """
  require_size('order', order)
  ids = _checked(ids, vocabulary_size)
  if len(ids) < order:
    raise InputError(f'the text has {len(ids)} symbols, expected {order} at least, the order')
  grams, contexts = np.zeros(len(ids) + 1, np.int64), 1  # by where they start; the empty one
  found: list[Order] = []
  for n in range(1, order + 1):
    keys, numbers, counts = np.unique(
      grams[:-1] * vocabulary_size + ids[n - 1 :], return_inverse=True, return_counts=True
    )
    if found:
      found[-1] = found[-1]._replace(continued=_continued(found, vocabulary_size, grams, numbers))
    found.append(Order(keys, _smooth(counts, keys // vocabulary_size, contexts), None))
    grams, contexts = numbers, len(keys)
  return KneserNey(tuple(found), vocabulary_size)


def _continued(found, vocabulary_size, grams, longer):
  """Returns the smoothed numbers of distinct symbols before each n-gram of the last order.

  `grams`, [L + 1], are these n-grams by where they start, and `longer`, [L], those one symbol
  longer.
  """
  place = np.empty(longer.max() + 1, np.int64)
  place[longer] = np.arange(len(longer))
  keys = found[-1].keys
  counts = np.bincount(grams[place + 1], minlength=len(keys))
  counts[grams[0]] += 1
  contexts = len(found[-2].keys) if len(found) > 1 else 1
  return _smooth(counts, keys // vocabulary_size, contexts)


def _smooth(counts, contexts, size):
  """Smooths counts, [M] integers >= 1, of n-grams after `contexts`, [M] integers in [0, `size`)."""
  discounts = np.take(_discounts(counts), np.minimum(counts, 3) - 1)
  total = np.bincount(contexts, counts, size)
  rest = np.bincount(contexts, discounts, size)
  np.divide(rest, total, out=rest, where=total > 0)
  rest[total == 0] = 1.0
  return Smoothing((counts - discounts) / total[contexts], rest)


def _discounts(counts):
  """Returns D of c = 1, 2, and 3 or more: c - (c + 1) Y n_(c+1) / n_c, Y = n_1 / (n_1 + 2 n_2)."""
  often = np.bincount(np.minimum(counts, 5), minlength=6)[1:5]
  if not often.all():
    return _DISCOUNTS
  c = np.arange(1, 4)
  found = c - (c + 1) * often[0] / (often[0] + 2 * often[1]) * often[1:] / often[:-1]
  return found if np.all(found > 0) else _DISCOUNTS


def log_probs(model: KneserNey, ids: np.ndarray, context: np.ndarray) -> np.ndarray:
  """Returns log p of each symbol of a text given the `order` - 1 before it, [N] float64, nats; see
  `log_probs_by_order`."""
  return log_probs_by_order(model, ids, context)[-1]


def log_probs_by_order(model: KneserNey, ids: np.ndarray, context: np.ndarray) -> np.ndarray:
  """Returns log p of each symbol of a text for the models of all orders up to the highest, each
  what `train` makes of that order.

  Args:
    model: of the n-grams.
    ids: [N] integers in [0, V).
    context: [C] integers in [0, V), the symbols before the text; none at its start.

  Returns:
    [K, N] float64, nats: row n - 1 of the n-gram model.

  Raises:
    InputError: ids out of range.
  """
  size = model.vocabulary_size
  whole = _checked(np.concatenate([context, ids]), size)
  grams = np.zeros(len(whole) + 1, np.int64)  # by where they end
  backed_off = np.full(len(whole), 1.0 / size)
  probs = np.empty((len(model.orders), len(ids)))
  for row, (keys, counted, continued) in zip(probs, model.orders, strict=True):
    before, wanted = grams[:-1], grams[:-1] * size + whole  # < 0, no key, after a context of -1
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    place[keys[place] != wanted] = -1
    row[:] = _interpolate(counted, before, place, backed_off)[len(context) :]
    if continued is not None:
      backed_off = _interpolate(continued, before, place, backed_off)
    grams = np.concatenate([[-1], place])
  return np.log(probs)


def _interpolate(smoothing, before, place, shorter):
  """Returns [N] probabilities of n-grams at `place` after contexts `before`, -1 where there is
  none, given those of one symbol less."""
  own = np.where(place < 0, 0.0, smoothing.own[place])
  return own + np.where(before < 0, 1.0, smoothing.rest[before]) * shorter


def _checked(ids, vocabulary_size):
  require_size('vocabulary_size', vocabulary_size)
  ids = np.asarray(ids, np.int64)
  for outside in ids[(ids < 0) | (ids >= vocabulary_size)]:
    raise InputError(f'a symbol is {outside}, expected ids in [0, {vocabulary_size})')
  return ids
