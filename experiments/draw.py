"""DRAW: a recurrent variational autoencoder that reads an image and draws it step by step.

  python launch.py --experiment=draw --config.data.path=FOLDER             the whole image at once
  python launch.py --experiment=draw:attention --config.data.path=FOLDER   through a window
  python launch.py --experiment=draw:paper --config.data.path=FOLDER       64 steps, as published
  python launch.py --workdir=DIR --mode=draw --count=64                    new images

  VARIANT     time   negative ELBO of the test images, nats   commit
  whole       -      90.47                                   494325b
  attention   -      88.63                                   6c1ee0f
  paper       -      133.79 (8 epochs)                       f083880
  two_digits  -      320.43 (5 epochs)                       f083880
  debug       14 s   nothing is learned in 20 steps

FOLDER has the idx files of MNIST, or pictures of any kind; without it digits of a font are drawn.
`experiments.Variant` says what the times are.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rnn_research.cells import CELLS, make_cell, options_for
from rnn_research.errors import require, require_one_of
from rnn_research.experiment import Experiment
from rnn_research.models.draw import bounds, draw
from rnn_research.models.draw_sight import attentive, whole
from rnn_research.tasks.draw import commands
from rnn_research.tasks.draw.drawing import commands_of
from rnn_research.tasks.draw.images import make_images
from rnn_research.tasks.draw.pixels import PIXELS
from rnn_research.training.config import base_config, check_model, rows_per_step
from rnn_research.training.progress import watched

VARIANTS = {
  'whole': 'reads and writes whole images, 10 steps (the default)',
  'attention': 'reads and writes 5 x 5 Gaussian filters that it moves, 10 steps',
  'paper': 'reads 2 x 2 and writes 5 x 5, 64 steps',
  'two_digits': 'two digits anywhere on 60 x 60 pixels, reads 12 x 12, writes 5 x 5, 20 steps',
  'debug': ('digits of a font, LSTMs of 16 units, 3 steps, 20 updates', '14 s'),
}
COMMANDS = commands.COMMANDS
PLACES = ('data.path', 'model.importance_samples')
MOVABLE = ('data.path',)

_EVAL_ROWS = 500
_HELD_OUT = ('valid', 'test')


def get_config(variant: str = 'whole') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  config = base_config()
  config.data = ConfigDict(
    {
      'path': '',  # folder of idx files, folder or archive of pictures; '' draws digits of a font
      'size': 28,  # pixels of a side of a picture; others are resized
      'canvas': 0,  # pixels of a side of a canvas on which pictures lie anywhere; 0 is none
      'objects': 1,  # pictures on a canvas
      # What is read of a level in [0, 1]: stochastic (a new 0 or 1 each time), fixed (a 0 or 1
      # drawn once), levels (as it is: the loss is then no bound on a likelihood).
      'pixels': 'stochastic',
      'seed': 0,  # of the order of pictures, and of where they lie
    }
  )
  config.model = ConfigDict(
    {
      'sight': 'whole',  # whole, or attentive: through a window of Gaussian filters
      'read_size': 5,  # attentive: filters of a side with which it reads
      'write_size': 5,  # attentive: filters of a side with which it writes
      'steps': 10,  # in which an image is read and drawn
      'cell': 'lstm',  # of encoder and decoder, a name of `--list --cells`
      'hidden_size': 256,  # units of each
      'latent_size': 100,  # numbers of z at each step
      'forget_bias': 1.0,  # of an LSTM
      'importance_samples': 10,  # draws per image for the second bound, at the end of a run
    }
  )
  del config.train.show_steps
  config.optimizer.update({'learning_rate': 1e-3, 'clip_norm': 5.0, 'schedule': 'cosine'})
  config.train.update({'epochs': 30, 'batch_size': 128, 'log_every': 50})
  config.update(_CHANGES[variant])
  return config.lock()


_CHANGES: dict[str, dict[str, Any]] = {
  'whole': {},
  'attention': {'model': {'sight': 'attentive'}, 'train': {'epochs': 50}},
  'paper': {'model': {'sight': 'attentive', 'read_size': 2, 'steps': 64}},
  'two_digits': {
    'data': {'canvas': 60, 'objects': 2},
    'model': {'sight': 'attentive', 'read_size': 12, 'steps': 20, 'hidden_size': 400},
  },
  'debug': {
    'model': {'steps': 3, 'hidden_size': 16, 'latent_size': 4, 'importance_samples': 2},
    'train': {'epochs': 0, 'steps': 20, 'batch_size': 16, 'eval_every': 10, 'log_every': 5},
  },
}


def unused(config: ConfigDict) -> dict[str, str]:
  """Returns the fields that are not read -> by what."""
  if config.model.sight == 'attentive':
    return {}
  return dict.fromkeys(('model.read_size', 'model.write_size'), 'where model.sight is whole')


def check(config: ConfigDict) -> None:
  """Raises InputError for a field out of range."""
  check_model(config.model)
  data, model = config.data, config.model
  require('data.size', data.size, data.size >= 2, 'an integer >= 2')
  require(
    'data.canvas',
    data.canvas,
    data.canvas == 0 or data.canvas >= data.size,
    f'0 or at least data.size, {data.size}',
  )
  holds = data.objects >= 1 if data.canvas else data.objects == 1
  most = 'an integer >= 1' if data.canvas else '1 without data.canvas'
  require('data.objects', data.objects, holds, most)
  require('data.seed', data.seed, 0 <= data.seed < 2**31, 'an integer in [0, 2**31)')
  require_one_of('data.pixels', data.pixels, PIXELS)
  require_one_of('model.cell', model.cell, CELLS)
  require_one_of('model.sight', model.sight, _SIGHTS)
  for field in ('steps', 'latent_size', 'importance_samples'):
    require(f'model.{field}', model[field], model[field] >= 1, 'an integer >= 1')
  if model.sight == 'attentive':
    for field in ('read_size', 'write_size'):
      require(
        f'model.{field}',
        model[field],
        2 <= model[field] <= _side(data),
        f'an integer from 2 to {_side(data)}, the pixels of a side of the images',
      )


def _side(data):
  return data.canvas or data.size


_SIGHTS = {
  'whole': lambda size, channels, model: whole(size, channels),
  'attentive': lambda size, channels, model: attentive(
    size, channels, model.read_size, model.write_size
  ),
}


def kept_bytes(config: ConfigDict) -> int:
  """Returns roughly what a step keeps for its backward pass."""
  pixels = 6 * _side(config.data) ** 2
  numbers = pixels + 20 * config.model.hidden_size
  return 4 * numbers * config.model.steps * rows_per_step(config)


def build(config: ConfigDict, assets: dict | None = None) -> Experiment:
  """Makes the experiment.

  Args:
    config: of `get_config`.
    assets: of a trained model: the channels of its images.

  Raises:
    InputError: data that cannot be used.
  """
  pixels = PIXELS[config.data.pixels]
  load = functools.cache(lambda: _images(config.data, pixels, assets))
  channels = assets['channels'] if assets else load().shape[-1]
  model = _make_model(config, channels)
  own = commands_of(model, config.model.steps, pixels, _window_sizes(config.model))

  def loss(params, carry, batch, key, step):
    key_pixels, key_noise = jax.random.split(key)
    taken = pixels.seen(batch['image'], key_pixels)
    found = bounds(model, params, taken, key_noise, config.model.steps)
    reconstruction, kl = found.reconstruction.sum(), found.kl.sum()
    sums = {'reconstruction': reconstruction, 'kl': kl}
    return reconstruction + kl, (jnp.float32(len(taken)), carry, sums)

  def report(params, workdir, out_dir):
    from rnn_research.tasks.draw.report import BOUND_IMAGES, write_report  # slow to load

    given = {name: functools.partial(command, params) for name, command in own.items()}
    parts = load().parts
    bound = _measure(measures, parts['test']()[:BOUND_IMAGES], 1, params, jax.random.key(0))
    write_report(given, bound, parts, workdir, out_dir)

  measures = _measures(model, pixels.seen, config.model.steps)

  def measure(split, draws, params, key):
    return _means(_measure(measures, load().parts[split](), draws, params, key))

  draws = config.model.importance_samples
  return Experiment(
    init=model.init,
    loss=loss,
    train_data=lambda: load().train_data(config.train.batch_size),
    evaluate={'valid': functools.partial(measure, 'valid', 1)},
    final_evaluate={split: functools.partial(measure, split, draws) for split in _HELD_OUT},
    headline=('valid', 'nats', 'min'),
    assets={'channels': channels},
    report=report,
    commands=own,
    unit='images',
  )


def _window_sizes(model):
  return (model.read_size, model.write_size) if model.sight == 'attentive' else None


def _images(data, pixels, known):
  return make_images(data.path, data.size, data.canvas, data.objects, pixels, data.seed, known)


def _make_model(config, channels):
  model, size = config.model, _side(config.data)
  cells = (
    make_cell(
      model.cell, model.hidden_size, **options_for(model.cell, forget_bias=model.forget_bias)
    )
    for _ in range(2)
  )
  sight = _SIGHTS[model.sight](size, channels, model)
  return draw(*cells, sight, (size, size, channels), model.latent_size)


def _measures(model, seen, steps):
  """Returns `(params, images [B, S, S, C] uint8, key, draws) -> {metric: [B], 'kl': [B, T]}`."""

  @functools.partial(jax.jit, static_argnums=3)
  def measures(params, images, key, draws):
    key_pixels, key_noise = jax.random.split(key)
    taken = seen(images, key_pixels)
    one = lambda key: bounds(model, params, taken, key, steps)
    found = jax.lax.map(one, jax.random.split(key_noise, draws))
    tight = {'importance_nats': jnp.log(draws) - jax.nn.logsumexp(found.log_weight, 0)}
    return {
      'reconstruction': found.reconstruction.mean(0),
      'kl': found.kl.mean(0).T,
      **(tight if draws > 1 else {}),
    }

  return measures


def _measure(measures, images, draws, params, key):
  """Returns means over images: of 'kl' [T], of all else numbers."""
  blocks = ((images[n : n + _EVAL_ROWS], n) for n in range(0, len(images), _EVAL_ROWS))
  found = [
    jax.device_get(measures(params, rows, jax.random.fold_in(key, start), draws))
    for rows, start in watched(blocks, len(images), 'images')
  ]
  return {
    name: np.concatenate([one[name] for one in found]).mean(0, dtype=np.float64)
    for name in found[0]
  }


def _means(found):
  kl = found['kl'].sum()
  return {name: float(value) for name, value in found.items() if name != 'kl'} | {
    'kl': float(kl),
    'nats': float(found['reconstruction'] + kl),
  }
