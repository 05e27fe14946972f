"""The LSTM with peepholes, and its eight ablations that Greff et al. compare."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.cells.lstm import LSTMState, gate_biases
from rnn_research.errors import require_size
from rnn_research.layers import input_product, matmul, sigmoid
from rnn_research.typing import Array, State


class LSTMVariantParams(NamedTuple):
  """Parameters of `lstm_variant`."""

  w_x: Any  # [F, KH] float32, the K learned blocks of i f g o, in that order
  w_h: Any  # [H, KH] float32
  b: Array  # [KH] float32
  peepholes: Array | None = None  # [G, H] float32, of the G learned gates of i f o
  w_h_gates: Any = None  # [3H, 3H] float32, from the gates i f o before to those now


class GateState(NamedTuple):
  """State of the variant whose gates see the gates of the step before."""

  c: Array  # [B, H] float32
  h: Array  # [B, H] float32
  gates: Array  # [B, 3H] float32, i f o


class Variant(NamedTuple):
  """What tells one ablation from the cell itself."""

  blocks: str = 'ifgo'  # the learned ones; another gate is 1
  coupled: bool = False  # f is 1 - i
  g: Callable = jnp.tanh  # activation of the candidate
  h: Callable = jnp.tanh  # activation of the cell on its way out
  peepholes: bool = True
  gate_recurrence: bool = False


def _identity(a):
  return a


VARIANTS = {
  '': Variant(),
  'nig': Variant('fgo'),
  'nfg': Variant('igo'),
  'nog': Variant('ifg'),
  'niaf': Variant(g=_identity),
  'noaf': Variant(h=_identity),
  'cifg': Variant('igo', coupled=True),
  'np': Variant(peepholes=False),
  'fgr': Variant(gate_recurrence=True),
}


def lstm_variant(
  hidden_size: int,
  *,
  change: str = '',
  forget_bias: float = 1.0,
  chrono_steps: int = 0,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  dtype=jnp.float32,
) -> Cell:
  """The LSTM with peepholes, with one change. What a change removes has no parameters.

    i = sigmoid(x_t W_i + h_{t-1} R_i + p_i * c_{t-1} + b_i)    input gate
    f = sigmoid(x_t W_f + h_{t-1} R_f + p_f * c_{t-1} + b_f)    forget gate
    g = tanh(x_t W_g + h_{t-1} R_g + b_g)                       candidate
    c_t = f * c_{t-1} + i * g
    o = sigmoid(x_t W_o + h_{t-1} R_o + p_o * c_t + b_o)        output gate, which sees the new cell
    h_t = o * tanh(c_t),    y_t = h_t

    change   name                              what differs                         parameters
    nig      no input gate                     i = 1                                - H(F + H + 2)
    nfg      no forget gate                    f = 1                                - H(F + H + 2)
    nog      no output gate                    o = 1                                - H(F + H + 2)
    niaf     no input activation function      g = x_t W_g + h_{t-1} R_g + b_g
    noaf     no output activation function     h_t = o * c_t, which no longer is bounded
    cifg     coupled input and forget gate     f = 1 - i                            - H(F + H + 2)
    np       no peepholes                      p = 0, so the function of `lstm`               - 3H
    fgr      full gate recurrence              [i f o]_{t-1} Q is added to the three gates    + 9HH

  The change '' is the cell itself. With fgr the gates are part of the state; they start at 0.

  Args:
    hidden_size: H.
    change: a key of the table.
    forget_bias: added to b_f at initialisation, where there is a b_f; with cifg, taken from b_i: f
      is the same.
    chrono_steps: see `lstm`; it sets those of b_f and b_i that there are.
    w_x_init: initialiser of [F, KH], for K learned blocks.
    w_h_init: initialiser of one [H, H], of R and of Q.
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Raises:
    ValueError: there is no such change; at `init`, `chrono_steps` is neither 0 nor at least 3.

  Source: peepholes Gers et al. 2002; Greff et al. 2015 (arXiv 1503.04069). Deviates from the
  papers: peepholes start at zero, the forget bias at 1.
  """
  require_size('hidden_size', hidden_size)
  if change not in VARIANTS:
    raise ValueError(f'change is {change!r}, expected one of {", ".join(filter(None, VARIANTS))}')
  variant = VARIANTS[change]
  blocks = variant.blocks

  def init(key, x, ctx=None):
    key_x, key_h, key_q, key_b = jax.random.split(key, 4)

    def square(k):
      return w_h_init(k, (hidden_size, hidden_size), jnp.float32)

    return LSTMVariantParams(
      w_x=w_x_init(key_x, (x.shape[-1], len(blocks) * hidden_size), jnp.float32),
      w_h=jnp.concatenate([square(k) for k in jax.random.split(key_h, 4)[: len(blocks)]], 1),
      b=gate_biases(
        key_b,
        blocks,
        hidden_size,
        forget_bias,
        chrono_steps,
        -forget_bias if variant.coupled else 0.0,
      ),
      peepholes=jnp.zeros((len(blocks) - 1, hidden_size), jnp.float32)
      if variant.peepholes
      else None,
      w_h_gates=jnp.block([[square(k) for k in row] for row in jax.random.split(key_q, (3, 3))])
      if variant.gate_recurrence
      else None,
    )

  def initial_state(params, batch_size):
    def zeros(width):
      return jnp.zeros((batch_size, width), params.b.dtype)

    state = zeros(hidden_size), zeros(hidden_size)
    return (
      GateState(*state, zeros(3 * hidden_size)) if variant.gate_recurrence else LSTMState(*state)
    )

  def project(params, xs):
    return input_product(xs, params.w_x, params.b, dtype)

  def step(params, state, u, *, key=None, ctx=None):
    c, found = _cell_and_gates(variant, params, state, u, dtype)
    h = found.get('o', 1.0) * variant.h(c)
    if variant.gate_recurrence:
      return GateState(c, h, jnp.concatenate([found[name] for name in 'ifo'], -1)), h.astype(dtype)
    return LSTMState(c, h), h.astype(dtype)

  def gates(params, state, u):
    return _cell_and_gates(variant, params, state, u, dtype)[1]

  return Cell(init, initial_state, project, step, gates=gates)


def _cell_and_gates(
  variant: Variant, params: LSTMVariantParams, state: State, u: Array, dtype
) -> tuple[Array, dict[str, Array]]:
  """Returns c_t, and by name the candidate and all gates that are not 1; `u` [B, KH] is
  x_t W + b."""
  blocks = variant.blocks
  z = dict(
    zip(blocks, jnp.split(u + matmul(state.h, params.w_h, dtype), len(blocks), -1), strict=True)
  )
  if variant.gate_recurrence:
    for name, q in zip(
      'ifo', jnp.split(matmul(state.gates, params.w_h_gates, dtype), 3, -1), strict=True
    ):
      z[name] += q
  p = (
    {}
    if params.peepholes is None
    else dict(zip(blocks.replace('g', ''), params.peepholes[:, None], strict=True))
  )

  def gate(name, c):
    return sigmoid(z[name] + p[name] * c if name in p else z[name])

  gates = {name: gate(name, state.c) for name in 'if' if name in blocks} | {'g': variant.g(z['g'])}
  if variant.coupled:
    gates['f'] = 1.0 - gates['i']
  c = gates.get('f', 1.0) * state.c + gates.get('i', 1.0) * gates['g']
  if 'o' in blocks:
    gates['o'] = gate('o', c)
  return c, gates
