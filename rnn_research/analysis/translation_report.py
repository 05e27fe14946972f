"""The report of a translator: how well it translates, where it looks, what it writes."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sacrebleu
from matplotlib.figure import Figure

from rnn_research.analysis import plots
from rnn_research.analysis.alignment_figure import alignment_figure, choose
from rnn_research.analysis.length_figure import length_edges, length_figure
from rnn_research.analysis.plots import LABEL, TICK, VERMILLION, Plot
from rnn_research.analysis.tables import Rows, columns, fenced, read_result, result_markdown, write_samples
from rnn_research.data import tokens
from rnn_research.metrics.bleu import bleu_by_length, corpus_bleu
from rnn_research.seq2seq.translator import Translation
from rnn_research.training.metrics_log import read_log
from rnn_research.training.result import write_text

_SAMPLES = 5
_NAMES = {'bleu': 'BLEU', 'exact': 'share of exact translations'}


class HeldOut(NamedTuple):
  """Held-out sentences as a model translates them.

  Attributes:
    split: their name.
    sources: N sentences.
    references: N texts, what each translation should be.
    translations: N of them, of a greedy search.
  """

  split: str
  sources: Sequence[str]
  references: Sequence[str]
  translations: Sequence[Translation]


def write_report(held_out: HeldOut, workdir: str | os.PathLike, out_dir: str | os.PathLike) -> None:
  """Writes README.md and figures with their numbers as CSV to `out_dir`.

  Args:
    held_out: sentences and their translations.
    workdir: of the run, whose config.json, metrics.jsonl and, if the run is finished, result.json are read.
    out_dir: an existing folder.
  """
  rows, out = read_log(workdir), Path(out_dir)
  about = json.loads((Path(workdir) / 'config.json').read_text('utf-8'))
  metric = about['headline'][1]
  similar = [sacrebleu.sentence_chrf(found.text, [reference]).score
             for found, reference in zip(held_out.translations, held_out.references, strict=True)]
  shown = choose(held_out.translations, similar)
  plots.save(plots.loss_curves(rows, 'every target symbol given those before it'), out / 'loss.png')
  plots.save(plots.gradient_figure(rows), out / 'gradients.png')
  plots.save(score_curve(rows, metric), out / f'{metric}.png')
  plots.save(by_length(held_out, about), out / 'bleu_by_length.png')
  if shown:
    plots.save(_alignments(held_out, about, shown), out / 'alignments.png')
  write_samples(out / 'samples.md', rows)
  write_text(out / 'README.md', '\n'.join(_sections(held_out, about, read_result(workdir), similar, shown)))


def score_curve(rows: Rows, metric: str) -> Plot:
  """Draws a figure of free-running translations of validation sentences over steps.

  Args:
    rows: lines of a log.
    metric: `valid/{metric}` is drawn.
  """
  table = columns(rows, [f'valid/{metric}'])
  steps, values = table.values()
  figure = Figure(figsize=(11, 6.6), layout='constrained')
  axes = figure.subplots()
  axes.plot(steps, values, color=VERMILLION, linestyle=':', linewidth=2.5, marker='o', markersize=10,
            markeredgecolor='white')
  if np.isfinite(values).any():
    best = np.nanargmax(values)
    axes.annotate(f'{values[best]:.4g}', (steps[best], values[best]), (0, 12), textcoords='offset points', ha='center',
                  fontsize=TICK, color=VERMILLION)
    axes.set_ylim(0, 1.15 * max(values[best], 1e-9))
  axes.set_xlabel('training step', fontsize=LABEL)
  axes.set_ylabel(_NAMES[metric], fontsize=LABEL)
  plots.finish(axes)
  plots.caption(figure, f'Validation sentences, translated greedily and without dropout: {_NAMES[metric]}. The decoder '
                f'reads what it wrote itself. The number is the best one.'
                f'{plots.of_grid(rows, "validation: its best member")}')
  return Plot(figure, table)


def by_length(held_out: HeldOut, about) -> Plot:
  kind = 'char' if about['config']['data']['unit'] == 'char' else 'word'
  lengths = [len(words) for words in tokens.split_all(tokens.Units(kind, False, ''), held_out.sources)]
  groups = bleu_by_length([found.text for found in held_out.translations], held_out.references, lengths,
                          length_edges(lengths))
  return length_figure({about['experiment']: groups}, f'Greedy translations of the {held_out.split} split.',
                       'characters' if kind == 'char' else 'words')


def _alignments(held_out, about, shown):
  which = '; '.join(f'({letter}) {why}' for letter, (why, _) in zip('abcd', shown, strict=False))
  return alignment_figure([held_out.translations[row] for _, row in shown], (
      f'Attention of {about["experiment"]}, greedy translations of the {held_out.split} split. Row i is a symbol that '
      'was written, column j one of the source: a_ij is the weight of source position j in the context that symbol i '
      f'was written from; a row sums to 1. Of the quarter most like its references: {which}.'))


def _sections(held_out, about, result, similar, shown):
  metric = about['headline'][1]
  texts = [found.text for found in held_out.translations]
  bleu = corpus_bleu(texts, held_out.references)
  return [
      f'# {about["experiment"]}\n', result_markdown(result),
      f'BLEU of the {held_out.split} split, greedy: {bleu.score:.2f}. Signature: `{bleu.signature}`\n',
      f'## Loss\n\n{_picture("Training and validation loss over steps", "loss")}',
      f'## Translations of validation sentences\n\n{_picture(_NAMES[metric] + " over steps", metric)}',
      f'## Length\n\n{_picture("BLEU over source length", "bleu_by_length")}',
      f'## Attention\n\n{_attention(held_out, shown)}',
      f'## Gradients\n\n{_picture("Gradient norm, share clipped and learning rate over steps", "gradients")}',
      _samples(held_out, similar)]


def _picture(text, name):
  return f'![{text}]({name}.png)\n\nNumbers: [{name}.csv]({name}.csv)\n'


def _attention(held_out, shown):
  if not shown:
    return 'The decoder has no attention.\n'
  return _picture('Attention', 'alignments') + '\n' + _blocks(held_out, [row for _, row in shown])


def _samples(held_out, similar):
  order = np.argsort(-np.array(similar), kind='stable')
  drawn = np.random.default_rng(0).permutation(len(similar))
  return '\n'.join(f'## {name}\n\n{_blocks(held_out, rows[:_SAMPLES])}' for name, rows in (
      ('Good translations', order), ('Bad translations', order[::-1]), ('Random translations', drawn)))


def _blocks(held_out, rows):
  return '\n'.join(fenced(f'{held_out.sources[row]}\n  = {held_out.translations[row].text}\n'
                          f'  ({held_out.references[row]})') for row in rows)
