"""Beam search over the step of a conditional model, see `search`, for a whole batch inside one
`jax.jit`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.decoding.search import Found, Specials, Step, best, forbid
from rnn_research.errors import InputError
from rnn_research.typing import Array, PyTree, State

# A source position never looked at costs log(1e-6): with the logarithm of 0 no other term of a
# score would count.
_LEAST_COVERAGE = 1e-6


def check_beam(beam_size: int, length_penalty: float, coverage_penalty: float) -> None:
  """Raises InputError, naming the flag, if a number is out of range."""
  if beam_size < 1:
    raise InputError(f'beam_size is {beam_size}, expected an integer >= 1')
  for name, value in (('length_penalty', length_penalty), ('coverage_penalty', coverage_penalty)):
    if not 0.0 <= value < float('inf'):
      raise InputError(f'{name} is {value}, expected a number >= 0')


def repeat_rows(tree: PyTree, times: int) -> PyTree:
  """Returns leaves [B, ...] as [B * times, ...]: row b becomes rows b * times to (b + 1) * times -
  1."""
  return jax.tree.map(lambda a: jnp.repeat(a, times, 0), tree)


def beam_search(
  step: Step,
  state: State,
  batch_size: int,
  limits: Array,
  max_length: int,
  *,
  beam_size: int,
  length_penalty: float,
  coverage_penalty: float,
  source_mask: Array | None = None,
  forbidden: tuple[int, ...] = (),
  specials: Specials = Specials(),
) -> Found:
  """Searches for the sequences with the highest scores among the continuations of the K most
  probable prefixes.

    s(Y, X) = log p(Y | X) / lp(Y) + cp(X, Y),   lp(Y) = (5 + |Y|)^alpha / 6^alpha,
    cp(X, Y) = beta sum_j log min(sum_i w_ij, 1)

  for the attention w_ij of symbol i to position j. At every step the 2K most probable continuations
  of the K alive hypotheses of a row are ranked by log p. Those among the first K that end, by EOS
  or at the row's limit, join the finished ones, of which the K with the highest scores are kept;
  the K best that do not end go on. A row is done when no alive hypothesis can get a higher score
  than the lowest kept one: log p <= 0 only falls and cp <= 0, so none gets more than log p /
  lp(limit). Of equals the one with the better prefix comes first, then the one with the lower id,
  so that without penalties K = 1 is `search.greedy`.

  Args:
    step: the model, see `search`, with rows b * K + k, N = B * K; see `repeat_rows` for what is in
      its closure.
    state: [B, ...] state before the first step.
    batch_size: see `search.greedy`, as for `limits`, `max_length`, `forbidden` and `specials`.
    beam_size: K.
    length_penalty: alpha; 0 ranks by log p.
    coverage_penalty: beta.
    source_mask: [B, S] bool, False is padding, which needs no attention; None where there is none.

  Returns:
    K hypotheses per row.

  Raises:
    InputError: a number is out of range, or there is a coverage penalty and no attention.

  Source: Wu et al. 2016 (arXiv 1609.08144), section 7. Deviates from the paper: hypotheses are not
  pruned by their distance to the best one, and the sum over i is 1e-6 at least.
  """
  check_beam(beam_size, length_penalty, coverage_penalty)
  limits = jnp.clip(limits, 1, max_length)
  state = repeat_rows(state, beam_size)
  carry = _first(step, state, (max_length, batch_size, beam_size), specials)
  num_positions = carry.trellis.weights.shape[-1]
  if coverage_penalty and not num_positions:
    raise InputError(
      f'coverage_penalty is {coverage_penalty}, expected 0 for a model without attention'
    )
  if source_mask is None:
    source_mask = jnp.ones((batch_size, num_positions), bool)

  def norm(lengths):
    return ((5.0 + lengths) / 6.0) ** length_penalty

  def advance(carry):
    t, alive, _, trellis = carry
    state, log_probs, weights = step(alive.state, alive.last.reshape(-1))
    weights = weights.reshape(trellis.weights.shape[1:])
    coverage = alive.coverage + weights
    candidates = _continuations(alive.log_probs, forbid(log_probs, forbidden))
    ends = (candidates.ids == specials.eos) | (t + 1 >= limits)[:, None]
    costs = coverage_penalty * _log_coverage(coverage, source_mask)
    finished = _finish(carry.finished, candidates, ends, t + 1, norm(t + 1), costs)
    kept = _go_on(candidates, ends)
    hopeless = kept.log_probs[:, :1] / norm(limits)[:, None] <= finished.scores[:, -1:]
    alive = _Alive(
      _reorder(state, kept.parents),
      kept.ids,
      jnp.where(hopeless, -jnp.inf, kept.log_probs),
      jnp.take_along_axis(coverage, kept.parents[:, :, None], 1),
    )
    return _Carry(
      t + 1,
      alive,
      finished,
      _Trellis(
        trellis.ids.at[t].set(kept.ids),
        trellis.parents.at[t].set(kept.parents),
        trellis.weights.at[t].set(weights),
      ),
    )

  carry = lax.while_loop(lambda carry: (carry.alive.log_probs > -jnp.inf).any(), advance, carry)
  return _trace(carry.finished, carry.trellis, specials.pad)


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
  # [T, B, K, S] float32, where the hypothesis alive one step before looks for any continuation
  weights: Array


class _Carry(NamedTuple):
  t: Array  # [] int32
  alive: _Alive
  finished: _Finished
  trellis: _Trellis


def _first(step, state, shape, specials):
  last = jnp.full(shape[1:], specials.bos, jnp.int32)
  num_positions = jax.eval_shape(step, state, last.reshape(-1))[2].shape[-1]
  none, zeros = jnp.full(shape[1:], -jnp.inf), jnp.zeros(shape[1:], jnp.int32)
  return _Carry(
    jnp.int32(0),
    _Alive(state, last, none.at[:, 0].set(0.0), jnp.zeros((*shape[1:], num_positions))),
    _Finished(none, none, zeros, zeros, zeros),
    _Trellis(
      jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.int32), jnp.zeros((*shape, num_positions))
    ),
  )


def _continuations(so_far, log_probs):
  """Returns the 2K most probable continuations: [B, K] and [B * K, V] to [B, 2K]."""
  batch_size, beam_size = so_far.shape
  # Ranked before they are added to what may be so much larger that two of them become equal.
  gains, ids = best(log_probs, min(2 * beam_size, log_probs.shape[-1]))
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
    t, ids, parents, weights = step
    last, inside = t + 1 == finished.lengths, t < finished.lengths
    ids = jnp.where(last, finished.ids, jnp.take_along_axis(ids, slots, 1))
    parents = jnp.where(last, finished.parents, jnp.take_along_axis(parents, slots, 1))
    weights = jnp.take_along_axis(weights, parents[:, :, None], 1)
    return parents, (jnp.where(inside, ids, pad), jnp.where(inside[:, :, None], weights, 0.0))

  steps = (jnp.arange(len(trellis.ids)), *trellis)
  _, (ids, weights) = lax.scan(back, jnp.zeros_like(finished.parents), steps, reverse=True)
  return Found(
    jnp.moveaxis(ids, 0, 2),
    finished.lengths,
    finished.log_probs,
    finished.scores,
    jnp.moveaxis(weights, 0, 2),
  )


def _log_coverage(coverage, source_mask):
  logs = jnp.log(jnp.clip(coverage, _LEAST_COVERAGE, 1.0))
  return jnp.where(source_mask[:, None], logs, 0.0).sum(-1)
