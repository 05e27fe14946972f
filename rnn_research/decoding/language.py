"""Writing with a language model, in pieces that can be watched as they come."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax import lax

from rnn_research.decoding.sampling import Sampling, sample
from rnn_research.decoding.step import forbid
from rnn_research.models.language_model import LanguageModel
from rnn_research.typing import Key, Params

# Symbols per call of the compiled loop: often enough to watch, rare enough to cost nothing.
_CHUNK = 64


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

  def draw(log_probs, noise):
    return sample(noise, forbid(log_probs, forbidden), sampling)

  @jax.jit
  def start(params, prompt, key):
    states, log_probs = model.read(params, prompt)
    ids = draw(log_probs, jax.random.gumbel(key, log_probs.shape))
    return states, ids, model.prepare(params, len(ids))

  @jax.jit
  def run(prepared, states, ids, key):
    step = model.stepper(prepared)

    def body(carry, noise):
      states, log_probs, _ = step(*carry)
      ids = draw(log_probs, noise)
      return (states, ids), ids

    # Drawn at once: a generator in the loop costs a quarter of a step on a CPU.
    noise = jax.random.gumbel(key, (_CHUNK, len(ids), model.vocabulary_size))
    return lax.scan(body, (states, ids), noise)

  def generate(params: Params, prompt: np.ndarray, length: int, key: Key) -> Iterator[np.ndarray]:
    states, ids, prepared = start(params, prompt, jax.random.fold_in(key, 0))
    yield np.asarray(ids)[None][:length]
    for chunk, done in enumerate(range(1, length, _CHUNK), 1):
      (states, ids), drawn = run(prepared, states, ids, jax.random.fold_in(key, chunk))
      yield np.asarray(drawn)[: length - done]

  return generate
