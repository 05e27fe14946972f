"""What a recurrent language model gets right that an n-gram does not, and what its errors are."""

import collections
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.analysis.measures import kneser_ney
from rnn_research.data.codec import TextCodec, require_characters

MEMORIES = (100, 500, 1000, 5000)  # characters
RARE = 5  # occurrences
EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # characters since the opener
_CLOSED_BY = {'(': ')', '[': ']', '{': '}', '\u201c': '\u201d', '\u00ab': '\u00bb'}
_OPENED_BY = {closer: opener for opener, closer in _CLOSED_BY.items()}
_QUOTES = '"\'\u2018\u2019\u201c\u201d\u00ab\u00bb'
_MARKS = re.compile(f'\n\\s*\n|["{re.escape("".join([*_CLOSED_BY, *_OPENED_BY]))}]')
_WORD = re.compile(r'\w+')


class Gains(NamedTuple):
  """How well two models predict each of S labels, the largest gain of the first model first.

  Attributes:
    labels: [S], in order of falling `probs[0] - probs[1]`.
    counts: [S] int64, how often each is to be predicted.
    probs: [2, S] float64, mean probability of what comes.
    log_probs: [2, S] float64, nats, mean of its logarithm.
  """

  labels: np.ndarray
  counts: np.ndarray
  probs: np.ndarray
  log_probs: np.ndarray


class ByDistance(NamedTuple):
  """Mean log p of a closer, over its distance from the opener.

  Attributes:
    counts: [K] int64, closers in each bin.
    log_probs: [M, K] float64, nats, of each model; not-a-number in an empty bin.
  """

  counts: np.ndarray
  log_probs: np.ndarray


class Comparison(NamedTuple):
  """A recurrent model and n-grams on one text of N predictions; the recurrent model comes first.

  Attributes:
    order: of the longest n-gram, with which the recurrent model is compared.
    nats: mean loss per symbol of the recurrent model.
    ngram_nats: [order] float64, mean loss of the n-gram models of orders 1 to `order`.
    symbols: gains per symbol.
    classes: gains per `character_class`.
    predictions: N.
    errors: how many of N are errors of the recurrent model, and of the longest n-gram.
    causes: cause -> errors of the recurrent model that it explains and none before it does.
    distances: closer -> its log p over the distance from the opener, bins between `EDGES`.
  """

  order: int
  nats: float
  ngram_nats: np.ndarray
  symbols: Gains
  classes: Gains
  predictions: int
  errors: tuple[int, int]
  causes: Mapping[str, int]
  distances: Mapping[str, ByDistance]


def compare(
  ids: np.ndarray, log_probs: np.ndarray, train_ids: np.ndarray, codec: TextCodec, order: int = 9
) -> Comparison:
  """Compares a recurrent model on a held-out text with n-grams of the text it was trained on.

  Args:
    ids: [N + 1] int32, the held-out text.
    log_probs: [N] float64, nats, the recurrent model's of all symbols but the first.
    train_ids: [M] int32.
    codec: of both texts, of characters or bytes.
    order: of the longest n-gram.

  Raises:
    InputError: the symbols are words, or the training text is shorter than `order`.

  Source: Karpathy, Johnson and Fei-Fei 2015 (arXiv 1506.02078). Deviates from
  the paper: `breakdown`; n-grams are compared by order, so that a 9-gram sees 8 characters.
  """
  require_characters(codec)
  size, text = len(codec.symbols), codec.characters(ids)
  model = kneser_ney.train(train_ids, order, size)
  ngrams = kneser_ney.log_probs_by_order(model, ids[1:], ids[:1])
  both, targets = np.stack([log_probs, ngrams[-1]]), np.array([*text[1:]], object)
  causes = {f'{order}-gram oracle': np.any(~errors(ngrams), 0)}
  causes |= {
    cause: mask[1:] for cause, mask in causes_of(text, codec.characters(train_ids)).items()
  }
  return Comparison(
    order,
    -float(np.mean(log_probs)),
    -ngrams.mean(1),
    gains(targets, both),
    gains(np.array([*map(character_class, targets)]), both),
    len(log_probs),
    tuple(errors(both).sum(1).tolist()),
    breakdown(errors(log_probs), causes),
    by_distance(both, targets, since_opener(text)[1:], EDGES),
  )


def errors(log_probs: np.ndarray) -> np.ndarray:
  """Returns where a model errs: the probability of what comes is below one half.

  Source: Karpathy, Johnson and Fei-Fei 2015, error analysis. Deviates from the paper: nothing.
  """
  return log_probs < np.log(0.5)


def gains(labels: np.ndarray, log_probs: np.ndarray) -> Gains:
  """Returns how well two models predict the symbols of each label.

  Args:
    labels: [N] anything that can be sorted, of every prediction.
    log_probs: [2, N] float64, nats.
  """
  names, place, counts = np.unique(labels, return_inverse=True, return_counts=True)

  def mean(rows):
    return np.stack([np.bincount(place, row) / counts for row in rows])

  probs, logs = mean(np.exp(log_probs)), mean(log_probs)
  rank = np.argsort(probs[1] - probs[0], kind='stable')
  return Gains(names[rank], counts[rank], probs[:, rank], logs[:, rank])


def character_class(character: str) -> str:
  """Returns the class of a character, such as 'bracket', 'quote' or 'line end'."""
  if character in '\r\n':
    return 'line end'
  if character.isspace():
    return 'space'
  if character in _QUOTES:
    return 'quote'
  if unicodedata.category(character) in ('Ps', 'Pe'):
    return 'bracket'
  if character.isdigit():
    return 'digit'
  if character.isupper():
    return 'capital'
  return 'letter' if character.isalpha() else 'other sign'


def causes_of(text: str, train_text: str) -> dict[str, np.ndarray]:
  """Returns cause -> [N] bool, which characters of a text it touches, in the order in which
  `breakdown` asks for them."""
  since, seen = since_same_word(text), word_counts(text, train_text)
  after = np.array([True, *(c.isspace() or c in _QUOTES for c in text[:-1])])
  marks = np.array([not (c.isalnum() or c.isspace()) for c in text])
  return {
    **{f'word repeated within {reach:,}': since <= reach for reach in MEMORIES},
    f'word seen {RARE} times or less': seen <= RARE,
    'after a space, quote or line end': after,
    'punctuation': marks,
  }


def breakdown(errors: np.ndarray, causes: Mapping[str, np.ndarray]) -> dict[str, int]:
  """Removes errors cause by cause, and counts what each removes.

  Args:
    errors: [N] bool.
    causes: cause -> [N] bool, where it explains an error; in the order of removal.

  Returns:
    cause -> count, and 'the rest'; their sum is that of all errors.

  Source: Karpathy, Johnson and Fei-Fei 2015. Deviates from the paper: a word is a run
  of letters and digits, that is repeated as a whole word, not as a substring; one limit for rare
  words; what is left is not broken down by how much probability is missing.
  """
  counts = {}
  for cause, mask in causes.items():
    counts[cause] = int(np.sum(errors & mask))
    errors = errors & ~mask
  return {**counts, 'the rest': int(errors.sum())}


def since_same_word(text: str) -> np.ndarray:
  """Returns for every character of a word but its first how many characters ago the same word
  began before, [N] float64; infinity where there is none."""
  since = np.full(len(text), np.inf)
  began: dict[str, int] = {}
  for word in _WORD.finditer(text):
    since[word.start() + 1 : word.end()] = word.start() - began.get(word[0], -np.inf)
    began[word[0]] = word.start()
  return since


def word_counts(text: str, train_text: str) -> np.ndarray:
  """Returns how often the word around every character is in a training text, [N] float64; infinity
  between words."""
  counts, seen = np.full(len(text), np.inf), collections.Counter(_WORD.findall(train_text))
  for word in _WORD.finditer(text):
    counts[word.start() : word.end()] = seen[word[0]]
  return counts


def since_opener(text: str) -> np.ndarray:
  """Returns how many characters before each closing bracket or quote its opener stands, [N] int64;
  0 for all other characters.

  Each kind of bracket is matched for itself, and straight double quotes in turn; none is open after
  an empty line, as prose leaves a quotation open that goes on in the next paragraph.
  """
  since = np.zeros(len(text), np.int64)
  open_at: dict[str, list[int]] = collections.defaultdict(list)
  for mark in _MARKS.finditer(text):
    kind = mark[0]
    opener = '"' if kind == '"' and open_at['"'] else _OPENED_BY.get(kind)
    if kind[0] == '\n':
      open_at.clear()
    elif opener is None:
      open_at[kind].append(mark.start())
    elif open_at[opener]:
      since[mark.start()] = mark.start() - open_at[opener].pop()
  return since


def by_distance(
  log_probs: np.ndarray, targets: np.ndarray, distances: np.ndarray, edges: Sequence[int]
) -> dict[str, ByDistance]:
  """Returns the mean log p of each closer in bins of its distance from the opener.

  Args:
    log_probs: [M, N] float64, nats, of M models.
    targets: [N] str.
    distances: [N] integers, see `since_opener`; 0 for what closes nothing.
    edges: [K + 1] rising; a distance d is in bin k where edges[k] <= d < edges[k + 1].

  Returns:
    Closer -> its bins, in order of the characters.
  """
  bins = np.searchsorted(edges, distances, 'right') - 1
  inside = (distances > 0) & (bins >= 0) & (bins < len(edges) - 1)
  found = {}
  for closer in np.unique(targets[inside]).tolist():
    chosen = inside & (targets == closer)
    counts = np.bincount(bins[chosen], minlength=len(edges) - 1)
    sums = [np.bincount(bins[chosen], row[chosen], len(edges) - 1) for row in log_probs]
    means = np.where(counts > 0, np.stack(sums) / np.maximum(counts, 1), np.nan)
    found[closer] = ByDistance(counts, means)
  return found
