"""Figures and tables of one run's members, or of several runs side by side."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rnn_research.analysis.reports import plots, run_curves
from rnn_research.analysis.reports.length_figure import compare_lengths
from rnn_research.analysis.reports.plots import LABEL, Plot
from rnn_research.analysis.reports.run_curves import Curves, Run
from rnn_research.analysis.reports.tables import markdown, picture
from rnn_research.training.grid import spread
from rnn_research.training.result import write_text


def curve_figure(curves: Sequence[Curves], metric: str, sense: str, baseline: float | None) -> Plot:
  """Draws a metric over training steps: thick the median over seeds, thin every seed.

  Args:
    curves: what is compared.
    metric: its name.
    sense: 'min' or 'max', the better end.
    baseline: what needs no memory, drawn as a line across; or None.
  """
  figure = Figure(figsize=(11, 6.6), layout='constrained')
  axes, table = figure.subplots(), {'label': [], 'seed': [], 'step': [], metric: []}
  for curve, (colour, line, marker) in zip(curves, plots.styles(len(curves)), strict=True):
    for seed, values in enumerate(curve.values):
      axes.plot(curve.steps, values, color=colour, alpha=0.35, linewidth=1)
      rows = [
        [curve.label, seed, step, value] for step, value in zip(curve.steps, values, strict=True)
      ]
      for column, entries in zip(table.values(), zip(*rows, strict=True), strict=True):
        column.extend(entries)
    axes.plot(
      curve.steps,
      _median(curve.values),
      label=curve.label,
      color=colour,
      linestyle=line,
      linewidth=2.5,
      marker=marker,
      markersize=8,
      markevery=max(1, len(curve.steps) // 8),
    )
  if baseline is not None:
    axes.axhline(
      baseline,
      color='black',
      linewidth=2,
      linestyle=(0, (1, 1)),
      label=f'without memory: {baseline:.4f}',
    )
  shown = np.array(
    [value for value in (*table[metric], baseline or np.nan) if np.isfinite(value) and value > 0]
  )
  top = _ceiling(curves, sense, baseline)
  shown = shown[shown <= top]
  if sense == 'min' and len(shown) and shown.max() > 10 * shown.min():
    plots.logarithmic(axes, shown)
  elif np.isfinite(top):
    axes.set_ylim(0.98 * shown.min(), 1.02 * shown.max())
  axes.set_xlabel('training step', fontsize=LABEL)
  axes.set_ylabel(_name(metric), fontsize=LABEL)
  plots.finish(axes)
  plots.legend_beside(axes)
  seeds = max(len(curve.values) for curve in curves)
  plots.caption(
    figure,
    f'{_name(metric)[0].upper()}{_name(metric)[1:]} on held-out examples while training'
    + (f'; thick: median over {seeds} seeds, thin: each seed.' if seeds > 1 else '.')
    + (' Dotted line: what needs no memory.' if baseline is not None else '')
    + (f' What is above {top:.2g} is not drawn.' if np.isfinite(top) else ''),
  )
  return Plot(figure, table)


def _name(metric):
  return 'BLEU' if metric == 'bleu' else metric.replace('_', ' ')


def _ceiling(curves, sense, baseline):
  """Returns where the axis ends: infinity, unless a few of many curves lie so far off that they
  flatten the others."""
  ends = np.array([end for curve in curves for end in curve.values[:, -1] if np.isfinite(end)])
  if sense != 'min' or len(curves) < 4 or not len(ends):
    return np.inf
  top = max(1.5 * np.median(ends), 1.2 * (baseline or 0.0))
  return top if ends.max() > 3.0 * top else np.inf


def _median(values):
  known = np.isfinite(values).any(0)
  return np.array(
    [
      np.nanmedian(column) if any_known else np.nan
      for column, any_known in zip(values.T, known, strict=True)
    ]
  )


def write_run(workdir: str | os.PathLike, out_dir: str | os.PathLike) -> None:
  """Writes README.md and the figure of a run, a curve per learning rate, with its numbers as CSV,
  to `out_dir`."""
  run, out = run_curves.read_run(workdir), Path(out_dir)
  curves = run_curves.by_learning_rate(run)
  split, metric, sense = run.about['headline']
  plots.save(
    curve_figure(list(curves.values()), metric, sense, run_curves.without_memory(run)),
    out / 'curves.png',
  )
  plots.save(plots.gradient_figure(run.rows), out / 'gradients.png')
  table = markdown(['', *_FIGURES], [[curve.label, *_last(curve)] for curve in curves.values()])
  write_text(
    out / 'README.md',
    '\n\n'.join(
      [
        f'# {run.about["experiment"]}',
        _about(run),
        f'## {split} {metric} at the last evaluation',
        table,
        f'![{metric} over training steps](curves.png)',
        'Numbers: [curves.csv](curves.csv)',
        '## Gradients',
        '![Gradient norm, share clipped and learning rate over steps](gradients.png)',
        'Numbers: [gradients.csv](gradients.csv)\n',
      ]
    ),
  )


def write_comparison(
  runs: Sequence[Run], out_dir: str | os.PathLike
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
  out = Path(out_dir)
  plots.save(
    curve_figure(
      [curve._replace(label=label) for label, (_, curve), _ in shown],
      metric,
      sense,
      baselines.pop() if len(baselines) == 1 else None,
    ),
    out / 'curves.png',
  )
  head = ['run', 'parameters', 'learning rate', 'seeds', *_FIGURES, 'steps', 'commit', 'workdir']
  rows = [
    [
      label,
      f'{run.about["params"]:,}',
      f'{rate:g}',
      str(len(curve.values)),
      *_last(curve),
      f'{curve.steps[-1]:,.0f}',
      (run.about['git_hash'] or '')[:7],
      run.workdir,
    ]
    for label, (rate, curve), run in shown
  ]
  lengths = compare_lengths({label: run.workdir for label, _, run in shown})
  if lengths:
    plots.save(lengths, out / 'bleu_by_length.png')
  write_text(
    out / 'README.md',
    f'# {_name(metric)} of {len(runs)} runs\n\n{markdown(head, rows)}\n'
    f'Figures of {split} at the last evaluation, over the seeds of each run at the learning rate '
    'that is best '
    'by the same figure; best '
    f'first.\n\n{picture(f"{_name(metric)} over training steps", "curves")}'
    + (f'\n{picture("BLEU over source length", "bleu_by_length")}' if lengths else ''),
  )
  return {
    label: {f'{metric}_{name}': value for name, value in spread(curve.values[:, -1]).items()}
    | {'learning_rate': rate}
    for label, (rate, curve), _ in shown
  }


_FIGURES = ('mean', 'standard deviation', 'lowest', 'highest')


def _last(curve):
  found = spread(curve.values[:, -1])
  lost = len(curve.values) - found['seeds']
  mean = f'{found["mean"]:.4g}' if 'mean' in found else ''
  note = f' ({lost} of {len(curve.values)} not finite)' if lost else ''
  return [
    f'{mean}{note}',
    *(f'{found[name]:.4g}' if name in found else '' for name in ('std', 'lowest', 'highest')),
  ]


def _about(run):
  model = run.about['config']['model']
  return (
    f'{model["cell"]}, {run.about["params"]:,} parameters, {run.about["engine"]}; seed '
    f'{run.about["seed"]}, '
    f'commit {run.about["git_hash"]}.'
  )
