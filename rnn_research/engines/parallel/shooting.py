"""Nonlinear recurrences in parallel over time: multiple shooting, for cells that forget.

T steps are cut into C chunks of K. With E_c(s) the state that chunk c ends in when it starts from
s,

    s_0 = h_0,    s_{c+1} = E_c(s_c),    c = 0..C-1

is solved for all starts at once by `s_{c+1} <- E_c(s_c)`: all chunks run side by side, as rows of
one batch of C B rows, from guessed starts, hand their ends on, and run again until the starts no
longer change. A pass makes at least one more start exact, and multiplies the errors of the others
by dE_c/ds, which is small where a cell forgets within K steps.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.cell import Cell
from rnn_research.layers import Masked
from rnn_research.typing import Array, Params, PyTree, State
from rnn_research.unroll import Steps, check_flags, run_layers


class ShootingInfo(NamedTuple):
  """How the passes ended.

  Attributes:
    passes: [] int32, runs of all chunks, at most C.
    residual: [] float, `max |change| / (1 + |s|)` of the starts in the last pass, to compare with
      the tolerance.
  """

  passes: Array
  residual: Array


class _Problem(NamedTuple):
  """All that a trajectory depends on."""

  params: Params
  start: State  # leaves [B, ...]
  reset_state: State | None  # leaves [B, ...]
  chunks: Steps  # raw inputs, leaves [K, C, B, ...]


def shooting_scan(
  cell: Cell,
  params: Params,
  state: State,
  xs: PyTree,
  *,
  mask: Array | None = None,
  reset: Array | None = None,
  reset_state: State | None = None,
  chunk_length: int | None = None,
  tolerance: float | None = None,
) -> tuple[State, PyTree, ShootingInfo]:
  """Runs any deterministic cell over chunks of the sequence in parallel; equals stepping in values
  and gradients.

  p passes take p K dependent steps, each over C B rows, where stepping takes T steps over B rows;
  `cell` runs them in the form it has for whole sequences. A cell that forgets within K steps needs
  p = 2, the second of which finds that nothing changes; one that never forgets needs p = C, and
  then takes as many steps as stepping. So it pays for long sequences in small batches, on machines
  where more rows take no more time: a GPU, or a CPU for a few dozen units. It does not pay where
  arithmetic is the limit, nor for a long memory (forget gates near 1, identity or orthogonal
  matrices), where `newton_scan` needs fewer passes, each of which costs more.

  Gradients are those of the trajectory. With e_c the cotangent of the end of chunk c and d_c of its
  start,

    e_c = dL/dE_c + d_{c+1},    (d_c, dparams_c, dxs_c) = J_c^T (e_c, dL/dys_c)

  is solved in the same way from the last chunk to the first, on chunks that are linearised once,
  J_c. Every pass there takes K dependent steps, and one after the last gives all gradients, to
  within the tolerance times the largest e.

  Args:
    cell: its `step` ignores `key` and `ctx`, and computes every row from that row alone.
    params: its parameters.
    state: [B, ...] floating-point state before the first step.
    xs: [T, B, ...] inputs, finite where masked.
    mask: [T, B] bool, see `unroll`; or None. Chunks without a real step cost no passes.
    reset: [T, B] bool, see `unroll`; or None.
    reset_state: [B, ...], needed with `reset`.
    chunk_length: K; default about sqrt(T). Where K does not divide T, the last chunk is filled with
      masked steps, which some engines leave to the fused scan.
    tolerance: on the residual of `ShootingInfo`, and on the change of e relative to its largest
      magnitude; default 100 times the distance from 1 to the next float.

  Returns:
    The state after the last step, outputs [T, B, ...], and how the passes ended.

  Raises:
    ValueError: `chunk_length` is below 1; see `unroll.check_flags` for `mask` and `reset`; by JAX,
      for derivatives of derivatives, which a loop of unknown length does not have.

  Source: parareal, Lions, Maday and Turinici 2001; its view as multiple shooting with approximate
  Jacobians: Gander and Vandewalle 2007. Deviates from the papers: the coarse propagator, and so the
  Jacobian, is zero, since cells forget.
  """
  if chunk_length is not None and chunk_length < 1:
    raise ValueError(f'chunk_length is {chunk_length}, expected at least 1')
  num_steps, batch_size = jax.tree.leaves(xs)[0].shape[:2]
  check_flags(mask, reset, reset_state, (num_steps, batch_size))
  jax.eval_shape(cell.project, params, xs)  # inputs that do not fit are named as they came
  length = max(1, min(num_steps, chunk_length or _default_length(num_steps)))
  num_chunks = max(1, -(-num_steps // length))
  if mask is None and num_chunks * length > num_steps:
    mask = jnp.ones((num_steps, batch_size), bool)
  chunks = jax.tree.map(lambda a: _cut(a, num_chunks, length), Steps(xs, mask, reset, None))
  if tolerance is None:
    tolerance = 100.0 * float(jnp.finfo(jnp.result_type(*jax.tree.leaves(state))).eps)
  ends, ys, info = _shoot(cell, tolerance, _Problem(params, state, reset_state, chunks))
  ys = jax.tree.map(lambda a: lax.collapse(jnp.swapaxes(a, 0, 1), 0, 2)[:num_steps], ys)
  return jax.tree.map(lambda a: a[-1], ends), ys, info


def _default_length(num_steps):
  """Returns the first divisor of T from sqrt(T) on: masked steps are slower. Without one below 2
  sqrt(T), sqrt(T)."""
  root = math.isqrt(max(0, num_steps - 1)) + 1
  return next((k for k in range(root, 2 * root) if num_steps % k == 0), root)


def _cut(a, num_chunks, length):
  """Returns [K, C, ...] from [T, ...], zeros after the last step."""
  a = jnp.pad(a, [(0, num_chunks * length - a.shape[0])] + [(0, 0)] * (a.ndim - 1))
  return jnp.swapaxes(a.reshape(num_chunks, length, *a.shape[1:]), 0, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _shoot(cell, tolerance, problem):
  """Returns the ends of all chunks, [C, B, ...], outputs [K, C, B, ...], and `ShootingInfo`."""
  _, (ends, ys), info = _solve(cell, tolerance, problem)
  return ends, ys, info


def _solve(cell, tolerance, problem):
  """Returns the starts of all chunks, [C, B, ...], and what `_run` and `ShootingInfo` say of the
  last pass."""
  num_chunks = jax.tree.leaves(problem.chunks)[0].shape[1]
  guess = jax.tree.map(lambda a: jnp.broadcast_to(a, (num_chunks, *a.shape)), problem.start)

  def unfinished(carry):
    info = carry[-1]
    return (info.passes < num_chunks) & ~(info.residual <= tolerance)

  def iterate(carry):
    starts, _, info = carry
    ran = _run(cell, problem, starts)
    new = _hand_on(problem, ran[0])
    changes = jax.tree.map(lambda a, b: jnp.abs(b - a) / (1.0 + jnp.abs(b)), starts, new)
    return new, ran, ShootingInfo(info.passes + 1, _largest(changes))

  zeros = jax.tree.map(
    lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(lambda: _run(cell, problem, guess))
  )
  info = ShootingInfo(jnp.int32(0), jnp.full_like(_largest(guess), jnp.inf))
  return lax.while_loop(unfinished, iterate, (guess, zeros, info))


def _run(cell, problem, starts):
  """Runs every chunk from its start, as rows of one batch: ends [C, B, ...] and outputs
  [K, C, B, ...]."""
  num_chunks, batch_size = jax.tree.leaves(problem.chunks)[0].shape[1:3]

  def split(tree, at):
    return jax.tree.map(
      lambda a: a.reshape(*a.shape[:at], num_chunks, batch_size, *a.shape[at + 1 :]), tree
    )

  (ends,), ys = run_layers(
    (cell._replace(prepare=None),),
    (_repeat_masks(problem.params, num_chunks),),
    (_merge(starts, 0),),
    _merge(problem.chunks, 1),
    (_repeat(problem.reset_state, num_chunks),),
    keys=(None,),
  )
  return split(ends, 0), split(ys, 1)


def _merge(tree, at):
  return jax.tree.map(lambda a: lax.collapse(a, at, at + 2), tree)


def _repeat(tree, num_chunks):
  return jax.tree.map(lambda a: jnp.tile(a, (num_chunks,) + (1,) * (a.ndim - 1)), tree)


def _repeat_masks(params, num_chunks):
  """Repeats the one thing in prepared parameters that belongs to a row: the masks of
  `layers.Masked`."""
  repeat = lambda a: (
    Masked(_repeat_masks(a.w, num_chunks), _repeat(a.mask, num_chunks)) if _is_masked(a) else a
  )
  return jax.tree.map(repeat, params, is_leaf=_is_masked)


def _is_masked(a):
  return isinstance(a, Masked)


def _hand_on(problem, ends):
  """Returns the starts that these ends make: of each chunk the end of the one before it.

  Chunks that hold a row's state are passed over, or the end of a short row would need a pass for
  each.
  """
  states = jax.tree.map(lambda s, e: jnp.concatenate([s[None], e]), problem.start, ends)
  mask, reset = problem.chunks.mask, problem.chunks.reset
  if mask is None:
    return jax.tree.map(lambda a: a[:-1], states)
  changed = jnp.any(mask if reset is None else mask | reset, 0)
  places = jnp.arange(1, changed.shape[0])[:, None]
  last = lax.cummax(jnp.pad(jnp.where(changed[:-1], places, 0), ((1, 0), (0, 0))))
  return jax.tree.map(lambda a: a[last, jnp.arange(last.shape[1])[None]], states)


def _largest(tree):
  return functools.reduce(
    jnp.maximum, [jnp.max(jnp.abs(a), initial=0.0) for a in jax.tree.leaves(tree)]
  )


def _forward_rule(cell, tolerance, problem):
  starts, (ends, ys), info = _solve(cell, tolerance, problem)
  return (ends, ys, info), (problem, starts)


def _backward_rule(cell, tolerance, saved, cotangents):
  problem, starts = saved
  given, dys, _ = cotangents
  _, pull = jax.vjp(functools.partial(_run, cell), problem, starts)
  _, pull_starts = jax.vjp(
    lambda start, ends: _hand_on(problem._replace(start=start), ends), problem.start, given
  )

  def unfinished(carry):
    _, settled, passes = carry
    return (passes < jax.tree.leaves(starts)[0].shape[0] - 1) & ~settled

  def iterate(carry):
    # Of the pull-back only the starts are read, so XLA drops the gradients of weights and inputs
    # from the loop.
    dends, _, passes = carry
    new = jax.tree.map(jnp.add, given, pull_starts(pull((dends, dys))[1])[1])
    change = jax.tree.map(jnp.subtract, new, dends)
    return new, _largest(change) <= tolerance * _largest(new), passes + 1

  dends, _, _ = lax.while_loop(unfinished, iterate, (given, jnp.bool_(False), jnp.int32(0)))
  dproblem, dstarts = pull((dends, dys))
  return (dproblem._replace(start=pull_starts(dstarts)[0]),)


_shoot.defvjp(_forward_rule, _backward_rule)
