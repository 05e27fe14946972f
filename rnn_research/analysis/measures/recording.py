"""What every unit of a language model does over a long text, in bounded memory."""

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnn_research.analysis.measures.traces import (
  gates_of,
  is_candidate,
  named_leaves,
  step_through,
)
from rnn_research.errors import InputError
from rnn_research.models.language_model import LanguageModel
from rnn_research.typing import Params

CHUNK = 2048
UNIT = r'[0-9]+:[A-Za-z0-9_.]*[A-Za-z_][0-9]+'  # as it is written
GUESSES = 5
_LARGEST = float(np.finfo(np.float16).max)


class Unit(NamedTuple):
  """One number of a state, written '1:c23': layer, leaf and place.

  Attributes:
    layer: counted from 1.
    leaf: of the layer's state: 'h', or 'c'.
    place: within the leaf.
  """

  layer: int
  leaf: str
  place: int

  def __str__(self) -> str:
    return f'{self.layer}:{self.leaf}{self.place}'


def read_unit(text: str) -> Unit:
  """Returns the unit that a person writes as '1:c23'; raises InputError for another form."""
  if not re.fullmatch(UNIT, text):
    raise InputError(f"the unit is {text!r}, expected 'layer:unit' such as '1:c23'")
  layer, named = text.split(':')
  leaf = named.rstrip('0123456789')
  return Unit(int(layer), leaf, int(named[len(leaf) :]))


class Piece(NamedTuple):
  """A stretch of T symbols of a text, and what a model did after each.

  Attributes:
    states: of each layer, name -> [T, W] float32.
    gates: of each layer, name -> [T, H] float32; empty for a cell without.
    log_probs: [T] float32, nats, of the symbol that follows; NaN after the last of the text.
    guesses: [T, K] int32, the most probable next symbols.
    probs: [T, K] float32, their probabilities.
  """

  states: tuple[dict[str, np.ndarray], ...]
  gates: tuple[dict[str, np.ndarray], ...]
  log_probs: np.ndarray
  guesses: np.ndarray
  probs: np.ndarray


class Recording(NamedTuple):
  """A whole text, as `gather` keeps it.

  Attributes:
    units: U of them.
    values: [N, U] float16, each unit after each symbol; what is larger than 65,504 is cut.
    gates: of each layer, name -> [N, H] uint8, of 255ths; candidates are clipped to [-1, 1] first,
      and 0 stands for -1.
    log_probs: see `Piece`, as for `guesses` and `probs`; [N, ...].
  """

  units: tuple[Unit, ...]
  values: np.ndarray
  gates: tuple[dict[str, np.ndarray], ...]
  log_probs: np.ndarray
  guesses: np.ndarray
  probs: np.ndarray


def record(model: LanguageModel, params: Params, ids: np.ndarray) -> Iterator[Piece]:
  """Yields what a model does as it reads a text from the initial state, `CHUNK` symbols at a time.

  The state goes on from one piece to the next, so the pieces are those of one exact pass.

  Args:
    model: the language model.
    params: its parameters.
    ids: [N] int32 symbols.
  """
  run, states = _compiled(model), model.initial_state(params, 1)
  targets = np.append(ids[1:], 0)
  for start in range(0, len(ids), CHUNK):
    part = slice(start, start + CHUNK)
    states, piece = run(params, states, ids[part], targets[part])
    piece = jax.tree.map(np.array, piece)
    # JAX returns dictionaries by the order of their names.
    piece = piece._replace(states=tuple(map(_in_order, states, piece.states)))
    if start + CHUNK >= len(ids):
      piece.log_probs[-1] = np.nan
    yield piece


def _in_order(state, named):
  return {name: named[name] for name in named_leaves(state)}


def units_of(model: LanguageModel, params: Params) -> tuple[Unit, ...]:
  """Returns a unit for every number of the model's states, as `Recording.values` has them."""
  states = jax.eval_shape(functools.partial(model.initial_state, batch_size=1), params)
  return tuple(
    Unit(layer, name, place)
    for layer, state in enumerate(states, 1)
    for name, leaf in named_leaves(state).items()
    for place in range(leaf.size)
  )


def gather(
  units: tuple[Unit, ...], pieces: Iterable[Piece], length: int, show: Callable[[int], None]
) -> Recording:
  """Returns all pieces of a text together.

  Args:
    units: of the model, see `units_of`.
    pieces: of `record`.
    length: N, symbols of the text, one at least.
    show: is called with the number of symbols done, after each piece.
  """
  kept: Any = None
  done = 0
  for piece in pieces:
    part = _reduced(piece)
    if not done:
      kept = jax.tree.map(lambda a: np.empty((length, *a.shape[1:]), a.dtype), part)
    done += len(piece.log_probs)
    for whole, new in zip(jax.tree.leaves(kept), jax.tree.leaves(part), strict=True):
      whole[done - len(new) : done] = new
    show(done)
  return Recording(units, *kept)


def _reduced(piece):
  """Returns the fields of a `Recording` but its units."""
  leaves = [values for layer in piece.states for values in layer.values()]
  gates = tuple({name: _bytes(name, gate) for name, gate in layer.items()} for layer in piece.gates)
  return np.concatenate(leaves, 1).clip(-_LARGEST, _LARGEST).astype(np.float16), gates, *piece[2:]


def _bytes(name, gate):
  low = -1.0 if is_candidate(name) else 0.0
  return np.round((np.clip(gate, low, 1.0) - low) / (1.0 - low) * 255).astype(np.uint8)


def gate_values(recording: Recording, layer: int, name: str, unit: int) -> np.ndarray:
  """Returns a gate of one unit as numbers, [N] float32.

  Args:
    recording: has it.
    layer: counted from 1.
    name: of the gate.
    unit: which of H.
  """
  low = -1.0 if is_candidate(name) else 0.0
  return low + recording.gates[layer - 1][name][:, unit] * np.float32((1.0 - low) / 255)


def values_of(recording: Recording, unit: Unit) -> np.ndarray:
  """Returns what a unit was after each symbol, [N] float32."""
  return recording.values[:, recording.units.index(unit)].astype(np.float32)


def values_in_one(recording: Recording, unit: Unit) -> np.ndarray:
  """Returns the same within [-1, 1], to be shown: tanh of a memory c, anything else over its
  largest absolute value where that is more than 1."""
  values = values_of(recording, unit)
  return np.tanh(values) if unit.leaf == 'c' else values / max(1.0, float(np.abs(values).max()))


@functools.lru_cache(maxsize=2)
def _compiled(model: LanguageModel) -> Callable:
  """Returns `(params, states, ids [T], targets [T]) -> (states, Piece)`."""

  @jax.jit
  def run(params, states, ids, targets):
    xs, after, named, gates = model.embed(params, ids[:, None]), [], [], []
    for cell, p, state in zip(model.cells, params['cells'], states, strict=True):
      before, every, ys = step_through(cell, p, xs, state)
      gates.append(_flat(gates_of(cell, p, before, xs)))
      named.append(_flat(named_leaves(every)))
      after.append(jax.tree.map(lambda a: a[-1], every))
      xs = ys
    log_probs = jax.nn.log_softmax(model.logits(params, xs[:, 0]), -1)
    of_target = jnp.take_along_axis(log_probs, targets[:, None], 1)[:, 0]
    best, guesses = lax.top_k(log_probs, min(GUESSES, log_probs.shape[1]))
    piece = Piece(tuple(named), tuple(gates), of_target, guesses, jnp.exp(best))
    return tuple(after), piece

  return run


def _flat(named):
  """Returns arrays [T, 1, ...] as [T, W] float32."""
  return {name: array.reshape(len(array), -1).astype(jnp.float32) for name, array in named.items()}
