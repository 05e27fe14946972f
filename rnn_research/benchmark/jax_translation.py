"""Our greedy translation of a whole batch, `(setting) -> part -> () -> Program`; see
`contenders`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnn_research.benchmark.contenders import NEVER_WRITTEN, VOCABULARY_SIZE, Setting, sentences
from rnn_research.benchmark.serve import Program
from rnn_research.cells import gru
from rnn_research.data.codec import BOS
from rnn_research.decoding import single
from rnn_research.decoding.step import Rules
from rnn_research.encoders.recurrent import embedded, recurrent_encoder
from rnn_research.memory.attention import additive
from rnn_research.models.conditional_model import ConditionalModel, conditional_model
from rnn_research.models.decoders import attends_before
from rnn_research.training import backend


def greedy(setting: Setting):
  """Encoder, decoder and search in one jitted program, as the translator runs them."""
  backend.configure(1)
  model, translate = translator(setting)
  sources = sentences(setting)
  params = model.init(jax.random.key(setting.seed), sources)
  return {'greedy': lambda: Program(lambda: jax.device_get(translate(params, sources)))}


def translator(setting: Setting) -> tuple[ConditionalModel, Callable]:
  """Returns the model and `translate(params, sources [B, S] int32) -> Hypotheses`, which writes T
  symbols a row."""
  size, length = setting.hidden_size, setting.unroll_length
  cells = (gru(size),)
  encoder = embedded(recurrent_encoder(cells, cells), VOCABULARY_SIZE, size)
  model = conditional_model(encoder, attends_before(cells, additive(size)), VOCABULARY_SIZE, size)

  @jax.jit
  def translate(params, sources):
    encoded, num_rows = model.encode(params, sources), len(sources)
    return single.greedy(
      model.stepper(params, encoded, 1),
      encoded.states,
      jnp.full(num_rows, BOS),
      jnp.full(num_rows, length),
      Rules(length, NEVER_WRITTEN),
    )

  return model, translate
