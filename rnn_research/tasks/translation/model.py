"""The translator's model: encoder and decoder by name, and what a batch is to them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rnn_research.cell import Cell
from rnn_research.encoders.recurrent import embedded, recurrent_encoder
from rnn_research.memory.attention import SCORES
from rnn_research.models.conditional_loss import Example
from rnn_research.models.conditional_model import ConditionalModel, conditional_model
from rnn_research.models.decoders import DECODERS
from rnn_research.typing import Array
from rnn_research.unroll import length_mask

# What the encoder reads, by shape and type.
SOURCES = jax.ShapeDtypeStruct((1, 1), jnp.int32)


def translation_model(
  cells: tuple[Cell, ...],
  vocabulary_sizes: tuple[int, int],
  *,
  decoder: str,
  score: str,
  hidden_size: int,
  embedding_size: int,
  bidirectional: bool = False,
  reversed_source: bool = False,
  readout_size: int = 0,
  tied: bool = False,
  dropout: float = 0.0,
  dtype=jnp.float32,
) -> ConditionalModel:
  """Makes the model of a recurrent encoder of symbols and one of `models.decoders.DECODERS`.

  Args:
    cells: the layers of encoder and decoder.
    vocabulary_sizes: of source and target.
    decoder: a key of `DECODERS`.
    score: of its attention, a key of `memory.attention.SCORES`.
    hidden_size: of the attention's layer, and of a layer that a decoder makes for the output.
    embedding_size: of both languages.
    bidirectional: whether the encoder reads in both directions.
    reversed_source: whether an encoder of one direction reads the last symbol first.
    readout_size: see `conditional_model`, as for `tied`, `dropout` and `dtype`.
  """
  options = {'dropout': dropout, 'dtype': dtype}
  reader = recurrent_encoder(
    cells, cells if bidirectional else (), from_the_end=reversed_source, dropout=dropout
  )
  return conditional_model(
    embedded(reader, vocabulary_sizes[0], embedding_size, dropout=dropout),
    DECODERS[decoder](cells, SCORES[score](hidden_size, dtype=dtype), hidden_size, **options),
    vocabulary_sizes[1],
    embedding_size,
    readout_size=readout_size,
    tied=tied,
    **options,
  )


def example_of(batch: Mapping[str, Array]) -> Example:
  """Returns a batch of `data.buckets` as what the model reads and writes."""
  mask = length_mask(batch['source_lengths'], batch['sources'].shape[1]).T
  return Example(batch['sources'], mask, batch['inputs'], batch['targets'], batch['target_lengths'])
