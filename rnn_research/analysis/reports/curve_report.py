"""The report of one run's members, and that of several runs side by side."""

import os
from collections.abc import Sequence

from rnn_research.analysis.reports import by_length, run_curves
from rnn_research.analysis.reports.curve_figure import curve_figure
from rnn_research.analysis.reports.length_figure import compare_lengths
from rnn_research.analysis.reports.run_curves import LoggedRun
from rnn_research.analysis.reports.sections import Section, gradient_section, write
from rnn_research.analysis.reports.tables import (
  DIVERGED,
  markdown,
  metric_name,
  read_result,
  side_by_side,
)
from rnn_research.training.grid import spread

_FIGURES = ('mean', 'median', 'standard deviation', 'lowest', 'highest')
_HEAD = ('run', 'parameters', 'learning rate', 'seeds', *_FIGURES, 'steps', 'commit', 'workdir')


def write_run(
  workdir: str | os.PathLike, out_dir: str | os.PathLike, more: Sequence[Section] = ()
) -> None:
  """Writes README.md and the figure of a run, a curve per learning rate, with its numbers as CSV,
  to `out_dir`; `more` stands between the curves and the gradients."""
  run = run_curves.read_run(workdir)
  curves = list(run_curves.by_learning_rate(run).values())
  split, metric, sense = run.about['headline']
  name = metric_name(metric)
  write(
    out_dir,
    run.about['experiment'],
    [
      Section('', before=_about(run)),
      Section(
        f'{split} {name} at the last evaluation',
        'curves',
        curve_figure(
          curves, run.about['headline'], run_curves.without_memory(run), _examples_per_step([run])
        ),
        f'{name} over training steps',
        before=markdown(['', *_FIGURES], [[curve.label, *_last(curve, sense)] for curve in curves]),
      ),
      *more,
      gradient_section(run.rows),
    ],
  )


def write_comparison(
  runs: Sequence[LoggedRun], out_dir: str | os.PathLike
) -> dict[str, dict[str, float]]:
  """Writes README.md and the figure of several runs with one headline, and returns what belongs
  into result.json.

  Each run is shown at its best learning rate.
  """
  split, metric, sense = runs[0].about['headline']
  best = [run_curves.best_curves(run) for run in runs]
  shown = sorted(
    zip(run_curves.labels(runs), best, runs, strict=True),
    key=lambda item: run_curves.badness(item[1][1], sense),
  )
  baselines = {run_curves.without_memory(run) for run in runs}
  curves = [curve._replace(label=label) for label, (_, curve), _ in shown]
  text = (
    f'Figures of {split} at the last evaluation, over the seeds of each run at the learning rate '
    'that is best by the same figure; best first.'
  )
  name, folders = metric_name(metric), {label: run.workdir for label, _, run in shown}
  results = {label: read_result(folder) for label, folder in folders.items()}
  return write(
    out_dir,
    f'{name} of {len(runs)} runs',
    [
      Section(
        '',
        'curves',
        curve_figure(
          curves,
          runs[0].about['headline'],
          baselines.pop() if len(baselines) == 1 else None,
          _examples_per_step(runs),
        ),
        f'{name} over training steps',
        before=f'{markdown(_HEAD, [_row(*one) for one in shown])}\n{text}',
        metrics={label: _metrics(metric, sense, *found) for label, found, _ in shown},
      ),
      *(
        Section(
          f'{measured} at the end of training',
          before=f'{table}\nOf several seeds and learning rates those of the best.',
        )
        for measured in ('valid', 'test')
        if (table := side_by_side(results, measured))
      ),
      Section('', 'bleu_by_length', compare_lengths(folders), 'BLEU over source length'),
      Section('', by_length.STEM, by_length.compare_errors(folders), 'Errors over length'),
    ],
  )


def _examples_per_step(runs):
  """Returns the one batch size of runs on whole examples, None where there is none such, as where
  a batch has as many symbols as fit."""
  blocks = [run.about['config'].get('train', {}) for run in runs]
  others = {'unroll_length', 'batch_tokens'}
  sizes = {None if others & {*block} else block.get('batch_size') for block in blocks}
  return sizes.pop() if len(sizes) == 1 else None


def _row(label, best, run):
  rate, curve = best
  return [
    label,
    f'{run.about["params"]:,}',
    f'{rate:g}',
    str(len(curve.values)),
    *_last(curve, run.about['headline'][2]),
    f'{curve.steps[-1]:,.0f}',
    (run.about['git_hash'] or '')[:7],
    run.workdir,
  ]


def _metrics(metric, sense, rate, curve):
  found = spread(curve.values[:, -1], sense)
  return {f'{metric}_{name}': value for name, value in found.items()} | {'learning_rate': rate}


def _last(curve, sense):
  found = spread(curve.values[:, -1], sense)
  lost = len(curve.values) - found['seeds']
  mean = f'{found["mean"]:.4g}' if 'mean' in found else ''
  note = f' ({lost} of {len(curve.values)} not finite)' if lost else ''
  return [
    f'{mean}{note}',
    f'{found["median"]:.4g}' if 'median' in found else DIVERGED,
    *(f'{found[name]:.4g}' if name in found else '' for name in ('std', 'lowest', 'highest')),
  ]


def _about(run):
  cell = run.about['config'].get('model', {}).get('cell')  # an experiment needs neither
  return (
    f'{f"{cell}, " if cell else ""}{run.about["params"]:,} parameters, {run.about["engine"]}; seed '
    f'{run.about["seed"]}, commit {run.about["git_hash"]}.'
  )
