"""Weight maps from and to PyTorch: its documented equations in NumPy, and PyTorch itself where it is installed."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  HIDDEN,
  NUM_INPUTS,
  assert_close,
  assert_same,
  inputs,
  make,
  perturbed,
)
from oracles import sigmoid

from rnn_research import bidirectional, elman, gru, lstm, stack, unroll
from rnn_research.errors import InputError
from rnn_research.torch_compat import params_from_torch, params_to_torch

# name -> (class of torch.nn, its options)
MODULES = {
  'lstm': ('LSTM', {}),
  'lstm deep': ('LSTM', {'num_layers': 2, 'bias': False}),
  'lstm both ways, projected': (
    'LSTM',
    {'num_layers': 2, 'bidirectional': True, 'proj_size': 2},
  ),
  'gru deep': ('GRU', {'num_layers': 2}),
  'gru both ways': ('GRU', {'num_layers': 2, 'bidirectional': True}),
  'gru without biases': ('GRU', {'bias': False}),
  'rnn deep': ('RNN', {'num_layers': 2}),
  'relu both ways': ('RNN', {'nonlinearity': 'relu', 'bidirectional': True}),
}
NUM_GATES = {'LSTM': 4, 'GRU': 3, 'RNN': 1}


def state_dict(kind, num_layers=1, bidirectional=False, bias=True, proj_size=0, seed=0, **_):
  """Returns what such a module with random float64 weights has."""
  rng = np.random.default_rng(seed)
  rows, out, size = NUM_GATES[kind] * HIDDEN, proj_size or HIDDEN, NUM_INPUTS
  found = {}
  for layer in range(num_layers):
    ends = ['', '_reverse'][: 1 + bidirectional]
    for end in ends:
      shapes = {'weight_ih': (rows, size), 'weight_hh': (rows, out)}
      shapes |= {'bias_ih': (rows,), 'bias_hh': (rows,)} if bias else {}
      shapes |= {'weight_hr': (out, HIDDEN)} if proj_size else {}
      found |= {f'{n}_l{layer}{end}': rng.normal(0.0, 0.5, s) for n, s in shapes.items()}
    size = out * len(ends)
  return found


def one_direction(kind, weights, xs, phi):
  """Returns the outputs of the equations in PyTorch's documentation; `weights` has names without layer."""
  w_i, w_h = weights['weight_ih'], weights['weight_hh']
  b_i, b_h = (weights.get(name, np.zeros(len(w_i))) for name in ('bias_ih', 'bias_hh'))
  h, c, ys = np.zeros((xs.shape[1], w_h.shape[1])), 0.0, []
  for x in xs:
    i, m = x @ w_i.T + b_i, h @ w_h.T + b_h
    if kind == 'LSTM':
      gates = np.split(i + m, 4, -1)
      c = sigmoid(gates[1]) * c + sigmoid(gates[0]) * np.tanh(gates[2])
      h = sigmoid(gates[3]) * np.tanh(c)
      h = h @ weights['weight_hr'].T if 'weight_hr' in weights else h
    elif kind == 'GRU':
      (r_i, z_i, n_i), (r_h, z_h, n_h) = np.split(i, 3, -1), np.split(m, 3, -1)
      n, z = np.tanh(n_i + sigmoid(r_i + r_h) * n_h), sigmoid(z_i + z_h)
      h = (1.0 - z) * n + z * h
    else:
      h = phi(i + m)
    ys.append(h)
  return np.stack(ys)


def by_hand(kind, arrays, xs, num_layers=1, bidirectional=False, nonlinearity='tanh', **_):
  """Returns the outputs [T, B, ..] of a module of PyTorch."""
  phi = {'tanh': np.tanh, 'relu': lambda a: np.maximum(a, 0.0)}[nonlinearity]
  for layer in range(num_layers):
    ends = (f'_l{layer}', f'_l{layer}_reverse')
    weights = [{n.removesuffix(e): a for n, a in arrays.items() if n.endswith(e)} for e in ends]
    forward = one_direction(kind, weights[0], xs, phi)
    backward = [one_direction(kind, weights[1], xs[::-1], phi)[::-1]] if bidirectional else []
    xs = np.concatenate([forward, *backward], -1)
  return xs


def cell_like(kind, proj_size=0, nonlinearity='tanh', **_):
  return {
    'LSTM': lambda: lstm(HIDDEN, projection_size=proj_size or None, dtype=jnp.float64),
    'GRU': lambda: gru(HIDDEN, dtype=jnp.float64),
    'RNN': lambda: elman(HIDDEN, activation=nonlinearity, dtype=jnp.float64),
  }[kind]()


def outputs(cell, layers, xs):
  """Returns the outputs as the documentation of `torch_compat` says."""
  if type(layers[0]) is tuple:
    for pair in layers:
      _, xs = bidirectional(cell, cell, pair, xs)
    return xs
  return unroll(stack(*[cell] * len(layers)), layers, xs)[1]


def ours(kind, options, layers, xs):
  """Returns the gradients of the sum of sin of the outputs by layers and inputs, and the outputs."""
  cell = cell_like(kind, **options)

  def loss(layers, xs):
    ys = outputs(cell, layers, xs)
    return jnp.sum(jnp.sin(ys)), ys

  return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(layers, xs)


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', MODULES)
def test_values_and_gradients_are_those_of_the_documented_equations(name):
  kind, options = MODULES[name]
  arrays, xs = state_dict(kind, **options), np.asarray(inputs(), np.float64)
  layers = params_from_torch(arrays)
  (by_layers, by_xs), ys = ours(kind, options, layers, xs)
  np.testing.assert_allclose(ys, by_hand(kind, arrays, xs, **options), rtol=1e-12, atol=1e-12)

  along, along_xs = state_dict(kind, **options, seed=1), np.asarray(inputs(seed=2), np.float64)
  moved = lambda h: {n: a + h * along[n] for n, a in arrays.items()}
  loss = lambda h: np.sin(by_hand(kind, moved(h), xs + h * along_xs, **options)).sum()
  # The map is linear, so a direction in PyTorch's weights is one in ours.
  products = jax.tree.map(np.vdot, (by_layers, by_xs), (params_from_torch(along), along_xs))
  slope = sum(jax.tree.leaves(products))
  np.testing.assert_allclose(slope, (loss(1e-5) - loss(-1e-5)) / 2e-5, rtol=1e-7, atol=1e-7)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', MODULES)
def test_values_and_gradients_are_those_of_torch(name):
  torch = pytest.importorskip('torch')
  kind, options = MODULES[name]
  module = getattr(torch.nn, kind)(NUM_INPUTS, HIDDEN, dtype=torch.float64, **options)
  xs = np.asarray(inputs(), np.float64)
  layers = params_from_torch(module.state_dict())
  (by_layers, by_xs), ys = ours(kind, options, layers, xs)

  again = params_to_torch(layers, bias=options.get('bias', True))
  module.load_state_dict({n: torch.tensor(a) for n, a in again.items()})
  theirs_xs = torch.tensor(xs, requires_grad=True)
  theirs, _ = module(theirs_xs)
  theirs.sin().sum().backward()
  np.testing.assert_allclose(ys, theirs.detach(), rtol=1e-12, atol=1e-12)
  np.testing.assert_allclose(by_xs, theirs_xs.grad, rtol=1e-10, atol=1e-12)
  mapped = params_to_torch(by_layers)
  for n, weight in module.named_parameters():
    apart = slice(2 * HIDDEN, None) if kind == 'GRU' else slice(0)  # b_hn: else ours is the sum
    rows = apart if n.startswith('bias_hh') else slice(None)
    np.testing.assert_allclose(mapped[n][rows], weight.grad[rows], rtol=1e-10, atol=1e-12)


def test_parameters_with_gradients_are_refused():
  torch = pytest.importorskip('torch')
  with pytest.raises(InputError, match='weight_ih_l0 cannot be read as an array of numbers'):
    params_from_torch(dict(torch.nn.GRU(8, 16).named_parameters()))


@pytest.mark.parametrize('name', MODULES)
def test_there_and_back_is_exact(name):
  kind, options = MODULES[name]
  arrays = {n: a.astype(np.float32) for n, a in state_dict(kind, **options).items()}
  layers = params_from_torch(arrays)
  assert {leaf.dtype for leaf in jax.tree.leaves(layers)} == {jnp.dtype('float32')}
  back = params_to_torch(layers, bias=options.get('bias', True))
  assert {n: a.shape for n, a in back.items()} == {n: a.shape for n, a in arrays.items()}
  assert_same(params_from_torch(back), layers)
  assert_same(
    {n: a for n, a in back.items() if n[0] == 'w'}, {n: a for n, a in arrays.items() if n[0] == 'w'}
  )
  assert all(a.flags.c_contiguous and a.flags.writeable for a in back.values())


def test_what_numpy_reads_becomes_float32():
  arrays = state_dict('GRU')
  for read in (
    lambda a: a.astype(np.float16),
    lambda a: jnp.asarray(a, jnp.bfloat16),
    np.ndarray.tolist,
  ):
    layers = params_from_torch({n: read(a) for n, a in arrays.items()})
    assert {leaf.dtype for leaf in jax.tree.leaves(layers)} == {jnp.dtype('float32')}
    assert_close(layers, params_from_torch(arrays), rtol=1e-2, atol=1e-2)


def renamed(old, new):
  return lambda arrays: {new if n == old else n: a for n, a in arrays.items()}


@pytest.mark.parametrize(
  ('harm', 'said'),
  [
    (lambda a: {}, 'weight_ih_l0 is missing in a state dict of nothing, expected the matrix'),
    (
      lambda a: {'rnn.' + n: v for n, v in a.items()},
      "expected the matrix of an nn.LSTM, nn.GRU or nn.RNN by this name; take 'rnn.' off the names",
    ),
    (renamed('weight_ih_l0', 'weihgt_ih_l0'), 'by this name, did you mean weihgt_ih_l0?'),
    (lambda a: list(a), 'state_dict is of type list, expected a mapping from names to arrays'),
    (lambda a: a | {'weight_hh_l0': np.zeros(3)}, 'weight_hh_l0 is of shape (3,)'),
    (lambda a: a | {'weight_hr_l0': np.float32(1)}, 'weight_hr_l0 is of shape ()'),
    (
      lambda a: a | {'weight_hh_l0': np.zeros((10, 5))},
      'weight_hh_l0 has shape (10, 5), expected 4, 3 or 1 x 5 rows as in an nn.LSTM',
    ),
    (
      renamed('bias_hh_l1', 'bais_hh_l1'),
      'bais_hh_l1 is not in the state dict of an nn.GRU with layers x directions = 2 x 1, did you '
      'mean bias_hh_l1?',
    ),
    (
      lambda a: a | {'weight_hr_l0': np.zeros((5, 5))},
      'weight_hr_l0 is not in the state dict of an nn.GRU',
    ),
    (
      lambda a: {n: v for n, v in a.items() if n != 'weight_ih_l1'},
      'weight_ih_l1 is missing, expected in the state dict of an nn.GRU',
    ),
    (
      lambda a: {n.replace('l1', 'l2'): v for n, v in a.items()},
      'weight_ih_l2 is not in the state dict of an nn.GRU with layers x directions = 2 x 1, did you '
      'mean weight_ih_l1?',
    ),
    (
      lambda a: a | {'weight_ih_l1': np.zeros((15, 4))},
      'weight_ih_l1 has shape (15, 4), expected (15, 5) for an nn.GRU',
    ),
    (lambda a: a | {'bias_ih_l0': 'text'}, 'bias_ih_l0 has shape (), expected (15,)'),
    (lambda a: a | {'bias_ih_l0': [[1], [1, 2]]}, 'bias_ih_l0 cannot be read as an array'),
  ],
)
def test_a_state_dict_that_is_none_is_refused_in_one_sentence(harm, said):
  with pytest.raises(InputError, match=re.escape(said)) as caught:
    params_from_torch(harm(state_dict('GRU', num_layers=2)))
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('layers', 'options', 'said'),
  [
    (['lstm_peephole'], {}, 'PyTorch has no cell for LSTMVariantParams, expected LSTMParams or'),
    (['gru_reset_before'], {}, 'PyTorch resets after the recurrent product'),
    (['layer_norm'], {}, 'w_x is wrapped in Normalized'),
    ([('gru',) * 3], {}, 'the number of directions of layer 0 is 3, expected 1 or 2'),
    (['gru'], {'bias': False}, 'bias_ih_l0 is not zero, expected zeros'),
    (['gru', 'gru'], {}, 'weight_ih_l1 has shape (15, 4), expected (15, 5) for an nn.GRU'),
    (['gru', 'lstm'], {}, 'weight_ih_l1 has shape (20, 4), expected (15, 5) for an nn.GRU'),
    ([('gru', 'gru'), 'gru'], {}, 'weight_ih_l1 has shape (15, 4), expected (15, 10)'),
    ([], {}, 'weight_ih_l0 is missing in a state dict of nothing'),
    ('gru', {}, 'layers is one GRUParams, expected a tuple with one per layer'),
  ],
)
def test_weights_without_a_twin_are_refused(layers, options, said):
  layers = jax.tree.map(lambda name: perturbed(make(name)), layers)
  with pytest.raises(InputError, match=re.escape(said)):
    params_to_torch(layers, **options)
