"""Our cells under `flax.linen.RNN` and `flax.nnx.RNN`, Flax cells under `unroll`, and weight maps
for LSTM and GRU.

Flax is batch-major unless `time_major=True`, steps its cells one by one and knows neither keys nor
`prepare`: what runs there is the deterministic cell. Its equations are those of `lstm` and
`gru(reset='after')`, the old state kept by z.

Source: Flax 0.12, `linen/recurrent.py` and `nnx/nn/recurrent.py`.
"""

import jax
import jax.numpy as jnp
from flax import linen, nnx

from rnn_research.cell import Cell
from rnn_research.cells.gru import GRUParams
from rnn_research.cells.lstm import LSTMParams
from rnn_research.errors import InputError
from rnn_research.parameters import require_plain
from rnn_research.stepping import take_step
from rnn_research.typing import Array, PyTree, State


class LinenCell(linen.RNNCellBase):
  """A `Cell` as a Linen cell over `[B, F]`; the carry is our state, the parameters are one entry,
  `params['cell']`.

  Attributes:
    cell: the recurrence, without a `ctx`.
  """

  cell: Cell

  @linen.compact
  def __call__(self, carry: State, inputs: Array) -> tuple[State, PyTree]:
    params = self.param('cell', self.cell.init, _abstract(inputs))
    return take_step(self.cell, params, carry, inputs)

  def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> State:
    """Returns the initial state, from the bound parameters where there are some, for inputs of
    shape (B, F)."""
    bound = self.scope is not None and self.has_variable('params', 'cell')
    params = self.get_variable('params', 'cell') if bound else _init(self.cell, rng, input_shape)
    return self.cell.initial_state(params, _batch_size(input_shape))

  @property
  def num_feature_axes(self) -> int:
    return 1


class NNXCell(nnx.RNNCellBase):
  """A `Cell` as an NNX cell over `[B, F]`; the carry is our state, the parameters are one
  `nnx.Param`.

  Args:
    cell: the recurrence, without a `ctx`.
    num_inputs: F.
    rngs: its stream `params` draws the parameters.
  """

  def __init__(self, cell: Cell, num_inputs: int, *, rngs: nnx.Rngs):
    self.cell = cell
    self.params = nnx.Param(_init(cell, rngs.params(), (1, num_inputs)))

  def __call__(self, carry: State, inputs: Array) -> tuple[State, PyTree]:
    return take_step(self.cell, self.params.get_value(), carry, inputs)

  def initialize_carry(self, input_shape: tuple[int, ...], rngs=None, carry_init=None) -> State:
    """Returns the initial state of the cell for inputs of shape (B, F); it needs no random
    numbers."""
    del rngs, carry_init
    return self.cell.initial_state(self.params.get_value(), _batch_size(input_shape))

  @property
  def num_feature_axes(self) -> int:
    return 1


def from_linen(flax_cell: linen.RNNCellBase, row_shape: tuple[int, ...] = (1,)) -> Cell:
  """Makes a `Cell` of a Linen cell: its carry is the state, its `params` collection the parameters.

  Args:
    flax_cell: an unbound cell without other collections.
    row_shape: shape of one row of the input, for cells whose carry depends on it (`ConvLSTMCell`).

  Returns:
    A cell without `scan`. The initial state is `initialize_carry` with a constant key.
  """

  def init(key, x, ctx=None):
    carry_key, key = jax.random.split(key)
    carry = flax_cell.initialize_carry(carry_key, x.shape)
    return flax_cell.init(key, carry, jnp.zeros(x.shape, x.dtype))['params']

  def initial_state(params, batch_size):
    return flax_cell.initialize_carry(jax.random.key(0), (batch_size, *row_shape))

  def step(params, state, u, *, key=None, ctx=None):
    return flax_cell.apply({'params': params}, state, u)

  return Cell(init, initial_state, _identity, step)


def from_nnx(flax_cell: nnx.RNNCellBase, row_shape: tuple[int, ...] = (1,)) -> Cell:
  """Makes a `Cell` of an NNX cell: its carry is the state, its `nnx.Param` variables the
  parameters.

  Args:
    flax_cell: a cell; it is read, never changed.
    row_shape: see `from_linen`.

  Returns:
    A cell without `scan`. Its `init` ignores the key and returns the values that `flax_cell` holds.
  """
  graph, held, *rest = nnx.split(flax_cell, nnx.Param, ...)

  def init(key, x, ctx=None):
    return held

  def initial_state(params, batch_size):
    return nnx.merge(graph, params, *rest).initialize_carry((batch_size, *row_shape), nnx.Rngs(0))

  def step(params, state, u, *, key=None, ctx=None):
    return nnx.merge(graph, params, *rest)(state, u)

  return Cell(init, initial_state, _identity, step)


def lstm_params_to_linen(params: LSTMParams) -> dict:
  """Returns the parameters of `linen.LSTMCell` or `linen.OptimizedLSTMCell`.

  Raises:
    InputError: peepholes, a projection or layer norm, which Flax does not have.
  """
  _check_plain_lstm(params)
  kernels = zip(
    'ifgo', _split(params.w_x, 4), _split(params.w_h, 4), _split(params.b, 4), strict=True
  )
  pairs = [(gate, {'kernel': w_x}, {'kernel': w_h, 'bias': b}) for gate, w_x, w_h, b in kernels]
  return {'i' + gate: x for gate, x, _ in pairs} | {'h' + gate: h for gate, _, h in pairs}


def lstm_params_from_linen(flax_params: dict) -> LSTMParams:
  """Returns our parameters from those of `linen.LSTMCell` or `linen.OptimizedLSTMCell`."""
  return LSTMParams(
    w_x=_join(flax_params, 'i', 'ifgo', 'kernel'),
    w_h=_join(flax_params, 'h', 'ifgo', 'kernel'),
    b=_join(flax_params, 'h', 'ifgo', 'bias'),
  )


def gru_params_to_linen(params: GRUParams) -> dict:
  """Returns the parameters of `linen.GRUCell`.

  Raises:
    InputError: the reset comes before the product, which is another function; or layer norm.
  """
  require_plain(params, (GRUParams,), 'Flax')
  kernels = zip(
    'rzn', _split(params.w_x, 3), _split(params.w_h, 3), _split(params.b, 3), strict=True
  )
  pairs = [(gate, {'kernel': w_x, 'bias': b}, {'kernel': w_h}) for gate, w_x, w_h, b in kernels]
  tree = {'i' + gate: x for gate, x, _ in pairs} | {'h' + gate: h for gate, _, h in pairs}
  return tree | {'hn': tree['hn'] | {'bias': params.b_hn}}


def gru_params_from_linen(flax_params: dict) -> GRUParams:
  """Returns our parameters, for `gru(reset='after')`, from those of `linen.GRUCell`."""
  return GRUParams(
    w_x=_join(flax_params, 'i', 'rzn', 'kernel'),
    w_h=_join(flax_params, 'h', 'rzn', 'kernel'),
    b=_join(flax_params, 'i', 'rzn', 'bias'),
    b_hn=flax_params['hn']['bias'],
  )


def lstm_params_to_nnx(params: LSTMParams) -> dict:
  """Returns what `nnx.update` writes into an `nnx.OptimizedLSTMCell`. Raises as
  `lstm_params_to_linen`."""
  _check_plain_lstm(params)
  return {'dense_i': {'kernel': params.w_x}, 'dense_h': {'kernel': params.w_h, 'bias': params.b}}


def lstm_params_from_nnx(flax_cell: nnx.OptimizedLSTMCell) -> LSTMParams:
  """Returns our parameters from an `nnx.OptimizedLSTMCell`."""
  dense = nnx.to_pure_dict(nnx.state(flax_cell, nnx.Param))
  return LSTMParams(
    dense['dense_i']['kernel'], dense['dense_h']['kernel'], dense['dense_h']['bias']
  )


def gru_params_to_nnx(params: GRUParams) -> dict:
  """Returns what `nnx.update` writes into an `nnx.GRUCell`.

  Raises:
    InputError: as `gru_params_to_linen`, or `b_hn` is not zero: NNX has no bias inside the
      product.
  """
  require_plain(params, (GRUParams,), 'Flax')
  if jnp.any(params.b_hn != 0.0):
    raise InputError('nnx.GRUCell has no bias inside the recurrent product, b_hn is not zero')
  return {'dense_i': {'kernel': params.w_x, 'bias': params.b}, 'dense_h': {'kernel': params.w_h}}


def gru_params_from_nnx(flax_cell: nnx.GRUCell) -> GRUParams:
  """Returns our parameters, for `gru(reset='after')`, from an `nnx.GRUCell`; `b_hn` is zero."""
  dense = nnx.to_pure_dict(nnx.state(flax_cell, nnx.Param))
  bias, w_h = dense['dense_i']['bias'], dense['dense_h']['kernel']
  return GRUParams(dense['dense_i']['kernel'], w_h, bias, jnp.zeros(w_h.shape[0], bias.dtype))


def _identity(params, xs):
  return xs


def _abstract(x):
  return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _init(cell, key, input_shape):
  return cell.init(key, jax.ShapeDtypeStruct(input_shape, jnp.float32))


def _batch_size(input_shape):
  if len(input_shape) != 2:
    raise ValueError(
      f'inputs of one step have shape {input_shape}, expected one batch axis: (B, F)'
    )
  return input_shape[0]


def _split(array, count):
  return jnp.split(array, count, -1)


def _join(tree, prefix, gates, leaf):
  return jnp.concatenate([tree[prefix + gate][leaf] for gate in gates], -1)


def _check_plain_lstm(params):
  require_plain(params, (LSTMParams,), 'Flax')
  if params.w_p is not None:
    raise InputError('Flax has no LSTM with a projection, expected LSTMParams without w_p')
