"""Training with and without clipping on a task that explodes: a demonstration, small enough to run
in seconds."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.nn.initializers import orthogonal

from rnn_research.cells.elman import elman
from rnn_research.tasks.long_memory.synthetic import Examples, adding
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


def diverged_at(loss: np.ndarray) -> int | None:
  """Returns the first update of one seed, [N], whose loss is not finite or above 10; None where
  there is none."""
  gone = np.flatnonzero(~(loss <= 10.0))
  return int(gone[0]) if len(gone) else None


def adding_batches(seed: int, updates: int, batch_size: int, num_steps: int) -> Examples:
  """Returns batches of the adding problem, inputs [N, B, T, 2] and targets [N, B] float32."""
  drawn = adding(np.random.default_rng(seed), updates * batch_size, num_steps)
  return Examples(*(a.reshape(updates, batch_size, *a.shape[1:]) for a in drawn))


@functools.partial(jax.jit, static_argnames='hidden_size')
def train(
  keys: Key,
  batches: Examples,
  *,
  clip_norm: float,
  largest: float,
  learning_rate: float,
  hidden_size: int,
) -> Curves:
  """Trains a tanh network by plain gradient descent, once per key, which gives the network at
  first.

  Args:
    keys: [S] keys.
    batches: inputs [N, B, T, F] float32 and targets [N, B] float32 of N updates.
    clip_norm: the gradient is scaled down to this global norm; infinity never is.
    largest: every singular value of W_h at first; above 1 the gradient may explode.
    learning_rate: of gradient descent without momentum.
    hidden_size: H.

  Source: Pascanu, Mikolov and Bengio 2013 (arXiv 1211.5063), algorithm 1. Deviates from the paper:
  nothing.
  """
  cell = elman(hidden_size, w_h_init=orthogonal(largest), engine='scan')
  optimizer = optax.sgd(learning_rate)

  def loss(params, batch):
    ys = unroll(cell, params['cell'], jnp.swapaxes(batch.inputs, 0, 1))[1][-1]
    return jnp.mean((ys @ params['w'] + params['b'] - batch.targets) ** 2)

  def update(carry, batch):
    params, opt_state = carry
    value, gradient = jax.value_and_grad(loss)(params, batch)
    norm = optax.tree.norm(gradient)
    gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, clip_norm / norm), gradient)
    changes, opt_state = optimizer.update(gradient, opt_state)
    return (optax.apply_updates(params, changes), opt_state), Curves(value, norm)

  def one(key):
    params = {
      'cell': cell.init(key, jax.ShapeDtypeStruct((1, batches.inputs.shape[-1]), jnp.float32)),
      'w': jnp.zeros(hidden_size),
      'b': jnp.zeros(()),
    }
    return lax.scan(update, (params, optimizer.init(params)), batches)[1]

  return jax.vmap(one)(keys)
