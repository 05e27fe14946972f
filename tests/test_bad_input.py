"""Mistakes on the command line and in files: one sentence on stderr, exit 1 or 2, nothing made or overwritten."""

import fcntl
import json
import os
import shutil
import sys

import jax
import numpy as np
import pytest
from launching import ROOT, TINY, arrays, files_of, prose, run

from rnn_research.training import checkpoint


def assert_refused(outcome, *said):
  """Asserts that a run ended with one sentence that has all of `said` in it."""
  code, _, err = outcome
  assert code in (1, 2)
  assert 'Traceback' not in err
  assert err.startswith('error: ')
  assert err.count('\n') == 1
  for part in said:
    assert part in err


# flags, parts of the sentence, exit code
COMMAND_LINES = {
  'experiment': (
    '--experiment=char_ml',
    ["unknown experiment 'char_ml', did you mean char_lm?"],
    1,
  ),
  'variant': (
    '--experiment=char_lm:debg',
    ["unknown variant of char_lm 'debg', did you mean debug?"],
    1,
  ),
  'block': (
    '--config.modle.cell=gru',
    ["no field 'modle'", 'did you mean --config.model?', 'model'],
    2,
  ),
  'field': (
    '--config.model.hiden_size=3',
    ['did you mean --config.model.hidden_size?', 'num_layers'],
    2,
  ),
  'field of a field': ('--config.model.cell.x=3', ["no field 'x'"], 2),
  'whole config': ('--config=3', ['--config'], 2),
  'whole block': (
    '--config.model=gru',
    ['--config.model is a block of fields, expected one of them', '--config.model.cell'],
    2,
  ),
  'block of fields': ('--config.train={}', ['--config.train is a block of fields'], 2),
  'glob without a path': (
    '--config.data.glob=*.md',
    ["data.glob is '*.md', expected data.path with it"],
    1,
  ),
  'missing flag file': ('--flagfile=gone.cfg', ['flagfile: gone.cfg cannot be read (No such'], 2),
  'folder as flag file': ('--flagfile=.', ['flagfile: . cannot be read (Is a directory)'], 2),
  'flag file of bytes': (f'--flagfile={sys.executable}', ['flagfile: it is not UTF-8'], 2),
  'value of a negated flag': ('--nocells=', ['--nocells= does not take an argument'], 2),
  'text for a switch': ('--list=x', ["--list is 'x', expected true or false"], 2),
  **{
    f'cell of {name}': (
      f'--experiment={name} --config.model.cell=lstn',
      ["model.cell is 'lstn', expected one of elman,", 'did you mean lstm?'],
      1,
    )
    for name in ('char_lm', 'seq2seq', 'long_memory', 'captioning')
  },
  'optimiser': ('--config.optimizer.name=adm', ["is 'adm'", 'did you mean adam?'], 1),
  'schedule': ('--config.optimizer.schedule=cosin', ["is 'cosin'", 'did you mean cosine?'], 1),
  'dtype': ('--config.model.dtype=bfloat', ["is 'bfloat'", 'did you mean bfloat16?'], 1),
  'unit': ('--config.data.unit=wrd', ["is 'wrd'", 'did you mean word?'], 1),
  'encoding': (
    '--config.data.path=x --config.data.encoding=latn1',
    ["data.encoding is 'latn1', expected the name of an encoding", 'did you mean latin1?'],
    1,
  ),
  'encoding that is none of text': (
    '--config.data.path=x --config.data.encoding=undefined',
    ["data.encoding is 'undefined', expected the name of an encoding"],
    1,
  ),
  'encoding of bytes': (
    '--config.data.path=x --config.data.unit=byte --config.data.encoding=latin1',
    ["data.encoding is 'latin1', expected utf-8, since there are no files of characters or words"],
    1,
  ),
  'encoding without a text': (
    '--config.data.encoding=latin1',
    ["data.encoding is 'latin1', expected utf-8"],
    1,
  ),
  'encoding of pairs': (
    '--experiment=seq2seq:luong --config.data.source=x --config.data.encoding=rot13',
    ["data.encoding is 'rot13', expected the name of an encoding", 'latin-1 or cp1252\n'],
    1,
  ),
  'encoding of made pairs': (
    '--experiment=seq2seq --config.data.encoding=latin1',
    ["data.encoding is 'latin1', expected utf-8, since there are no files of sentences"],
    1,
  ),
  'text for an integer': ('--config.model.hidden_size=big', ['config.model.hidden_size', 'big'], 2),
  'fraction for an integer': (
    '--config.train.batch_size=1.5',
    ['config.train.batch_size', '1.5'],
    2,
  ),
  'text for a number': (
    '--config.optimizer.learning_rate=fast',
    ['config.optimizer.learning_rate', 'fast'],
    2,
  ),
  'no value': ('--config.model.hidden_size', ['config.model.hidden_size'], 2),
  'type of a flag': ('--num_devices=two', ["--num_devices is 'two', expected an integer"], 2),
  'unknown flag': ('--workdri=x', ['unknown flag --workdri, did you mean --workdir?'], 2),
  'stray word': ('train', ["'train' is no flag; write --name=value"], 2),
  'stray value': ('--config.model.cell gru', ["'gru' is no flag; write --name=value"], 2),
  'flag of another mode': (
    '--prompt=x',
    ['--prompt is not used by --mode=train', '--mode=sample'],
    2,
  ),
  'cells without list': ('--cells', ['--cells belongs to --list'], 2),
  'unknown flag of list': ('--list --cell', ['unknown flag --cell, did you mean --cells?'], 2),
  'mode': ('--mode=smaple', ['smaple', '--workdir'], 2),
  'sample without workdir': ('--mode=sample', ['--mode=sample needs --workdir'], 2),
}


@pytest.mark.parametrize('case', COMMAND_LINES)
def test_command_line(main, tmp_path, monkeypatch, case):
  flags, said, code = COMMAND_LINES[case]
  monkeypatch.chdir(tmp_path)
  outcome = main(*flags.split(' '))
  assert_refused(outcome, *said)
  assert outcome[0] == code
  assert not list(tmp_path.iterdir())


def test_a_mistake_in_a_flag_file(main, tmp_path):
  (tmp_path / 'flags.cfg').write_text('--config.model.hiden_size=3\n')
  assert_refused(
    main(f'--flagfile={tmp_path / "flags.cfg"}'),
    "--config.model.hiden_size: the config has no field 'hiden_size' there",
    'did you mean --config.model.hidden_size?',
  )


@pytest.mark.parametrize('mode', ['evaluate', 'score', 'train'])
def test_a_glob_needs_its_folder_in_every_mode(main, trained, mode):
  before = files_of(trained)
  outcome = main(
    f'--workdir={trained}', f'--mode={mode}', '--config.data.path=', '--config.data.glob=*.md'
  )
  assert_refused(outcome, "data.glob is '*.md', expected data.path with it")
  assert files_of(trained) == before


def test_a_pipe_is_no_training_text(main, tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  outcome = main(f'--workdir={tmp_path / "run"}', f'--config.data.path={tmp_path / "pipe"}')
  assert_refused(outcome, 'data.path: ', 'is a pipe or a device, expected a file or folder')
  assert not (tmp_path / 'run').exists()


RANGES = [
  'seed=-1',
  'model.hidden_size=-4',
  'model.hidden_size=0',
  'model.num_layers=0',
  'model.dropout=1.5',
  'model.dropout=-0.1',
  'model.dropout=nan',
  'model.embedding_size=-1',
  'model.init_scale=-0.1',
  'model.dtype=float8',
  'data.unit=letter',
  'data.splits=most',
  'data.splits=a,b,c',
  'data.splits=(0.9,0.2,0.1)',
  'data.splits=(0.0,0.5,0.5)',
  'data.splits=(0.5,0.5)',
  'train.show_steps=end',
  'train.show_steps=-1',
  'optimizer.name=adaam',
  'optimizer.schedule=linear',
  'optimizer.learning_rate=-1',
  'optimizer.learning_rate=nan',
  'optimizer.learning_rate=0',
  'optimizer.clip_norm=-1',
  'optimizer.beta1=1',
  'optimizer.decay_factor=0',
  'optimizer.weight_decay=0.1',
  'train.batch_size=0',
  'train.unroll_length=-5',
  'train.steps=-3',
  'train.epochs=2',
  'train.micro_batches=3',
  'train.micro_batches=0',
  'train.ema_decay=1',
  'train.eval_every=-1',
  'train.log_every=0',
  'train.reset_rate=1',
  'train.steps=0',
  'model.weight_dropout=1',
]


@pytest.mark.parametrize('assignment', RANGES)
def test_numbers_out_of_range(main, text, tmp_path, assignment):
  field = assignment.split('=')[0]
  outcome = main(
    '--experiment=char_lm:debug',
    f'--workdir={tmp_path / "run"}',
    f'--config.data.path={text}',
    f'--config.{assignment}',
  )
  assert_refused(outcome, field, 'only adamw' if field == 'optimizer.weight_decay' else 'expected')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('engine', 'said'),
  [
    ('warp', "error: model.engine is 'warp', expected one of auto, scan, fused"),
    ('cudnn', "model.engine is 'cudnn', expected one of auto, scan, fused"),
    ('pallas', "engine 'pallas' cannot run: "),
    (
      'fused --config.model.cell=lru',
      "model.engine is 'fused', expected one of auto, scan, linear, newton, shooting for lru",
    ),
    (
      'fused --config.model.cell=mgu',
      "model.engine is 'fused', expected one of auto, scan, newton, shooting for mgu",
    ),
    (
      'auto --config.model.cell=lru --config.model.weight_dropout=0.3',
      'no weights w_h* in LRUParams',
    ),
  ],
)
def test_an_engine_that_cannot_run(main, text, tmp_path, engine, said):
  if jax.default_backend() == 'gpu':
    pytest.skip('there it may run')
  outcome = main(
    '--experiment=char_lm:debug',
    f'--workdir={tmp_path / "run"}',
    f'--config.data.path={text}',
    *f'--config.model.engine={engine}'.split(),
  )
  assert_refused(outcome, said)
  # What is wrong with the flag is said before where the run is written.
  assert ('writes to' in outcome[1]) == ('model.engine' not in said)
  assert not list(tmp_path.iterdir())


def test_warm_up_longer_than_the_run(main, text, tmp_path):
  outcome = main(
    f'--workdir={tmp_path / "run"}', f'--config.data.path={text}', *TINY, '--config.train.steps=50'
  )
  assert_refused(outcome, 'optimizer.warmup_steps is 100', '50')
  assert not list(tmp_path.iterdir())


TEXTS = {
  'missing': (None, ['data.path', 'there is no file or folder']),
  'empty': (b'', ['data.path', 'is empty']),
  'binary': (b'text \0 text', ['data.path', 'is binary', 'offset 5', '--config.data.unit=byte']),
  'latin-1': ('some café'.encode('latin-1'), ['data.path', 'is not UTF-8', '0xe9', 'offset 8']),
  'one symbol': (b'x', ['split has 0 symbols', 'use a longer text']),
  'short': (
    prose(60).encode()[:300],
    ['the training text has', 'largest batch_size x unroll_length that fits is', '16 x 16 is 256'],
  ),
}


@pytest.mark.parametrize('case', TEXTS)
def test_texts(main, tmp_path, case):
  content, said = TEXTS[case]
  path = tmp_path / 'text.txt'
  if content is not None:
    path.write_bytes(content)
  before = files_of(tmp_path)
  outcome = main(
    '--experiment=char_lm:debug', f'--workdir={tmp_path / "run"}', f'--config.data.path={path}'
  )
  assert_refused(outcome, *said)
  assert files_of(tmp_path) == before
  assert not (tmp_path / 'run').exists()


def test_a_text_that_just_fits_is_not_refused(main, tmp_path):
  """The sentence about short texts names the exact limit."""
  path = tmp_path / 'text.txt'
  path.write_text('ab' * 500)
  flags = [
    '--experiment=char_lm:debug',
    f'--workdir={tmp_path / "run"}',
    f'--config.data.path={path}',
    '--config.train.unroll_length=1',
    '--config.train.steps=1',
    '--num_devices=7',
  ]
  assert_refused(main(*flags, '--config.train.batch_size=900'), 'fits is 899,')
  assert_refused(main(*flags, '--config.train.batch_size=899'), 'num_devices')


# mode and flags of a trained workdir, parts of the sentence, exit code
TRAINED = {
  'unseen character': (
    'sample --prompt=ЖЩ',
    ["prompt has nothing but 'Ж', 'Щ', which the model never saw in training"],
    1,
  ),
  'missing prompt': ('sample --prompt_file=p.txt', ['prompt_file: there is no file'], 1),
  'folder of prompts': ('sample --prompt_file=.', ['prompt_file: . is a folder'], 1),
  'length': ('sample --length=0', ['length is 0'], 1),
  'temperature': ('sample --temperature=-1', ['temperature is -1'], 1),
  'nan': ('sample --temperature=nan', ['temperature is nan'], 1),
  'top_k': ('sample --top_k=-2', ['top_k is -2'], 1),
  'top_p': ('sample --top_p=0', ['top_p is 0'], 1),
  'seed': ('sample --seed=-2', ['seed is -2'], 1),
  'type': ('sample --length=long', ['length', 'long'], 2),
  'flag of train': ('sample --num_devices=2', ['--num_devices belongs to --mode=train'], 2),
  'flag of sample': (
    'evaluate --prompt=x',
    ['--prompt is not used by --mode=evaluate', '--mode=sample'],
    2,
  ),
  'mode': (
    'smaple',
    ["mode is 'smaple', expected one of train, evaluate, report, sample", 'did you mean sample?'],
    2,
  ),
  'model': (
    'evaluate --config.model.hidden_size=9',
    ['another model.hidden_size (8 in the workdir, now 9)'],
    1,
  ),
  'unit': ('evaluate --config.data.unit=byte', ['another data.unit'], 1),
  'missing text': ('evaluate --config.data.path=gone.txt', ['data.path', 'gone.txt'], 1),
  'experiment': (
    'train --experiment=char_lm:quick',
    ['--experiment=char_lm:quick', 'belongs to char_lm:debug'],
    2,
  ),
  'table': ('score --out=no/such/folder.tsv', ['out: no/such/folder.tsv cannot be written'], 1),
}


@pytest.mark.parametrize('case', TRAINED)
def test_trained_workdir(main, trained, tmp_path, monkeypatch, case):
  flags, said, code = TRAINED[case]
  monkeypatch.chdir(tmp_path)
  mode, _, flag = flags.partition(' ')
  before = files_of(trained)
  outcome = main(f'--workdir={trained}', f'--mode={mode}', *([flag] if flag else []))
  assert_refused(outcome, *said)
  assert outcome[:2] == (code, '')
  assert files_of(trained) == before


@pytest.mark.parametrize('mode', ['sample', 'evaluate', 'report', 'score'])
def test_empty_workdir(main, tmp_path, mode):
  assert_refused(
    main(f'--workdir={tmp_path}', f'--mode={mode}'),
    f'--mode={mode} needs --workdir',
    'no config.json',
  )
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('mode', ['sample', 'evaluate', 'report', 'score'])
def test_workdir_without_checkpoint(main, workdir, mode):
  for name in ('checkpoints', 'best', 'report'):
    shutil.rmtree(workdir / name)
  before = files_of(workdir)
  assert_refused(
    main(f'--workdir={workdir}', f'--mode={mode}'), str(workdir), 'holds no readable checkpoint'
  )
  assert files_of(workdir) == before


CONFIGS = {
  'cut': '{"experiment": "char_lm:debug", "con',
  'list': '[1, 2]',
  'without config': '{"experiment": "char_lm:debug"}',
  'wrong type': '{"experiment": "char_lm:debug", "config": {"model": {"hidden_size": "wide"}}}',
  'another experiment': '{"experiment": "char_ml:debug", "config": {}}',
  'binary': '\udcff\udcfe',
}


@pytest.mark.parametrize('case', CONFIGS)
def test_damaged_config(main, workdir, case):
  (workdir / 'config.json').write_text(CONFIGS[case], 'utf-8', 'surrogateescape')
  before = files_of(workdir)
  for mode in ('train', 'sample'):
    outcome = main(f'--workdir={workdir}', f'--mode={mode}')
    assert_refused(outcome, str(workdir / 'config.json'), 'is not the config of a run')
  assert files_of(workdir) == before


def test_another_network_than_the_checkpoint(main, workdir):
  """A config.json changed by hand, or of an earlier version: the checkpoint still knows better."""
  values = json.loads((workdir / 'config.json').read_text())
  values['git_hash'] = '12345678' * 5
  values['config']['model']['hidden_size'] = 9
  (workdir / 'config.json').write_text(json.dumps(values))
  before = files_of(workdir)
  for flag in ('--config.train.steps=13', '--mode=sample'):
    outcome = main(f'--workdir={workdir}', flag)
    assert outcome[0] == 1
    assert 'Traceback' not in outcome[2]
    assert 'does not fit this run' in outcome[2]
    assert 'train it anew, or use the version that trained it (git 1234567)\n' in outcome[2]
  assert files_of(workdir) == before


@pytest.mark.parametrize('where', ['file', 'file/below', 'taken'])
def test_unwritable_workdir(main, text, tmp_path, where):
  (tmp_path / 'file').write_text('mine')
  (tmp_path / 'taken').mkdir()
  (tmp_path / 'taken' / 'checkpoints').write_text('mine too')
  before = files_of(tmp_path)
  outcome = main(
    '--experiment=char_lm:debug',
    f'--workdir={tmp_path / where}',
    f'--config.data.path={text}',
    *TINY,
  )
  assert_refused(outcome, str(tmp_path / where), 'cannot be made')
  assert files_of(tmp_path) == before


def test_device_count_that_does_not_divide(text, tmp_path):
  _, err = run(
    '--experiment=char_lm:debug',
    f'--workdir={tmp_path / "run"}',
    f'--config.data.path={text}',
    *TINY,
    '--num_devices=3',
    rc=1,
  )
  assert err == 'error: num_devices is 3, which does not divide the batch of 4\n'
  assert not list(tmp_path.iterdir())


def diverge(text, workdir, *more):
  """Trains ReLU units at a rate at which every step multiplies them."""
  return (
    1,
    *run(
      '--experiment=char_lm:debug',
      f'--workdir={workdir}',
      f'--config.data.path={text}',
      *TINY,
      *more,
      '--config.model.cell=irnn',
      '--config.optimizer.name=sgd',
      '--config.optimizer.learning_rate=1e12',
      '--config.optimizer.clip_norm=0',
      '--config.train.log_every=100',
      rc=1,
    ),
  )


def test_loss_that_is_not_a_number(text, tmp_path):
  outcome = diverge(text, tmp_path, '--config.train.checkpoint_every=1')
  assert_refused(
    outcome,
    'step 2: the loss is ',
    'the gradient norm is ',
    'the last good checkpoint is that of step 1;',
    'lower optimizer.learning_rate',
  )
  assert [path.name for path in (tmp_path / 'checkpoints').iterdir()] == ['1']
  assert all(np.isfinite(array).all() for array in arrays(tmp_path, 1).values())
  assert not (tmp_path / 'best').exists()
  assert not (tmp_path / 'result.json').exists()


def test_a_failed_start_does_not_bind_the_workdir(text, tmp_path):
  diverge(text, tmp_path)
  run(
    '--experiment=char_lm:debug',
    f'--workdir={tmp_path}',
    f'--config.data.path={text}',
    *TINY,
    '--config.train.steps=4',
  )
  assert json.loads((tmp_path / 'result.json').read_text())['config']['optimizer']['name'] == 'adam'


def test_a_workdir_in_use(main, text, tmp_path):
  folder = os.open(tmp_path, os.O_RDONLY)
  fcntl.flock(folder, fcntl.LOCK_EX)
  outcome = main(
    '--experiment=char_lm:debug', f'--workdir={tmp_path}', f'--config.data.path={text}', *TINY
  )
  os.close(folder)
  assert_refused(outcome, 'is in use by another run')
  assert not list(tmp_path.iterdir())


def test_evaluation_that_is_not_a_number(text, tmp_path):
  outcome = diverge(text, tmp_path, '--config.train.eval_every=1')
  assert_refused(outcome, 'step 1: valid/nats_per_symbol is ', 'there is no checkpoint yet')
  assert not (tmp_path / 'best').exists()


FULL_DISK = f"""
import resource, sys
sys.path.insert(0, {str(ROOT)!r})
import launch
from rnn_research.training import checkpoint
save, calls = checkpoint.save, []
def nearly_full(*args):
  calls.append(1)
  if len(calls) == 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
  save(*args)
checkpoint.save = nearly_full
sys.exit(launch.main(None))
"""


def test_full_disk(text, tmp_path):
  flags = [
    '--experiment=char_lm:debug',
    f'--workdir={tmp_path}',
    f'--config.data.path={text}',
    *TINY,
    '--config.train.steps=12',
    '--config.train.log_every=100',
  ]
  _, err = run(*flags, code=FULL_DISK, rc=1)
  assert_refused(
    (1, '', err), 'step 8 could not be saved', 'MiB free', 'earlier checkpoints are intact'
  )
  assert checkpoint.read_meta(tmp_path)[0] == 4
  assert arrays(tmp_path, 4)
  out, _ = run(f'--workdir={tmp_path}')
  assert 'after 12 steps' in out


@pytest.mark.parametrize(
  ('error', 'code', 'said'),
  [
    (
      jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\nand on'),
      1,
      'smaller model',
    ),
    (KeyboardInterrupt(), 130, 'interrupted'),
  ],
)
def test_nobody_needs_a_traceback_of(main, trained, monkeypatch, error, code, said):
  def stop(*args):
    raise error

  monkeypatch.setattr(checkpoint, 'restore_params', stop)
  found, _, err = main(f'--workdir={trained}', '--mode=sample')
  assert found == code
  assert said in err
  assert 'Traceback' not in err


def test_an_error_of_the_system_is_a_sentence(main, trained, monkeypatch):
  def stop(*args):
    raise PermissionError(13, 'Permission denied', '/data/x')

  monkeypatch.setattr(checkpoint, 'restore_params', stop)
  outcome = main(f'--workdir={trained}', '--mode=sample')
  assert_refused(outcome, 'error: /data/x cannot be used (Permission denied)')


def test_a_mistake_of_the_program_keeps_its_traceback(main, trained, monkeypatch):
  def broken(*args):
    raise ValueError('not for people')

  monkeypatch.setattr(checkpoint, 'restore_params', broken)
  with pytest.raises(ValueError, match='not for people'):
    main(f'--workdir={trained}', '--mode=sample')
