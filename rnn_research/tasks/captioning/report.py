"""The report of a captioner: figures, the best and the worst captions, where it looked."""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rnn_research.analysis.reports import plots, sections
from rnn_research.analysis.reports.plots import BLUE, GREY, LABEL, TICK, VERMILLION, Plot
from rnn_research.analysis.reports.sections import Section
from rnn_research.analysis.reports.tables import (
  Rows,
  columns,
  markdown,
  read_result,
  result_markdown,
)
from rnn_research.errors import InputError
from rnn_research.metrics.captions.cider import cider, cider_table, document_frequencies
from rnn_research.metrics.captions.score import tokenized
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.captioning.attention_figure import Looked, attention_figure
from rnn_research.tasks.captioning.batches import Seen, encode, some
from rnn_research.tasks.captioning.contact_sheet import Judged, contact_sheet
from rnn_research.tasks.captioning.describer import Caption
from rnn_research.tasks.captioning.evaluation import HeldOut, all_inputs
from rnn_research.tasks.captioning.faithfulness import Hidden, hide
from rnn_research.tasks.captioning.pointing_section import pointing_section
from rnn_research.training.metrics_log import read_log
from rnn_research.training.result import read_json
from rnn_research.typing import Params

_SHOWN = 8  # captions of either kind
_OVERLAYS = 3  # pictures whose attention is drawn
_HIDDEN = 200  # pictures of which places are hidden
_NAMES = {
  'bleu_1': 'BLEU-1',
  'bleu_2': 'BLEU-2',
  'bleu_3': 'BLEU-3',
  'bleu_4': 'BLEU-4',
  'rouge_l': 'ROUGE-L',
  'cider': 'CIDEr-D',
}


def write_report(
  held_out: HeldOut,
  split: str,
  boxes: str,
  model: ConditionalModel,
  describe: Callable[..., list[Caption]],
  params: Params,
  workdir: str | os.PathLike,
  out_dir: str | os.PathLike,
) -> None:
  """Writes README.md, figures with their numbers as CSV, and samples.md to `out_dir`.

  Args:
    held_out: the data.
    split: of them that captions are written of.
    boxes: file of phrases with boxes, see `boxes.read_boxes`; '' for none.
    model: the model.
    describe: of `describer`, with beam search.
    params: of the model.
    workdir: of the run, whose config.json, metrics.jsonl and, if the run is finished, result.json
      are read.
    out_dir: an existing folder.
  """
  rows, about = read_log(workdir), read_json(Path(workdir) / 'config.json')
  pictures = held_out.seen(split)
  found = describe(params, all_inputs(pictures))
  scores = _each(found, pictures)
  result = read_result(workdir)
  sections.write_samples(out_dir, rows)
  sections.write(
    out_dir,
    about['experiment'],
    [
      Section('', before=f'{result_markdown(result)}\n{_table(result, split)}'),
      sections.loss_section(rows, 'every word given those before it'),
      _captions_section(pictures, found, scores, split),
      *_attention(held_out, pictures, model, params, found, scores, rows),
      *_pointing(held_out, split, boxes, pictures, model, params, found),
      sections.gradient_section(rows),
    ],
  )


def _each(found, pictures: Seen) -> np.ndarray:
  """Returns CIDEr-D of each caption, [N] float64."""
  references = [[tokenized(text) for text in own] for own in pictures.captions]
  table = cider_table(references, document_frequencies(references))
  return cider(table, [tokenized(one.text) for one in found], range(len(found)))


def _table(result: Mapping[str, Any] | None, split: str) -> str:
  """Returns the scores of a finished run by how captions were found."""
  metrics = (result or {}).get('metrics', {}).get(split)
  if not metrics:
    return ''
  ways = {'greedy': '', 'beam 3': '_beam3'}
  rows = [
    [way, *(f'{metrics[f"{name}{ending}"]:.3f}' for name in _NAMES)] for way, ending in ways.items()
  ]
  return f'Captions of the {split} split:\n\n{markdown(["", *_NAMES.values()], rows)}'


def _captions_section(pictures, found, scores, split):
  order = np.argsort(-scores, kind='stable')

  def judged(rows):
    return [
      Judged(
        pictures.picture(i), pictures.names[i], found[i].text, pictures.captions[i][0], scores[i]
      )
      for i in rows
    ]

  groups = [
    ('Like the references', judged(order[:_SHOWN])),
    ('Unlike them', judged(order[::-1][:_SHOWN])),
  ]
  text = (
    f'The {min(_SHOWN, len(found))} captions of the {split} split with the highest CIDEr-D and as '
    f'many with the lowest, of {len(found):,} written with beam search; in parentheses '
    'one of the references.'
  )
  return Section('Captions', 'captions', contact_sheet(groups, text), 'Pictures and captions')


def _attention(held_out, pictures, model, params, found, scores, rows: Rows):
  if not found[0].weights.size:
    yield Section('Attention', before='The decoder has no attention: it sees the whole picture.')
    return
  order = np.argsort(-scores, kind='stable')
  places = [int(q * (len(order) - 1)) for q in (0.0, 0.5, 1.0)][: min(_OVERLAYS, len(order))]
  names = ('the best', 'the median', 'the worst')
  looked = [
    Looked(pictures.picture(order[place]), found[order[place]], why)
    for place, why in zip(places, names, strict=False)
  ]
  text = (
    'For each word: the picture, bright where the weights of the attention are, smooth between the '
    'middles of its places; by CIDEr-D the best caption, the median and the worst.'
  )
  plot = attention_figure(looked, text)
  yield Section('Attention', 'attention', plot, 'Where the model looked for every word')
  if any('train/attention_entropy' in row for row in rows):
    yield Section('Entropy', 'entropy', _entropy(rows), 'Entropy of the attention over steps')
  places = _places(int(np.prod(found[0].weights.shape[1:])))
  few = some(pictures, range(min(_HIDDEN, len(pictures.names))))
  encoded = encode(held_out.codec, few.captions, held_out.max_length)
  plot = _faithfulness(hide(model, params, few, encoded, places), len(few.names))
  yield Section('Faithfulness', 'faithfulness', plot, 'Loss where places are hidden')


def _pointing(held_out, split, boxes, pictures, model, params, found):
  if not boxes:
    return
  splits, others = held_out.material().splits, None
  looks = bool(found[0].weights.size)
  if looks and split != 'valid' and 'valid' in splits:
    # One that the model may have been trained on does without smoothing, not without a report.
    with contextlib.suppress(InputError):
      others = held_out.seen('valid')
  yield pointing_section(
    boxes,
    [name for rows in splits.values() for name, _ in rows],
    pictures,
    held_out.max_length,
    held_out.codec,
    model,
    params,
    found,
    others,
  )


def _places(total):
  """Returns how many places are hidden: doubled up to half of them."""
  return [2**i for i in range(total) if 2**i <= total // 2]


def _entropy(rows: Rows) -> Plot:
  """Draws the mean entropy of the attention of a word over training steps."""
  table = columns(rows, ['train/attention_entropy'])
  steps, values = table.values()
  figure = Figure(figsize=(11, 6), layout='constrained')
  axes = figure.subplots()
  logged = ~np.isnan(values)
  axes.plot(steps[logged], values[logged], color=BLUE, linewidth=2.5)
  axes.set_xlabel('training step', fontsize=LABEL)
  axes.set_ylabel('nats', fontsize=LABEL)
  plots.finish(axes)
  plots.caption(
    figure,
    'Mean entropy of the weights that a word of the training captions is written under: log of the '
    'number of places where they are even, 0 where all weight is on one.',
  )
  return Plot(figure, table)


def _faithfulness(hidden: Hidden, count: int) -> Plot:
  figure = Figure(figsize=(11, 6), layout='constrained')
  axes = figure.subplots()
  for values, colour, marker, name in (
    (hidden.looked, VERMILLION, 'o', 'most looked at'),
    (hidden.others, BLUE, 's', 'at random'),
  ):
    axes.plot(
      hidden.places, values, color=colour, marker=marker, markersize=10, linewidth=2.5, label=name
    )
  axes.axhline(hidden.whole, color=GREY, linestyle=':', linewidth=2, label='none')
  axes.set_xscale('log', base=2)
  axes.set_xticks(hidden.places, [str(count) for count in hidden.places])
  axes.set_xlabel('hidden places', fontsize=LABEL)
  axes.set_ylabel('nats per word', fontsize=LABEL)
  plots.finish(axes)
  axes.legend(fontsize=TICK, frameon=False, loc='upper left')
  plots.caption(
    figure,
    f'What references of the first {count} pictures cost where places are hidden from the '
    'attention: those that it looks at most over all words of a picture, or as many at random. The '
    'first state is made of the whole picture all the same.',
  )
  table = {
    'hidden places': hidden.places,
    'most looked at': hidden.looked,
    'at random': hidden.others,
  }
  return Plot(figure, {name: np.asarray(value, float) for name, value in table.items()})
