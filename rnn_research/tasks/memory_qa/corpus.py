"""Questions about stories as arrays: the vocabulary, batches to train on, batches to evaluate."""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rnn_research.data.babi import Babi, Question, Sentence, load_babi
from rnn_research.data.buckets import cut, evaluation_rows, like_lengths
from rnn_research.data.codec import PAD
from rnn_research.data.examples import stream
from rnn_research.errors import InputError
from rnn_research.experiment import TrainData
from rnn_research.tasks.memory_qa.synthetic import make_stories

_SHOWN = 5  # words that a warning names


class StoryVocabulary(NamedTuple):
  """What a trained model knows of the language.

  Attributes:
    words: id -> word or answer; id 0 is padding, ''.
    longest: J, the most words of a sentence or question.
    num_sentences: S, the most sentences of a story; of longer ones the last are read.
    most_words: of a story and its question.
    tasks: those that it was made of.
  """

  words: tuple[str, ...]
  longest: int
  num_sentences: int
  most_words: int
  tasks: tuple[int, ...]


class QuestionIds(NamedTuple):
  """N questions as ids, of the smallest type that holds them.

  Attributes:
    stories: [N, S, J], oldest sentence first, PAD behind words and sentences.
    questions: [N, J].
    answers: [N]; PAD is an answer that training never gave.
    lengths: [N], sentences that are told.
    tasks: [N].
  """

  stories: np.ndarray
  questions: np.ndarray
  answers: np.ndarray
  lengths: np.ndarray
  tasks: np.ndarray


def load(config: ConfigDict) -> Babi:
  """Returns the questions that the `data` block of a config means.

  Raises:
    FileNotFoundError, InputError: see `load_babi`.
  """
  if config.made:
    return make_stories(config.made)
  if not config.path:
    raise InputError(
      "data.path is '', expected the folder or the .tar.gz of bAbI; --config.data.made=1000 makes "
      'stories instead'
    )
  return load_babi(config.path, config.tasks)


def make_vocabulary(babi: Babi, max_sentences: int) -> StoryVocabulary:
  """Returns the vocabulary of the questions to train on and to validate with."""
  questions = [*babi.splits['train'], *babi.splits['valid']]
  sentences = set().union(*(_told(question, max_sentences) for question in questions))
  asked = {question.question for question in questions}
  words = {word for sentence in sentences | asked for word in sentence}
  told = [_told(question, max_sentences) for question in questions]
  return StoryVocabulary(
    ('', *sorted(words | {question.answer for question in questions})),
    max(map(len, sentences | asked)),
    max(map(len, told)),
    max(
      len(question.question) + sum(map(len, story))
      for question, story in zip(questions, told, strict=True)
    ),
    babi.tasks,
  )


def encode(vocabulary: StoryVocabulary, questions: Sequence[Question]) -> QuestionIds:
  """Returns questions as ids; words that the vocabulary lacks are left out."""
  ids = {word: i for i, word in enumerate(vocabulary.words)}
  kind = np.min_scalar_type(len(ids))
  row = functools.cache(lambda sentence: _row(ids, sentence, vocabulary.longest, kind))
  size = (len(questions), vocabulary.num_sentences, vocabulary.longest)
  stories, lengths = np.zeros(size, kind), np.zeros(len(questions), np.int32)
  for i, question in enumerate(questions):
    told = _told(question, vocabulary.num_sentences)
    lengths[i] = len(told)
    if told:
      stories[i, : len(told)] = [row(sentence) for sentence in told]
  return QuestionIds(
    stories,
    np.array([row(question.question) for question in questions]),
    np.array([ids.get(question.answer, PAD) for question in questions], np.int32),
    lengths,
    np.array([question.task for question in questions]),
  )


def left_out(vocabulary: StoryVocabulary, questions: Sequence[Question]) -> str:
  """Returns what `encode` leaves out of questions and which of them no model of this vocabulary can
  answer, '' where that is nothing."""
  known = frozenset(vocabulary.words)
  told = [(*_told(q, vocabulary.num_sentences), q.question) for q in questions]
  sentences = {sentence for own in told for sentence in own}
  new = {sentence for sentence in sentences if not known.issuperset(sentence)}
  long = {s for s in sentences if sum(word in known for word in s) > vocabulary.longest}
  words = sorted({word for sentence in new for word in sentence} - known)
  shown = ', '.join(map(repr, words[:_SHOWN]))
  shown += f' and {len(words) - _SHOWN} more' if len(words) > _SHOWN else ''
  having = lambda some: sum(not some.isdisjoint(own) for own in told)
  counts = {
    f'have words that the model never saw ({shown}), which are left out': having(new),
    'have an answer that the model cannot give': sum(q.answer not in known for q in questions),
    f'have sentences that are cut to {vocabulary.longest} words': having(long),
  }
  return ', '.join(
    f'{count:,} of {len(questions):,} {what}' for what, count in counts.items() if count
  )


def train_data(
  encoded: QuestionIds, vocabulary: StoryVocabulary, batch_size: int, num_buckets: int, seed: int
) -> TrainData:
  """Returns batches of questions in a new order in every epoch: 'stories' [B, S, J], 'questions'
  [B, J], 'answers' [B].

  Stories of like length share batches, so that S is one of few numbers; rows that make no whole
  batch of theirs are left out of an epoch.

  Raises:
    InputError: there are fewer than one batch.
  """
  ends = _bucket_ends(encoded.lengths, num_buckets, batch_size)
  places = np.searchsorted(ends, encoded.lengths)
  members = [np.flatnonzero(places == place) for place in range(len(ends))]
  steps = sum(len(rows) // batch_size for rows in members)
  if not steps:
    raise InputError(
      f'train.batch_size is {batch_size}, expected {len(places)} at most, the number of training '
      'questions'
    )

  @functools.lru_cache(maxsize=2)
  def plan(epoch):
    rng = np.random.default_rng((seed, epoch))
    batches = [
      (end, rows)
      for end, own in zip(ends, map(rng.permutation, members), strict=True)
      for rows in own[: len(own) // batch_size * batch_size].reshape(-1, batch_size)
    ]
    return [batches[i] for i in rng.permutation(steps)]

  def batch(end, rows):
    return {
      'stories': encoded.stories[rows, :end],
      'questions': encoded.questions[rows],
      'answers': encoded.answers[rows],
    }

  shapes = tuple(batch(end, rows[:batch_size]) for end, rows in zip(ends, members, strict=True))
  draw = lambda item: batch(*plan(item // steps)[item % steps])
  return stream(draw, steps, _digest(encoded, vocabulary))._replace(shapes=shapes)


def _bucket_ends(lengths: np.ndarray, num_buckets: int, batch_size: int) -> list[int]:
  """Returns the longest story of each bucket: those that leave the least padding, but none with
  fewer than a batch, except where there is only one."""
  groups, counts = np.unique(np.maximum(lengths, 1), return_counts=True)
  ends = cut(groups[None], counts, min(num_buckets, len(groups)))
  kept = [0]
  for end in ends:
    if counts[kept[-1] : end].sum() >= batch_size:
      kept.append(end)
  kept = kept[1:] or [0]
  return [int(groups[end - 1]) for end in [*kept[:-1], ends[-1]]]


def _digest(encoded: QuestionIds, vocabulary: StoryVocabulary) -> str:
  digest = hashlib.sha256('\n'.join(vocabulary.words).encode())
  for array in encoded:
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()


def evaluation_batches(encoded: QuestionIds) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
  """Yields batches that together have every question once: the places of its first n rows, and the
  batch; its stories have like length, and rows behind n are empty."""
  stories = encoded.stories
  for places, length in like_lengths(np.maximum(encoded.lengths, 1)):
    sentences, rows = min(length, stories.shape[1]), evaluation_rows(length)

    def fill(a, rows=rows):
      return np.pad(a, [(0, rows - len(a)), *[(0, 0)] * (a.ndim - 1)])

    yield (
      places,
      {
        'stories': fill(stories[places, :sentences]),
        'questions': fill(encoded.questions[places]),
        'answers': fill(encoded.answers[places]),
      },
    )


def about(babi: Babi, vocabulary: StoryVocabulary) -> str:
  """Returns what is worth knowing of the data before training."""
  sizes = ', '.join(f'{len(questions):,} {name}' for name, questions in babi.splits.items())
  lines = [
    f'tasks {", ".join(map(str, babi.tasks))}: {sizes} questions; '
    f'{len(vocabulary.words) - 1} words and answers, at most {vocabulary.num_sentences} sentences '
    f'of {vocabulary.longest} words'
  ]
  lines += [
    f'task {task} is left out: its training file or its test file is missing'
    for task in babi.missing
  ]
  return '\n'.join(lines)


def to_json(vocabulary: StoryVocabulary) -> dict:
  """Returns what a checkpoint keeps of the vocabulary."""
  return vocabulary._asdict()


def from_json(saved: dict) -> StoryVocabulary:
  """Returns the vocabulary of a checkpoint."""
  lists = {name: tuple(saved[name]) for name in ('words', 'tasks')}
  return StoryVocabulary(**(saved | lists))


def _told(question: Question, most: int) -> tuple[Sentence, ...]:
  return question.story[-most:]


def _row(ids: Mapping[str, int], sentence: Iterable[str], longest: int, kind) -> np.ndarray:
  known = [ids[word] for word in sentence if word in ids][:longest]
  return np.array(known + [PAD] * (longest - len(known)), kind)
