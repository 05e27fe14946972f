"""Layers of convolutional networks. Maps are [B, h, w, C] float32, kernels [k, k, C / groups, C'];
batch norms are folded into kernels and biases."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.nn.initializers import he_normal, zeros

from rnn_research.typing import Array

Padding = Callable[[int, int, int], tuple[int, int]]  # (length, kernel size, stride) of an axis
_AXES = ('NHWC', 'HWIO', 'NHWC')


def same(length: int, size: int, stride: int) -> tuple[int, int]:
  """Returns the padding of an axis as TensorFlow and JAX have it: the smaller half first."""
  total = max((-(-length // stride) - 1) * stride + size - length, 0)
  return total // 2, total - total // 2


def symmetric(length: int, size: int, stride: int) -> tuple[int, int]:
  """Returns the padding of an axis as PyTorch's networks have it, which at stride 2 puts a kernel
  one pixel to the left of where `same` does."""
  del length, stride
  return size // 2, size // 2


def padded(count: int) -> Padding:
  """Makes a padding of `count` zeros at both ends."""
  return lambda length, size, stride: (count, count)


def linear(x: Array) -> Array:
  """Returns `x`, where a layer has no activation."""
  return x


def convolve(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
  """Returns the cross-correlation of maps [B, h, w, C] with a kernel [k, k, C, C']."""
  pads = _pads(x, kernel, stride, padding)
  if len(kernel) == 1:  # a product of matrices, which XLA does not make of it on a CPU
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))[:, ::stride, ::stride] @ kernel[0, 0]
  return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=_AXES)


def convolve_depthwise(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
  """Returns the cross-correlation of every channel of maps [B, h, w, C] with a kernel of its own,
  [k, k, 1, C].

  XLA's own convolution takes 4 to 28 times as long on a CPU as the sum of shifted maps.
  """
  pads = _pads(x, kernel, stride, padding)

  def grouped(x, kernel):
    return lax.conv_general_dilated(
      x, kernel, (stride, stride), pads, dimension_numbers=_AXES, feature_group_count=x.shape[-1]
    )

  def shifted(x, kernel):
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = (slice(None, (n - len(kernel)) // stride * stride + 1) for n in x.shape[1:3])
    terms = [
      x[:, i:, j:][:, rows, columns][:, ::stride, ::stride] * kernel[i, j][None, None]
      for i in range(len(kernel))
      for j in range(len(kernel))
    ]
    return functools.reduce(jnp.add, terms)

  return lax.platform_dependent(x, kernel, cpu=shifted, default=grouped)


def _pads(x, kernel, stride, padding):
  return [padding(length, len(kernel), stride) for length in x.shape[1:3]]


class Convolution(nn.Module):
  """A convolution with its activation."""

  features: int
  size: int
  stride: int = 1
  padding: Padding = same
  activation: Callable[[Array], Array] = nn.relu

  @nn.compact
  def __call__(self, x):
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param('kernel', he_normal(), shape, jnp.float32)
    bias = self.param('bias', zeros, (self.features,), jnp.float32)
    return self.activation(convolve(x, kernel, self.stride, self.padding) + bias[None, None, None])


class Depthwise(nn.Module):
  """A convolution of every channel by itself, with ReLU6."""

  size: int
  stride: int
  padding: Padding

  @nn.compact
  def __call__(self, x):
    shape = (self.size, self.size, 1, x.shape[-1])
    kernel = self.param('kernel', he_normal(), shape, jnp.float32)
    bias = self.param('bias', zeros, (x.shape[-1],), jnp.float32)
    y = convolve_depthwise(x, kernel, self.stride, self.padding)
    return nn.relu6(y + bias[None, None, None])


class Dense(nn.Module):
  """A matrix and a bias, `y = x W + b`."""

  features: int

  @nn.compact
  def __call__(self, x):
    kernel = self.param('kernel', he_normal(), (x.shape[-1], self.features), jnp.float32)
    bias = self.param('bias', zeros, (self.features,), jnp.float32)
    return x @ kernel + bias[None]


class PooledClassifier(nn.Module):
  """Reads the mean of a map: returns it [B, C], and logits [B, classes]."""

  classes: int

  @nn.compact
  def __call__(self, deep):
    vector = deep.mean((1, 2))
    return vector, Dense(self.classes, name='fc')(vector)


def max_pool(size: int, *, before: int = 0, after: int = 0) -> Callable[[Array], Array]:
  """Makes a pooling at stride 2, with so many cells of padding at each axis' ends."""
  window, pads = (size, size), ((before, after), (before, after))
  return lambda x: nn.max_pool(x, window, (2, 2), pads)
