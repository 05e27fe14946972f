"""speed.md, speed.json and the figures of a whole measurement."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnn_research.analysis.reports.sections import Section, write
from rnn_research.benchmark import figures, tables, workloads
from rnn_research.benchmark.contenders import SOURCE_LENGTH, VOCABULARY_SIZE, Setting
from rnn_research.training.result import write_json

_IN_A_ROW = 'Training takes up to ten steps in a row in a call, whose time is divided by them.'


def write_report(
  measured: Mapping[str, Any], out_dir: str | os.PathLike
) -> dict[str, dict[str, float]]:
  """Writes speed.json, speed.md, and of what was measured ratios.png and scaling.png with their
  numbers as CSV.

  Args:
    measured: {'machine', 'command', 'notes', 'measure'} and, of what `groups` returns, the groups
      that were measured.
    out_dir: an existing folder.

  Returns:
    cell -> {label: geometric mean of the training step's ratio to ours}.
  """
  comparisons: list[dict[str, Any]] = []
  by_cell: dict[str, list] = {}
  for one in measured.get('comparisons', ()):
    setting, rows = Setting(**one['setting']), tables.shown(one['contenders'])
    comparisons.append({'setting': setting, 'rows': rows})
    by_cell.setdefault(setting.cell, []).append(rows)
  means = {cell: tables.geometric_means(rows) for cell, rows in by_cell.items()}
  write_json(Path(out_dir) / 'speed.json', {**measured, 'geometric_means': means})
  effort, on_gpu = measured['measure'], measured['machine']['platform'] == 'gpu'
  sections = [_introduction(measured, on_gpu)]
  if comparisons:
    sections += [_ratios(comparisons, means, effort, on_gpu), _times(comparisons)]
  sections += [make(measured[name], effort) for name, make in _OTHERS.items() if name in measured]
  write(out_dir, 'Speed', sections, 'speed.md')
  return {
    cell: {label: parts['step'] for label, parts in by_label.items() if 'step' in parts}
    for cell, by_label in means.items()
  }


def _introduction(measured, on_gpu):
  effort = measured['measure']
  together = ', after all have built' if on_gpu else ''
  in_a_row = f'{_IN_A_ROW} ' if on_gpu else ''
  text = (
    f'Every contender is a process of its own, and one works at a time{together}: '
    f'{effort["rounds"]} turns of up to {effort["calls"]} calls, the first call of each turn not '
    f'counted. {in_a_row}A time is a median with quartiles; a ratio is a median divided by that of '
    'ours in the same precision, so above 1 ours is quicker.'
  )
  command = f'```sh\n{shlex.join(measured["command"])}\n```'
  parts = [_machine(measured['machine']), command, *measured['notes'], text]
  return Section('', before='\n\n'.join(parts))


def _machine(machine):
  device = f', {machine["device"]}' if machine['platform'] != 'cpu' else ''
  names = ('python', 'jax', 'flax', 'optax', 'torch')
  libraries = ', '.join(f'{name} {machine[name]}' for name in names if machine.get(name))
  return (
    f'{machine["processor"]}, {machine["cores"]} cores, {machine["memory_gib"]} GiB{device}; '
    f'{machine["system"]}; {libraries}; commit {machine["git_hash"] or "unknown"}.'
  )


def _ratios(comparisons, means, effort, on_gpu):
  forced = '' if effort['engine'] == 'auto' else f' Ours runs with the engine {effort["engine"]}.'
  compilation, memory = '', 'beyond what the process held after its imports, compilation included'
  if on_gpu:
    compilation = (
      ', of all contenders side by side: alone it takes fewer seconds, and XLA, which chooses '
      'among kernels by timing them, does so on a GPU that others use'
    )
    memory = (
      "of the device's memory, empty where an earlier shape in the same process needed as much"
    )
  text = (
    'A character model over 65 one-hot symbols: forward pass; forward and backward pass; and the '
    'whole training step with clipping by global norm and Adam, recurrent state passed on.'
    f'{forced} Compilation is that of the training step{compilation}. Memory is the peak of '
    f'building and running the training step {memory}.\n\n{tables.means_table(means)}'
  )
  return Section(
    'Ratios, geometric means over shapes',
    'ratios',
    figures.ratio_figure(comparisons),
    'Training step of each contender divided by ours',
    before=text,
    after='Numbers of all groups: [speed.json](speed.json)',
  )


def _times(comparisons):
  blocks = [
    f'### {one["setting"]}\n\n{tables.comparison_table(one["rows"])}' for one in comparisons
  ]
  return Section('Times', before='\n'.join(['In bold: the ratio to ours.\n', *blocks]))


def _parallel(parallel, effort):
  text = (
    'One GRU layer in float32 reads random numbers: its outputs, and the gradient of their mean '
    'square. In bold: the time of the plain scan divided by that of the engine, so above 1 the '
    'engine is quicker. The largest difference is that of its outputs, at most 1 in size, to those '
    'of the plain scan with the same parameters; on a GPU the plain scan rounds the factors of its '
    'products to TF32.'
  )
  table = tables.engines_table([{**one, 'setting': Setting(**one['setting'])} for one in parallel])
  return Section('Long sequences', before=f'{text}\n\n{table}')


def _scaling(scaling, effort):
  hidden_size, num_layers, batch_size, unroll_length = effort['scaling_base']
  rows = [
    ([axis.replace('_', ' '), str(point['size'])], point)
    for axis, points in scaling.items()
    for point in points
  ]
  table = tables.table(
    ['changed', 'size', 'training step, ms'],
    rows,
    lambda point: [tables.milliseconds(point['step'])],
  )
  return Section(
    'Cost of a training step',
    'scaling',
    figures.scaling_figure(scaling),
    'Training step over the multiple of each size',
    after=f'LSTM {num_layers} x {hidden_size}, batch {batch_size}, unroll {unroll_length}, one '
    f'size changed at a time, ours alone.\n\n{table}',
  )


def _sampling(sampling, effort):
  (hidden_size, num_layers), length = effort['sampling'], effort['sample_length']
  text = f'{length:,} characters, one after the other, batch 1, LSTM {num_layers} x {hidden_size}.'
  table = tables.rates_table(sampling, length, 'characters')
  return Section('Sampling', before=f'{text}\n\n{table}')


def _translation(translation, effort):
  hidden_size, batch_size, num_written = effort['translation']
  text = (
    f'Greedily, {batch_size} sentences at once: {SOURCE_LENGTH} symbols are read and {num_written} '
    f'written of each, in vocabularies of {VOCABULARY_SIZE:,}. A GRU in both directions, additive '
    f'attention, a GRU; embeddings and layers of {hidden_size} units.'
  )
  table = tables.rates_table(translation, batch_size, 'sentences')
  return Section('Translating', before=f'{text}\n\n{table}')


def _pipeline(pipeline, effort):
  rows = [([f'batch {row["batch_size"]}, unroll {row["unroll_length"]}'], row) for row in pipeline]
  rate = lambda row: [f'{row["symbols_per_second"]:,.0f}']
  table = tables.table(['', 'characters/s'], rows, rate)
  return Section('Drawing batches on the host', before=f'No device is used.\n\n{table}')


def _memory(gradients, effort):
  text = (
    f'The gradient of {effort["long_steps"]:,} steps of an LSTM 1 x {workloads.HIDDEN}, batch '
    f'{workloads.BATCH}, in a process that may hold {workloads.LIMIT / 2**20:.0f} MiB more than '
    'before it starts (on Linux, without a GPU). Temporary memory is what the compiled program '
    'asks for.'
  )
  took = lambda row: f'{row["seconds"]:.2f}' if 'seconds' in row else row['refused']
  table = tables.table(
    ['', 'temporary memory, MiB', 'seconds'],
    [([label], row) for label, row in gradients.items()],
    lambda row: [f'{row["temporary"] / 2**20:,.0f}', took(row)],
  )
  return Section('A long sequence', before=f'{text}\n\n{table}')


_OTHERS = {
  'parallel': _parallel,
  'scaling': _scaling,
  'sampling': _sampling,
  'translation': _translation,
  'pipeline': _pipeline,
  'memory': _memory,
}
