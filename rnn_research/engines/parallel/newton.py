"""Nonlinear recurrences in parallel over time: Newton's iteration on all states at once.

A trajectory solves `h_t - f(h_{t-1}, x_t) = 0` for t = 1..T. Linearised at a guess h^k, with J_t =
df/dh_{t-1},

    d_t = J_t d_{t-1} + (f(h^k_{t-1}, x_t) - h^k_t),    h^{k+1}_t = h^k_t + d_t,    d_0 = 0

is a linear recurrence, which `linear` solves in O(log T) dependent operations (Lim et al. 2024,
DEER). Whatever matrices stand for J_t, every iteration makes at least one more step exact, so T
iterations suffice and the limit is the trajectory; a diagonal in place of J_t (Gonzalez et al.
2024, quasi-DEER) takes more and cheaper iterations.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from rnn_research.cell import Cell
from rnn_research.engines.parallel.linear import (
  diagonal_scan,
  last_state,
  matrix_adjoint,
  matrix_scan,
)
from rnn_research.typing import Array, Params, PyTree, State
from rnn_research.unroll import Steps, advance, check_flags

_JACOBIANS = ('full', 'diagonal')


class NewtonInfo(NamedTuple):
  """How the iteration ended.

  Attributes:
    success: [] bool, whether it converged; if not, the states are those of the sequential loop.
    iterations: [] int32.
    residual: [] float, `max |d| / (1 + |h|)` in the last iteration, to compare with the tolerance.
  """

  success: Array
  iterations: Array
  residual: Array


class _Options(NamedTuple):
  jacobian: str
  damping: float
  tolerance: float | None
  max_iterations: int


class _Problem(NamedTuple):
  """All that a trajectory of flat states, [T, B, N], depends on."""

  params: Params
  start: Array  # [B, N]
  reset_state: State | None  # leaves [B, ...]
  steps: Steps  # projected inputs, leaves [T, B, ...]


def _highest(function):
  """Makes every product of `function` of the highest precision, also where JAX traces it outside of
  the caller."""

  @functools.wraps(function)
  def wrapped(*args, **keywords):
    with jax.default_matmul_precision('highest'):
      return function(*args, **keywords)

  return wrapped


@_highest
def newton_scan(
  cell: Cell,
  params: Params,
  state: State,
  xs: PyTree,
  *,
  mask: Array | None = None,
  reset: Array | None = None,
  reset_state: State | None = None,
  jacobian: str = 'full',
  damping: float = 0.0,
  tolerance: float | None = None,
  max_iterations: int = 100,
) -> tuple[State, PyTree, NewtonInfo]:
  """Runs any deterministic cell over all steps in parallel; equals stepping in values and
  gradients.

  N numbers make up the state of one row. 'full' takes O(T B N^2) memory, N tangents and O(T B N^3)
  work per iteration, and squares the error in each; 'diagonal' takes O(T B N) memory and N
  tangents, one after the other. Without convergence a sequential loop runs instead: the result is
  then late, not wrong. Where a linear solve overflows, its element is replaced by `f(h^k_{t-1},
  x_t)`, which keeps what is exact so far.

  All products, those of the cell and of the gradients included, are of the highest precision,
  whatever `jax.default_matmul_precision` says: with the TF32 of NVIDIA GPUs the residual stalls
  above the tolerance.

  Gradients are those of the trajectory (implicit differentiation), whatever the iteration did: l_t
  = dL/dh_t + J_{t+1}^T l_{t+1} is solved once, backwards, and one pullback of all steps by l gives
  every gradient. 'full' solves it by the same parallel scan; 'diagonal', whose diagonals do not
  suffice, by a sequential loop of T pullbacks, as long as backpropagation through time.

  Args:
    cell: its `step` ignores `key` and `ctx`, and computes every row from that row alone.
    params: its parameters.
    state: [B, ...] floating-point state before the first step.
    xs: [T, B, ...] inputs, finite where masked.
    mask: [T, B] bool, see `unroll`; or None.
    reset: [T, B] bool, see `unroll`; or None.
    reset_state: [B, ...], needed with `reset`.
    jacobian: 'full' or 'diagonal', what stands for J_t.
    damping: in [0, 1]; J_t is multiplied by `1 - damping`. At 1 the iteration is `h^{k+1}_t =
      f(h^k_{t-1}, x_t)`, which needs many iterations and cannot overflow.
    tolerance: on the residual of `NewtonInfo`; default 100 times the distance from 1 to the next
      float.
    max_iterations: after which the sequential loop takes over.

  Returns:
    The state after the last step, outputs [T, B, ...], and how the iteration ended.

  Raises:
    ValueError: `jacobian` or `damping` is none of these; see `unroll.check_flags` for the rest.

  Source: Lim et al. 2024 (arXiv 2309.12252), section 3; Gonzalez et al. 2024 (arXiv 2407.19115),
  section 4 for the diagonal. Deviates from the papers: damping scales J_t, where ELK has a trust
  region; the fall-back.
  """
  if jacobian not in _JACOBIANS:
    raise ValueError(f"jacobian is {jacobian!r}, expected 'full' or 'diagonal'")
  if not 0.0 <= damping <= 1.0:
    raise ValueError(f'damping is {damping}, expected 0 <= damping <= 1')
  check_flags(mask, reset, reset_state, jax.tree.leaves(xs)[0].shape[:2])
  row = jax.tree.map(lambda a: jnp.zeros(a.shape[1:], a.dtype), state)
  unflatten = jax.vmap(ravel_pytree(row)[1])

  def flat_step(params, h, step, reset_state):
    end, y = advance(cell, params, unflatten(h), step, reset_state)
    return _flatten(end), y

  problem = _Problem(
    params, _flatten(state), reset_state, Steps(cell.project(params, xs), mask, reset, None)
  )
  hs, info = _trajectory(flat_step, _Options(jacobian, damping, tolerance, max_iterations), problem)
  _, ys = _all_steps(flat_step, problem, _before(problem, hs))
  return unflatten(last_state(jnp.concatenate([problem.start[None], hs]), mask, reset)), ys, info


def _flatten(state):
  return jax.vmap(lambda row: ravel_pytree(row)[0])(state)


def _before(problem, hs):
  return jnp.concatenate([problem.start[None], hs])[:-1]


def _all_steps(flat_step, problem, before):
  """Takes every step once, each from its own state in `before` [T, B, N]: states and outputs of all
  steps."""
  return jax.vmap(flat_step, (None, 0, 0, None))(
    problem.params, before, problem.steps, problem.reset_state
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
@_highest
def _trajectory(flat_step, options, problem):
  """Returns the states after every step, [T, B, N], and `NewtonInfo`."""
  num_steps = jax.tree.leaves(problem.steps)[0].shape[0]
  guess = jnp.broadcast_to(problem.start, (num_steps, *problem.start.shape))
  tolerance = 100.0 * jnp.finfo(guess.dtype).eps if options.tolerance is None else options.tolerance
  scan = matrix_scan if options.jacobian == 'full' else diagonal_scan

  def residual(hs, change):
    return jnp.max(jnp.abs(change) / (1.0 + jnp.abs(hs)), initial=0.0)

  def unfinished(carry):
    hs, change, iterations = carry
    return (iterations < options.max_iterations) & ~(residual(hs, change) <= tolerance)

  def iterate(carry):
    hs, _, iterations = carry
    proposal, jacobians = _linearise(flat_step, options.jacobian, problem, _before(problem, hs))
    _, changes = scan(
      (1.0 - options.damping) * jacobians, proposal - hs, jnp.zeros_like(problem.start)
    )
    new = jnp.where(jnp.isfinite(hs + changes), hs + changes, proposal)
    return new, new - hs, iterations + 1

  hs, change, iterations = lax.while_loop(
    unfinished, iterate, (guess, jnp.full_like(guess, jnp.inf), jnp.int32(0))
  )
  info = NewtonInfo(residual(hs, change) <= tolerance, iterations, residual(hs, change))
  return lax.cond(info.success, lambda: hs, lambda: _sequential(flat_step, problem)), info


def _linearise(flat_step, jacobian, problem, before):
  """Returns f(h_{t-1}) of all steps, [T, B, N], with J_t, [T, B, N, N], or with their diagonals,
  [T, B, N]."""
  proposal, tangent = jax.linearize(
    lambda before: _all_steps(flat_step, problem, before)[0], before
  )
  units = jnp.eye(before.shape[-1], dtype=before.dtype)

  # Rows are independent, so one tangent gives a column of the Jacobians of all of them.
  def column(unit):
    return tangent(jnp.broadcast_to(unit, before.shape))

  if jacobian == 'full':
    columns = jax.vmap(column)(units)
  else:
    columns = lax.map(lambda j: column(units[j])[..., j], jnp.arange(len(units)))
  return proposal, jnp.moveaxis(columns, 0, -1)


def _sequential(flat_step, problem):
  def body(h, step):
    h, _ = flat_step(problem.params, h, step, problem.reset_state)
    return h, h

  return lax.scan(body, problem.start, problem.steps)[1]


def _forward_rule(flat_step, options, problem):
  hs, info = _trajectory(flat_step, options, problem)
  return (hs, info), (problem, hs)


@_highest
def _backward_rule(flat_step, options, saved, cotangents):
  problem, hs = saved
  before, (dhs, _) = _before(problem, hs), cotangents
  if options.jacobian == 'full':
    adjoint = matrix_adjoint(_linearise(flat_step, 'full', problem, before)[1], dhs)
  else:
    adjoint = _sequential_adjoint(flat_step, problem, before, dhs)
  # One pullback of all steps, each from a constant state before it except the first.
  _, pull = jax.vjp(
    lambda problem: _all_steps(flat_step, problem, _before(problem, hs))[0], problem
  )
  return pull(adjoint)


def _sequential_adjoint(flat_step, problem, before, dhs):
  """Returns l of `l_t = dh_t + J_{t+1}^T l_{t+1}`, [T, B, N], one pullback at a time."""

  def body(pulled, inputs):
    dh, h, step = inputs
    adjoint = dh + pulled
    _, pull = jax.vjp(lambda h: flat_step(problem.params, h, step, problem.reset_state)[0], h)
    return pull(adjoint)[0], adjoint

  return lax.scan(body, jnp.zeros_like(problem.start), (dhs, before, problem.steps), reverse=True)[
    1
  ]


_trajectory.defvjp(_forward_rule, _backward_rule)
