"""What a captioner learns from: batches, and the loss of captions by people or of its own."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

from rnn_research.data.codec import EOS, SPECIALS, TextCodec
from rnn_research.experiment import TrainData
from rnn_research.tasks.captioning.batches import (
  CaptionIds,
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
  make_reward = functools.cache(lambda: cider_reward(codec, trained().captions))

  def loss(params, carry, batch, key, step):
    total, (weight, sums) = self_critical_loss(
      model,
      lambda rows, ids: make_reward()(rows, ids),
      config.train.samples,
      config.data.max_length,
      params,
      captioned(batch).inputs,
      batch['rows'],
      key,
    )
    return total, (weight, carry, sums)

  return loss


# name -> `(config, model, codec, () -> training pictures) -> the loss of an Experiment`.
OBJECTIVES = {'likelihood': _likelihood, 'cider': _self_critical}


def train_data(
  config,
  codec: TextCodec,
  load: Callable[[], Material],
  trained: Callable[[], Seen],
  held_out: Callable[[str], Seen],
) -> TrainData:
  """Returns the training batches.

  Args:
    config: of the experiment.
    codec: of the captions.
    load: of `material.load`.
    trained: the training pictures.
    held_out: split -> its pictures.

  Raises:
    InputError: too few pictures for a batch, or pictures or boxes that cannot be read.
  """
  data, loaded = config.data, load()
  if data.boxes:
    read_boxes(data.boxes)  # which the report would find damaged only after training
  # Before pictures are read, which may take long.
  require_batch(len(loaded.splits['train']), config.train.batch_size)
  pictures = trained()
  for split in loaded.splits:
    if split != 'train':
      held_out(split)  # which would be found unreadable, or the disk full, only after training
  encoded = encode(codec, pictures.captions, data.max_length)
  about = _describe(codec, loaded, encoded, data.max_length)
  return train_stream(
    pictures,
    encoded,
    config.train.batch_size,
    data.captions_per_picture,
    data.buckets,
    config.seed,
    _fingerprint(loaded, pictures),
    unread=config.train.objective == 'cider',
  )._replace(about=about)


def _fingerprint(loaded: Material, pictures: Seen) -> str:
  """Returns that of the material; where pictures are left out, which others then have the numbers
  of, one that tells which are not, with that of the material at its end."""
  if len(pictures.names) == len(loaded.splits['train']):
    return loaded.fingerprint
  kept = repr([(Path(n).name, texts) for n, texts in zip(*pictures[:2], strict=True)])
  return f'{hashlib.sha256(kept.encode()).hexdigest()} {loaded.fingerprint}'


def _describe(codec: TextCodec, loaded: Material, encoded: CaptionIds, max_length: int) -> str:
  """Returns what is worth knowing of the data before training."""
  lines = [*loaded.about]
  if encoded.left_out:
    lines.append(
      f'{encoded.left_out:,} training captions of more than {max_length} words, or of none, are '
      'not trained on'
    )
  words = encoded.targets[encoded.targets > EOS]
  known = len(codec.symbols) - len(SPECIALS)
  lines.append(f'vocabulary: {known:,} words; unknown in training {codec.unknown_share(words):.2%}')
  return '\n'.join(lines)
