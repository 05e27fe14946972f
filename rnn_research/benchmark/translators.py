"""Our translators: training steps as the loop takes them, and sentences translated greedily.
Functions `(setting) -> part -> () -> Program`; see `contenders`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnn_research.benchmark import contenders
from rnn_research.benchmark.contenders import VOCABULARY_SIZE
from rnn_research.benchmark.jax_programs import streamed, training_of
from rnn_research.benchmark.serve import Program, Setting
from rnn_research.cells import make_cell
from rnn_research.data.buckets import EncodedPairs, make_buckets, pair_stream
from rnn_research.data.codec import BOS
from rnn_research.data.sentences import joined
from rnn_research.decoding.single import greedy
from rnn_research.decoding.step import Rules
from rnn_research.experiment import Experiment, TrainData
from rnn_research.models.conditional_loss import LossOptions, training_loss
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.translation.model import SOURCES, example_of, translation_model
from rnn_research.training import backend

_BUCKETS, _ROWS = 6, 8  # shapes of batches, and what their rows are a multiple of: the experiment's
_LOGITS = 3 * 4 * VOCABULARY_SIZE  # bytes kept of a symbol


def training(setting: Setting):
  """An epoch of what the training loop runs."""
  backend.configure(_ROWS, kept_bytes=_LOGITS * setting.unroll_length)
  return {'epoch': lambda: _epoch(setting)}


def translation(setting: Setting, dtype: str = 'float32'):
  """Encoder, decoder and search in one jitted program, as the translator runs them; products in
  `dtype`."""
  backend.configure(1)
  model = translator(setting, setting.hidden_size, dtype=jnp.dtype(dtype))
  translate, sources = writer(model, setting.unroll_length), contenders.sentences(setting)
  params = model.init(jax.random.key(setting.seed), sources)
  return {'greedy': lambda: Program(lambda: jax.device_get(translate(params, sources)))}


def translator(
  setting: Setting, embedding_size: int, dropout: float = 0.0, dtype=jnp.float32
) -> ConditionalModel:
  """Returns the model: of GRUs with additive attention before the step, of LSTMs with input feeding
  and general attention after it; the encoder reads in both directions."""
  decoder, score = {'gru': ('bahdanau', 'additive'), 'lstm': ('luong', 'general')}[setting.cell]
  return translation_model(
    (make_cell(setting.cell, setting.hidden_size, dtype=dtype),) * setting.num_layers,
    (VOCABULARY_SIZE, VOCABULARY_SIZE),
    decoder=decoder,
    score=score,
    hidden_size=setting.hidden_size,
    embedding_size=embedding_size,
    bidirectional=True,
    dropout=dropout,
    dtype=dtype,
  )


def writer(model: ConditionalModel, num_symbols: int) -> Callable:
  """Returns `(params, sources [B, S] int32) -> Hypotheses`, which writes T symbols a row."""

  @jax.jit
  def translate(params, sources):
    encoded, num_rows = model.encode(params, sources), len(sources)
    step, rules = model.stepper(params, encoded, 1), Rules(num_symbols, contenders.NEVER_WRITTEN)
    first, limits = jnp.full(num_rows, BOS), jnp.full(num_rows, num_symbols)
    return greedy(step, encoded.states, first, limits, rules)

  return translate


def batches(setting: Setting) -> TrainData:
  """Returns the batches of `contenders.pairs`."""
  pairs = EncodedPairs(*map(joined, contenders.pairs(setting)))
  buckets = make_buckets(pairs, _BUCKETS, setting.unroll_length, _ROWS)
  return pair_stream(pairs, buckets, setting.seed, '')


def _epoch(setting):
  data = batches(setting)
  model = translator(setting, setting.hidden_size // 2, contenders.TRANSLATION_DROPOUT)

  def loss(params, carry, batch, key, step):
    total, weight, sums = training_loss(model, LossOptions(), params, example_of(batch), key, step)
    return total, (weight, carry, sums)

  experiment = Experiment(
    init=lambda key: model.init(key, SOURCES),
    loss=loss,
    train_data=lambda: data,
    evaluate={},
    headline=('train', 'loss', 'min'),
  )
  rows = setting._replace(batch_size=_ROWS)
  training = training_of(rows, experiment, contenders.TRANSLATION_CLIP_NORM)
  return streamed(training, data, data.steps_per_epoch)
