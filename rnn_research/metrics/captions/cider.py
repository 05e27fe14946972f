"""CIDEr-D: how much captions agree with their references in words that tell images apart.

As a reward, the references are weighed once:

  table = cider_table(references, document_frequencies(references))
  rewards = cider(table, sampled, rows)
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from rnn_research.metrics.captions.codes import Bags, bags, counted, numbered, orders_of
from rnn_research.metrics.captions.sentences import LONGEST

_SIGMA = 6.0


class Frequencies(NamedTuple):
  """For how many images the references hold an n-gram, of V in all.

  Attributes:
    words: word -> its number, from 1 on.
    codes: [V] uint64, the n-grams, ascending, see `codes.Bags`.
    images: [V] int64, at least 1.
    total: number of all images.
  """

  words: Mapping[str, int]
  codes: np.ndarray
  images: np.ndarray
  total: int


class Weighed(NamedTuple):
  """S sentences, as counts of n-grams times their idf.

  Attributes:
    weights: [S, V + 1] sparse float64; the last column is that of unknown n-grams.
    norms: [S, 4] float64, length of the vector of the n-grams of 1 to 4 tokens.
    lengths: [S] float64, how many tokens a sentence has.
  """

  weights: sparse.csr_array
  norms: np.ndarray
  lengths: np.ndarray


class CiderTable(NamedTuple):
  """References of I images, weighed, R in all.

  Attributes:
    words: word -> its number, from 1 on.
    codes: [V + 1] uint64, the n-grams known, ascending, and the largest integer, which is none.
    idf: [V + 1] float64, log(images / images whose references hold the n-gram).
    references: the R references, image by image.
    starts: [I + 1] int64, the first reference of each image, and R.
  """

  words: Mapping[str, int]
  codes: np.ndarray
  idf: np.ndarray
  references: Weighed
  starts: np.ndarray


def document_frequencies(references: Sequence[Sequence[str]]) -> Frequencies:
  """Returns the frequencies of the n-grams in the references of images.

  Args:
    references: I lists of captions, tokens separated by spaces.

  Raises:
    ValueError: there are more than 65,534 words.
  """
  sentences = _flat(references)
  words = numbered(sentences, {})
  found = bags(sentences, words)
  images = np.repeat(np.arange(len(references)), [len(each) for each in references])
  pairs = counted(images[found.rows], found.codes)
  return Frequencies(words, *np.unique(pairs.codes, return_counts=True), len(references))


def cider_table(references: Sequence[Sequence[str]], frequencies: Frequencies) -> CiderTable:
  """Returns the references of I images as `cider` reads them.

  Args:
    references: I lists of captions, tokens separated by spaces.
    frequencies: of these references, as papers score test sets; or of those of the training images.

  Raises:
    ValueError: there are more than 65,534 words.
  """
  sentences = _flat(references)
  words = numbered(sentences, frequencies.words)
  found = bags(sentences, words)
  none = np.array([np.iinfo(np.uint64).max], np.uint64)
  codes = np.concatenate([np.union1d(frequencies.codes, found.codes), none])
  images = np.ones(len(codes))
  images[np.searchsorted(codes, frequencies.codes)] = frequencies.images
  idf = np.log(frequencies.total) - np.log(images)
  starts = np.cumsum([0, *map(len, references)])
  return CiderTable(words, codes, idf, _weighed(found, len(sentences), codes, idf), starts)


def cider(table: CiderTable, hypotheses: Sequence[str], rows: Sequence[int]) -> np.ndarray:
  """Returns CIDEr-D of each caption, [N] float64, 0 to 10; that of a corpus is their mean.

    10 mean_{n, r} exp(-(l_c - l_r)^2 / (2 sigma^2)) min(g_c, g_r) . g_r / (|g_c| |g_r|)

  where g_c and g_r are the counts of the n-grams of n = 1 to 4 tokens of a caption and a reference,
  times their idf, l_c and l_r the numbers of tokens of both, and sigma = 6.

  Args:
    table: of `cider_table`.
    hypotheses: N captions, tokens separated by spaces.
    rows: N numbers: which of the images in the table each describes.

  Raises:
    ValueError: the counts differ, or there are more than 65,534 words.

  Source: Vedantam et al. 2015 (arXiv 1411.5726), section 6. Deviates from the paper: nothing.
  """
  if len(hypotheses) != len(rows):
    raise ValueError(f'there are {len(hypotheses)} hypotheses, expected one per row, {len(rows)}')
  found = bags(hypotheses, numbered(hypotheses, table.words))
  ours, theirs = _weighed(found, len(rows), table.codes, table.idf), table.references
  # Of every caption with each of its references.
  i = np.repeat(np.arange(len(rows)), np.diff(table.starts)[rows])
  r = np.concatenate([np.arange(*table.starts[row : row + 2]) for row in rows])
  held = theirs.weights[r]
  shared = ours.weights[i].minimum(held).multiply(held).tocoo()
  cells = shared.row * LONGEST + orders_of(table.codes[shared.col])
  norms = ours.norms[i] * theirs.norms[r]
  dots = np.bincount(cells, shared.data, norms.size).reshape(norms.shape)
  cosines = np.divide(dots, norms, out=np.zeros(dots.shape), where=norms > 0).mean(1)
  scores = cosines * np.exp(-((ours.lengths[i] - theirs.lengths[r]) ** 2) / (2 * _SIGMA**2))
  return 10 * np.bincount(i, scores, len(rows)) / np.bincount(i, minlength=len(rows))


def _flat(references: Sequence[Sequence[str]]) -> list[str]:
  return [sentence for sentences in references for sentence in sentences]


def _weighed(found: Bags, count: int, codes: np.ndarray, idf: np.ndarray) -> Weighed:
  """Returns `count` sentences by their n-grams, codes and idf those of `CiderTable`."""
  columns = np.searchsorted(codes, found.codes)
  columns[codes[columns] != found.codes] = len(codes) - 1
  weights = found.counts * idf[columns]
  cells = found.rows * LONGEST + orders_of(found.codes)
  shape = (count, LONGEST)
  sums = np.bincount(cells, found.counts, count * LONGEST).reshape(shape)
  squares = np.bincount(cells, weights**2, count * LONGEST).reshape(shape)
  matrix = sparse.csr_array((weights, (found.rows, columns)), (count, len(idf)))
  return Weighed(matrix, np.sqrt(squares), sums[:, 0])
