"""Decoding of one hypothesis per row for a whole batch: greedy, or drawn. It runs inside `jax.jit`.

See `step` for the contract and the letters.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.decoding.sampling import Sampling, sample
from rnn_research.decoding.step import Hypotheses, Rules, Step, extras_of, forbid, most_probable
from rnn_research.typing import Array, Key, State


def greedy(step: Step, state: State, first: Array, limits: Array, rules: Rules) -> Hypotheses:
  """Takes the most probable symbol at every step, of equal ones the lowest id.

  Args:
    step: the model; see `step`.
    state: [B, ...] state before the first step.
    first: [B] int32, the symbols that are read first: BOS, or the last ones of a prompt.
    limits: [B] int32, the most symbols per row, EOS included, clipped to [1, T]; who reaches it
      ends without EOS.
    rules: what may be written.

  Returns:
    One hypothesis per row, K = 1.
  """

  def choose(t, log_probs):
    return most_probable(log_probs, 1)[1][:, 0]

  return _run(choose, step, state, first, limits, rules)


def sampled(
  step: Step, state: State, first: Array, limits: Array, rules: Rules, sampling: Sampling, key: Key
) -> Hypotheses:
  """Draws every symbol from the model.

  Args:
    step: see `greedy`, as for `state`, `first`, `limits` and `rules`.
    sampling: how symbols are drawn.
    key: of the draws; a row's draws depend on the others' number.

  Returns:
    One hypothesis per row, K = 1, with the log probabilities of the model as it is, at temperature
    1.
  """

  def choose(t, log_probs):
    noise = jax.random.gumbel(jax.random.fold_in(key, t), log_probs.shape)
    return sample(noise, log_probs, sampling)

  return _run(choose, step, state, first, limits, rules)


class _Line(NamedTuple):
  """What the loop carries."""

  t: Array  # [] int32
  state: State
  last: Array  # [B] int32
  active: Array  # [B] bool, False after the end
  lengths: Array  # [B] int32
  log_probs: Array  # [B] float32
  ids: Array  # [T, B] int32
  extras: dict[str, Array]  # [T, B, ...]


def _run(choose, step, state, first, limits, rules):
  """Writes `choose(t, log_probs [B, V]) -> [B]` until every row has ended."""
  limits = jnp.clip(limits, 1, rules.max_length)

  def advance(line):
    state, log_probs, extras = step(line.state, line.last)
    log_probs = forbid(log_probs, rules.forbidden)
    ids = jnp.where(line.active, choose(line.t, log_probs), rules.specials.pad)
    gains = jnp.take_along_axis(log_probs, ids[:, None], 1)[:, 0]
    return _Line(
      t=line.t + 1,
      state=state,
      last=ids,
      active=line.active & (ids != rules.specials.eos) & (line.t + 1 < limits),
      lengths=line.lengths + line.active,
      log_probs=line.log_probs + jnp.where(line.active, gains, 0.0),
      ids=line.ids.at[line.t].set(ids),
      extras={name: _recorded(line, name, now) for name, now in extras.items()},
    )

  line = lax.while_loop(lambda line: line.active.any(), advance, _start(step, state, first, rules))
  log_probs = line.log_probs[:, None]
  extras = {name: a.swapaxes(0, 1)[:, None] for name, a in line.extras.items()}
  return Hypotheses(line.ids.T[:, None], line.lengths[:, None], log_probs, log_probs, extras)


def _recorded(line, name, now):
  active = line.active.reshape(-1, *[1] * (now.ndim - 1))
  return line.extras[name].at[line.t].set(jnp.where(active, now, 0))


def _start(step, state, first, rules):
  size = len(first)
  extras = extras_of(step, state, first)
  return _Line(
    t=jnp.int32(0),
    state=state,
    last=first,
    active=jnp.ones(size, bool),
    lengths=jnp.zeros(size, jnp.int32),
    log_probs=jnp.zeros(size),
    ids=jnp.full((rules.max_length, size), rules.specials.pad, jnp.int32),
    extras={name: jnp.zeros((rules.max_length, *a.shape), a.dtype) for name, a in extras.items()},
  )
