"""Gates of cells, for people who look inside: what a step computes on its way to the state, named
as in the equations.

A `step` keeps its gates to itself. The functions here compute them once more, from the parameters,
the state before a step and its input, with the equations of `step` where a cell's file has them
apart; tests hold them to the cell by rebuilding its states from them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from rnn_research.cells import lstm_variants, mut, rhn
from rnn_research.cells.gru import GRUParams, recurrent_bias
from rnn_research.cells.layer_norm_lstm import LayerNormLSTMParams
from rnn_research.cells.lstm import LSTMParams
from rnn_research.cells.mgu import MGUParams
from rnn_research.cells.min_gru import MinGRUParams
from rnn_research.cells.min_lstm import MinLSTMParams
from rnn_research.cells.mlstm import MLSTMParams
from rnn_research.errors import InputError
from rnn_research.layers import affine, matmul, sigmoid
from rnn_research.typing import Array, Params, PyTree, State


class Gates(NamedTuple):
  """The gates of one kind of cell.

  Attributes:
    compute: `(params, state before the step, x [B, F]) -> name -> [B, H] float32`, candidates
      included; products are float32 whatever the cell's are.
    sigmoids: names of those that lie in (0, 1): a candidate does not saturate as a gate does.
  """

  compute: Callable[[Params, State, PyTree], dict[str, Array]]
  sigmoids: tuple[str, ...]


def gates_of(params: Params) -> Gates | None:
  """Returns the gates of the cell that these parameters belong to, None where it has none."""
  if isinstance(params, rhn.RHNParams):  # a type per depth, too many for the table
    return Gates(_rhn, tuple(f't{layer + 1}' for layer in range(params.b.shape[0])))
  return GATES.get(type(params))


def require_gates(name: str, params: Params) -> Gates:
  """Returns `gates_of(params)`.

  Raises:
    InputError: the cell, called `name`, has none.
  """
  gates = gates_of(params)
  if gates is None:
    raise InputError(
      f'{name} has no gates that cells/gates.py knows, so there are no gate statistics of it'
    )
  return gates


def _lstm(params, state, x):
  peepholes = getattr(params, 'peepholes', None)  # some kinds of LSTM have no such field
  return _lstm_variant(lstm_variants.VARIANTS['np' if peepholes is None else ''], params, state, x)


def _lstm_variant(variant, params, state, x):
  return lstm_variants.cell_and_gates(variant, params, state, affine(x, params.w_x, params.b))[1]


def _gates_of_variant(variant):
  sigmoids = tuple(name for name in 'ifo' if name in variant.blocks or variant.coupled)
  return Gates(functools.partial(_lstm_variant, variant), sigmoids)


def _mlstm(params, state, x):
  m = matmul(x, params.w_xm) * matmul(state.h, params.w_hm)
  return _lstm(params, state._replace(h=m), x)


def _mgu(params, state, x):
  x_f, x_n = jnp.split(affine(x, params.w_x, params.b), 2, -1)
  f = sigmoid(x_f + matmul(state.h, params.w_h))
  return {'f': f, 'n': jnp.tanh(x_n + matmul(f * state.h, params.w_hn))}


def _gru(params, state, x):
  x_r, x_z, x_n = jnp.split(affine(x, params.w_x, params.b), 3, -1)
  if params.w_hn is None:
    h_r, h_z, h_n = jnp.split(affine(state.h, params.w_h, recurrent_bias(params)), 3, -1)
    r = sigmoid(x_r + h_r)
    n = jnp.tanh(x_n + r * h_n)
  else:
    h_r, h_z = jnp.split(matmul(state.h, params.w_h), 2, -1)
    r = sigmoid(x_r + h_r)
    n = jnp.tanh(x_n + matmul(r * state.h, params.w_hn))
  return {'r': r, 'z': sigmoid(x_z + h_z), 'n': n}


def _mut(form, params, state, x):
  return mut.output_and_gates(form, params, state, mut.project(form, params, x))[1]


def _rhn(params, state, x):
  return rhn.output_and_gates(params, state, affine(x, params.w_x, params.b[0]))[1]


def _min_gru(params, state, x):
  z, n = jnp.split(affine(x, params.w_x, params.b), 2, -1)
  return {'z': sigmoid(z), 'n': n}


def _min_lstm(params, state, x):
  f, i, g = jnp.split(affine(x, params.w_x, params.b), 3, -1)
  return {'f': sigmoid(f), 'i': sigmoid(i), 'g': g}


# A combinator that keeps a cell's parameters, or wraps single weights, keeps its gates.
GATES = {
  LSTMParams: Gates(_lstm, ('i', 'f', 'o')),
  LayerNormLSTMParams: Gates(_lstm, ('i', 'f', 'o')),
  MLSTMParams: Gates(_mlstm, ('i', 'f', 'o')),
  GRUParams: Gates(_gru, ('r', 'z')),
  MGUParams: Gates(_mgu, ('f',)),
  MinGRUParams: Gates(_min_gru, ('z',)),
  MinLSTMParams: Gates(_min_lstm, ('f', 'i')),
  **{
    lstm_variants.PARAMS[change]: _gates_of_variant(variant)
    for change, variant in lstm_variants.VARIANTS.items()
  },
  **{
    mut.PARAMS[name]: Gates(functools.partial(_mut, form), ('z', 'r'))
    for name, form in mut.FORMS.items()
  },
}
