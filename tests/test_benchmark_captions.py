"""The captioners that are measured: what ours learns and writes, PyTorch's does from the same parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import noisy

from rnn_research.benchmark import captioners, contenders
from rnn_research.benchmark.contenders import Setting
from rnn_research.data.codec import BOS, EOS, PAD
from rnn_research.parameters import num_parameters
from rnn_research.tasks.captioning.objective import Captioned, Options, training_loss
from rnn_research.torch_compat import params_to_torch
from rnn_research.training import backend

SETTING = Setting('lstm', 8, 1, 2, 6)
COPIES = contenders.COPIES


@pytest.fixture
def material():
  return contenders.pictures(SETTING)


def test_captions_have_the_lengths_that_they_say(material):
  targets, lengths = material['targets'], material['lengths']
  count = contenders.STEPS * SETTING.batch_size
  assert targets.shape == (count, COPIES, SETTING.unroll_length + 1)
  assert 1 < lengths.min() < lengths.max() <= SETTING.unroll_length + 1
  np.testing.assert_array_equal((targets == EOS).argmax(-1) + 1, lengths)
  np.testing.assert_array_equal((targets != PAD).sum(-1), lengths)
  assert targets.max() < contenders.CAPTION_SYMBOLS
  assert material['features'].shape[0] == count


def test_ours_learns_and_writes(monkeypatch, material):
  monkeypatch.setattr(backend, 'configure', lambda *args, **options: None)
  monkeypatch.setattr(contenders, 'WRITTEN', 3)
  program = captioners.training(SETTING)['step']()
  program.run()
  assert program.times == contenders.STEPS
  ids = captioners.writing(SETTING)['greedy']().run()
  assert ids.shape == (3, 1, SETTING.unroll_length)
  assert not np.isin(ids, contenders.NEVER_WRITTEN).any()


def test_pytorch_learns_and_writes_the_captions_of_ours(material):
  torch = pytest.importorskip('torch')
  from rnn_research.benchmark import torch_captioners

  model = captioners.captioning_model(SETTING, 0.0)
  inputs = {'deep': material['features'][:3]}
  params = noisy(model.init(jax.random.key(0), inputs), 1, 0.3)
  theirs = torch_captioners.Captioner(SETTING.hidden_size, 0.0)
  second_bias = 4 * SETTING.hidden_size
  assert sum(p.numel() for p in theirs.parameters()) == num_parameters(params) + second_bias
  theirs.load_state_dict(
    {name: torch.from_numpy(np.array(a)) for name, a in in_pytorch(params).items()}
  )
  targets = material['targets'][:3].reshape(3 * COPIES, -1)
  ids = np.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
  batch = Captioned(inputs, ids, targets, material['lengths'][:3].reshape(-1))
  total, (weight, _, _) = training_loss(model, Options(), params, jnp.zeros(3), batch, None)
  maps = torch.from_numpy(inputs['deep']).float()
  for losses in (theirs.losses, theirs.sorted_losses):
    found = losses(maps, *(torch.from_numpy(a).long() for a in (ids, targets)))
    assert found.item() == pytest.approx(float(total / weight), rel=1e-5)
  written = captioners.writer(model, SETTING.unroll_length)(params, inputs['deep'])
  np.testing.assert_array_equal(theirs.write(maps, SETTING.unroll_length), written[:, 0])


@pytest.mark.parametrize('by_length', [False, True])
def test_pytorch_takes_steps(by_length):
  pytest.importorskip('torch')
  from rnn_research.benchmark import torch_captioners

  program = torch_captioners.training(SETTING, 'cpu', by_length)['step']()
  losses = [program.run().mean().item() for _ in range(3)]
  assert losses[-1] < losses[0] < 1.1 * np.log(contenders.CAPTION_SYMBOLS)


def test_pytorch_writes_to_the_full_length(monkeypatch):
  pytest.importorskip('torch')
  from rnn_research.benchmark import torch_captioners

  monkeypatch.setattr(contenders, 'WRITTEN', 3)
  ids = torch_captioners.writing(SETTING, 'cpu')['greedy']().run().numpy()
  assert ids.shape == (3, SETTING.unroll_length)
  assert not np.isin(ids, contenders.NEVER_WRITTEN).any()


def in_pytorch(params):
  """Returns our parameters under the names and in the layout of `torch_captioners.Captioner`."""
  (decoder,), (bridge,) = params['decoder'], params['bridge']
  score, dense = decoder.attention, {
    'annotation': params['encoder']['annotations'],
    'summary': params['encoder']['summary'],
    'gate': decoder.gate,
    'first_h': bridge.h,
    'first_c': bridge.c,
    'hidden': params['readout']['hidden'],
    'head': params['readout']['head'],
  }  # fmt: skip
  named = {
    'embedding.weight': params['embedding'],
    'key.weight': score.w_k.T,
    'key.bias': score.b,
    'query.weight': score.w_q.T,
    'score.weight': score.v[None],
    **{
      f'cell.{name.removesuffix("_l0")}': a for name, a in params_to_torch([decoder.cell]).items()
    },
  }
  for name, layer in dense.items():
    named |= {f'{name}.weight': layer['w'].T, f'{name}.bias': layer['b']}
  return named
