"""speed.md, speed.json and the figures of a whole measurement."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnn_research.analysis import plots
from rnn_research.analysis.tables import markdown
from rnn_research.benchmark import figures, memory, tables
from rnn_research.benchmark.contenders import Setting
from rnn_research.training.result import write_json, write_text


def write_report(measured: Mapping[str, Any], out_dir: str | os.PathLike) -> dict[str, dict[str, float]]:
  """Writes speed.json, speed.md, ratios.png and scaling.png with their numbers as CSV.

  Args:
    measured: {'machine', 'command', 'notes', 'measure', 'comparisons': [{'setting', 'contenders': as of
      `tables.summary`}, ..], 'scaling', 'pipeline', 'memory', 'sampling': label -> spread, or {'failed': why}}.
    out_dir: an existing folder.

  Returns:
    cell -> {label: geometric mean of the training step's ratio to ours}.
  """
  out = Path(out_dir)
  comparisons = [{'setting': Setting(**comparison['setting']), 'rows': tables.shown(comparison['contenders'])}
                 for comparison in measured['comparisons']]
  by_cell = {}
  for comparison in comparisons:
    by_cell.setdefault(comparison['setting'].cell, []).append(comparison['rows'])
  means = {cell: tables.geometric_means(rows) for cell, rows in by_cell.items()}
  write_json(out / 'speed.json', {**measured, 'geometric_means': means})
  plots.save(figures.ratio_figure(comparisons), out / 'ratios.png')
  plots.save(figures.scaling_figure(measured['scaling']), out / 'scaling.png')
  write_text(out / 'speed.md', '\n'.join(_sections(measured, comparisons, means)))
  return {cell: {label: parts['step'] for label, parts in by_label.items() if 'step' in parts}
          for cell, by_label in means.items()}


def _sections(measured, comparisons, means):
  effort = measured['measure']
  yield f'# Speed\n\n{_machine(measured["machine"])}\n'
  yield f'```sh\n{shlex.join(measured["command"])}\n```\n'
  yield from (f'{note}\n' for note in measured['notes'])
  yield (
      'A character model over 65 one-hot symbols: forward pass; forward and backward pass; and the whole training step '
      'with clipping by global norm and Adam, recurrent state passed on. Every contender is a process of its own, and '
      f'one works at a time: {effort["rounds"]} turns of up to {effort["calls"]} calls, the first call of each turn '
      'not counted. A time is a median with quartiles; a ratio is a median divided by that of ours in the same '
      'precision, so above 1 ours is quicker. Compilation is that of the training step. Memory is the peak of building '
      'and running the training step beyond what the process held after its imports, compilation included; on an '
      "accelerator it is the device's.\n")
  yield f'## Ratios, geometric means over shapes\n\n{tables.means_table(means)}'
  yield ('![Training step of each contender divided by ours](ratios.png)\n\nNumbers: [ratios.csv](ratios.csv), '
         '[speed.json](speed.json)\n')
  yield '## Times\n\nIn bold: the ratio to ours.\n'
  for comparison in comparisons:
    yield f'### {comparison["setting"]}\n\n{tables.comparison_table(comparison["rows"])}'
  yield ('## Cost of a training step\n\n![Training step over the multiple of each size](scaling.png)\n\n'
         f'{_base(effort)}\n\n{_scaling(measured["scaling"])}\nNumbers: [scaling.csv](scaling.csv)\n')
  yield ('## Sampling\n\n'
         f'{effort["sample_length"]:,} characters, one after the other, batch 1, LSTM '
         f'{effort["sampling"][1]} x {effort["sampling"][0]}.\n\n{_sampling(measured["sampling"], effort)}')
  yield f'## Drawing batches on the host\n\nNo device is used.\n\n{_pipeline(measured["pipeline"])}\n'
  yield (f'## A long sequence\n\nThe gradient of {effort["long_steps"]:,} steps of an LSTM 1 x {memory.HIDDEN}, batch '
         f'{memory.BATCH}, in a process that may hold {memory.LIMIT / 2**20:.0f} MiB more than before it starts (on '
         f'Linux, without a GPU). Temporary memory is what the compiled program asks for.\n\n'
         f'{_memory(measured["memory"])}')


def _machine(machine):
  device = f', {machine["device"]}' if machine['platform'] != 'cpu' else ''
  libraries = ', '.join(f'{name} {machine[name]}' for name in ('python', 'jax', 'flax', 'optax', 'torch')
                        if machine.get(name))
  return (f'{machine["processor"]}, {machine["cores"]} cores, {machine["memory_gib"]} GiB{device}; '
          f'{machine["system"]}; {libraries}; commit {machine["git_hash"] or "unknown"}.')


def _base(effort):
  hidden_size, num_layers, batch_size, unroll_length = effort['scaling_base']
  return (f'LSTM {num_layers} x {hidden_size}, batch {batch_size}, unroll {unroll_length}, one size changed at a time, '
          'ours alone.')


def _scaling(scaling):
  rows = [[axis.replace('_', ' '), str(point['size']),
           f'failed: {point["failed"]}' if 'failed' in point else tables.milliseconds(point['step'])]
          for axis, points in scaling.items() for point in points]
  return markdown(['changed', 'size', 'training step, ms'], rows)


def _sampling(sampling, effort):
  ours = sampling['ours: sampler'].get('median')
  rows = []
  for label, values in sampling.items():
    if 'failed' in values:
      rows.append([label, f'failed: {values["failed"]}', '', ''])
      continue
    ratio = f'{values["median"] / ours:.2f}' if ours and not label.startswith('ours') else ''
    rows.append([label, tables.milliseconds(values), f'{effort["sample_length"] / values["median"]:,.0f}', ratio])
  return markdown(['', 'ms', 'characters/s', 'time / ours'], rows)


def _memory(gradients):
  rows = [[label, f'{values["temporary"] / 2**20:,.0f}' if 'temporary' in values else '',
           f'{values["seconds"]:.2f}' if 'seconds' in values else values.get('refused', values.get('failed'))]
          for label, values in gradients.items()]
  return markdown(['', 'temporary memory, MiB', 'seconds'], rows)


def _pipeline(pipeline):
  rows = [[f'batch {row["batch_size"]}, unroll {row["unroll_length"]}',
           f'failed: {row["failed"]}' if 'failed' in row else f'{row["symbols_per_second"]:,.0f}'] for row in pipeline]
  return markdown(['', 'characters/s'], rows)
