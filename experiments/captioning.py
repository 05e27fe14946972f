"""Image captioning: a convolutional network reads a picture, a recurrent one writes the sentence,
with attention by looking at another place for every word.

  python launch.py --experiment=captioning     scenes of two shapes, without data
  python launch.py --experiment=captioning:soft_attention PHOTOS
  python launch.py --workdir=DIR --mode=caption --input=PHOTO --attention_map=out.png

  VARIANT          FLAGS     time   score on test pictures, beam 3                 commit
  shapes                     71 s   exact 98.0 %, attention inside 93.2 %          3262e96
  soft_attention   PHOTOS    -      BLEU-4 20.8, CIDEr-D .543                      08fdc33
  hard_attention   PHOTOS    -      BLEU-4 20.3, CIDEr-D .509                      0ac65dd
  show_and_tell    PHOTOS    -      BLEU-4 19.7, CIDEr-D .483                      08fdc33
  merge            PHOTOS    -      BLEU-4 18.5, CIDEr-D .484                      6a6ce6c
  init_state       PHOTOS    -      not yet run
  neuraltalk       PHOTOS    -      BLEU-4 19.8, CIDEr-D .503                      162e8dd
  scst             PHOTOS    -      BLEU-4 23.0, CIDEr-D .578                      3262e96
  debug                      -      nothing is learned in 30 steps

PHOTOS is --config.data.path=FOLDER --config.model.encoder_weights=FILE, of Flickr8k's archives and
of EfficientNet-Lite2; docs/guides/captioning.md says where they are found, and what else may be
read. Seed 0; `experiments.Variant` says what the times are.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rnn_research.cells import CELLS
from rnn_research.data import codec as text_codec
from rnn_research.data.views import VIEWS
from rnn_research.decoding.beam import Beam
from rnn_research.encoders.cnn.weights import NETWORKS
from rnn_research.errors import InputError, require, require_one_of
from rnn_research.experiment import Experiment, Vocabulary
from rnn_research.metrics.captions.score import score_captions
from rnn_research.models.captioners import CAPTIONERS, looks
from rnn_research.tasks.captioning import commands, corpus, evaluation, material, sight
from rnn_research.tasks.captioning.batches import captioned
from rnn_research.tasks.captioning.describer import describer
from rnn_research.tasks.captioning.model import WEIGHTS, caption_model, sight_of
from rnn_research.tasks.captioning.objective import nats
from rnn_research.tasks.captioning.training import OBJECTIVES, train_data
from rnn_research.tasks.decoder_cell import decoder_cell, engine_of
from rnn_research.training.config import base_config, check_model, check_readout

VARIANTS = {
  'shapes': (
    'scenes of two shapes, soft attention, the encoder trained from scratch (the default)',
    '71 s',
  ),
  'soft_attention': 'LSTM that looks at all places for every word (Xu et al. 2015)',
  'hard_attention': 'LSTM that looks at one place for every word (Xu et al. 2015)',
  'show_and_tell': 'LSTM whose first word is the picture (Vinyals et al. 2015)',
  'merge': 'LSTM of words alone, joined by the picture at its output (Tanti et al. 2017)',
  'init_state': 'LSTM whose first state is made of the picture',
  'neuraltalk': 'tanh network that sees the picture at every step (Karpathy and Fei-Fei 2015)',
  'scst': 'goes on from another run by self-critical training on CIDEr-D (Rennie et al. 2017)',
  'debug': 'scenes, 16 units, 30 steps',
}
COMMANDS = commands.COMMANDS
PLACES = (
  'data.path',
  'data.images',
  'data.valid',
  'data.test',
  'data.boxes',
  'data.data_dir',
  'data.cache_dir',
)
MOVABLE = ('data.path', 'data.images', 'data.data_dir', 'data.cache_dir')

_BEAM = Beam(3)


def get_config(variant: str = 'shapes') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  config = base_config()
  config.data = ConfigDict(
    {
      'scenes': 0,  # training scenes of two shapes that are drawn; 0 reads files
      'path': '',  # folder of Flickr8k, or a file of captions: COCO's JSON, or two columns
      'images': '',  # folder or zip archive of the pictures; '' is where the captions are
      'valid': '',  # file of held-out captions, where path has no such split
      'test': '',  # the same for the test split
      'splits': (0.8, 0.1, 0.1),  # shares of train, valid, test where these have no captions
      'boxes': '',  # file of phrases and where they are, for the report: see `captioning.boxes`
      'tfds': '',  # a data set of `data.caption_builder` in place of files
      'data_dir': '',  # where tensorflow-datasets keeps its data
      'cache_dir': '',  # where features of pictures are kept; '' is the user's folder for caches
      'views': ('plain',),  # what is seen of training pictures: plain, flip, crop0 to crop4
      'min_frequency': 5,  # how often a word must occur in the training captions to be known
      'vocabulary_size': 0,  # the most words, with four special symbols; 0 is no limit
      'max_length': 20,  # words; longer captions are not trained on; see `describer`
      'captions_per_picture': 5,  # in a batch, drawn where a picture has more
      'buckets': 5,  # lengths that the captions of a batch are padded to
    }
  )
  config.model = ConfigDict(
    {
      'decoder': 'soft_attention',  # see `models.captioners`
      'encoder': 'efficientnet_lite2',  # of docs/reference/encoders.md; own: from scratch
      'encoder_weights': '',  # file of the encoder's public weights
      'grid': 'deep',  # what of the encoder is looked at: deep, shallow, or both
      'cell': 'lstm',  # a name of `--list --cells`
      'hidden_size': 512,  # units of a layer
      'num_layers': 1,  # recurrent layers
      'embedding_size': 256,  # numbers per word, and of the picture where it is one
      'annotation_size': 256,  # numbers per place of the grid
      'attention_size': 128,  # units of the layer that scores places
      'readout_size': 512,  # units of a tanh layer before the softmax; 0 is none
      'tied': False,  # whether the softmax uses the embedding, of size readout_size
      'dropout': 0.4,  # of features, embeddings, between layers and of outputs
      'forget_bias': 1.0,  # of an LSTM
      'engine': 'auto',  # of the cells that no attention enters, see the cell
      'dtype': 'float32',  # of the products, float32 or bfloat16; parameters and state stay float32
    }
  )
  config.train.update(
    {
      'epochs': 8,
      'batch_size': 32,  # pictures of an update
      'ema_decay': 0.99,
      'show_steps': (0, 1000),
      'objective': 'likelihood',  # of captions by people; cider: of captions that it draws itself
      'samples': 5,  # cider: captions drawn of each picture
      'label_smoothing': 0.1,  # weight of the uniform distribution in the targets
      'doubly_stochastic': 0.0,  # lambda of Xu et al. 2015: each place is to be looked at once
      'reinforce': 0.1,  # hard attention: weight of the gradient of where it looked
      'entropy': 0.002,  # hard attention: weight of the entropy of where it might have looked
      # Learning rate of the encoder's last blocks, as a share of that of the others; 0: they stay.
      'encoder_rate': 0.0,
    }
  )
  config.optimizer.update(
    {
      'learning_rate': 2e-3,
      'clip_norm': 1.0,
      'schedule': 'cosine',
      'warmup_steps': 200,
      'final_fraction': 0.05,
    }
  )
  config.update(_CHANGES[variant])
  return config.lock()


_SCENES: dict[str, dict[str, Any]] = {
  'data': {
    'scenes': 4_000,
    'min_frequency': 1,
    'max_length': 12,
    'captions_per_picture': 1,
    'buckets': 1,
  },
  'model': {
    'encoder': 'own',
    # Small: with more units it remembers what it saw at the colour, and need not look at the shape.
    'hidden_size': 64,
    'embedding_size': 64,
    'annotation_size': 128,
    'attention_size': 64,
    'readout_size': 64,
    'dropout': 0.0,
  },
  'optimizer': {'learning_rate': 3e-3},
  'train': {'epochs': 12, 'show_steps': (0, 200, 600), 'label_smoothing': 0.0},
}
_CHANGES = {
  'shapes': _SCENES,
  'soft_attention': {},
  'hard_attention': {'model': {'decoder': 'hard_attention'}},
  'show_and_tell': {'model': {'decoder': 'show_and_tell'}},
  'merge': {'model': {'decoder': 'merge'}},
  'init_state': {'model': {'decoder': 'init_state'}},
  'neuraltalk': {'model': {'decoder': 'neuraltalk', 'cell': 'elman'}},
  'scst': {
    'optimizer': {'learning_rate': 1e-4, 'schedule': 'constant', 'warmup_steps': 50},
    'train': {'objective': 'cider', 'epochs': 4},
  },
  'debug': {
    'data': {**_SCENES['data'], 'scenes': 200},
    'model': {**_SCENES['model'], 'hidden_size': 16, 'embedding_size': 8, 'readout_size': 8},
    'optimizer': {'warmup_steps': 0},
    'train': {
      'epochs': 0,
      'steps': 30,
      'batch_size': 8,
      'eval_every': 10,
      'log_every': 5,
      'show_steps': (0,),
      'label_smoothing': 0.0,
    },
  },
}


def check(config: ConfigDict) -> None:
  """Raises InputError for a field out of range."""
  data, model, train = config.data, config.model, config.train
  check_model(model)
  require_one_of('model.cell', model.cell, CELLS)
  _check_data(data)
  require_one_of('model.decoder', model.decoder, CAPTIONERS)
  require_one_of('model.encoder', model.encoder, (*NETWORKS, sight.OWN))
  require_one_of('model.grid', model.grid, sight.GRIDS)
  for field in ('embedding_size', 'annotation_size', 'attention_size'):
    require(f'model.{field}', model[field], model[field] >= 1, 'an integer >= 1')
  check_readout(model)
  require(
    'train.label_smoothing',
    train.label_smoothing,
    0.0 <= train.label_smoothing < 1.0,
    'a number in [0, 1)',
  )
  require_one_of('train.objective', train.objective, OBJECTIVES)
  require('train.samples', train.samples, train.samples >= 2, 'an integer >= 2')
  require(
    'init_from',
    config.init_from,
    bool(config.init_from) or train.objective != 'cider',
    'the workdir of a trained captioner, since train.objective is cider',
  )
  for field in ('doubly_stochastic', 'reinforce', 'entropy', 'encoder_rate'):
    require(f'train.{field}', train[field], train[field] >= 0.0, 'a number >= 0')
  own = model.encoder == sight.OWN
  require(
    'train.encoder_rate',
    train.encoder_rate,
    not (own and train.encoder_rate),
    '0 where data.scenes is above 0, whose encoder is trained as the rest is',
  )
  require(
    'train.encoder_rate',
    train.encoder_rate,
    not (model.grid == 'shallow' and train.encoder_rate),
    '0 where model.grid is shallow, since the blocks that it would train lie above that map',
  )
  require(
    'model.encoder',
    model.encoder,
    own == bool(data.scenes),
    f'{sight.OWN} where data.scenes is above 0' if data.scenes else f'one of {", ".join(NETWORKS)}',
  )
  require(
    'model.encoder_weights',
    model.encoder_weights,
    not (own and model.encoder_weights),
    "'' where data.scenes is above 0 (the variants for photos: soft_attention, hard_attention, "
    'show_and_tell, ..)',
  )


def unused(config: ConfigDict) -> dict[str, str]:
  """Returns the fields that are not read -> by what."""
  decoder = config.model.decoder
  found: dict[str, str] = {}
  if not looks(decoder):
    fields = 'model.attention_size', 'train.doubly_stochastic'
    found |= dict.fromkeys(fields, f'by {decoder}, which has no attention')
  if decoder != 'hard_attention':
    found |= dict.fromkeys(('train.reinforce', 'train.entropy'), f'by {decoder}')
  if config.train.objective == 'cider':
    for field in ('label_smoothing', 'doubly_stochastic', 'reinforce', 'entropy'):
      found[f'train.{field}'] = 'where train.objective is cider'
  else:
    found['train.samples'] = 'where train.objective is not cider'
  return found


def _check_data(data):
  for field in ('min_frequency', 'max_length', 'captions_per_picture', 'buckets'):
    require(f'data.{field}', data[field], data[field] >= 1, 'an integer >= 1')
  for field in ('scenes', 'vocabulary_size'):
    require(f'data.{field}', data[field], data[field] >= 0, 'an integer >= 0')
  for look in data.views:
    require_one_of('data.views', look, VIEWS)
  require('data.views', data.views, data.views[:1] == ('plain',), "'plain' in the first place")
  seen_plainly = not data.scenes or len(data.views) == 1
  require('data.views', data.views, seen_plainly, "('plain',), since data.scenes is above 0")
  files = [name for name in ('path', 'images', 'valid', 'test', 'tfds', 'boxes') if data[name]]
  if data.scenes and files:
    raise InputError(
      f'data.scenes is {data.scenes} and data.{files[0]} is given too, expected one of them (the '
      'variants for files: soft_attention, hard_attention, show_and_tell, ..)'
    )
  corpus.check_places(data)


def kept_bytes(config: ConfigDict) -> int:
  """Returns roughly what a step keeps for its backward pass: the logits, and the attention's
  layer."""
  rows = config.train.batch_size * config.data.captions_per_picture // config.train.micro_batches
  symbols = rows * (config.data.max_length + 1)
  places = 49 if config.model.grid == 'deep' else 196
  return 4 * symbols * (3 * 3_000 + places * config.model.attention_size)


def build(config: ConfigDict, assets: dict | None = None) -> Experiment:
  """Makes the experiment.

  Args:
    config: of `get_config`.
    assets: of a trained model: its codec, the form of its encoder's weights, which lie in its
      workdir, and the digest of the captions it was trained on.

  Raises:
    InputError: data or weights that cannot be used.
  """
  load = functools.cache(lambda: material.load(config.data))
  codec = (
    text_codec.from_json(assets['codec']) if assets else material.train_codec(load(), config.data)
  )
  look, form = sight_of(config, assets)
  cell = decoder_cell(config.model)
  make_model = functools.partial(caption_model, config.model, cell, look)
  model = make_model(len(codec.symbols))
  see = functools.cache(
    lambda split, looks: material.seen(load(), split, look, looks, config.data.cache_dir)
  )
  plainly = lambda split: see(split, ('plain',))
  held_out = evaluation.HeldOut(
    codec,
    config.data.max_length,
    load,
    functools.partial(_seen, load, plainly, assets),
    functools.cache(lambda: evaluation.training_captions(load())),
  )
  trained = lambda: see('train', tuple(config.data.views))
  greedy, beam = (
    describer(model, codec, how, config.data.max_length, look.shape) for how in (Beam(), _BEAM)
  )
  scores = jax.jit(lambda params, batch: nats(model, params, captioned(batch)))
  splits = assets['splits'] if assets else [name for name in load().splits if name != 'train']
  # One that was trained without held-out pictures may be measured by files of them.
  measured = [name for name in ('valid', 'test') if name in splits or config.data[name]]

  def measure(split, searches, judge, params, key):
    return evaluation.measure(held_out, split, scores, searches, params, judge)

  def write(params, key):
    return evaluation.examples(held_out.seen(splits[0]), greedy, params)

  def report(params, workdir, out_dir):
    # Matplotlib is slow to load.
    from rnn_research.tasks.captioning.report import write_report

    boxes = config.data.boxes
    write_report(held_out, splits[-1], boxes, model, beam, params, workdir, out_dir)

  return Experiment(
    init=lambda key: model.init(key, look.inputs),
    loss=OBJECTIVES[config.train.objective](config, model, codec, trained),
    train_data=functools.partial(train_data, config, codec, load, trained, plainly),
    evaluate={'valid': functools.partial(measure, 'valid', {'': greedy}, score_captions)}
    if 'valid' in splits
    else {},
    final_evaluate={
      split: functools.partial(measure, split, {'': greedy, '_beam3': beam}, evaluation.all_scores)
      for split in measured
    },
    headline=('valid', 'cider', 'max')
    if 'valid' in splits
    else ('train', 'nats_per_symbol', 'min'),
    initial_carry=lambda params, batch_size: jnp.zeros(batch_size, jnp.float32),
    assets={'codec': codec.to_json(), 'encoder': form, 'splits': splits},
    show=write if splits else None,
    report=report if splits else None,
    commands=commands.commands_of(model, codec, config.data.max_length, look),
    engine=engine_of(config.model, cell, 'looks' if looks(config.model.decoder) else ''),
    unit='words',
    vocabularies={
      'captions': Vocabulary(
        'word',
        codec.symbols,
        lambda size: lambda key: make_model(size).init(key, look.inputs),
      )
    },
    pretrained={'encoder/reader': config.train.encoder_rate} if config.train.encoder_rate else {},
    files={WEIGHTS: look.file} if look.file else {},
  )


def _seen(load, plainly, assets, split):
  """Returns a held-out split as the model sees it."""
  loaded = load()
  known = not assets or assets['fingerprint'].endswith(loaded.fingerprint)
  if split in loaded.drawn and not known:
    raise InputError(
      'what data.path and data.splits leave to train on are not the captions that the model was '
      'trained on, so the held-out ones are not known; name files of them with data.valid and '
      'data.test'
    )
  require_one_of('split', split, loaded.splits)
  return plainly(split)
