"""Our neural Turing machine, which learns to copy: a training step as the loop takes it. A function
`(setting) -> part -> () -> Program`; see `contenders`."""

import functools
import itertools

import jax
import jax.numpy as jnp

from rnn_research.benchmark import contenders
from rnn_research.benchmark.contenders import COPIED_BITS
from rnn_research.benchmark.jax_programs import carried, training_of
from rnn_research.benchmark.serve import Setting, timed
from rnn_research.cells import lstm
from rnn_research.cells.ntm import ntm
from rnn_research.experiment import Experiment, TrainData
from rnn_research.layers import dense, init_dense
from rnn_research.losses import binary_cross_entropy
from rnn_research.training import backend
from rnn_research.typing import Array, Key, Params
from rnn_research.unroll import unroll


def training(setting: Setting):
  """What the training loop runs."""
  backend.configure(setting.batch_size)
  return {'step': lambda: _step(setting)}


def copier(setting: Setting):
  """Returns `init: key -> params`, and `loss: (params, inputs, targets) -> mean loss of a bit` in
  nats, of an NTM with one head of each kind; see `contenders.copies`."""
  rows, size = contenders.MEMORY
  cell = ntm(lstm(setting.hidden_size), num_rows=rows, row_size=size)

  def init(key: Key) -> Params:
    key_cell, key_head = jax.random.split(key)
    x = jnp.zeros((1, COPIED_BITS + 1))
    return {
      'cell': cell.init(key_cell, x),
      'head': init_dense(key_head, setting.hidden_size + size, COPIED_BITS),
    }

  def loss(params: Params, inputs: Array, targets: Array) -> Array:
    _, ys = unroll(cell, params['cell'], jnp.swapaxes(inputs, 0, 1))
    logits = dense(params['head'], ys.h[-targets.shape[1] :])
    return jnp.mean(binary_cross_entropy(logits, jnp.swapaxes(targets, 0, 1)))

  return init, loss


def _step(setting):
  init, mean_loss = copier(setting)
  batch = contenders.copies(setting)

  def loss(params, carry, batch, key, step):
    weight = jnp.float32(batch['targets'].size)
    return mean_loss(params, batch['inputs'], batch['targets']) * weight, (weight, carry, {})

  experiment = Experiment(
    init=init,
    loss=loss,
    train_data=lambda: TrainData(itertools.repeat(batch), 1, ''),
    evaluate={},
    headline=('train', 'loss', 'min'),
  )
  loop = training_of(setting, experiment, contenders.CLIP_NORM)
  start, placed = loop.start(), functools.partial(loop.placed, batch)
  compiled, seconds = timed(lambda: loop.make(start, placed()))
  return carried(setting, lambda state: compiled(state, placed()), start, seconds)
