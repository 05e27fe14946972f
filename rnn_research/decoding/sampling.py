"""How a symbol is drawn."""

from numbers import Integral
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.errors import InputError
from rnn_research.typing import Array

# Below it a temperature is 0: what tells logits apart then is their rounding.
COLDEST = 1e-6


class Sampling(NamedTuple):
  """How a symbol is drawn from logits.

  Attributes:
    temperature: divides the logits; 0, or what is below 1e-6, takes the most probable symbol.
    top_k: keeps the k most probable symbols; 0 keeps all.
    top_p: keeps the smallest set of symbols whose probabilities reach p (Holtzman et al. 2020); 1
      keeps all.
  """

  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0


def check_sampling(sampling: Sampling) -> None:
  """Raises InputError, naming the flag, if a number is out of range."""
  if not 0.0 <= sampling.temperature < float('inf'):
    raise InputError(f'temperature is {sampling.temperature}, expected a number >= 0')
  if not isinstance(sampling.top_k, Integral) or sampling.top_k < 0:
    raise InputError(f'top_k is {sampling.top_k}, expected an integer >= 0 (0 keeps all symbols)')
  if not 0.0 < sampling.top_p <= 1.0:
    raise InputError(f'top_p is {sampling.top_p}, expected a number in (0, 1]')


def sample(noise: Array, logits: Array, sampling: Sampling) -> Array:
  """Draws one symbol per row, by the Gumbel-max trick.

  Args:
    noise: [B, V] float32, independent standard Gumbel numbers, as of `jax.random.gumbel`. Numbers
      for many steps are drawn at once, since a generator in a loop costs a quarter of a step on a
      CPU.
    logits: [B, V] float32, log probabilities or any numbers that differ from them by one per row.
    sampling: see `Sampling`.

  Returns:
    [B] int32.
  """
  if sampling.temperature < COLDEST:
    return jnp.argmax(logits, -1).astype(jnp.int32)
  logits, size = logits / sampling.temperature, logits.shape[-1]
  if not 0 < sampling.top_k < size and sampling.top_p == 1.0:
    return jnp.argmax(logits + noise, -1).astype(jnp.int32)
  # Sorted, and of equal logits the first in front: so exactly k are kept, as `argmax` would choose
  # them.
  logits, symbols = lax.top_k(logits, min(sampling.top_k or size, size))
  chances = jax.nn.softmax(logits, -1)
  logits = jnp.where(jnp.cumsum(chances, -1) - chances < sampling.top_p, logits, -jnp.inf)
  drawn = jnp.argmax(logits + noise[:, : logits.shape[-1]], -1)
  return jnp.take_along_axis(symbols, drawn[:, None], -1)[:, 0].astype(jnp.int32)
