"""speed.md, speed.json and the figures of a whole measurement."""

import math
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from rnn_research.analysis.reports.sections import Section, write
from rnn_research.benchmark import contenders, figures, tables
from rnn_research.benchmark.contenders import Setting
from rnn_research.benchmark.measure import Results
from rnn_research.training.result import write_json


def write_report(measured: Mapping[str, Any], out_dir: str | os.PathLike) -> dict[str, dict]:
  """Writes speed.json, speed.md and figures of {'machine', 'command', 'notes', 'measure'} and of
  what `groups` returned of each group that was measured.

  Returns cell -> {label: geometric mean of the training step's ratio to ours}.
  """
  comparisons = [
    {'setting': Setting(**one['setting']), 'rows': shown(one['contenders'])}
    for one in measured.get('comparisons', ())
  ]
  means = geometric_means(comparisons)
  write_json(Path(out_dir) / 'speed.json', {**measured, 'geometric_means': means})
  effort, on_gpu = measured['measure'], measured['machine']['platform'] == 'gpu'
  sections = [_introduction(measured, on_gpu)]
  if comparisons:
    sections += [_ratios(comparisons, means, effort, on_gpu), _times(comparisons)]
  sections += [make(measured[name], effort) for name, make in _OTHERS.items() if name in measured]
  write(out_dir, 'Speed', sections, 'speed.md')
  return {
    cell: {label: parts['step'] for label, parts in by_label.items()}
    for cell, by_label in means.items()
  }


def shown(summaries: Results) -> Results:
  """Returns the contenders of a comparison with one row for the quicker of `contenders.EITHER`, its
  label as 'which', in the place of the first."""
  step = lambda values: values['parts']['step']['median'] if 'parts' in values else math.inf
  rows: dict[str, dict] = {}
  for label, values in summaries.items():
    name = next((name for name, both in contenders.EITHER.items() if label in both), label)
    if name not in rows or step(values) < step(rows[name]):
      rows[name] = {**values, 'which': label if 'parts' in values else name}
  return rows


def geometric_means(comparisons: Iterable[Mapping[str, Any]]) -> tables.Means:
  """Returns the geometric means of the ratios over the comparisons, {'setting', 'rows': as of
  `shown`}, that have one."""
  found: dict[str, dict] = {}
  for one in comparisons:
    by_label = found.setdefault(one['setting'].cell, {})
    for label, values in one['rows'].items():
      for part, ratio in values.get('ratios', {}).items():
        by_label.setdefault(label, {}).setdefault(part, []).append(ratio)
  mean = lambda by_part: {part: geometric_mean(ratios) for part, ratios in by_part.items()}
  return {
    cell: {label: mean(by_part) for label, by_part in by_label.items()}
    for cell, by_label in found.items()
  }


def _introduction(measured, on_gpu):
  effort = measured['measure']
  together, in_a_row = '', ''
  if on_gpu:
    together = ', after all have built'
    in_a_row = 'Training takes up to ten steps in a row in a call, whose time is divided by them. '
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
  inside = '; '.join(
    ', '.join(machine[name]) for name in ('caches', 'instructions') if machine[name]
  )
  return (
    f'{machine["processor"]}, {machine["cores"]} cores{f" ({inside})" if inside else ""}, '
    f'{machine["memory_gib"]} GiB{device}; {machine["system"]}; {libraries}; commit '
    f'{machine["git_hash"] or "unknown"}.'
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
    f'building and running the training step {memory}.'
  )
  return Section(
    'Ratios, geometric means over shapes',
    'ratios',
    figures.ratio_figure(comparisons),
    'Training step of each contender divided by ours',
    before=f'{text}\n\n{tables.means_table(means)}',
    after='Numbers of all groups: [speed.json](speed.json)',
  )


def _times(comparisons):
  blocks = [
    f'### {one["setting"]}\n\n{tables.comparison_table(one["rows"])}' for one in comparisons
  ]
  return Section('Times', before='\n'.join(['In bold: the ratio to ours.\n', *blocks]))


def _launch(launched, effort):
  text = (
    'A step of the training loop, which draws batches of a text, brings them onto the devices, '
    'reads metrics and writes the log, and of the compiled program alone, on a batch that is '
    'there: means of as many steps in a row, and the share of the loop that is the program.'
  )
  columns = {
    'loop, ms': lambda row: tables.milliseconds(row['parts']['loop']),
    'step, ms': lambda row: tables.milliseconds(row['parts']['step']),
    'step / loop': lambda row: (
      f'{row["parts"]["step"]["median"] / row["parts"]["loop"]["median"]:.3f}'
    ),
  }
  rows = [([str(Setting(**row['setting']))], row) for row in launched]
  return Section('The training loop', before=f'{text}\n\n{tables.table([""], columns, rows)}')


def _parallel(parallel, effort):
  text = (
    'One GRU layer in float32 reads random numbers: its outputs, and the gradient of their mean '
    'square. In bold: the time of the plain scan divided by that of the engine, so above 1 the '
    'engine is quicker. The largest difference is that of its outputs, at most 1 in size, to those '
    'of the plain scan with the same parameters; on a GPU the plain scan rounds the factors of its '
    'products to TF32.'
  )
  return Section('Long sequences', before=f'{text}\n\n{tables.engines_table(parallel)}')


def _scaling(scaling, effort):
  hidden_size, num_layers, batch_size, unroll_length = effort['scaling_base']
  rows = [
    ([axis.replace('_', ' '), str(point['size'])], point)
    for axis, points in scaling.items()
    for point in points
  ]
  columns = {'training step, ms': lambda point: tables.milliseconds(point['step'])}
  return Section(
    'Cost of a training step',
    'scaling',
    figures.scaling_figure(scaling),
    'Training step over the multiple of each size',
    after=f'LSTM {num_layers} x {hidden_size}, batch {batch_size}, unroll {unroll_length}, one '
    f'size changed at a time, ours alone.\n\n{tables.table(["changed", "size"], columns, rows)}',
  )


def _sampling(sampling, effort):
  (hidden_size, num_layers), length = effort['sampling'], effort['sample_length']
  text = f'{length:,} characters, one after the other, batch 1, LSTM {num_layers} x {hidden_size}.'
  return Section(
    'Sampling', before=f'{text}\n\n{tables.rates_table(sampling, length, "characters")}'
  )


def _translation(translation, effort):
  hidden_size, batch_size, num_written = effort['translation']
  units, count, symbols = effort['learning_to_translate']
  text = (
    f'Two vocabularies of {contenders.VOCABULARY_SIZE:,} symbols. Training: an epoch of {count:,} '
    'pairs of random symbols, as long as sentences of Multi30k, in batches of at most '
    f'{symbols:,} symbols of a side, with dropout, clipping by global norm and Adam; layers of '
    f'{units} units, embeddings of {units // 2}. Both put pairs of like length together; PyTorch '
    'reads with a packed `nn.GRU` or `nn.LSTM` and writes with a loop over cells.'
  )
  written = (
    f'Writing: greedily, {batch_size} sentences at once: {contenders.SOURCE_LENGTH} symbols are '
    f'read and {num_written} written of each. A GRU in both directions, additive attention, a GRU; '
    f'embeddings and layers of {hidden_size} units.'
  )
  learned = [
    f'{_TRANSLATORS[row["setting"]["cell"]]}:\n\n'
    + tables.rates_table(row['times'], count, 'pairs')
    for row in translation['epoch']
  ]
  wrote = tables.rates_table(translation['greedy'], batch_size, 'sentences')
  return Section('Translating', before='\n\n'.join([text, *learned, written, wrote]))


_TRANSLATORS = {
  'gru': 'A GRU in both directions, and a GRU with additive attention before its step (Bahdanau et '
  'al. 2015)',
  'lstm': 'Two LSTMs in both directions, and two with general attention after their step and input '
  'feeding (Luong et al. 2015)',
}


def _captioning(captioning, effort):
  hidden_size, batch_size, num_written = effort['captioning']
  copies, written = contenders.COPIES, contenders.WRITTEN
  text = (
    f'An LSTM of {hidden_size} units with soft attention over 7 x 7 places of '
    f'{contenders.CHANNELS:,} numbers. Training: a step with {batch_size} pictures and {copies} '
    f'captions of each, of up to {num_written} words, data from memory, dropout, clipping by '
    f'global norm and Adam; the mean of {contenders.STEPS} steps. Ours puts captions of like '
    'length together; a loop over `LSTMCell` pads to the longest of pictures in random order, or '
    'takes captions by their lengths and steps those alone that have not ended. Writing: greedily, '
    f'{written} pictures at once, {num_written} words of each.'
  )
  learned = tables.rates_table(captioning['step'], batch_size * copies, 'captions')
  wrote = tables.rates_table(captioning['greedy'], written, 'captions')
  return Section('Captioning', before=f'{text}\n\nTraining:\n\n{learned}\n\nWriting:\n\n{wrote}')


def _machines(machines, effort):
  hidden_size, batch_size, length = effort['machines']
  rows, size = contenders.MEMORY
  text = (
    f'A neural Turing machine with a memory of {rows} x {size}, one head of each kind and an LSTM '
    f'of {hidden_size} units learns to copy {length} symbols of {contenders.COPIED_BITS} bits: a '
    f'training step with {batch_size} sequences of {2 * length + 1} steps, clipping by global norm '
    'and Adam. PyTorch runs a loop over `LSTMCell`; one product says what both heads do.'
  )
  table = tables.rates_table(machines, batch_size, 'sequences')
  return Section('A machine with a memory', before=f'{text}\n\n{table}')


def _pipeline(pipeline, effort):
  rows = [([f'batch {row["batch_size"]}, unroll {row["unroll_length"]}'], row) for row in pipeline]
  columns = {'characters/s': lambda row: f'{row["symbols_per_second"]:,.0f}'}
  text = f'No device is used.\n\n{tables.table([""], columns, rows)}'
  return Section('Drawing batches on the host', before=text)


def _memory(gradients, effort):
  text = (
    f'The gradient of {effort["long_steps"]:,} steps of an LSTM 1 x {contenders.LONG_HIDDEN}, '
    f'batch {contenders.LONG_BATCH}, in a process that may hold '
    f'{contenders.LONG_LIMIT / 2**20:.0f} MiB more than before it starts (on Linux, without a '
    'GPU). Temporary memory is what the compiled program asks for.'
  )
  columns = {
    'temporary memory, MiB': lambda row: f'{row["temporary"] / 2**20:,.0f}',
    'seconds': lambda row: f'{row["seconds"]:.2f}' if 'seconds' in row else row['refused'],
  }
  table = tables.table([''], columns, [([label], row) for label, row in gradients.items()])
  return Section('A long sequence', before=f'{text}\n\n{table}')


_OTHERS = {
  'launch': _launch,
  'parallel': _parallel,
  'scaling': _scaling,
  'sampling': _sampling,
  'translation': _translation,
  'captioning': _captioning,
  'machines': _machines,
  'pipeline': _pipeline,
  'memory': _memory,
}
