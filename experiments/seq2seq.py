"""Sequence to sequence: translation, from a single vector to attention.

  python launch.py --experiment=seq2seq     dates as people write them to ISO dates
  python launch.py --experiment=seq2seq:VARIANT FLAGS
  python launch.py --workdir=DIR --mode=translate --input=FILE --output=FILE

  VARIANT    FLAGS                    time   score on test pairs, BLEU with beam 5 commit
  dates                               1 min  exact 100 %, BLEU 100.0               71dda19
  reverse                             73 s   exact 100 %, BLEU 100.0               71dda19
  sort                                80 s   exact 96.8 %, BLEU 99.6                71dda19
  debug                               29 s   nothing is learned in 30 steps
  sutskever  PAIRS HALF, 6 epochs     -      BLEU 14.5, the best of 3 seeds        71dda19
  cho        PAIRS HALF, 2 epochs     -      BLEU 14.6                             d5acc90
  bahdanau   PAIRS HALF, 6 epochs     -      BLEU 37.8                             71dda19
  luong      PAIRS                    -      not yet run
  subword    PAIRS                    -      BLEU 41.0                             0a63809

PAIRS is --config.data.source=train.de.gz --config.data.target=train.en.gz and so on of Multi30k,
HALF half the units; docs/results.md has the whole commands, with machines. The full sizes of
sutskever, cho and bahdanau: not yet run. Seed 0; `experiments.Variant` says what the times are.

Any two files whose lines are translations of each other will do.
"""

import functools
import math
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from rnn_research.cells import CELLS
from rnn_research.data.buckets import evaluation_batches, make_buckets, pair_stream
from rnn_research.data.codec import RULES, SENTENCE_UNITS
from rnn_research.data.pairs import Pairs
from rnn_research.decoding.beam import Beam
from rnn_research.errors import InputError, require, require_one_of
from rnn_research.experiment import Experiment, Vocabulary
from rnn_research.initializers import uniform
from rnn_research.memory.attention import SCORES
from rnn_research.metrics.bleu import corpus_bleu
from rnn_research.models.conditional_loss import LossOptions, nats, training_loss
from rnn_research.models.decoders import DECODERS, attends
from rnn_research.tasks.decoder_cell import decoder_cell, engine_of
from rnn_research.tasks.translation import commands, corpus, pair_store
from rnn_research.tasks.translation.model import SOURCES, example_of, translation_model
from rnn_research.tasks.translation.translator import shown, translator
from rnn_research.training.config import DTYPES, base_config, check_model, check_readout
from rnn_research.training.progress import watched

VARIANTS = {
  'dates': (
    'dates as people write them to ISO dates, by characters with attention (the default)',
    '1 min',
  ),
  'reverse': ('letters in reverse order, GRU with attention', '73 s'),
  'sort': ('letters in alphabetical order, GRU with attention', '80 s'),
  'debug': ('letters in reverse order, 16 units, 30 steps', '29 s'),
  'sutskever': 'LSTM 2 x 512, the source as a single vector (Sutskever et al. 2014)',
  'cho': 'GRU 1 x 512, the single vector at every step (Cho et al. 2014)',
  'bahdanau': 'GRU 1 x 512, bidirectional encoder, additive attention (Bahdanau et al. 2015)',
  'luong': 'LSTM 2 x 512, general attention with input feeding (Luong et al. 2015)',
  'subword': 'GRU 1 x 256 over subwords with additive attention, tied and regularised: small, and '
  'the best here',
}

COMMANDS = commands.COMMANDS
PLACES = (
  'data.source',
  'data.target',
  'data.valid_source',
  'data.valid_target',
  'data.test_source',
  'data.test_target',
  'data.data_dir',
  'data.encoding',
  'data.cache_dir',
)

MOVABLE = ('data.source', 'data.target', 'data.data_dir', 'data.cache_dir')

_BEAM = Beam(5)


def get_config(variant: str = 'dates') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  config = base_config()
  config.data = ConfigDict(
    {
      'task': '',  # pairs that are made: dates, reverse, sort; '' reads files
      'examples': 20_000,  # of a task, held-out ones included
      'source': '',  # plain or .gz, a sentence per line; without a target tab-separated pairs
      'target': '',  # the translations, line by line
      'valid_source': '',  # held-out pairs; without files a share of the pairs
      'valid_target': '',  # line by line to valid_source
      'test_source': '',  # the same for the test split
      'test_target': '',  # line by line to test_source
      'encoding': 'utf-8',  # of the files
      # Shares of train, valid, test where these have no pairs of their own.
      'splits': (0.9, 0.05, 0.05),
      'tfds': '',  # a translation data set of tensorflow-datasets in place of files
      'data_dir': '',  # where tensorflow-datasets keeps its data
      # Where large files of pairs are kept encoded; '' is the user's folder for caches.
      'cache_dir': '',
      'unit': 'word',  # word, char, subword
      'lower': True,  # lower-cases everything
      'min_frequency': 2,  # how often a symbol must occur in the training pairs to be known
      'vocabulary_size': 0,  # the most symbols of a language; 0 is no limit; needed for subwords
      'max_length': 50,  # training pairs with a longer side are left out, longer inputs are cut
      'buckets': 6,  # shapes that batches are padded to
    }
  )
  config.model = ConfigDict(
    {
      'decoder': 'bahdanau',  # see `models.decoders`
      'score': 'additive',  # of the attention: additive (also called concat), general, dot
      'cell': 'gru',  # a name of `--list --cells`
      'hidden_size': 512,  # units of a layer
      'num_layers': 1,  # recurrent layers of the encoder, and of the decoder
      'bidirectional': True,  # whether the encoder reads in both directions
      'reversed_source': False,  # whether an encoder of one direction reads the last symbol first
      'embedding_size': 256,  # numbers per symbol
      'readout_size': 0,  # units of a tanh layer before the softmax; 0 is none
      'tied': False,  # whether the softmax uses the target embedding, of size readout_size
      'dropout': 0.5,  # of the vertical connections, embeddings and outputs
      'init_scale': 0.0,  # weights of the cells from U[-s, s]; 0 is the cell's own initialisation
      'forget_bias': 1.0,  # of an LSTM
      'engine': 'auto',  # of the cells that no attention enters, see the cell
      'dtype': 'float32',  # of the products, float32 or bfloat16; parameters and state stay float32
    }
  )
  config.train.update(
    {
      'batch_size': 8,  # what sentences of a batch are a multiple of: devices and slices divide it
      'epochs': 10,
      'log_every': 100,
      'stop_after': 5,
      'batch_tokens': 1800,  # the most symbols of a side of a batch, padding included
      'label_smoothing': 0.0,  # weight of the uniform distribution in the targets
      # Chance that the decoder reads its own symbol (scheduled sampling), after sampling_steps.
      'sampling_rate': 0.0,
      'sampling_steps': 0,  # steps over which sampling_rate is reached, from 0
    }
  )
  config.optimizer.update({'learning_rate': 1e-3, 'clip_norm': 1.0})
  config.update(_CHANGES[variant])
  return config.lock()


_TASK: dict[str, dict[str, Any]] = {
  'data': {'min_frequency': 1, 'buckets': 3},
  'model': {'hidden_size': 64, 'embedding_size': 32, 'dropout': 0.0},
  'optimizer': {'learning_rate': 3e-3},
  'train': {'epochs': 5, 'batch_tokens': 1200, 'show_steps': (0, 100, 500), 'stop_after': 0},
}


def _task(name, **changes):
  return {**_TASK, **changes, 'data': {**_TASK['data'], **changes.get('data', {}), 'task': name}}


_CHANGES = {
  'dates': _task('dates', data={'unit': 'char'}, train={**_TASK['train'], 'epochs': 3}),
  'reverse': _task('reverse'),
  'sort': _task('sort'),
  'debug': _task(
    'reverse',
    data={'examples': 400, 'buckets': 2},
    model={'hidden_size': 16, 'embedding_size': 8, 'dropout': 0.0},
    train={
      'epochs': 0,
      'steps': 30,
      'batch_tokens': 200,
      'eval_every': 10,
      'log_every': 5,
      'show_steps': (0, 30),
      'stop_after': 0,
    },
  ),
  'sutskever': {
    'model': {
      'decoder': 'sutskever',
      'cell': 'lstm',
      'num_layers': 2,
      'bidirectional': False,
      'reversed_source': True,
    }
  },
  'cho': {'model': {'decoder': 'cho', 'bidirectional': False}},
  'bahdanau': {},
  'luong': {'model': {'decoder': 'luong', 'score': 'general', 'cell': 'lstm', 'num_layers': 2}},
  'subword': {
    'data': {'unit': 'subword', 'vocabulary_size': 6000, 'min_frequency': 1},
    'model': {
      'hidden_size': 256,
      'embedding_size': 256,
      'readout_size': 256,
      'tied': True,
      'dropout': 0.4,
    },
    'optimizer': {
      'learning_rate': 1.5e-3,
      'schedule': 'cosine',
      'warmup_steps': 200,
      'final_fraction': 0.05,
    },
    'train': {
      'epochs': 20,
      'batch_tokens': 1000,
      'label_smoothing': 0.1,
      'ema_decay': 0.998,
      'stop_after': 0,
    },
  },
}


def check(config: ConfigDict) -> None:
  """Raises InputError for a field out of range."""
  data, model, train = config.data, config.model, config.train
  corpus.check_places(data)
  check_model(model)
  require_one_of('model.cell', model.cell, CELLS)
  for field, least in (('examples', 3), ('max_length', 1), ('buckets', 1), ('min_frequency', 1)):
    require(f'data.{field}', data[field], data[field] >= least, f'an integer >= {least}')
  require(
    'data.vocabulary_size',
    data.vocabulary_size,
    data.vocabulary_size >= (data.unit == 'subword'),
    'a number of symbols above 0 for subwords'
    if data.unit == 'subword'
    else 'an integer >= 0 (0 is no limit)',
  )
  require_one_of('data.unit', data.unit, SENTENCE_UNITS)
  require_one_of('model.decoder', model.decoder, DECODERS)
  require_one_of('model.score', model.score, SCORES)
  require(
    'model.embedding_size', model.embedding_size, model.embedding_size >= 1, 'an integer >= 1'
  )
  check_readout(model)
  require('train.batch_tokens', train.batch_tokens, train.batch_tokens >= 1, 'an integer >= 1')
  require(
    'train.label_smoothing',
    train.label_smoothing,
    0.0 <= train.label_smoothing < 1.0,
    'a number in [0, 1)',
  )
  require(
    'train.sampling_rate',
    train.sampling_rate,
    0.0 <= train.sampling_rate <= 1.0,
    'a number in [0, 1]',
  )
  require(
    'train.sampling_steps', train.sampling_steps, train.sampling_steps >= 0, 'an integer >= 0'
  )
  if model.score == 'dot' and model.bidirectional and attends(model.decoder):
    raise InputError(
      "model.score is 'dot', expected general or additive where model.bidirectional is True: what "
      'both directions make is twice as wide as the decoder'
    )
  if model.bidirectional and model.reversed_source:
    raise InputError(
      'model.reversed_source is True, expected False where the encoder is bidirectional: it reads '
      'both ways'
    )


def unused(config: ConfigDict) -> dict[str, str]:
  """Returns the fields that are not read -> by what."""
  found = {} if config.data.task else {'data.examples': 'where no data.task makes the pairs'}
  if not attends(config.model.decoder):
    found['model.score'] = f'by {config.model.decoder}, which has no attention'
  if not config.train.sampling_rate:
    found['train.sampling_steps'] = 'where train.sampling_rate is 0'
  return found


# Symbols of a language, before the data are read.
_USUAL_SIZE = {'word': 8192, 'char': 128, 'subword': 8192}


def kept_bytes(config: ConfigDict) -> int:
  """Returns roughly what a step keeps for its backward pass: the logits, their softmax and their
  gradient, since the vocabulary may be large."""
  symbols = config.train.batch_tokens // config.train.micro_batches
  size = config.data.vocabulary_size or _USUAL_SIZE.get(config.data.unit, 0)
  return 3 * 4 * symbols * size


def build(config: ConfigDict, assets: dict | None = None) -> Experiment:
  """Makes the experiment.

  Args:
    config: of `get_config`.
    assets: of a trained model: its codec, and the digest of the pairs it was trained on.

  Raises:
    InputError: data that cannot be used.
  """
  saved = corpus.from_json(assets['codec']) if assets else None
  rules = saved.source.rules if saved else RULES
  load = functools.cache(lambda: pair_store.load(config.data, rules, saved))
  fingerprint = assets['fingerprint'] if assets else ''
  of_data = lambda data: load() if data == config.data else pair_store.load(data, rules, saved)
  load_held_out = functools.cache(
    lambda: corpus.load_held_out(config.data, fingerprint, lambda data: of_data(data).corpus)
  )
  codec = saved or load().codec
  cells = _make_cells(config.model)
  model = _make_model(config.model, cells, len(codec.source.symbols), len(codec.target.symbols))
  greedy, beam = (translator(model, codec, how, config.data.max_length) for how in (Beam(), _BEAM))
  splits = corpus.held_out_names(config.data)
  validated = 'valid' in splits
  options = LossOptions(
    config.train.label_smoothing, config.train.sampling_rate, config.train.sampling_steps
  )
  scores = jax.jit(lambda params, batch: nats(model, params, example_of(batch)))

  def loss(params, carry, batch, key, step):
    total, weight, sums = training_loss(model, options, params, example_of(batch), key, step)
    return total, (weight, carry, sums)

  @functools.cache
  def held_out(split):
    pairs = load_held_out()[split]
    batches = evaluation_batches(corpus.encode_pairs(codec, pairs))
    return pairs, corpus.references(codec, pairs.targets), batches

  def measure(split, searches, params, key):
    pairs, references, batches = held_out(split)
    results = {
      name: [best.text for best, *_ in translate(params, pairs.sources, watch=watched)]
      for name, translate in searches.items()
    }
    lower = codec.target.lower
    bleu = {name: corpus_bleu(texts, references, lower) for name, texts in results.items()}
    exact = np.mean([a == b for a, b in zip(results['bleu'], references, strict=True)])
    return {
      **_likelihood(scores, params, watched(batches, len(references), 'pairs')),
      **{name: value.score for name, value in bleu.items()},
      'exact': float(exact),
      'bleu_signature': bleu['bleu'].signature,
    }

  def measure_quickly(params, key):
    measured = measure('valid', {'bleu': greedy}, params, key)
    return {name: value for name, value in measured.items() if name != 'bleu_signature'}

  def write(params, key):
    pairs = load_held_out()['valid'] if validated else load().corpus.splits['train']
    pairs = Pairs(pairs.sources[:3], pairs.targets[:3], 0)
    found, references = greedy(params, pairs.sources), corpus.references(codec, pairs.targets)
    return '\n'.join(
      shown(source, best, reference)
      for source, (best, *_), reference in zip(pairs.sources, found, references, strict=True)
    )

  def report(params, workdir, out_dir):
    # Matplotlib is slow to load.
    from rnn_research.tasks.translation.report import TranslatedSentences, write_report

    split = splits[-1]
    pairs, references, _ = held_out(split)
    found = [best for best, *_ in greedy(params, pairs.sources, watch=watched)]
    write_report(
      TranslatedSentences(split, pairs.sources, references, found, codec.target.lower),
      workdir,
      out_dir,
    )

  return Experiment(
    init=lambda key: model.init(key, SOURCES),
    loss=loss,
    train_data=functools.partial(_train_data, config, load),
    evaluate={'valid': measure_quickly} if validated else {},
    final_evaluate={
      split: functools.partial(measure, split, {'bleu': greedy, 'bleu_beam5': beam})
      for split in splits
    },
    headline=('valid', 'exact' if config.data.task else 'bleu', 'max')
    if validated
    else ('train', 'nats_per_symbol', 'min'),
    assets={'codec': corpus.to_json(codec)},
    show=write,
    report=report if splits else None,
    commands=commands.commands_of(model, codec, config.data.max_length, scores, load_held_out),
    engine=engine_of(config.model, cells[0], 'attends' if attends(config.model.decoder) else ''),
    unit='target symbols',
    vocabularies=_vocabularies(config.model, cells, codec),
  )


def _make_cells(config):
  scale = config.init_scale
  options = {'w_x_init': uniform(scale), 'w_h_init': uniform(scale)} if scale else {}
  return (decoder_cell(config, **options),) * config.num_layers


def _make_model(config, cells, num_sources, num_targets):
  fields = (
    *('decoder', 'score', 'hidden_size', 'embedding_size', 'bidirectional', 'reversed_source'),
    *('readout_size', 'tied', 'dropout'),
  )
  return translation_model(
    cells,
    (num_sources, num_targets),
    dtype=DTYPES[config.dtype],
    **{name: config[name] for name in fields},
  )


def _vocabularies(config, cells, codec):
  def of(side, sizes):
    init_of = lambda size: lambda key: _make_model(config, cells, *sizes(size)).init(key, SOURCES)
    return Vocabulary(side.unit, side.symbols, init_of)

  return {
    'source': of(codec.source, lambda size: (size, len(codec.target.symbols))),
    'target': of(codec.target, lambda size: (len(codec.source.symbols), size)),
  }


def _train_data(config, load):
  """Returns the training batches."""
  data, (loaded, codec, encode) = config.data, load()
  encoded = encode()
  pairs = corpus.within(encoded['train'], data.max_length)
  buckets = make_buckets(pairs, data.buckets, config.train.batch_tokens, config.train.batch_size)
  about = commands.describe(
    codec, loaded, encoded, len(pairs.sources.lengths), data.max_length, buckets
  )
  return pair_stream(pairs, buckets, config.seed, loaded.fingerprint)._replace(about=about)


def _likelihood(scores, params, batches):
  """Returns the teacher-forced figures of a split; every target symbol and every end counts,
  unknown ones too."""
  total = count = 0.0
  for _, batch in batches:
    total += float(np.asarray(scores(params, batch), np.float64).sum())
    count += int(batch['target_lengths'].sum())
  return {'nats_per_symbol': total / count, 'perplexity': math.exp(min(total / count, 700.0))}
