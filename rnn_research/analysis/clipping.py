"""Training with and without clipping on a task that explodes: a demonstration, small enough to run in seconds."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.nn.initializers import orthogonal

from rnn_research.cells.elman import elman
from rnn_research.typing import Array, Key
from rnn_research.unroll import unroll


class Curves(NamedTuple):
  """What training did at each of N steps, for S seeds.

  Attributes:
    loss: [S, N] float32, mean squared error of the batch, before the update.
    norm: [S, N] float32, global norm of the gradient before clipping.
  """

  loss: Array
  norm: Array


def adding_problem(key: Key, num_steps: int, batch_size: int) -> tuple[Array, Array]:
  """Returns the adding problem: a number and a mark at every step; the target is the sum of the two marked numbers.

  Returns:
    [T, B, 2] float32 inputs, numbers from U[0, 1] and marks 0 or 1, one in each half; [B] float32 targets. Saying 1
    always has mean squared error 1/6 = 0.1667.

  Source: Hochreiter and Schmidhuber 1997, experiment 4, in the form of Le et al. 2015. Deviates from the papers:
  nothing.
  """
  number_key, *mark_keys = jax.random.split(key, 3)
  numbers = jax.random.uniform(number_key, (num_steps, batch_size))
  half = num_steps // 2
  first, second = (jax.random.randint(k, (batch_size,), *bounds)
                   for k, bounds in zip(mark_keys, ((0, half), (half, num_steps)), strict=True))
  marks = (jax.nn.one_hot(first, num_steps) + jax.nn.one_hot(second, num_steps)).T
  return jnp.stack([numbers, marks], -1), jnp.sum(numbers * marks, 0)


@functools.partial(jax.jit, static_argnames=('hidden_size', 'num_steps', 'batch_size', 'updates'))
def train(keys: Key, *, clip_norm: float, largest: float, learning_rate: float, hidden_size: int, num_steps: int,
          batch_size: int, updates: int) -> Curves:
  """Trains a tanh network on the adding problem by plain gradient descent, once per key.

  The same key gives the same network and the same batches whatever `clip_norm` is.

  Args:
    keys: [S] keys.
    clip_norm: the gradient is scaled down to this global norm; infinity never is.
    largest: every singular value of W_h at first; above 1 the gradient may explode.
    learning_rate: of gradient descent without momentum.
    hidden_size: H.
    num_steps: T.
    batch_size: B.
    updates: N.

  Source: Pascanu, Mikolov and Bengio 2013 (arXiv 1211.5063), algorithm 1. Deviates from the paper: nothing.
  """
  cell = elman(hidden_size, w_h_init=orthogonal(largest), engine='scan')
  optimizer = optax.sgd(learning_rate)

  def loss(params, key):
    xs, targets = adding_problem(key, num_steps, batch_size)
    ys = unroll(cell, params['cell'], xs)[1][-1]
    return jnp.mean((ys @ params['w'] + params['b'] - targets) ** 2)

  def update(carry, key):
    params, opt_state = carry
    value, gradient = jax.value_and_grad(loss)(params, key)
    norm = optax.tree.norm(gradient)
    gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, clip_norm / norm), gradient)
    changes, opt_state = optimizer.update(gradient, opt_state)
    return (optax.apply_updates(params, changes), opt_state), Curves(value, norm)

  def one(key):
    init_key, data_key = jax.random.split(key)
    params = {'cell': cell.init(init_key, jax.ShapeDtypeStruct((1, 2), jnp.float32)),
              'w': jnp.zeros(hidden_size), 'b': jnp.zeros(())}
    return lax.scan(update, (params, optimizer.init(params)), jax.random.split(data_key, updates))[1]

  return jax.vmap(one)(keys)
