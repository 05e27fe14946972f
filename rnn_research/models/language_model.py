"""A recurrent language model over symbols, as pure functions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import lecun_normal

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.combinators.depth import stack
from rnn_research.losses import cross_entropy
from rnn_research.stepping import prepare_cell, project_one
from rnn_research.typing import Array, Key, Params, PyTree, State
from rnn_research.unroll import unroll_layers

# Evaluation runs in chunks that keep the logits below this many numbers.
_LOGITS_LIMIT = 2**22


class LanguageModel(NamedTuple):
  """p(x_{t+1} | x_1..x_t) = softmax(h_t W + b), h from a stack of cells over embedded or one-hot
  symbols.

  Attributes:
    cells: L recurrences.
    vocabulary_size: V.
    init: `(key) -> params`.
    initial_state: `(params, batch_size) -> states`, a tuple of L states.
    embed: `(params, ids) -> xs`, [...] int32 to [..., E] float32.
    logits: `(params, hs) -> logits`, [..., H] to [..., V] float32.
    unroll: `(params, states, ids, *, key=None, mask=None) -> (states, hs)`, ids [T, B] int32, hs
      [T, B, H].
    read: `(params, ids) -> (states, log p [B, V] of the next symbols)` after a prompt [P, B] int32.
    prepare: `(params, batch_size) -> Prepared`, what steps one symbol at a time share.
    stepper: `(prepared) -> step`, the contract of `decoding.step`.
  """

  cells: tuple[Cell, ...]
  vocabulary_size: int
  init: Callable
  initial_state: Callable
  embed: Callable
  logits: Callable
  unroll: Callable
  read: Callable
  prepare: Callable
  stepper: Callable


class Prepared(NamedTuple):
  """What the steps of a model that writes symbol by symbol share.

  Attributes:
    params: of the model.
    cells: parameters of the cells, as one unroll reads them.
    ctx: constants of the cells.
    symbols: the projected symbols of the first layer, leaves [V, ...], or None where that is a
      large table: looking a symbol up reads one row, projecting it reads all of W_x.
  """

  params: Params
  cells: Params
  ctx: PyTree
  symbols: PyTree


def language_model(
  cells: tuple[Cell, ...],
  vocabulary_size: int,
  *,
  embedding_size: int = 0,
  dropout: float = 0.0,
  w_init: Callable = lecun_normal(),
  dtype=jnp.float32,
) -> LanguageModel:
  """Makes a language model.

  Args:
    cells: the layers, first to last.
    vocabulary_size: V.
    embedding_size: E; 0 gives the cells one-hot symbols, which equals an embedding folded into the
      first W_x.
    dropout: rate on the vertical connections: the embedding, between layers, and before the
      softmax; not on one-hot inputs and never on a state.
    w_init: initialiser of the embedding [V, E] and of W [H, V].
    dtype: precision of the output product.

  Source: Zaremba et al. 2014 for the places of dropout. Deviates from the paper: biases start at
  zero.
  """

  def init(key):
    key_e, key_c, key_h = jax.random.split(key, 3)
    size = embedding_size or vocabulary_size
    cell_params = stack(*cells).init(key_c, jax.ShapeDtypeStruct((1, size), jnp.float32))
    xs = jax.ShapeDtypeStruct((1, 1, size), jnp.float32)
    hs = jax.eval_shape(lambda params, xs: unroll_layers(cells, params, xs)[1], cell_params, xs)
    head = {
      'w': w_init(key_h, (hs.shape[-1], vocabulary_size), jnp.float32),
      'b': jnp.zeros(vocabulary_size, jnp.float32),
    }
    embedding = (
      {'embedding': w_init(key_e, (vocabulary_size, size), jnp.float32)} if embedding_size else {}
    )
    return {'cells': cell_params, 'head': head, **embedding}

  def initial_state(params, batch_size):
    return tuple(
      cell.initial_state(p, batch_size) for cell, p in zip(cells, params['cells'], strict=True)
    )

  def embed(params, ids):
    if embedding_size:
      return layers.embed(params['embedding'], ids)
    return jax.nn.one_hot(ids, vocabulary_size, dtype=params['head']['w'].dtype)

  def read_in(params, ids):
    return embed(params, ids) if embedding_size else layers.one_hot(ids, vocabulary_size)

  def logits(params, hs):
    return layers.dense(params['head'], hs, dtype)

  def unroll(params, states, ids, *, key=None, mask=None):
    keys = [None] * 3 if key is None else jax.random.split(key, 3)
    xs = read_in(params, ids)
    xs = layers.dropout(keys[0], xs, dropout) if embedding_size else xs
    states, hs = unroll_layers(
      cells, params['cells'], xs, states, dropout=dropout, key=keys[1], mask=mask
    )
    return states, layers.dropout(keys[2], hs, dropout)

  def read(params, ids):
    states, hs = unroll(params, initial_state(params, ids.shape[1]), ids)
    return states, jax.nn.log_softmax(logits(params, hs[-1]), -1)

  def prepare(params, batch_size):
    cell_params, ctx = prepare_cell(cell, params['cells'], None, batch_size, None)
    if vocabulary_size > layers.ONE_HOT_LIMIT:
      return Prepared(params, cell_params, ctx, None)
    symbols = project_one(cell, cell_params, embed(params, jnp.arange(vocabulary_size)))
    return Prepared(params, cell_params, ctx, symbols)

  def stepper(prepared):
    def step(states, ids):
      if prepared.symbols is None:
        u = project_one(cell, prepared.cells, read_in(prepared.params, ids))
      else:
        u = jax.tree.map(lambda a: a[ids], prepared.symbols)
      states, y = cell.step(prepared.cells, states, u, ctx=prepared.ctx)
      return states, jax.nn.log_softmax(logits(prepared.params, y), -1), {}

    return step

  cell = stack(*cells)
  return LanguageModel(
    cells, vocabulary_size, init, initial_state, embed, logits, unroll, read, prepare, stepper
  )


def sequence_loss(
  model: LanguageModel,
  params: Params,
  states: State,
  ids: Array,
  targets: Array,
  key: Key | None = None,
) -> tuple[Array, State]:
  """Returns the summed cross-entropy of a chunk in nats, and the states after it.

  Args:
    model: the language model.
    params: its parameters.
    states: its states before the chunk.
    ids: [T, B] int32 symbols.
    targets: [T, B] int32 the symbols that follow.
    key: for dropout; None means none.
  """
  states, hs = model.unroll(params, states, ids, key=key)
  return cross_entropy(model.logits(params, hs), targets).sum(), states


def log_probabilities(
  model: LanguageModel, params: Params, ids: Array, targets: Array, mask: Array
) -> Array:
  """Returns log p(target) of every prediction, [T, L] float32, nats; see `read_on`, which begins
  here at the initial states."""
  states = model.initial_state(params, ids.shape[1])
  return read_on(model, params, states, ids, targets, mask)[1]


def read_on(
  model: LanguageModel, params: Params, states: State, ids: Array, targets: Array, mask: Array
) -> tuple[State, Array]:
  """Returns the states after a text, and log p(target) of every prediction, 0 where masked.

  Args:
    model: the language model.
    params: its parameters.
    states: its states before the text.
    ids: [T, L] int32 symbols of L parallel streams.
    targets: [T, L] int32 the symbols that follow.
    mask: [T, L] bool, False is padding, which holds the states.

  Returns:
    The states, and [T, L] float32, nats.
  """
  num_steps, lanes = ids.shape
  chunk = max(1, min(1024, num_steps, _LOGITS_LIMIT // (lanes * params['head']['b'].shape[0])))
  blocks = -(-num_steps // chunk)

  def cut(a):
    return jnp.pad(a, ((0, blocks * chunk - num_steps), (0, 0))).reshape(blocks, chunk, lanes)

  def body(states, inputs):
    x, y, m = inputs
    states, hs = model.unroll(params, states, x, mask=m)
    return states, jnp.where(m, -cross_entropy(model.logits(params, hs), y), 0.0)

  states, scores = lax.scan(body, states, (cut(ids), cut(targets), cut(mask)))
  return states, scores.reshape(blocks * chunk, lanes)[:num_steps]
