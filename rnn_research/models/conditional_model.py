"""Sequence to sequence: an encoder reads the source, a decoder writes the target symbol by
symbol."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, normal

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.combinators.depth import stack
from rnn_research.decoding.beam import repeat_rows
from rnn_research.encoders.recurrent import Encoder, init_encoder, run_encoder
from rnn_research.memory.attention import Memory
from rnn_research.models.decoders import Decoder
from rnn_research.stepping import free_run, prepare_cell, project_one
from rnn_research.typing import Array, Key, Params, State
from rnn_research.unroll import length_mask, unroll_layers


class Encoded(NamedTuple):
  """What the decoder knows of the source.

  Attributes:
    states: of the decoder's cells before the first step, leaves [B, ...].
    memory: values [B, S, M], the encoder's outputs.
    summary: [B, Z] float32, the encoder's last h, of both directions where there are two.
  """

  states: tuple[State, ...]
  memory: Memory
  summary: Array


class EncoderDecoder(NamedTuple):
  """p(y_i | y_<i, x) = softmax(logits_i).

  Attributes:
    init: `(key) -> params`.
    encode: `(params, sources [B, S] int32, lengths [B] int32, key=None) -> Encoded`.
    teach: `(params, encoded, inputs [T, B] int32, key=None) -> (logits [T, B, V], weights [T, B,
      S])`: teacher forcing.
    student: `(params, encoded, inputs [T, B] int32, rate, key) -> logits [T, B, V]`: with
      probability `rate` an input is not the given symbol but one drawn from the model's prediction
      of it.
    stepper: `(params, encoded, copies) -> step` for `search`, `step(states, ids [N] int32) ->
      (states, log p [N, V], weights [N, S])` with N = B * copies, the copies of a row side by side.
  """

  init: Callable[[Key], Params]
  encode: Callable
  teach: Callable
  student: Callable
  stepper: Callable


def encoder_decoder(
  encoder: Encoder,
  decoder: Decoder,
  vocabulary_sizes: tuple[int, int],
  embedding_size: int,
  *,
  readout_size: int = 0,
  tied: bool = False,
  dropout: float = 0.0,
  dtype=jnp.float32,
) -> EncoderDecoder:
  """Makes the model.

    h_j, summary = encoder(E_s w_j),    s_0 = bridge(summary),
    y_i, s_i = decoder(E_t w_{i-1}, s_{i-1})
    t_i = features(y_i), with a readout tanh(features(y_i) W_r + b_r);    logits_i = t_i W + b,
    W = E_t^T if tied

  Where the encoder has one direction and the decoder's states are like its own, s_0 is its last
  state; elsewhere every leaf of s_0 is tanh(summary W_s + b_s).

  Args:
    encoder: reads the source.
    decoder: writes the target.
    vocabulary_sizes: of source and target.
    embedding_size: E.
    readout_size: R, units of the readout; 0: none.
    tied: whether the output matrix is the target embedding; needs R = E.
    dropout: rate on embeddings, between layers, on the memory and on t, active when there is a key.
    dtype: precision of the products of bridge, readout and output.

  Raises:
    ValueError: `tied` where R is not E.

  Source: Sutskever et al. 2014; bridge Bahdanau et al. 2015, appendix A.2.2; tied embeddings Press
  and Wolf 2017; scheduled sampling Bengio et al. 2015 (arXiv 1506.03099). Deviates from the papers:
  the bridge sees both directions.
  """
  if tied and readout_size != embedding_size:
    raise ValueError(
      f'tied embeddings of size {embedding_size} need a readout of that size, found {readout_size}'
    )

  def init(key):
    keys = jax.random.split(key, 7)
    embedding = normal(embedding_size**-0.5)
    params = {
      'source': embedding(keys[0], (vocabulary_sizes[0], embedding_size), jnp.float32),
      'target': embedding(keys[1], (vocabulary_sizes[1], embedding_size), jnp.float32),
      'encoder': init_encoder(keys[2], encoder, embedding_size),
    }
    ids, lengths = jnp.zeros((1, 1), jnp.int32), jnp.ones(1, jnp.int32)
    ends, _, summary = jax.eval_shape(lambda params: _read(params, ids, lengths, None), params)
    params |= _init_bridge(keys[3], decoder.layers, ends, summary.shape[-1])
    encoded = jax.tree.map(jnp.zeros_like, jax.eval_shape(encode, params, ids, lengths))
    x = decoder.inputs(jnp.zeros((1, embedding_size)), encoded.summary)
    params['decoder'] = stack(*decoder.cells).init(keys[4], x, decoder.context(encoded.memory))
    features = jax.eval_shape(lambda params: _run(params, encoded, ids, None)[0], params)
    return params | _init_output(keys[5:], features.shape[-1])

  def _init_output(keys, size):
    readout = {'readout': _init_dense(keys[0], size, readout_size)} if readout_size else {}
    head = _init_dense(keys[1], readout_size or size, vocabulary_sizes[1])
    return readout | {'head': {'b': head['b']} if tied else head}

  def _read(params, sources, lengths, key):
    key_e, key_r = (None, None) if key is None else jax.random.split(key)
    xs = layers.dropout(key_e, layers.embed(params['source'], sources.T), dropout)
    return run_encoder(
      encoder, params['encoder'], xs, length_mask(lengths, sources.shape[1]), dropout, key_r
    )

  def encode(params, sources, lengths, key=None):
    key_r, key_m = (None, None) if key is None else jax.random.split(key)
    ends, hs, summary = _read(params, sources, lengths, key_r)
    states = (
      _bridge(params['bridge'], summary, dtype)
      if 'bridge' in params
      else tuple(end for (end,) in ends)
    )
    values = layers.dropout(key_m, jnp.moveaxis(hs, 0, 1), dropout)
    memory = Memory(values, length_mask(lengths, sources.shape[1]).T)
    return Encoded(decoder.begin(states), memory, summary)

  def _run(params, encoded, inputs, key):
    """Returns features [T, B, R] and weights [T, B, S]."""
    key_e, key_d = (None, None) if key is None else jax.random.split(key)
    xs = layers.dropout(key_e, layers.embed(params['target'], inputs), dropout)
    _, ys = unroll_layers(
      decoder.cells,
      params['decoder'],
      decoder.inputs(xs, encoded.summary),
      encoded.states,
      dropout=dropout,
      key=key_d,
      ctx=decoder.context(encoded.memory),
    )
    return decoder.features(xs, ys, encoded.summary), decoder.weights(ys)

  def logits(params, features, key=None):
    key_f, key_t = (None, None) if key is None else jax.random.split(key)
    if readout_size:
      features = jnp.tanh(
        layers.dense(params['readout'], layers.dropout(key_f, features, dropout), dtype)
      )
    w = params['target'].T if tied else params['head']['w']
    return layers.affine(layers.dropout(key_t, features, dropout), w, params['head']['b'], dtype)

  def teach(params, encoded, inputs, key=None):
    key_r, key_o = (None, None) if key is None else jax.random.split(key)
    features, weights = _run(params, encoded, inputs, key_r)
    return logits(params, features, key_o), weights

  def student(params, encoded, inputs, rate, key):
    key_o, key_d, key_c = jax.random.split(key, 3)
    own = jax.random.bernoulli(key_o, rate, inputs.shape)

    def feed(y, following):
      given, own, key = following
      return jnp.where(own, jax.random.categorical(key, y.logits), given), y.logits

    following = jnp.roll(inputs, -1, 0), own, jax.random.split(key_d, len(inputs))
    return free_run(
      writer,
      params,
      encoded.states,
      inputs[0],
      feed,
      len(inputs),
      key=key_c,
      feed_inputs=following,
      ctx=encoded,
    )[1]

  def stepper(params, encoded, copies):
    encoded = repeat_rows(encoded, copies)
    prepared, ctx = prepare_cell(writer, params, encoded, len(encoded.summary), None)

    def step(states, ids):
      states, y = writer.step(prepared, states, ids, ctx=ctx)
      return states, jax.nn.log_softmax(y.logits, -1), y.weights

    return step

  writer = _writer(decoder, logits, dropout)
  return EncoderDecoder(init, encode, teach, student, stepper)


class Written(NamedTuple):
  logits: Array  # [B, V] float32
  weights: Array  # [B, S] float32


def _writer(decoder, logits, dropout):
  """Returns the decoder, its embedding and its output as one cell from symbols [B] int32 to
  `Written`."""
  cell = stack(*decoder.cells, dropout=dropout)

  def step(params, state, u, *, key=None, ctx=None):
    keys = [None] * 3 if key is None else jax.random.split(key, 3)
    constants, summary = ctx
    x = layers.dropout(keys[0], layers.embed(params['target'], u), dropout)
    inputs = project_one(cell, params['decoder'], decoder.inputs(x, summary))
    state, y = cell.step(params['decoder'], state, inputs, key=keys[1], ctx=constants)
    return state, Written(
      logits(params, decoder.features(x, y, summary), keys[2]), decoder.weights(y)
    )

  def prepare(params, ctx, batch_size, *, key=None):
    prepared, constants = prepare_cell(
      cell, params['decoder'], decoder.context(ctx.memory), batch_size, key
    )
    return params | {'decoder': prepared}, (constants, ctx.summary)

  return Cell(None, None, lambda params, xs: xs, step, None, prepare)


def _init_bridge(key, decoder_layers, ends, summary_size):
  """Returns no parameters where the encoder's last states can be the decoder's first."""
  x = jax.ShapeDtypeStruct((1, 1), jnp.float32)
  first = tuple(
    jax.eval_shape(lambda k, c=c: c.initial_state(c.init(k, x), 1), key) for c in decoder_layers
  )
  if first == tuple(end[0] for end in ends if len(end) == 1):
    return {}
  leaves, structure = jax.tree.flatten(first)
  keys = jax.random.split(key, len(leaves))
  return {
    'bridge': jax.tree.unflatten(
      structure,
      [_init_dense(k, summary_size, leaf.shape[-1]) for k, leaf in zip(keys, leaves, strict=True)],
    )
  }


def _bridge(params, summary, dtype):
  is_dense = lambda a: isinstance(a, dict)
  return jax.tree.map(lambda p: jnp.tanh(layers.dense(p, summary, dtype)), params, is_leaf=is_dense)


def _init_dense(key, size, units):
  return {'w': lecun_normal()(key, (size, units), jnp.float32), 'b': jnp.zeros(units, jnp.float32)}
