"""speed.md, speed.json and the figures of a whole measurement."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnn_research.analysis.reports import plots
from rnn_research.analysis.reports.tables import markdown
from rnn_research.benchmark import figures, memory, tables
from rnn_research.benchmark.contenders import SOURCE_LENGTH, VOCABULARY_SIZE, Setting
from rnn_research.training.result import write_json, write_text

_IN_A_ROW = 'Training takes up to ten steps in a row in a call, whose time is divided by them. '


def write_report(
  measured: Mapping[str, Any], out_dir: str | os.PathLike
) -> dict[str, dict[str, float]]:
  """Writes speed.json, speed.md, and of what was measured ratios.png and scaling.png with their
  numbers as CSV.

  Args:
    measured: {'machine', 'command', 'notes', 'measure'} and the groups that were measured of
      {'comparisons': [{'setting', 'contenders': as of `tables.summary`}, ..], 'parallel':
      [{'setting', 'engines': as of `tables.speedups`}, ..], 'scaling', 'pipeline', 'memory',
      'sampling' and 'translation': label -> spread, or {'failed': why}}.
    out_dir: an existing folder.

  Returns:
    cell -> {label: geometric mean of the training step's ratio to ours}.
  """
  out = Path(out_dir)
  comparisons = [
    {'setting': Setting(**comparison['setting']), 'rows': tables.shown(comparison['contenders'])}
    for comparison in measured.get('comparisons', ())
  ]
  by_cell = {}
  for comparison in comparisons:
    by_cell.setdefault(comparison['setting'].cell, []).append(comparison['rows'])
  means = {cell: tables.geometric_means(rows) for cell, rows in by_cell.items()}
  write_json(out / 'speed.json', {**measured, 'geometric_means': means})
  if comparisons:
    plots.save(figures.ratio_figure(comparisons), out / 'ratios.png')
  if 'scaling' in measured:
    plots.save(figures.scaling_figure(measured['scaling']), out / 'scaling.png')
  write_text(out / 'speed.md', '\n'.join(_sections(measured, comparisons, means)))
  return {
    cell: {label: parts['step'] for label, parts in by_label.items() if 'step' in parts}
    for cell, by_label in means.items()
  }


def _sections(measured, comparisons, means):
  effort, on_gpu = measured['measure'], measured['machine']['platform'] == 'gpu'
  yield f'# Speed\n\n{_machine(measured["machine"])}\n'
  yield f'```sh\n{shlex.join(measured["command"])}\n```\n'
  yield from (f'{note}\n' for note in measured['notes'])
  yield (
    'Every contender is a process of its own, and one works at a '
    f'time{", after all have built" if on_gpu else ""}: '
    f'{effort["rounds"]} turns of up to '
    f'{effort["calls"]} calls, the first call of each turn not counted. '
    f'{_IN_A_ROW if on_gpu else ""}'
    'A time is a median with quartiles; a ratio '
    'is a median divided by that of ours in the same precision, so above 1 ours is quicker.\n'
  )
  if comparisons:
    yield from _comparisons(comparisons, means, effort, on_gpu)
  for group, section in (
    ('parallel', _parallel),
    ('scaling', _scaling),
    ('sampling', _sampling),
    ('translation', _translation),
    ('pipeline', _pipeline),
    ('memory', _memory),
  ):
    if group in measured:
      yield section(measured[group], effort)


def _comparisons(comparisons, means, effort, on_gpu):
  forced = '' if effort['engine'] == 'auto' else f' Ours runs with the engine {effort["engine"]}.'
  compilation = (
    ', of all contenders side by side: alone it takes fewer seconds, and XLA, which chooses among '
    'kernels '
    'by timing them, does so on a GPU that others use'
    if on_gpu
    else ''
  )
  memory = (
    "of the device's memory, empty where an earlier shape in the same process needed as much"
    if on_gpu
    else 'beyond what the process held after its imports, compilation included'
  )
  yield (
    '## Ratios, geometric means over shapes\n\n'
    'A character model over 65 one-hot symbols: forward pass; forward and backward pass; and the '
    'whole training step '
    f'with clipping by global norm and Adam, recurrent state passed on.{forced} Compilation is '
    'that of the training '
    f'step{compilation}. Memory is the peak of building and running the training step {memory}.\n\n'
    f'{tables.means_table(means)}'
  )
  yield (
    '![Training step of each contender divided by ours](ratios.png)\n\nNumbers: '
    '[ratios.csv](ratios.csv), '
    '[speed.json](speed.json)\n'
  )
  yield '## Times\n\nIn bold: the ratio to ours.\n'
  for comparison in comparisons:
    yield f'### {comparison["setting"]}\n\n{tables.comparison_table(comparison["rows"])}'


def _machine(machine):
  device = f', {machine["device"]}' if machine['platform'] != 'cpu' else ''
  libraries = ', '.join(
    f'{name} {machine[name]}'
    for name in ('python', 'jax', 'flax', 'optax', 'torch')
    if machine.get(name)
  )
  return (
    f'{machine["processor"]}, {machine["cores"]} cores, {machine["memory_gib"]} GiB{device}; '
    f'{machine["system"]}; {libraries}; commit {machine["git_hash"] or "unknown"}.'
  )


def _parallel(parallel, effort):
  measured = [{**one, 'setting': Setting(**one['setting'])} for one in parallel]
  return (
    '## Long sequences\n\nOne GRU layer in float32 reads random numbers: its outputs, and the '
    'gradient of their '
    'mean square. In bold: the time of the plain scan divided by that of the engine, so above 1 '
    'the engine is '
    'quicker. The largest difference is that of its outputs, at most 1 in size, to those of the '
    'plain scan with '
    'the same parameters; on a GPU the plain scan rounds the factors of its products to TF32.\n\n'
    f'{tables.engines_table(measured)}'
  )


def _scaling(scaling, effort):
  hidden_size, num_layers, batch_size, unroll_length = effort['scaling_base']
  rows = [
    [
      axis.replace('_', ' '),
      str(point['size']),
      f'failed: {point["failed"]}' if 'failed' in point else tables.milliseconds(point['step']),
    ]
    for axis, points in scaling.items()
    for point in points
  ]
  return (
    '## Cost of a training step\n\n![Training step over the multiple of each size](scaling.png)\n\n'
    f'LSTM {num_layers} x {hidden_size}, batch {batch_size}, unroll {unroll_length}, one size '
    'changed at a time, '
    f'ours alone.\n\n{markdown(["changed", "size", "training step, ms"], rows)}\n'
    'Numbers: [scaling.csv](scaling.csv)\n'
  )


def _sampling(sampling, effort):
  hidden_size, num_layers = effort['sampling']
  return (
    f'## Sampling\n\n{effort["sample_length"]:,} characters, one after the other, batch 1, LSTM '
    f'{num_layers} x {hidden_size}.\n\n{_rates(sampling, effort["sample_length"], "characters/s")}'
  )


def _translation(translation, effort):
  hidden_size, batch_size, num_written = effort['translation']
  return (
    f'## Translating\n\nGreedily, {batch_size} sentences at once: {SOURCE_LENGTH} symbols are read '
    'and '
    f'{num_written} written of each, in vocabularies of {VOCABULARY_SIZE:,}. A GRU in both '
    'directions, additive '
    f'attention, a GRU; embeddings and layers of {hidden_size} units.\n\n'
    f'{_rates(translation, batch_size, "sentences/s")}'
  )


def _rates(measured, amount, heading):
  """Returns times, rates and ratios as Markdown; the first one is ours."""
  ours, *_ = (values.get('median') for values in measured.values())
  rows = []
  for label, values in measured.items():
    if 'failed' in values:
      rows.append([label, f'failed: {values["failed"]}', '', ''])
      continue
    ratio = f'{values["median"] / ours:.2f}' if ours and not label.startswith('ours') else ''
    rows.append([label, tables.milliseconds(values), f'{amount / values["median"]:,.0f}', ratio])
  return markdown(['', 'ms', heading, 'time / ours'], rows)


def _pipeline(pipeline, effort):
  rows = [
    [
      f'batch {row["batch_size"]}, unroll {row["unroll_length"]}',
      f'failed: {row["failed"]}' if 'failed' in row else f'{row["symbols_per_second"]:,.0f}',
    ]
    for row in pipeline
  ]
  return (
    '## Drawing batches on the host\n\nNo device is used.\n\n'
    f'{markdown(["", "characters/s"], rows)}\n'
  )


def _memory(gradients, effort):
  rows = [
    [
      label,
      f'{values["temporary"] / 2**20:,.0f}' if 'temporary' in values else '',
      f'{values["seconds"]:.2f}'
      if 'seconds' in values
      else values.get('refused', values.get('failed')),
    ]
    for label, values in gradients.items()
  ]
  return (
    f'## A long sequence\n\nThe gradient of {effort["long_steps"]:,} steps of an LSTM 1 x '
    f'{memory.HIDDEN}, batch '
    f'{memory.BATCH}, in a process that may hold {memory.LIMIT / 2**20:.0f} MiB more than before '
    'it starts (on '
    f'Linux, without a GPU). Temporary memory is what the compiled program asks for.\n\n'
    f'{markdown(["", "temporary memory, MiB", "seconds"], rows)}'
  )
