"""The report of a trained DRAW."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np

from rnn_research.analysis.reports import curve_report
from rnn_research.analysis.reports.sections import Section
from rnn_research.analysis.reports.tables import read_result, result_markdown
from rnn_research.analysis.reports.tiles import write_picture
from rnn_research.tasks.draw import figures
from rnn_research.tasks.draw.drawing import half
from rnn_research.tasks.draw.frames import frames

_ROWS, _NEAREST, _SHEET = 5, 16, 64  # images: step by step; beside their nearest; on a sheet
BOUND_IMAGES = 500
_BLOCK = 10_000  # training images that are compared with at once


def write_report(
  commands: Mapping[str, Callable],
  bound: Mapping[str, np.ndarray],
  parts: Mapping[str, Callable[[], np.ndarray]],
  workdir: str | os.PathLike,
  out_dir: str | os.PathLike,
) -> None:
  """Writes README.md, drawings.gif and figures with their numbers as CSV to `out_dir`.

  Args:
    commands: what the model can do, see `drawing.commands_of`, its parameters given.
    bound: 'kl' [T] of each step, and 'reconstruction', nats: means over the first `BOUND_IMAGES`
      test images.
    parts: split -> its images, see `DrawImages`.
    workdir: of the run.
    out_dir: an existing folder.
  """
  drawn = commands['draw'](count=_SHEET)
  write_picture(str(Path(out_dir) / 'drawings.gif'), frames(drawn))
  train, test = parts['train'](), parts['test']()
  given, redrawn = commands['redraw'](test[:_ROWS])
  sections = [
    Section('All splits', before=result_markdown(read_result(workdir))),
    Section('New images', before='![New images, step by step](drawings.gif)'),
    _nearest(drawn.canvases[-1], train),
    _steps(drawn),
    _redrawn(given, redrawn),
    _completed(commands, given),
    _bound(bound['kl'], bound['reconstruction'], min(len(test), BOUND_IMAGES)),
  ]
  curve_report.write_run(workdir, out_dir, sections)


def _nearest(samples, train) -> Section:
  rows = samples[:_NEAREST]
  nearest = train[nearest_rows(rows, train)] / 255
  text = 'New images, and the training image that each is nearest to by its squared distance.'
  plot = figures.pairs_figure(rows, nearest, ('drawn', 'nearest'), text)
  return Section('Not learned by heart', 'nearest', plot)


def nearest_rows(images: np.ndarray, among: np.ndarray) -> np.ndarray:
  """Returns which of [M, S, S, C] uint8 each image, [N, S, S, C] in [0, 1], is nearest to: [N]."""
  flat = images.reshape(len(images), -1)
  distances = []
  for start in range(0, len(among), _BLOCK):
    others = among[start : start + _BLOCK].reshape(-1, flat.shape[1]) / np.float32(255)
    distances.append((others**2).sum(1) - 2 * flat @ others.T)  # but for what is the same for all
  return np.concatenate(distances, 1).argmin(1)


def _steps(drawn) -> Section:
  few = jax.tree.map(lambda a: a[:, :_ROWS], drawn)
  plot = figures.steps_figure(few, None, f'Canvases after steps, from the prior.{_windows(few)}')
  return Section('Drawn step by step', 'steps', plot)


def _windows(drawing):
  names = [name for name in ('read', 'wrote') if getattr(drawing, name) is not None]
  said = {'read': 'green: where the step read', 'wrote': 'red: where it wrote'}
  lines = '; '.join(said[name] for name in names)
  return f' Windows, {lines}, a thicker line where the filters are wider.' if names else ''


def _redrawn(given, drawn) -> Section:
  text = f'Test images, read and drawn again.{_windows(drawn)}'
  return Section('Read and drawn again', 'redrawn', figures.steps_figure(drawn, given, text))


def _completed(commands, given) -> Section:
  columns = [('all', given), ('given', np.where(half(given.shape[1], 'top'), given, 0.5))]
  again = np.round(255 * given).astype(np.uint8)  # the same half for all four
  columns += [
    (f'drawn {seed + 1}', commands['complete'](again, seen='top', seed=seed)) for seed in range(4)
  ]
  text = 'Test images of which the upper half is given; four drawings of the lower one.'
  return Section('Completed', 'completed', figures.images_figure(columns, text))


def _bound(kl, reconstruction, count) -> Section:
  text = (
    f'KL(q || p) of each step, means over the first {count} test images, one draw each; '
    f'{kl.sum():.1f} nats in all. Reconstruction costs {reconstruction:.1f} nats more.'
  )
  return Section('The bound, by step', 'bound', figures.bound_figure(kl, text))
