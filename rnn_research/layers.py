"""Small functions that cells and models share: products, embeddings, dropout."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal

from rnn_research.errors import InputError
from rnn_research.typing import Array, Key, Params, PyTree

# At or below this vocabulary size a one-hot product beats the lookup on CPU, whose gradient is a
# scatter-add.
ONE_HOT_LIMIT = 512


class Masked(NamedTuple):
  """A matrix whose inputs are multiplied by one mask per sequence: `matmul(x, Masked(w, m)) = (x *
  m) w`."""

  w: Array  # [F, H] float32
  mask: Array  # [B, F] float32, 0 or 1 / keep probability


class Normalized(NamedTuple):
  """A matrix whose product is layer-normalised:
  `matmul(x, Normalized(w, a, b)) = a * norm(x w) + b`."""

  w: PyTree  # [F, H] float32, or another wrapper
  scale: Array  # [H] float32
  offset: Array  # [H] float32


def matmul(x: Array, w: Array | Masked | Normalized, dtype=jnp.float32) -> Array:
  """Returns `x w` in float32, multiplied in `dtype`.

  Every cell multiplies by its weights through this function, which is what lets a combinator change
  a weight (mask its inputs, normalise its product) without knowing the cell.

  Args:
    x: [..., F] input or state.
    w: [F, H] float32 weights, or a wrapper of them.
    dtype: precision of the factors; sums are float32 whatever it is.

  Returns:
    [..., H] float32.

  Raises:
    ValueError: the sizes do not fit.
  """
  if isinstance(w, Masked):
    return matmul(x * jnp.broadcast_to(w.mask, x.shape), w.w, dtype)
  if isinstance(w, Normalized):
    normalized = normalize(matmul(x, w.w, dtype))
    return _over_columns(w.scale, normalized) * normalized + _over_columns(w.offset, normalized)
  if x.shape[-1] != w.shape[0]:
    raise ValueError(
      f'x has shape {x.shape}, its last axis does not fit weights of shape {w.shape}'
    )
  out_dtype = jnp.promote_types(jnp.float32, w.dtype)
  return jnp.matmul(x.astype(dtype), w.astype(dtype), preferred_element_type=out_dtype)


def affine(x: Array, w: Array | Masked | Normalized, b: Array, dtype=jnp.float32) -> Array:
  """Returns `x w + b` in float32 for `b = [H]`; see `matmul`."""
  product = matmul(x, w, dtype)
  return product + _over_columns(b, product)


def input_product(
  xs: Array, w: Array | Masked | Normalized, b: Array | None = None, dtype=jnp.float32
) -> Array:
  """Returns `x_t w + b` of all steps, what `project` of a cell that multiplies features is made of.

  Args:
    xs: [T, B, F].
    w: [F, H]; see `matmul`.
    b: [H], or None.
    dtype: precision of the factors.

  Returns:
    [T, B, H] float32.

  Raises:
    InputError: `xs` is not [T, B, F].
  """
  check_features(xs)
  return matmul(xs, w, dtype) if b is None else affine(xs, w, b, dtype)


def check_features(xs: Array) -> None:
  """Raises InputError unless inputs are [T, B, F]: [T, F] would broadcast in silence."""
  if xs.ndim != 3:
    raise InputError(
      f'xs has shape {xs.shape}, expected [T, B, F]: time steps, batch rows and features'
    )


def check_output(owner: str, y: PyTree) -> None:
  """Raises InputError unless the output of a cell is an array, which its owner computes with."""
  if not hasattr(y, 'shape'):
    raise InputError(
      f'{owner} needs a cell whose output is an array [B, H], found {type(y).__name__}; a cell '
      'that attends goes around it, or last in a stack'
    )


def normalize(a: Array, epsilon: float = 1e-5) -> Array:
  """Returns `(a - mean) / sqrt(var + epsilon)` over the last axis (Ba et al. 2016, equation 4)."""
  centred = a - a.mean(-1, keepdims=True)
  return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)


def sigmoid(a: Array) -> Array:
  """Returns `1 / (1 + exp(-a))` as `(tanh(a / 2) + 1) / 2`: the form that every engine of a cell
  computes."""
  return 0.5 * jnp.tanh(0.5 * a) + 0.5


def dropout(key: Key | None, x: Array, rate: float) -> Array:
  """Zeroes each element with probability `rate` and divides the rest by `1 - rate`; the identity
  without a key.

  The probability is rounded to a multiple of 2^-16: 16 random bits per element cost a third of a
  `bernoulli` on CPU.

  Raises:
    ValueError: `rate` is outside [0, 1).
  """
  if not 0.0 <= rate < 1.0:
    raise ValueError(f'dropout rate is {rate}, expected 0 <= rate < 1')
  if key is None or rate == 0.0:
    return x
  threshold = max(1, round((1.0 - rate) * 2**16))
  # The last number kept, not the first dropped: 2^16 itself would wrap to 0.
  keep = jax.random.bits(key, x.shape, jnp.uint16) <= threshold - 1
  return jnp.where(keep, x * (2**16 / threshold), 0.0)


def embed(table: Array, ids: Array) -> Array:
  """Returns the rows `table[ids]` bit for bit, as a one-hot product where that is faster.

  Args:
    table: [V, F] float32.
    ids: [...] int32 in [0, V).

  Returns:
    [..., F] float32.
  """
  if table.shape[0] <= ONE_HOT_LIMIT:
    one_hot = jax.nn.one_hot(ids, table.shape[0], dtype=table.dtype)
    # Exact: the three bfloat16 parts that a TPU makes of a float32 number add up to it. By default
    # accelerators round it.
    return jnp.matmul(one_hot, table, precision='highest')
  return table[ids]


def dense(params: Params, x: Array, dtype=jnp.float32) -> Array:
  """Returns `x w + b` for `params = {'w': [F, V], 'b': [V]}`, in float32."""
  return affine(x, params['w'], params['b'], dtype)


def init_dense(key: Key, size: int, units: int) -> Params:
  """Returns the parameters of `dense` from [..., size] to [..., units]; the bias starts at zero."""
  w = lecun_normal()(key, (size, units), jnp.float32)
  return {'w': w, 'b': jnp.zeros(units, jnp.float32)}


def _over_columns(a, like):
  return jnp.broadcast_to(a, like.shape)
