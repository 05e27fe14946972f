"""The report of a classifier that looks around: its errors, and where it looked."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rnn_research.analysis.reports import curve_report
from rnn_research.analysis.reports.sections import Section
from rnn_research.analysis.reports.tables import read_result, result_markdown
from rnn_research.analysis.reports.tiles import write_picture
from rnn_research.data.canvases import Asked
from rnn_research.tasks.glimpse.film import frames
from rnn_research.tasks.glimpse.looking import Look, answered
from rnn_research.tasks.glimpse.path_figure import path_figure
from rnn_research.tasks.glimpse.places_figure import places_figure

_SEARCHED, _SHOWN, _FILMED = 500, 4, 6  # test images: looked at, drawn of a kind, in the film


def write_report(
  follow: Callable[[np.ndarray], Sequence[Look]] | None,
  classes: Sequence[str],
  asked: Asked,
  multiply_adds: int,
  workdir: str | os.PathLike,
  out_dir: str | os.PathLike,
) -> None:
  """Writes README.md, glimpses.gif and figures with their numbers as CSV to `out_dir`.

  Args:
    follow: `(images) -> looks` of the trained network; None of one that sees all at once.
    classes: their names.
    asked: test images.
    multiply_adds: of the answer to one image.
    workdir: of the run.
    out_dir: an existing folder.
  """
  cut = ', without what cuts glimpses out of it' if follow else ''
  work = f'{multiply_adds:,} multiply-adds for an image{cut}.'
  result = read_result(workdir)
  sections = [Section('All splits', before=result_markdown(result), after=work)]
  if follow is not None:
    sections += _looking(follow, classes, asked, out_dir)
  curve_report.write_run(workdir, out_dir, sections)


def _looking(follow, classes, asked, out_dir):
  looks = follow(asked.images[:_SEARCHED])
  truths = [' '.join(classes[i] for i in row if i < len(classes)) for row in asked.targets]
  judged = list(zip(looks, truths, strict=False))
  kinds = {
    'right': [pair for pair in judged if answered(pair[0]) == pair[1]][:_SHOWN],
    'wrong': [pair for pair in judged if answered(pair[0]) != pair[1]][:_SHOWN],
  }
  write_picture(str(Path(out_dir) / 'glimpses.gif'), frames(looks[:_FILMED]), seconds=0.6)
  yield Section('At work', before='![Where it looks, and what it has seen](glimpses.gif)')
  for kind, pairs in kinds.items():
    if pairs:
      yield _paths(kind, pairs)
  text = f'Middles of glimpses over {len(looks)} test images: where the first, the second, .. are.'
  yield Section('Where glimpses are', 'places', places_figure(looks, text))


def _paths(kind, pairs) -> Section:
  looks, truths = zip(*pairs, strict=True)
  how = 'rightly' if kind == 'right' else 'wrongly'
  text = f'The first test images that were answered {how}; above each what it is.'
  return Section(f'Answered {kind}', f'paths_{kind}', path_figure(looks, truths, text))
