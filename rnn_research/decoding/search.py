"""Decoding of a conditional model for a whole batch: greedy and by sampling here, by beam search in
`beam`.

All of it can run inside one `jax.jit`, over an abstract step of the model

  step: (state, ids [N] int32) -> (state, log_probs [N, V] float32, weights [N, S] float32)

which reads the symbols written last (BOS at first) and gives the log probabilities of the next
ones, and where in the source it looked for them; S is 0 for a model without attention. `state` has
leaves [N, ...]. Beam search reorders it at every step, so what stays the same from step to step,
such as the encoded source, belongs in the closure of `step`. Rows that have ended are stepped on
until the last one has, from any ids; nothing is read from them.

Letters: S source positions, K hypotheses per row, T = `max_length`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.data.codec import BOS, EOS, PAD
from rnn_research.decoding.sampling import Sampling, sample
from rnn_research.typing import Array, Key, State

Step = Callable[[State, Array], tuple[State, Array, Array]]

# Symbols per block of `best`, the fastest of 8 to 128 on a CPU.
_BLOCK = 16


class Specials(NamedTuple):
  """Ids of the symbols that mean padding, the start and the end of a sequence."""

  pad: int = PAD
  bos: int = BOS
  eos: int = EOS


class Found(NamedTuple):
  """What was decoded, of each row the best first.

  Attributes:
    ids: [B, K, T] int32, EOS included and PAD after it.
    lengths: [B, K] int32, with EOS; 0 where a row has fewer than K hypotheses.
    log_probs: [B, K] float32, the sum of the model's log p; -inf where there is no hypothesis.
    scores: [B, K] float32, what they are ranked by; `log_probs` unless there are penalties.
    weights: [B, K, T, S] float32, the attention under which each symbol was written; 0 after EOS.
  """

  ids: Array
  lengths: Array
  log_probs: Array
  scores: Array
  weights: Array


def greedy(
  step: Step,
  state: State,
  batch_size: int,
  limits: Array,
  max_length: int,
  forbidden: tuple[int, ...] = (),
  specials: Specials = Specials(),
) -> Found:
  """Takes the most probable symbol at every step, of equal ones the lowest id.

  Args:
    step: the model; see the module.
    state: [B, ...] state before the first step.
    batch_size: B.
    limits: [B] int32, the most symbols per row, EOS included, clipped to [1, T]; who reaches it
      ends without EOS.
    max_length: T.
    forbidden: symbols that are never written.
    specials: ids of PAD, BOS and EOS.

  Returns:
    One hypothesis per row, K = 1.
  """
  return _one(
    lambda t, log_probs: best(log_probs, 1)[1][:, 0],
    step,
    state,
    batch_size,
    limits,
    max_length,
    forbidden,
    specials,
  )


def sampled(
  step: Step,
  state: State,
  key: Key,
  batch_size: int,
  limits: Array,
  max_length: int,
  sampling: Sampling,
  forbidden: tuple[int, ...] = (),
  specials: Specials = Specials(),
) -> Found:
  """Draws every symbol from the model.

  Args:
    step: the model; see the module.
    state: [B, ...] state before the first step.
    key: of the draws; a row's draws depend on the others' number.
    batch_size: see `greedy`, as for `limits`, `max_length`, `forbidden` and `specials`.
    sampling: how symbols are drawn.

  Returns:
    One hypothesis per row, K = 1, with the log probabilities of the model as it is, at temperature
    1.
  """

  def choose(t, log_probs):
    return sample(
      jax.random.gumbel(jax.random.fold_in(key, t), log_probs.shape), log_probs, sampling
    )

  return _one(choose, step, state, batch_size, limits, max_length, forbidden, specials)


class _Line(NamedTuple):
  """What the loop of `_one` carries."""

  t: Array  # [] int32
  state: State
  last: Array  # [B] int32
  active: Array  # [B] bool, False after the end
  lengths: Array  # [B] int32
  log_probs: Array  # [B] float32
  ids: Array  # [T, B] int32
  weights: Array  # [T, B, S] float32


def _one(choose, step, state, batch_size, limits, max_length, forbidden, specials):
  limits = jnp.clip(limits, 1, max_length)

  def advance(line):
    state, log_probs, weights = step(line.state, line.last)
    log_probs = forbid(log_probs, forbidden)
    ids = jnp.where(line.active, choose(line.t, log_probs), specials.pad)
    gains = jnp.take_along_axis(log_probs, ids[:, None], 1)[:, 0]
    return _Line(
      line.t + 1,
      state,
      ids,
      line.active & (ids != specials.eos) & (line.t + 1 < limits),
      line.lengths + line.active,
      line.log_probs + jnp.where(line.active, gains, 0.0),
      line.ids.at[line.t].set(ids),
      line.weights.at[line.t].set(jnp.where(line.active[:, None], weights, 0.0)),
    )

  start = jnp.full(batch_size, specials.bos, jnp.int32)
  num_positions = jax.eval_shape(step, state, start)[2].shape[-1]
  line = lax.while_loop(
    lambda line: line.active.any(),
    advance,
    _Line(
      jnp.int32(0),
      state,
      start,
      jnp.ones(batch_size, bool),
      jnp.zeros(batch_size, jnp.int32),
      jnp.zeros(batch_size),
      jnp.full((max_length, batch_size), specials.pad, jnp.int32),
      jnp.zeros((max_length, batch_size, num_positions)),
    ),
  )
  log_probs = line.log_probs[:, None]
  return Found(
    line.ids.T[:, None],
    line.lengths[:, None],
    log_probs,
    log_probs,
    line.weights.swapaxes(0, 1)[:, None],
  )


def forbid(log_probs: Array, forbidden: tuple[int, ...]) -> Array:
  """Returns log probabilities [N, V] with those of forbidden symbols at -inf."""
  return log_probs.at[:, jnp.array(forbidden, int)].set(-jnp.inf)


def best(log_probs: Array, k: int) -> tuple[Array, Array]:
  """`lax.top_k` of [N, V], in two stages where that is faster: the k blocks with the highest maxima
  hold the k best.

  The blocks stay in their order, so of equals the lowest ids are taken here too.
  """
  num_rows, size = log_probs.shape
  if size < 4 * k * _BLOCK:
    return lax.top_k(log_probs, k)
  blocks = jnp.pad(log_probs, ((0, 0), (0, -size % _BLOCK)), constant_values=-jnp.inf).reshape(
    num_rows, -1, _BLOCK
  )
  chosen = jnp.sort(lax.top_k(blocks.max(-1), k)[1], -1)
  values, places = lax.top_k(
    jnp.take_along_axis(blocks, chosen[:, :, None], 1).reshape(num_rows, -1), k
  )
  return values, jnp.take_along_axis(chosen, places // _BLOCK, 1) * _BLOCK + places % _BLOCK
