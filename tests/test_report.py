"""The report of a run: figures, their numbers, and samples that no text can break."""

import csv
import json
import re

import numpy as np
import pytest

from rnn_research.analysis.reports import plots, sections, tables
from rnn_research.analysis.reports.language_report import write_report
from rnn_research.analysis.reports.learning_figure import learning_figure
from rnn_research.training.metrics_log import open_log, read_log

NASTY = (
  '',
  '```',
  'a ```` b\n```text\n# no heading',
  '~~~',
  '</pre><script>',
  '    indented',
  'tail `',
  '\x0c\u2028é',
)


def window(step, loss):
  return {
    'step': step,
    'train/loss': loss,
    'train/epoch': step / 100,
    'train/gradient_norm': 0.5,
    'train/largest_gradient_norm': 2.0,
    'train/clipped': 0.25,
    'learning_rate': 0.01,
  }


def evaluation(step, nats):
  return {'step': step, 'valid/nats_per_symbol': nats}


LOGS = {
  'whole': [
    {'step': 0, 'sample': 'x'},
    window(10, 3.0),
    window(20, 2.0),
    evaluation(20, 2.5),
    evaluation(25, 2.25),
  ],
  'one window': [window(10, 3.0)],
  'no evaluation': [window(step, 1 + 1 / step) for step in range(10, 1010, 10)],
  'evaluations alone': [evaluation(10, 3.0)],
  'without a finite number': [window(10, None), evaluation(10, None)],
  'nothing': [],
}


def read_csv(path):
  with open(path, newline='') as f:
    return list(csv.reader(f))


def blocks(markdown):
  """Returns the contents of the code blocks of a Markdown text, by the rules of CommonMark."""
  found, fence = [], None
  for line in markdown.split('\n'):
    if fence is None and (opened := re.match('(`{3,})text$', line)):
      fence, content = opened[1], []
    elif fence is not None and re.fullmatch('`+', line) and len(line) >= len(fence):
      found.append('\n'.join(content))
      fence = None
    elif fence is not None:
      content.append(line)
  assert fence is None
  return found


@pytest.mark.parametrize('rows', LOGS.values(), ids=LOGS.keys())
@pytest.mark.parametrize('draw', [plots.loss_curves, plots.gradient_figure])
@pytest.mark.filterwarnings('error')
def test_every_log_has_its_figures(tmp_path, rows, draw):
  plots.save(draw(rows), tmp_path / 'a.png')
  assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')
  assert len(read_csv(tmp_path / 'a.csv')) >= 1


def test_the_numbers_of_the_loss_curves(tmp_path):
  plots.save(plots.loss_curves(LOGS['whole']), tmp_path / 'loss.png')
  assert read_csv(tmp_path / 'loss.csv') == [
    ['step', 'train/epoch', 'train/loss', 'valid/nats_per_symbol', 'train/loss_smoothed'],
    ['10', '0.1', '3', '', '3'],
    ['20', '0.2', '2', '2.5', '2'],
    ['25', '', '', '2.25', ''],
  ]


def test_the_numbers_of_the_gradient_figure(tmp_path):
  plots.save(plots.gradient_figure(LOGS['whole']), tmp_path / 'gradients.png')
  assert read_csv(tmp_path / 'gradients.csv') == [
    [
      'step',
      'train/gradient_norm',
      'train/largest_gradient_norm',
      'train/clipped',
      'learning_rate',
    ],
    ['10', '0.5', '2', '0.25', '0.01'],
    ['20', '0.5', '2', '0.25', '0.01'],
  ]


def test_a_running_mean_keeps_constants_lines_and_the_first_numbers():
  line = np.arange(50.0)
  np.testing.assert_allclose(tables.running_mean(line, 7), line)
  noisy = np.random.default_rng(0).normal(size=50)
  smooth = tables.running_mean(noisy, 7)
  np.testing.assert_array_equal(smooth[:8], noisy[:8])
  np.testing.assert_allclose(smooth[30], noisy[27:34].mean())


@pytest.mark.parametrize('text', NASTY)
def test_any_sample_comes_back_out_of_its_code_block(tmp_path, text):
  sections.write_samples(tmp_path, [{'step': 0, 'sample': text}, {'step': 5, 'sample': 'after'}])
  assert blocks((tmp_path / 'samples.md').read_text('utf-8')) == [text, 'after']


def test_samples_stand_in_order_under_the_loss_known_then():
  rows = [
    {'step': 20, 'sample': 'c'},
    {'step': 0, 'sample': 'a'},
    window(10, 3.0),
    {'step': 15, 'sample': 'b'},
    window(20, 2.0),
  ]
  headings = re.findall('### (.*)', tables.samples_markdown(rows))
  assert headings == [
    'At first, before any training',
    'After 15 steps, training loss 3.00 nats',
    'After 20 steps, training loss 2.00 nats',
  ]


def run_with_report(tmp_path, rows, result=None):
  log = open_log(tmp_path, 0)
  for row in rows:
    log.write(row['step'], {name: value for name, value in row.items() if name != 'step'})
  if result:
    (tmp_path / 'result.json').write_text(json.dumps({'config': {}, **result}))
  out = tmp_path / 'report'
  out.mkdir()
  write_report(
    lambda temperature, params, key: f'{params} at {temperature}', 'written', tmp_path, out
  )
  return out


def test_a_report_shows_result_figures_and_samples(tmp_path):
  metrics = {
    'valid': {'nats_per_symbol': 1.25, 'predictions': 1999},
    'test': {'nats_per_symbol': 1.5},
  }
  result = {
    'experiment': 'char_lm:debug',
    'params': 12345,
    'steps': 20,
    'seconds': 3.4,
    'seed': 7,
    'best_step': 10,
    'metrics': metrics,
  }
  out = run_with_report(tmp_path, LOGS['whole'], result)
  text = (out / 'README.md').read_text('utf-8')
  assert '| valid | 1.2500 | 1,999 |\n| test | 1.5000 |  |' in text
  assert '12,345 parameters, 20 steps' in text
  assert blocks(text) == ['x', 'written at 0.5', 'written at 0.8', 'written at 1.0']
  links = re.findall(r'\]\(([^)]+)\)', text)
  assert {'loss.png', 'loss.csv', 'gradients.png', 'gradients.csv'} <= set(links)
  assert all((out / name).exists() for name in [*links, 'samples.md'])


def test_a_page_has_its_sections_from_top_to_bottom(tmp_path):
  plot = plots.gradient_figure(LOGS['whole'])
  numbers = {'a': 1.0, 'b': float('nan')}
  found = sections.write(
    tmp_path,
    'Page',
    [
      sections.Section('', before='Above.\n'),
      sections.Section(
        'Norms', 'norms', plot, 'What it shows', 'Before.', 'After.', {'x': numbers}
      ),
      sections.Section('Text alone', before='| a |\n', metrics={'x': {'c': 2.0}, 'y': {'d': 3.0}}),
    ],
    'page.md',
  )
  assert found == {'x': {'a': 1.0, 'c': 2.0}, 'y': {'d': 3.0}}
  assert {path.name for path in tmp_path.iterdir()} == {'page.md', 'norms.png', 'norms.csv'}
  assert (tmp_path / 'page.md').read_text() == (
    '# Page\n\nAbove.\n\n## Norms\n\nBefore.\n\n![What it shows](norms.png)\n\n'
    'Numbers: [norms.csv](norms.csv)\n\nAfter.\n\n## Text alone\n\n| a |\n'
  )


def test_a_report_of_an_unfinished_run(tmp_path):
  out = run_with_report(tmp_path, [window(10, 3.0)])
  assert len(read_log(tmp_path)) == 1
  assert 'The run is not finished' in (out / 'README.md').read_text('utf-8')


def texts_of(figure):
  return [axes.texts[0].get_text() for axes in figure.axes[1:]]


def test_the_picture_of_learning_shows_the_first_the_middle_and_the_last_sample(tmp_path):
  samples = [{'step': step, 'sample': f'at {step}\nx'} for step in (5, 0, 100, 20, 60)]
  plot = learning_figure([*samples, window(10, 3.0), window(20, 2.0)])
  assert texts_of(plot.figure) == ['at 0\nx', 'at 20\nx', 'at 100\nx']
  plots.save(plot, tmp_path / 'learning.png')
  assert read_csv(tmp_path / 'learning.csv')[1:] == [
    ['0', 'at 0\nx'],
    ['20', 'at 20\nx'],
    ['100', 'at 100\nx'],
  ]
  page = run_with_report(tmp_path, samples) / 'README.md'
  assert '](learning.png)' in page.read_text('utf-8')


@pytest.mark.parametrize('text', [*NASTY, '$x_', 'a' * 500, '\t\x00\U0001f600', 'a\n' * 50])
@pytest.mark.filterwarnings('error')
def test_any_sample_can_be_drawn(tmp_path, text):
  plot = learning_figure([{'step': 0, 'sample': text}, {'step': 5, 'sample': text}, window(5, 1.0)])
  plots.save(plot, tmp_path / 'learning.png')
  first, last = texts_of(plot.figure)
  assert first == last
  lines = first.split('\n')
  assert len(lines) <= 6 and max(map(len, lines)) <= 54


def test_one_sample_makes_no_picture_of_learning():
  assert learning_figure(LOGS['whole']) is None
