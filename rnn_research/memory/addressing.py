"""Soft addressing: where heads of a memory machine look, and what they read and write there.

A memory has N rows M_i of W numbers per batch row; a weighting w of a head is a distribution over
them. Axes in this file: R heads, N memory rows, W numbers in each. A memory is stored [B, W, N]:
with N last, where numbers lie side by side, its step in training took 0.6 of the time on a CPU (128
rows of 20).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research.errors import InputError
from rnn_research.typing import Array

# Of full precision on every platform: in TF32, a GPU's default, what is read is not what was
# written.
einsum = functools.partial(jnp.einsum, precision='highest')

# Within the square root of a norm: a row that holds nothing is like no key.
NORM_EPSILON = 1e-6
# The logarithm of a weight of 0 is that of this; far below what float32 adds up.
_LEAST_WEIGHT = 1e-30


class MemoryOutput(NamedTuple):
  """The output of a memory machine.

  Attributes:
    h: [B, H + R * W], the controller's h and what the heads read: what a readout multiplies.
    read_weights: [B, R, N] float32, where each head read.
    write_weights: [B, K, N] float32, where each head wrote.
  """

  h: Array
  read_weights: Array
  write_weights: Array


def content_weights(memory: Array, keys: Array, strengths: Array) -> Array:
  """Returns how much rows are like a key.

    w_i = softmax_i(beta cos(k, M_i)),    cos(k, m) = k m / sqrt((k k + eps) (m m + eps))

  Args:
    memory: [B, W, N] float32.
    keys: [B, R, W] float32, k.
    strengths: [B, R] float32, beta > 0.

  Returns:
    [B, R, N] float32.

  Source: Graves et al. 2014 (arXiv 1410.5401), equations 5 and 6. Deviates from the paper: eps, so
  that neither a value nor a gradient of an empty row or key is not-a-number.
  """
  # The strength and the key's norm scale the key, not the product, which is larger.
  scaled = keys * (strengths[..., None] / _norms(keys, 2))
  products = einsum('brw,bwn->brn', scaled, memory)
  return jax.nn.softmax(products / _norms(memory, 1), -1)


def _norms(a, axis):
  return jnp.sqrt(jnp.sum(a * a, axis, keepdims=True) + NORM_EPSILON)


def interpolate(new: Array, old: Array, gates: Array) -> Array:
  """Returns `w_i = g new_i + (1 - g) old_i`, [B, R, N] float32.

  Args:
    new: [B, R, N] float32, weights by content.
    old: [B, R, N] float32, weights of the step before.
    gates: [B, R] float32, g in [0, 1].

  Source: Graves et al. 2014, equation 7. Deviates from the paper: nothing.
  """
  return old + gates[..., None] * (new - old)


def shift(weights: Array, shifts: Array) -> Array:
  """Returns weights moved around the ring of rows.

    w~_i = sum_j s_j w_{(i - j) mod N},    j = -r .. r

  Args:
    weights: [B, R, N] float32.
    shifts: [B, R, 2 r + 1] float32, the distribution s over moves, the middle one stays.

  Returns:
    [B, R, N] float32.

  Raises:
    InputError: the moves have no middle, or are more than rows.

  Source: Graves et al. 2014, equation 8. Deviates from the paper: nothing.
  """
  num_rows, num_moves = weights.shape[-1], shifts.shape[-1]
  if num_moves % 2 == 0 or num_moves > num_rows:
    raise InputError(
      f'shifts are over {num_moves} moves, expected an odd number up to that of rows, {num_rows}'
    )
  reach = num_moves // 2
  ring = jnp.concatenate([weights[..., num_rows - reach :], weights, weights[..., :reach]], -1)
  moved = [
    shifts[..., j, None] * ring[..., 2 * reach - j : 2 * reach - j + num_rows]
    for j in range(num_moves)
  ]
  return sum(moved, jnp.zeros_like(weights))


def sharpen(weights: Array, exponents: Array) -> Array:
  """Returns `w_i = w~_i^gamma / sum_j w~_j^gamma`, [B, R, N] float32.

  In logarithms, so that no power underflows before the division.

  Args:
    weights: [B, R, N] float32, w~ >= 0.
    exponents: [B, R] float32, gamma >= 1.

  Source: Graves et al. 2014, equation 9. Deviates from the paper: nothing.
  """
  return jax.nn.softmax(exponents[..., None] * jnp.log(jnp.maximum(weights, _LEAST_WEIGHT)), -1)


def read(memory: Array, weights: Array) -> Array:
  """Returns `r = sum_i w_i M_i`, [B, R, W] float32, of weights [B, R, N] and a memory
  [B, W, N].

  Source: Graves et al. 2014, equation 2. Deviates from the paper: nothing.
  """
  return einsum('brn,bwn->brw', weights, memory)


def write(memory: Array, weights: Array, erase: Array, add: Array) -> Array:
  """Returns the memory after all heads have erased, and then all have added.

    M_i <- M_i prod_k (1 - w_ki e_k) + sum_k w_ki a_k

  Args:
    memory: [B, W, N] float32.
    weights: [B, K, N] float32.
    erase: [B, K, W] float32, e in [0, 1].
    add: [B, K, W] float32, a.

  Returns:
    [B, W, N] float32.

  Source: Graves et al. 2014, equations 3 and 4. Deviates from the paper: nothing.
  """
  for k in range(weights.shape[1]):
    memory = memory * (1.0 - erase[:, k, :, None] * weights[:, k, None])
  return memory + einsum('bkw,bkn->bwn', add, weights)
