"""Figures and tables of one run's members, or of several runs side by side."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rnn_research.analysis import plots, run_curves
from rnn_research.analysis.plots import LABEL, Plot
from rnn_research.analysis.run_curves import Curves, Run
from rnn_research.analysis.tables import markdown
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
      rows = [[curve.label, seed, step, value] for step, value in zip(curve.steps, values, strict=True)]
      for column, entries in zip(table.values(), zip(*rows, strict=True), strict=True):
        column.extend(entries)
    axes.plot(curve.steps, np.median(curve.values, 0), label=curve.label, color=colour, linestyle=line, linewidth=2.5,
              marker=marker, markersize=8, markevery=max(1, len(curve.steps) // 8))
  if baseline is not None:
    axes.axhline(baseline, color='black', linewidth=2, linestyle=(0, (1, 1)), label=f'without memory: {baseline:.4f}')
  shown = np.array([value for value in (*table[metric], baseline or np.nan) if np.isfinite(value) and value > 0])
  if sense == 'min' and len(shown) and shown.max() > 10 * shown.min():
    plots.logarithmic(axes, shown)
  axes.set_xlabel('training step', fontsize=LABEL)
  axes.set_ylabel(metric.replace('_', ' '), fontsize=LABEL)
  plots.finish(axes)
  plots.legend_beside(axes)
  seeds = max(len(curve.values) for curve in curves)
  plots.caption(figure, f'{metric.replace("_", " ").capitalize()} on held-out examples while training'
                + (f'; thick: median over {seeds} seeds, thin: each seed.' if seeds > 1 else '.')
                + (' Dotted line: what needs no memory.' if baseline is not None else ''))
  return Plot(figure, table)


def write_run(workdir: str | os.PathLike, out_dir: str | os.PathLike) -> None:
  """Writes README.md and the figure of a run, a curve per learning rate, with its numbers as CSV, to `out_dir`."""
  run, out = run_curves.read_run(workdir), Path(out_dir)
  curves = run_curves.by_learning_rate(run)
  _, metric, sense = run.about['headline']
  plots.save(curve_figure(list(curves.values()), metric, sense, run_curves.without_memory(run)), out / 'curves.png')
  plots.save(plots.gradient_figure(run.rows), out / 'gradients.png')
  table = markdown(['', *_FIGURES], [[curve.label, *_last(curve)] for curve in curves.values()])
  write_text(out / 'README.md', '\n\n'.join([
      f'# {run.about["experiment"]}', _about(run), f'## {metric} at the last evaluation', table,
      f'![{metric} over training steps](curves.png)', 'Numbers: [curves.csv](curves.csv)', '## Gradients',
      '![Gradient norm, share clipped and learning rate over steps](gradients.png)',
      'Numbers: [gradients.csv](gradients.csv)\n']))


def write_comparison(runs: Sequence[Run], out_dir: str | os.PathLike) -> dict[str, dict[str, float]]:
  """Writes README.md and the figure of several runs with one headline, and returns what belongs into result.json.

  Each run is shown at its best learning rate.
  """
  _, metric, sense = runs[0].about['headline']
  best = [run_curves.best_curves(run) for run in runs]
  curves = [curve._replace(label=label) for (_, curve), label in zip(best, run_curves.labels(runs), strict=True)]
  order = sorted(range(len(runs)), key=lambda i: (1 if sense == 'min' else -1) * np.nan_to_num(
      curves[i].values[:, -1].mean(), nan=np.inf if sense == 'min' else -np.inf))
  out = Path(out_dir)
  plots.save(curve_figure([curves[i] for i in order], metric, sense, run_curves.without_memory(runs[0])),
             out / 'curves.png')
  head = ['run', 'parameters', 'learning rate', 'seeds', *_FIGURES, 'steps', 'commit', 'workdir']
  rows = [[curves[i].label, f'{runs[i].about["params"]:,}', f'{best[i][0]:g}', str(len(curves[i].values)),
           *_last(curves[i]), f'{curves[i].steps[-1]:,.0f}', (runs[i].about['git_hash'] or '')[:7], runs[i].workdir]
          for i in order]
  write_text(out / 'README.md', f'# {metric} of {len(runs)} runs\n\n{markdown(head, rows)}\n'
             'Figures of the last evaluation, over the seeds of each run at its best learning rate; best first.\n\n'
             f'![{metric} over training steps](curves.png)\n\nNumbers: [curves.csv](curves.csv)\n')
  return {curves[i].label: {f'{metric}_mean': float(curves[i].values[:, -1].mean()),
                            f'{metric}_std': _spread(curves[i].values[:, -1]), 'learning_rate': best[i][0]}
          for i in order}


_FIGURES = ('mean', 'standard deviation', 'lowest', 'highest')


def _last(curve):
  values = curve.values[:, -1]
  finite = values[np.isfinite(values)]
  if not len(finite):
    return ['not a number'] + [''] * (len(_FIGURES) - 1)
  numbers = finite.mean(), _spread(finite), finite.min(), finite.max()
  note = f' ({len(finite)} of {len(values)} seeds)' if len(finite) < len(values) else ''
  return [f'{number:.4g}{note if i == 0 else ""}' for i, number in enumerate(numbers)]


def _spread(values):
  return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _about(run):
  model = run.about['config']['model']
  return (f'{model["cell"]}, {run.about["params"]:,} parameters, {run.about["engine"]}; seed {run.about["seed"]}, '
          f'commit {run.about["git_hash"]}.')
