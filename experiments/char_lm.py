"""Language models over characters, bytes or words: the classic demonstration that a recurrent
network learns to write.

  python launch.py                                        the default variant, quick
  python launch.py --experiment=char_lm:VARIANT FLAGS
  python launch.py --workdir=DIR --mode=sample --prompt='the ' --length=500

  VARIANT                FLAGS             time    score, nats per character      commit
  quick                                    77 s    valid 1.402, test 1.392        f24e54c
  debug                                    9 s     valid 3.045, test 2.992        71dda19
  cells                  SHAKESPEARE CELL  -       valid 1.636 (gru), others in   47dd67c
                                                   docs/results.md
  karpathy               WAR               -       per byte: valid 1.320, test    60f4e4e
                                                   1.317; 1.444 and 1.446 with
                                                   --config.train.epochs=10
  min_char_rnn                             28 s    valid 2.424, test 2.361        71dda19
  tiny_shakespeare       SHAKESPEARE       6 min   valid 1.502                    ecd3922
  tiny_shakespeare_long  SHAKESPEARE       57 min  valid 1.446                    dca0349
  zaremba_medium         PTB               -       not yet run
  zaremba_small          PTB               -       test perplexity 115.14         60f4e4e

SHAKESPEARE is --config.data.path=input.txt.gz of tiny Shakespeare, WAR that of War and Peace, CELL
--config.model.cell=gru, PTB the three files of the Penn Treebank. docs/results.md has the whole
commands, with machines. Seed 0; `experiments.Variant` says what the times are.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import lecun_normal
from ml_collections import ConfigDict

from rnn_research.cells import CELLS, make_cell, options_for
from rnn_research.combinators.weights import weight_dropout
from rnn_research.data import running_text, streams, text
from rnn_research.decoding.language import sampler
from rnn_research.decoding.sampling import Sampling
from rnn_research.engines import dispatch
from rnn_research.errors import InputError, require, require_one_of
from rnn_research.experiment import Experiment, Recurrence, Vocabulary
from rnn_research.initializers import uniform
from rnn_research.losses import cross_entropy
from rnn_research.models.language_model import (
  language_model,
  read_on,
  sequence_loss,
)
from rnn_research.parameters import fit_budget
from rnn_research.tasks.language import commands, evaluation
from rnn_research.tasks.language.source import UNITS, describe, open_source
from rnn_research.training.config import DTYPES, base_config, check_model, kept_by_layers
from rnn_research.unroll import select

VARIANTS = {
  'quick': (
    'LSTM 1 x 256 on the Python standard library, with samples as it learns (the default)',
    '77 s',
  ),
  'debug': ('GRU 1 x 32, 30 steps: to see that everything works', '9 s'),
  'cells': '3 seeds x 2 learning rates of any cell at 70,000 parameters: to compare cells',
  'karpathy': 'LSTM 1 x 128, the protocol of Karpathy, Johnson and Fei-Fei 2015 (bytes; War and '
  'Peace)',
  'min_char_rnn': (
    'Elman 1 x 100, unroll 25, Adagrad 0.1, clip 5 by value: the 112-line classic',
    '28 s',
  ),
  'tiny_shakespeare': ('LSTM 1 x 512, dropout 0.5', '6 min'),
  'tiny_shakespeare_long': ('LSTM 2 x 512, dropout 0.5, weight dropout 0.4, bfloat16', '57 min'),
  'zaremba_medium': 'LSTM 2 x 650 over words, dropout 0.5, Zaremba et al. 2014 (Penn Treebank)',
  'zaremba_small': 'LSTM 2 x 200 over words, no dropout, Zaremba et al. 2014 (Penn Treebank)',
}

COMMANDS = commands.COMMANDS
PLACES = (
  'data.path',
  'data.glob',
  'data.valid_path',
  'data.test_path',
  'data.encoding',
  'data.data_dir',
  'data.download',
  'data.cache_dir',
)
MOVABLE = PLACES
_EVERY_FILE = '**/*'

_SAMPLE_LENGTH = {'char': 300, 'byte': 300, 'word': 60}


def get_config(variant: str = 'quick') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  config = base_config()
  config.data = ConfigDict(
    {
      'path': '',  # a text file, .gz file or folder; '' is the Python standard library
      'glob': _EVERY_FILE,  # which files of a folder
      'valid_path': '',  # separate files instead of splits by position
      'test_path': '',  # the same for the test split
      'tfds': '',  # a tensorflow-datasets name instead of a path
      'data_dir': '',  # where tensorflow-datasets keeps its data
      'download': False,  # whether `tiny_shakespeare` may be fetched where it is not there
      'encoding': 'utf-8',  # of the files, for characters and words
      'cache_dir': '',  # where large texts are kept encoded; '' is the user's folder for caches
      'unit': 'char',  # char, byte, word
      'splits': (0.9, 0.05, 0.05),  # train, valid, test by position
    }
  )
  config.model = ConfigDict(
    {
      'cell': 'lstm',  # a name of `--list --cells`
      'hidden_size': 256,  # units of a layer
      'num_params': 0,  # the most that the model may have, with hidden_size=0; 0 takes hidden_size
      'num_layers': 1,  # recurrent layers
      'dropout': 0.0,  # of the vertical connections
      'weight_dropout': 0.0,  # of the recurrent weights
      'embedding_size': 0,  # 0 feeds one-hot symbols
      'init_scale': 0.0,  # weights from U[-s, s]; 0 is the cell's own initialisation
      'forget_bias': 1.0,  # of an LSTM
      # Form of the recurrence, see the cell: auto, scan, fused, newton, shooting, cudnn, pallas.
      'engine': 'auto',
      'dtype': 'float32',  # of the products, float32 or bfloat16; parameters and state stay float32
    }
  )
  config.train.update(
    {
      'unroll_length': 50,  # steps that a gradient goes back
      # Parallel streams of an evaluation while training, and of a text of over 10 million symbols.
      'eval_lanes': 50,
      'reset_rate': 0.0,  # chance that a lane begins a chunk from the initial state
    }
  )
  config.update(_CHANGES[variant])
  return config.lock()


_ZAREMBA = {
  'data': {'unit': 'word'},
  'model': {'num_layers': 2, 'forget_bias': 0.0},
  # The papers sum the loss over the U steps of a chunk; ours is the mean, so the rate is U times
  # theirs (1) and the norm is clipped at 1/U of theirs (5).
  'optimizer': {'name': 'sgd', 'schedule': 'exponential'},
  'train': {'batch_size': 20, 'eval_lanes': 20},
}


_SHAKESPEARE = {
  'data': {'splits': (0.9, 0.1, 0.0)},
  'model': {'hidden_size': 512, 'dropout': 0.5, 'forget_bias': 0.0},
  'optimizer': {'learning_rate': 3e-3, 'clip_norm': 1.0, 'schedule': 'cosine', 'warmup_steps': 100},
  'train': {
    'epochs': 11,
    'batch_size': 32,
    'unroll_length': 64,
    'reset_rate': 0.03,
    'show_steps': (0, 100, 1000, 5000),
  },
}


def _merged(base, changes):
  return {block: {**base.get(block, {}), **changes.get(block, {})} for block in base | changes}


_CHANGES = {
  'quick': {
    'model': {'hidden_size': 256, 'forget_bias': 0.0},
    'optimizer': {
      'learning_rate': 4e-3,
      'clip_norm': 1.0,
      'schedule': 'cosine',
      'warmup_steps': 100,
    },
    'train': {
      'steps': 3000,
      'batch_size': 32,
      'unroll_length': 64,
      'eval_every': 500,
      'reset_rate': 0.03,
      'show_steps': (0, 100, 300, 1000, 3000),
    },
  },
  'debug': {
    'model': {'cell': 'gru', 'hidden_size': 32},
    'optimizer': {'learning_rate': 1e-2, 'clip_norm': 1.0},
    'train': {
      'steps': 30,
      'batch_size': 16,
      'unroll_length': 16,
      'eval_every': 10,
      'log_every': 5,
      'show_steps': (0, 30),
    },
  },
  'cells': {
    'data': {'splits': (0.9, 0.1, 0.0)},
    'model': {'cell': 'lstm_peephole', 'hidden_size': 0, 'num_params': 70_000},
    'optimizer': {'clip_norm': 1.0, 'schedule': 'cosine', 'warmup_steps': 100},
    'grid': {'seeds': 3, 'learning_rates': (3e-3, 1e-2)},
    'train': {
      'steps': 2000,
      'batch_size': 32,
      'unroll_length': 64,
      'eval_every': 500,
      'reset_rate': 0.03,
    },
  },
  'karpathy': {
    'data': {'unit': 'byte', 'splits': (0.8, 0.1, 0.1)},
    'model': {'hidden_size': 128, 'init_scale': 0.08, 'forget_bias': 0.0},
    'optimizer': {
      'name': 'rmsprop',
      'learning_rate': 2e-3,
      'decay': 0.95,
      'clip_value': 5.0,
      'schedule': 'exponential',
      'decay_factor': 0.95,
      'decay_after': 10,
    },
    'train': {
      'epochs': 50,
      'batch_size': 100,
      'unroll_length': 100,
      'eval_lanes': 100,
      'log_every': 50,
    },
  },
  'min_char_rnn': {
    'model': {'cell': 'elman', 'hidden_size': 100},
    'optimizer': {'name': 'adagrad', 'learning_rate': 0.1, 'clip_value': 5.0},
    'train': {
      'steps': 20_000,
      'batch_size': 1,
      'unroll_length': 25,
      'eval_every': 5000,
      'log_every': 500,
      'show_steps': (0, 1000, 5000, 20_000),
    },
  },
  'tiny_shakespeare': _SHAKESPEARE,
  'tiny_shakespeare_long': _merged(
    _SHAKESPEARE,
    {
      'model': {'num_layers': 2, 'weight_dropout': 0.4, 'dtype': 'bfloat16'},
      'train': {'epochs': 25},
    },
  ),
  'zaremba_medium': _merged(
    _ZAREMBA,
    {
      'model': {'hidden_size': 650, 'embedding_size': 650, 'init_scale': 0.05, 'dropout': 0.5},
      'optimizer': {
        'learning_rate': 35.0,
        'clip_norm': 5 / 35,
        'decay_factor': 1 / 1.2,
        'decay_after': 6,
      },
      'train': {'epochs': 39, 'unroll_length': 35},
    },
  ),
  'zaremba_small': _merged(
    _ZAREMBA,
    {
      'model': {'hidden_size': 200, 'embedding_size': 200, 'init_scale': 0.1},
      'optimizer': {
        'learning_rate': 20.0,
        'clip_norm': 5 / 20,
        'decay_factor': 0.5,
        'decay_after': 4,
      },
      'train': {'epochs': 13, 'unroll_length': 20},
    },
  ),
}


def check(config: ConfigDict) -> None:
  """Raises InputError for a field out of range."""
  model, train = config.model, config.train
  check_model(model)
  require_one_of('model.cell', model.cell, CELLS)
  rate = model.weight_dropout
  require('model.weight_dropout', rate, 0.0 <= rate < 1.0, 'a number in [0, 1)')
  for field in ('unroll_length', 'eval_lanes'):
    require(f'train.{field}', train[field], train[field] >= 1, 'an integer >= 1')
  require('train.reset_rate', train.reset_rate, 0.0 <= train.reset_rate < 1.0, 'a number in [0, 1)')
  data = config.data
  require_one_of('data.unit', data.unit, running_text.UNITS)
  if data.glob != _EVERY_FILE and not data.path:
    raise InputError(f'data.glob is {data.glob!r}, expected data.path with it, the folder it is of')
  decodes = bool(data.path) and data.unit != 'byte'
  text.check_encoding(data.encoding, decodes, 'files of characters or words')


def kept_bytes(config: ConfigDict) -> int:
  """Returns roughly what a step keeps for its backward pass."""
  return kept_by_layers(config, config.train.unroll_length)


def build(config: ConfigDict, assets: dict | None = None) -> Experiment:
  """Makes the experiment.

  Args:
    config: of `get_config`.
    assets: of a trained model: its vocabulary, the data it was trained on and their fingerprint.
      Another text than that is evaluated whole, with the model's vocabulary.

  Raises:
    InputError: data that cannot be used.
  """
  source = open_source(config.data, assets)
  vocabulary = source.codec
  model = _make_model(config.model, len(vocabulary.symbols))
  remake = lambda cells: _of_cells(config.model, cells, len(vocabulary.symbols))
  read = jax.jit(functools.partial(read_on, model))
  lanes = config.train.eval_lanes
  generate = sampler(model, vocabulary.never_written)
  validated = 'valid' in source.held_out

  def train_data():
    corpus = source.corpus()
    return streams.text_stream(
      corpus.splits['train'],
      config.train.batch_size,
      config.train.unroll_length,
      corpus.fingerprint,
    )._replace(about=describe(corpus, config.data, config.model.embedding_size, fresh=not assets))

  def loss(params, carry, batch, key, step):
    reset_key, key = jax.random.split(key)
    carry = _reset_some(
      reset_key, carry, model.initial_state(params, len(batch['inputs'])), config.train.reset_rate
    )
    total, carry = sequence_loss(model, params, carry, batch['inputs'].T, batch['targets'].T, key)
    return total, (jnp.float32(batch['inputs'].size), carry, {})

  def measure(split, params, key):
    return evaluation.measures(model, read, params, source.texts()[split], lanes, 0)

  def final_measure(split, params, key):
    return evaluation.final_measures(model, read, params, source.texts()[split], lanes)

  def write(temperature, params, key):
    length = _SAMPLE_LENGTH[vocabulary.unit]
    how = Sampling(temperature)
    return ''.join(commands.write(generate, vocabulary, params, '', length, key, how))

  def report(params, workdir, out_dir):
    # Matplotlib is slow to load.
    from rnn_research.analysis.reports.language_report import write_report

    write_report(write, params, workdir, out_dir)

  def recurrence(params, num_steps, key):
    ids = source.texts()[next(iter(source.measured), 'train')]
    windows = jnp.asarray(_windows(ids, num_steps + 1, config.train.batch_size, key))
    return Recurrence(
      model.cells,
      params['cells'],
      model.embed(params, windows[:-1]),
      lambda ys: cross_entropy(model.logits(params, ys), windows[-1]),
    )

  return Experiment(
    init=model.init,
    initial_carry=model.initial_state,
    loss=loss,
    train_data=train_data,
    evaluate={'valid': functools.partial(measure, 'valid')} if validated else {},
    final_evaluate={split: functools.partial(final_measure, split) for split in source.measured},
    headline=('valid', 'nats_per_symbol', 'min') if validated else ('train', 'loss', 'min'),
    assets=source.assets,
    show=functools.partial(write, 0.8),
    report=report,
    commands=commands.commands_of(model, remake, generate, vocabulary, read, source.texts),
    engine=dispatch.explain(config.model.cell, config.model.engine, model.cells[0].scan),
    unit=UNITS[vocabulary.unit],
    recurrence=recurrence,
    vocabularies={
      'vocabulary': Vocabulary(
        vocabulary.unit,
        vocabulary.symbols,
        lambda size: _of_cells(config.model, model.cells, size).init,
      )
    },
  )


def _reset_some(key, carry, initial, rate):
  """Puts each lane back to its initial state with probability `rate`.

  Lanes that are never reset let a model come to rely on states that were reached early in training
  and that no evaluation, which starts from the initial state, ever meets again.
  """
  if rate == 0.0:
    return carry
  lanes = jax.tree.leaves(carry)[0].shape[0]
  return select(jax.random.bernoulli(key, rate, (lanes,)), initial, carry)


def _make_model(config, vocabulary_size):
  scale = config.init_scale
  options = {'w_x_init': uniform(scale), 'w_h_init': uniform(scale)} if scale else {}

  def make(hidden_size):
    cell = make_cell(
      config.cell,
      hidden_size,
      engine=config.engine,
      dtype=DTYPES[config.dtype],
      **options_for(config.cell, forget_bias=config.forget_bias, **options),
    )
    cells = (
      weight_dropout(cell, config.weight_dropout) if config.weight_dropout else cell,
    ) * config.num_layers
    return _of_cells(config, cells, vocabulary_size)

  return fit_budget(make, config.hidden_size, config.num_params)


def _of_cells(config, cells, vocabulary_size):
  return language_model(
    cells,
    vocabulary_size,
    embedding_size=config.embedding_size,
    dropout=config.dropout,
    w_init=uniform(config.init_scale) if config.init_scale else lecun_normal(),
    dtype=DTYPES[config.dtype],
  )


def _windows(ids, length, count, key):
  """Returns `count` stretches of a text, [length, count] int32, that begin anywhere in it."""
  if len(ids) < length:
    raise InputError(f'the text to analyse has {len(ids)} symbols, expected {length} at least')
  starts = jax.random.randint(key, (count,), 0, len(ids) - length + 1)
  return ids[np.arange(length)[:, None] + np.asarray(starts)]
