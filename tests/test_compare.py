"""Runs side by side: what is read from their workdirs, what is drawn, what is refused."""

import csv
import json
import shutil

import numpy as np
import pytest
from launching import read_json, run

from rnn_research.analysis.reports import curve_report, plots, run_curves
from rnn_research.analysis.reports.curve_figure import curve_figure
from rnn_research.analysis.reports.curve_report import write_comparison
from rnn_research.analysis.reports.length_figure import length_figure
from rnn_research.errors import InputError, comma_list
from rnn_research.metrics.bleu import LengthGroup


def start(folder, *flags):
  run('--experiment=long_memory:debug', f'--workdir={folder}', '--config.train.steps=20', *flags)


@pytest.fixture(scope='module')
def pair(make_once):
  """Returns a folder with a grid of GRUs, `gru`, and a single Elman network, `elman`; not to be changed."""

  def fill(folder):
    start(folder / 'gru', '--config.grid.seeds=3', '--config.grid.learning_rates=(1e-3,3e-2)')
    start(folder / 'elman', '--config.model.cell=elman')

  return make_once('pair', fill)


def test_curves_are_those_of_the_log(pair):
  grid = run_curves.read_run(pair / 'gru')
  curves = run_curves.by_learning_rate(grid)
  members = read_json(pair / 'gru', 'result.json')['members']
  for rate, curve in curves.items():
    np.testing.assert_array_equal(curve.steps, [10, 20])
    assert list(curve.values[:, -1]) == [
      row['mse'] for row in members if row['learning_rate'] == rate
    ]
  assert run_curves.best_curves(grid)[0] == 3e-2
  (single,) = run_curves.by_learning_rate(run_curves.read_run(pair / 'elman')).values()
  assert single.values.shape == (1, 2)


def test_a_run_reports_its_members(pair):
  text = (pair / 'gru' / 'report' / 'README.md').read_text()
  assert '| learning rate 0.03 |' in text
  rows = (pair / 'gru' / 'report' / 'curves.csv').read_text().splitlines()
  assert rows[0] == 'label,seed,step,mse'
  assert len(rows) == 1 + 2 * 3 * 2


def test_comparison_of_two_runs(pair, tmp_path):
  out, _ = run(
    '--experiment=compare',
    f'--config.workdirs={pair / "gru"},{pair / "elman"}',
    f'--workdir={tmp_path}',
  )
  assert 'gru: mse_mean' in out and 'elman: mse_mean' in out
  figures = read_json(tmp_path, 'result.json')['metrics']
  assert figures['gru']['learning_rate'] == 3e-2
  best = [
    row['mse']
    for row in read_json(pair / 'gru', 'result.json')['members']
    if row['learning_rate'] == 3e-2
  ]
  assert figures['gru']['mse_mean'] == pytest.approx(np.mean(best))
  assert figures['gru']['mse_std'] == pytest.approx(np.std(best, ddof=1))
  assert 'mse_std' not in figures['elman']  # of one seed
  parts = (tmp_path / 'report' / 'README.md').read_text().split('\n## ')
  rows = [
    [[cell.strip() for cell in line.split('|')[1:-1]] for line in part.splitlines() if '| ' in line]
    for part in parts
  ]
  order = [row[0] for row in rows[0][2:]]
  assert order == sorted(figures, key=lambda label: figures[label]['mse_mean'])
  assert [part.split()[0] for part in parts[1:]] == ['valid', 'test']
  for split, (head, _, *table) in zip(('valid', 'test'), rows[1:], strict=True):
    assert [row[0] for row in table] == order
    for label, *values in table:
      found = read_json(pair / label, 'result.json')['metrics'][split]
      assert float(values[head[1:].index('mse')]) == pytest.approx(found['mse'], abs=5e-5)
  assert (tmp_path / 'report' / 'curves.png').stat().st_size > 10_000


@pytest.mark.parametrize('train, seen', [
  ({'batch_size': 8}, 8), ({'batch_size': 8, 'unroll_length': 5}, None),
  ({'batch_size': 8, 'batch_tokens': 200}, None),
])  # fmt: skip
def test_examples_are_counted_where_a_batch_has_a_number_of_them(train, seen):
  run = run_curves.LoggedRun('', {'config': {'train': train}}, [])
  assert curve_report._examples_per_step([run, run]) == seen


def test_nats_of_words_and_of_characters_are_no_rivals(trained, main, tmp_path):
  shutil.copytree(trained, tmp_path / 'copy')
  config = read_json(tmp_path / 'copy', 'config.json')
  config['config']['data']['unit'] = 'word'
  (tmp_path / 'copy' / 'config.json').write_text(json.dumps(config))
  folders = f'--config.workdirs={trained},{tmp_path / "copy"}'
  code, _, err = main('--experiment=compare', folders, f'--workdir={tmp_path / "out"}')
  assert (code, err.count('\n')) == (1, 1)
  assert 'workdirs: the runs have data.unit char, word, expected one unit' in err


def test_runs_of_two_tasks_are_no_rivals(pair, main, tmp_path):
  shutil.copytree(pair / 'elman', tmp_path / 'copy')
  config = read_json(tmp_path / 'copy', 'config.json')
  config['config']['data']['task'] = 'copy'
  (tmp_path / 'copy' / 'config.json').write_text(json.dumps(config))
  folders = f'{pair / "elman"},{tmp_path / "copy"}'
  code, _, err = main(
    '--experiment=compare', f'--config.workdirs={folders}', f'--workdir={tmp_path / "out"}'
  )
  assert (code, err.count('\n')) == (1, 1)
  assert 'workdirs: the runs have data.task adding, copy, expected one task' in err


def test_folders_whose_names_have_commas(pair, main, tmp_path):
  folders = [str(tmp_path / name) for name in ('lr=1,2', 'a "b", c')]
  for folder in folders:
    shutil.copytree(pair / 'elman', folder)
  quoted = ', '.join('"{}"'.format(folder.replace('"', '""')) for folder in folders)
  code, out, err = main(
    '--experiment=compare', f'--config.workdirs={quoted}', f'--workdir={tmp_path / "out"}'
  )
  assert code == 0, err
  assert all(f'{folder}: mse_mean' in out for folder in folders)
  with open(tmp_path / 'out' / 'report' / 'curves.csv', newline='') as rows:
    assert {row['label'] for row in csv.DictReader(rows)} == set(folders)


LISTS = {
  '': [], ' , ,': [], 'lstm, gru ': ['lstm', 'gru'], '"a,b", c': ['a,b', 'c'], 'a"b,c\\': ['a"b', 'c\\'], '"a,b': ['a,b'],
  ' "a, ""b""" ,c,': ['a, "b"', 'c'], 'a\nb\r\nc': ['a', 'b', 'c'],
}  # fmt: skip


@pytest.mark.parametrize('text', LISTS)
def test_lists_with_commas(text):
  assert comma_list(text) == LISTS[text]


def test_labels_name_what_differs():
  def of(folder, **model):
    config = {'seed': 0, 'model': {'cell': 'gru', 'hidden_size': 8} | model}
    return run_curves.LoggedRun(folder, {'experiment': 'a:b', 'config': config}, [])

  assert run_curves.labels([of('a'), of('b', cell='lstm')]) == ['gru', 'lstm']
  assert run_curves.labels([of('a'), of('b', hidden_size=9)]) == ['hidden_size 8', 'hidden_size 9']
  assert run_curves.labels([of('x/a'), of('y/a')]) == ['x/a', 'y/a']
  other = of('b', cell='lstm')
  other.about['experiment'] = 'a:c'
  assert run_curves.labels([of('a'), other]) == ['b', 'c']


def test_a_curve_far_off_does_not_flatten_the_others():
  curve = lambda label, *values: run_curves.Curves(label, np.arange(2.0), np.array([values]))
  near = [curve(str(i), 2.0, 1.0 + i / 10) for i in range(4)]
  top = lambda curves: (
    curve_figure(curves, ('valid', 'nats', 'min'), None).figure.axes[0].get_ylim()[1]
  )
  assert 1.3 < top([*near, curve('far', 300.0, 100.0)]) < 3.0
  assert top([*near[:2], curve('far', 300.0, 100.0)]) >= 300.0


def translator(folder, variant, *bleu):
  """Returns a run whose report, if any, has so much BLEU for short, longer, .. sentences."""
  if bleu:
    (folder / 'report').mkdir(parents=True)
    groups = [LengthGroup(5 * i, 5 * i + 5, 20, score) for i, score in enumerate(bleu)]
    plots.save(
      length_figure({variant: groups}, '', 'words'), folder / 'report' / 'bleu_by_length.png'
    )
  config = {
    'grid': {'seeds': 1, 'learning_rates': ()},
    'optimizer': {'learning_rate': 1e-3},
    'seed': 0,
  }
  about = {
    'experiment': f'seq2seq:{variant}',
    'headline': ['valid', 'bleu', 'max'],
    'config': config,
    'params': 1,
    'git_hash': None,
  }
  return run_curves.LoggedRun(str(folder), about, [{'step': 5, 'valid/bleu': float(len(variant))}])


def test_translators_are_compared_over_the_length_of_the_source(tmp_path):
  vector, attention = (
    translator(tmp_path / 'a', 'cho', 20.0, 10.0),
    translator(tmp_path / 'b', 'bahdanau', 20.0, 19.0),
  )
  out = tmp_path / 'out'
  out.mkdir()
  write_comparison([vector, attention], out)
  assert (out / 'bleu_by_length.csv').read_text() == (
    'label,unit,shortest,longest,sentences,bleu\nbahdanau,words,0,4,20,20\nbahdanau,words,5,9,20,19\n'
    'cho,words,0,4,20,20\ncho,words,5,9,20,10\n'
  )
  assert (out / 'bleu_by_length.png').stat().st_size > 10_000
  assert '](bleu_by_length.png)' in (out / 'README.md').read_text()
  without = tmp_path / 'without'
  without.mkdir()
  write_comparison([vector, translator(tmp_path / 'c', 'luong')], without)
  assert not (without / 'bleu_by_length.png').exists()
  assert 'bleu_by_length' not in (without / 'README.md').read_text()


def test_four_runs_of_which_three_make_no_error(tmp_path):
  config = {'grid': {'seeds': 1, 'learning_rates': ()}, 'optimizer': {'learning_rate': 1e-3}}
  about = {
    'experiment': 'long_memory:x',
    'headline': ['valid', 'mse', 'min'],
    'config': config | {'seed': 0, 'model': {'cell': 'gru'}},
    'params': 1,
    'git_hash': None,
  }
  runs = [
    run_curves.LoggedRun(
      name, about, [{'step': 5, 'valid/mse': 0.5}, {'step': 9, 'valid/mse': end}]
    )
    for name, end in (('a', 0.0), ('b', 0.0), ('c', 0.25), ('d', 0.0))
  ]
  figures = write_comparison(runs, tmp_path)
  assert [numbers['mse_mean'] for numbers in figures.values()] == [0.0, 0.0, 0.0, 0.25]
  rows = (tmp_path / 'curves.csv').read_text().splitlines()
  assert rows[0] == 'label,seed,step,mse' and rows[-1] == 'c,0,9,0.25' and len(rows) == 1 + 4 * 2


def test_a_rate_that_loses_seeds_is_worse():
  steps, ok, lost = (
    np.arange(2.0),
    np.array([[3.0, 2.0], [3.0, 2.5]]),
    np.array([[3.0, 1.0], [3.0, np.nan]]),
  )
  rank = lambda values, sense='min': run_curves.badness(run_curves.Curves('', steps, values), sense)
  assert rank(ok) < rank(lost)
  assert rank(ok) < rank(ok + 1.0)
  # Shares, since runs may have different numbers of seeds; nothing that ended is the worst.
  few_lost = np.array([[3.0, 1.0]] * 7 + [[3.0, np.nan]] * 3)
  nothing = np.full((2, 2), np.nan)
  for sense in ('min', 'max'):
    assert rank(ok, sense) < rank(few_lost, sense) < rank(lost, sense) < rank(nothing, sense)


def test_a_table_says_where_a_median_diverged():
  last = lambda *values: curve_report._last(
    run_curves.Curves('', np.arange(1.0), np.array(values)[:, None]), 'min'
  )
  assert last(1.0, np.nan, np.nan)[:2] == ['1 (2 of 3 not finite)', 'diverged']
  assert last(1.0, 2.0, np.nan)[:2] == ['1.5 (1 of 3 not finite)', '2']


def test_what_is_refused(pair, trained, tmp_path):
  with pytest.raises(InputError, match='holds no run'):
    run_curves.read_run(tmp_path)
  study = tmp_path / 'study'
  study.mkdir()
  for text, said in (
    (
      json.dumps({'experiment': 'speed:full', 'config': {'seed': 0}}),
      'holds speed:full, which trains no model',
    ),
    ('{', 'is not the config of a run'),
    ('{}', 'is not the config of a run'),
    (json.dumps({'experiment': 'char_lm:quick', 'config': {'train': {}}}), 'of an earlier version'),
  ):
    (study / 'config.json').write_text(text)
    with pytest.raises(InputError, match=said):
      run_curves.read_run(study)
  mixed = f'{pair / "gru"},{trained}'
  twice = f'{pair / "gru"}, {pair / "gru"}/'
  for folders, said in (
    ('', "workdirs is '', expected different folders"),
    (twice, 'expected different folders'),
    (mixed, 'expected one figure for all'),
  ):
    _, err = run(
      '--experiment=compare', f'--config.workdirs={folders}', f'--workdir={tmp_path / "out"}', rc=1
    )
    assert said in err
  assert not (tmp_path / 'out').exists()
