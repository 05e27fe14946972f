"""Beam search over the step of a model, for a whole batch inside one `jax.jit`; see `step`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.decoding.step import (
  Hypotheses,
  Rules,
  Step,
  extras_of,
  forbid,
  most_probable,
)
from rnn_research.errors import InputError, require_size
from rnn_research.stepping import repeat_rows
from rnn_research.typing import Array, State

# A source position never looked at costs log(1e-6): with the logarithm of 0 no other term of a
# score would count.
_LEAST_COVERAGE = 1e-6


class Beam(NamedTuple):
  """How sequences are searched for.

  Attributes:
    size: K, hypotheses of a row; 1 is greedy, and has no penalties.
    length_penalty: alpha of `beam_search`; 0 ranks by log p.
    coverage_penalty: beta of `beam_search`.
  """

  size: int = 1
  length_penalty: float = 1.0
  coverage_penalty: float = 0.0


FLAGS = ('beam_size', 'length_penalty', 'coverage_penalty')  # that a beam is made of


def check_beam(beam: Beam) -> None:
  """Raises InputError, naming the flag, if a number is out of range."""
  require_size('beam_size', beam.size)
  for name, value in zip(FLAGS[1:], beam[1:], strict=True):
    if not 0.0 <= value < float('inf'):
      raise InputError(f'{name} is {value}, expected a number >= 0')


def check_coverage(penalty: float, attends: bool) -> None:
  """Raises InputError where a coverage penalty has no attention to read."""
  if penalty and not attends:
    raise InputError(f'coverage_penalty is {penalty}, expected 0 for a model without attention')


def beam_search(
  step: Step,
  state: State,
  first: Array,
  limits: Array,
  rules: Rules,
  beam: Beam,
  source_mask: Array | None = None,
) -> Hypotheses:
  """Searches for the sequences with the highest scores among the continuations of the K most
  probable prefixes.

    s(Y, X) = log p(Y | X) / lp(Y) + cp(X, Y),   lp(Y) = (5 + |Y|)^alpha / 6^alpha,
    cp(X, Y) = beta sum_j log min(sum_i w_ij, 1)

  for the attention w_ij of symbol i to position j, the extras 'weights' of the step. At every step
  the 2K most probable continuations of the K alive hypotheses of a row are ranked by log p. Those
  among the first K that end, by EOS or at the row's limit, join the finished ones, of which the K
  with the highest scores are kept; the K best that do not end go on. A row is done when no alive
  hypothesis can get a higher score than the lowest kept one: log p <= 0 only falls and cp <= 0, so
  none gets more than log p / lp(limit). Of equals the one with the better prefix comes first, then
  the one with the lower id, so that without penalties K = 1 is `single.greedy`.

  Args:
    step: the model, with rows b * K + k, N = B * K; see `repeat_rows` for what is in its closure.
    state: [B, ...] state before the first step.
    first: [B] int32, see `single.greedy`, as for `limits` and `rules`.
    beam: K, alpha and beta.
    source_mask: [B, S] bool, False is padding, which needs no attention; None where there is none.

  Returns:
    K hypotheses per row.

  Raises:
    InputError: a number is out of range, or there is a coverage penalty and no attention.

  Source: Wu et al. 2016 (arXiv 1609.08144), section 7. Deviates from the paper: hypotheses are not
  pruned by their distance to the best one, and the sum over i is 1e-6 at least.
  """
  check_beam(beam)
  limits = jnp.clip(limits, 1, rules.max_length)
  carry = _first(step, repeat_rows(state, beam.size), first, rules, beam)
  attends = 'weights' in carry.trellis.extras
  check_coverage(beam.coverage_penalty, attends)
  # Of a memory that the model does not look at nothing is to be covered.
  seen = source_mask if attends else None

  def norm(lengths):
    return ((5.0 + lengths) / 6.0) ** beam.length_penalty

  def advance(carry):
    t, alive, _, trellis = carry
    state, log_probs, extras = step(alive.state, alive.last.reshape(-1))
    extras = {name: a.reshape(*alive.last.shape, *a.shape[1:]) for name, a in extras.items()}
    coverage = alive.coverage + extras['weights'] if attends else alive.coverage
    candidates = _continuations(alive.log_probs, forbid(log_probs, rules.forbidden))
    ends = (candidates.ids == rules.specials.eos) | (t + 1 >= limits)[:, None]
    costs = beam.coverage_penalty * _log_coverage(coverage, seen)
    finished = _finish(carry.finished, candidates, ends, t + 1, norm(t + 1), costs)
    kept = _go_on(candidates, ends)
    hopeless = kept.log_probs[:, :1] / norm(limits)[:, None] <= finished.scores[:, -1:]
    alive = _Alive(
      _reorder(state, kept.parents),
      kept.ids,
      jnp.where(hopeless, -jnp.inf, kept.log_probs),
      jnp.take_along_axis(coverage, kept.parents[:, :, None], 1),
    )
    return _Carry(t + 1, alive, finished, _record(trellis, t, kept, extras))

  carry = lax.while_loop(lambda carry: (carry.alive.log_probs > -jnp.inf).any(), advance, carry)
  return _trace(carry.finished, carry.trellis, rules.specials.pad)


class _Candidates(NamedTuple):
  """Continuations, each row's most probable first."""

  log_probs: Array  # [B, C] float32, -inf where there is none
  parents: Array  # [B, C] int32 in [0, K), the alive hypothesis that is continued
  ids: Array  # [B, C] int32


class _Alive(NamedTuple):
  """Hypotheses that go on, each row's most probable first."""

  state: State  # [B * K, ...]
  last: Array  # [B, K] int32
  log_probs: Array  # [B, K] float32, -inf where there is none
  coverage: Array  # [B, K, S] float32, the sum of the weights


class _Finished(NamedTuple):
  """Hypotheses that ended, each row's best first."""

  scores: Array  # [B, K] float32, -inf where there is none
  log_probs: Array  # [B, K] float32
  lengths: Array  # [B, K] int32
  parents: Array  # [B, K] int32, the hypothesis alive before the last symbol
  ids: Array  # [B, K] int32, the last symbol


class _Trellis(NamedTuple):
  """The alive hypotheses of every step, as pointers to the ones before: nothing long is copied
  until the end."""

  ids: Array  # [T, B, K] int32
  parents: Array  # [T, B, K] int32, the hypothesis alive one step before
  # [T, B, K, ...], what the hypothesis alive one step before records for any continuation
  extras: dict[str, Array]


class _Carry(NamedTuple):
  t: Array  # [] int32
  alive: _Alive
  finished: _Finished
  trellis: _Trellis


def _first(step, state, first, rules, beam):
  shape, num_steps = (len(first), beam.size), rules.max_length
  last = jnp.repeat(first[:, None], beam.size, 1)
  shapes = extras_of(step, state, last.reshape(-1))
  extras = {
    name: jnp.zeros((num_steps, *shape, *a.shape[1:]), a.dtype) for name, a in shapes.items()
  }
  num_positions = shapes['weights'].shape[-1] if 'weights' in shapes else 0
  none, zeros = jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32)
  pointers = jnp.zeros((num_steps, *shape), jnp.int32)
  return _Carry(
    jnp.int32(0),
    _Alive(state, last, none.at[:, 0].set(0.0), jnp.zeros((*shape, num_positions))),
    _Finished(none, none, zeros, zeros, zeros),
    _Trellis(pointers, pointers, extras),
  )


def _record(trellis, t, kept, extras):
  """Returns the trellis with one more step."""
  return _Trellis(
    trellis.ids.at[t].set(kept.ids),
    trellis.parents.at[t].set(kept.parents),
    {name: a.at[t].set(extras[name]) for name, a in trellis.extras.items()},
  )


def _continuations(so_far, log_probs):
  """Returns the 2K most probable continuations: [B, K] and [B * K, V] to [B, 2K]."""
  batch_size, beam_size = so_far.shape
  # Ranked before they are added to what may be so much larger that two of them become equal.
  gains, ids = most_probable(log_probs, min(2 * beam_size, log_probs.shape[-1]))
  sums = so_far[:, :, None] + gains.reshape(batch_size, beam_size, -1)
  sums, order = lax.top_k(sums.reshape(batch_size, -1), 2 * beam_size)
  return _Candidates(
    sums, order // gains.shape[-1], jnp.take_along_axis(ids.reshape(batch_size, -1), order, 1)
  )


def _finish(finished, candidates, ends, length, norm, costs):
  """Returns the K best of those kept and those that end now; of equals the kept, so nothing with
  -inf comes in."""
  beam_size = finished.scores.shape[1]
  ended = jax.tree.map(lambda a: a[:, :beam_size], candidates)
  log_probs = jnp.where(ends[:, :beam_size], ended.log_probs, -jnp.inf)
  scores = log_probs / norm + jnp.take_along_axis(costs, ended.parents, 1)
  new = _Finished(scores, log_probs, jnp.full_like(ended.ids, length), ended.parents, ended.ids)
  both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), finished, new)
  _, order = lax.top_k(both.scores, beam_size)
  return jax.tree.map(lambda a: jnp.take_along_axis(a, order, 1), both)


def _go_on(candidates, ends):
  log_probs, order = lax.top_k(jnp.where(ends, -jnp.inf, candidates.log_probs), ends.shape[1] // 2)
  return _Candidates(log_probs, *(jnp.take_along_axis(a, order, 1) for a in candidates[1:]))


def _reorder(state, parents):
  batch_size, beam_size = parents.shape
  rows = jnp.arange(batch_size)[:, None] * beam_size + parents
  return jax.tree.map(lambda a: a[rows.reshape(-1)], state)


def _trace(finished, trellis, pad):
  """Follows the pointers from the last symbols to the first."""

  def back(slots, step):
    t, ids, parents, extras = step
    last, inside = t + 1 == finished.lengths, t < finished.lengths
    ids = jnp.where(last, finished.ids, jnp.take_along_axis(ids, slots, 1))
    parents = jnp.where(last, finished.parents, jnp.take_along_axis(parents, slots, 1))
    own = {name: _of_parents(a, parents, inside) for name, a in extras.items()}
    return parents, (jnp.where(inside, ids, pad), own)

  steps = (jnp.arange(len(trellis.ids)), *trellis)
  _, (ids, extras) = lax.scan(back, jnp.zeros_like(finished.parents), steps, reverse=True)
  return Hypotheses(
    jnp.moveaxis(ids, 0, 2),
    finished.lengths,
    finished.log_probs,
    finished.scores,
    {name: jnp.moveaxis(a, 0, 2) for name, a in extras.items()},
  )


def _of_parents(a, parents, inside):
  """Returns [B, K, ...] of each hypothesis's parent, 0 where it has ended."""

  def over(b):
    return b.reshape(*b.shape, *[1] * (a.ndim - 2))

  return jnp.where(over(inside), jnp.take_along_axis(a, over(parents), 1), 0)


def _log_coverage(coverage, source_mask):
  logs = jnp.log(jnp.clip(coverage, _LEAST_COVERAGE, 1.0))
  return (logs if source_mask is None else jnp.where(source_mask[:, None], logs, 0.0)).sum(-1)
