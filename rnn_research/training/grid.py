"""A grid of runs as one run: its members differ in seed and learning rate, and share data, steps and one program.

Parameters and optimiser state get a leading axis of members, `[G, ...]`; the carry is `[B, G, ...]`. A member whose
loss or gradient is not a number skips the update and leaves the others alone.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from ml_collections import ConfigDict

from rnn_research.experiment import Experiment
from rnn_research.typing import Array, Params, PyTree


class Member(NamedTuple):
  """Attributes:
    seed: 0 draws what a run without a grid draws; others fold the seed into its keys.
    learning_rate: in place of `optimizer.learning_rate`.
  """

  seed: int
  learning_rate: float


def members(config: ConfigDict) -> tuple[Member, ...]:
  """Returns the members that the blocks `grid` and `optimizer` of a config ask for; a single one is no grid."""
  rates = config.grid.learning_rates or (config.optimizer.learning_rate,)
  return tuple(Member(seed, float(rate)) for rate in rates for seed in range(config.grid.seeds))


def over_grid(experiment: Experiment, grid: Sequence[Member]) -> Experiment:
  """Returns the experiment that trains all members at once.

  Its loss is the median over the members that are finite, and the gradient of each member is its own. Evaluations are
  those of the best member, and 'name/0', 'name/1', ... those of every member.
  """
  _, metric, sense = experiment.headline

  def init(key):
    return jax.vmap(experiment.init)(_keys(key, grid))

  def initial_carry(params, batch_size):
    return jax.vmap(lambda p: experiment.initial_carry(p, batch_size), out_axes=1)(params)

  def loss(params, carry, batch, key, step):
    one = functools.partial(_member, lambda params, carry, key: experiment.loss(params, carry, batch, key, step))
    across = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), carry)
    totals, finite, (weights, across, sums) = _own_gradients(
        lambda params: _each(one, params, across, _keys(key, grid)), params)
    known = lambda a: jnp.where(finite, a, jnp.nan)
    own = {f'loss/{i}': total for i, total in enumerate(known(totals))}
    sums = {name: jnp.nanmedian(known(a)) for name, a in sums.items()} | own | {'finite': finite.mean() * weights[0]}
    return jnp.nanmedian(known(totals)), (weights[0], jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), across), sums)

  def measure(evaluate, params, key):
    measured = [evaluate(member(params, i), key) for i in range(len(grid))]
    best = best_member([values[metric] for values in measured], sense)
    own = {f'{name}/{i}': value for i, values in enumerate(measured) for name, value in values.items()}
    return measured[best] | {'best_member': best} | own

  return experiment._replace(
      init=init, initial_carry=initial_carry, loss=loss,
      evaluate={name: functools.partial(measure, f) for name, f in experiment.evaluate.items()},
      show=experiment.show and (lambda params, key: experiment.show(member(params, 0), key)),
      select=lambda params, metrics: member(params, metrics['best_member']),
      learning_rates=tuple(one.learning_rate for one in grid))


def member(params: Params, index: int) -> Params:
  """Returns the parameters of one member."""
  return jax.tree.map(lambda a: a[index], params)


def best_member(values: Sequence[float], sense: str) -> int:
  """Returns the index of the best figure; one that is not a number is the worst."""
  worst = math.inf if sense == 'min' else -math.inf
  figures = [value if math.isfinite(value) else worst for value in values]
  return figures.index((min if sense == 'min' else max)(figures))


def over_members(tx: optax.GradientTransformationExtraArgs, scales: Array) -> optax.GradientTransformationExtraArgs:
  """Returns the transformation that treats every member alone and multiplies its updates by `scales`, [G] float32.

  A member without any gradient, as one has that was not finite, or whose parameters would not be finite, keeps its
  parameters and its optimiser state.
  """
  def init(params):
    return jax.vmap(tx.init)(params)

  def update(grads, state, params=None, **extra):
    def one(scale, grads, state, params):
      updates, new = tx.update(grads, state, params, **extra)
      updates = jax.tree.map(lambda u: scale * u, updates)
      moves = jnp.stack([jnp.any(g != 0.0) for g in jax.tree.leaves(grads)]).any()
      moves &= _finite(optax.apply_updates(params, updates))
      updates = jax.tree.map(lambda u: jnp.where(moves, u, 0.0), updates)
      return updates, jax.tree.map(lambda a, b: jnp.where(moves, a, b), new, state)
    return jax.vmap(one)(scales, grads, state, params)

  return optax.GradientTransformationExtraArgs(init, update)


def mean_over_members(describe: Callable[[Params], dict[str, Array]]) -> Callable[[Params], dict[str, Array]]:
  """Returns `describe` of every member's gradients, averaged."""
  return lambda grads: jax.tree.map(jnp.mean, jax.vmap(describe)(grads))


def results(figures: Mapping[str, Any], grid: Sequence[Member], headline: tuple[str, str, str]) -> list[dict[str, Any]]:
  """Returns a row per member from the last evaluation of a log: seed, learning rate and its headline figure."""
  split, metric, _ = headline
  return [{**one._asdict(), metric: figures[f'{split}/{metric}/{i}']} for i, one in enumerate(grid)]


def summary(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, dict[str, float]]:
  """Returns mean, standard deviation and extremes over the finite seeds of each learning rate of `results`."""
  groups = {}
  for rate in dict.fromkeys(row['learning_rate'] for row in rows):
    values = [row[metric] for row in rows if row['learning_rate'] == rate]
    finite = np.array([value for value in values if value is not None and math.isfinite(value)])
    figures = {'mean': finite.mean(), 'std': finite.std(ddof=len(finite) > 1), 'min': finite.min(),
               'max': finite.max()} if len(finite) else {}
    groups[f'learning_rate {rate:g}'] = {f'{metric}_{name}': float(value) for name, value in figures.items()} | {
        'finite_seeds': len(finite)}
  return groups


def _keys(key, grid):
  return jnp.stack([jax.random.fold_in(key, one.seed) if one.seed else key for one in grid])


def _each(f, *stacked: PyTree) -> PyTree:
  """Maps over members. On a CPU one after the other: batched products of a time loop take 1.5 to 2 times as long."""
  if jax.default_backend() == 'cpu':
    return lax.map(lambda one: f(*one), stacked)
  return jax.vmap(f)(*stacked)


def _member(loss, params, carry, key):
  """Returns ((total, finite, aux), gradient) of one member, both zero where either is not finite."""
  (total, aux), grads = jax.value_and_grad(loss, has_aux=True)(params, carry, key)
  finite = _finite((total, grads))
  return (total, finite, aux), jax.tree.map(lambda g: jnp.where(finite, g, 0.0), grads)


def _finite(tree):
  return jnp.stack([jnp.isfinite(a).all() for a in jax.tree.leaves(tree)]).all()


def _own_gradients(forward, params):
  """Returns the first of `forward(params)`'s two results; differentiated, it gives the second, whatever follows."""
  run = jax.custom_vjp(lambda params: forward(params)[0])
  run.defvjp(forward, lambda grads, _: (grads,))
  return run(params)
