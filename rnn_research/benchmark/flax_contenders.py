"""Flax and cuDNN as their users write them. A function `(setting) -> part -> () -> Program` each;
see `contenders`."""

import itertools

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import optax
from jax.experimental import rnn

from rnn_research.benchmark import contenders
from rnn_research.benchmark.contenders import NUM_SYMBOLS
from rnn_research.benchmark.jax_programs import carried
from rnn_research.benchmark.serve import Setting, timed
from rnn_research.losses import cross_entropy

_CELLS = {'lstm': 'OptimizedLSTMCell', 'gru': 'GRUCell', 'elman': 'SimpleCell'}


def linen(setting: Setting):
  """`flax.linen.RNN` layers."""
  size, cell = setting.hidden_size, getattr(flax.linen, _CELLS[setting.cell])

  class Model(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, ids, carries):
      hs, ends = jax.nn.one_hot(ids, NUM_SYMBOLS), []
      for carry in carries:
        end, hs = flax.linen.RNN(cell(size), return_carry=True)(hs, initial_carry=carry)
        ends.append(end)
      return flax.linen.Dense(NUM_SYMBOLS)(hs), tuple(ends)

  model, key = Model(), jax.random.key(setting.seed)
  zeros = cell(size).initialize_carry(key, (setting.batch_size, size))
  carries = (zeros,) * setting.num_layers
  params = model.init(key, contenders.symbols(setting)['inputs'], carries)
  return _functional(setting, model.apply, params, carries)


def cudnn(setting: Setting):
  """cuDNN's LSTM through `jax.experimental.rnn`, all layers in one call."""
  sizes = NUM_SYMBOLS, setting.hidden_size, setting.num_layers
  rnn_key, head_key = jax.random.split(jax.random.key(setting.seed))
  params = {
    'rnn': rnn.init_lstm_weight(rnn_key, *sizes, False),
    'w': jax.nn.initializers.lecun_normal()(head_key, (setting.hidden_size, NUM_SYMBOLS)),
    'b': jnp.zeros(NUM_SYMBOLS),
  }
  lengths = jnp.full(setting.batch_size, setting.unroll_length, jnp.int32)

  def apply(params, ids, carry):
    xs = jax.nn.one_hot(ids, NUM_SYMBOLS)
    hs, *carry = rnn.lstm(xs, *carry, params['rnn'], lengths, *sizes, 0.0, False)
    return hs @ params['w'] + params['b'], tuple(carry)

  zeros = jnp.zeros((setting.num_layers, setting.batch_size, setting.hidden_size))
  return _functional(setting, apply, params, (zeros, zeros))


def _functional(setting, apply, params, carry):
  """The three programs as a user of `apply(params, ids, carry) -> (logits, carry)` writes them."""
  tx, batch = _users_optimizer(), contenders.symbols(setting)
  forward, gradient = _parts(jax.value_and_grad, apply)

  def step(state, batch):
    params, opt_state, carry = state
    carry, (value, grads) = gradient(carry, params, batch)
    updates, opt_state = tx.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state, carry), value

  def program(function, state, *rest):
    compiled, seconds = timed(lambda: jax.jit(function).lower(state, *rest).compile())
    return carried(setting, lambda state: compiled(state, *rest), state, seconds)

  return {
    'forward': lambda: program(forward, carry, params, batch),
    'gradient': lambda: program(gradient, carry, params, batch),
    'step': lambda: program(step, (params, tx.init(params), carry), batch),
  }


def nnx(setting: Setting):
  """`flax.nnx.RNN` layers."""
  cell, rngs = getattr(flax.nnx, _CELLS[setting.cell]), flax.nnx.Rngs(setting.seed)

  class Model(flax.nnx.Module):
    def __init__(self):
      sizes = [NUM_SYMBOLS] + [setting.hidden_size] * setting.num_layers
      make = lambda pair: flax.nnx.RNN(cell(*pair, rngs=rngs), return_carry=True)
      self.layers = flax.nnx.List(map(make, itertools.pairwise(sizes)))
      self.head = flax.nnx.Linear(setting.hidden_size, NUM_SYMBOLS, rngs=rngs)

    def __call__(self, ids, carries):
      hs, ends = jax.nn.one_hot(ids, NUM_SYMBOLS), []
      for layer, carry in zip(self.layers, carries, strict=True):
        end, hs = layer(hs, initial_carry=carry)
        ends.append(end)
      return self.head(hs), tuple(ends)

  model, batch = Model(), contenders.symbols(setting)
  tx = flax.nnx.Optimizer(model, _users_optimizer(), wrt=flax.nnx.Param)
  forward, gradient = _parts(flax.nnx.value_and_grad, lambda model, *inputs: model(*inputs))

  def step(carries, model, tx, batch):
    carries, (value, grads) = gradient(carries, model, batch)
    tx.update(model, grads)
    return carries, value

  shape = setting.batch_size, NUM_SYMBOLS
  carries = tuple(layer.cell.initialize_carry(shape, rngs) for layer in model.layers)

  def program(function, *held):
    function = flax.nnx.jit(function)
    seconds = timed(lambda: function.lower(carries, *held, batch).compile())[1]
    return carried(setting, lambda carries: function(carries, *held, batch), carries, seconds)

  return {
    'forward': lambda: program(forward, model),
    'gradient': lambda: program(gradient, model),
    'step': lambda: program(step, model, tx),
  }


def _parts(value_and_grad, apply):
  """Returns forward pass and gradient, `(carry, model, batch) -> (carry, result)`, of
  `apply(model, ids, carry) -> (logits, carry)`."""

  def loss(model, carry, batch):
    logits, carry = apply(model, batch['inputs'], carry)
    return cross_entropy(logits, batch['targets']).mean(), carry

  def forward(carry, model, batch):
    value, carry = loss(model, carry, batch)
    return carry, value

  def gradient(carry, model, batch):
    (value, carry), grads = value_and_grad(loss, has_aux=True)(model, carry, batch)
    return carry, (value, grads)

  return forward, gradient


def _users_optimizer():
  adam = optax.adam(contenders.LEARNING_RATE)
  return optax.chain(optax.clip_by_global_norm(contenders.CLIP_NORM), adam)
