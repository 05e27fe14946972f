"""The captioner's model, as its config names it: how pictures are seen, and what writes of them."""

from collections.abc import Mapping
from typing import Any

from rnn_research.cell import Cell
from rnn_research.encoders.grid import grid_encoder
from rnn_research.memory.attention import additive
from rnn_research.models.captioners import CAPTIONERS
from rnn_research.models.conditional_model import ConditionalModel, conditional_model
from rnn_research.tasks.captioning import sight
from rnn_research.training.config import DTYPES

WEIGHTS = 'encoder.weights'  # in the workdir: a copy, so that captioning needs no other file


def sight_of(config, assets: Mapping[str, Any] | None) -> tuple[sight.Sight, str]:
  """Returns how pictures are seen, and the form of the encoder's weights.

  Args:
    config: of the experiment.
    assets: of a trained model, whose workdir has the weights.

  Raises:
    InputError: there are no weights, or they do not fit.
  """
  model = config.model
  if model.encoder == sight.OWN:
    return sight.own_sight(), ''
  file = f'{assets["workdir"]}/{WEIGHTS}' if assets else model.encoder_weights
  form = assets['encoder'] if assets else sight.form_of(model.encoder, file)
  see = sight.tuned_sight if config.train.encoder_rate else sight.network_sight
  return see(model.encoder, form, model.grid, file), form


def caption_model(config, cell: Cell, look: sight.Sight, vocabulary_size: int) -> ConditionalModel:
  """Makes the model.

  Args:
    config: the block `model`.
    cell: of `decoder_cell`.
    look: of `sight_of`.
    vocabulary_size: of the captions.
  """
  options = {'dropout': config.dropout, 'dtype': DTYPES[config.dtype]}
  encoder = grid_encoder(look.reader, config.annotation_size, config.embedding_size, **options)
  attention = additive(config.attention_size, dtype=options['dtype'])
  decoder = CAPTIONERS[config.decoder](
    (cell,) * config.num_layers, attention, dropout=config.dropout
  )
  return conditional_model(
    encoder,
    decoder,
    vocabulary_size,
    config.embedding_size,
    readout_size=config.readout_size,
    tied=config.tied,
    **options,
  )
