"""The report of a language model: what it wrote, how its loss fell, what its gradients did."""

import os
from collections.abc import Callable

import jax

from rnn_research.analysis.reports import sections
from rnn_research.analysis.reports.learning_figure import learning_figure
from rnn_research.analysis.reports.sections import Section
from rnn_research.analysis.reports.tables import (
  fenced,
  read_result,
  result_markdown,
  samples_markdown,
)
from rnn_research.training.metrics_log import read_log
from rnn_research.typing import Key, Params

TEMPERATURES = (0.5, 0.8, 1.0)


def write_report(
  write: Callable[[float, Params, Key], str],
  params: Params,
  workdir: str | os.PathLike,
  out_dir: str | os.PathLike,
) -> None:
  """Writes README.md, figures with their numbers as CSV, and samples.md to `out_dir`.

  Args:
    write: `(temperature, params, key) -> text` that the model writes.
    params: of the trained model.
    workdir: of the run, whose metrics.jsonl and, if the run is finished, result.json are read.
    out_dir: an existing folder.
  """
  rows, result = read_log(workdir), read_result(workdir)
  sections.write_samples(out_dir, rows)
  texts = [
    f'### Temperature {temperature}\n\n{fenced(write(temperature, params, jax.random.key(0)))}'
    for temperature in TEMPERATURES
  ]
  intro = (
    'The best parameters, from the initial state, seed 0. A lower temperature '
    'prefers probable symbols.'
  )
  sections.write(
    out_dir,
    result['experiment'] if result else 'A run that is not finished',
    [
      Section('', before=result_markdown(result)),
      *_learning(rows),
      sections.loss_section(rows),
      sections.gradient_section(rows),
      Section('What it wrote while it trained', before=samples_markdown(rows)),
      Section('What it writes now', before='\n'.join([f'{intro}\n', *texts])),
    ],
  )


def _learning(rows):
  plot = learning_figure(rows)
  if plot is not None:
    yield Section('Learning to write', 'learning', plot, 'The loss, and samples beside it')
