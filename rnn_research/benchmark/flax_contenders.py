"""Flax and cuDNN as their users write them. A function `(setting) -> part -> () -> Program` each;
see `contenders`."""

import itertools

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import optax
from jax.experimental import rnn

from rnn_research.benchmark.contenders import (
  CLIP_NORM,
  LEARNING_RATE,
  NUM_SYMBOLS,
  Setting,
  symbols,
)
from rnn_research.benchmark.jax_programs import carried, timed
from rnn_research.losses import cross_entropy


def linen(setting: Setting):
  """`flax.linen.RNN` layers."""
  cell = {
    'lstm': flax.linen.OptimizedLSTMCell,
    'gru': flax.linen.GRUCell,
    'elman': flax.linen.SimpleCell,
  }[setting.cell]

  class Model(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, ids, carries):
      hs, ends = jax.nn.one_hot(ids, NUM_SYMBOLS), []
      for carry in carries:
        end, hs = flax.linen.RNN(cell(setting.hidden_size), return_carry=True)(
          hs, initial_carry=carry
        )
        ends.append(end)
      return flax.linen.Dense(NUM_SYMBOLS)(hs), tuple(ends)

  model, key, batch = Model(), jax.random.key(setting.seed), symbols(setting)
  shape = setting.batch_size, setting.hidden_size
  carries = tuple(
    cell(setting.hidden_size).initialize_carry(key, shape) for _ in range(setting.num_layers)
  )
  return _functional(
    setting, model.apply, model.init(key, batch['inputs'], carries), carries, batch
  )


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
    hs, *carry = rnn.lstm(
      jax.nn.one_hot(ids, NUM_SYMBOLS), *carry, params['rnn'], lengths, *sizes, 0.0, False
    )
    return hs @ params['w'] + params['b'], tuple(carry)

  zeros = jnp.zeros((setting.num_layers, setting.batch_size, setting.hidden_size))
  return _functional(setting, apply, params, (zeros, zeros), symbols(setting))


def nnx(setting: Setting):
  """`flax.nnx.RNN` layers."""
  cell = {
    'lstm': flax.nnx.OptimizedLSTMCell,
    'gru': flax.nnx.GRUCell,
    'elman': flax.nnx.SimpleCell,
  }[setting.cell]
  rngs, batch = flax.nnx.Rngs(setting.seed), symbols(setting)

  class Model(flax.nnx.Module):
    def __init__(self):
      sizes = [NUM_SYMBOLS] + [setting.hidden_size] * setting.num_layers
      self.layers = flax.nnx.List(
        [
          flax.nnx.RNN(cell(num_in, num_out, rngs=rngs), return_carry=True)
          for num_in, num_out in itertools.pairwise(sizes)
        ]
      )
      self.head = flax.nnx.Linear(setting.hidden_size, NUM_SYMBOLS, rngs=rngs)

    def __call__(self, ids, carries):
      hs, ends = jax.nn.one_hot(ids, NUM_SYMBOLS), []
      for layer, carry in zip(self.layers, carries, strict=True):
        end, hs = layer(hs, initial_carry=carry)
        ends.append(end)
      return self.head(hs), tuple(ends)

  def loss(model, carries, batch):
    logits, carries = model(batch['inputs'], carries)
    return cross_entropy(logits, batch['targets']).mean(), carries

  differentiate = flax.nnx.value_and_grad(loss, has_aux=True)

  @flax.nnx.jit
  def forward(model, carries, batch):
    value, carries = loss(model, carries, batch)
    return carries, value

  @flax.nnx.jit
  def gradient(model, carries, batch):
    (value, carries), grads = differentiate(model, carries, batch)
    return carries, (value, grads)

  @flax.nnx.jit
  def step(model, tx, carries, batch):
    (value, carries), grads = differentiate(model, carries, batch)
    tx.update(model, grads)
    return carries, value

  model = Model()
  tx = flax.nnx.Optimizer(model, _users_optimizer(), wrt=flax.nnx.Param)
  shape = setting.batch_size, NUM_SYMBOLS
  carries = tuple(layer.cell.initialize_carry(shape, rngs) for layer in model.layers)

  def program(function, *held):
    seconds = timed(lambda: function.lower(*held, carries, batch).compile())[1]
    return carried(setting, lambda carries: function(*held, carries, batch), carries, seconds)

  return {
    'forward': lambda: program(forward, model),
    'gradient': lambda: program(gradient, model),
    'step': lambda: program(step, model, tx),
  }


def _functional(setting, apply, params, carry, batch):
  """The three programs as a user of `apply(params, ids, carry) -> (logits, carry)` writes them."""
  tx = _users_optimizer()

  def loss(params, carry, batch):
    logits, carry = apply(params, batch['inputs'], carry)
    return cross_entropy(logits, batch['targets']).mean(), carry

  differentiate = jax.value_and_grad(loss, has_aux=True)

  def forward(carry, params, batch):
    value, carry = loss(params, carry, batch)
    return carry, value

  def gradient(carry, params, batch):
    (value, carry), grads = differentiate(params, carry, batch)
    return carry, (value, grads)

  def step(state, batch):
    params, opt_state, carry = state
    (value, carry), grads = differentiate(params, carry, batch)
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


def _users_optimizer():
  return optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.adam(LEARNING_RATE))
