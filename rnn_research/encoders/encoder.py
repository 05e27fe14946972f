"""`Encoder`: anything that can be read."""

from typing import NamedTuple, Protocol

from rnn_research.memory.attention import Memory
from rnn_research.typing import Array, Key, Params, PyTree, State


class Encoded(NamedTuple):
  """What is known of an input: the words of a sentence, the cells of a feature grid, frames.

  Attributes:
    states: of recurrences that read it, one per layer, leaves [B, ...], that a decoder of like
      layers can start from; or None.
    memory: values [B, S, M] at S positions, zeros behind its mask.
    summary: [B, Z] float32, all of it as one vector.
  """

  states: tuple[State, ...] | None
  memory: Memory
  summary: Array


class InitFn(Protocol):
  """Draws parameters for inputs shaped like `inputs`, leaves [B, ...] (arrays or shapes)."""

  def __call__(self, key: Key, inputs: PyTree) -> Params: ...


class EncodeFn(Protocol):
  """Reads inputs with leaves [B, S, ...]; `mask [B, S]` False is padding, None is none. `key` is
  consumed by dropout, None means deterministic."""

  def __call__(
    self, params: Params, inputs: PyTree, mask: Array | None = None, *, key: Key | None = None
  ) -> Encoded: ...


class Encoder(NamedTuple):
  """A way to read one kind of input. A model that writes, answers or moves takes any of them.

  Attributes:
    init: `(key, inputs) -> params`.
    encode: `(params, inputs, mask=None, *, key=None) -> Encoded`.
  """

  init: InitFn
  encode: EncodeFn
