"""A memory of associations over whole stories, as one triangular system of equations.

What a sentence writes is linear in what it finds, which is linear in what the sentences before it
wrote: the objects V of all 3 T associations solve

  V = N + C (A V + F),    A_ij = (s_i . s_j) (r_i . r_j) where j is of an earlier sentence, else 0

with N the objects where nothing is found, C of `associations.changes` and F what the first memory
holds there. The matrix 1 - C A is lower triangular and has ones on its diagonal. So the memory of
E R E numbers is never made, and nothing is done sentence by sentence.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.lax import linalg

from rnn_research.memory.associations import (
  Facts,
  Triples,
  changes,
  new_objects,
  recall,
  similarities,
  subjects,
)
from rnn_research.typing import Array


class Written(NamedTuple):
  """What the T sentences of stories leave behind.

  Attributes:
    triples: 3 T associations, those of a sentence together.
    found: [B, T, 3, E] float32, what each sentence found at its places.
  """

  triples: Triples
  found: Array


def write_stories(facts: Facts, mask: Array, memory: Array | None = None) -> Written:
  """Returns what sentences write, one after another.

  Args:
    facts: [B, T, 2, E] and [B, T, 3, R] float32.
    mask: [B, T] bool; False finds and writes nothing.
    memory: [B, E, R, E] float32, before the first sentence; None is one of zeros.
  """
  facts = Facts(*(jnp.where(mask[..., None, None], a, 0.0) for a in facts))
  num_rows, num_steps = mask.shape
  size = 3 * num_steps

  def flat(a):
    return a.reshape(num_rows, size, -1)

  def by_sentence(a):
    return a.reshape(num_rows, num_steps, 3, -1)

  places = subjects(facts)
  keys = Triples(flat(places), flat(facts.relations), jnp.zeros_like(flat(places)))
  held = keys.objects if memory is None else recall(memory, keys.subjects, keys.relations)
  step = jnp.arange(size) // 3
  earlier = (step[:, None] > step[None])[None]
  a = similarities(keys.subjects, keys.relations, keys) * earlier
  objects = linalg.triangular_solve(
    flat(-changes(by_sentence(a))),
    flat(new_objects(facts, by_sentence(held))),
    left_side=True,
    lower=True,
    unit_diagonal=True,
  )
  return Written(keys._replace(objects=objects), by_sentence(held + a @ objects))
