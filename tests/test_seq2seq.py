"""`seq2seq` through the launcher: two files in, a translator out; its modes and what it refuses."""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from launching import ROOT, environment, files_of, log_of, read_json, run

import experiments
from rnn_research import workdir as workdir_lib
from rnn_research.data.codec import SPECIALS, TextCodec
from rnn_research.errors import InputError
from rnn_research.models.decoders import DECODERS
from rnn_research.tasks.translation import commands, corpus, synthetic
from rnn_research.training import progress

TINY = [
  '--experiment=seq2seq:debug',
  '--config.data.task=',
  '--config.data.splits=(0.8,0.1,0.1)',
  '--config.train.batch_tokens=100',
  '--config.train.show_steps=()',
  '--config.train.eval_every=6',
  '--config.train.log_every=3',
  '--config.data.buckets=2',
]


def write_pairs(folder, count=120, seed=0):
  """Writes two aligned files, one of them compressed, and returns them."""
  pairs = synthetic.draw('reverse', count, seed)
  source, target = folder / 'train.xx', folder / 'train.yy.gz'
  source.write_text('\n'.join(pairs.sources) + '\n', 'utf-8')
  target.write_bytes(gzip.compress(('\n'.join(pairs.targets) + '\n').encode()))
  return source, target


def flags_of(source, target):
  return [*TINY, f'--config.data.source={source}', f'--config.data.target={target}']


@pytest.fixture(scope='module')
def files(make_once):
  return write_pairs(make_once('pairs', write_pairs))


@pytest.fixture(scope='module')
def translated(make_once, files):
  """Returns a workdir in which a tiny translator was trained for 12 steps; not to be changed."""

  def make(folder):
    out, _ = run(*flags_of(*files), f'--workdir={folder}', '--config.train.steps=12')
    (folder / 'stdout.txt').write_text(out, 'utf-8')

  return make_once('translated', make)


OPTIONS = {
  'sutskever': [
    '--config.model.decoder=sutskever',
    '--config.model.cell=lstm',
    '--config.model.num_layers=2',
    '--config.model.bidirectional=false',
    '--config.model.reversed_source=true',
    '--config.model.dropout=0.2',
  ],
  'luong': [
    '--config.model.decoder=luong',
    '--config.model.score=general',
    '--config.train.sampling_rate=0.5',
    '--config.train.sampling_steps=4',
    '--config.train.label_smoothing=0.1',
    '--config.model.dropout=0.2',
    '--config.model.readout_size=8',
    '--config.model.tied=true',
    '--config.data.unit=char',
  ],
}


@pytest.fixture(scope='module')
def varied(make_once, files):
  """Returns `(name) -> workdir` in which a translator was trained with these options; not to be changed."""
  few = '--config.train.steps=4', '--config.data.buckets=1'

  def make(name):
    def fill(folder):
      out, _ = run(*flags_of(*files), f'--workdir={folder}', *few, *OPTIONS[name])
      (folder / 'stdout.txt').write_text(out, 'utf-8')

    return make_once(f'translated_{name}', fill)

  return make


@pytest.fixture
def workdir(translated, tmp_path):
  return shutil.copytree(translated, tmp_path / 'workdir')


def test_two_files_make_a_translator(translated):
  out = (translated / 'stdout.txt').read_text('utf-8')
  before = out[: out.index('step 6/12')]
  assert 'train: 96 pairs; unknown symbols 0.00% in sources' in before
  assert 'words (xx) to' in before and 'words (yy)' in before
  assert 'compiling for batches of 2 shapes' in before
  assert 'nrefs:1|' in out
  result = read_json(translated, 'result.json')
  assert result['metrics'].keys() == {'valid', 'test'}
  for split in result['metrics'].values():
    assert split.keys() == {
      'nats_per_symbol',
      'perplexity',
      'bleu',
      'bleu_beam5',
      'exact',
      'bleu_signature',
    }
    assert split['perplexity'] == pytest.approx(np.exp(split['nats_per_symbol']))
    assert split['nats_per_symbol'] < 3.5  # 29 symbols: 3.37 without any idea
  assert result['headline'] == ['valid', 'bleu', 'max']
  assert {path.name for path in (translated / 'report').iterdir()} >= {
    'README.md',
    'loss.png',
    'alignments.png',
  }
  assert all('valid/bleu' in line for line in log_of(translated) if 'valid/nats_per_symbol' in line)


def test_early_stopping_ends_the_run_and_is_remembered(files, tmp_path):
  flags = [
    *flags_of(*files),
    f'--workdir={tmp_path}',
    '--config.train.steps=60',
    '--config.train.eval_every=2',
    '--config.train.stop_after=2',
    '--config.optimizer.learning_rate=1e-9',
    '--config.data.buckets=1',
  ]
  out, _ = run(*flags)
  assert 'stopped after step 6: 2 evaluations in a row were not better than that of step 2' in out
  assert read_json(tmp_path, 'result.json')['steps'] == 6
  before = files_of(tmp_path)
  run(*flags)
  assert files_of(tmp_path) == before


def test_translates_a_file(main, translated, tmp_path):
  lines = ['a b c d e', '', '  q w e r t y\r', ' '.join('abcdefg' * 10)]
  (tmp_path / 'in.xx').write_text('\n'.join(lines) + '\n', 'utf-8')
  code, out, err = main(
    '--mode=translate',
    f'--workdir={translated}',
    f'--input={tmp_path / "in.xx"}',
    f'--output={tmp_path / "out.yy"}',
  )
  assert (code, out) == (0, '')
  written = (tmp_path / 'out.yy').read_text('utf-8').split('\n')
  said = [bool(line) for line in written]
  assert len(said) == 5 and not said[1] and not said[4] and any(said)  # line by line, and no more
  assert 'warning: empty lines, 1 of them, have empty translations' in err
  assert 'warning: lines of more than 50 symbols (data.max_length), 1 of them, were cut' in err
  assert '4 lines translated' in err


def test_reads_files_in_another_encoding(main, translated, tmp_path):
  (tmp_path / 'in').write_text('a b c\nd e\n', 'utf-16')
  (tmp_path / 'pairs.tsv').write_text('a b c\tc b a\n', 'utf-16')
  runs = (
    ['--mode=translate', f'--input={tmp_path / "in"}', '--beam_size=1'],
    [
      '--mode=score',
      f'--source={tmp_path / "pairs.tsv"}',
    ],
  )
  for flags, said in zip(runs, ('2 lines translated', '1 pairs, '), strict=True):
    flags = [f'--workdir={translated}', *flags]
    code, _, err = main(*flags, '--encoding=utf-16')
    assert code == 0 and said in err, err
    code, out, err = main(*flags)
    assert (code, out) == (1, '')
    assert 'is binary (a NUL byte at offset 3), expected UTF-8 text; name its encoding with ' in err
    assert err.endswith('--encoding, such as utf-16\n')
    code, out, err = main(*flags, '--encoding=latn1')
    assert (code, out) == (1, '')
    assert err.startswith("error: encoding is 'latn1', expected the name of an encoding of text")


def test_what_was_translated_before_an_interrupt_is_kept(main, translated, tmp_path, monkeypatch):
  make, calls = commands.translator, []

  def interrupted(*args):
    run = make(*args)

    def translate(params, texts, key):
      calls.append(len(texts))
      if len(calls) == 2:
        raise KeyboardInterrupt
      return run(params, texts, key)

    return translate

  monkeypatch.setattr(commands, 'translator', interrupted)
  (tmp_path / 'in').write_text('a b c d e\n' * 300, 'utf-8')
  code, _, _ = main(
    '--mode=translate',
    f'--workdir={translated}',
    f'--input={tmp_path / "in"}',
    '--beam_size=1',
    f'--output={tmp_path / "out"}',
  )
  assert code == 130
  assert calls == [256, 44]
  assert len((tmp_path / 'out').read_text('utf-8').splitlines()) == 256


def test_n_best_lists_carry_line_numbers_and_falling_scores(main, translated, tmp_path):
  (tmp_path / 'in').write_text('a b c d e\nq w e r t y', 'utf-8')
  _, out, _ = main(
    '--mode=translate',
    f'--workdir={translated}',
    f'--input={tmp_path / "in"}',
    '--beam_size=4',
    '--n_best=3',
  )
  rows = [line.split('\t') for line in out.splitlines()]
  assert [row[0] for row in rows] == ['1'] * 3 + ['2'] * 3
  scores = [float(row[1]) for row in rows]
  assert scores[:3] == sorted(scores[:3], reverse=True)
  assert len({row[2] for row in rows[:3]}) == 3


def test_translates_standard_input(translated):
  launch = [
    sys.executable,
    ROOT / 'launch.py',
    '--mode=translate',
    f'--workdir={translated}',
    '--beam_size=1',
  ]
  done = subprocess.run(
    launch,
    input='a b c\nd e f g',
    capture_output=True,
    text=True,
    env=environment(),
    timeout=600,
  )
  assert done.returncode == 0, done.stderr
  assert len(done.stdout.splitlines()) == 2


def test_translations_that_do_not_end_are_counted(main, translated, tmp_path, monkeypatch):
  (tmp_path / 'in').write_text('a b c\n\nd e\n', 'utf-8')
  flags = '--mode=translate', f'--workdir={translated}', f'--input={tmp_path / "in"}'
  made = commands.translator

  def unending(*args):
    run = made(*args)
    cut = lambda one: one._replace(symbols=[s for s in one.symbols if s != '<eos>'])
    return lambda *given: [[cut(one) for one in found] for found in run(*given)]

  monkeypatch.setattr(commands, 'translator', unending)
  said = 'translations, 2 of them, were cut off at twice the symbols of their line plus 10'
  assert said in main(*flags)[2]


@pytest.mark.parametrize('source', ['empty file', '/dev/null', 'empty standard input', 'pipe'])
def test_translates_what_can_be_read_to_its_end(main, translated, tmp_path, monkeypatch, source):
  written, path = b'a b c\nd e\n' if source == 'pipe' else b'', source
  if source == 'empty file':
    (tmp_path / 'in').touch()
    path = tmp_path / 'in'
  elif source == 'pipe':
    read, write = os.pipe()
    os.write(write, written)
    os.close(write)
    path = f'/dev/fd/{read}'
  elif source == 'empty standard input':
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO()))
    path = '-'
  code, out, err = main('--mode=translate', f'--workdir={translated}', f'--input={path}')
  lines = written.count(b'\n')
  assert code == 0 and err.endswith(f'{lines} lines translated\n')
  assert len(out.splitlines()) == lines


def test_what_is_worth_knowing_of_the_data_is_not_printed_by_the_experiment(files, capsys):
  values = experiments.get_config('seq2seq:debug')
  data = experiments.build('seq2seq:debug', values).train_data()
  assert data.about.startswith('train: 360 pairs; unknown symbols')
  assert capsys.readouterr() == ('', '')


def test_draws_translations_from_a_seed(main, translated, tmp_path):
  (tmp_path / 'in').write_text('a b c d e\n' * 3, 'utf-8')
  drawn = [
    main(
      '--mode=translate',
      f'--workdir={translated}',
      f'--input={tmp_path / "in"}',
      '--temperature=1.0',
      f'--seed={seed}',
    )[1]
    for seed in (0, 0, 1)
  ]
  assert drawn[0] == drawn[1] != drawn[2]
  assert len(set(drawn[0].splitlines())) == 3


def test_scores_pairs(main, translated, tmp_path):
  (tmp_path / 'pairs.tsv').write_text('a b c\tc b a\nd e\te d\n\t\n', 'utf-8')
  code, out, err = main(
    '--mode=score', f'--workdir={translated}', f'--source={tmp_path / "pairs.tsv"}'
  )
  rows = [line.split('\t') for line in out.splitlines()]
  assert code == 0
  assert rows[0] == ['log_probability', 'symbols', 'source', 'target']
  assert [row[1:] for row in rows[1:]] == [['4', 'a b c', 'c b a'], ['3', 'd e', 'e d']]
  per_symbol = -sum(float(row[0]) for row in rows[1:]) / 7
  assert err.startswith('2 pairs, 1 empty ones left out, ')
  assert float(err.split(' out, ')[1].split()[0]) == pytest.approx(per_symbol, abs=6e-5)


def test_what_a_run_reads_is_never_overwritten(main, workdir):
  data = read_json(workdir, 'config.json')['config']['data']
  for field in ('source', 'target', 'valid_source'):
    if data[field]:
      before = Path(data[field]).read_bytes()
      code, _, err = main(
        '--mode=score', f'--workdir={workdir}', '--split=valid', f'--out={data[field]}'
      )
      said = f'out is {data[field]}, expected another file than that of data.{field}'
      assert code == 1 and said in err
      assert Path(data[field]).read_bytes() == before


def test_lists_of_sentences_may_be_of_any_kind(translated):
  run = workdir_lib.load(translated)
  texts = ['a b c', 'd e']
  assert run.translate(iter(texts), beam_size=1) == run.translate(texts, beam_size=1)
  assert list(run.score(iter(texts), iter(texts))) == list(run.score(texts, texts))
  for wrong in ({'beam_size': 2.5}, {'n_best': 1.5}):
    (name,) = wrong
    with pytest.raises(InputError, match=f'^{name} is .*, expected an integer'):
      run.translate(texts, **wrong)


def test_scores_a_held_out_split(main, translated):
  code, out, err = main('--mode=score', f'--workdir={translated}', '--split=valid')
  rows = [line.split('\t') for line in out.splitlines()[1:]]
  run = workdir_lib.load(translated)
  pairs = run.pairs('valid')
  assert code == 0 and len(rows) == 12, err
  assert [row[2:] for row in rows] == list(map(list, zip(*pairs[:2], strict=True)))
  assert [float(row[0]) for row in rows] == pytest.approx(run.score(split='valid'), abs=1e-6)
  measured = read_json(translated, 'result.json')['metrics']['valid']['nats_per_symbol']
  assert f'{measured:.4f} nats per target symbol' in err
  with pytest.raises(InputError, match="split is 'tset', expected one of valid, test, did you"):
    run.score(split='tset')
  with pytest.raises(InputError, match="split is 'test', expected none where pairs are given"):
    run.score(['a'], ['b'], split='test')


def test_evaluates_and_reports_again(main, workdir, monkeypatch):
  monkeypatch.setattr(progress, '_LONG', -1.0)
  saved = read_json(workdir, 'result.json')['metrics']
  code, _, err = main('--mode=evaluate', f'--workdir={workdir}')
  assert code == 0
  count = len(workdir_lib.load(workdir).pairs('valid')[0])
  for unit in ('pairs', 'sentences'):
    assert f'{count} {unit} take about 0:00:0' in err
  again = read_json(workdir, 'result-evaluate.json')['metrics']
  assert again['test'] == pytest.approx(saved['test'])
  shutil.rmtree(workdir / 'report')
  assert main('--mode=report', f'--workdir={workdir}')[0] == 0
  assert 'nrefs:1|' in (workdir / 'report' / 'README.md').read_text('utf-8')


def test_evaluates_other_files_without_the_training_files(main, workdir, tmp_path):
  pairs = synthetic.draw('reverse', 20, 7)
  files = [
    f'--config.data.{split}_{side}={tmp_path / side}'
    for split in ('valid', 'test')
    for side in ('source', 'target')
  ]
  for side, texts in (('source', pairs.sources), ('target', pairs.targets)):
    (tmp_path / side).write_text('\n'.join(texts), 'utf-8')
  code, _, err = main(
    '--mode=evaluate', f'--workdir={workdir}', '--config.data.source=gone', *files
  )
  assert code == 0, err
  metrics = read_json(workdir, 'result-evaluate.json')['metrics']
  assert metrics['valid'] == metrics['test'] != read_json(workdir, 'result.json')['metrics']['test']
  other = write_pairs(tmp_path, seed=5)
  code, _, err = main(
    '--mode=evaluate',
    f'--workdir={workdir}',
    f'--config.data.source={other[0]}',
    f'--config.data.target={other[1]}',
  )
  assert code == 1
  assert 'are not the pairs that the model was trained on' in err


def test_a_target_file_needs_its_source(main, files, tmp_path):
  code, _, err = main(*flags_of(*files), f'--workdir={tmp_path}', '--config.data.test_target=x.yy')
  assert code == 1
  assert "data.test_target is 'x.yy', expected data.test_source with it" in err


def test_references_are_in_the_form_of_the_output():
  codec = corpus.Codec(*(TextCodec('sentences', 'word', SPECIALS, True),) * 2, ('', ''))
  assert corpus.references(codec, [unicodedata.normalize('NFD', 'Für Élise')]) == ['für élise']


BAD = {
  'no data': ({}, ["data.source is '', expected a file of source sentences"]),
  'different lengths': (
    {'short.yy': 'a\nb\n'},
    ['has 120 lines and', 'has 2, expected as many', 'suspicious line is'],
  ),
  'not utf-8': ({'bad.yy': b'\xff\xfe' * 9}, ['bad.yy is not UTF-8 (byte 0xff at offset 0)']),
  'no tab': ({'pairs.tsv': 'a b c\n'}, ['pairs.tsv has 0 tabs in line 1, expected one']),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_data_is_one_sentence(main, files, tmp_path, name):
  contents, expected = BAD[name]
  source, target = files
  for file, content in contents.items():
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    source, target = (tmp_path / file, '') if file.endswith('tsv') else (source, tmp_path / file)
  data = flags_of(source, target) if contents else TINY
  code, _, err = main(*data, f'--workdir={tmp_path / "run"}')
  assert code == 1
  assert all(part in err for part in expected), err
  assert len(err.strip().splitlines()) == 1
  assert not (tmp_path / 'run').exists()


FIELDS = {
  'data.splits=(0.9,0.2,0.1)': 'data.splits is (0.9, 0.2, 0.1), whose sum is 1.2, expected 1',
  'data.unit=letters': "data.unit is 'letters', expected one of word, char, subword",
  'data.unit=subword': 'data.vocabulary_size is 0, expected a number of symbols above 0 for subwords',
  'data.task=count': "data.task is 'count', expected one of reverse, sort, dates",
  'data.max_length=2': 'data.max_length is 2, but every training pair has a side of more symbols',
  'model.cell=lru': "model.cell is 'lru', expected a cell whose state has an h",
  'model.score=dot': "model.score is 'dot', expected general or additive where model.bidirectional is True",
  'data.min_frequency=100000': 'data.min_frequency is 100000, but no symbol of the training sentences occurs',
  'data.source=x.de': "data.task is 'reverse' and data.source is given too, expected one of them",
  'data.valid_target=x.de': "data.task is 'reverse' and data.valid_target is given too, expected one of them",
  'model.decoder=bart': f"model.decoder is 'bart', expected one of {', '.join(DECODERS)}\n",
  'model.decoder=lung': f"model.decoder is 'lung', expected one of {', '.join(DECODERS)}, did you mean luong?",
  'model.score=genral': 'expected one of additive, general, dot, did you mean general?',
  'model.engine=fusde': 'newton, shooting for gru, did you mean fused?',
  'data.unit=subwords': 'expected one of word, char, subword, did you mean subword?',
  'data.task=revers': 'expected one of reverse, sort, dates, did you mean reverse?',
  'model.score=cosine': "model.score is 'cosine', expected one of additive, general, dot",
  'model.reversed_source=true': 'model.reversed_source is True, expected False where the encoder is bidirectional',
  'model.tied=true': 'model.readout_size is 0, expected model.embedding_size, 8, since model.tied is true',
  'train.label_smoothing=1': 'train.label_smoothing is 1.0, expected a number in [0, 1)',
  'train.sampling_rate=2': 'train.sampling_rate is 2.0, expected a number in [0, 1]',
  'train.stop_after=-1': 'train.stop_after is -1, expected an integer >= 0',
}


@pytest.mark.parametrize('field', FIELDS)
def test_fields_out_of_range(main, tmp_path, field):
  code, _, err = main(
    '--experiment=seq2seq:debug', f'--workdir={tmp_path / "run"}', f'--config.{field}'
  )
  assert code == 1
  assert FIELDS[field] in err
  assert len(err.strip().splitlines()) == 1
  assert not (tmp_path / 'run' / 'checkpoints').exists()


def test_a_new_decoder_that_attends_is_known_to(main, tmp_path, monkeypatch):
  monkeypatch.setitem(DECODERS, 'mine', DECODERS['luong'])
  flags = f'--experiment=seq2seq:debug --workdir={tmp_path} --config.model.decoder=mine'.split()
  code, _, err = main(*flags, '--config.model.score=dot')
  assert code == 1
  assert "model.score is 'dot', expected general or additive" in err


COMMANDS = {
  '--mode=translate --beam_size=0': 'beam_size is 0, expected an integer >= 1',
  '--mode=translate --n_best=9': 'n_best is 9, expected an integer in [1, 5], the beam_size',
  '--mode=translate --length_penalty=-1': 'length_penalty is -1.0, expected a number >= 0',
  '--mode=translate --input=nowhere.xx': "input: there is no file or folder 'nowhere.xx'",
  '--mode=translate --input=text.yy': 'input is text.yy, which is named after yy, expected xx',
  '--mode=translate --n_best=2 --temperature=1.0': 'n_best is 2, expected 1 where translations are drawn',
  '--mode=translate --beam_size=2 --temperature=1': 'beam_size is 2, expected 5, since it is not used where',
  '--mode=translate --length_penalty=0 --temperature=1': 'length_penalty is 0.0, expected 1.0, since it is not used where',
  '--mode=translate --coverage_penalty=1 --temperature=1': 'coverage_penalty is 1.0, expected 0.0, since it is not used where',
  '--mode=score --split=valid --encoding=latin-1': "encoding is 'latin-1', expected utf-8 where a split is",
  '--mode=translate --temperature=-1': 'temperature is -1.0, expected a number >= 0',
  '--mode=translate --input=.': 'input: . is a folder, expected a text file',
  '--mode=translate --input=text.xx --output=nowhere/out': 'output: nowhere/out cannot be written (No such file',
  '--mode=translate --input=text.xx --output=text.xx': 'output is text.xx, expected another file than that of input',
  '--mode=score --source=text.xx --target=text.xx --out=nowhere/out': 'out: nowhere/out cannot be written (No such',
  '--mode=score --source=text.xx --target=text.yy --out=text.xx': 'out is text.xx, expected another file than that of source',
  '--mode=score --source=text.xx --target=text.yy --out=text.yy': 'out is text.yy, expected another file than that of target',
  '--mode=score --source=text.yy --target=text.xx': 'source is text.yy, which is named after yy, expected xx',
  '--mode=score': "source is '', expected a file of sentences",
}


@pytest.mark.parametrize('words', COMMANDS)
def test_commands_refuse_in_one_sentence(main, translated, words, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for language in ('xx', 'yy'):
    (tmp_path / f'text.{language}').write_text('a b c\n', 'utf-8')
  code, out, err = main(f'--workdir={translated}', *words.split())
  assert (code, out) == (1, '')
  assert COMMANDS[words] in err
  assert len(err.strip().splitlines()) == 1
  assert {path.read_text('utf-8') for path in tmp_path.glob('text.*')} == {'a b c\n'}


def test_what_a_model_cannot_do_is_refused_before_the_output_is_opened(main, varied, tmp_path):
  workdir = f'--workdir={varied("sutskever")}'
  (tmp_path / 'in').write_text('a b c\n', 'utf-8')
  (tmp_path / 'out').write_text('mine\n', 'utf-8')
  flags = workdir, '--mode=translate', f'--input={tmp_path / "in"}', f'--output={tmp_path / "out"}'
  code, out, err = main(*flags, '--coverage_penalty=0.5')
  assert (code, out) == (1, '')
  assert err == 'error: coverage_penalty is 0.5, expected 0 for a model without attention\n'
  assert (tmp_path / 'out').read_text('utf-8') == 'mine\n'
  assert main(*flags)[0] == 0
  assert (tmp_path / 'out').read_text('utf-8') != 'mine\n'


def test_other_training_data_are_refused(main, workdir, tmp_path):
  config = json.loads((workdir / 'config.json').read_text('utf-8'))
  moved = write_pairs(tmp_path, seed=5)
  for side, path in zip(('source', 'target'), moved, strict=True):
    config['config']['data'][side] = str(path)
  (workdir / 'config.json').write_text(json.dumps(config), 'utf-8')
  code, _, err = main(f'--workdir={workdir}', '--config.train.steps=20')
  assert code == 1
  assert 'the training data differ from those of the checkpoint' in err


@pytest.mark.parametrize('name', OPTIONS)
def test_every_option_trains(varied, name):
  assert 'bleu' in (varied(name) / 'stdout.txt').read_text('utf-8')


@pytest.fixture(scope='module')
def opened(translated):
  """Returns the translator as `workdir.load` opens it."""
  return workdir_lib.load(translated)


def test_translations_are_what_the_launcher_writes(opened, translated, main, tmp_path):
  lines = ['a b c d e', '', 'q w e r t y']
  (tmp_path / 'in').write_text('\n'.join(lines), 'utf-8')
  found = opened.translate(lines)
  assert found[1] == ''
  out = main('--mode=translate', f'--workdir={translated}', f'--input={tmp_path / "in"}')[1]
  assert out.splitlines() == found
  best = list(opened.translations(lines, beam_size=4, n_best=3))
  assert [len(hypotheses) for hypotheses in best] == [3, 3, 3]
  first = best[0][0]
  assert first.score >= best[0][1].score
  assert first.weights.shape == (len(first.symbols), len(first.source))
  np.testing.assert_allclose(first.weights.sum(1), 1.0, rtol=1e-5)
  assert opened.languages() == ('xx', 'yy')


def test_scores_of_pairs_are_numbers(opened, translated, main, tmp_path):
  sources, targets = ['a b c', 'd e'], ['c b a', 'e d']
  scores = opened.score(sources, targets)
  assert scores.shape == (2,)
  pairs = '\n'.join('\t'.join(pair) for pair in zip(sources, targets, strict=True))
  (tmp_path / 'pairs').write_text(pairs, 'utf-8')
  out = main('--mode=score', f'--workdir={translated}', f'--source={tmp_path / "pairs"}')[1]
  rows = [line.split('\t') for line in out.splitlines()[1:]]
  assert [float(row[0]) for row in rows] == pytest.approx(scores, abs=1e-5)
  with pytest.raises(InputError, match='2 sources and 1 targets, expected as many'):
    opened.score(sources, ['c'])


def make_earlier(workdir):
  """Makes the assets and the commit of a translator what an earlier version wrote."""
  for path in workdir.glob('checkpoints/*/meta/metadata'):
    meta = json.loads(path.read_text('utf-8'))
    meta['assets']['codec'] = {
      side: {
        'units': {'kind': 'word', 'lower': True, 'model': ''},
        'lexicon': {'symbols': codec['symbols']},
        'language': '',
      }
      for side, codec in meta['assets']['codec'].items()
      if side != 'languages'
    }
    path.write_text(json.dumps(meta), 'utf-8')
  config = read_json(workdir, 'config.json') | {'git_hash': '12345678' * 5}
  (workdir / 'config.json').write_text(json.dumps(config), 'utf-8')


def test_a_translator_of_an_earlier_version_is_refused(main, workdir):
  make_earlier(workdir)
  before = files_of(workdir)
  said = (
    'the codec of sentences does not fit this run: its rules are version 1 there and 3 here; it '
    'may have been trained by an earlier version: train it anew, or use the version that trained '
    'it (git 1234567)'
  )
  for mode in ('train', 'evaluate', 'report', 'translate', 'score'):
    code, out, err = main(f'--workdir={workdir}', f'--mode={mode}')
    assert (code, err) == (1, f'error: {said}\n')
    assert out.count('\n') == (mode == 'train')  # says where it would have gone on
  with pytest.raises(InputError) as refused:
    workdir_lib.load(workdir)
  assert str(refused.value) == said
  assert files_of(workdir) == before


def test_what_an_open_translator_refuses(opened):
  with pytest.raises(InputError, match='n_best is 9, expected an integer in'):
    opened.translate(['a b'], n_best=9)
  # A sentence in place of a list would be read as a list of characters.
  for refused in (
    lambda: opened.translate('a b'),
    lambda: opened.translations('a b'),
    lambda: opened.score('a b', ['b a', 'a', 'b']),
    lambda: opened.score(['a b', 'a', 'b'], 'b a'),
  ):
    with pytest.raises(
      InputError, match=r"(texts|sources|targets) is '(a b|b a)', expected a list"
    ):
      refused()
  with pytest.raises(InputError, match='which has no recurrence to analyse'):
    opened.trace()
