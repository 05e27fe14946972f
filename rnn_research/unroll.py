"""Drivers that run cells over time. This is the one place that knows masks, resets, keys and
rematerialisation."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.errors import InputError
from rnn_research.stepping import prepare_cell
from rnn_research.typing import Array, Key, Params, PyTree, State


def length_mask(lengths: Array, num_steps: int) -> Array:
  """Returns `mask[t, b] = t < lengths[b]`, `[T, B] bool`. A length may be 0."""
  return jnp.arange(num_steps)[:, None] < jnp.asarray(lengths)[None, :]


def unroll(
  cell: Cell,
  params: Params,
  xs: PyTree,
  state: State | None = None,
  *,
  mask: Array | None = None,
  reset: Array | None = None,
  key: Key | None = None,
  ctx: PyTree = None,
  reverse: bool = False,
  remat_every: int | None = None,
) -> tuple[State, PyTree]:
  """Runs one cell over a sequence: `(h_t, y_t) = step(h_{t-1}, x_t)` for t = 1..T.

  Truncated backpropagation through time needs nothing else: pass the returned state as the next
  chunk's `state`; an argument is a constant, so the gradient stays inside the chunk.

  Args:
    cell: the recurrence.
    params: its parameters.
    xs: [T, B, ...] inputs. Masked steps may hold anything, NaN included.
    state: [B, ...] state before the first step; default `cell.initial_state`. One that
      holds the positions of a memory in `ctx` must be given.
    mask: [T, B] bool; False holds the state bit for bit and gives y = 0. See `length_mask`. A reset
      acts first, also at a masked step.
    reset: [T, B] bool; True puts the initial state in place before the step is taken. With
      `reverse` a step's predecessor is the one after it in time, so documents are then marked at
      their last step.
    key: consumed by `cell.prepare` and, split per step, by `cell.step`; None means deterministic.
    ctx: constants of the sequence with leaves [B, ...], handed to `prepare` and every step.
    reverse: runs from the last step to the first under the same mask; `ys` stays in the order of
      `xs`.
    remat_every: stores the state every k steps only and recomputes the rest in the backward pass.

  Returns:
    The state after the last step, and outputs `[T, B, ...]`.

  Raises:
    ValueError: `mask`, `reset` or a leaf of `state` does not fit `xs`.
    InputError: `mask` or `reset` is not an array of bool, or a state that holds the positions of a
      memory is not given.
  """
  (state,), ys = unroll_layers(
    (cell,),
    (params,),
    xs,
    None if state is None else (state,),
    mask=mask,
    reset=reset,
    key=key,
    ctx=ctx,
    reverse=reverse,
    remat_every=remat_every,
  )
  return state, ys


def without_resets(
  cell: Cell, form: Callable[[Params, State, PyTree, Array], tuple[State, PyTree]]
) -> Cell:
  """Returns a cell with a form for whole sequences that knows no resets: where there are some, it
  steps. So do cells that read stories, which have a beginning each.

  Args:
    cell: without a `scan`.
    form: `(params, state, xs [T, B, ...], mask [T, B]) -> (state, ys)`.
  """

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    check_flags(mask, reset, reset_state, xs.shape[:2])
    if reset is None:
      return form(params, state, xs, jnp.ones(xs.shape[:2], bool) if mask is None else mask)
    # `unroll` puts the initial state in place where there is a reset: that is `reset_state` here.
    begun = cell._replace(initial_state=lambda params, batch_size: reset_state)
    return unroll(begun, params, xs, state, mask=mask, reset=reset)

  return cell._replace(scan=scan)


def unroll_layers(
  cells: tuple[Cell, ...],
  params: tuple[Params, ...],
  xs: PyTree,
  states: tuple[State, ...] | None = None,
  *,
  dropout: float = 0.0,
  key: Key | None = None,
  mask: Array | None = None,
  reset: Array | None = None,
  ctx: PyTree = None,
  reverse: bool = False,
  remat_every: int | None = None,
) -> tuple[tuple[State, ...], PyTree]:
  """Runs a stack of cells layer by layer, so that every layer's projection is hoisted out of its
  time loop.

    h^0_t = x_t;   h^l_t = cell_l(dropout(h^{l-1}_t), h^l_{t-1}),   l = 1..L;   y_t = h^L_t

  Args:
    cells: L recurrences, the first reads `xs`.
    params: L parameter trees.
    xs: [T, B, ...] inputs.
    states: L states; default the initial ones.
    dropout: rate on the outputs of every layer but the last (vertical connections only, drawn anew
      at every step), active when there is a key (Zaremba et al. 2014).
    key: folded with the layer's index; see `unroll`.
    mask: see `unroll`, as for `reset`, `ctx`, `reverse` and `remat_every`.

  Returns:
    A tuple of L states, and the last layer's outputs `[T, B, ...]`.

  Raises:
    ValueError: the numbers of cells, params and states differ, or a shape does not fit.
    InputError: `mask` or `reset` is not an array of bool.
  """
  num_steps, batch_size = _sequence_shape(xs)
  if len(cells) != len(params) or (states is not None and len(cells) != len(states)):
    counts = f'{len(params)} params and {"default" if states is None else len(states)} states'
    raise ValueError(f'{len(cells)} cells do not fit {counts}')
  if remat_every is not None and remat_every < 1:
    raise ValueError(f'remat_every is {remat_every}, expected at least 1')
  initial = tuple(cell.initial_state(p, batch_size) for cell, p in zip(cells, params, strict=True))
  check_flags(mask, reset, initial, (num_steps, batch_size))
  states = initial if states is None else tuple(states)
  for got, expected in zip(states, initial, strict=True):
    _check_state(got, expected, ctx)
  sequence = Steps(xs, mask, reset, None)
  sequence = _flip(sequence) if reverse else sequence
  keys = [None if key is None else jax.random.fold_in(key, layer) for layer in range(len(cells))]
  states, ys = run_layers(
    cells,
    params,
    states,
    sequence,
    initial,
    keys=keys,
    dropout=dropout,
    ctx=ctx,
    remat_every=remat_every,
  )
  return states, _flip(ys) if reverse else ys


def bidirectional(
  forward: Cell,
  backward: Cell,
  params: tuple[Params, Params],
  xs: PyTree,
  states: tuple[State, State] | None = None,
  *,
  mask: Array | None = None,
  key: Key | None = None,
  ctx: PyTree = None,
  remat_every: int | None = None,
) -> tuple[tuple[State, State], PyTree]:
  """Runs one cell forwards and one backwards and joins their outputs: `y_t = [h_t forwards; h_t
  backwards]`.

  With a mask of lengths the backward cell starts at each sequence's own last real step.

  Args:
    forward: reads from the first step on.
    backward: reads from the last step on.
    params: (forward, backward) parameters.
    xs: [T, B, ...] inputs.
    states: (forward, backward) states.
    mask: see `unroll`, as for `ctx` and `remat_every`.
    key: folded with 0 forwards and 1 backwards.

  Returns:
    The two final states, and outputs `[T, B, H_forward + H_backward]`.

  Source: Schuster and Paliwal 1997. Deviates from the paper: nothing.
  """
  ends, outputs = [], []
  for i, cell in enumerate((forward, backward)):
    end, ys = unroll(
      cell,
      params[i],
      xs,
      None if states is None else states[i],
      mask=mask,
      ctx=ctx,
      reverse=i == 1,
      key=None if key is None else jax.random.fold_in(key, i),
      remat_every=remat_every,
    )
    ends.append(end)
    outputs.append(ys)
  return tuple(ends), jax.tree.map(lambda f, b: jnp.concatenate([f, b], -1), *outputs)


class Steps(NamedTuple):
  """What a time loop reads, each leaf `[T, B, ...]` or None; `keys` is `[T]`."""

  xs: PyTree
  mask: Array | None
  reset: Array | None
  keys: Array | None


def run_layers(
  cells, params, states, sequence, reset_states, *, keys, dropout=0.0, ctx=None, remat_every=None
):
  """`unroll_layers` with every default filled in, time already flipped, and one key (or None) per
  layer."""
  ends, ys = [], sequence.xs
  for layer, (cell, key) in enumerate(zip(cells, keys, strict=True)):
    cell_key, drop_key = (None, None) if key is None else jax.random.split(key)
    if layer > 0:
      ys = jax.tree.map(lambda a, k=drop_key: layers.dropout(k, a, dropout), ys)
    end, ys = _run(
      cell,
      params[layer],
      states[layer],
      sequence._replace(xs=ys),
      reset_states[layer],
      key=cell_key,
      ctx=ctx,
      remat_every=remat_every,
    )
    ends.append(end)
  return tuple(ends), ys


def _run(cell, params, state, sequence, reset_state, *, key, ctx, remat_every):
  num_steps, batch_size = _sequence_shape(sequence.xs)
  prepare_key, steps_key = (None, None) if key is None else jax.random.split(key)
  params, ctx = prepare_cell(cell, params, ctx, batch_size, prepare_key)
  if sequence.mask is not None:
    # Before anything reads them: a NaN in padding would pass through `where` into the gradients.
    zeros = jax.tree.map(jnp.zeros_like, sequence.xs)
    sequence = sequence._replace(xs=select(sequence.mask, sequence.xs, zeros))
  if cell.scan is not None:  # and so its step ignores key and ctx

    def block(state, seq):
      return cell.scan(
        params, state, seq.xs, mask=seq.mask, reset=seq.reset, reset_state=reset_state
      )
  else:
    if steps_key is not None:
      sequence = sequence._replace(keys=jax.random.split(steps_key, num_steps))

    def block(state, seq):
      return _scan_steps(cell, params, state, seq, reset_state, ctx)

  if remat_every is None:
    return block(state, sequence)
  return in_blocks(jax.checkpoint(block), state, sequence, remat_every)


def _scan_steps(cell, params, state, sequence, reset_state, ctx):
  us = cell.project(params, sequence.xs)

  def take(state, inputs):
    after, y = advance(cell, params, state, Steps(*inputs), reset_state, ctx)
    if ctx is not None:
      _check_grown(state, after)
    return after, y

  return lax.scan(take, state, (us, *sequence[1:]))


def advance(
  cell: Cell, params: Params, state: State, step: Steps, reset_state: State, ctx: PyTree = None
):
  """One step of a cell under its mask and reset.

  Args:
    cell: the recurrence.
    params: its parameters.
    state: [B, ...] state before the step.
    step: one time step, leaves [B, ...], whose `xs` are projected inputs.
    reset_state: [B, ...] what a reset puts in place.
    ctx: see `unroll`.

  Returns:
    The state after the step, and the output [B, ...].
  """
  if step.reset is not None:
    state = select(step.reset, reset_state, state)
  new_state, y = cell.step(params, state, step.xs, key=step.keys, ctx=ctx)
  if step.mask is not None:
    new_state = select(step.mask, new_state, state)
    y = select(step.mask, y, jax.tree.map(jnp.zeros_like, y))
  return new_state, y


def in_blocks(block: Callable, state: State, sequence: PyTree, every: int) -> tuple[State, PyTree]:
  """Runs `block: (state, steps) -> (state, outputs)` over pieces of `every` steps, the last of
  which may be shorter."""
  num_steps = jax.tree.leaves(sequence)[0].shape[0]
  num_blocks, rest = divmod(num_steps, every)
  if num_blocks + (rest > 0) <= 1:
    return block(state, sequence)
  cut = num_blocks * every
  head = jax.tree.map(lambda a: a[:cut].reshape(num_blocks, every, *a.shape[1:]), sequence)
  state, ys = lax.scan(block, state, head)
  ys = jax.tree.map(lambda a: a.reshape(cut, *a.shape[2:]), ys)
  if rest:
    state, tail = block(state, jax.tree.map(lambda a: a[cut:], sequence))
    ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, tail)
  return state, ys


def check_flags(
  mask: Array | None, reset: Array | None, reset_state: State | None, shape: tuple[int, int]
) -> None:
  """Raises unless what a time loop is told of its steps can be followed; every form of one asks.

  Integers are refused although `where` takes them: `~1` is -2, which is true.

  Raises:
    InputError: `mask` or `reset` is not an array of bool.
    ValueError: one does not have this shape, [T, B], or a reset has no state to put in place.
  """
  for name, array in (('mask', mask), ('reset', reset)):
    if array is None:
      continue
    if getattr(array, 'dtype', None) != jnp.bool_:
      found = f'of dtype {array.dtype}' if hasattr(array, 'dtype') else f'a {type(array).__name__}'
      raise InputError(f'{name} is {found}, expected an array of bool, [T, B]')
    if array.shape != shape:
      raise ValueError(f'{name} has shape {array.shape}, expected [T, B] = {shape} as in xs')
  if reset is not None and reset_state is None:
    raise ValueError('reset needs a reset_state')


def select(condition: Array, on_true: PyTree, on_false: PyTree) -> PyTree:
  """`jnp.where` over trees: `condition` is broadcast over the trailing axes of every leaf."""

  def where(a, b):
    return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

  return jax.tree.map(where, on_true, on_false)


def _flip(tree):
  return jax.tree.map(lambda a: jnp.flip(a, 0), tree)


def _sequence_shape(xs):
  leaf = jax.tree.leaves(xs)[0]
  if leaf.ndim < 2:
    raise ValueError(f'xs has shape {leaf.shape}, expected time-major [T, B, ...]')
  return leaf.shape[:2]


def _check_state(state, expected, ctx):
  if jax.tree.structure(state) != jax.tree.structure(expected):
    raise ValueError(
      f'state is a {jax.tree.structure(state)}, expected {jax.tree.structure(expected)}'
    )
  for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
    if not _fits(got.shape, want.shape, ctx):
      raise ValueError(
        f'a leaf of state has shape {got.shape}, expected {want.shape} from the cell and xs'
      )


def _check_grown(state, after):
  """Raises InputError where a step gives a state other sizes, which only `ctx` knows."""
  for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
    if a.shape != b.shape:
      raise InputError(
        f'a leaf of state has shape {a.shape} before the first step and {b.shape} after it, '
        'expected a state with the positions of the memory in ctx'
      )


def _fits(shape, initial, ctx):
  """Returns whether a leaf of a state may have this shape: where an initial state, which never sees
  `ctx`, has a size of 1, a given one may have the positions of a memory."""
  if ctx is None or len(shape) != len(initial):
    return shape == initial
  return shape[:1] == initial[:1] and all(
    size in (1, given) for given, size in zip(shape[1:], initial[1:], strict=True)
  )
