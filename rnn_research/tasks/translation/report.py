"""The report of a translator: how well it translates, where it looks, what it writes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sacrebleu import sentence_chrf

from rnn_research.analysis.reports import plots, sections
from rnn_research.analysis.reports.length_figure import length_edges, length_figure
from rnn_research.analysis.reports.plots import LABEL, TICK, VERMILLION, Plot
from rnn_research.analysis.reports.sections import Section
from rnn_research.analysis.reports.tables import (
  Rows,
  columns,
  fenced,
  metric_name,
  read_result,
  result_markdown,
)
from rnn_research.data.codec import SPECIALS, TextCodec
from rnn_research.metrics.bleu import bleu_by_length, corpus_bleu
from rnn_research.tasks.translation.alignment_figure import alignment_figure, choose
from rnn_research.tasks.translation.translator import Translation, shown
from rnn_research.training.metrics_log import read_log
from rnn_research.training.result import read_json

_SAMPLES = 5


class TranslatedSentences(NamedTuple):
  """Held-out sentences as a model translates them.

  Attributes:
    split: their name.
    sources: N sentences.
    references: N texts, what each translation should be.
    translations: N of them, of a greedy search.
    lower: whether references and translations are in lower case.
  """

  split: str
  sources: Sequence[str]
  references: Sequence[str]
  translations: Sequence[Translation]
  lower: bool


def write_report(
  held_out: TranslatedSentences, workdir: str | os.PathLike, out_dir: str | os.PathLike
) -> None:
  """Writes README.md, figures with their numbers as CSV, and samples.md to `out_dir`.

  Args:
    held_out: what the report is about.
    workdir: of the run, whose config.json, metrics.jsonl and, if the run is finished, result.json
      are read.
    out_dir: an existing folder.
  """
  rows, about = read_log(workdir), read_json(Path(workdir) / 'config.json')
  similar = [
    sentence_chrf(found.text, [reference]).score
    for found, reference in zip(held_out.translations, held_out.references, strict=True)
  ]
  by_length, looks = _by_length(held_out, about), choose(held_out.translations, similar)
  sections.write_samples(out_dir, rows)
  sections.write(
    out_dir,
    about['experiment'],
    [
      Section('', before=f'{result_markdown(read_result(workdir))}\n{_bleu(held_out)}'),
      sections.loss_section(rows, 'every target symbol given those before it'),
      *_validation(rows, about['headline']),
      Section('Length', 'bleu_by_length', by_length, 'BLEU over source length'),
      _attention(held_out, about, looks),
      sections.gradient_section(rows),
      Section('Translations', before=_samples(held_out, similar)),
    ],
  )


def score_curve(rows: Rows, metric: str) -> Plot:
  """Draws what translations of the validation sentences score over training steps.

  Args:
    rows: lines of a log with `valid/{metric}` where there was an evaluation.
    metric: 'bleu' or 'exact'.
  """
  table = columns(rows, [f'valid/{metric}'])
  steps, values = table.values()
  figure = Figure(figsize=(11, 6.6), layout='constrained')
  axes = figure.subplots()
  axes.plot(
    steps,
    values,
    color=VERMILLION,
    linestyle=':',
    linewidth=2.5,
    marker='o',
    markersize=10,
    markeredgecolor='white',
  )
  if np.isfinite(values).any():
    best = np.nanargmax(values)
    axes.annotate(
      f'{values[best]:.4g}',
      (steps[best], values[best]),
      (0, 12),
      textcoords='offset points',
      ha='center',
      fontsize=TICK,
      color=VERMILLION,
    )
    axes.set_ylim(0, max(1.15 * values[best], 0.1))
  axes.set_xlabel('training step', fontsize=LABEL)
  axes.set_ylabel(metric_name(metric), fontsize=LABEL)
  plots.finish(axes)
  plots.caption(
    figure,
    f'Validation sentences, translated greedily and without dropout: {metric_name(metric)}. The '
    'decoder reads what it wrote itself. The number is the best one.'
    f'{plots.of_grid(rows, "validation: its best member")}',
  )
  return Plot(figure, table)


def _by_length(held_out: TranslatedSentences, about: Mapping[str, Any]) -> Plot:
  """Counts words whether a model reads words or subwords, so that such models can be compared."""
  kind, unit = (
    ('char', 'characters') if about['config']['data']['unit'] == 'char' else ('word', 'words')
  )
  splitter = TextCodec('sentences', kind, SPECIALS)
  lengths = list(map(len, splitter.split_all(held_out.sources)))
  groups = bleu_by_length(
    [found.text for found in held_out.translations],
    held_out.references,
    lengths,
    length_edges(lengths),
  )
  return length_figure(
    {about['experiment']: groups}, f'Greedy translations of the {held_out.split} split.', unit
  )


def _alignments(
  held_out: TranslatedSentences, about: Mapping[str, Any], looks: Sequence[tuple[str, int]]
) -> Plot:
  model = about['config']['model']
  why = '; '.join(
    f'({letter}) {why}' for letter, (why, _) in zip(ascii_lowercase, looks, strict=False)
  )
  return alignment_figure(
    [held_out.translations[row] for _, row in looks],
    (
      f'Attention of {about["experiment"]} (decoder {model["decoder"]}, score {model["score"]}) in '
      f'greedy translations of the {held_out.split} split: the weight a_ij of source symbol j, '
      'a column, in the context that symbol i, a row, was written from. '
      f'A row sums to 1. {why}.'
    ),
  )


def _validation(rows, headline):
  split, metric, _ = headline
  if split == 'valid':
    curve = score_curve(rows, metric)
    yield Section('Validation', metric, curve, f'{metric_name(metric)} over steps')


def _bleu(held_out):
  texts = [found.text for found in held_out.translations]
  bleu = corpus_bleu(texts, held_out.references, held_out.lower)
  return (
    f'BLEU of the {held_out.split} split, {len(held_out.sources):,} sentences translated greedily: '
    f'{bleu.score:.2f}, `{bleu.signature}`.\n'
  )


def _attention(held_out, about, looks):
  if not looks:
    text = 'The decoder has no attention: it sees the source as one vector.'
    return Section('Attention', before=text)
  return Section(
    'Attention',
    'alignments',
    _alignments(held_out, about, looks),
    'Attention of each written symbol over the source',
    after='(a), (b), .. in turn, each with its translation and, in parentheses, its reference:\n\n'
    + _blocks(held_out, [row for _, row in looks]),
  )


def _samples(held_out, similar):
  size = [len(reference) for reference in held_out.references]
  rows = range(len(size))
  good = sorted(rows, key=lambda row: (-similar[row], -size[row]))
  bad = sorted(
    (row for row in rows if held_out.translations[row].text != held_out.references[row]),
    key=lambda row: (similar[row], -size[row]),
  )
  drawn = np.random.default_rng(0).permutation(len(size))
  intro = (
    'The first two by chrF of the sentence (sacrebleu), among equals the longest first. While it '
    'trained, the model wrote [samples.md](samples.md).\n'
  )
  chosen = {
    'Most like their references': good,
    'Least like their references': bad,
    'Drawn at random': drawn,
  }
  blocks = (f'### {name}\n\n{_blocks(held_out, rows[:_SAMPLES])}' for name, rows in chosen.items())
  return '\n'.join([intro, *blocks])


def _blocks(held_out, rows):
  if not len(rows):
    return 'There are none: every translation equals its reference.\n'
  return fenced(
    '\n\n'.join(
      shown(held_out.sources[row], held_out.translations[row], held_out.references[row])
      for row in rows
    )
  )
