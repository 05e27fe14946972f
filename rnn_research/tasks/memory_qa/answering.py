"""Answers of a trained model to a story that a person tells."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rnn_research.data.babi import Question, Sentence, words_of
from rnn_research.data.files import decode_text, read_input
from rnn_research.errors import InputError, did_you_mean, require
from rnn_research.experiment import Command, flags_of
from rnn_research.tasks.memory_qa.corpus import (
  QuestionIds,
  StoryVocabulary,
  encode,
  evaluation_batches,
)
from rnn_research.training.progress import show
from rnn_research.typing import Params

_SHOWN = 0.05  # the least weight that is told
_ADVICE = 'name a file with a sentence per line'
_MOST_SHOWN = 3  # weights of a sentence
_NUMBER = re.compile(r'^\s*(\d+)\s+')  # of a line
_QUESTION_LINE = re.compile(r'\s*\d+ .*\?\s*\t')  # of a file of bAbI


class Answer(NamedTuple):
  """What a model says.

  Attributes:
    answer: one symbol; lists such as 'milk,football' too.
    probability: of it.
    others: the next best ones, with their probabilities.
    sentences: the L that it read, as they were told.
    left_out: sentences before these, which it did not read.
    weights: [K, L] float32 of the sentences: the attention of K hops, their shares in what K
      lookups recalled, or the gates of K slots; K is 0 for a model that has neither.
    columns: K names: 'hop 1', or see `slot_names`.
  """

  answer: str
  probability: float
  others: tuple[tuple[str, float], ...]
  sentences: tuple[str, ...]
  left_out: int
  weights: np.ndarray
  columns: tuple[str, ...]


class Readings(NamedTuple):
  """What a model makes of N questions.

  Attributes:
    probs: [N, V] float32, of the answers.
    weights: N arrays [K, L] float32, see `Answer`.
  """

  probs: np.ndarray
  weights: list[np.ndarray]


def read_all(explain: Callable, params: Params, encoded: QuestionIds) -> Readings:
  """Returns what a model makes of questions.

  Args:
    explain: `(params, batch) -> (probs [B, V], weights [B, K, S])`.
    params: of the model.
    encoded: N questions.
  """
  probs: dict[int, np.ndarray] = {}
  weights: dict[int, np.ndarray] = {}
  for places, batch in evaluation_batches(encoded):
    found = map(np.asarray, explain(params, batch))
    for place, p, w in zip(places, *found, strict=False):
      probs[place], weights[place] = p, w[:, : encoded.lengths[place]]
  order = range(len(encoded.answers))
  return Readings(np.array([probs[i] for i in order]), [weights[i] for i in order])


def answer(
  explain: Callable,
  columns_of: Callable,
  vocabulary: StoryVocabulary,
  by_word: bool,
  params: Params,
  story: str,
  question: str,
) -> Answer:
  """Answers a question about a story.

  Args:
    explain: see `read_all`.
    columns_of: `(params) -> columns` of `Answer`.
    vocabulary: of the model.
    by_word: see `num_read`.
    params: of the model.
    story: sentences, each on a line of its own or ended by a mark; lines of a file of bAbI too,
      whose questions are left out.
    question: words with a question mark behind them.

  Returns:
    The answer, with the three next best ones.

  Raises:
    InputError: the story or the question is no text; the story is empty, is several stories, or has
      a question that is no line of bAbI; the question has no words or no mark; a sentence has more
      words than any the model was trained with, or words that it never saw.
  """
  for name, text in (('story', story), ('question', question)):
    require(name, text, isinstance(text, str), 'a text')
  told = list(_sentences(story))
  if not told:
    raise InputError("story is empty, expected sentences such as 'John went to the hallway.'")
  sentences, asked = tuple(map(words_of, told)), words_of(question)
  if not asked or not question.strip().endswith('?'):
    raise InputError(f"question is {question!r}, expected words and a '?' behind them")
  _check('question', [asked], vocabulary)
  _check('story', sentences, vocabulary)
  left_out = len(told) - num_read(sentences, asked, vocabulary, by_word)
  encoded = encode(vocabulary, [Question(sentences[left_out:], asked, '', (), 0, 0)])
  readings = read_all(explain, params, encoded)
  best = np.argsort(-readings.probs[0])[:4]
  (text, probability), *others = ((vocabulary.words[i], float(readings.probs[0][i])) for i in best)
  weights, columns = readings.weights[0], columns_of(params)
  return Answer(
    text, probability, tuple(others), tuple(told[left_out:]), left_out, weights, columns
  )


def num_read(
  sentences: Sequence[Sentence], asked: Sentence, vocabulary: StoryVocabulary, by_word: bool
) -> int:
  """Returns how many of the last sentences a model reads: as many as it was trained with at most.

  Args:
    sentences: of the story.
    asked: the question.
    vocabulary: of the model.
    by_word: whether it reads word by word, so that all words together are as many as it was trained
      with at most.
  """
  last = sentences[-vocabulary.num_sentences :]
  if not by_word:
    return len(last)
  words = len(asked) + np.cumsum([len(sentence) for sentence in reversed(last)])
  return int((words <= vocabulary.most_words).sum())


def _sentences(story: str) -> Iterator[str]:
  lines = story.splitlines()
  numbers = [match[1] for match in map(_NUMBER.match, lines) if match]
  count = 1 + numbers[1:].count('1')
  if count > 1:
    raise InputError(f'story has {count} stories (lines are numbered from 1 anew), expected one')
  for line in lines:
    if not _QUESTION_LINE.match(line):
      parts = re.split(r'(?<=[.!?])\s+', _NUMBER.sub('', line).strip())
      for part in filter(words_of, parts):
        if part.rstrip('"\'').endswith('?'):
          raise InputError(f'story has the question {part!r}, expected sentences alone')
        yield part


def _check(name: str, sentences: Iterable[Sentence], vocabulary: StoryVocabulary) -> None:
  for words in sentences:
    if len(words) > vocabulary.longest:
      raise InputError(
        f'{name}: {" ".join(words)!r} has {len(words)} words, expected {vocabulary.longest} at '
        'most, as the longest sentence that the model was trained with'
      )
  unknown = sorted({word for words in sentences for word in words} - set(vocabulary.words))
  if unknown:
    hint = did_you_mean(unknown[0], vocabulary.words[1:])
    raise InputError(f'{name}: the model never saw {", ".join(map(repr, unknown))}{hint}')


def text_of(found: Answer) -> str:
  """Returns an answer for people: the runners-up, and the sentences with their largest weights."""
  others = ', '.join(f'{name} {probability:.3f}' for name, probability in found.others)
  lines = [f'{found.answer}  {found.probability:.3f}', f'next: {others}']
  if found.left_out:
    read = len(found.sentences)
    lines.append(f'read the last {read} of {read + found.left_out} sentences')
  for sentence, own in zip(found.sentences, found.weights.T, strict=True):
    largest = sorted(np.argsort(-np.abs(own), kind='stable')[:_MOST_SHOWN])
    weights = [f'{found.columns[i]} {own[i]:.2f}' for i in largest if abs(own[i]) >= _SHOWN]
    lines += [f'  {sentence}  ({", ".join(weights)})'] if weights else []
  return '\n'.join(lines)


def slot_names(keys: np.ndarray, embedding: np.ndarray, words: Sequence[str]) -> tuple[str, ...]:
  """Returns the word whose embedding points most in the direction of each key; 'john 1', 'john 2'
  where that is the same word for several.

  Args:
    keys: [M, D] float32.
    embedding: [V, D] float32; row 0 is padding.
    words: V of them.
  """
  cosines = (keys / _length(keys)) @ (embedding[1:] / _length(embedding[1:])).T
  nearest = [words[1 + i] for i in cosines.argmax(1)]
  return tuple(
    f'{word} {nearest[: i + 1].count(word)}' if nearest.count(word) > 1 else word
    for i, word in enumerate(nearest)
  )


def _length(a):
  return np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)


def _main(run, story: str = '', question: str = '') -> None:
  if not story:
    raise InputError("story is '', expected a file with a sentence per line, or - for the input")
  text = decode_text(read_input(story, 'story'), f'story: {story}', _ADVICE)
  show(text_of(run.answer(text, question)))


COMMANDS = {
  'answer': Command(
    'answers a question about a story, and says which sentences it attended to',
    flags_of(
      _main,
      story='file with a sentence per line, - is the input',
      question="such as 'Where is John?'",
    ),
    _main,
    example="--story=FILE --question='Where is John?'",
  )
}
