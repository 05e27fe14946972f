"""Our greedy translation of a whole batch, `(setting) -> part -> () -> Program`; see
`contenders`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnn_research.benchmark.contenders import NEVER_WRITTEN, VOCABULARY_SIZE, Setting, sentences
from rnn_research.benchmark.serve import Program
from rnn_research.cells import gru
from rnn_research.decoding import search
from rnn_research.encoders.recurrent import Encoder
from rnn_research.memory.attention import additive
from rnn_research.models.conditional_model import EncoderDecoder, encoder_decoder
from rnn_research.models.decoders import attends_before
from rnn_research.training import backend


def greedy(setting: Setting):
  """Encoder, decoder and search in one jitted program, as the translator runs them."""
  backend.configure(1)
  model, translate = translator(setting)
  params, sources = model.init(jax.random.key(setting.seed)), sentences(setting)
  return {'greedy': lambda: Program(lambda: jax.device_get(translate(params, sources)))}


def translator(setting: Setting) -> tuple[EncoderDecoder, Callable]:
  """Returns the model and `translate(params, sources [B, S] int32) -> search.Found`, which writes T
  symbols a row."""
  size, length = setting.hidden_size, setting.unroll_length
  cells = (gru(size),)
  model = encoder_decoder(
    Encoder(cells, cells),
    attends_before(cells, additive(size)),
    (VOCABULARY_SIZE, VOCABULARY_SIZE),
    size,
  )

  @jax.jit
  def translate(params, sources):
    num_rows, num_positions = sources.shape
    encoded = model.encode(params, sources, jnp.full(num_rows, num_positions))
    return search.greedy(
      model.stepper(params, encoded, 1),
      encoded.states,
      num_rows,
      jnp.full(num_rows, length),
      length,
      NEVER_WRITTEN,
    )

  return model, translate
