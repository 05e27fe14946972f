"""The report of a model that answers questions: errors by task, seeds, and where it looks."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rnn_research.analysis.reports import run_curves, sections
from rnn_research.analysis.reports.curve_figure import curve_figure
from rnn_research.analysis.reports.plots import Plot
from rnn_research.analysis.reports.sections import Section
from rnn_research.analysis.reports.tables import Rows, markdown, read_result
from rnn_research.data.babi import NAMES, PASSED, Question
from rnn_research.tasks.memory_qa.answering import Readings
from rnn_research.tasks.memory_qa.attention_figure import attention_figure
from rnn_research.tasks.memory_qa.corpus import StoryVocabulary
from rnn_research.training import grid
from rnn_research.training.metrics_log import read_log
from rnn_research.training.result import read_json

_DIVERGED = ', where one that diverged counts as 100 %'
_LENGTH = 8  # sentences, about, of the story that is drawn


class AnsweredQuestions(NamedTuple):
  """Test questions and what a model makes of them.

  Attributes:
    questions: N of them.
    readings: of the model.
    vocabulary: of the model.
    columns: K names of what has weights: hops or slots; () where nothing has.
    hops: whether they are hops, whose weights are shares.
  """

  questions: Sequence[Question]
  readings: Readings
  vocabulary: StoryVocabulary
  columns: tuple[str, ...]
  hops: bool


def write_report(
  held_out: AnsweredQuestions, workdir: str | os.PathLike, out_dir: str | os.PathLike
) -> None:
  """Writes README.md, tasks.csv, members.csv of a grid, and a figure per task with its numbers.

  Args:
    held_out: what the report is about.
    workdir: of the run, whose config.json, metrics.jsonl and result.json are read.
    out_dir: an existing folder.
  """
  rows, about = read_log(workdir), read_json(Path(workdir) / 'config.json')
  config = ConfigDict(about['config'])
  right = _right(held_out)
  tasks = by_task(held_out, right)
  members = of_members(rows, grid.members(config))
  at_end = _medians_of_tasks(rows, members, len(tasks['task']))
  sections.write(
    out_dir,
    about['experiment'],
    [
      Section('', before=_about(about, workdir)),
      Section(
        'Test error by task', 'tasks', columns=tasks | at_end, before=_task_table(tasks, at_end)
      ),
      Section('Seeds', 'members', columns=members, before=_member_table(members))
      if members
      else Section(''),
      *(_example(held_out, right, int(task)) for task in tasks['task']),
      _curves(workdir),
      sections.gradient_section(rows),
    ],
  )


def by_task(held_out: AnsweredQuestions, right: Sequence[bool]) -> dict[str, np.ndarray]:
  """Returns columns with an entry per task: its number, the error in percent and, where there are
  hops, the share of each hop's attention that lies on supporting sentences, beside the share that
  even attention would have there; not a number where no question has any.

  Args:
    held_out: what the report is about.
    right: N, whether a question was answered right.
  """
  tasks = np.array([question.task for question in held_out.questions])
  wrong = ~np.array(right)
  masses = np.array([_mass(held_out, i) for i in range(len(tasks))])
  known = np.unique(tasks)
  columns = {
    'task': known.astype(np.float64),
    'error': np.array([100 * wrong[tasks == task].mean() for task in known]),
  }
  names = ['even', *held_out.columns] if held_out.hops else []
  for name, mass in zip(names, masses.T, strict=False):
    own = [mass[(tasks == task) & ~np.isnan(mass)] for task in known]
    columns[name] = np.array([m.mean() if len(m) else np.nan for m in own])
  return columns


def _right(held_out: AnsweredQuestions) -> list[bool]:
  words, guesses = held_out.vocabulary.words, held_out.readings.probs.argmax(1)
  return [
    words[guess] == question.answer
    for guess, question in zip(guesses, held_out.questions, strict=True)
  ]


def _mass(held_out: AnsweredQuestions, i: int) -> list[float]:
  """Returns the share of supporting sentences, and of the attention of every hop that is theirs."""
  weights, supports = held_out.readings.weights[i], _supports(held_out, i)
  if not supports:
    return [np.nan] * (1 + len(weights))
  return [len(supports) / weights.shape[1], *weights[:, supports].sum(1).tolist()]


def _supports(held_out: AnsweredQuestions, i: int) -> list[int]:
  """Returns the places of the supporting sentences among those that were read."""
  question, read = held_out.questions[i], held_out.readings.weights[i].shape[1]
  left_out = len(question.story) - read
  return sorted({place - left_out for place in question.supports if place >= left_out})


def of_members(rows: Rows, members: Sequence[grid.Member]) -> dict[str, np.ndarray]:
  """Returns columns with an entry per member of a grid: seed, learning rate, and errors in percent
  at the last evaluation and at the one where its own validation was best; {} where there is
  none."""
  logged = [row for row in rows if f'test/error{grid.MEMBERS}' in row]
  if not members or not logged:
    return {}

  def figures(name):
    return np.array([row[f'{name}{grid.MEMBERS}'] for row in logged], np.float64)

  valid, test = figures('valid/error'), figures('test/error')
  chosen = np.nan_to_num(figures('valid/expected_error'), nan=np.inf).argmin(0)
  every = np.arange(len(members))
  return {
    'seed': np.array([one.seed for one in members], np.float64),
    'learning_rate': np.array([one.learning_rate for one in members]),
    'valid_last': valid[-1],
    'test_last': test[-1],
    'valid_best': valid[chosen, every],
    'test_best': test[chosen, every],
  }


def medians(rates: Sequence[float] | np.ndarray, errors: np.ndarray) -> dict[float, np.ndarray]:
  """Returns learning rate -> medians over its members, where one that diverged has nothing right.

  Args:
    rates: of G members.
    errors: [G, ...] float64, percent; not a number where a member diverged.
  """
  known = np.nan_to_num(errors, nan=100.0)
  return {float(rate): np.median(known[np.equal(rates, rate)], 0) for rate in np.unique(rates)}


def _medians_of_tasks(rows: Rows, members: Mapping, num_tasks: int) -> dict[str, np.ndarray]:
  name = f'test/errors{grid.MEMBERS}'
  last = next((row[name] for row in reversed(rows) if name in row), None) if members else None
  if last is None or np.shape(last)[1] != num_tasks:
    return {}
  found = medians(members['learning_rate'], np.array(last, np.float64))
  return {f'median at rate {rate:g}': errors for rate, errors in found.items()}


def _curves(workdir) -> Section:
  run = run_curves.read_run(workdir)
  curves = list(run_curves.by_learning_rate(run).values())
  plot = curve_figure(curves, run.about['headline'], None)
  return Section('Validation', 'curves', plot, 'Expected error over training steps')


def _about(about: Mapping, workdir) -> str:
  result = read_result(workdir)
  lines = [
    f'{about["params"]:,} parameters, {about["engine"]}; seed {about["seed"]}, commit '
    f'{about["git_hash"]}.'
  ]
  if result:
    test = result['metrics']['test']
    lines.append(
      f'Mean test error {test["error"]:.2f} %, {test["failed"]:.0f} tasks above {PASSED:g} %; '
      f'chosen on validation, after {result["best_step"]:,} of {result["steps"]:,} steps.'
    )
  return '\n\n'.join(lines)


def _task_table(columns: Mapping[str, np.ndarray], at_end: Mapping[str, np.ndarray]) -> str:
  shares = [name for name in columns if name not in ('task', 'error')]
  rows = []
  for i, (task, error) in enumerate(zip(columns['task'], columns['error'], strict=True)):
    rows.append(
      [
        f'{task:.0f} {NAMES[int(task) - 1]}',
        f'{error:.1f}',
        'passed' if error <= PASSED else 'failed',
        *(f'{errors[i]:.1f}' for errors in at_end.values()),
        *(f'{columns[name][i]:.2f}' for name in shares),
      ]
    )
  means = [np.mean(errors) for errors in (columns['error'], *at_end.values())]
  failed = int((columns['error'] > PASSED).sum())
  first, *rest = (f'{mean:.1f}' for mean in means)
  rows.append(['mean', first, f'{failed} failed', *rest, *('' for _ in shares)])
  names = [f'{name}, %' for name in at_end]
  table = markdown(['task', 'error, %', f'at {PASSED:g} %', *names, *shares], rows)
  notes = ['Error: with the best parameters.']
  if at_end:
    notes.append(f'Median: over the seeds of a learning rate, at the last evaluation{_DIVERGED}.')
  if shares:
    notes.append(
      "Behind the errors: the share of each hop's attention that lies on supporting sentences, and "
      'beside it what even attention would have there.'
    )
  return f'{table}\n{" ".join(notes)}'


def _member_table(columns: Mapping[str, np.ndarray]) -> str:
  header = [
    'seed',
    'learning rate',
    'valid, last',
    'test, last',
    'valid, own best',
    'test, own best',
  ]
  rows = [
    [f'{seed:.0f}', f'{rate:g}', *(f'{error:.2f}' for error in errors)]
    for seed, rate, *errors in zip(*columns.values(), strict=True)
  ]
  errors = np.stack(list(columns.values())[2:], 1)
  for rate, own in medians(columns['learning_rate'], errors).items():
    rows.append(['median', f'{rate:g}', *(f'{error:.2f}' for error in own)])
  return (
    f'{markdown(header, rows)}\nMean errors over the tasks in percent, at the last evaluation, and '
    'at the one where the member itself was best on validation; medians are over the seeds of a '
    f'learning rate{_DIVERGED}.'
  )


def _example(held_out: AnsweredQuestions, right: Sequence[bool], task: int) -> Section:
  """Returns the section of a story: one that was understood, of about 8 sentences, if there is."""
  own = [i for i, question in enumerate(held_out.questions) if question.task == task]
  chosen = min(own, key=lambda i: (not right[i], abs(len(held_out.questions[i].story) - _LENGTH)))
  question = held_out.questions[chosen]
  probs = held_out.readings.probs[chosen]
  guess = int(probs.argmax())
  said = f'{held_out.vocabulary.words[guess]} ({probs[guess]:.2f})'
  asked = f'{" ".join(question.question).capitalize()}? {said}'
  asked += '' if right[chosen] else f', but right is {question.answer}'
  plot = _plot(held_out, chosen, asked) if held_out.columns else None
  title = f'Task {task}, {NAMES[task - 1]}'
  return Section(title, f'task_{task}', plot, before=asked, shows=f'Sentences of task {task}')


def _plot(held_out: AnsweredQuestions, chosen: int, asked: str) -> Plot:
  weights = held_out.readings.weights[chosen]
  told = held_out.questions[chosen].story[-weights.shape[1] :]
  what = (
    'Attention of every hop to the sentences'
    if held_out.hops
    else 'Gates of the slots at each sentence, slots named by the nearest word'
  )
  return attention_figure(
    weights,
    [f'{" ".join(sentence)}.' for sentence in told],
    _supports(held_out, chosen),
    held_out.columns,
    'attention' if held_out.hops else 'gate',
    f'{asked}. {what}; marked: those that the answer follows from.',
  )
