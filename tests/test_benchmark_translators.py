"""The translators that are measured: what ours learns and writes, PyTorch's does from the same parameters."""

import itertools

import jax
import numpy as np
import pytest
from cells_under_test import noisy

from rnn_research.benchmark import contenders, translators
from rnn_research.benchmark.contenders import Setting
from rnn_research.data.codec import BOS, EOS, PAD
from rnn_research.models.conditional_loss import nats
from rnn_research.parameters import num_parameters
from rnn_research.tasks.translation.model import SOURCES, example_of
from rnn_research.torch_compat import params_to_torch
from rnn_research.training import backend

WRITTEN = Setting('gru', 8, 1, 2, 6)
LEARNT = {'gru': Setting('gru', 8, 1, 20, 100), 'lstm': Setting('lstm', 8, 2, 20, 100)}


@pytest.fixture(autouse=True)
def few_shapes(monkeypatch):
  monkeypatch.setattr(translators, '_BUCKETS', 2)
  monkeypatch.setattr(backend, 'configure', lambda *args, **options: None)


def test_pairs_have_the_lengths_of_sentences():
  sources, targets = contenders.pairs(LEARNT['gru'])
  assert len(sources) == len(targets) == 20
  lengths = np.array([[len(a) for a in side] for side in (sources, targets)])
  assert 3 <= lengths.min() < lengths.max() <= 40
  assert np.corrcoef(lengths)[0, 1] > 0.5
  ids = np.concatenate(sources + targets)
  assert min(ids) >= len(contenders.NEVER_WRITTEN)
  assert max(ids) < contenders.VOCABULARY_SIZE


def test_both_read_every_pair_once_in_an_epoch():
  data = translators.batches(LEARNT['gru'])
  batches = list(itertools.islice(data.iterator, data.steps_per_epoch))
  ours = [row[row != PAD] for batch in batches for row in batch['targets'] if row[0] != PAD]
  expected = sorted([*target, EOS] for target in contenders.pairs(LEARNT['gru'])[1])
  assert sorted(map(list, ours)) == expected
  assert all(batch['targets'].size <= 8 * 41 or batch['targets'].size <= 100 for batch in batches)
  pytest.importorskip('torch')
  from rnn_research.benchmark import torch_translators

  theirs = torch_translators.batches(LEARNT['gru'])
  assert sorted(list(row[row != PAD]) for batch in theirs for row in batch[3]) == expected
  for sources, lengths, inputs, targets in theirs:
    assert (lengths == (sources != PAD).sum(1)).all()
    assert (inputs[:, 0] == BOS).all()
    np.testing.assert_array_equal(inputs[:, 1:], np.where(targets == EOS, PAD, targets)[:, :-1])
    assert len(sources) == 1 or max(sources.size, targets.size) <= 100


@pytest.mark.parametrize('cell', LEARNT)
def test_ours_learns(cell):
  program = translators.training(LEARNT[cell])['epoch']()
  program.run()
  assert program.compile_seconds > 0


def test_ours_translates_to_the_full_length():
  found = translators.translation(WRITTEN)['greedy']().run()
  assert found.ids.shape == (WRITTEN.batch_size, 1, WRITTEN.unroll_length)
  assert not np.isin(found.ids, contenders.NEVER_WRITTEN).any()


@pytest.fixture(params=LEARNT)
def both(request):
  """Returns a setting, our model with parameters, and PyTorch's with the same: it has a second bias for every gate of
  an LSTM, and for two gates of a GRU, zeros."""
  torch = pytest.importorskip('torch')
  from rnn_research.benchmark import torch_translators

  setting = LEARNT[request.param]
  size, num_layers = setting.hidden_size, setting.num_layers
  model = translators.translator(setting, size // 2)
  params = noisy(model.init(jax.random.key(0), SOURCES), 1, 0.3)
  theirs, second_bias = {
    'gru': (torch_translators.Bahdanau(size, size // 2), 3 * 2 * size),
    'lstm': (torch_translators.Luong(size, size // 2, num_layers), 3 * num_layers * 4 * size),
  }[setting.cell]
  assert sum(p.numel() for p in theirs.parameters()) == num_parameters(params) + second_bias
  named = in_pytorch(params, setting.cell)
  theirs.load_state_dict({name: torch.tensor(np.array(a)) for name, a in named.items()})
  return setting, model, params, theirs


def test_pytorch_has_the_losses_of_ours(both):
  import torch

  setting, model, params, theirs = both
  for batch in itertools.islice(translators.batches(setting).iterator, 3):
    real = batch['target_lengths'] > 0
    batch = {name: a[real] for name, a in batch.items()}
    names = 'sources', 'source_lengths', 'inputs', 'targets'
    found = theirs.loss(*(torch.from_numpy(batch[name]).long() for name in names))
    expected = nats(model, params, example_of(batch)).sum() / batch['target_lengths'].sum()
    assert found.item() == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize('both', ['gru'], indirect=True)
def test_pytorch_writes_the_translations_of_ours(both):
  import torch

  _, model, params, theirs = both
  sources = contenders.sentences(WRITTEN)
  ids = theirs.translate(torch.from_numpy(sources), WRITTEN.unroll_length)
  expected = translators.writer(model, WRITTEN.unroll_length)(params, sources)
  np.testing.assert_array_equal(ids, expected.ids[:, 0])


@pytest.mark.parametrize('cell', LEARNT)
def test_pytorch_takes_steps(cell):
  pytest.importorskip('torch')
  from rnn_research.benchmark import torch_translators

  program = torch_translators.training(LEARNT[cell], 'cpu')['epoch']()
  losses = [program.run().mean().item() for _ in range(6)]
  assert losses[-1] < losses[0] < 1.1 * np.log(contenders.VOCABULARY_SIZE)


def test_pytorch_writes_to_the_full_length():
  pytest.importorskip('torch')
  from rnn_research.benchmark import torch_translators

  ids = torch_translators.translation(WRITTEN, 'cpu')['greedy']().run()
  assert ids.shape == (WRITTEN.batch_size, WRITTEN.unroll_length)
  assert not np.isin(ids, contenders.NEVER_WRITTEN).any()


def in_pytorch(params, cell):
  """Returns our parameters under the names and in the layout of `torch_translators`."""
  dense = lambda name, w, b=None: (
    {f'{name}.weight': w.T} | ({} if b is None else {f'{name}.bias': b})
  )
  decoder, encoder = params['decoder'][0], params['encoder']
  named = {
    'source.weight': encoder['embedding'],
    'target.weight': params['embedding'],
    **{f'encoder.{n}': a for n, a in params_to_torch(encoder['layers']).items()},
    **dense('head', **params['readout']['head']),
  }
  first = jax.tree.leaves(params['bridge'], is_leaf=lambda a: isinstance(a, dict))
  cells = [decoder.cell] if cell == 'gru' else list(decoder.cell)
  one = lambda cell: {n.removesuffix('_l0'): a for n, a in params_to_torch([cell]).items()}
  if cell == 'gru':
    score = decoder.attention
    return named | {
      **{f'decoder.{n}': a for n, a in one(cells[0]).items()},
      **dense('bridge', **first[0]),
      **dense('query', score.w_q),
      **dense('key', score.w_k, score.b),
      **dense('score', score.v[:, None]),
    }
  for i, inner in enumerate(cells):
    named |= {f'cells.{i}.{n}': a for n, a in one(inner).items()}
  by_layer = [(layer.h, layer.c) for layer in params['bridge']]
  for i, layer in enumerate(itertools.chain.from_iterable(by_layer)):
    named |= dense(f'first.{i}', **layer)
  return named | dense('key', decoder.attention) | dense('joined', decoder.w_c)
