"""The host's share of training: drawing batches from a text in memory."""

import numpy as np

from rnn_research.benchmark.contenders import BATCHES_DRAWN, NUM_SYMBOLS, Setting
from rnn_research.benchmark.serve import Program
from rnn_research.data.streams import text_stream

_TEXT_SIZE = 1_000_000  # symbols, as in tiny Shakespeare


def batches(setting: Setting):
  """Draws `BATCHES_DRAWN` batches of [B, T] inputs and targets, as the training loop does; no
  device is used."""
  size = max(_TEXT_SIZE, setting.batch_size * setting.unroll_length + 1)
  ids = np.random.default_rng(setting.seed).integers(NUM_SYMBOLS, size=size, dtype=np.int32)
  iterator = text_stream(ids, setting.batch_size, setting.unroll_length, '').iterator

  def run():
    for _ in range(BATCHES_DRAWN):
      next(iterator)

  return {'batches': lambda: Program(run)}
