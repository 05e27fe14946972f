"""The captioner's model, as its config names it: how pictures are seen, the cell, the decoder."""

from collections.abc import Mapping
from typing import Any

from rnn_research.cell import Cell
from rnn_research.cells import make_cell, options_for
from rnn_research.encoders.grid import grid_encoder
from rnn_research.engines import dispatch
from rnn_research.errors import require
from rnn_research.memory.attention import additive
from rnn_research.models.captioners import CAPTIONERS, looks
from rnn_research.models.conditional_model import ConditionalModel, conditional_model
from rnn_research.models.decoders import has_h
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


def caption_cell(config) -> Cell:
  """Returns the cell that the block `model` of a config names; raises InputError where its state
  has no h."""
  cell = make_cell(
    config.cell,
    config.hidden_size,
    engine=config.engine,
    dtype=DTYPES[config.dtype],
    **options_for(config.cell, forget_bias=config.forget_bias),
  )
  require('model.cell', config.cell, has_h(cell), 'a cell whose state has an h')
  return cell


def engine_of(config, cell: Cell) -> str:
  """Returns what runs the cell, for people."""
  chosen = dispatch.explain(config.cell, config.engine, cell.scan)
  steps = '; the decoder, whose every step looks, steps' if looks(config.decoder) else ''
  return f'{chosen}{steps}'


def caption_model(config, cell: Cell, look: sight.Sight, vocabulary_size: int) -> ConditionalModel:
  """Makes the model.

  Args:
    config: the block `model`.
    cell: of `caption_cell`.
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
