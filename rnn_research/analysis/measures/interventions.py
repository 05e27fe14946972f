"""What a model does when one unit is held, or is put as it was in another text."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnn_research.analysis.measures.recording import Recording, Unit
from rnn_research.analysis.measures.traces import named_leaves
from rnn_research.cell import Cell
from rnn_research.data.streams import evaluation_lanes
from rnn_research.errors import InputError, require
from rnn_research.models.language_model import LanguageModel, log_probabilities
from rnn_research.typing import Array, Params, State

LANES = 16


def hold(cell: Cell, leaf: str, units: Array, values: Array) -> Cell:
  """Keeps one unit of a state at a value, after every step.

  The output follows where the unit is one of h. A unit of a memory c is read one step later, when
  the gates have seen it.

  Args:
    cell: any recurrence whose output is h, where `leaf` is that.
    leaf: name of the state's leaf, 'h' or 'c'.
    units: [B] int32, which unit in each row.
    values: [B] float32; NaN holds none.
  """

  def step(params, state, u, *, key=None, ctx=None):
    state, y = cell.step(params, state, u, key=key, ctx=ctx)
    state = put(state, leaf, units, values)
    return state, state.h.astype(y.dtype) if leaf == 'h' else y

  return cell._replace(step=step, scan=None)


def put(state: State, leaf: str, units: Array, values: Array) -> State:
  """Returns a state with one unit in each row changed; see `hold`."""

  def change(path, a):
    if jax.tree_util.keystr(path, simple=True, separator='.') != leaf:
      return a
    there = (jnp.arange(a.shape[1])[None] == units[:, None]) & ~jnp.isnan(values)[:, None]
    return jnp.where(there, values[:, None].astype(a.dtype), a)

  return jax.tree_util.tree_map_with_path(change, state)


def check_unit(model: LanguageModel, params: Params, unit: Unit) -> None:
  """Raises InputError unless a unit can be held."""
  layers = len(model.cells)
  require('the layer of a unit', unit.layer, 1 <= unit.layer <= layers, f'1 to {layers}')
  states = jax.eval_shape(lambda p: model.initial_state(p, 1), params)
  leaves = named_leaves(states[unit.layer - 1])
  sizes = {
    name: a.shape[1]
    for name, a in leaves.items()
    if a.ndim == 2 and jnp.issubdtype(a.dtype, jnp.floating)
  }
  if unit.leaf not in sizes:
    raise InputError(
      f'{unit}: the state of the layer has no {unit.leaf!r} that can be held, expected one of '
      f'{", ".join(sizes) or "none"}'
    )
  size = sizes[unit.leaf]
  require(f'the unit of {unit.leaf}', unit.place, 0 <= unit.place < size, f'0 to {size - 1}')


def held(cells: Sequence[Cell], units: Sequence[Unit], values: Sequence) -> tuple[Cell, ...]:
  """Returns cells of which units stay at values; see `hold`.

  Args:
    cells: the layers, first to last.
    units: K of them.
    values: K of them, each a number or [B] of them, one of each row, NaN where the unit is free.
  """
  cells = list(cells)
  for unit, value in zip(units, values, strict=True):
    of_rows = jnp.atleast_1d(jnp.asarray(value, jnp.float32))
    place = jnp.full(1, unit.place, jnp.int32)
    cells[unit.layer - 1] = hold(cells[unit.layer - 1], unit.leaf, place, of_rows)
  return tuple(cells)


def matched_units(recording: Recording, unit: Unit, count: int) -> list[Unit]:
  """Returns the other units of the same leaf whose deviation over the text is nearest."""
  leaf = [place for place, other in enumerate(recording.units) if other[:2] == unit[:2]]
  columns = slice(leaf[0], leaf[-1] + 1)  # a leaf's units lie side by side
  deviations = recording.values[:, columns].std(0, dtype=np.float32)
  nearest = np.argsort(np.abs(deviations - deviations[unit.place]), kind='stable')
  peers = [recording.units[columns][i] for i in nearest]
  return [peer for peer in peers if peer != unit][:count]


def ablate(
  model: LanguageModel,
  remake: Callable[[tuple[Cell, ...]], LanguageModel],
  params: Params,
  ids: np.ndarray,
  units: Sequence[Unit],
  values: Sequence[float],
) -> np.ndarray:
  """Returns log p of every prediction of a text while one unit stays at a value, such as its mean:
  [1 + K, N - 1] float32, first without any.

  The text is read in `LANES` lanes at once, so the first symbols of each have little context, the
  same for all.

  Args:
    model: the language model.
    remake: `cells -> model`, the same of other cells.
    params: of the model.
    ids: [N] int32.
    units: K of one layer and leaf.
    values: K of them.
  """
  inputs, targets, mask = evaluation_lanes(ids, LANES)
  lanes, kinds = inputs.shape[1], 1 + len(units)
  index = np.repeat([0, *(unit.place for unit in units)], lanes).astype(np.int32)
  value = np.repeat([np.nan, *values], lanes).astype(np.float32)
  tiled = (np.tile(a, (1, kinds)) for a in (inputs, targets, mask))
  run = _ablation(model, remake, *units[0][:2])
  found = np.asarray(run(params, index, value, *tiled)).reshape(len(inputs), kinds, lanes)
  return found.transpose(1, 2, 0).reshape(kinds, -1)[:, : len(ids) - 1]


@functools.lru_cache(maxsize=16)
def _ablation(model, remake, layer, leaf):
  """Returns `(params, units [B], values [B], inputs, targets, mask [T, B]) -> log p [T, B]`,
  compiled once for all units of a leaf."""

  @jax.jit
  def run(params, index, value, *arrays):
    cells = list(model.cells)
    cells[layer - 1] = hold(cells[layer - 1], leaf, index, value)
    return log_probabilities(remake(tuple(cells)), params, *arrays)

  return run


def matched_contexts(
  ids: np.ndarray, labels: np.ndarray, window: int, same: int, steps: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the ends of pairs of contexts that end in the same symbols but differ in a concept: [P]
  int64 each, first that where it holds, or where the number is greater.

  Args:
    ids: [N] int32.
    labels: [N] float32, NaN where there is none. Numbers must differ by a deviation at least.
    window: symbols of a context.
    same: how many of them are equal, at its end.
    steps: symbols that follow every context.
    count: the most pairs; no two end in the same symbols.
  """
  needed = max(float(np.nanstd(labels)), 1e-6)
  ends: dict[bytes, list[int]] = {}
  for end in np.random.default_rng(0).permutation(np.arange(window, len(ids) - steps - 1)):
    if np.isfinite(labels[end]):
      ends.setdefault(ids[end + 1 - same : end + 1].tobytes(), []).append(int(end))
  extremes = (
    (max(g, key=labels.__getitem__), min(g, key=labels.__getitem__)) for g in ends.values()
  )
  pairs = [(on, off) for on, off in extremes if labels[on] - labels[off] >= needed][:count]
  on, off = np.array(pairs, np.int64).reshape(-1, 2).T
  return on, off


def patch(
  model: LanguageModel,
  params: Params,
  ids: np.ndarray,
  pairs: tuple[np.ndarray, np.ndarray],
  window: int,
  steps: int,
  units: Sequence[Unit],
) -> np.ndarray:
  """Returns how far predictions move when a unit takes the value that it has after the other
  context of a pair: [K, P] float32, in [0, 1].

    mean over m = 1 .. M of 1/2 sum_v |p'(v | x_1 .. x_m) - p(v | x_1 .. x_m)|

  with x what follows the first context in the text, p as the model is after that context, p' with
  the unit changed once, before x_1.

  Args:
    model: the language model.
    params: its parameters.
    ids: [N] int32.
    pairs: of `matched_contexts`.
    window: symbols of a context, which is read from the initial state.
    steps: M.
    units: K of one layer and leaf.
  """

  def cut(ends, first, last):
    return np.stack([ids[e + 1 + first : e + 1 + last] for e in ends], 1)

  texts = cut(pairs[0], -window, 0), cut(pairs[1], -window, 0), cut(pairs[0], 0, steps)
  index = np.array([unit.place for unit in units], np.int32)
  return np.asarray(_patching(model, *units[0][:2])(params, *texts, index))


@functools.lru_cache(maxsize=16)
def _patching(model, layer, leaf):
  """Returns `(params, contexts [T, P], others [T, P], after [M, P], units [K]) -> [K, P]`, compiled
  once for all units of a leaf."""

  @jax.jit
  def run(params, context, other, after, index):
    start = model.initial_state(params, context.shape[1])
    states, others = (model.unroll(params, start, text)[0] for text in (context, other))
    donor = named_leaves(others[layer - 1])[leaf]

    def predicted(states):
      return jax.nn.softmax(model.logits(params, model.unroll(params, states, after)[1]), -1)

    plain = predicted(states)

    def moved(unit):
      rows = jnp.full(len(donor), unit)
      changed = put(states[layer - 1], leaf, rows, donor[:, unit])
      there = predicted((*states[: layer - 1], changed, *states[layer:]))
      return 0.5 * jnp.abs(there - plain).sum(-1).mean(0)

    return lax.map(moved, index)

  return run
