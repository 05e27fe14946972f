"""The neural Turing machines that are measured: PyTorch's has the losses and gradients of ours."""

import jax
import numpy as np
import pytest
from cells_under_test import noisy

from rnn_research.benchmark import contenders, machines
from rnn_research.benchmark.contenders import Setting
from rnn_research.parameters import num_parameters
from rnn_research.torch_compat import params_to_torch
from rnn_research.training import backend
from rnn_research.training.step import unpack

SETTING = Setting('ntm', 6, 1, 2, 3)


def test_what_is_copied():
  inputs, targets = contenders.copies(SETTING).values()
  assert (inputs.shape, targets.shape) == ((2, 7, 9), (2, 3, 8))
  np.testing.assert_array_equal(inputs[:, :3, :8], targets)
  np.testing.assert_array_equal(np.argwhere(inputs[:, :, 8]), [[0, 3], [1, 3]])
  assert not inputs[:, 4:].any()


def test_ours_learns(monkeypatch):
  monkeypatch.setattr(backend, 'configure', lambda *args, **options: None)
  losses, carried = [], machines.carried

  def watched(setting, advance, state, seconds):
    def advance_and_keep(state):
      state, metrics = advance(state)
      losses.append(unpack(metrics)['loss'])
      return state, metrics

    return carried(setting, advance_and_keep, state, seconds)

  monkeypatch.setattr(machines, 'carried', watched)
  program = machines.training(SETTING)['step']()
  for _ in range(20):
    program.run()
  assert program.compile_seconds > 0.0
  assert losses[-1] < losses[0] < 1.1 * np.log(2.0)


def test_pytorch_has_the_losses_and_gradients_of_ours():
  torch = pytest.importorskip('torch')
  from rnn_research.benchmark import torch_machines

  init, loss = machines.copier(SETTING)
  params = noisy(init(jax.random.key(0)), 1, 0.5)
  theirs = torch_machines.Machine(SETTING.hidden_size)
  second_bias = 4 * SETTING.hidden_size
  assert sum(p.numel() for p in theirs.parameters()) == num_parameters(params) + second_bias
  theirs.load_state_dict(
    {name: torch.from_numpy(np.array(a)) for name, a in in_pytorch(params).items()}
  )
  batch = contenders.copies(SETTING)
  value, gradients = jax.jit(jax.value_and_grad(loss))(params, batch['inputs'], batch['targets'])
  found = theirs.loss(*(torch.from_numpy(a).transpose(0, 1) for a in batch.values()))
  found.backward()
  assert found.item() == pytest.approx(float(value), rel=1e-5)
  got = dict(theirs.named_parameters())
  del got['cell.bias_hh']  # the second bias, which ours lacks
  for name, gradient in got.items():
    np.testing.assert_allclose(
      gradient.grad, in_pytorch(gradients)[name], rtol=1e-3, atol=1e-6, err_msg=name
    )


def test_pytorch_takes_steps():
  pytest.importorskip('torch')
  from rnn_research.benchmark import torch_machines

  program = torch_machines.training(SETTING, 'cpu')['step']()
  losses = [program.run() for _ in range(20)]
  assert losses[-1] < losses[0] < 1.1 * np.log(2.0)


def in_pytorch(params):
  """Returns our parameters, or their gradients, under the names and in the layout of
  `torch_machines.Machine`."""
  cell, access = params['cell']
  named = params_to_torch([cell])
  return {
    **{f'cell.{name.removesuffix("_l0")}': a for name, a in named.items()},
    'interface.weight': access.w_i.T,
    'interface.bias': access.b_i,
    'places': access.places,
    'first_read': access.reads[0],
    'head.weight': params['head']['w'].T,
    'head.bias': params['head']['b'],
  }
