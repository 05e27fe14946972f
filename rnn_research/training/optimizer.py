"""The optimiser of a run: clip -> update rule with its learning-rate schedule -> plateau, from
optax's parts."""

import math
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from rnn_research.errors import InputError, require_one_of
from rnn_research.parameters import below, name_of
from rnn_research.training.schedules import make_schedule, reduce_on_plateau
from rnn_research.typing import Array, Params, PyTree

NAMES = ('sgd', 'rmsprop', 'adagrad', 'adam', 'adamw')
SCHEDULES = ('constant', 'exponential', 'cosine', 'plateau')

# In the path of a parameter: `.b`, `['b']`, `.b_hn`, `['embedding']`, `.peepholes`, `.start.h`.
_NO_WEIGHT = re.compile(
  r"[.'](b|b_\w+|\w*bias\w*|\w*embedding\w*|peepholes|start|canvas|places|reads|keys)\b"
)

_RANGES = {
  'learning_rate': ('a number > 0', lambda v: 0 < v < math.inf),
  'clip_norm': ('a number >= 0 (0 is off)', lambda v: 0 <= v < math.inf),
  'clip_value': ('a number >= 0 (0 is off)', lambda v: 0 <= v < math.inf),
  'weight_decay': ('a number >= 0', lambda v: 0 <= v < math.inf),
  'beta1': ('a number in [0, 1)', lambda v: 0 <= v < 1),
  'beta2': ('a number in [0, 1)', lambda v: 0 <= v < 1),
  'decay': ('a number in [0, 1)', lambda v: 0 <= v < 1),
  'epsilon': ('a number > 0', lambda v: 0 < v < math.inf),
  'decay_factor': ('a number in (0, 1)', lambda v: 0 < v < 1),
  'decay_after': ('an epoch count >= 1', lambda v: v >= 1),
  'decay_every': ('an epoch count >= 1', lambda v: v >= 1),
  'warmup_steps': ('a step count >= 0', lambda v: v >= 0),
  'final_fraction': ('a number in [0, 1]', lambda v: 0 <= v <= 1),
  'patience': ('a count >= 1', lambda v: v >= 1),
}


def default_config() -> ConfigDict:
  """Returns the `optimizer` block of a config: Adam at a constant rate."""
  return ConfigDict(
    {
      'name': 'adam',  # sgd, rmsprop, adagrad, adam, adamw
      'learning_rate': 2e-3,  # r, which schedules lower
      'clip_norm': 0.0,  # of the gradient, the most its global norm may be; 0 is off
      'clip_value': 0.0,  # the most each element may be, before clip_norm; 0 is off
      'weight_decay': 0.0,  # adamw; of matrices, not of biases, other vectors and embeddings
      'beta1': 0.9,  # adam, adamw: decay of the mean of gradients
      'beta2': 0.999,  # adam, adamw: decay of the mean of their squares
      'decay': 0.95,  # rmsprop: decay of the mean of squares
      'epsilon': 1e-8,  # in the denominator of all but sgd
      'schedule': 'constant',  # constant, exponential, cosine, plateau
      'decay_factor': 0.95,  # exponential: of each decay; plateau: per reduction
      'decay_after': 10,  # exponential: epochs at the full rate
      'decay_every': 1,  # exponential: epochs from one decay to the next
      'warmup_steps': 0,  # updates over which the rate rises from 0
      'final_fraction': 0.1,  # cosine: last rate / learning_rate
      'patience': 1,  # plateau: evaluations without improvement before a reduction
    }
  )


def check_config(config: ConfigDict) -> None:
  """Raises InputError with one sentence for an unknown name or a number out of range."""
  for field, names in (('name', NAMES), ('schedule', SCHEDULES)):
    require_one_of(f'optimizer.{field}', config[field], names)
  for field, (expected, holds) in _RANGES.items():
    if not holds(config[field]):
      raise InputError(f'optimizer.{field} is {config[field]}, expected {expected}')
  if config.weight_decay and config.name != 'adamw':
    raise InputError(
      f'optimizer.weight_decay is {config.weight_decay}, but only adamw decays weights, '
      f'not {config.name}'
    )


def make_optimizer(
  config: ConfigDict, steps_per_epoch: int, total_steps: int, eval_every: int
) -> tuple[optax.GradientTransformationExtraArgs, optax.Schedule]:
  """Returns the gradient transformation and the schedule it follows.

  Call `tx.update(grads, opt_state, params, value=last_valid)`, whatever the schedule is. `value`
  matters to `plateau` alone: it is the newest validation figure, lower is better, measured after
  every `eval_every` updates.

  Args:
    config: the `optimizer` block.
    steps_per_epoch: updates that cover the training split once.
    total_steps: updates of the whole run.
    eval_every: updates between two evaluations.

  Returns:
    `(tx, schedule)`; `schedule(step)` is the learning rate of update `step`, counted from 0, before
    any plateau reduction.

  Raises:
    InputError: an unknown name or a number out of range.
  """
  check_config(config)
  schedule = make_schedule(config, steps_per_epoch, total_steps)
  parts = [*clipping(config), update_rule(config, schedule)]
  if config.schedule == 'plateau':
    parts.append(reduce_on_plateau(config.decay_factor, config.patience, eval_every))
  return optax.with_extra_args_support(optax.chain(*parts)), schedule


def at_shares(
  tx: optax.GradientTransformationExtraArgs, shares: Mapping[str, float]
) -> optax.GradientTransformationExtraArgs:
  """Returns a transformation that trains some parameters at shares of the learning rate of `tx`.

  Args:
    tx: of `make_optimizer`.
    shares: path of parameters, 'a/b' for all below it -> their share.
  """
  rules = {path: optax.scale(share) for path, share in shares.items()} | {'': optax.identity()}
  groups = lambda params: jax.tree_util.tree_map_with_path(
    lambda path, _: below(name_of(path), shares), params
  )
  return optax.with_extra_args_support(optax.chain(tx, optax.multi_transform(rules, groups)))


def clipping(config: ConfigDict) -> list[optax.GradientTransformation]:
  """Returns the clips that are on: each element first, the global norm second."""
  by_value = [optax.clip(config.clip_value)] if config.clip_value else []
  by_norm = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
  return by_value + by_norm


def update_rule(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
  """Returns the rule `config.name`.

  For parameters p with gradient g, and r the learning rate of the update:

    sgd      p -= r g
    rmsprop  m = d m + (1 - d) g^2;  p -= r g / (sqrt(m) + eps)   eps outside the root, as published
    adagrad  m += g^2;  p -= r g / sqrt(m + eps)                  m starts at 0, as in min-char-rnn
    adam     Kingma and Ba 2015, algorithm 1
    adamw    Loshchilov and Hutter 2019: adam, and p -= r weight_decay p where `decayed`
  """
  rules = {
    'sgd': lambda: optax.sgd(schedule),
    'rmsprop': lambda: optax.rmsprop(
      schedule, decay=config.decay, eps=config.epsilon, eps_in_sqrt=False
    ),
    'adagrad': lambda: optax.adagrad(schedule, initial_accumulator_value=0.0, eps=config.epsilon),
    'adam': lambda: optax.adam(schedule, config.beta1, config.beta2, config.epsilon),
    'adamw': lambda: optax.chain(
      optax.scale_by_adam(config.beta1, config.beta2, config.epsilon),
      _decay(config.weight_decay),
      optax.scale_by_learning_rate(schedule),
    ),
  }
  return rules[config.name]()


def _decay(rate: float) -> optax.GradientTransformation:
  """Adds `rate` times the `decayed` parameters to their updates.

  `optax.masked` would do so too, with a state that does not fit checkpoints of `optax.adamw`.
  """

  def update(updates, params):
    add = lambda u, p, is_decayed: u + rate * p if is_decayed else u
    return jax.tree.map(add, updates, params, decayed(params))

  return optax.stateless(update)


def decayed(params: Params) -> PyTree:
  """Returns for each parameter, a tree like `params`, whether weight decay makes it smaller.

  Matrices of weights are decayed, those of one-hot inputs too. Vectors are not; nor are, by a name
  in their path, embeddings, stacked biases and peepholes, and learned first states, those of heads
  and slots too.
  """

  def is_weight(path, leaf):
    return leaf.ndim >= 2 and not _NO_WEIGHT.search(jax.tree_util.keystr(path))

  return jax.tree_util.tree_map_with_path(is_weight, params)


def describe_gradients(config: ConfigDict, grads: Params) -> dict[str, Array]:
  """Returns what is logged of gradients before clipping, each [] float32.

  Returns:
    gradient_norm: their global norm.
    clipped: share of elements that `clip_value` cuts; without it 1 where `clip_norm` acts.
  """
  norm = optax.tree.norm(grads)
  if config.clip_value:
    cut = sum(jnp.sum(jnp.abs(g) > config.clip_value) for g in jax.tree.leaves(grads))
    share = cut / sum(g.size for g in jax.tree.leaves(grads))
  else:
    share = jnp.float32(config.clip_norm > 0) * (norm > config.clip_norm)
  return {'gradient_norm': norm, 'clipped': share}
