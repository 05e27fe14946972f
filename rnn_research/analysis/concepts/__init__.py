"""Concepts: what is true of a text at each of its characters."""

from rnn_research.analysis.concepts.concept import (
  AbsentError,
  Concept,
  is_binary,
  labels,
  occurs,
)
from rnn_research.analysis.concepts.sets import LANGUAGES, concepts_for, guess_language
from rnn_research.analysis.concepts.user_file import load_concepts

__all__ = [
  'LANGUAGES',
  'AbsentError',
  'Concept',
  'concepts_for',
  'guess_language',
  'is_binary',
  'labels',
  'load_concepts',
  'occurs',
]
