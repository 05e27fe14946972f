"""Our captioner with soft attention: a training step as the loop takes it, and captions written
greedily. Functions `(setting) -> part -> () -> Program`; see `contenders`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.benchmark import contenders
from rnn_research.benchmark.contenders import CAPTION_SYMBOLS, COPIES, STEPS
from rnn_research.benchmark.jax_programs import streamed, training_of
from rnn_research.benchmark.serve import Program, Setting
from rnn_research.cells import lstm
from rnn_research.data.codec import BOS
from rnn_research.decoding.single import greedy
from rnn_research.decoding.step import Rules
from rnn_research.encoders.grid import grid_encoder, maps_reader
from rnn_research.experiment import Experiment
from rnn_research.memory.attention import additive
from rnn_research.models import captioners
from rnn_research.models.conditional_model import ConditionalModel, conditional_model
from rnn_research.tasks.captioning.batches import CaptionIds, Seen, captioned, train_stream
from rnn_research.tasks.captioning.objective import Options, training_loss
from rnn_research.training import backend

_BUCKETS = 5  # lengths that captions are padded to, as in the experiment
_KEPT_BYTES = 2**30  # so much that memory is kept as for a large step


def training(setting: Setting):
  """What the training loop runs, batches of like length drawn from features in memory."""
  backend.configure(setting.batch_size, kept_bytes=_KEPT_BYTES)
  return {'step': lambda: _step(setting)}


def writing(setting: Setting):
  """Captions of `contenders.WRITTEN` pictures in one jitted program, as the describer runs them."""
  backend.configure(1)
  return {'greedy': lambda: _greedy(setting)}


def captioning_model(setting: Setting, dropout: float) -> ConditionalModel:
  """Returns the model: H units, half as many numbers per word and per place, a quarter to score
  places."""
  size = setting.hidden_size
  decoder = captioners.soft((lstm(size),), additive(size // 4), dropout=dropout)
  encoder = grid_encoder(maps_reader(), size // 2, size // 2, dropout=dropout)
  return conditional_model(
    encoder, decoder, CAPTION_SYMBOLS, size // 2, readout_size=size // 2, dropout=dropout
  )


def _step(setting):
  material, model = contenders.pictures(setting), captioning_model(setting, contenders.DROPOUT)
  seen = Seen(
    range(len(material['features'])),
    (),
    lambda rows, rng=None: {'deep': material['features'][rows]},
    lambda number: None,
  )
  encoded = CaptionIds(material['targets'], material['lengths'], 0)
  data = train_stream(seen, encoded, setting.batch_size, COPIES, _BUCKETS, setting.seed, '')

  def loss(params, carry, batch, key, step):
    return training_loss(model, Options(), params, carry, captioned(batch), key)

  experiment = Experiment(
    init=lambda key: model.init(key, {'deep': material['features'][:1]}),
    loss=loss,
    train_data=lambda: data,
    evaluate={},
    headline=('train', 'loss', 'min'),
    initial_carry=lambda params, batch_size: jnp.zeros(batch_size, jnp.float32),
  )
  training = training_of(setting, experiment, contenders.CAPTION_CLIP_NORM)
  return streamed(training, data, STEPS)._replace(times=STEPS)


def _greedy(setting):
  model, features = captioning_model(setting, 0.0), contenders.pictures(setting)['features']
  params = model.init(jax.random.key(setting.seed), {'deep': features[:1]})
  write = writer(model, setting.unroll_length)
  maps = np.resize(features, (contenders.WRITTEN, *features.shape[1:]))
  return Program(lambda: jax.device_get(write(params, maps)))


def writer(model: ConditionalModel, num_words: int) -> Callable:
  """Returns `(params, maps [B, 7, 7, C]) -> ids [B, 1, T] int32`, which writes T words a picture,
  the most probable one after the other."""
  rules = Rules(num_words, contenders.NEVER_WRITTEN)

  @jax.jit
  def write(params, maps):
    encoded, rows = model.encode(params, {'deep': maps}), len(maps)
    first, limits = jnp.full(rows, BOS), jnp.full(rows, num_words)
    step = model.stepper(params, encoded, 1)
    return greedy(step, encoded.states, first, limits, rules).ids

  return write
