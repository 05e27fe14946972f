"""Files for LSTMVis, read back as it reads them."""

import sys

import jax
import numpy as np
import pytest
import yaml

from rnn_research import workdir as workdirs
from rnn_research.analysis.measures import recording
from rnn_research.cells.lstm import lstm
from rnn_research.data.codec import TextCodec
from rnn_research.errors import InputError
from rnn_research.models.language_model import language_model
from rnn_research.tasks.language import lstmvis
from rnn_research.tasks.language.lstmvis import export_lstmvis, visible


@pytest.fixture
def h5py():
  return pytest.importorskip('h5py', reason='the package h5py is missing: LSTMVis files untested')


@pytest.fixture(scope='module')
def stack():
  """Returns a model of two layers with large states, its parameters, and its codec."""
  codec = TextCodec('text', 'char', ('\n', ' ', 'a', 'b', '<unk>'))
  model = language_model((lstm(3), lstm(2)), len(codec.symbols))
  params = jax.tree.map(lambda a: 4 * a, model.init(jax.random.key(0)))
  return model, codec, params


def test_a_project_holds_the_states_of_one_pass(stack, tmp_path, h5py, monkeypatch):
  monkeypatch.setattr(recording, 'CHUNK', 7)  # so that states go on from piece to piece
  model, codec, params = stack
  ids = np.random.default_rng(0).integers(0, 5, 40).astype(np.int32)
  export_lstmvis(
    model, codec, lambda: {'train': ids[:3], 'test': ids}, params, str(tmp_path / 'p'), length=30
  )
  config = yaml.safe_load((tmp_path / 'p' / 'lstm.yml').read_text('utf-8'))
  open_file = lambda name: h5py.File(tmp_path / 'p' / config['files'][name], 'r')

  # As README.md of LSTMVis has it: names of files, then what is in which.
  words = config['word_sequence']
  read = open_file(words['file'])[words['path']][:]
  np.testing.assert_array_equal(read, ids[:30])
  lines = (tmp_path / 'p' / config['files'][words['dict_file']]).read_text('utf-8').split('\n')
  symbols = {int(number): symbol for symbol, number in (line.split() for line in lines if line)}
  assert [symbols[i] for i in range(5)] == ['\\n', '␣', 'a', 'b', '<unk>']

  states, logits = model.initial_state(params, 1), []
  expected = {path: [] for path in ('states1_c', 'states1_h', 'states2_c', 'states2_h')}
  for one in read:
    states, hs = model.unroll(params, states, np.array([[one]], np.int32))
    logits.append(model.logits(params, hs)[0, 0])
    for layer, state in enumerate(states, 1):
      expected[f'states{layer}_c'].append(state.c[0])
      expected[f'states{layer}_h'].append(state.h[0])
  types = {kind['path']: kind for kind in config['states']['types']}
  assert types.keys() == expected.keys()
  for path, values in expected.items():
    found = open_file(config['states']['file'])[path]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:], np.array(values), atol=1e-5)
    assert types[path]['layer'] == int(path[6])
    assert types[path]['type'] == ('output' if path.endswith('h') else 'state')
    # LSTMVis takes tanh unless told otherwise.
    assert ('transform' in types[path]) == (np.abs(values).max() <= 1)
  assert 'transform' in types['states1_h'] and 'transform' not in types['states1_c']

  meta = config['meta']['probability']
  given = open_file(meta['file'])[meta['path']][:]
  chances = [jax.nn.softmax(row)[one] for row, one in zip(logits, read[1:], strict=False)]
  np.testing.assert_allclose(given, [0.0, *chances], atol=1e-5)


def test_the_mode_reads_the_test_split_or_a_file(trained, text, tmp_path, main, h5py):
  out = tmp_path / 'a' / 'project'
  code, _, err = main(f'--workdir={trained}', '--mode=export_lstmvis', f'--out={out}')
  assert code == 0 and err.splitlines()[-1] == f'a project of LSTMVis: {out}'
  run = workdirs.load(trained)
  symbols = run.experiment.vocabularies['vocabulary'].symbols
  whole = text.read_text('utf-8')
  words = lambda: [symbols[i] for i in h5py.File(out / 'train.hdf5', 'r')['word_ids'][:]]
  assert ''.join(words()) == whole[len(whole) * 95 // 100 :]
  (tmp_path / 'other.txt').write_text('a dog ÿ fox', 'utf-8')
  flags = (f'--text={tmp_path}/other.txt', '--length=9')
  assert main(f'--workdir={trained}', '--mode=export_lstmvis', f'--out={out}', *flags)[0] == 0
  assert words() == [*'a dog ', '<unk>', *' f']
  with h5py.File(out / 'states.hdf5', 'r') as file:
    assert {name: array.shape for name, array in file.items()} == {'states1_h': (9, 8)}
  assert yaml.safe_load((out / 'lstm.yml').read_text('utf-8'))['name'] == 'project'


@pytest.mark.parametrize('symbol, shown', [
  ('a', 'a'), ('é', 'é'), (' ', '␣'), ('\n', '\\n'), ('\t', '\\t'), ('\u3000', '\\u3000'), ('\x85', '\\x85'),
  (97, 'a'), (32, '␣'), (10, '\\n'), (0, '\\x00'), (233, '\\xe9'), (-1, '<unk>'), ('<unk>', '<unk>'), ('<eos>', '<eos>'),
])  # fmt: skip
def test_symbols_are_words_that_can_be_seen(symbol, shown):
  assert visible(symbol) == shown


def test_all_bytes_have_words_of_their_own():
  words = [visible(byte) for byte in range(256)]
  assert len(set(words)) == 256 and all(word.split() == [word] for word in words)


@pytest.mark.parametrize('options, said', [
  ({'out': ''}, "out is ''"),
  ({'length': 0}, 'length is 0'),
  ({'text': 'missing.txt'}, "text: .*there is no file or folder 'missing.txt'"),
])  # fmt: skip
def test_what_cannot_be_written_is_refused(stack, tmp_path, options, said, monkeypatch):
  monkeypatch.setitem(sys.modules, 'h5py', sys)  # not reached
  model, codec, params = stack
  with pytest.raises((InputError, FileNotFoundError), match=said):
    export_lstmvis(model, codec, dict, params, **{'out': str(tmp_path / 'p'), **options})
  assert not (tmp_path / 'p').exists()


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'h5py', None)
  with pytest.raises(InputError, match=r"pip install 'rnn_research\[lstmvis\]'"):
    lstmvis._package()
