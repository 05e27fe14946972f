"""Questions about stories: end-to-end memory, entity networks, associations in a tensor, and a
plain LSTM, on bAbI.

  python launch.py --experiment=memory_qa:VARIANT FLAGS
  python launch.py --workdir=DIR --mode=answer --story=FILE --question='Where is John?'

  VARIANT      FLAGS                  time   test error                             commit
  memn2n       1K, 5 seeds            -      mean 16.9 %, 13 tasks above 5 %        eec14cd
  memn2n_task  1K, tasks=2, 10 seeds  -      9.8 %, median of the seeds 10.7 %      33f23ed
  entnet       10K                    -      5 % or less on 18 of 19 tasks          34722ce
  tpr          10K, 20 epochs         -      mean 4.3 % of 19 tasks, 2 above 5 %    67e5275
  lstm         1K                     -      not yet run
  debug                               11 s   nothing is learned in 60 steps

1K is --config.data.path=babi_v1.2_en.tar.gz, with 1,000 questions a task, 10K the same with
10,000; tasks=2 is --config.data.tasks=2. Seed 0; `experiments.Variant` says what the times are.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rnn_research.cells import CELLS, make_cell, options_for, options_of
from rnn_research.data.babi import PASSED, read_tasks
from rnn_research.data.codec import PAD
from rnn_research.engines import dispatch
from rnn_research.errors import require, require_one_of
from rnn_research.experiment import Experiment, Vocabulary
from rnn_research.losses import cross_entropy
from rnn_research.models.entity_network import entity_network, story_reader
from rnn_research.models.memory_network import TYINGS, memory_network
from rnn_research.models.tensor_network import NUM_HOPS, tensor_network
from rnn_research.tasks.memory_qa import answering, corpus
from rnn_research.training.config import base_config, rows_per_step
from rnn_research.training.progress import warn

VARIANTS = {
  'memn2n': 'end-to-end memory of 3 hops, on all tasks at once (the default)',
  'memn2n_task': 'the same, smaller, for a single task, the first',
  'entnet': 'entity network of 20 slots, for a single task, the first',
  'tpr': 'TPR-RNN: associations in a tensor of order 3, on all tasks at once',
  'lstm': 'an LSTM that reads the story word by word',
  'debug': ('end-to-end memory of 8 numbers on stories that are made', '11 s'),
}
COMMANDS = answering.COMMANDS
PLACES = ('data.path',)
MOVABLE = PLACES

_BY_SENTENCE = ('memn2n', 'entnet', 'tpr')
_HELD_OUT = ('valid', 'test')


def get_config(variant: str = 'memn2n') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  config = base_config()
  config.data = ConfigDict(
    {
      'path': '',  # folder, .tar.gz or folder in a .tar.gz, of bAbI for 1,000 or 10,000 questions
      'tasks': 'all',  # numbers with commas, or all that have a training and a test file
      'made': 0,  # stories of task 1 that are made, in place of those of `path`; 0 is none
      'max_sentences': 50,  # of longer stories the last ones are read
      'buckets': 1,  # shapes of batches, each of stories of like length; 1 mixes all lengths
    }
  )
  config.model = ConfigDict(
    {
      'name': 'memn2n',  # memn2n, entnet, tpr, or of `--list --cells` a cell that reads every word
      'size': 50,  # D, numbers of an embedding, and units of a cell
      'num_hops': 3,  # memn2n: K; tpr has 3
      'tying': 'adjacent',  # memn2n: adjacent, layerwise
      'position': True,  # memn2n: position encoding; False is a bag of words
      'linear_epochs': 0,  # memn2n: epochs of linear start, without the softmax over sentences
      'noise': 0.0,  # memn2n: share of empty slots put into a story while training
      'relu': False,  # memn2n: whether a ReLU follows every hop
      'num_slots': 20,  # entnet: M
      'entity_size': 90,  # tpr: E
      'relation_size': 20,  # tpr: R
      'hidden_size': 40,  # tpr: units of the layer of each network that makes entities or relations
      'forget_bias': 1.0,  # of an LSTM
      'engine': 'auto',  # form of the recurrence of a cell that reads every word, see there
    }
  )
  del config.train.show_steps
  config.update(_CHANGES[variant])
  return config.lock()


# The paper sums gradients over a batch of 32, with a rate of .005 with linear start and a norm of
# 40; means are that much smaller.
_MEMN2N: dict[str, dict[str, Any]] = {
  'model': {'linear_epochs': 30, 'noise': 0.1},
  'optimizer': {
    'name': 'sgd',
    'learning_rate': 0.16,
    'clip_norm': 1.25,
    'schedule': 'exponential',
    'decay_factor': 0.5,
    'decay_after': 45,
    'decay_every': 15,
  },
  'train': {'batch_size': 32, 'epochs': 90, 'eval_every': 2810, 'log_every': 500},
}
_CHANGES = {
  'memn2n': _MEMN2N,
  'memn2n_task': {
    'data': {'tasks': '1'},
    'model': {**_MEMN2N['model'], 'size': 20, 'linear_epochs': 20},
    'optimizer': {**_MEMN2N['optimizer'], 'decay_after': 45, 'decay_every': 25},
    'train': {**_MEMN2N['train'], 'epochs': 120, 'eval_every': 0, 'log_every': 100},
  },
  'entnet': {
    'data': {'tasks': '1', 'max_sentences': 70, 'buckets': 4},
    'model': {'name': 'entnet', 'size': 100},
    'optimizer': {
      'learning_rate': 0.01,
      'clip_norm': 1.25,
      'schedule': 'exponential',
      'decay_factor': 0.5,
      'decay_after': 25,
      'decay_every': 25,
    },
    'train': {'batch_size': 32, 'epochs': 200, 'log_every': 100},
  },
  # The released code: Nadam at .001, halved once where the validation loss is below .1.
  'tpr': {
    'data': {'max_sentences': 100, 'buckets': 6},
    'model': {'name': 'tpr', 'size': 100},
    'optimizer': {
      'learning_rate': 1e-3,
      'clip_norm': 5.0,
      'schedule': 'cosine',
      'warmup_steps': 200,
    },
    'train': {'batch_size': 32, 'epochs': 30, 'log_every': 100},
  },
  'lstm': {
    'data': {'buckets': 4},
    'model': {'name': 'lstm', 'size': 100},
    'optimizer': {'learning_rate': 1e-3, 'clip_norm': 1.0},
    'train': {'batch_size': 32, 'epochs': 60, 'log_every': 100},
  },
  'debug': {
    'data': {'made': 200},
    'model': {'size': 8, 'linear_epochs': 2, 'noise': 0.1},
    'optimizer': {'learning_rate': 0.02},
    'train': {'batch_size': 10, 'steps': 60, 'eval_every': 20, 'log_every': 10},
  },
}


def check(config: ConfigDict) -> None:
  """Raises InputError for a field out of range."""
  data, model = config.data, config.model
  tasks, made = read_tasks(data.tasks), data.made > 0
  require('data.path', data.path, not (made and data.path), "'' where data.made makes the stories")
  require('data.tasks', data.tasks, not made or 1 in tasks, 'all or 1, where data.made makes it')
  require_one_of('model.name', model.name, (*_BY_SENTENCE, *CELLS))
  if model.name in _BY_SENTENCE:
    require('model.engine', model.engine, model.engine == 'auto', f"'auto' for {model.name}")
  else:
    dispatch.check_engine('model.engine', model.engine, CELLS[model.name](1), model.name)
  require_one_of('model.tying', model.tying, TYINGS)
  require('data.made', data.made, data.made >= 0, 'an integer >= 0 (0 reads data.path)')
  for block, field in (
    (data, 'max_sentences'),
    (data, 'buckets'),
    (model, 'size'),
    (model, 'num_hops'),
    (model, 'num_slots'),
    (model, 'entity_size'),
    (model, 'relation_size'),
    (model, 'hidden_size'),
  ):
    name = f'{"data" if block is data else "model"}.{field}'
    require(name, block[field], block[field] >= 1, 'an integer >= 1')
  require('model.linear_epochs', model.linear_epochs, model.linear_epochs >= 0, 'an integer >= 0')
  require('model.noise', model.noise, 0.0 <= model.noise <= 1.0, 'a number in [0, 1]')


_READ = {
  'memn2n': ('num_hops', 'tying', 'position', 'linear_epochs', 'noise', 'relu'),
  'entnet': ('num_slots',),
  'tpr': ('entity_size', 'relation_size', 'hidden_size'),
}


def unused(config: ConfigDict) -> dict[str, str]:
  """Returns the fields that are not read -> by what."""
  name = config.model.name
  fields = [field for owner, own in _READ.items() if owner != name for field in own]
  if name in _BY_SENTENCE or 'forget_bias' not in options_of(name):
    fields.append('forget_bias')
  return {f'model.{field}': f'by {name}' for field in fields}


def kept_bytes(config: ConfigDict) -> int:
  """Returns roughly what a step keeps for its backward pass."""
  model, sentences = config.model, config.data.max_sentences
  per_sentence = {
    'memn2n': 4 * model.size + 500,
    'entnet': 6 * model.size * model.num_slots,
    # Of each of the three that a sentence writes: four rows of matrices over all of them, and its
    # vectors before and behind the tanh, looked up and found.
    'tpr': 3 * (4 * 3 * sentences + 6 * (model.entity_size + model.relation_size)),
  }
  rows = rows_per_step(config)
  return 4 * rows * sentences * per_sentence.get(model.name, 7 * 8 * model.size)


def build(config: ConfigDict, assets: dict | None = None) -> Experiment:
  """Makes the experiment.

  Args:
    config: of `get_config`.
    assets: of a trained model: its vocabulary.

  Raises:
    InputError: data that cannot be used.
  """
  load = functools.cache(lambda: corpus.load(config.data))
  vocabulary = (
    corpus.from_json(assets['vocabulary'])
    if assets
    else corpus.make_vocabulary(load(), config.data.max_sentences)
  )
  model, engine = _make_model(config.model, vocabulary, len(vocabulary.words))
  hops = {'memn2n': config.model.num_hops, 'tpr': NUM_HOPS}.get(config.model.name, 0)

  @functools.cache
  def encoded(split):
    questions = load().splits[split]
    if said := corpus.left_out(vocabulary, questions):
      warn(f'{split} questions: {said}')
    return corpus.encode(vocabulary, questions)

  def train_data():
    for split in _HELD_OUT:
      encoded(split)  # says now, not at the first evaluation, what is left out of them
    size, buckets = config.train.batch_size, config.data.buckets
    data = corpus.train_data(encoded('train'), vocabulary, size, buckets, config.seed)
    return data._replace(about=corpus.about(load(), vocabulary))

  steps_per_epoch = functools.cache(lambda: train_data().steps_per_epoch)

  def outputs(params, batch, **options):
    ids = (batch[name].astype(jnp.int32) for name in ('stories', 'questions'))
    return model.outputs(params, *ids, **options)

  def loss(params, carry, batch, key, step):
    linear = step < config.model.linear_epochs * steps_per_epoch()
    logits, _ = outputs(params, batch, linear=linear, key=key)
    losses = cross_entropy(logits, batch['answers'])
    right = (logits.argmax(-1) == batch['answers']).astype(jnp.float32)
    return losses.sum(), (jnp.float32(len(losses)), carry, {'error': (100 * (1 - right)).sum()})

  @jax.jit
  def answered(params, batch):
    logits, _ = outputs(params, batch)
    answers = batch['answers']
    known = answers != PAD
    right = (logits.argmax(-1) == answers) & known
    return right, jnp.where(known, cross_entropy(logits, answers), jnp.inf)

  @jax.jit
  def explain(params, batch):
    logits, weights = outputs(params, batch)
    return jax.nn.softmax(logits), weights

  batches = functools.cache(
    lambda split: [
      (places, jax.device_put(batch)) for places, batch in corpus.evaluation_batches(encoded(split))
    ]
  )

  def errors(split, params):
    tasks = encoded(split).tasks
    right, nats = np.zeros((2, len(tasks)))
    found = [(places, answered(params, batch)) for places, batch in batches(split)]
    for places, (is_right, lost) in found:
      right[places], nats[places] = is_right[: len(places)], lost[: len(places)]
    return _errors(right, nats, tasks)

  def measure(split, params, key):
    means, of_tasks = errors(split, params)
    return means | {f'error_{task}': error for task, error in of_tasks.items()}

  def measure_quickly(split, params, key):
    means, of_tasks = errors(split, params)
    # As one list: a line for every evaluation names no task.
    return means | {'errors': list(of_tasks.values())}

  def columns_of(params):
    if hops:
      return tuple(f'hop {hop}' for hop in range(1, hops + 1))
    if config.model.name == 'entnet':
      arrays = map(np.asarray, (params['cell'].keys, params['embedding']))
      return answering.slot_names(*arrays, vocabulary.words)
    return ()

  def report(params, workdir, out_dir):
    # Matplotlib is slow to load.
    from rnn_research.tasks.memory_qa.report import AnsweredQuestions, write_report

    readings = answering.read_all(explain, params, encoded('test'))
    held_out = AnsweredQuestions(
      load().splits['test'], readings, vocabulary, columns_of(params), hops > 0
    )
    write_report(held_out, workdir, out_dir)

  answerer = explain, columns_of, vocabulary, config.model.name not in _BY_SENTENCE
  return Experiment(
    init=model.init,
    loss=loss,
    train_data=train_data,
    evaluate={split: functools.partial(measure_quickly, split) for split in _HELD_OUT},
    final_evaluate={split: functools.partial(measure, split) for split in _HELD_OUT},
    headline=('valid', 'expected_error', 'min'),
    assets={'vocabulary': corpus.to_json(vocabulary)},
    report=report,
    commands={'answer': functools.partial(answering.answer, *answerer)},
    engine=engine,
    unit='questions',
    vocabularies={
      'words': Vocabulary(
        'word',
        vocabulary.words,
        lambda size: _make_model(config.model, vocabulary, size)[0].init,
      )
    },
  )


def _make_model(config, vocabulary, num_words):
  """Returns the model and which form of the recurrence it has."""
  if config.name == 'memn2n':
    model = memory_network(
      num_words,
      config.size,
      num_hops=config.num_hops,
      memory_size=vocabulary.num_sentences,
      longest=vocabulary.longest if config.position else 0,
      tying=config.tying,
      noise=config.noise,
      relu=config.relu,
    )
    return model, f'none: {config.num_hops} hops of attention'
  if config.name == 'entnet':
    model = entity_network(
      num_words, config.size, num_slots=config.num_slots, longest=vocabulary.longest
    )
    return model, 'over sentences, with a hand-written backward pass'
  if config.name == 'tpr':
    model = tensor_network(
      num_words,
      config.size,
      entity_size=config.entity_size,
      relation_size=config.relation_size,
      hidden_size=config.hidden_size,
      longest=vocabulary.longest,
    )
    return model, 'whole stories as triangular systems of equations'
  options = options_for(config.name, forget_bias=config.forget_bias)
  cell = make_cell(config.name, config.size, engine=config.engine, **options)
  model = story_reader(cell, num_words, config.size, vocabulary.most_words)
  return model, dispatch.explain(config.name, config.engine, cell.scan)


def _errors(right, nats, tasks):
  """Returns what is measured of N questions, and task -> its error, percent.

  An answer that the model cannot give costs infinitely many nats.

  error            mean over the tasks of their errors, percent
  expected_error   the same of answers drawn from the distribution: it tells apart what is all
                   right, so the best parameters are chosen by it
  failed           tasks with an error above 5 %
  loss             nats per question whose answer the model can give, if there is one
  """
  errors = {int(task): 100 * float(1 - right[tasks == task].mean()) for task in np.unique(tasks)}
  expected = [100 * float(1 - np.exp(-nats[tasks == task]).mean()) for task in errors]
  possible = nats[~np.isposinf(nats)]
  loss = {'loss': float(possible.mean())} if len(possible) else {}
  return {
    'error': float(np.mean(list(errors.values()))),
    'expected_error': float(np.mean(expected)),
    'failed': float(sum(error > PASSED for error in errors.values())),
  } | loss, errors
