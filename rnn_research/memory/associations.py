"""A memory of associations: triples of subject, relation and object, in one tensor of order 3."""

from typing import NamedTuple

import jax.numpy as jnp

from rnn_research.typing import Array


class Facts(NamedTuple):
  """What sentences say, as vectors: e^1 and e^2, and three relations r^1 to r^3."""

  entities: Array  # [..., 2, E] float32
  relations: Array  # [..., 3, R] float32


class Triples(NamedTuple):
  """N associations, whose memory is `F = sum_n subject_n (x) relation_n (x) object_n`."""

  subjects: Array  # [..., N, E] float32
  relations: Array  # [..., N, R] float32
  objects: Array  # [..., N, E] float32


def subjects(facts: Facts) -> Array:
  """Returns what the three relations of a sentence belong to, (e^1, e^1, e^2), [..., 3, E]."""
  first, second = facts.entities[..., 0, :], facts.entities[..., 1, :]
  return jnp.stack([first, first, second], -2)


def recall(memory: Array, subjects: Array, relations: Array) -> Array:
  """Returns the objects of subjects and relations, `v_f = sum_er F_erf s_e r_r`.

  Args:
    memory: [B, E, R, E] float32.
    subjects: [B, N, E] float32.
    relations: [B, N, R] float32.

  Returns:
    [B, N, E] float32.

  Source: Schlag and Schmidhuber 2018 (arXiv 1811.12143), equations 9, 11 and 13.
  """
  return jnp.einsum('bne,bnr,berf->bnf', subjects, relations, memory)


def new_objects(facts: Facts, found: Array) -> Array:
  """Returns what is to be added at the places of a sentence, so that they hold what it says in
  place of what was found there, w, m and b:

    write       e^2 - w    at (e^1, r^1)
    move        w - m      at (e^1, r^2), which holds what (e^1, r^1) held before
    backlink    e^1 - b    at (e^2, r^3)

  Args:
    facts: [..., 2, E] and [..., 3, R].
    found: [..., 3, E] float32, of `recall`.

  Returns:
    [..., 3, E] float32.

  Source: Schlag and Schmidhuber 2018, equations 10, 12 and 14.
  """
  first, second = facts.entities[..., 0, :], facts.entities[..., 1, :]
  said = jnp.stack([second, jnp.zeros_like(first), first], -2)
  return said + changes(found)


def changes(found: Array) -> Array:
  """Returns the part of `new_objects` that is linear in what is found, (-w, w - m, -b)."""
  w, m, b = (found[..., i, :] for i in range(3))
  return jnp.stack([-w, w - m, -b], -2)


def tensor(triples: Triples) -> Array:
  """Returns the memory that holds N associations, [B, E, R, E] float32."""
  return jnp.einsum('bne,bnr,bnf->berf', *triples)


def similarities(subjects: Array, relations: Array, triples: Triples) -> Array:
  """Returns `(s_m . subject_n) (r_m . relation_n)`: times the objects these are what M lookups
  recall of the memory of N associations.

  Args:
    subjects: [B, M, E] float32.
    relations: [B, M, R] float32.
    triples: N of them.

  Returns:
    [B, M, N] float32.
  """
  of_subjects = jnp.einsum('bme,bne->bmn', subjects, triples.subjects)
  return of_subjects * jnp.einsum('bmr,bnr->bmn', relations, triples.relations)
