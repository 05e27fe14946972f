"""Learning rates over the steps of a run."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from rnn_research.errors import InputError
from rnn_research.typing import Array, PyTree


class PlateauState(NamedTuple):
  """State of `reduce_on_plateau`."""

  # [] int32, updates done; it hides tuple.count, which nobody needs here
  count: Array  # type: ignore[assignment]
  rule: PyTree  # state of `optax.contrib.reduce_on_plateau`


def make_schedule(config: ConfigDict, steps_per_epoch: int, total_steps: int) -> optax.Schedule:
  """Returns step -> learning rate.

  With epoch = step // steps_per_epoch, warm-up factor w = min(1, (step + 1) / warmup_steps):

    constant, plateau   w r
    exponential         w r decay_factor^n, n = max(floor((epoch - decay_after) / decay_every) + 1,
                        0); with decay_every = 1 as Zaremba et al. 2014
    cosine              w r (f + (1 - f) (1 + cos(pi u)) / 2)

  with u the progress after warm-up and f = final_fraction.
  """
  warmup = config.warmup_steps
  main = _without_warmup(config, steps_per_epoch, total_steps)
  return (lambda step: main(step) * jnp.minimum(1.0, (step + 1) / warmup)) if warmup else main


def _without_warmup(config, steps_per_epoch, total_steps):
  rate, warmup = config.learning_rate, config.warmup_steps
  if config.schedule == 'exponential':
    every = config.decay_every * steps_per_epoch
    after = config.decay_after * steps_per_epoch
    return lambda step: rate * config.decay_factor ** jnp.maximum((step - after) // every + 1, 0)
  if config.schedule == 'cosine':
    if total_steps <= warmup:
      raise InputError(
        f'optimizer.warmup_steps is {warmup}, expected less than the {total_steps} training steps; '
        '--config.optimizer.warmup_steps=0 goes without'
      )
    cosine = optax.cosine_decay_schedule(rate, total_steps - warmup, config.final_fraction)
    return lambda step: cosine(jnp.maximum(step - warmup, 0))
  return optax.constant_schedule(rate)


def reduce_on_plateau(
  factor: float, patience: int, eval_every: int
) -> optax.GradientTransformationExtraArgs:
  """Scales updates by `factor` for every `patience` evaluations that did not beat the best one.

  optax's rule compares at every update, or at the end of a window; here it compares in the first
  update after an evaluation, so neither a value that stays for `eval_every` updates nor the one
  before the first evaluation counts.
  """
  # rtol=0 keeps the comparison right for figures that are negative (accuracies with their sign
  # turned).
  rule = optax.contrib.reduce_on_plateau(factor, patience, rtol=0.0, atol=1e-6)

  def init(params):
    return PlateauState(jnp.zeros((), jnp.int32), rule.init(params))

  def update(updates, state, params=None, *, value, **extra_args):
    del extra_args
    _, compared = rule.update(updates, state.rule, params, value=value)
    due = (state.count > 0) & (state.count % eval_every == 0)
    after = jax.tree.map(lambda new, old: jnp.where(due, new, old), compared, state.rule)
    return jax.tree.map(lambda u: after.scale * u, updates), PlateauState(
      optax.safe_increment(state.count), after
    )

  return optax.GradientTransformationExtraArgs(init, update)


def learning_rate(schedule: optax.Schedule, opt_state: PyTree, step: Array | int) -> Array:
  """Returns [] float32, the rate of update `step` after the plateau reductions kept in
  `opt_state`."""
  states = filter(_is_plateau, jax.tree.leaves(opt_state, is_leaf=_is_plateau))
  return math.prod((state.rule.scale for state in states), start=jnp.float32(schedule(step)))


def _is_plateau(node):
  return isinstance(node, PlateauState)
