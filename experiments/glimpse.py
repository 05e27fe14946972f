"""Classifying an image by a series of glimpses: a recurrent network that sees a small part at once
chooses where to look next.

  python launch.py --experiment=glimpse                                  digits of a font
  python launch.py --experiment=glimpse --config.data.path=FOLDER        MNIST, or pictures
  python launch.py --experiment=glimpse:pairs --config.data.path=FOLDER
  python launch.py --workdir=DIR --mode=look --input=PICTURE --output=glimpses.gif

  VARIANT        time   error of test images, one pass   commit
  mnist          -      .77 % (300 epochs)              555d187
  translated     -      .99 % (120 epochs)              2d83d0f
  cluttered      -      2.59 % (100 and 60 epochs)      2d83d0f
  cluttered_100  -      4.09 % (60 epochs)              f083880
  pairs          -      4.48 % of pairs (80 epochs)     92871d8
  debug          13 s   nothing is learned in 30 steps

FOLDER has the idx files of MNIST, or a folder of pictures for each class. One pass means that
places are drawn once for each image; error_10_passes is of the mean of the probabilities of ten.
Seed 0; `experiments.Variant` says what the times are.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rnn_research.cells import CELLS, make_cell
from rnn_research.data.canvases import Canvas
from rnn_research.errors import InputError, require, require_one_of
from rnn_research.experiment import Experiment
from rnn_research.initializers import identity
from rnn_research.losses import cross_entropy
from rnn_research.models import eyes, glimpse_start
from rnn_research.models.classifier import conv_classifier
from rnn_research.models.decoders import has_h
from rnn_research.models.glimpse_classifier import glimpse_classifier
from rnn_research.models.glimpse_network import JOINS, glimpse_cell
from rnn_research.parameters import largest, num_parameters
from rnn_research.tasks.glimpse import commands
from rnn_research.tasks.glimpse.images import make_images
from rnn_research.tasks.glimpse.looking import commands_of
from rnn_research.training.config import base_config, check_model, rows_per_step
from rnn_research.training.progress import watched

VARIANTS = {
  'mnist': 'digits of 28 x 28 pixels by seven glimpses of 8 x 8 (the default)',
  'translated': 'digits anywhere on 60 x 60 pixels, eight glimpses of three resolutions',
  'cluttered': 'the same among pieces of other digits',
  'cluttered_100': 'the same on 100 x 100 pixels, four resolutions',
  'pairs': 'two digits on 100 x 100 pixels, named from left to right (Ba et al. 2015)',
  'debug': ('digits of a font, 30 steps', '13 s'),
}
COMMANDS = commands.COMMANDS
PLACES = ('data.path',)
MOVABLE = PLACES

_RELU = 'relu'  # the network of Mnih et al. 2014
_EVAL_ROWS, _PASSES = 1_000, 10


def get_config(variant: str = 'mnist') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  config = base_config()
  config.data = ConfigDict(
    {
      # Folder of MNIST's idx files, or of pictures in a folder per class; '' is digits of a font.
      'path': '',
      'size': 28,  # pixels of a side of a picture
      'shift': 0,  # pixels that training pictures without a canvas are moved by at most
      'canvas': 0,  # pixels of a side of a canvas that pictures lie on; 0 is none
      'clutter': 0,  # pieces of other pictures on a canvas
      'clutter_size': 8,  # pixels of a side of a piece
      'objects': 1,  # pictures side by side on a canvas, to be named from left to right
      'fewest_objects': 0,  # at least, their number being drawn for each canvas; 0 is data.objects
      'seed': 0,  # of the order of pictures, and of canvases, apart from that of the weights
    }
  )
  config.model = ConfigDict(
    {
      # glimpses; or a convolutional network that sees all at once, with as many parameters as the
      # glimpse network of this config, conv_of_equal_size, or multiply-adds, conv_of_equal_work.
      'kind': 'glimpses',
      'reader': 'crop',  # crop: hard, learned by trial; gaussian: DRAW's, learned by its gradient
      'looks': 'learned',  # of crop, where: learned, random, centre
      'glimpses': 7,  # before each answer
      'glimpse': 8,  # pixels of a side of the narrowest patch, as all are seen
      'scales': 1,  # of crop: patches, each twice as wide as the one before
      'std': 0.05,  # of crop: standard deviation of places, half the image being 1
      'bound': 'tanh',  # of learned places, what keeps them inside of the image: tanh, softsign
      'cell': _RELU,  # relu (Mnih et al. 2014; the identity at first) or a name of `--list --cells`
      'num_layers': 1,  # recurrent layers: one, or two, of which the second chooses places
      'hidden_size': 256,  # units of a layer, and numbers of a glimpse
      'units': 128,  # of the layers between pixels, or places, and a glimpse
      # Of layers by which what chooses places of crops sees for itself; 0: it knows what answers
      # knows.
      'seek_units': 0,
      'join': 'sum',  # of what was seen and where: sum, product
      # Pixels of a side of the coarse image that tells where to begin; 0: anywhere.
      'context': 0,
    }
  )
  del config.train.show_steps
  config.optimizer.update({'learning_rate': 1e-3, 'schedule': 'cosine', 'final_fraction': 0.01})
  config.train.update(
    {
      'epochs': 300,
      'batch_size': 128,
      'ema_decay': 0.999,
      'log_every': 100,
      'reinforce': 1.0,  # weight of the gradient of where it looked
    }
  )
  config.update(_CHANGES[variant])
  return config.lock()


_TRANSLATED: dict[str, dict[str, Any]] = {
  'data': {'canvas': 60},
  # With places that spread less it takes longer to learn which are better: docs/results.md.
  'model': {
    'glimpses': 8,
    'glimpse': 12,
    'scales': 3,
    'std': 0.1,
    'bound': 'softsign',
    'seek_units': 128,
  },
  # Adam's first steps are large whatever the gradient: they can drive all places into a corner.
  'optimizer': {'learning_rate': 2e-3, 'clip_norm': 5.0, 'warmup_steps': 1_000},
  'train': {'epochs': 150},
}
_CHANGES: dict[str, dict[str, Any]] = {
  'mnist': {'data': {'shift': 2}},
  'translated': _TRANSLATED,
  'cluttered': {**_TRANSLATED, 'data': {'canvas': 60, 'clutter': 4}},
  'cluttered_100': {
    **_TRANSLATED,
    'data': {'canvas': 100, 'clutter': 4},
    'model': {**_TRANSLATED['model'], 'scales': 4},
  },
  'pairs': {
    'data': {'canvas': 100, 'objects': 2},
    'model': {
      'glimpses': 3,
      'glimpse': 12,
      'scales': 2,
      'hidden_size': 128,
      'num_layers': 2,
      'bound': 'softsign',
      'cell': 'lstm',
      'join': 'product',
      'context': 12,
    },
  },
  'debug': {
    'model': {'hidden_size': 32, 'units': 16, 'glimpses': 4},
    'train': {
      'epochs': 0,
      'steps': 30,
      'batch_size': 16,
      'eval_every': 10,
      'log_every': 5,
      'ema_decay': 0.0,
    },
  },
}


def check(config: ConfigDict) -> None:
  """Raises InputError for a field out of range."""
  check_model(config.model)
  _check_data(config.data)
  model, side = config.model, _side(config.data)
  require_one_of('model.kind', model.kind, _KINDS)
  require_one_of('model.reader', model.reader, _EYES)
  require_one_of('model.looks', model.looks, _CHOICES)
  require_one_of('model.bound', model.bound, eyes.BOUNDS)
  require_one_of('model.join', model.join, JOINS)
  require_one_of('model.cell', model.cell, (_RELU, *CELLS))
  for field in ('glimpses', 'scales', 'units'):
    require(f'model.{field}', model[field], model[field] >= 1, 'an integer >= 1')
  least = 2 if model.reader == 'gaussian' else 1
  require(
    'model.glimpse',
    model.glimpse,
    least <= model.glimpse <= side,
    f'an integer from {least} to {side}, the pixels of a side of the images',
  )
  # Wider patches than twice the image show nothing more.
  most = (2 * side // model.glimpse).bit_length()
  require(
    'model.scales',
    model.scales,
    model.scales <= most,
    f'an integer from 1 to {most}, so that the widest patch, of model.glimpse times '
    '2^(model.scales - 1) pixels, has at most twice the sides of the images',
  )
  require('model.seek_units', model.seek_units, model.seek_units >= 0, 'an integer >= 0')
  require('model.std', model.std, model.std > 0.0, 'a number > 0')
  require('model.num_layers', model.num_layers, model.num_layers <= 2, '1 or 2')
  if model.reader == 'gaussian':
    for field, only in (('looks', 'learned'), ('scales', 1), ('seek_units', 0)):
      require(f'model.{field}', model[field], model[field] == only, f'{only!r} for gaussian')
  most = side if model.num_layers == 2 else 0
  require(
    'model.context',
    model.context,
    0 <= model.context <= most,
    f'an integer from 0 to {most}' if most else '0 where model.num_layers is 1',
  )
  require('train.reinforce', config.train.reinforce, config.train.reinforce >= 0, 'a number >= 0')


def unused(config: ConfigDict) -> dict[str, str]:
  """Returns the fields that are not read -> by what."""
  model = config.model
  if model.kind == 'glimpses' and (model.reader, model.looks) == ('crop', 'learned'):
    return {}
  why = 'where no place is learned by trial'
  own = ('model.seek_units',) if model.kind == 'glimpses' and model.looks != 'learned' else ()
  return dict.fromkeys(('model.std', 'model.bound', 'train.reinforce', *own), why)


def _check_data(data):
  for field in ('size', 'clutter_size', 'objects'):
    require(f'data.{field}', data[field], data[field] >= 1, 'an integer >= 1')
  require('data.seed', data.seed, 0 <= data.seed < 2**31, 'an integer in [0, 2**31)')
  require(
    'data.fewest_objects',
    data.fewest_objects,
    0 <= data.fewest_objects <= data.objects,
    f'an integer from 0 to data.objects, {data.objects}',
  )
  needed = data.objects * data.size
  require(
    'data.canvas',
    data.canvas,
    data.canvas >= needed or (data.canvas == 0 and data.objects == 1),
    f'at least {needed}, so that data.objects of data.size pixels lie side by side'
    if data.objects > 1
    else f'0 or at least data.size, {data.size}',
  )
  require(
    'data.clutter_size',
    data.clutter_size,
    data.clutter == 0 or data.clutter_size <= data.size,
    f'at most data.size, {data.size}',
  )
  most = 0 if data.canvas else data.size - 1
  require(
    'data.shift',
    data.shift,
    0 <= data.shift <= most,
    f'an integer from 0 to {most}' if most else '0 on a canvas, where pictures lie anywhere',
  )
  require(
    'data.clutter',
    data.clutter,
    data.clutter >= 0 and (data.clutter == 0 or data.canvas > 0),
    'an integer >= 0' if data.canvas else '0 without a canvas',
  )


def kept_bytes(config: ConfigDict) -> int:
  """Returns roughly what a step keeps for its backward pass."""
  model = config.model
  steps = model.glimpses * _num_answers(config.data)
  units = 3 * model.units + 2 * model.seek_units
  layers = (2 + 4 * model.num_layers) * model.hidden_size
  numbers = layers + units + model.scales * model.glimpse**2
  return 4 * rows_per_step(config) * (_side(config.data) ** 2 + steps * numbers)


def build(config: ConfigDict, assets: dict | None = None) -> Experiment:
  """Makes the experiment.

  Args:
    config: of `get_config`.
    assets: of a trained model: the names of its classes, and how many channels it sees.

  Raises:
    InputError: data that cannot be used.
  """
  load = functools.cache(lambda: _images(config.data, assets))
  known = assets or {'classes': list(load().classes), 'channels': load().channels}
  side, classes = _side(config.data), known['classes']
  shape = side, side, known['channels']
  model = _make_model(config, shape, len(classes))
  answer = jax.jit(model.logits)
  on_canvas = config.data.canvas > 0
  looks = commands_of(model.look, classes, shape, on_canvas) if model.look else {}

  def loss(params, carry, batch, key, step):
    losses, metrics = model.loss(params, batch['images'], batch['targets'], key)
    sums = {name: values.sum() for name, values in metrics.items()}
    return losses.sum(), (jnp.float32(len(losses)), carry, sums)

  def measure(split, passes, params, key):
    return _measure(answer, load().held_out[split](), passes, params, key)

  def report(params, workdir, out_dir):
    from rnn_research.tasks.glimpse.report import write_report  # matplotlib is slow to load

    follow = functools.partial(looks['follow'], params) if looks else None
    asked = load().held_out['test']()
    write_report(follow, classes, asked, model.multiply_adds(params), workdir, out_dir)

  return Experiment(
    init=model.init,
    loss=loss,
    train_data=lambda: load().train_data(config.train.batch_size),
    evaluate={'valid': functools.partial(measure, 'valid', 1)},
    final_evaluate={
      split: functools.partial(measure, split, _PASSES if model.look else 1)
      for split in ('valid', 'test')
    },
    headline=('valid', 'error', 'min'),
    assets={'classes': classes, 'channels': known['channels']},
    report=report,
    commands=looks,
    engine='steps, since where it looks depends on what it saw'
    if model.look
    else 'sees all at once',
    unit='images',
  )


def _side(data):
  return data.canvas or data.size


def _images(data, known):
  fewest = data.fewest_objects or data.objects
  canvas = Canvas(data.canvas, data.clutter, data.clutter_size, data.objects, fewest, data.shift)
  return make_images(data.path, data.size, canvas, data.seed, known)


def _num_answers(data):
  """Returns one for each object, and of several the one that says that there are no more."""
  return data.objects + (data.objects > 1)


def _make_model(config, shape, num_classes):
  num_answers = _num_answers(config.data)
  classes = num_classes + (num_answers > 1)  # that there are no more is a class
  return _KINDS[config.model.kind](config, shape, num_answers, classes)


def _glimpses(config, shape, num_answers, num_classes):
  model = config.model
  eye = _EYES[model.reader](model, shape)
  cells = (_make_core(model),) * model.num_layers
  if model.context:
    require('model.cell', model.cell, has_h(cells[-1]), 'a cell whose state has an h')
  cell = glimpse_cell(
    eye,
    cells,
    model.hidden_size,
    units=model.units,
    seek_units=model.seek_units if model.looks == 'learned' else 0,
    join=JOINS[model.join],
  )
  start = (
    glimpse_start.context(eye, cell, cells[-1], model.context, shape[2], model.units)
    if model.context
    else glimpse_start.anywhere(eye, cell)
  )
  return glimpse_classifier(
    eye,
    cell,
    start,
    model.hidden_size,
    model.glimpses,
    num_answers,
    num_classes,
    reinforce=config.train.reinforce,
  )


def _conv(measure):
  """Returns a function that makes the largest convolutional network for which `measure(model,
  shapes of its parameters)` is at most that of the glimpse network."""

  def make(config, *sizes):
    shape, *answers = sizes

    def cost(model):
      return measure(model, jax.eval_shape(model.init, jax.random.key(0)))

    budget = cost(_glimpses(config, *sizes))

    def conv(units):
      return conv_classifier(shape, units, *answers)

    cost_of = functools.cache(lambda units: cost(conv(units)))
    if cost_of(1) > budget:
      raise InputError(
        f'model.kind is {config.model.kind!r}: the smallest convolutional network costs '
        f'{cost_of(1):,}, expected at most {budget:,}, what the glimpses cost'
      )
    return conv(largest(cost_of, budget))

  return make


def _make_core(model):
  if model.cell == _RELU:
    return make_cell('elman', model.hidden_size, activation='relu', w_h_init=identity)
  return make_cell(model.cell, model.hidden_size)


_KINDS = {
  'glimpses': _glimpses,
  'conv_of_equal_size': _conv(lambda model, params: num_parameters(params)),
  'conv_of_equal_work': _conv(lambda model, params: model.multiply_adds(params)),
}
_CHOICES = {
  'learned': lambda model: eyes.learned(model.std, model.bound),
  'random': lambda model: eyes.random(),
  'centre': lambda model: eyes.centre(),
}
_EYES = {
  'crop': lambda model, shape: eyes.crop_eye(
    shape, model.glimpse, model.scales, _CHOICES[model.looks](model)
  ),
  'gaussian': lambda model, shape: eyes.gaussian_eye(shape, model.glimpse),
}


def _measure(answer, asked, passes, params, key):
  """Returns the error of one pass, and that of the mean of several, over all images of a split."""
  one, averaged, nats, count = [], [], [], len(asked.targets)
  blocks = ((asked.targets[n : n + _EVAL_ROWS], n) for n in range(0, count, _EVAL_ROWS))
  for number, (targets, start) in enumerate(watched(blocks, count, 'images')):
    keys = jax.random.split(jax.random.fold_in(key, number), passes)
    rows = asked.images[start : start + _EVAL_ROWS]
    logits = jax.device_get([answer(params, rows, k) for k in keys])
    one.append(_wrong(logits[0], targets))
    nats.append(cross_entropy(logits[0], targets).sum(-1))
    averaged.append(_wrong(sum(jax.nn.softmax(a) for a in logits), targets))
  found = {'error': _mean(one), 'nats': _mean(nats)}
  return found if passes == 1 else found | {f'error_{passes}_passes': _mean(averaged)}


def _wrong(logits, targets):
  return (logits.argmax(-1) != targets).any(-1)


def _mean(parts):
  return float(np.concatenate(parts).mean(dtype=np.float64))
