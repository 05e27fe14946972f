"""A grid of runs as one run: its members differ in seed and learning rate, and share data, steps
and one program.

Parameters and optimiser state get a leading axis of members, `[G, ...]`; the carry is `[B, G,
...]`. A member whose loss or gradient is not finite, over all devices and slices of the batch,
skips the update and leaves the others alone.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from ml_collections import ConfigDict

from rnn_research.errors import InputError
from rnn_research.experiment import Experiment
from rnn_research.typing import Array, Params, PyTree

MEMBERS = '_members'  # ends the names of what is measured of every member, [G]
FINITE = f'train/finite{MEMBERS}'


class Member(NamedTuple):
  """One run of a grid.

  Attributes:
    seed: 0 draws what a run without a grid draws; others fold the seed into its keys.
    learning_rate: in place of `optimizer.learning_rate`.
  """

  seed: int
  learning_rate: float


def members(config: ConfigDict) -> tuple[Member, ...]:
  """Returns the members that the blocks `grid` and `optimizer` of a config ask for; () where there
  is no grid."""
  if config.grid.seeds == 1 and not config.grid.learning_rates:
    return ()
  rates = config.grid.learning_rates or (config.optimizer.learning_rate,)
  return tuple(Member(seed, float(rate)) for rate in rates for seed in range(config.grid.seeds))


def over_grid(experiment: Experiment, grid: Sequence[Member]) -> Experiment:
  """Returns the experiment that trains all members at once.

  The gradient of each member is its own; `describe` makes one loss of theirs. Evaluations are those
  of the best member, and 'name_members' those of every member, [G]. No samples are shown.

  Args:
    experiment: the weight of its loss depends on the batch alone, so it is the same for all
      members.
    grid: the members.
  """
  _, metric, sense = experiment.headline

  def init(key):
    return jax.vmap(experiment.init)(_keys(key, grid))

  def initial_carry(params, batch_size):
    return jax.vmap(lambda p: experiment.initial_carry(p, batch_size), out_axes=1)(params)

  def loss(params, carry, batch, key, step):
    one = functools.partial(
      _gradients, lambda params, carry, key: experiment.loss(params, carry, batch, key, step)
    )
    across = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), carry)
    totals, (weights, across, sums) = _own_gradients(
      lambda params: _each(one, params, across, _keys(key, grid)), params
    )
    own = {f'{name}{MEMBERS}': a for name, a in ({'loss': totals} | sums).items()}
    return totals.sum(), (weights[0], jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), across), own)

  def measure(evaluate, params, key):
    measured = [evaluate(member(params, i), key) for i in range(len(grid))]
    best = best_member([values[metric] for values in measured], sense)
    own = {f'{name}{MEMBERS}': [values[name] for values in measured] for name in measured[best]}
    return measured[best] | {'best_member': best} | own

  return experiment._replace(
    init=init,
    initial_carry=initial_carry,
    loss=loss,
    evaluate={name: functools.partial(measure, f) for name, f in experiment.evaluate.items()},
    show=None,
    select=lambda params, metrics: member(params, metrics['best_member']),
    learning_rates=tuple(one.learning_rate for one in grid),
  )


def member(params: Params, index: int) -> Params:
  """Returns the parameters of one member."""
  return jax.tree.map(lambda a: a[index], params)


def best_member(values: Sequence[float], sense: str) -> int:
  """Returns the index of the best figure; one that is not a number is the worst."""
  figures = _worst_if_lost(values, sense)
  return int(figures.argmin() if sense == 'min' else figures.argmax())


def over_members(
  tx: optax.GradientTransformationExtraArgs, scales: Array
) -> optax.GradientTransformationExtraArgs:
  """Returns the transformation that treats every member alone and multiplies its updates by
  `scales`, [G] float32.

  A member whose gradient, its norm or its new parameters are not finite keeps its parameters and
  its optimiser state.
  """

  def init(params):
    return jax.vmap(tx.init)(params)

  def update(grads, state, params=None, **extra):
    def one(scale, grads, state, params):
      updates, new = tx.update(grads, state, params, **extra)
      updates = jax.tree.map(lambda u: scale * u, updates)
      moves = jnp.isfinite(optax.tree.norm(grads)) & _finite(optax.apply_updates(params, updates))
      updates = jax.tree.map(lambda u: jnp.where(moves, u, 0.0), updates)
      return updates, jax.tree.map(lambda a, b: jnp.where(moves, a, b), new, state)

    return jax.vmap(one)(scales, grads, state, params)

  return optax.GradientTransformationExtraArgs(init, update)


def describe(
  describe_one: Callable[..., dict[str, Array]], grads: Params, means: dict[str, Array]
) -> dict[str, Array]:
  """Returns what a grid logs of a step in place of what a single run logs, [] float32 but for the
  last.

    loss, and what else the loss measures    median over the members whose gradient is finite
    gradient_norm, clipped                   the same of `describe_one`
    finite                                   share of the members whose gradient is finite
    finite_members                           [G] float32, 1 or 0

  Args:
    describe_one: `(grads) -> {name: [] float32}` of a single run, 'gradient_norm' among them.
    grads: leaves [G, ...], over all devices.
    means: 'loss_members' and so on, [G] float32, over all devices.
  """
  described = jax.vmap(describe_one)(grads)
  finite = jnp.isfinite(described['gradient_norm'])
  of_members = described | {name.removesuffix(MEMBERS): a for name, a in means.items()}
  medians = {name: jnp.nanmedian(jnp.where(finite, a, jnp.nan)) for name, a in of_members.items()}
  return medians | {'finite': finite.mean(), f'finite{MEMBERS}': finite.astype(jnp.float32)}


def results(
  log: Sequence[Mapping[str, Any]], grid: Sequence[Member], headline: tuple[str, str, str]
) -> list[dict[str, Any]]:
  """Returns a row per member: seed, learning rate, its headline figure at the last evaluation, and
  its finite steps.

  Args:
    log: the lines of metrics.jsonl.
    grid: the members.
    headline: of the experiment.

  Raises:
    InputError: the log has no evaluation.
  """
  split, metric, _ = headline
  of_members = f'{split}/{metric}{MEMBERS}'
  figures = next((row[of_members] for row in reversed(log) if of_members in row), None)
  if figures is None:
    raise InputError(f'no line of the log has {of_members}, expected one per evaluation')
  steps = [row[FINITE] for row in log if FINITE in row] or [[1.0] * len(grid)]
  shares = np.mean(steps, axis=0)
  return [
    {**one._asdict(), metric: figure, 'share_of_finite_steps': float(share)}
    for one, figure, share in zip(grid, figures, shares, strict=True)
  ]


def best_at(
  log: Sequence[Mapping[str, Any]],
  grid: Sequence[Member],
  headline: tuple[str, str, str],
  step: int,
) -> dict[str, Any]:
  """Returns seed and learning rate of the member that was best at the evaluation after `step`;
  raises InputError where the log has no such evaluation."""
  name = f'{headline[0]}/best_member'
  best = next((row[name] for row in log if row['step'] == step and name in row), None)
  if best is None:
    raise InputError(f'no line of the log has {name} after step {step}, expected one')
  return grid[best]._asdict()


def summary(
  rows: Sequence[Mapping[str, Any]], headline: tuple[str, str, str]
) -> dict[str, dict[str, float]]:
  """Returns `spread` of the seeds of each learning rate of `results`, under a name that says what
  it is."""
  split, metric, sense = headline
  return {
    f'{split} at the last step, learning rate {rate:g}': {
      f'{metric}_{name}': value
      for name, value in spread(
        [row[metric] for row in rows if row['learning_rate'] == rate], sense
      ).items()
    }
    for rate in dict.fromkeys(row['learning_rate'] for row in rows)
  }


def spread(values: Iterable[float | None], sense: str) -> dict[str, float]:
  """Returns mean, standard deviation (of two values or more), lowest and highest of what is finite,
  and of how many; and the median of all values, of which those that are not finite are the worst,
  unless it is one of them."""
  figures = _worst_if_lost(values, sense)
  finite = figures[np.isfinite(figures)]
  if not len(finite):
    return {'seeds': 0}
  median = float(np.median(figures))
  return {
    'mean': float(finite.mean()),
    **({'median': median} if math.isfinite(median) else {}),
    **({'std': float(finite.std(ddof=1))} if len(finite) > 1 else {}),
    'lowest': float(finite.min()),
    'highest': float(finite.max()),
    'seeds': len(finite),
  }


def _worst_if_lost(values: Iterable[float | None], sense: str) -> np.ndarray:
  """Returns figures, of which those that are not finite are the worst there can be."""
  figures = np.array([*values], np.float64)
  return np.where(np.isfinite(figures), figures, math.inf if sense == 'min' else -math.inf)


def _keys(key, grid):
  return jnp.stack([jax.random.fold_in(key, one.seed) if one.seed else key for one in grid])


def _each(f, *stacked: PyTree) -> PyTree:
  """Maps over members. On a CPU one after the other: batched products of a time loop take 1.5 to 2
  times as long."""
  if jax.default_backend() == 'cpu':
    return lax.map(lambda one: f(*one), stacked)
  return jax.vmap(f)(*stacked)


def _gradients(loss, params, carry, key):
  """Returns ((total, aux), gradients), not-a-number where the total is: sums over devices and
  slices carry it on."""
  (total, aux), grads = jax.value_and_grad(loss, has_aux=True)(params, carry, key)
  return (total, aux), jax.tree.map(lambda g: jnp.where(jnp.isfinite(total), g, jnp.nan), grads)


def _finite(tree):
  return jnp.stack([jnp.isfinite(a).all() for a in jax.tree.leaves(tree)]).all()


def _own_gradients(forward, params):
  """Returns the first of `forward(params)`'s two results; differentiated, it gives the second,
  whatever follows.

  So a number that is not finite stays with its member: a sum over members would hand it on.
  """
  run = jax.custom_vjp(lambda params: forward(params)[0])
  run.defvjp(forward, lambda grads, _: (grads,))
  return run(params)
