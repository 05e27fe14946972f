"""Sequences of bits whose next bit depends on the last five, and the best that can be done about
them."""

import math

import numpy as np

from rnn_research.tasks.algorithmic.sequences import Examples, Range

CONTEXT = 5  # bits
_PLACES = 2 ** np.arange(CONTEXT)


def dynamic_ngrams(rng: np.random.Generator, batch_size: int, lengths: Range) -> Examples:
  """Bits from a table of 6-grams that is drawn anew for every row: after each bit the next one is
  asked for.

    p(b_t = 1 | b_{t-5}, .., b_{t-1}) ~ Beta(1/2, 1/2), each of the 32 contexts on its own

  A row of L bits has L - 1 steps and asks for L - 5 bits. F = O = 1.

  Source: Graves et al. 2014 (arXiv 1410.5401), section 4.4. Deviates from the paper: the first five
  bits, which are coins, are not asked for.
  """
  length = rng.integers(lengths[0], lengths[1] + 1, batch_size)
  table, rows = rng.beta(0.5, 0.5, (batch_size, 2**CONTEXT)), np.arange(batch_size)
  bits = rng.integers(0, 2, (batch_size, lengths[1]))
  for t in range(CONTEXT, lengths[1]):
    context = bits[:, t - CONTEXT : t] @ _PLACES
    bits[:, t] = rng.random(batch_size) < table[rows, context]
  there = np.arange(lengths[1]) < length[:, None]
  bits = (bits * there).astype(np.float32)
  weights = (there & (np.arange(lengths[1]) >= CONTEXT)).astype(np.float32)
  targets = bits[:, 1:, None] * weights[:, 1:, None]
  return Examples(bits[:, :-1, None], targets, weights[:, 1:])


def optimal_bits(examples: Examples) -> np.ndarray:
  """Returns what the optimal estimator pays for each row of `dynamic_ngrams`, [B] float64, in bits.

    p(b_t = 1) = (N_1 + 1/2) / (N_0 + N_1 + 1),   N_i: how often bit i came after this context

  Source: Graves et al. 2014 (arXiv 1410.5401), equation 10; Murphy 2012. Deviates from the paper:
  nothing.
  """
  bits = examples.inputs[..., 0].astype(np.int64)
  rows, paid = np.arange(len(bits)), np.zeros(len(bits))
  counts = np.full((len(bits), 2**CONTEXT, 2), 0.5)
  for t in range(CONTEXT - 1, bits.shape[1]):
    context = bits[:, t - CONTEXT + 1 : t + 1] @ _PLACES
    asked, bit = examples.weights[:, t], examples.targets[:, t, 0].astype(np.int64)
    seen = counts[rows, context]
    paid -= asked * np.log(seen[rows, bit] / seen.sum(-1)) / math.log(2.0)
    counts[rows, context, bit] += asked
  return paid
