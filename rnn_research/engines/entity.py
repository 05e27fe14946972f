"""Slots behind gates over a whole sequence, with a hand-written backward pass.

The reverse loop has one product and elementwise lines; sums over the sequence are taken after it.
On one core of a CPU 20 slots of 100 numbers and 40 sentences take half the time that stepping does.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.layers import matmul
from rnn_research.typing import Array

_LEAST = 1e-12  # the square of a length below which a slot keeps it: at 0 it has no direction


class EntityWeights(NamedTuple):
  """What all steps share."""

  u: Array  # [D, D] float32
  own: Array  # [M, D] float32, what each slot's key and the bias add
  slope: Array  # [D] float32, of the PReLU


class EntityInputs(NamedTuple):
  """What the steps read."""

  s: Array  # [T, B, D] float32
  w_s: Array  # [T, B, D] float32
  c: Array  # [T, B, M] float32, what keys and biases add to the gates


def prelu(x: Array, slope: Array) -> Array:
  """Returns x where it is positive, else x times the slope of its coordinate, [..., D]."""
  return jnp.maximum(x, 0.0) + jnp.broadcast_to(slope, x.shape) * jnp.minimum(x, 0.0)


def candidate(weights: EntityWeights, h: Array, w_s: Array, dtype=jnp.float32) -> Array:
  """Returns `h_j U + own_j + W s`, [B, M, D] float32, which the PReLU is taken of."""
  return matmul(h, weights.u, dtype) + weights.own[None] + w_s[:, None]


def update(
  weights: EntityWeights, h: Array, a: Array, s: Array, c: Array
) -> tuple[Array, Array, Array]:
  """Returns the gates g [B, M], the slots before they get length 1, `z = h + g n`, and their
  reciprocal lengths [B, M, 1], or 1 for a slot of no length, which stays as it is.

  Args:
    weights: of the cell.
    h: [B, M, D] float32, the slots.
    a: of `candidate`.
    s: [B, D] float32, the sentence.
    c: [B, M] float32.
  """
  g = jax.nn.sigmoid((s[:, None] * h).sum(-1) + c)
  z = h + g[:, :, None] * prelu(a, weights.slope)
  square = (z * z).sum(-1, keepdims=True)
  return g, z, lax.rsqrt(jnp.where(square > _LEAST, square, 1.0))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def entity_scan(
  dtype, weights: EntityWeights, h: Array, xs: EntityInputs, mask: Array
) -> tuple[Array, Array]:
  """Runs all steps.

  Args:
    dtype: of the factors of products.
    weights: of the cell.
    h: [B, M, D] float32, the slots before the first sentence.
    xs: the sentences.
    mask: [T, B] bool; False holds the slots and gives gates of 0.

  Returns:
    The slots after the last sentence, and the gates [T, B, M] float32.
  """
  return _forward(dtype, weights, h, xs, mask)[0]


def _forward(dtype, weights, h, xs, mask):
  def body(h, inputs):
    x, there = inputs
    a = candidate(weights, h, x.w_s, dtype)
    g, z, r = update(weights, h, a, x.s, x.c)
    new = jnp.where(there[:, None, None], z * r, h)
    return new, (jnp.where(there[:, None], g, 0.0), h, a)

  last, (gs, hs, candidates) = lax.scan(body, h, (xs, mask))
  return (last, gs), (weights, xs, mask, hs, candidates)


def _backward(dtype, saved, cotangents):
  weights, xs, mask, hs, candidates = saved
  dlast, dgs = cotangents
  u_t = jnp.array(weights.u.T)

  def body(dh, inputs):
    x, there, h, a, dg = inputs
    g, z, r = update(weights, h, a, x.s, x.c)
    d = jnp.where(there[:, None, None], dh, 0.0)
    dz = r * d - z * (r * r * r * (z * d).sum(-1, keepdims=True))
    dg = jnp.where(there[:, None], dg, 0.0) + (dz * prelu(a, weights.slope)).sum(-1)
    dn = g[:, :, None] * dz
    da = dn * jnp.where(a > 0, 1.0, jnp.broadcast_to(weights.slope, a.shape))
    dc = dg * g * (1.0 - g)
    through = dz + matmul(da, u_t, dtype) + dc[:, :, None] * x.s[:, None]
    return jnp.where(there[:, None, None], through, dh), (dn, da, dc)

  steps = xs, mask, hs, candidates, dgs
  dh, (dns, das, dcs) = lax.scan(body, dlast, steps, reverse=True)
  dweights = EntityWeights(
    u=matmul(_flat(hs).T, _flat(das), dtype),
    own=das.sum((0, 1)),
    slope=_flat(dns * jnp.minimum(candidates, 0.0)).sum(0),
  )
  return dweights, dh, EntityInputs(jnp.einsum('tbm,tbmd->tbd', dcs, hs), das.sum(2), dcs), None


def _flat(a):
  return a.reshape(-1, a.shape[-1])


entity_scan.defvjp(_forward, _backward)
