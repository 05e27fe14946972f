"""`launch.py` from the first run to the report, as a subprocess."""

import gzip
import io
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax._src.monitoring import unregister_event_duration_listener
from launching import ROOT, TINY, environment, files_of, log_of, prose, read_json, run

import experiments
from rnn_research import workdir as workdir_lib
from rnn_research.analysis.reports import tables
from rnn_research.data import codec
from rnn_research.data.files import require_data_kept
from rnn_research.errors import InputError
from rnn_research.launching import config, first_words, flags, words
from rnn_research.training import checkpoint


def test_lists(main):
  code, out, _ = main('--list')
  assert code == 0
  lines = [line.split(maxsplit=1) for line in out.splitlines()[:-1]]
  assert [first for first, _ in lines] == [
    f'{name}:{variant}' for name in experiments.names() for variant in experiments.variants(name)
  ]
  for name, told in lines:
    experiment, variant = name.split(':')
    text, time = experiments.variants(experiment)[variant]
    assert told.split() == f'{time or "-"} {text}'.split()


def test_a_list_loads_no_jax(main):
  code = "import sys, launch; launch.launch(['--list']); print('jax' in sys.modules)"
  out, err = run(code=code, fresh=True)
  assert (out, err) == (f'{main("--list")[1]}False\n', '')


def test_lists_cells(main):
  code, out, _ = main('--list', '--cells')
  counts = dict(line.split() for line in out.splitlines()[1:])
  assert code == 0
  assert counts['lstm'] == f'{4 * 128 * (64 + 128 + 1):,}'
  assert counts['elman'] == f'{128 * (64 + 128 + 1):,}'


def test_help_names_every_flag():
  out, _ = run('--help', fresh=True)
  for flag in (
    'experiment',
    'workdir',
    'mode',
    'num_devices',
    'config.block.field',
    'prompt',
    'temperature=0.8',
  ):
    assert f'--{flag}' in out
  assert '--config.model.cell=' in out and '--config.train.batch_size=' in out


@pytest.fixture(scope='module')
def default_run(make_once):
  """Returns a folder in which `python launch.py` ran with nothing but smaller numbers."""

  def make(folder):
    sizes = [flag for flag in TINY if 'show_steps' not in flag]
    out, _ = run(
      *sizes,
      '--config.train.steps=8',
      '--config.optimizer.warmup_steps=2',
      '--config.train.eval_lanes=500',
      '--config.train.show_steps=0,8',
      cwd=folder,
      fresh=True,
    )
    (folder / 'stdout.txt').write_text(out, 'utf-8')

  return make_once('default', make)


def test_without_flags_the_default_is_trained(default_run):
  (workdir,) = (default_run / 'runs').iterdir()
  assert workdir.name.startswith('char_lm-quick-')
  assert read_json(workdir, 'config.json')['experiment'] == 'char_lm:quick'
  assert {path.name for path in workdir.iterdir()} == {
    'best',
    'checkpoints',
    'config.json',
    'metrics.jsonl',
    'report',
    'result.json',
  }
  out = (default_run / 'stdout.txt').read_text('utf-8')
  before = out[: out.index('a sample after step 0')]
  assert f'runs/{workdir.name}' in before
  assert 'parameters' in before
  assert 'peak memory' in before
  assert 'recurrence: fused' in before
  assert 'a sample after step 8' in out
  assert out.index('valid: nats_per_symbol') < out.index('test: nats_per_symbol')
  assert [sorted(line) for line in log_of(workdir) if 'sample' in line] == 2 * [['sample', 'step']]


def test_result_says_everything(trained):
  result = read_json(trained, 'result.json')
  assert result['experiment'] == 'char_lm:debug'
  assert result['config']['model']['hidden_size'] == 8
  assert (result['seed'], result['steps']) == (0, 12)
  assert result['num_devices'] == read_json(trained, 'config.json')['num_devices'] >= 1
  assert result['seconds'] > 0
  assert result['engine']
  assert result['versions'].keys() >= {'python', 'jax', 'flax', 'optax'}
  git = subprocess.run(['git', '-C', ROOT, 'rev-parse', 'HEAD'], capture_output=True, text=True)
  assert git.returncode or result['git_hash'].startswith(git.stdout.strip())
  vocabulary = len(set(prose()[: int(0.9 * len(prose()))])) + 1
  gru = 3 * (8 * (vocabulary + 8) + 8)
  assert gru <= result['params'] - (8 + 1) * vocabulary <= gru + 8
  for split, size in (('valid', 0.05), ('test', 0.05)):
    metrics = result['metrics'][split]
    assert metrics['predictions'] == pytest.approx(size * len(prose()), abs=2)
    assert metrics['bits_per_symbol'] == pytest.approx(metrics['nats_per_symbol'] / math.log(2))
    assert metrics['perplexity'] == pytest.approx(math.exp(metrics['nats_per_symbol']))


def test_metrics_of_training(trained):
  lines = log_of(trained)
  assert [line['step'] for line in lines if 'train/loss' in line] == [3, 6, 9, 12]
  assert [line['step'] for line in lines if 'valid/nats_per_symbol' in line] == [4, 8, 12]
  assert {path.name for path in (trained / 'checkpoints').iterdir()} == {'8', '12'}
  losses = [line['train/loss'] for line in lines if 'train/loss' in line]
  assert losses[-1] < losses[0]


def test_a_finished_run_prints_its_result_again(workdir):
  before = files_of(workdir)
  out, err = run(f'--workdir={workdir}')
  result = read_json(workdir, 'result.json')
  assert f'valid: nats_per_symbol {result["metrics"]["valid"]["nats_per_symbol"]:.4f}' in out
  assert err == ''
  assert files_of(workdir) == before


def test_a_finished_run_needs_no_data_and_keeps_what_is_told_of_its_training(workdir, main):
  for name in ('config.json', 'result.json'):
    about = read_json(workdir, name) | {'git_hash': 'f' * 40}
    about['config']['data']['path'] = str(workdir / 'gone.txt')
    (workdir / name).write_text(json.dumps(about))
  before = files_of(workdir)
  code, out, err = main(f'--workdir={workdir}')
  assert code == 0 and 'valid: nats_per_symbol' in out and 'error' not in err
  assert files_of(workdir) == before


def test_a_run_that_went_on_past_its_result_is_not_finished(workdir, main):
  (workdir / 'checkpoints' / '14').mkdir()  # as one that was lengthened and then stopped
  assert not checkpoint.is_finished(str(workdir))
  assert tables.read_result(workdir) is None
  (workdir / 'checkpoints' / '14').rmdir()
  assert checkpoint.is_finished(str(workdir))
  assert tables.read_result(workdir)['steps'] == 12


def test_a_run_that_died_right_after_it_was_lengthened_goes_on(workdir, main):
  about = read_json(workdir, 'config.json')
  about['config']['train']['steps'] = 14
  (workdir / 'config.json').write_text(json.dumps(about))
  code, out, _ = main(f'--workdir={workdir}')
  assert code == 0 and 'goes on from step 12' in out
  assert read_json(workdir, 'result.json')['steps'] == 14


def test_what_else_was_changed_leaves_a_run_finished(workdir, main):
  about = read_json(workdir, 'config.json')
  about['config']['train']['log_every'] = 2
  about['config']['data']['path'] = str(workdir / 'gone.txt')
  (workdir / 'config.json').write_text(json.dumps(about))
  code, out, _ = main(f'--workdir={workdir}')
  assert code == 0 and 'finished at step 12' in out and 'valid: nats_per_symbol' in out


def test_fewer_steps_than_were_taken_are_refused(workdir, main):
  before = files_of(workdir)
  code, _, err = main(f'--workdir={workdir}', '--config.train.steps=6')
  assert (
    code == 1 and 'train.steps is 6, expected at least 12, since the run has taken 12 steps' in err
  )
  assert files_of(workdir) == before


@pytest.mark.parametrize('content', ['{"steps": 4', '{}', '[]', '{"config": 3}'])
@pytest.mark.parametrize('name', ['config.json', 'result.json'])
def test_damaged_files_of_a_workdir_are_named(workdir, main, name, content):
  (workdir / name).write_text(content)
  code, _, err = main(f'--workdir={workdir}')
  assert code in (1, 2) and f'{workdir}/{name} is' in err and len(err.splitlines()) == 1


@pytest.mark.parametrize('lengthened', [False, True])
def test_evaluations_that_were_no_better_are_counted(text, tmp_path, main, lengthened):
  """Also where their distance has changed since: three in a row, whenever they were."""
  flags = [
    *('--experiment=char_lm:debug', f'--config.data.path={text}', f'--workdir={tmp_path}', *TINY),
    *('--config.optimizer.learning_rate=1e-30', '--config.train.stop_after=3'),
  ]
  steps = 9 if lengthened else 30
  code, out, _ = main(*flags, '--config.train.eval_every=3', f'--config.train.steps={steps}')
  assert code == 0 and ('stopped after step 12: 3 evaluations in a row' in out) != lengthened
  if lengthened:
    flags = f'--workdir={tmp_path}', '--config.train.steps=20', '--config.train.eval_every=1'
    assert 'stopped after step 10: 3 evaluations in a row were not better than' in main(*flags)[1]


def test_evaluate(workdir):
  before = files_of(workdir)
  run(f'--workdir={workdir}', '--mode=evaluate')
  again, result = read_json(workdir, 'result-evaluate.json'), read_json(workdir, 'result.json')
  assert again['metrics'] == result['metrics']
  for name in ('experiment', 'config', 'seed', 'steps', 'params', 'engine', 'versions', 'git_hash'):
    assert again[name] == result[name]
  assert again['seconds'] == pytest.approx(result['seconds'], rel=0.5)
  (workdir / 'result-evaluate.json').unlink()
  assert files_of(workdir) == before


def test_evaluate_another_text(workdir, tmp_path, main):
  other = tmp_path / 'other.txt'
  other.write_text(prose(200, seed=1) + 'Ж', 'utf-8')
  before = files_of(workdir)
  code, out, _ = main(f'--workdir={workdir}', '--mode=evaluate', f'--config.data.path={other}')
  assert code == 0
  metrics = read_json(workdir, 'result-evaluate.json')['metrics']
  assert list(metrics) == ['text']
  assert metrics['text']['predictions'] == len(other.read_text('utf-8')) - 1
  assert files_of(workdir).items() > before.items()

  table = tmp_path / 'scores.tsv'
  code, out, _ = main(
    f'--workdir={workdir}', '--mode=score', f'--config.data.path={other}', f'--out={table}'
  )
  rows = [line.split('\t') for line in table.read_text('utf-8').splitlines()]
  scores = [float(row[2]) for row in rows[2:]]
  assert (code, out, rows[0], rows[1][2]) == (0, '', ['position', 'symbol', 'log_probability'], '')
  assert [row[1] for row in rows[1:-1]] == [
    repr(symbol) for symbol in other.read_text('utf-8')[:-1]
  ]
  assert rows[-1][1] == repr('<unk>')
  assert -sum(scores) / len(scores) == pytest.approx(metrics['text']['nats_per_symbol'], abs=1e-5)


def test_without_a_path_another_text_is_the_standard_library(workdir, main, monkeypatch):
  for module in ('data.text', 'tasks.language.text_store'):
    name = f'rnn_research.{module}.standard_library_source'
    monkeypatch.setattr(name, lambda: b'the quick fox')
  monkeypatch.chdir(workdir.parent)  # whose files are not what is meant
  assert main(f'--workdir={workdir}', '--mode=evaluate', '--config.data.path=')[0] == 0
  metrics = read_json(workdir, 'result-evaluate.json')['metrics']
  assert metrics['text']['predictions'] == len('the quick fox') - 1


def test_the_digest_decides_which_text_it_is(workdir, text, tmp_path, main, monkeypatch):
  expected = read_json(workdir, 'result.json')['metrics']
  monkeypatch.chdir(text.parent)
  packed = tmp_path / 'packed.gz'
  packed.write_bytes(gzip.compress(text.read_bytes()))
  wide = tmp_path / 'wide.txt'
  wide.write_text(text.read_text('utf-8'), 'utf-16')
  in_wide = f'--config.data.path={wide}', '--config.data.encoding=utf-16'
  for spelling in (
    [f'--config.data.path=./{text.name}'],
    [f'--config.data.path={packed}'],
    in_wide,
  ):
    code, _, err = main(f'--workdir={workdir}', '--mode=evaluate', *spelling)
    assert (code, err) == (0, '')
    found = read_json(workdir, 'result-evaluate.json')['metrics']
    assert {split: pytest.approx(metrics) for split, metrics in found.items()} == expected
  code, _, err = main(f'--workdir={workdir}', '--mode=evaluate', '--config.data.encoding=latin-1')
  assert code == 1 and 'the text is not the one that the model was trained on' in err
  code, out, err = main(f'--workdir={workdir}', *in_wide, '--config.train.steps=13')
  assert code == 0, err
  assert 'after 13 steps' in out
  other = tmp_path / 'other.txt'
  other.write_text(prose(seed=1), 'utf-8')
  flags = [f'--workdir={workdir}', f'--config.data.path={other}', '--config.train.steps=14']
  flags += ['--config.data.encoding=utf-8']
  code, _, err = main(*flags)
  assert code == 1
  assert 'the training data differ from those of the checkpoint' in err


def test_paths_begin_in_the_home_folder(trained, text, tmp_path, main, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  shutil.copytree(trained, tmp_path / 'run')
  shutil.copy(text, tmp_path / 'text.txt')
  flags = ['--workdir=~/run', '--mode=score', '--config.data.path=~/text.txt', '--out=~/out.tsv']
  code, out, _ = main(*flags)
  assert (code, out) == (0, '')
  assert (tmp_path / 'out.tsv').read_text('utf-8').startswith('position')
  assert workdir_lib.load('~/run').workdir == str(tmp_path / 'run')
  code, out, _ = main('--workdir=~/run')
  assert code == 0
  assert f'all of it is in {tmp_path}/run/result.json' in out
  assert not (tmp_path / '~').exists()


@pytest.mark.parametrize('field', ['data.path', 'data.valid_path', 'data.test_path'])
def test_a_text_that_is_scored_is_never_overwritten(trained, text, tmp_path, main, field):
  other = Path(shutil.copy(text, tmp_path / 'text.txt'))
  flags = '--mode=score', f'--config.{field}={other}', f'--out={other}'
  code, _, err = main(f'--workdir={trained}', *flags)
  assert code == 1 and f'out is {other}, expected another file than that of {field}' in err
  assert other.read_bytes() == text.read_bytes()


def test_data_that_are_gone_are_no_reason_to_refuse_an_output(tmp_path):
  (out := tmp_path / 'out.tsv').touch()
  data = {'path': str(tmp_path / 'gone.txt'), 'valid_path': ''}
  require_data_kept('out', str(out), data, ('path', 'valid_path'))
  with pytest.raises(
    InputError, match=f'out is {out}, expected another file than that of data.valid_path'
  ):
    require_data_kept('out', str(out), data | {'valid_path': str(out)}, ('path', 'valid_path'))


def test_starts_in_one_second_have_different_names():
  request = flags.read_request(['--experiment=char_lm:debug'])
  assert len({config.resolve(request).workdir for _ in range(5)}) == 5


def test_score_prints_the_last_split(trained, main):
  code, out, err = main(f'--workdir={trained}', '--mode=score')
  metrics = read_json(trained, 'result.json')['metrics']['test']
  assert code == 0
  assert len(out.splitlines()) == metrics['predictions'] + 2
  assert (
    err
    == f'{metrics["predictions"]} predictions, {metrics["nats_per_symbol"]:.4f} nats per symbol\n'
  )


def sample(main, workdir, *flags):
  code, out, err = main(f'--workdir={workdir}', '--mode=sample', *flags)
  assert (code, err) == (0, '')
  return out


def test_sample(trained, main):
  write = lambda *flags: sample(main, trained, *flags)
  before = files_of(trained)
  text = write('--prompt=the naïve 漢', '--length=150', '--seed=3')
  assert text.startswith('the naïve 漢')
  assert len(text) == len('the naïve 漢') + 150 + len('\n')
  assert set(text) <= set(prose())
  assert write('--prompt=the', '--length=20', '--config.model.engine=scan') == write(
    '--prompt=the', '--length=20'
  )
  assert (
    text
    == run(
      f'--workdir={trained}', '--mode=sample', '--prompt=the naïve 漢', '--length=150', '--seed=3'
    )[0]
  )
  assert text != write('--prompt=the naïve 漢', '--length=150', '--seed=4')
  assert len(write('--length=1')) == 2
  greedy = write('--length=70', '--temperature=0')
  assert greedy == write('--length=70', '--top_k=1', '--seed=8')
  assert greedy == write('--length=70', '--top_p=1e-9', '--seed=9')
  for cold in ('1e-45', '1e-39', '1e-31'):
    assert greedy == write('--length=70', f'--temperature={cold}', '--seed=9')
  free = write('--length=70', '--seed=5')
  symbols = len(set(prose())) + 1  # with the unknown one
  assert free == write('--length=70', '--seed=5', f'--top_k={symbols}')
  assert free == write('--length=70', '--seed=5', '--top_k=1000000')
  assert files_of(trained) == before


@pytest.mark.parametrize('source', ['file', 'gzip', 'pipe', '-'])
def test_a_prompt_from_a_file_is_read_to_its_last_line_end(
  trained, main, tmp_path, monkeypatch, source
):
  prompt, path = 'the naïve fox\n', tmp_path / 'prompt'
  data = f'\ufeff{prompt}'.encode()
  path.write_bytes(gzip.compress(data) if source == 'gzip' else data)
  if source == 'pipe':
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    path = f'/dev/fd/{read}'
  elif source == '-':
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(data)))
    path = '-'
  written = sample(main, trained, f'--prompt_file={path}', '--length=9')
  assert written == sample(main, trained, f'--prompt={prompt}', '--length=9')
  assert written.startswith(prompt)


def test_two_prompts_and_a_prompt_file_of_no_text_are_refused(trained, main, tmp_path):
  (tmp_path / 'prompt').write_bytes(b'caf\xe9')
  flags = f'--workdir={trained}', '--mode=sample', f'--prompt_file={tmp_path / "prompt"}'
  code, out, err = main(*flags)
  assert (code, out) == (1, '')
  assert err.startswith(f'error: prompt_file: {tmp_path}/prompt is not UTF-8 (byte 0xe9 at')
  code, out, err = main(*flags, '--prompt=the')
  assert (code, out) == (1, '')
  assert err.startswith("error: prompt is 'the' and prompt_file ")


def test_what_the_model_never_saw_of_a_prompt_is_skipped(trained, main, capsys):
  prompt, known = 'Жthe Щquick ЖЩ', 'the quick '
  code, out, err = main(f'--workdir={trained}', '--mode=sample', f'--prompt={prompt}', '--length=9')
  assert (code, out) == (0, sample(main, trained, f'--prompt={known}', '--length=9'))
  warning = "warning: prompt has 'Ж', 'Щ', skipped: never seen in training\n"
  assert err == warning
  run = workdir_lib.load(trained)
  assert run.sample(prompt, length=9) + '\n' == out
  assert capsys.readouterr().err == warning
  assert run.search(prompt, length=4) == run.search(known, length=4)
  assert capsys.readouterr().err == warning
  run.readable('ABCDEFGHIJKLM the')
  assert "'J' and 3 more, skipped" in capsys.readouterr().err


def test_samples_shown_while_training_are_compiled_once(trained):
  run = workdir_lib.load(trained)
  events, show = [], run.experiment.show
  listen = lambda event, seconds, **_: events.append(event) if 'trace' in event else None
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    first = show(run.params, jax.random.key(1))
    assert events
    events.clear()
    assert show(run.params, jax.random.key(1)) == first != show(run.params, jax.random.key(2))
    assert events == []
    run.sample(length=80, temperature=0.5)
    events.clear()
    run.sample('the ', length=9)
    events.clear()
    run.sample('fox ', length=80, seed=4)
    assert events == []
    shapes = 1  # of the state, which tell whether there is such a unit
    for call, most in (
      (lambda: run.search('the ', length=3, beam=2), 0),
      (lambda: run.sample('the ', length=9, clamp='1:h3=1'), shapes),
    ):
      first = call()
      events.clear()
      assert call() == first and len(events) <= most
  finally:
    unregister_event_duration_listener(listen)


def test_sample_bytes(make_once, text, main):
  workdir = make_once(
    'bytes',
    lambda folder: run(
      '--experiment=char_lm:debug',
      f'--config.data.path={text}',
      '--config.data.unit=byte',
      f'--workdir={folder}',
      *TINY,
      '--config.train.steps=2',
    ),
  )
  out = sample(main, workdir, '--prompt=é 漢', '--length=100')
  assert out.startswith('é 漢')
  assert len(out.encode()) >= len('é 漢'.encode()) + 100
  (workdir.parent / 'prompt').write_bytes('é 漢'.encode()[:-1])  # ends inside a character
  assert sample(main, workdir, f'--prompt_file={workdir.parent / "prompt"}').startswith('é ')


def test_sample_words(make_once, text, main):
  workdir = make_once(
    'words',
    lambda folder: run(
      '--experiment=char_lm:debug',
      f'--config.data.path={text}',
      '--config.data.unit=word',
      f'--workdir={folder}',
      *TINY,
      '--config.train.steps=2',
    ),
  )
  out = sample(main, workdir, '--prompt=the quick', '--length=100', '--temperature=3')
  assert set(out.split()) <= set(prose().split())
  assert len(out.split()) + out.count('\n') - 1 == 102
  assert len(sample(main, workdir, '--prompt= ', '--length=9').replace('\n', ' \n').split(' ')) >= 9


def test_sampling_needs_no_corpus(make_once, trained, tmp_path, main):
  values = read_json(trained, 'config.json')
  values['config']['data']['path'] = str(tmp_path / 'gone.txt')
  workdir = tmp_path / 'copy'
  workdir.mkdir()
  for name in ('best', 'checkpoints'):
    (workdir / name).symlink_to(trained / name)
  (workdir / 'config.json').write_text(json.dumps(values))
  assert len(sample(main, workdir, '--length=5')) == 6
  code, _, err = main(f'--workdir={workdir}', '--mode=evaluate')
  assert code == 1
  assert 'gone.txt' in err


def test_a_text_that_has_changed_is_not_taken_for_the_old_one(text, tmp_path, main):
  workdir, copy = tmp_path / 'run', tmp_path / 'text.txt'
  copy.write_text(text.read_text())
  of_copy = f'--config.data.path={copy}'
  run(
    '--experiment=char_lm:debug', of_copy, f'--workdir={workdir}', *TINY, '--config.train.steps=2'
  )
  copy.write_text(text.read_text().replace('the', 'teh', 1))
  for mode in ('evaluate', 'score'):
    code, _, err = main(f'--workdir={workdir}', f'--mode={mode}')
    assert code == 1
    assert 'the text is not the one that the model was trained on' in err


def test_report(main, workdir):
  shutil.rmtree(workdir / 'report')
  code, out, err = main(f'--workdir={workdir}', '--mode=report')
  assert (code, err) == (0, '')
  assert f'the report is in {workdir}/report' in out
  assert any((workdir / 'report').iterdir())


def test_more_steps_go_on(trained, workdir):
  out, _ = run(f'--workdir={workdir}', '--config.train.steps=16')
  assert 'after 16 steps' in out
  assert read_json(workdir, 'result.json')['steps'] == 16
  assert read_json(workdir, 'config.json')['config']['train']['steps'] == 16
  assert log_of(workdir)[: len(log_of(trained))] == log_of(trained)
  assert read_json(workdir, 'result.json')['seconds'] > read_json(trained, 'result.json')['seconds']


IMPORTED_TWICE = """
import importlib, sys
from absl import app, flags, logging
before = set(flags.FLAGS)
import launch, experiments, experiments.char_lm, rnn_research.launching.runs
for name in [name for name in sys.modules if name.split('.')[0] in ('launch', 'experiments', 'rnn_research')]:
  del sys.modules[name]
import launch, experiments, experiments.char_lm, rnn_research.launching.runs
try:
  launch.launch(['--list'])
  launch.launch(['--list', '--cells'])
  launch.launch(['--mode=sample', '--workdir=/nowhere'])
except ValueError as e:
  assert 'no config.json' in str(e), e
ours = {name for name in set(flags.FLAGS) - before if flags.FLAGS.find_module_defining_flag(name).split('.')[0]
        in ('launch', 'experiments', 'rnn_research', '__main__')}
assert not ours, ours
"""


def test_symbols_of_another_text_that_the_model_does_not_know_are_counted(main, workdir, tmp_path):
  other = tmp_path / 'other.txt'
  other.write_text('the Ж ' * 100, 'utf-8')
  code, _, err = main(f'--workdir={workdir}', '--mode=evaluate', f'--config.data.path={other}')
  assert code == 0
  assert err == 'warning: the model does not know 16.67% of the characters of this text\n'


def test_imports_define_no_flags(tmp_path):
  done = subprocess.run(
    [sys.executable, '-c', IMPORTED_TWICE],
    cwd=tmp_path,
    env=environment(),
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr


def test_vocabulary_is_in_the_checkpoint(trained):
  _, meta = checkpoint.read_meta(trained)
  vocabulary = codec.from_json(meta['assets']['vocabulary'])
  assert set(vocabulary.symbols[:-1]) <= set(prose())
  assert meta['config'] == read_json(trained, 'config.json')['config']


BEFORE_JAX = """
import builtins, runpy, sys
def said(*words, file=None, **options):
  if file is not sys.stderr:
    spoken(*words, 'jax' in sys.modules, file=file, **options)
spoken, builtins.print = print, said
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def test_what_is_started_is_said_before_jax_is_loaded(trained, tmp_path):
  program = ROOT / 'launch.py'
  flags = '--config.data.path=no', f'--workdir={tmp_path / "new"}'
  out, _ = run(program, *flags, code=BEFORE_JAX, fresh=True, PYTHONPATH=str(ROOT), rc=1)
  text, time = experiments.variants('char_lm')['quick']
  assert out.splitlines() == [
    f'char_lm:quick: {text} False',
    'but with data.path=no False',
    f'takes about {time} on 1 or 2 CPU cores with the data it was measured with False',
    f'writes to {tmp_path}/new; Ctrl-C stops it, the same --workdir goes on True',
  ]


@pytest.mark.parametrize(
  ('flags', 'expected'),
  [
    ([], ['char_lm:quick: ', 'takes about ']),
    (
      ['--experiment=char_lm:debug', '--config.train.steps=9'],
      ['char_lm:debug: ', 'but with train.steps=9'],
    ),
    (['--experiment=char_lm:cells'], ['char_lm:cells: ']),
    (['--experiment=gradient_flow:full'], ['gradient_flow:full: ', 'takes about ']),
    (['--experiment=nothing'], []),
    (['--experiment', 'seq2seq'], []),
    (['--list'], []),
    (['--mode=sample'], []),
    (['-h'], []),
    (['--experiment=char_lm:debug', 'word'], []),
    (['--temperature=1'], []),
    (['--workdir=TRAINED', '--experiment=seq2seq'], []),
    (['--workdir=TRAINED', '--experiment=char_lm:debug'], ['char_lm:debug']),
    (['--workdir=TRAINED'], ['char_lm:debug']),
    (['--workdir=/nowhere'], ['char_lm:quick: ', 'takes about ']),
  ],
)
def test_first_words(trained, capsys, flags, expected):
  first_words.say([flag.replace('TRAINED', str(trained)) for flag in flags])
  said = capsys.readouterr().out.splitlines()
  assert len(said) == len(expected)
  assert all(line.startswith(start) for line, start in zip(said, expected, strict=True))


def test_one_of_several_processes_speaks(monkeypatch, capsys):
  monkeypatch.setenv('JAX_PROCESS_ID', '1')
  first_words.say([])
  assert capsys.readouterr().out == ''


def test_a_damaged_workdir_is_left_to_others(workdir, capsys):
  (workdir / 'config.json').write_text('{"experiment": 3}')
  first_words.say([f'--workdir={workdir}'])
  assert capsys.readouterr().out == ''


def test_where_a_run_goes_on_is_said(workdir, main):
  code, out, _ = main(f'--workdir={workdir}', '--config.train.steps=13')
  assert code == 0
  assert out.startswith(f'goes on from step 12 in {workdir}; Ctrl-C stops it')
  for changed in ([], ['--config.train.log_every=7']):
    code, out, _ = main(f'--workdir={workdir}', *changed)
    assert out.startswith(f'finished at step 13 in {workdir}; its result again:\n')


@pytest.mark.parametrize(
  ('pages', 'told'), [(['a.md', 'README.md', 'z.md'], 'README.md'), (['own.md'], 'own.md')]
)
def test_the_first_page_of_a_report_is_told(tmp_path, capsys, pages, told):
  (tmp_path / 'report').mkdir()
  for page in pages:
    (tmp_path / 'report' / page).write_text('# A title\n\nNo picture.\n')
  words.say_report(str(tmp_path))
  assert capsys.readouterr().out == f'the report is in {tmp_path}/report/{told}\n'
  words.say_report(str(tmp_path / 'none'))
  assert capsys.readouterr().out == ''


def test_what_to_do_next_runs_as_it_is_printed(trained, tmp_path):
  """The folder of the run has a name that a shell would take apart."""
  workdir = shutil.copytree(trained, tmp_path / "it's a $run")
  out, _ = run(f'--workdir={workdir}', fresh=True)
  lines = [line for line in out.splitlines() if line.startswith('  ')]
  assert len(out.split('all of it is in')[1].splitlines()) <= 6
  opened, sampled = (shlex.split(line) for line in lines)
  assert opened[0] in ('open', 'xdg-open')
  assert opened[1] == str(workdir / 'report/loss.png')
  assert (workdir / 'report/loss.png').exists()
  done = subprocess.run(sampled, env=environment(), capture_output=True, text=True)
  assert (done.returncode, done.stderr) == (0, '')
  assert done.stdout.startswith('the ') and len(done.stdout) == len('the ') + 500 + 1


def test_help_begins_with_what_people_want(main):
  _, out, _ = main('--help')
  assert main('-h')[1] == out
  wanted = out.split('\n\n')[0].splitlines()
  assert len(wanted) == 5
  assert all(line.startswith('  python launch.py ') for line in wanted)
  _, out, _ = main('--experiment=seq2seq', '--help')
  assert 'for example --workdir=DIR --mode=translate' in out
  assert 'sample' not in out.split('\n\n')[0]


@pytest.mark.parametrize('flags', [['--list'], ['--list', '--cells'], ['--help']])
def test_nothing_is_wider_than_a_terminal(flags, main, monkeypatch):
  monkeypatch.setenv('COLUMNS', '80')
  whole = main(*flags)[1]
  monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
  out = main(*flags)[1]
  assert out.split() == whole.split()
  assert max(map(len, out.splitlines())) <= 80
