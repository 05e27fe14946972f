"""`Cell`: one recurrence as a tuple of pure functions.

A factory such as `lstm(512)` closes over sizes and returns a `Cell`; parameters, state and outputs
are plain pytrees. `rnn_research.unroll` runs a cell over time, and owns masks, resets, keys and
rematerialisation, so that a cell knows nothing of them. Build a cell once, outside `jax.jit`: a
tuple of closures hashes by identity.
"""

from typing import NamedTuple, Protocol

from rnn_research.typing import Array, Key, Params, PyTree, State


class InitFn(Protocol):
  """Draws parameters for inputs shaped like `x`, one step `[B, F]` (array or
  `jax.ShapeDtypeStruct`)."""

  def __call__(self, key: Key, x: PyTree, ctx: PyTree = None) -> Params: ...


class InitialStateFn(Protocol):
  """Returns the state before the first step; every leaf is `[B, ...]`. It may depend on learned
  parameters. A size that only `ctx` knows, such as the positions of a memory, is 1 here, and the
  step takes that too; the state that an unroll is given has it in full."""

  def __call__(self, params: Params, batch_size: int) -> State: ...


class ProjectFn(Protocol):
  """Maps inputs `[T, B, F]` to step inputs `[T, B, ...]`: the work that needs neither state nor
  order. Language models without an embedding may give `layers.OneHot`, which the products of
  `layers` look up and `jnp.asarray` makes vectors of."""

  def __call__(self, params: Params, xs: PyTree) -> PyTree: ...


class StepFn(Protocol):
  """Advances the recurrence by one step: `u` is one element of `project`'s result. `key=None` means
  deterministic."""

  def __call__(
    self, params: Params, state: State, u: PyTree, *, key: Key | None = None, ctx: PyTree = None
  ) -> tuple[State, PyTree]: ...


class ScanFn(Protocol):
  """Runs all steps of raw inputs `xs` at once; equals stepping in values and gradients.

  Only a cell whose `step` ignores `key` and `ctx` has one. `mask [T, B]` False holds the state and
  gives `y = 0`; `reset [T, B]` True puts `reset_state` in place before the step.
  """

  def __call__(
    self,
    params: Params,
    state: State,
    xs: PyTree,
    *,
    mask: Array | None = None,
    reset: Array | None = None,
    reset_state: State | None = None,
  ) -> tuple[State, PyTree]: ...


class PrepareFn(Protocol):
  """Runs once per unroll: draws masks kept for the whole sequence, computes attention keys from
  `ctx`."""

  def __call__(
    self, params: Params, ctx: PyTree, batch_size: int, *, key: Key | None = None
  ) -> tuple[Params, PyTree]: ...


class GatesFn(Protocol):
  """Returns what one step computes on its way to the state: name -> [B, H] float32, named as in the
  cell's equations.

  It takes what `step` takes, so `params` are prepared and `u` is projected. Candidates, which may
  be any number, have names that begin with g or n; everything else lies in (0, 1).
  """

  def __call__(self, params: Params, state: State, u: PyTree) -> dict[str, Array]: ...


class Cell(NamedTuple):
  """A recurrence `(h_t, y_t) = f(h_{t-1}, x_t)`: the same function and parameters at every step.

  Attributes:
    init: `(key, x, ctx=None) -> params`.
    initial_state: `(params, batch_size) -> state`.
    project: `(params, xs) -> us`, hoisted out of the time loop.
    step: `(params, state, u, *, key=None, ctx=None) -> (state, y)`.
    scan: a whole-sequence form that must equal stepping, or None.
    prepare: what is computed once per unroll, or None.
    gates: `(params, state, u) -> {name: [B, H]}`, for people who look inside, or None.
    noisy: whether a step draws from its key, so that no form that ignores keys may be given to it.
  """

  init: InitFn
  initial_state: InitialStateFn
  project: ProjectFn
  step: StepFn
  scan: ScanFn | None = None
  prepare: PrepareFn | None = None
  gates: GatesFn | None = None
  noisy: bool = False
