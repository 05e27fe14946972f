"""The bAbI tasks (Weston et al. 2015): stories, questions about them and answers of one symbol.

A folder or a `.tar.gz` holds `qa1_single-supporting-fact_train.txt` and so on; an archive is read
where it lies. A line is a sentence of a story, or a question with its answer and the numbers of the
lines that support it; the number 1 begins another story:

  1 Mary moved to the bathroom.
  2 John went to the hallway.
  3 Where is Mary?\tbathroom\t1
"""

import functools
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnn_research.data import held_out
from rnn_research.data.files import decode_text, existing, expand
from rnn_research.errors import InputError, comma_list

NAMES = (
  'single supporting fact',
  'two supporting facts',
  'three supporting facts',
  'two argument relations',
  'three argument relations',
  'yes/no questions',
  'counting',
  'lists and sets',
  'simple negation',
  'indefinite knowledge',
  'basic coreference',
  'conjunction',
  'compound coreference',
  'time reasoning',
  'basic deduction',
  'basic induction',
  'positional reasoning',
  'size reasoning',
  'path finding',
  "agents' motivations",
)
NUM_TASKS = len(NAMES)
PASSED = 5.0  # percent, the largest error of a task that is passed
_FILE = re.compile(r'qa(\d+)_[^/]*_(train|test)\.txt')
_MOST_BYTES = 2**28  # of a file; the largest of bAbI has 5 MB
_PIECE = 2**20  # bytes of an archive that are read at once
_ADVICE = 'expected a file of bAbI'

Sentence = tuple[str, ...]


class Question(NamedTuple):
  """A question about what was told before it.

  Attributes:
    story: L sentences, oldest first, each of lower-case words without its mark.
    question: its words.
    answer: one symbol; lists and sets such as 'milk,football' too.
    supports: places in `story` of the sentences that the answer follows from.
    task: 1 to 20.
    number: of the story among those of its file.
  """

  story: tuple[Sentence, ...]
  question: Sentence
  answer: str
  supports: tuple[int, ...]
  task: int
  number: int


class Babi(NamedTuple):
  """Questions of several tasks.

  Attributes:
    splits: 'train', 'valid', 'test' -> questions.
    tasks: which tasks there are.
    missing: asked for by 'all', but without a training file or a test file.
  """

  splits: Mapping[str, list[Question]]
  tasks: tuple[int, ...]
  missing: tuple[int, ...] = ()


def words_of(text: str) -> Sentence:
  """Returns the words of a sentence or question in lower case, without the mark at its end."""
  return tuple(re.sub(r'[.?!\s]+$', '', text.lower()).split())


def read_tasks(text: str) -> tuple[int, ...]:
  """Returns the tasks that 'all' or '1,2,3' means.

  Raises:
    InputError: it means none.
  """
  if text.strip() == 'all':
    return tuple(range(1, NUM_TASKS + 1))
  names = comma_list(text)
  if not names or any(not name.isdecimal() or not 1 <= int(name) <= NUM_TASKS for name in names):
    raise InputError(
      f"data.tasks is {text!r}, expected 'all' or numbers from 1 to {NUM_TASKS} with commas"
    )
  return tuple(sorted({int(name) for name in names}))


def load_babi(path: str, tasks: str = 'all', flag: str = 'data.path') -> Babi:
  """Reads tasks; a tenth of the training stories, at random but the same in every run, are 'valid'.

  Questions about one story stay together.

  Args:
    path: a folder with the files, or whose one folder has them, or such an archive, or a folder in
      an archive, 'babi.tar.gz/en-10k'.
    tasks: '1,2,3', or 'all' for those that have a training and a test file.
    flag: holds `path`, for messages.

  Raises:
    FileNotFoundError: there is no such folder or archive.
    InputError: it lacks a task, or is damaged, or a file is none of bAbI.
  """
  found = _open(path, flag)
  asked = read_tasks(tasks)
  missing = tuple(task for task in asked if not {(task, 'train'), (task, 'test')} <= set(found))
  if (missing and tasks.strip() != 'all') or len(missing) == len(asked):
    raise _lacks(missing[0], found, path, flag)
  splits: dict[str, list[Question]] = {'train': [], 'valid': [], 'test': []}
  there = tuple(task for task in asked if task not in missing)
  for task in there:
    train, test = (
      read_stories(found[task, split](), task, f'{flag}: task {task}, {split}')
      for split in ('train', 'test')
    )
    parts = *hold_out(train, f'{flag}: task {task}, train'), test
    for split, questions in zip(splits, parts, strict=True):
      splits[split].extend(questions)
  return Babi(splits, there, missing)


def read_stories(data: bytes, task: int, name: str) -> list[Question]:
  """Returns the questions of a file.

  Args:
    data: the file.
    task: its number.
    name: what a message calls it.

  Raises:
    InputError: a line is none of bAbI, or there is no question.
  """
  questions: list[Question] = []
  story: list[Sentence] = []
  places: dict[str, int] = {}
  number = -1
  for i, line in enumerate(decode_text(data, name, _ADVICE).splitlines(), 1):
    place, _, rest = line.partition(' ')
    if not place.isdecimal() or not rest.strip() or (place != '1' and number < 0):
      raise InputError(f"{name}, line {i} is {line!r}, expected '1 ' and a sentence or a question")
    if place == '1':
      number, story, places = number + 1, [], {}
    text, *answer = rest.split('\t')
    if not words_of(text) or (answer and not answer[0].strip()):
      raise InputError(
        f'{name}, line {i} is {line!r}, expected a sentence, or a question with its answer'
      )
    if answer and not story:
      raise InputError(
        f'{name}, line {i} is {line!r}, expected a sentence before the first question'
      )
    if not answer:
      places[place] = len(story)
      story.append(words_of(text))
    else:
      supports = ' '.join(answer[1:]).split()
      questions.append(
        Question(
          tuple(story),
          words_of(text),
          answer[0].strip().lower(),
          tuple(places[support] for support in supports if support in places),
          task,
          number,
        )
      )
  if not questions:
    raise InputError(f'{name} has no question, {_ADVICE}')
  return questions


def hold_out(questions: Sequence[Question], name: str) -> tuple[list[Question], list[Question]]:
  """Returns the questions to train on, and those about a tenth of the stories, drawn at random but
  the same in every run.

  Args:
    questions: of a file.
    name: what a message calls it.

  Raises:
    InputError: they are about a single story.
  """
  total = 1 + max(question.number for question in questions)
  if total < 2:
    raise InputError(f'{name} has 1 story, expected 2 or more')
  chosen = held_out.drawn(total, max(1, round(total / 10)), 'valid', 'stories')
  parts: tuple[list[Question], list[Question]] = ([], [])
  for question in questions:
    parts[int(chosen[question.number])].append(question)
  return parts


def _lacks(task, found, path, flag):
  split, kind = ('test', 'test') if (task, 'train') in found else ('train', 'training')
  has = ', '.join(map(str, sorted(number for number, own in found if own == split)))
  return InputError(
    f'{flag}: {path} has no {kind} file of task {task}, expected qa{task}_..._{split}.txt (it has '
    f'{"those of tasks " if has else "none"}{has})'
  )


def _open(path: str, flag: str) -> dict[tuple[int, str], Callable[[], bytes]]:
  """Returns (task, split) -> a function that reads the file."""
  where = expand(path)
  root = next(filter(os.path.isfile, where.parents), None) or existing(path, flag)
  if root.is_dir():
    files = [file for pattern in ('*', '*/*') for file in sorted(root.glob(pattern))]
    named = {file.relative_to(root).as_posix(): file.read_bytes for file in files if file.is_file()}
  else:
    named = _read_archive(root, flag)
  found = {name: read for name, read in named.items() if _FILE.fullmatch(Path(name).name)}
  folders = sorted({Path(name).parent.as_posix() for name in found})
  inside = where.relative_to(root).as_posix()
  meant = [folder for folder in folders if inside == '.' or f'/{folder}'.endswith(f'/{inside}')]
  if len(meant) != 1:
    several = f'files of bAbI in {len(meant)} folders ({", ".join(meant)})'
    archives = ' or '.join(sorted(map(str, root.glob('*.tar.gz')))) if root.is_dir() else ''
    others = ' or '.join(f'{root}/{folder}' for folder in folders if folder != '.')
    raise InputError(
      f'{flag}: {path} has {several if meant else "no file of bAbI"}, expected one folder of '
      'files such as qa1_single-supporting-fact_train.txt'
      f'{"; or name its archive " if archives else ""}{archives}'
      f'{"; name one of them, " if others else ""}{others}'
    )
  tasks: dict[tuple[int, str], str] = {}
  for name in found:
    if Path(name).parent.as_posix() == meant[0]:
      other = tasks.setdefault(_task_of(name), name)
      if other != name:
        task, split = _task_of(name)
        raise InputError(
          f'{flag}: {path} has {other} and {name}, expected one {split} file of task {task}'
        )
  return {task: found[name] for task, name in tasks.items()}


def _task_of(name: str) -> tuple[int, str]:
  match = _FILE.fullmatch(Path(name).name)
  assert match is not None
  return int(match[1]), match[2]


def _read_archive(path: Path, flag: str) -> dict[str, Callable[[], bytes]]:
  """Returns name -> a function that gives the file, of those in an archive that may be of bAbI."""
  try:
    with tarfile.open(path) as archive:
      contents = list(_contents(archive))
  except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
    # Of a file that is no archive tarfile says line by line what it tried.
    why = str(error).partition('\n')[0].rstrip(':') or type(error).__name__
    raise InputError(f'{flag}: {path} is not a whole tar archive ({why})') from error
  return {name: functools.partial(bytes, content) for name, content in contents}


def _contents(archive: tarfile.TarFile) -> Iterable[tuple[str, bytes]]:
  for member in archive:
    if member.isfile() and _FILE.fullmatch(Path(member.name).name):
      if member.size > _MOST_BYTES:
        raise InputError(
          f'{member.name} has {member.size:,} bytes, expected {_MOST_BYTES:,} at most'
        )
      content = archive.extractfile(member)
      if content is not None:
        yield member.name, content.read()
  # The checksum of a compressed archive lies behind all that tarfile reads, which also takes a
  # damaged header for the end.
  assert archive.fileobj is not None
  while rest := archive.fileobj.read(_PIECE):
    if rest.strip(b'\0'):
      raise tarfile.ReadError('bad header')
