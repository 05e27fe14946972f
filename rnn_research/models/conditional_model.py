"""The conditional model: an encoder reads whatever it reads, a decoder writes symbol by symbol."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import normal

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.combinators.depth import stack
from rnn_research.encoders.encoder import Encoded, Encoder
from rnn_research.models.bridge import bridge
from rnn_research.models.decoders import Decoder
from rnn_research.models.readout import readout
from rnn_research.stepping import free_run, prepare_cell, project_one, repeat_rows
from rnn_research.typing import Array, Key, Params, PyTree
from rnn_research.unroll import unroll_layers


class ConditionalModel(NamedTuple):
  """p(y_i | y_<i, x) = softmax(logits_i): a translator, a captioner, whatever the encoder reads.

  Attributes:
    init: `(key, inputs) -> params`; `inputs` are those of the encoder, arrays or shapes.
    encode: `(params, inputs, mask=None, key=None) -> Encoded`, its `states` those of the decoder's
      cells before the first step; `inputs` and `mask` as of the encoder.
    teach: `(params, encoded, ids [T, B] int32, key=None) -> (logits [T, B, V], extras)`: teacher
      forcing; extras are name -> [T, B, ...], what the decoder tells of each step. The memory of
      `encoded` may have fewer rows, B / K, see `memory.attention.weigh`.
    student: `(params, encoded, ids [T, B] int32, rate, key) -> logits [T, B, V]`: with probability
      `rate` an input is not the given symbol but one drawn from the model's prediction of it.
    stepper: `(params, encoded, copies) -> step`, the contract of `decoding.step` with N = B *
      copies, the copies of a row side by side.
  """

  init: Callable[..., Params]
  encode: Callable[..., Encoded]
  teach: Callable
  student: Callable
  stepper: Callable


def conditional_model(
  encoder: Encoder,
  decoder: Decoder,
  vocabulary_size: int,
  embedding_size: int,
  *,
  readout_size: int = 0,
  tied: bool = False,
  dropout: float = 0.0,
  dtype=jnp.float32,
) -> ConditionalModel:
  """Makes the model.

    memory, summary = encoder(x),    s_0 = bridge(states, summary)
    h_i, s_i = decoder(E y_{i-1}, s_{i-1}),    logits_i = readout(features(h_i))

  See `models.bridge`, `models.decoders` and `models.readout` for the parts.

  Args:
    encoder: reads the input.
    decoder: writes the target.
    vocabulary_size: V, of the target.
    embedding_size: of E.
    readout_size: R, units of the readout's hidden layer; 0: none.
    tied: whether the output matrix is the embedding; needs R to be its size.
    dropout: rate on embeddings, between the decoder's layers and in the readout, active when there
      is a key.
    dtype: precision of the products of bridge and readout.

  Raises:
    ValueError: `tied` where R is not the size of the embedding.

  Source: Sutskever et al. 2014; scheduled sampling Bengio et al. 2015 (arXiv 1506.03099). Deviates
  from the papers: see the parts.
  """
  if tied and readout_size != embedding_size:
    raise ValueError(
      f'tied embeddings of size {embedding_size} need a readout of that size, found {readout_size}'
    )
  start = bridge(decoder.layers, dtype=dtype)
  output = readout(vocabulary_size, size=readout_size, tied=tied, dropout=dropout, dtype=dtype)
  writer = _writer(decoder, output, dropout)

  def init(key, inputs):
    keys = jax.random.split(key, 5)
    table = normal(embedding_size**-0.5)(keys[1], (vocabulary_size, embedding_size), jnp.float32)
    params = {'encoder': encoder.init(keys[0], inputs), 'embedding': table}
    read = jax.eval_shape(encoder.encode, params['encoder'], inputs)
    params['bridge'] = start.init(keys[2], read)
    zeros = jax.tree.map(jnp.zeros_like, read)
    rows = len(read.summary)
    x = decoder.inputs(jnp.zeros((rows, embedding_size)), zeros.summary)
    params['decoder'] = stack(*decoder.cells).init(keys[3], x, decoder.context(zeros.memory))
    encoded = jax.tree.map(jnp.zeros_like, jax.eval_shape(encode, params, inputs))
    ids = jnp.zeros((1, rows), jnp.int32)
    features = jax.eval_shape(lambda params: _run(params, encoded, ids, None)[0], params)
    return params | {'readout': output.init(keys[4], features.shape[-1])}

  def encode(params, inputs, mask=None, key=None):
    encoded = encoder.encode(params['encoder'], inputs, mask, key=key)
    states = start.start(params['bridge'], encoded)
    states = decoder.begin(params['decoder'], encoded._replace(states=states))
    return encoded._replace(states=states)

  def _run(params, encoded, ids, key):
    """Returns features [T, B, R] and extras [T, B, ...] of all steps, layer by layer."""
    key_e, key_d = (None, None) if key is None else jax.random.split(key)
    xs = layers.dropout(key_e, layers.embed(params['embedding'], ids), dropout)
    _, ys = unroll_layers(
      decoder.cells,
      params['decoder'],
      decoder.inputs(xs, encoded.summary),
      encoded.states,
      dropout=dropout,
      key=key_d,
      ctx=decoder.context(encoded.memory),
    )
    return decoder.features(xs, ys, encoded.summary), decoder.extras(ys)

  def teach(params, encoded, ids, key=None):
    key_r, key_o = (None, None) if key is None else jax.random.split(key)
    features, extras = _run(params, encoded, ids, key_r)
    return output.logits(params['readout'], params['embedding'], features, key_o), extras

  def student(params, encoded, ids, rate, key):
    return _student(writer, params, encoded, ids, rate, key)

  def stepper(params, encoded, copies):
    return _stepper(writer, params, repeat_rows(encoded, copies))

  return ConditionalModel(init, encode, teach, student, stepper)


class _Written(NamedTuple):
  logits: Array  # [B, V] float32
  extras: dict[str, Array]  # [B, ...]


def _writer(decoder: Decoder, output: PyTree, dropout: float) -> Cell:
  """Returns embedding, decoder and readout as one cell from symbols [B] int32 to `_Written`."""
  cell = stack(*decoder.cells, dropout=dropout)

  def step(params, state, u, *, key=None, ctx=None):
    keys = [None] * 3 if key is None else jax.random.split(key, 3)
    constants, summary = ctx
    x = layers.dropout(keys[0], layers.embed(params['embedding'], u), dropout)
    inputs = project_one(cell, params['decoder'], decoder.inputs(x, summary))
    state, y = cell.step(params['decoder'], state, inputs, key=keys[1], ctx=constants)
    features = decoder.features(x, y, summary)
    logits = output.logits(params['readout'], params['embedding'], features, keys[2])
    return state, _Written(logits, decoder.extras(y))

  def prepare(params, ctx, batch_size, *, key=None):
    prepared, constants = prepare_cell(
      cell, params['decoder'], decoder.context(ctx.memory), batch_size, key
    )
    return params | {'decoder': prepared}, (constants, ctx.summary)

  # Parameters and the state at first are the model's.
  writer = Cell(None, None, lambda params, xs: xs, step, None, prepare)  # type: ignore[arg-type]
  return writer._replace(noisy=dropout > 0 or cell.noisy)


def _student(writer: Cell, params: Params, encoded: Encoded, ids: Array, rate: Array, key: Key):
  """Returns logits [T, B, V] of a decoder that reads some of its own symbols."""
  key_o, key_d, key_c = jax.random.split(key, 3)
  own = jax.random.bernoulli(key_o, rate, ids.shape)

  def feed(y, following):
    given, own, key = following
    return jnp.where(own, jax.random.categorical(key, y.logits), given), y.logits

  following = jnp.roll(ids, -1, 0), own, jax.random.split(key_d, len(ids))
  return free_run(
    writer,
    params,
    encoded.states,
    ids[0],
    feed,
    len(ids),
    key=key_c,
    feed_inputs=following,
    ctx=encoded,
  )[1]


def _stepper(writer: Cell, params: Params, encoded: Encoded) -> Callable:
  """Returns the step of `decoding.step` over rows that are encoded already."""
  prepared, ctx = prepare_cell(writer, params, encoded, len(encoded.summary), None)

  def step(states, ids):
    states, y = writer.step(prepared, states, ids, ctx=ctx)
    return states, jax.nn.log_softmax(y.logits, -1), y.extras

  return step
