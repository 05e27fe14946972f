"""The report of a translator: how well it translates, where it looks, what it writes."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sacrebleu

from rnn_research.analysis import plots
from rnn_research.analysis.tables import fenced, read_result, result_markdown
from rnn_research.metrics.bleu import corpus_bleu
from rnn_research.seq2seq.corpus import Codec
from rnn_research.seq2seq.translator import Translation
from rnn_research.training.metrics_log import read_log
from rnn_research.training.result import write_text

_SAMPLES = 5


def write_report(found: Sequence[Sequence[Translation]], sources: Sequence[str], references: Sequence[str],
                 codec: Codec, workdir: str | os.PathLike, out_dir: str | os.PathLike) -> None:
  """Writes README.md and figures with their numbers as CSV to `out_dir`.

  Args:
    found: translations of N sentences, the best first.
    sources: the N sentences.
    references: N texts, what each should be.
    codec: of the two languages.
    workdir: of the run, whose config.json, metrics.jsonl and, if the run is finished, result.json are read.
    out_dir: an existing folder.
  """
  rows, out = read_log(workdir), Path(out_dir)
  about = json.loads((Path(workdir) / 'config.json').read_text('utf-8'))
  plots.save(plots.loss_curves(rows), out / 'loss.png')
  plots.save(plots.gradient_figure(rows), out / 'gradients.png')
  texts = [best.text for best, *_ in found]
  bleu = corpus_bleu(texts, references)
  write_text(out / 'README.md', '\n'.join([
      f'# {about["experiment"]}\n', result_markdown(read_result(workdir)), f'BLEU: `{bleu.signature}`\n',
      '## Loss\n\n![Training and validation loss over steps](loss.png)\n\nNumbers: [loss.csv](loss.csv)\n',
      '## Gradients\n\n![Gradient norm, share clipped and learning rate over steps](gradients.png)\n\n'
      'Numbers: [gradients.csv](gradients.csv)\n',
      _samples(sources, texts, references)]))


def _samples(sources, texts, references):
  similar = np.array([sacrebleu.sentence_chrf(text, [reference]).score
                      for text, reference in zip(texts, references, strict=True)])
  order = np.argsort(-similar, kind='stable')
  drawn = np.random.default_rng(0).permutation(len(texts))
  write = lambda rows: '\n'.join(
      fenced(f'{sources[row]}\n  = {texts[row]}\n  ({references[row]})') for row in rows)
  return '\n'.join(f'## {name}\n\n{write(rows)}' for name, rows in (
      ('Good translations', order[:_SAMPLES]), ('Bad translations', order[::-1][:_SAMPLES]),
      ('Random translations', drawn[:_SAMPLES])))
