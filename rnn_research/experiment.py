"""What a file of `experiments/` makes: an `Experiment`, which the one training loop consumes, or a
`Study`."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from rnn_research.cell import Cell
from rnn_research.typing import Array, Params


class Batches(Protocol):
  """A grain iterator, of dicts of numpy arrays with leading axis B."""

  def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...
  def __next__(self) -> dict[str, np.ndarray]: ...
  def get_state(self) -> Any: ...
  def set_state(self, state: Any) -> None: ...


class TrainData(NamedTuple):
  """A source of training batches.

  Attributes:
    iterator: of batches; a resumed run reads on from the state of it that was saved.
    steps_per_epoch: batches that cover the training split once.
    fingerprint: hex digest of the training data; a resumed run must read the same.
    shapes: one batch of every static shape that the iterator yields, each compiled for before
      training; () where all batches have the shape of the first.
    about: what is worth knowing of the data before training, for people; may have several lines.
  """

  iterator: Batches
  steps_per_epoch: int
  fingerprint: str
  shapes: tuple[Mapping[str, Any], ...] = ()
  about: str = ''


class Command(NamedTuple):
  """A mode of the command line beside train, evaluate and report: sample, score, translate.

  Attributes:
    help: one line.
    flags: name -> (default value, whose type is the flag's type; one line of help).
    main: `(run, **flags) -> None`: turns flags and files into arguments of the run's commands (see
      `Experiment.commands`), prints or writes what they return. Raises InputError with one sentence
      for people.
    reads_data: whether it reads data, so that the experiment's `PLACES` may be given.
    example: flags as a person types them, with which `--help` and the end of a training show it; ''
      where it is not shown.
  """

  help: str
  flags: Mapping[str, tuple[Any, str]]
  main: Callable[..., None]
  reads_data: bool = False
  example: str = ''


def flags_of(function: Callable, **texts: str) -> dict[str, tuple[Any, str]]:
  """Returns flags for arguments of a function, with its own defaults.

  Args:
    function: has a default for each of them.
    **texts: argument -> one line of help.
  """
  arguments = inspect.signature(function).parameters
  return {name: (arguments[name].default, text) for name, text in texts.items()}


class Recurrence(NamedTuple):
  """What analysis needs of a trained model: its cells and what they read.

  Attributes:
    cells: L recurrences, first to last.
    params: L parameter trees.
    xs: [T, B, F] float32, real inputs of the first layer.
    loss: `(y_T [B, H], the last layer's output at the last step) -> [B] float32`, as the model is
      trained on it.
  """

  cells: tuple[Cell, ...]
  params: tuple[Params, ...]
  xs: Array
  loss: Callable[[Array], Array]


class Vocabulary(NamedTuple):
  """Symbols that parameters are indexed by, such as the rows of an embedding.

  Attributes:
    unit: what a symbol is: 'char', 'word'.
    symbols: id -> symbol, V of them.
    init_of: `(V) -> init` of the same model with V symbols: its shapes tell which axes these index.
  """

  unit: str
  symbols: tuple
  init_of: Callable[[int], Callable]


def no_carry(params: Params, batch_size: int) -> tuple:
  """Returns the carry of independent examples: nothing goes on from one batch to the next."""
  return ()


class Experiment(NamedTuple):
  """A model, its data and its measures, as pure functions; the first five must be given.

  A module of `experiments/` offers

    VARIANTS       name -> one line, or (one line, how long a run takes: '4 min'), written out as a
                   literal; the first is the default
    get_config     `(variant) -> ConfigDict`
    build          `(config, assets=None) -> Experiment` or `Study`

  and, where there is something to say,

    COMMANDS       mode -> `Command`
    PLACES         fields of the config that say where data are, such as 'data.path', or how much
                   is measured: they may differ when a trained model is evaluated or scored
    MOVABLE        those of them whose data the fingerprint covers: as it decides, they may differ
                   when a run goes on, too
    check          `(config) -> None`: raises InputError for a field of its own out of range
    unused         `(config) -> {field: 'by ..' or 'where ..'}`: what nothing reads, so that
                   changing it is refused
    kept_bytes     `(config) -> int`: roughly what a step keeps for its backward pass, for the
                   allocator

  With `assets` (those of a trained workdir, its path 'workdir', and the 'fingerprint' of its
  training data) `build` makes no vocabulary anew and reads data only in the functions that need
  them, so sampling needs no corpus.

  Attributes:
    init: `(key) -> params`.
    loss: `(params, carry, batch, key, step) -> (total, (weight, carry, metrics))`: sums over the
      batch, in nats; `metrics` are sums too, divided by the sum of weights; all float32.
    train_data: `() -> TrainData`, read when training starts.
    evaluate: split -> `(params, key) -> {metric: float}`, quick, used while training; {} where
      nothing is held out to choose by: the last parameters are then the best, and the headline is
      of what is logged of training, such as ('train', 'loss', 'min').
    headline: (split, metric, 'min' or 'max'): what "best" means.
    initial_carry: `(params, batch_size) -> carry`, the state of truncated BPTT, leaves [B, ...].
    final_evaluate: as `evaluate`, exact, used at the end of a run and by `--mode=evaluate`; None:
      `evaluate` is.
    assets: what a checkpoint must carry beside arrays, as JSON: vocabulary, label names.
    show: `(params, key) -> str`, shown at `train.show_steps` while training; or None.
    report: `(params, workdir, out_dir) -> None`: writes figures, samples and tables for people;
      None: the curves of the run alone.
    commands: name -> `(params, ..) -> value`, what a trained model can do: methods of its `Run`.
    engine: one line: which form of the recurrence runs and why.
    unit: what the weights of `loss` count, in the plural: 'characters', 'examples'.
    select: `(params, metrics of the headline split) -> params` that are kept as the best: those of
      a grid's best one.
    learning_rates: of the members of a grid, see `training.grid`; () is a single run.
    recurrence: `(params, num_steps, key) -> Recurrence` on held-out data of T = num_steps; None:
      the model cannot be analysed. Raises InputError where the data have no sequence of that
      length.
    vocabularies: name -> `Vocabulary`, for a run that begins from a model of other data; {} where
      all parameters have the same shape whatever the data are.
    pretrained: path of parameters, such as 'encoder/reader', that `init` takes from public weights
      -> the share of the learning rate that they are trained at. A run may begin from a model that
      has none of them.
    files: name in the workdir -> the file that is copied there before training, since a trained
      model needs it.
  """

  init: Callable
  loss: Callable
  train_data: Callable[[], TrainData]
  evaluate: Mapping[str, Callable]
  headline: tuple[str, str, str]
  initial_carry: Callable = no_carry
  final_evaluate: Mapping[str, Callable] | None = None
  assets: Mapping[str, Any] = MappingProxyType({})
  show: Callable | None = None
  report: Callable[..., None] | None = None
  commands: Mapping[str, Callable[..., Any]] = MappingProxyType({})
  engine: str = 'as the experiment makes it'
  unit: str = 'examples'
  select: Callable = lambda params, metrics: params
  learning_rates: tuple[float, ...] = ()
  recurrence: Callable[..., Recurrence] | None = None
  vocabularies: Mapping[str, Vocabulary] = MappingProxyType({})
  pretrained: Mapping[str, float] = MappingProxyType({})
  files: Mapping[str, str] = MappingProxyType({})


class Study(NamedTuple):
  """An experiment that trains nothing: its report is the run.

  Its config has no blocks `train` and `optimizer`, and its module no `COMMANDS`. The launcher
  leaves devices alone.

  Attributes:
    report: `(workdir, out_dir) -> group -> {metric: number}`: writes figures and tables for people
      and returns what belongs into result.json.
  """

  report: Callable[[str, str], Mapping[str, Mapping[str, Any]]]
