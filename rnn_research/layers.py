"""Small functions that cells and models share: products, embeddings, dropout."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal

from rnn_research.errors import InputError
from rnn_research.products import rounded_product, transposed
from rnn_research.typing import Array, Key, Params, PyTree

# At or below this vocabulary size accelerators multiply one-hot vectors, where a CPU looks rows up.
ONE_HOT_LIMIT = 512


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneHot:
  """One-hot vectors that are never made: `matmul` looks up rows of the matrix, whose gradient adds
  to them; whatever else reads these sees the vectors.

  On a core of a CPU an LSTM of 128 units over 100 symbols takes .83 of a training step of vectors.
  """

  ids: Array  # [...] int32 in [0, num_symbols)
  num_symbols: int = dataclasses.field(metadata={'static': True})

  @property
  def shape(self) -> tuple[int, ...]:
    return (*self.ids.shape, self.num_symbols)

  @property
  def ndim(self) -> int:
    return self.ids.ndim + 1

  @property
  def dtype(self):
    return jnp.dtype(jnp.float32)

  def __jax_array__(self) -> Array:
    return jax.nn.one_hot(self.ids, self.num_symbols)


def _of_vectors(name):
  return lambda self, *args, **keywords: getattr(jnp.asarray(self), name)(*args, **keywords)


# What `jnp` and arrays on the other side of an operator do not turn into vectors by themselves.
_OPERATORS = ('add', 'sub', 'mul', 'truediv', 'matmul')
for _name in (
  *('astype', 'reshape', 'swapaxes', '__getitem__', '__neg__'),
  *(f'__{side}{name}__' for side in ('', 'r') for name in _OPERATORS),
):
  setattr(OneHot, _name, _of_vectors(_name))


def one_hot(ids: Array, size: int) -> Array | OneHot:
  """Returns symbols [T, B] as what a cell reads, [T, B, size]: `OneHot` on a CPU, vectors
  elsewhere, where looking up was not measured."""
  return OneHot(ids, size) if _looks_up() else jax.nn.one_hot(ids, size)


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
    x: [..., F] input or state; an input may be `OneHot`.
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
  if isinstance(x, OneHot):  # rounded behind the lookup: gradients add up in float32
    return w[x.ids].astype(dtype).astype(out_dtype)
  # As a matrix: on a CPU the gradient of w is a slow product where it sums over several axes.
  rows = _rows(x)
  if jnp.finfo(dtype).bits < 32 and out_dtype == jnp.float32:
    y = rounded_product(rows, w, dtype)
  else:
    y = jnp.matmul(rows.astype(dtype), w.astype(dtype), preferred_element_type=out_dtype)
  return y.reshape(*x.shape[:-1], w.shape[-1])


def matmul_transposed(x: Array | OneHot, d: Array, dtype=jnp.float32) -> Array:
  """Returns the gradient of w in `matmul(x, w, dtype)`, `x^T d` over all rows.

  Args:
    x: [..., F] float32, or `OneHot`.
    d: [..., H] float32, the gradient of the product.
    dtype: precision of the factors.

  Returns:
    [F, H] float32; float64 where d is.
  """
  rows = _rows(d)
  if isinstance(x, OneHot):
    zeros = jnp.zeros((x.num_symbols, d.shape[-1]), d.dtype)
    return zeros.at[x.ids.reshape(-1)].add(rows.astype(dtype).astype(d.dtype))
  return matmul(transposed(_rows(x)), rows, dtype)


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
  if table.shape[0] <= ONE_HOT_LIMIT and not _looks_up():
    vectors = jax.nn.one_hot(ids, table.shape[0], dtype=table.dtype)
    # Exact: the three bfloat16 parts that a TPU makes of a float32 number add up to it. By default
    # accelerators round it.
    return jnp.matmul(vectors, table, precision='highest')
  return table[ids]


def dense(params: Params, x: Array, dtype=jnp.float32) -> Array:
  """Returns `x w + b` for `params = {'w': [F, V], 'b': [V]}`, in float32."""
  return affine(x, params['w'], params['b'], dtype)


def init_dense(key: Key, size: int, units: int) -> Params:
  """Returns the parameters of `dense` from [..., size] to [..., units]; the bias starts at zero."""
  w = lecun_normal()(key, (size, units), jnp.float32)
  return {'w': w, 'b': jnp.zeros(units, jnp.float32)}


def _rows(a):
  """Returns [..., F] as a matrix, of no rows or columns too, which -1 could not tell."""
  return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def _looks_up():
  """Whether a lookup and its gradient, a scatter-add, are quicker than products. On a core of a CPU
  10,000 rows of 100 x 128 take a twelfth, of 100 x 512 a fifth of the time (jax 0.10 and 0.12)."""
  return jax.default_backend() == 'cpu'


def _over_columns(a, like):
  return jnp.broadcast_to(a, like.shape)
