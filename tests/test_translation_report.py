"""The report of a translator: its figures show the numbers they are given, whatever was translated."""

import csv
import itertools
import json
import re

import numpy as np
import pytest
from test_report import LOGS, blocks, read_csv

from rnn_research.analysis.reports import glyphs, plots
from rnn_research.analysis.reports.length_figure import compare_lengths, length_edges, length_figure
from rnn_research.metrics.bleu import LengthGroup, corpus_bleu
from rnn_research.tasks.translation import alignment_figure as alignment
from rnn_research.tasks.translation.report import TranslatedSentences, score_curve, write_report
from rnn_research.tasks.translation.translator import Translation

EOS = '<eos>'
ODD = (
  'עברית',
  'العربية',
  '漢字',
  '👩\u200d🚀',
  'e\u0301',
  '$x_1$',
  '$',
  '\\frac',
  '_',
  ' ',
  '\n',
  '\u2028',
  '\x00',
  'x' * 99,
)


def translation(source, written, looks=None):
  """Returns a translation of words that ends; symbol i looks at `looks[i]`, or where i is."""
  source, symbols = source.split(' '), [*written.split(), EOS]
  looks = range(len(symbols)) if looks is None else [*looks, len(source) - 1]
  weights = np.full((len(symbols), len(source)), 0.1 / len(source), np.float32)
  for i, j in enumerate(looks):
    weights[i, min(j, len(source) - 1)] += 0.9
  return Translation(written, symbols, 0.0, weights, source, False)


def without_attention(source, written):
  found = translation(source, written)
  return found._replace(weights=found.weights[:, :0])


def words(count, first=0):
  return ' '.join(f'w{i}' for i in range(first, first + count))


def held_out(make=translation, count=30):
  sources = [words(3 + i % 12, i) for i in range(count)]
  found = [make(source, source if i % 3 else words(4)) for i, source in enumerate(sources)]
  return TranslatedSentences('test', sources, list(sources), found, lower=True)


def report(tmp_path, held, rows=LOGS['whole'], unit='word', metric='bleu'):
  about = {
    'experiment': 'seq2seq:bahdanau',
    'headline': ['valid', metric, 'max'],
    'config': {'data': {'unit': unit}, 'model': {'decoder': 'bahdanau', 'score': 'additive'}},
  }
  (tmp_path / 'config.json').write_text(json.dumps(about), 'utf-8')
  (tmp_path / 'metrics.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows), 'utf-8')
  out = tmp_path / 'report'
  out.mkdir()
  write_report(held, tmp_path, out)
  return out


def labels(ticks):
  return [label.get_text() for label in ticks]


def is_blank(path):
  """Returns whether a picture has one colour."""
  from matplotlib.image import imread

  return np.ptp(imread(path)[..., :3].reshape(-1, 3), axis=0).max() == 0.0


def test_a_report_has_its_figures_their_numbers_and_samples(tmp_path):
  held = held_out()
  rows = [*LOGS['whole'], {'step': 20, 'valid/bleu': 12.5}, {'step': 25, 'valid/bleu': 20.0}]
  out = report(tmp_path, held, rows)
  names = {'loss', 'gradients', 'bleu', 'bleu_by_length', 'alignments'}
  assert {path.name for path in out.iterdir()} == {'README.md', 'samples.md'} | {
    f'{name}.{kind}' for name in names for kind in ('png', 'csv')
  }
  assert not any(is_blank(out / f'{name}.png') for name in names)
  text = (out / 'README.md').read_text('utf-8')
  links = set(re.findall(r'\]\(([^)]+)\)', text))
  assert links == {f'{name}.{kind}' for name in names for kind in ('png', 'csv')} | {'samples.md'}
  texts = [found.text for found in held.translations]
  whole = corpus_bleu(texts, held.references, lower=True)
  assert (
    f'BLEU of the test split, 30 sentences translated greedily: {whole.score:.2f}, `{whole.signature}`'
    in text
  )
  assert read_csv(out / 'bleu.csv') == [['step', 'valid/bleu'], ['20', '12.5'], ['25', '20']]
  _, good, bad, drawn = blocks(text)
  assert good.split('\n')[:3] == [words(14, 11), f'  = {words(14, 11)}', f'  ({words(14, 11)})']
  assert f'  = {words(4)}' in bad and bad.split('\n')[0] != words(4)
  assert len(drawn.split('\n\n')) == 5


def test_the_loss_is_that_without_label_smoothing():
  rows = [
    {'step': 10, 'train/loss': 3.0, 'train/nats_per_symbol': 2.0, 'train/epoch': 0.5},
    {'step': 20, 'train/loss': 2.5, 'train/nats_per_symbol': 1.5, 'train/epoch': 1.0},
  ]
  plot = plots.loss_curves(rows, 'every target symbol')
  assert list(plot.table['train/nats_per_symbol']) == [2.0, 1.5]
  assert list(plot.figure.axes[0].lines[0].get_ydata()) == [2.0, 1.5]
  assert 'without label smoothing' in plot.figure.get_supxlabel()


def test_the_score_of_a_task_is_its_exact_translations(tmp_path):
  out = report(
    tmp_path, held_out(), [{'step': 5, 'valid/exact': 0.25, 'valid/bleu': 3.0}], metric='exact'
  )
  assert read_csv(out / 'exact.csv') == [['step', 'valid/exact'], ['5', '0.25']]
  assert not (out / 'bleu.png').exists()


@pytest.mark.parametrize(
  'rows', [[], [{'step': 5, 'valid/bleu': 0.0}], [{'step': 5, 'valid/bleu': None}]]
)
def test_a_score_curve_of_any_log(tmp_path, rows):
  plots.save(score_curve(rows, 'bleu'), tmp_path / 'a.png')
  assert len(read_csv(tmp_path / 'a.csv')) == 1 + len(rows)


def test_words_are_on_the_axes_and_weights_in_the_csv(tmp_path):
  found = [
    translation('ein Hund bellt', 'a dog barks'),
    translation('heute regnet es', 'it rains today', (2, 1, 0)),
  ]
  plot = alignment.alignment_figure(found, 'Caption.')
  plots.save(plot, tmp_path / 'a.png')
  for axes, one in zip(plot.figure.axes, found, strict=False):
    assert labels(axes.get_xticklabels()) == one.source
    assert labels(axes.get_yticklabels()) == one.symbols
    np.testing.assert_array_equal(axes.collections[0].get_array(), one.weights)
  with open(tmp_path / 'a.csv', newline='', encoding='utf-8') as f:
    rows = list(csv.DictReader(f))
  assert len(rows) == 2 * 4 * 3
  (row,) = (row for row in rows if (row['panel'], row['i'], row['j']) == ('b', '0', '2'))
  assert (row['written symbol'], row['source symbol']) == ('it', 'es')
  assert float(row['a_ij']) == pytest.approx(float(found[1].weights[0, 2]))


def test_sentences_are_chosen_for_what_they_show():
  straight = [translation(words(n), words(n)) for n in (3, 9, 6, 7, 21)]
  crossing = translation(words(5), words(5), (4, 3, 2, 1, 0))
  bad = translation(words(8), 'no no')
  found = [*straight, bad, crossing, *(translation(words(5), words(4)) for _ in range(9))]
  similar = [100.0] * 5 + [0.0, 100.0] + [50.0] * 9
  assert [row for _, row in alignment.choose(found, similar)] == [1, 6, 5, 3]  # 21 words do not fit
  assert [row for _, row in alignment.choose(found[:2], [100.0, 100.0])] == [1, 0]
  assert alignment.choose([without_attention('a b', 'c')], [1.0]) == []
  assert (
    alignment.choose([Translation('', [], 0.0, np.zeros((0, 0), np.float32), [], False)], [0.0])
    == []
  )


def test_long_sentences_have_fewer_panels_and_are_cut(tmp_path):
  found = [translation(words(n), words(n)) for n in (30, 35, 38)]
  assert len(alignment.choose(found, [1.0, 1.0, 1.0])) == 2
  endless = [translation(words(n), words(200)) for n in (300, 200)]
  ((_, row),) = alignment.choose(endless, [1.0, 1.0])
  plot = alignment.alignment_figure([endless[row]], 'Caption.')
  plots.save(plot, tmp_path / 'a.png')
  assert labels(plot.figure.axes[0].get_xticklabels()) == endless[row].source[:40]
  assert 'first 40 symbols' in plot.figure.get_supxlabel()
  assert len(read_csv(tmp_path / 'a.csv')) == 1 + 201 * 200


def test_odd_symbols_are_drawn_without_warnings(tmp_path):
  weights = np.eye(len(ODD), dtype=np.float32)
  plot = alignment.alignment_figure(
    [Translation('', list(ODD), 0.0, weights, list(ODD), False)], '$ _ % {caption}'
  )
  plots.save(plot, tmp_path / 'a.png')
  shown = labels(plot.figure.axes[0].get_xticklabels())
  assert (
    shown[:2] == list(ODD[:2])
    and shown[5] == '$x_1$'
    and shown[9] == '\u2423'
    and len(shown[-1]) == 14
  )
  assert read_csv(tmp_path / 'a.csv')[3][4] == '漢字'  # whole, where the picture has boxes


def test_marks_of_joined_words_are_not_on_the_axes():
  plot = alignment.alignment_figure([translation('Hund \uffed. \uffed', 'dog \uffed. \uffed')], '')
  assert labels(plot.figure.axes[0].get_xticklabels())[:2] == ['Hund', '.']


@pytest.fixture
def fonts_anew():
  """Forgets which fonts there are, before and after."""
  caches = glyphs.families, glyphs._characters
  for cached in caches:
    cached.cache_clear()
  yield
  for cached in caches:
    cached.cache_clear()


@pytest.mark.parametrize(
  'families, shown', [((), '\u25a1'), (('No Such Font', 'STIXGeneral'), '\u29f8')]
)
def test_an_installed_font_helps_out(monkeypatch, fonts_anew, tmp_path, families, shown):
  monkeypatch.setattr(glyphs, '_FAMILIES', families)
  plot = alignment.alignment_figure([translation('\u29f8', '<unk>')], 'Caption.')
  plots.save(plot, tmp_path / 'a.png')
  assert labels(plot.figure.axes[0].get_xticklabels()) == [shown]
  assert ('no font has' in plot.figure.get_supxlabel()) == (not families)
  assert '<unk> is a word' in plot.figure.get_supxlabel()


def test_a_decoder_without_attention_has_no_heat_map(tmp_path):
  out = report(tmp_path, held_out(without_attention))
  assert not list(out.glob('alignments*'))
  text = (out / 'README.md').read_text('utf-8')
  assert 'The decoder has no attention' in text and 'alignments' not in text


@pytest.mark.parametrize('unit', ['word', 'char', 'subword'])
def test_a_report_of_one_sentence_and_of_empty_translations(tmp_path, unit):
  empty = translation('# `a` | b', '')
  held = TranslatedSentences('valid', ['# `a` | b'], ['```\n*x*'], [empty], lower=False)
  out = report(tmp_path, held, [], unit)
  assert any(
    '# `a` | b\n  = \n  (```\n*x*)' in block
    for block in blocks((out / 'README.md').read_text('utf-8'))
  )
  (_, row) = read_csv(out / 'bleu_by_length.csv')
  length = '9' if unit == 'char' else '6'
  assert row[1:5] == ['characters' if unit == 'char' else 'words', length, length, '1']


def test_groups_of_lengths_have_enough_sentences():
  lengths = [*range(4, 24)] * 5 + [60, 110]
  edges = length_edges(lengths)
  assert edges == [4, 8, 12, 16, 20, 111]  # 5 sentences of each length, 60 and 110 are alone
  counts = [sum(low <= n < high for n in lengths) for low, high in itertools.pairwise(edges)]
  assert counts == [20, 20, 20, 20, 22]
  assert length_edges([*range(1, 101)] * 20) == [1, *range(10, 101, 10), 101]
  assert length_edges([7]) == [7, 8]


def groups(*scores):
  return [LengthGroup(1 + 5 * i, 6 + 5 * i, 10 + i, score) for i, score in enumerate(scores)]


def test_bleu_by_length_is_drawn_and_read_back(tmp_path):
  for name, scores in (('a', (30.0, 20.5)), ('b', (30.0, 29.0)), ('c', (1.0,))):
    (tmp_path / name / 'report').mkdir(parents=True)
    plot = length_figure({'seq2seq:x': groups(*scores)}, 'Caption.', 'words')
    plots.save(plot, tmp_path / name / 'report' / 'bleu_by_length.png')
  plot = compare_lengths({'one vector': tmp_path / 'a', 'attention': tmp_path / 'b'})
  assert plot.table['label'] == ('one vector', 'one vector', 'attention', 'attention')
  assert plot.table['bleu'] == (30.0, 20.5, 30.0, 29.0) and plot.table['sentences'] == (
    10,
    11,
    10,
    11,
  )
  scores, counts = plot.figure.axes
  assert [list(line.get_ydata()) for line in scores.lines] == [[30.0, 20.5], [30.0, 29.0]]
  assert labels(scores.get_legend().get_texts()) == ['one vector', 'attention']
  assert labels(counts.get_xticklabels()) == ['1\u20135', '6\u201310']
  assert compare_lengths({'one vector': tmp_path / 'a', 'other sentences': tmp_path / 'c'}) is None
  assert compare_lengths({'one vector': tmp_path / 'a', 'no report': tmp_path}) is None
