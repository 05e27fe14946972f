"""Does attention look at what it names? Scores against boxes, for any grid of weights."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.tasks.captioning.boxes import Phrase
from rnn_research.tasks.captioning.nouns import singular

_RESAMPLES = 10_000
WIDTHS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # of smoothing, see `smoothed`


class Pointed(NamedTuple):
  """M written nouns that have boxes in their photo.

  Attributes:
    photos: [M] int64, the number of the photo.
    hits: [M] bool, whether the maximum of the attention is in a box.
    masses: [M] float64, share of the attention inside of the boxes.
    centres: [M] bool, whether the centre of the photo is in a box.
    areas: [M] float64, share of the photo inside of the boxes, which is the mass of uniform
      attention.
  """

  photos: np.ndarray
  hits: np.ndarray
  masses: np.ndarray
  centres: np.ndarray
  areas: np.ndarray


class PointingScores(NamedTuple):
  """Means over written nouns.

  Attributes:
    words: number of nouns.
    photos: number of photos that have them.
    accuracy: share of nouns at which the attention's maximum is in a box (the pointing game).
    centre: the same of the centre of the photo.
    mass: share of the attention inside of the boxes.
    area: the same of uniform attention.
    gain: accuracy less centre.
    low: lower end of its 95 % interval.
    high: upper end.
  """

  words: int
  photos: int
  accuracy: float
  centre: float
  mass: float
  area: float
  gain: float
  low: float
  high: float


def pointed(
  captions: Sequence[Sequence[str]],
  attention: Sequence[np.ndarray],
  phrases: Sequence[Sequence[Phrase]],
) -> Pointed:
  """Returns what attention does at each written noun that is the head of a phrase of the photo.

  All boxes of the photo whose phrase has this head count, since nothing says which is meant.

  The map is bilinear between the centres of its cells, so that its maximum is the centre of the
  cell of the largest weight, the first of equals. A cell's weight is spread over the cell where
  its mass is measured.

  Args:
    captions: N lists of T_i words in small letters.
    attention: N arrays [T_i, h, w], at least 0, weights of the cells of the photo at each word.
    phrases: N lists of the phrases of the photo, see `read_boxes`.

  Raises:
    ValueError: the counts differ, or the weights at a matched noun do not sum to a number above 0.

  Source: Zhang et al. 2016 (arXiv 1608.00507), section 4.2, the pointing game; Liu et al. 2017
  (arXiv 1605.09553), mass in boxes. Deviates from the papers: no margin around boxes; boxes are
  matched by the noun alone.
  """
  rows = []
  for photo, (words, grids, named) in enumerate(zip(captions, attention, phrases, strict=True)):
    if len(words) != len(grids):
      raise ValueError(
        f'caption {photo} has {len(words)} words and {len(grids)} grids of attention'
      )
    for word, grid in zip(words, np.asarray(grids, np.float64), strict=True):
      boxes = boxes_of(word, named)
      if len(boxes):
        rows.append((photo, *_looked(grid, boxes, f'{word!r} in caption {photo}')))
  columns = zip(*rows, strict=True) if rows else [()] * len(Pointed._fields)
  kinds = (np.int64, bool, np.float64, bool, np.float64)
  return Pointed(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))


def smoothed(grid: np.ndarray, width: float) -> np.ndarray:
  """Returns weights [..., h, w] smoothed by a Gaussian, nothing lying outside of the photo.

  Even weights become largest in the middle: where attention says little, the middle is pointed at.

  Args:
    grid: at least 0.
    width: standard deviation, as a share of the side of the photo; 0 changes nothing.

  Source: Xu et al. 2015 (arXiv 1502.03044), section 5.4, where weights are smoothed to be shown.
  Deviates from the paper: smoothed to be scored; how far is chosen, see `best_width`.
  """
  if not width:
    return grid
  rows, columns = (_gaussian(size, width * size) for size in grid.shape[-2:])
  return rows @ grid @ columns


def best_width(
  captions: Sequence[Sequence[str]],
  attention: Sequence[np.ndarray],
  phrases: Sequence[Sequence[Phrase]],
) -> float:
  """Returns the narrowest of `WIDTHS` with which most nouns are hit; args as of `pointed`."""

  def hits(width):
    return pointed(captions, [smoothed(grid, width) for grid in attention], phrases).hits.sum()

  return max(WIDTHS, key=hits)


def _gaussian(size, width):
  """Returns what reaches each of so many cells from every other, [size, size]."""
  apart = np.subtract.outer(np.arange(size), np.arange(size))
  return np.exp(-0.5 * np.square(apart / width))


def boxes_of(word: str, phrases: Sequence[Phrase]) -> np.ndarray:
  """Returns [K, 4], the boxes of all phrases whose head is the word, in singular or plural."""
  head = singular(word)
  found = [phrase.boxes for phrase in phrases if phrase.head == head]
  return np.concatenate([np.zeros((0, 4)), *found])


def inside(x: float, y: float, boxes: np.ndarray) -> bool:
  """Returns whether a point is in one of the boxes, [K, 4], their edges included."""
  left, top, right, bottom = boxes.T
  return bool(np.any((left <= x) & (x <= right) & (top <= y) & (y <= bottom)))


def coverage(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
  """Returns which share of each cell of a grid, [height, width] float64, is in boxes, [K, 4]."""
  # Within lines through all edges, of cells and boxes, a rectangle is in a box as a whole or not.
  columns, rows = np.arange(width + 1) / width, np.arange(height + 1) / height
  xs, ys = np.union1d(columns, boxes[:, [0, 2]]), np.union1d(rows, boxes[:, [1, 3]])
  middle_x, middle_y = (xs[1:] + xs[:-1]) / 2, (ys[1:] + ys[:-1]) / 2
  left, top, right, bottom = boxes.T[:, :, None]
  across, down = (left < middle_x) & (middle_x < right), (top < middle_y) & (middle_y < bottom)
  areas = np.any(down[:, :, None] & across[:, None], 0) * np.outer(np.diff(ys), np.diff(xs))
  cells = np.zeros((height, width))
  row = np.searchsorted(rows, ys[:-1], 'right') - 1
  column = np.searchsorted(columns, xs[:-1], 'right') - 1
  np.add.at(cells, (row[:, None], column), areas)
  return cells * height * width


def pointing_scores(found: Pointed, seed: int = 0) -> PointingScores | None:
  """Returns the means over nouns, and how sure it is that attention beats the centre; None of no
  nouns.

  The interval is that of a paired bootstrap over photos: 10,000 times, as many photos are drawn
  with replacement, and the difference of both shares is taken.

  Args:
    found: of `pointed`.
    seed: of the draws.
  """
  if not len(found.photos):
    return None
  photos, where = np.unique(found.photos, return_inverse=True)
  counts = np.bincount(where)
  gains = np.bincount(where, found.hits.astype(float) - found.centres)
  rng = np.random.default_rng(seed)
  draws = rng.multinomial(len(photos), np.full(len(photos), 1 / len(photos)), _RESAMPLES)
  low, high = np.quantile((draws @ gains) / (draws @ counts), [0.025, 0.975])
  accuracy, mass, centre, area = (float(column.mean()) for column in found[1:])
  return PointingScores(
    len(where),
    len(photos),
    accuracy,
    centre,
    mass,
    area,
    accuracy - centre,
    float(low),
    float(high),
  )


def _looked(grid: np.ndarray, boxes: np.ndarray, place: str) -> tuple[bool, float, bool, float]:
  """Returns hit, mass, centre and area of one map."""
  if not 0 < grid.sum() < np.inf or grid.min() < 0:
    raise ValueError(
      f'the attention at {place} sums to {grid.sum()}, expected weights of at least 0'
    )
  height, width = grid.shape
  y, x = np.unravel_index(np.argmax(grid), grid.shape)
  covered = coverage(boxes, height, width)
  return (
    inside((x + 0.5) / width, (y + 0.5) / height, boxes),
    float((grid * covered).sum() / grid.sum()),
    inside(0.5, 0.5, boxes),
    float(covered.mean()),
  )
