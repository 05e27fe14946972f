"""What a cell does over time: its state, its gates, its outputs; and how often its gates are open
or shut."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research.cell import Cell
from rnn_research.stepping import prepare_cell
from rnn_research.typing import Array, Params, PyTree, State

# Karpathy et al. 2015: a gate below LEFT is left-saturated, above RIGHT right-saturated.
LEFT, RIGHT = 0.1, 0.9


class Trace(NamedTuple):
  """One layer over time.

  Attributes:
    states: name -> [T, B, ...] float32 after each step; 'h', and 'c' of an LSTM.
    gates: name -> [T, B, H] float32, candidates included; empty for a cell without.
    ys: [T, B, H], its outputs.
  """

  states: dict[str, Array]
  gates: dict[str, Array]
  ys: Array


@functools.partial(jax.jit, static_argnums=0)
def trace(cell: Cell, params: Params, xs: PyTree, state: State | None = None) -> Trace:
  """Records a cell as it steps through a sequence, without dropout.

  Args:
    cell: any recurrence.
    params: its parameters.
    xs: [T, B, F] inputs.
    state: [B, ...] before the first step; default `cell.initial_state`.
  """
  before, after, ys = step_through(cell, params, xs, state)
  return Trace(named_leaves(after), gates_of(cell, params, before, xs), ys)


def gates_of(cell: Cell, params: Params, before: State, xs: PyTree) -> dict[str, Array]:
  """Returns the gates of steps from states `before`, leaves [T, B, ...], with inputs [T, B, F].

  They are name -> [T, B, H]; {} of a cell without.
  """
  if cell.gates is None:
    return {}
  params, _ = prepare_cell(cell, params, None, jax.tree.leaves(xs)[0].shape[1], None)
  return jax.vmap(cell.gates, (None, 0, 0))(params, before, cell.project(params, xs))


def trace_layers(
  cells: tuple[Cell, ...], params: tuple[Params, ...], xs: PyTree
) -> tuple[Trace, ...]:
  """Records every layer of a stack; see `trace`."""
  traces = []
  for cell, p in zip(cells, params, strict=True):
    traces.append(trace(cell, p, xs))
    xs = traces[-1].ys
  return tuple(traces)


def step_through(
  cell: Cell, params: Params, xs: PyTree, state: State | None = None
) -> tuple[State, State, PyTree]:
  """Returns the states before and after every step, leaves [T, B, ...], and the outputs
  [T, B, ...]."""
  rows = jax.tree.leaves(xs)[0].shape[1]
  if state is None:
    state = cell.initial_state(params, rows)
  params, ctx = prepare_cell(cell, params, None, rows, None)

  def body(state, u):
    after, y = cell.step(params, state, u, ctx=ctx)
    return after, (state, after, y)

  return lax.scan(body, state, cell.project(params, xs))[1]


def named_leaves(state: State) -> dict[str, Array]:
  """Returns the leaves of a state by name, such as 'h', or '0.h' of a state within a state."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='.'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(state)
  }


def is_candidate(name: str) -> bool:
  """Returns whether a gate is a candidate, which may be any number and does not saturate: its name
  begins with g or n."""
  return name[0] in 'gn'


def without_candidates(gates: dict[str, Array]) -> dict[str, Array]:
  """Returns the gates that lie in (0, 1)."""
  return {name: gate for name, gate in gates.items() if not is_candidate(name)}


def saturation(gate: Array) -> tuple[Array, Array]:
  """Returns in what share of steps and rows each unit of a gate is shut and in what share it is
  open.

  Args:
    gate: [T, B, H] values in (0, 1).

  Returns:
    Left-saturated (below 0.1) and right-saturated (above 0.9) fractions, [H] float32 each.

  Source: Karpathy, Johnson and Fei-Fei 2015 (arXiv 1506.02078), section 4.3. Deviates from the
  paper: nothing.
  """
  return jnp.mean(gate < LEFT, (0, 1)), jnp.mean(gate > RIGHT, (0, 1))
