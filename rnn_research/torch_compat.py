"""Weight maps from and to the state dicts of PyTorch's `nn.LSTM`, `nn.GRU` and `nn.RNN`.

PyTorch's equations for one layer in one direction, * any gate:

  LSTM   i, f, o = sigmoid(W_i* x + b_i* + W_h* h + b_h*)
         g = tanh(W_ig x + b_ig + W_hg h + b_hg)
         c' = f * c + i * g,    h' = o * tanh(c'), or with `proj_size` W_hr (o * tanh(c'))
  GRU    r, z = sigmoid(W_i* x + b_i* + W_h* h + b_h*)
         n = tanh(W_in x + b_in + r * (W_hn h + b_hn)),    h' = z * h + (1 - z) * n
  RNN    h' = phi(W_ih x + b_ih + W_hh h + b_hh)

They are those of `lstm`, `gru(reset='after')` and `elman(activation=phi)`; a state dict does not
say which phi. The order of the gates is ours too, i f g o and r z n, but our weights multiply from
the right: w_x = W_ih^T, w_h = W_hh^T, w_p = W_hr^T. Of the two biases of PyTorch ours is the sum,
b = b_ih + b_hh; the GRU's b_hn alone stays apart, since r multiplies it. On the way back b_ih = b
and the rest of b_hh is zero.

  layers = params_from_torch(module.state_dict())
  cell = stack(*[lstm(hidden_size)] * len(layers))
  state, ys = unroll(cell, layers, xs)    # xs [T, B, F], also where the module is batch_first

  forward, backward = lstm(hidden_size), lstm(hidden_size)
  for pair in layers:    # with bidirectional=True
    states, xs = bidirectional(forward, backward, pair, xs)

Source: PyTorch 2.13, `torch/nn/modules/rnn.py`. Torch itself is never imported.
"""

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.cells.elman import ElmanParams
from rnn_research.cells.gru import GRUParams
from rnn_research.cells.lstm import LSTMParams
from rnn_research.errors import InputError, did_you_mean, require
from rnn_research.parameters import require_plain
from rnn_research.typing import Params

_TWINS = {LSTMParams: ('nn.LSTM', 4), GRUParams: ('nn.GRU', 3), ElmanParams: ('nn.RNN', 1)}
_DIRECTIONS = ('', '_reverse')


def params_from_torch(state_dict: Mapping) -> tuple[Params, ...]:
  """Returns our parameters from the state dict of an `nn.LSTM`, `nn.GRU` or `nn.RNN`.

  Args:
    state_dict: 'weight_ih_l0' and so on -> anything that `np.asarray` reads. Biases may be missing,
      ours are then zero.

  Returns:
    One `LSTMParams`, `GRUParams` or `ElmanParams` per layer, the parameters of `stack`; where the
    module is bidirectional one pair (forward, backward) per layer, the parameters of
    `bidirectional`.

  Raises:
    InputError: a name is missing or unknown, a shape does not fit, a value cannot be read.
  """
  if not isinstance(state_dict, Mapping):
    raise InputError(
      f'state_dict is of type {type(state_dict).__name__}, expected a mapping from names to '
      'arrays, such as module.state_dict()'
    )
  arrays = {name: _array(name, value) for name, value in state_dict.items()}
  kind, endings = _checked(arrays)
  layers = tuple(tuple(_from_torch(kind, arrays, end) for end in layer) for layer in endings)
  return layers if len(endings[0]) == 2 else tuple(params for (params,) in layers)


def params_to_torch(layers: tuple[Params, ...], *, bias: bool = True) -> dict[str, np.ndarray]:
  """Returns the state dict of an `nn.LSTM`, `nn.GRU` or `nn.RNN`, as arrays:
  `module.load_state_dict({name: torch.tensor(a) for name, a in params_to_torch(layers).items()})`.

  Args:
    layers: what `params_from_torch` returns. Parameters of `rin` are not refused, but PyTorch has
      no such cell.
    bias: False for a module without biases.

  Raises:
    InputError: PyTorch has no such cell, layers do not fit each other, or a bias is not zero where
      there shall be none.
  """
  if isinstance(layers, tuple(_TWINS)):
    raise InputError(f'layers is one {type(layers).__name__}, expected a tuple with one per layer')
  arrays: dict[str, np.ndarray] = {}
  for i, layer in enumerate(layers):
    pair = layer if type(layer) in (tuple, list) else (layer,)
    require(f'the number of directions of layer {i}', len(pair), len(pair) in (1, 2), '1 or 2')
    for params, end in zip(pair, _DIRECTIONS, strict=False):
      arrays |= _to_torch(params, f'_l{i}{end}')
  if not bias:
    biases = {name: arrays.pop(name) for name in list(arrays) if name.startswith('bias')}
    nonzero = [name for name, b in biases.items() if b.any()]
    if nonzero:
      raise InputError(f'{nonzero[0]} is not zero, expected zeros for a module without biases')
  _checked(arrays)
  return arrays


def _from_torch(kind, arrays, end):
  w_x, w_h = arrays['weight_ih' + end].T, arrays['weight_hh' + end].T
  zeros = np.zeros(w_x.shape[-1], w_x.dtype)
  b_ih, b_hh = (arrays.get(name + end, zeros) for name in ('bias_ih', 'bias_hh'))
  inside = 2 * w_h.shape[0] if kind is GRUParams else len(zeros)  # from here on b_hh stays apart
  b = np.concatenate([(b_ih + b_hh)[:inside], b_ih[inside:]])
  rest = {'b_hn': b_hh[inside:]} if kind is GRUParams else {}
  if 'weight_hr' + end in arrays:
    rest = {'w_p': arrays['weight_hr' + end].T}
  return jax.tree.map(jnp.asarray, kind(w_x, w_h, b, **rest))


def _to_torch(params, end):
  require_plain(params, tuple(_TWINS), 'PyTorch')
  b_hn = getattr(params, 'b_hn', None)
  b_hh = np.zeros(params.b.shape, params.b.dtype)
  if b_hn is not None:
    b_hh[-len(b_hn) :] = b_hn
  arrays = {
    'weight_ih': params.w_x.T,
    'weight_hh': params.w_h.T,
    'bias_ih': params.b,
    'bias_hh': b_hh,
  }
  if getattr(params, 'w_p', None) is not None:
    arrays['weight_hr'] = params.w_p.T
  return {name + end: np.array(a, order='C') for name, a in arrays.items()}


def _array(name, value):
  try:
    array = np.asarray(value)
    return array.astype(np.promote_types(array.dtype, np.float32))
  except (TypeError, ValueError, RuntimeError) as error:
    raise InputError(f'{name} cannot be read as an array of numbers: {error}') from error


def _checked(arrays):
  """Returns the type of parameters and, for every layer, the ends of its names, of a state dict
  whose names and shapes fit each other."""
  kind, hidden = _kind(arrays)
  endings = _endings(arrays)
  shapes = _shapes(arrays, kind, hidden, endings)
  owner = f'an {_TWINS[kind][0]} with layers x directions = {len(endings)} x {len(endings[0])}'
  missing = [name for name in shapes if name not in arrays]
  for name, array in arrays.items():
    if name not in shapes:
      hint = did_you_mean(name, missing)
      raise InputError(f'{name} is not in the state dict of {owner}{hint}')
    if array.shape != shapes[name]:
      raise InputError(f'{name} has shape {array.shape}, expected {shapes[name]} for {owner}')
  if missing:
    raise InputError(f'{missing[0]} is missing, expected in the state dict of {owner}')
  return kind, endings


def _kind(arrays):
  """Returns the type of parameters and H, from the shapes of the first layer."""
  for name in ('weight_ih_l0', 'weight_hh_l0', *({'weight_hr_l0'} & arrays.keys())):
    if name not in arrays or arrays[name].ndim != 2:
      found = f'of shape {arrays[name].shape}' if name in arrays else 'missing'
      inside = [other for other in arrays if other.endswith(f'.{name}')]
      prefix = f'; take {inside[0].removesuffix(name)!r} off the names' if inside else ''
      hint = prefix or did_you_mean(name, arrays)
      raise InputError(
        f'{name} is {found} in a state dict of {", ".join(list(arrays)[:4]) or "nothing"}, expected'
        f' the matrix of an nn.LSTM, nn.GRU or nn.RNN by this name{hint}'
      )
  rows, out = arrays['weight_hh_l0'].shape
  hidden = arrays['weight_hr_l0'].shape[-1] if 'weight_hr_l0' in arrays else out
  for kind, (_, num_gates) in _TWINS.items():
    if rows == num_gates * hidden:
      return kind, hidden
  raise InputError(
    f'weight_hh_l0 has shape {rows, out}, expected 4, 3 or 1 x {hidden} rows as in an nn.LSTM, '
    'nn.GRU or nn.RNN'
  )


def _endings(arrays):
  """Returns for every layer the ends of its names, one per direction."""
  numbers = {match[0] for name in arrays if (match := re.search(r'_l\d+', name))}
  ends = _DIRECTIONS if any(name.endswith('_reverse') for name in arrays) else ('',)
  return [tuple(f'_l{i}{end}' for end in ends) for i in range(len(numbers))]


def _shapes(arrays, kind, hidden, endings):
  """Returns name -> shape of all that a module with these first matrices and layers has."""
  rows, out = arrays['weight_hh_l0'].shape
  size, shapes = arrays['weight_ih_l0'].shape[1], {}
  for layer in endings:
    for end in layer:
      shapes |= {'weight_ih' + end: (rows, size), 'weight_hh' + end: (rows, out)}
      if any(name.startswith('bias') for name in arrays):
        shapes |= {'bias_ih' + end: (rows,), 'bias_hh' + end: (rows,)}
      if kind is LSTMParams and 'weight_hr_l0' in arrays:
        shapes['weight_hr' + end] = (out, hidden)
    size = out * len(layer)
  return shapes
