"""A text for a trained language model to read, and what is true after each of its symbols."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rnn_research.analysis import concepts as concepts_lib
from rnn_research.analysis.concepts import AbsentError, Concept
from rnn_research.analysis.concepts.python_code import unparsed_lines
from rnn_research.analysis.measures.unit_scores import OCCURRENCES
from rnn_research.analysis.measures.unit_search import FEWEST, searchable
from rnn_research.data.codec import TextCodec, require_characters
from rnn_research.errors import InputError, require
from rnn_research.tasks.language.source import read_ids
from rnn_research.training.progress import warn


class LabelledText(NamedTuple):
  """A text and its concepts.

  Attributes:
    text: N symbols, one character each.
    ids: [N] int32.
    language: whose concepts were looked for.
    concepts: C of them, each of which is `searchable`.
    labels: [C, N] float32, NaN where there is none.
    skipped: names of concepts that are too rare.
    unparsed: lines that Python's parser refuses, without labels; 0 of another language.
  """

  text: str
  ids: np.ndarray
  language: str
  concepts: tuple[Concept, ...]
  labels: np.ndarray
  skipped: tuple[str, ...]
  unparsed: int


def read_labelled_text(
  codec: TextCodec, texts: Callable, text: str, length: int, concepts: str, language: str
) -> LabelledText:
  """Reads a text and labels it.

  Args:
    codec: of the model, whose symbols are characters or bytes.
    texts: `() -> split -> ids`.
    text: a UTF-8 file, .gz file or folder; '' is the last held-out split.
    length: the most symbols, from its beginning on.
    concepts: file with more concepts, see `load_concepts`; '' for none.
    language: what the built-in concepts are for, see `concepts_for`.

  Raises:
    InputError: the model reads words, there is no such text, it is too short, or a concept of the
      file does not fit it.
  """
  require_characters(codec)
  require('length', length, length >= FEWEST, f'an integer >= {FEWEST}')
  ids = read_ids(codec, texts, text, length)
  if len(ids) < FEWEST:
    raise InputError(
      f'the text to look at has {len(ids):,} symbols, expected {FEWEST:,} at least; name a longer '
      'one with --text'
    )
  if share := codec.unknown_share(ids):
    warn(f'the model does not know {share:.2%} of the symbols of this text')
  shown = codec.characters(ids)
  chosen = concepts_lib.guess_language(shown) if language == 'auto' else language
  built_in = concepts_lib.concepts_for(shown, chosen)
  own = concepts_lib.load_concepts(concepts) if concepts else ()
  for taken in {concept.name for concept in built_in} & {concept.name for concept in own}:
    raise InputError(f'concept {taken!r} of {concepts} is there already, expected another name')
  everyone = (*built_in, *own)
  rows = [_labels(concept, shown, concept in own) for concept in everyone]
  there = [searchable(row) for row in rows]
  if not any(there):
    raise InputError(
      'the text to look at has no concept often enough, expected one of '
      f'{", ".join(concept.name for concept in everyone)}'
    )
  return LabelledText(
    shown,
    ids,
    chosen,
    tuple(itertools.compress(everyone, there)),
    np.stack([*itertools.compress(rows, there)]),
    tuple(concept.name for concept, found in zip(everyone, there, strict=True) if not found),
    unparsed_lines(shown) if chosen == 'python' else 0,
  )


def _labels(concept, text, must_vary):
  """Returns the labels of a text, [N] float32; without any where a built-in concept is absent."""
  try:
    found = concepts_lib.labels(concept, text)
  except AbsentError:
    if must_vary:
      raise
    return np.full(len(text), np.nan, np.float32)
  if must_vary and not searchable(found):
    raise InputError(
      f'concept {concept.name!r} is too rare in this text, expected one that holds, and does not, '
      f'in {OCCURRENCES} blocks of it at least'
    )
  return found
