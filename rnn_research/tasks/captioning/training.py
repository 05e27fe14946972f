"""What a captioner learns from: batches, and the loss of captions by people or of its own."""

import functools
from collections.abc import Callable

from rnn_research.data.codec import TextCodec
from rnn_research.experiment import TrainData
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.captioning import commands
from rnn_research.tasks.captioning.batches import (
  Seen,
  captioned,
  encode,
  require_batch,
  train_stream,
)
from rnn_research.tasks.captioning.boxes import read_boxes
from rnn_research.tasks.captioning.material import Material
from rnn_research.tasks.captioning.objective import Options, training_loss
from rnn_research.tasks.captioning.self_critical import cider_reward, self_critical_loss


def _likelihood(config, model, codec, trained):
  """Returns the loss of captions that people wrote."""
  options = Options(**{name: config.train[name] for name in Options._fields})

  def loss(params, carry, batch, key, step):
    return training_loss(model, options, params, carry, captioned(batch), key)

  return loss


def _self_critical(config, model, codec, trained):
  """Returns the loss of captions that the model draws."""
  # Weighed when the first are drawn: a model that is opened needs none.
  reward = functools.cache(lambda: cider_reward(codec, trained().captions))

  def loss(params, carry, batch, key, step):
    total, (weight, sums) = self_critical_loss(
      model,
      lambda rows, ids: reward()(rows, ids),
      config.train.samples,
      config.data.max_length,
      params,
      captioned(batch).inputs,
      batch['rows'],
      key,
    )
    return total, (weight, carry, sums)

  return loss


OBJECTIVES = {'likelihood': _likelihood, 'cider': _self_critical}


def loss_of(
  config, model: ConditionalModel, codec: TextCodec, trained: Callable[[], Seen]
) -> Callable:
  """Returns the loss of `Experiment` that `train.objective` names.

  Args:
    config: of the experiment.
    model: the model.
    codec: of the captions.
    trained: the training pictures.
  """
  return OBJECTIVES[config.train.objective](config, model, codec, trained)


def train_data(
  config, codec: TextCodec, load: Callable[[], Material], trained: Callable[[], Seen]
) -> TrainData:
  """Returns the training batches; args as of `loss_of`, `load` of `material.load`.

  Raises:
    InputError: too few pictures for a batch, or boxes that cannot be read.
  """
  data, loaded = config.data, load()
  if data.boxes:
    read_boxes(data.boxes)  # which the report would find damaged only after training
  # Before pictures are read, which may take long.
  require_batch(len(loaded.splits['train']), config.train.batch_size)
  pictures = trained()
  encoded = encode(codec, pictures.captions, data.max_length)
  about = commands.describe(codec, loaded, encoded, data.max_length)
  return train_stream(
    pictures,
    encoded,
    config.train.batch_size,
    data.captions_per_picture,
    data.buckets,
    config.seed,
    loaded.fingerprint,
  )._replace(about=about)
