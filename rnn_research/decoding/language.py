"""Writing with a language model, in pieces that can be watched as they come."""

import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax import lax

from rnn_research.decoding.sampling import COLDEST, Sampling, sample
from rnn_research.decoding.step import forbid
from rnn_research.models.language_model import LanguageModel
from rnn_research.typing import Key, Params

# Symbols per call of the compiled loop: often enough to watch, rare enough to cost nothing.
_CHUNK = 64


def sampler(model: LanguageModel, forbidden: tuple[int, ...] = ()) -> Callable[..., Iterator]:
  """Compiles sampling from a language model, once for all temperatures above 0.

  Args:
    model: the language model.
    forbidden: symbols that are never drawn.

  Returns:
    `generate(params, prompt, length, key, sampling)`, an iterator over arrays [<= 64, B] int32 that
    number `length` steps in all. `prompt` is [P, B] int32, P >= 1; it warms the state up and is not
    repeated in the output. `sampling` says how symbols are drawn, see `Sampling`.
  """

  def draw(log_probs, noise, temperature, how):
    return sample(noise, forbid(log_probs, forbidden) / temperature, how)

  @functools.partial(jax.jit, static_argnames='how')
  def start(params, prompt, key, temperature, how):
    states, log_probs = model.read(params, prompt)
    ids = draw(log_probs, jax.random.gumbel(key, log_probs.shape), temperature, how)
    return states, ids, model.prepare(params, len(ids))

  @functools.partial(jax.jit, static_argnames='how')
  def run(prepared, states, ids, key, temperature, how):
    step = model.stepper(prepared)

    def body(carry, noise):
      states, log_probs, _ = step(*carry)
      ids = draw(log_probs, noise, temperature, how)
      return (states, ids), ids

    # Drawn at once: a generator in the loop costs a quarter of a step on a CPU.
    noise = jax.random.gumbel(key, (_CHUNK, len(ids), model.vocabulary_size))
    return lax.scan(body, (states, ids), noise)

  def generate(
    params: Params, prompt: np.ndarray, length: int, key: Key, sampling: Sampling
  ) -> Iterator[np.ndarray]:
    warm = sampling.temperature >= COLDEST
    # Programs differ in `how` alone; its temperature is one of two.
    temperature = np.float32(sampling.temperature if warm else 1.0)
    how = sampling._replace(temperature=float(warm))
    states, ids, prepared = start(params, prompt, jax.random.fold_in(key, 0), temperature, how)
    yield np.asarray(ids)[None][:length]
    for chunk, done in enumerate(range(1, length, _CHUNK), 1):
      key_of_chunk = jax.random.fold_in(key, chunk)
      (states, ids), drawn = run(prepared, states, ids, key_of_chunk, temperature, how)
      yield np.asarray(drawn)[: length - done]

  return generate
