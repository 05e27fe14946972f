"""Paths as people write them, in every flag that names a file or folder; and the flag in every message about one."""

import os
import shutil

import pytest

import experiments

NAMES = {
  'brackets': 'lr=[0.01]',
  'backslash': 'a\\b',
  'star': 'a*b?',
  'space': ' a b',
  'comma': 'a,b',
  'non-ASCII': 'é漢',
  'format': '%s{x}$HOME',
  'quotes': '\'"`',
  'dash': '-a',
}
SPELLINGS = ['home', 'relative', 'dots', 'symlink', 'trailing slash', *NAMES]


@pytest.fixture(params=SPELLINGS)
def spelled(request, tmp_path, monkeypatch):
  """Returns (folder as a flag has it, the folder, a name for what is in it)."""
  name = NAMES.get(request.param, 'x')
  folder = tmp_path / name
  folder.mkdir()
  if request.param == 'symlink':
    (tmp_path / 'link').symlink_to(folder)
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  as_written = {
    'home': f'~/{name}',
    'relative': name,
    'dots': f'./{name}/../{name}',
    'symlink': f'{tmp_path}/link',
    'trailing slash': f'{folder}/',
  }
  return as_written.get(request.param, str(folder)), folder, name


def test_a_trained_model_is_used_anywhere(main, trained, text, spelled):
  written, folder, name = spelled
  shutil.copytree(trained, folder / 'run')
  (folder / f'{name}.txt').write_bytes(text.read_bytes()[:60])
  (folder / f'{name}.cfg').write_text('--mode=score\n')
  code, out, err = main(
    f'--flagfile={written}/{name}.cfg',
    f'--workdir={written}/run',
    f'--config.data.path={written}/{name}.txt',
    f'--out={written}/{name}.tsv',
  )
  assert (code, out) == (0, ''), err
  assert (folder / f'{name}.tsv').read_text('utf-8').startswith('position\t')
  assert not os.path.exists('~')


def digest_of(name, **data):
  """Returns the fingerprint of the training data of an experiment."""
  config = experiments.get_config(name)
  config.data.update(data)
  return experiments.build(name, config).train_data().fingerprint


def test_texts_are_read_anywhere(spelled):
  written, folder, name = spelled
  splits = {'path': '', 'valid_path': f'/{name}.valid', 'test_path': f'/{name}.test'}
  for end, content in (('txt', 'ab ' * 300), ('valid', 'ab ba'), ('test', 'ba ab')):
    (folder / f'{name}.{end}').write_text(content)
  places = lambda root: {split: f'{root}{path}' for split, path in splits.items()}
  assert digest_of('char_lm:debug', **places(written)) == digest_of(
    'char_lm:debug', **places(folder)
  )


def test_pairs_are_read_anywhere(spelled):
  written, folder, name = spelled
  fields = [f'{split}{side}' for split in ('', 'valid_', 'test_') for side in ('source', 'target')]
  for field in fields:
    (folder / f'{name}.{field}').write_text('a b\nb a\n' * 20)
  places = lambda root: {field: f'{root}/{name}.{field}' for field in fields}
  digest = lambda root: digest_of('seq2seq:debug', task='', **places(root))
  assert digest(written) == digest(folder)


LONG = 'x' * 300
TRANSLATION = '--experiment=seq2seq:bahdanau --config.data.source={text} --config.data.target='
MESSAGES = {
  'data.path': '--experiment=char_lm:debug --config.data.path=',
  'data.valid_path': '--experiment=char_lm:debug --config.data.path={text} --config.data.valid_path=',
  'data.test_path': '--experiment=char_lm:debug --config.data.path={text} --config.data.test_path=',
  'data.source': '--experiment=seq2seq:bahdanau --config.data.source=',
  'data.target': TRANSLATION,
  'data.valid_source': f'{TRANSLATION}{{text}} --config.data.valid_source=',
  'data.test_source': f'{TRANSLATION}{{text}} --config.data.test_source=',
  'data.path: ': '--experiment=long_memory:sequential_mnist --config.data.path=',
  'workdirs': '--experiment=compare --config.workdirs=',
  'workdir_of': '--experiment=gradient_flow:debug --config.workdir_of=',
  'flagfile': '--flagfile=',
  '--mode=sample needs --workdir': '--mode=sample --workdir=',
  'workdir': '--experiment=char_lm:debug --config.data.path={text} --workdir={text}/',
  'out': '--workdir={trained} --mode=score --out=gone/',
}


@pytest.mark.parametrize('path', ['gone', '~nosuchuser/x', LONG], ids=['gone', 'no user', 'long'])
@pytest.mark.parametrize('flag', MESSAGES)
def test_every_message_about_a_file_names_its_flag(
  main, trained, text, tmp_path, monkeypatch, flag, path
):
  monkeypatch.chdir(tmp_path)
  line = MESSAGES[flag].format(text=text, trained=trained) + path
  code, _, err = main(*line.split(' '))
  assert code in (1, 2)
  assert err.startswith(f'error: {flag}')
  assert path in err and '[Errno' not in err and err.count('\n') == 1
  assert not list(tmp_path.iterdir())
