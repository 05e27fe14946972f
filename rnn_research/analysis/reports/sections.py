"""The one writer of reports: a page of Markdown, its figures, and the numbers of each as CSV."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from rnn_research.analysis.reports import plots
from rnn_research.analysis.reports.tables import Rows, Table, samples_markdown, write_csv
from rnn_research.training.result import write_text


class Section(NamedTuple):
  """A part of a report.

  Attributes:
    title: its heading; '' for none.
    stem: of its files, 'loss' for loss.png and loss.csv; None without any.
    plot: the figure, with its numbers; None without one.
    shows: what stands in the place of a figure that cannot be shown; '' for the heading.
    before: Markdown above the figure.
    after: Markdown below the figure.
    metrics: group -> {name: number}, for result.json.
    columns: name -> numbers that are written without a figure; {} for none.
  """

  title: str
  stem: str | None = None
  plot: plots.Plot | None = None
  shows: str = ''
  before: str = ''
  after: str = ''
  metrics: Mapping[str, Mapping[str, float]] = MappingProxyType({})
  columns: Table = MappingProxyType({})


def write(
  out_dir: str | os.PathLike, title: str, sections: Iterable[Section], name: str = 'README.md'
) -> dict[str, dict[str, float]]:
  """Writes a report.

  Args:
    out_dir: an existing folder.
    title: heading of the page.
    sections: what the page shows, from top to bottom.
    name: of the page.

  Returns:
    The finite numbers of all sections: group -> {name: number}.
  """
  out, blocks = Path(out_dir), [f'# {title}']
  metrics: dict[str, dict[str, float]] = {}
  for section in sections:
    if section.plot is not None:
      plots.save(section.plot, out / f'{section.stem}.png')
    if section.columns:
      write_csv(out / f'{section.stem}.csv', section.columns)
    blocks += _blocks(section)
    for group, numbers in section.metrics.items():
      metrics.setdefault(group, {}).update({k: v for k, v in numbers.items() if np.isfinite(v)})
  texts = [block.strip('\n') for block in blocks]
  write_text(out / name, '\n\n'.join(text for text in texts if text) + '\n')
  return metrics


def _blocks(section):
  yield f'## {section.title}' if section.title else ''
  yield section.before
  if section.plot is not None:
    yield f'![{section.shows or section.title}]({section.stem}.png)'
  if section.plot is not None or section.columns:
    yield f'Numbers: [{section.stem}.csv]({section.stem}.csv)'
  yield section.after


def write_samples(out_dir: str | os.PathLike, rows: Rows) -> None:
  """Writes samples.md: what a model wrote while it trained, see `tables.samples_markdown`."""
  text = Section('', before=samples_markdown(rows))
  write(out_dir, 'What the model wrote while it trained', [text], 'samples.md')


def loss_section(rows: Rows, *validation: str) -> Section:
  """Returns the section of `plots.loss_curves(rows, *validation)`."""
  plot = plots.loss_curves(rows, *validation)
  return Section('Loss', 'loss', plot, 'Training and validation loss over steps')


def gradient_section(rows: Rows) -> Section:
  """Returns the section of `plots.gradient_figure(rows)`."""
  shows = 'Gradient norm, share clipped and learning rate over steps'
  return Section('Gradients', 'gradients', plots.gradient_figure(rows), shows)
