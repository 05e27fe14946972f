"""Sampling from a model that runs on its own outputs."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnn_research.combinators.depth import stack
from rnn_research.errors import InputError
from rnn_research.layers import ONE_HOT_LIMIT
from rnn_research.models.language_model import LanguageModel
from rnn_research.stepping import free_run, prepare_cell, project_one
from rnn_research.typing import Array, Key, Params

# Below it dividing would overflow; the most probable symbol is what would be drawn.
_COLDEST = 1e-30
# Symbols per call of the compiled loop: often enough to watch, rare enough to cost nothing.
_CHUNK = 64


class Sampling(NamedTuple):
  """How a symbol is drawn from logits.

  Attributes:
    temperature: divides the logits; 0 takes the most probable symbol.
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
  if sampling.top_k < 0:
    raise InputError(f'top_k is {sampling.top_k}, expected an integer >= 0 (0 keeps all symbols)')
  if not 0.0 < sampling.top_p <= 1.0:
    raise InputError(f'top_p is {sampling.top_p}, expected a number in (0, 1]')


def sample(noise: Array, logits: Array, sampling: Sampling) -> Array:
  """Draws one symbol per row, by the Gumbel-max trick.

  Args:
    noise: [B, V] float32, independent standard Gumbel numbers, as of `jax.random.gumbel`. Numbers
      for many steps are drawn at once, since a generator in a loop costs a quarter of a step on a
      CPU.
    logits: [B, V] float32.
    sampling: see `Sampling`.

  Returns:
    [B] int32.
  """
  if sampling.temperature < _COLDEST:
    return jnp.argmax(logits, -1).astype(jnp.int32)
  logits = logits / sampling.temperature
  size = logits.shape[-1]
  if not 0 < sampling.top_k < size and sampling.top_p == 1.0:
    return jnp.argmax(logits + noise, -1).astype(jnp.int32)
  # Sorted, and of equal logits the first in front: so exactly k are kept, as `argmax` would choose
  # them.
  logits, symbols = lax.top_k(logits, min(sampling.top_k or size, size))
  chances = jax.nn.softmax(logits, -1)
  logits = jnp.where(jnp.cumsum(chances, -1) - chances < sampling.top_p, logits, -jnp.inf)
  drawn = jnp.argmax(logits + noise[:, : logits.shape[-1]], -1)
  return jnp.take_along_axis(symbols, drawn[:, None], -1)[:, 0].astype(jnp.int32)


def sampler(
  model: LanguageModel, sampling: Sampling, forbidden: tuple[int, ...] = ()
) -> Callable[..., Iterator]:
  """Compiles sampling from a language model.

  Args:
    model: the language model.
    sampling: how symbols are drawn.
    forbidden: symbols that are never drawn.

  Returns:
    `generate(params, prompt, length, key)`, an iterator over arrays [<= 64, B] int32 that number
    `length` steps in all. `prompt` is [P, B] int32, P >= 1; it warms the state up and is not
    repeated in the output.
  """
  cell = stack(*model.cells)

  def draw(params, hs, noise):
    logits = model.logits(params, hs)
    logits = logits.at[:, jnp.array(forbidden, int)].set(-jnp.inf)
    return sample(noise, logits, sampling)

  @jax.jit
  def start(params, prompt, key):
    states, hs = model.unroll(params, model.initial_state(params, prompt.shape[1]), prompt)
    noise = jax.random.gumbel(key, (prompt.shape[1], model.vocabulary_size))
    return states, draw(params, hs[-1], noise), _projected_symbols(model, cell, params)

  @jax.jit
  def run(params, symbols, states, ids, key):
    def project(cell_params, ids):
      if symbols is None:
        return cell.project(cell_params, model.embed(params, ids))
      return jax.tree.map(lambda a: a[ids], symbols)

    def feed(y, noise):
      drawn = draw(params, y, noise)
      return drawn, drawn

    noise = jax.random.gumbel(key, (_CHUNK, len(ids), model.vocabulary_size))
    return free_run(
      cell._replace(project=project), params['cells'], states, ids, feed, _CHUNK, feed_inputs=noise
    )

  def generate(params: Params, prompt: np.ndarray, length: int, key: Key) -> Iterator[np.ndarray]:
    states, ids, symbols = start(params, prompt, jax.random.fold_in(key, 0))
    yield np.asarray(ids)[None][:length]
    for chunk, done in enumerate(range(1, length, _CHUNK), 1):
      states, drawn = run(params, symbols, states, ids, jax.random.fold_in(key, chunk))
      ids = drawn[-1]
      yield np.asarray(drawn)[: length - done]

  return generate


def _projected_symbols(model, cell, params):
  """Returns the projected symbols of the first layer, leaves [V, ...], or None where that is a
  large table.

  Looking a symbol up reads one row, projecting it reads all of W_x.
  """
  if model.vocabulary_size > ONE_HOT_LIMIT:
    return None
  cell_params, _ = prepare_cell(cell, params['cells'], None, model.vocabulary_size, None)
  return project_one(cell, cell_params, model.embed(params, jnp.arange(model.vocabulary_size)))
