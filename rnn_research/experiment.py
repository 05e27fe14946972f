"""`Experiment`: what the one training loop consumes, made by `build(config)` of a file in
`experiments/`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from rnn_research.cell import Cell
from rnn_research.typing import Array, Params


class TrainData(NamedTuple):
  """A source of training batches.

  Attributes:
    iterator: a grain iterator (it has `get_state` and `set_state`) of dicts of numpy arrays with
      leading axis B.
    steps_per_epoch: batches that cover the training split once.
    fingerprint: hex digest of the training data; a resumed run must read the same.
    shapes: one batch of every static shape that the iterator yields, each compiled for before
      training; () where all batches have the shape of the first.
  """

  iterator: Iterator
  steps_per_epoch: int
  fingerprint: str
  shapes: tuple[Mapping[str, Any], ...] = ()


class Command(NamedTuple):
  """What the launcher must know of a mode beside train, evaluate and report: sample, score,
  translate.

  Attributes:
    help: one line.
    flags: name -> (default value, whose type is the flag's type; one line of help).
    reads_data: whether it reads data, so that `data` fields of the config may say where they are.
  """

  help: str
  flags: Mapping[str, tuple[Any, str]]
  reads_data: bool = False


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


class Experiment(NamedTuple):
  """A model, its data and its measures, as pure functions.

  A module of `experiments/` offers `VARIANTS` (name -> one line), `COMMANDS` (name -> `Command`),
  `get_config(variant) -> ConfigDict` and `build(config, assets=None) -> Experiment`. With `assets`
  (those of a trained workdir, and the 'fingerprint' of its training data) the vocabulary is not
  made anew and data are read only by the functions that need them, so sampling needs no corpus.

  Attributes:
    init: `(key) -> params`.
    initial_carry: `(params, batch_size) -> carry`, the state of truncated BPTT, leaves [B, ...]; or
      ().
    loss: `(params, carry, batch, key, step) -> (total, (weight, carry, metrics))`: sums over the
      batch, in nats; `metrics` are sums too, divided by the sum of weights; all float32. None:
      nothing is trained, see `study`.
    train_data: `() -> TrainData`, read when training starts.
    evaluate: split -> `(params, key) -> {metric: float}`, quick, used while training.
    final_evaluate: the same, exact, used at the end of a run and by `--mode=evaluate`.
    headline: (split, metric, 'min' or 'max'): what "best" means.
    assets: what a checkpoint must carry beside arrays, as JSON: vocabulary, label names.
    show: `(params, key) -> str`, shown at `train.show_steps` while training; or None.
    report: `(params, workdir, out_dir) -> None`: writes figures, samples and tables for people.
    commands: name -> `(params, **flags) -> None`, one for each of the module's `COMMANDS`: prints
      or writes its result. Raises InputError with one sentence for people.
    engine: one line: which form of the recurrence runs and why.
    unit: what the weights of `loss` count, in the plural: 'characters', 'examples'.
    select: `(params, metrics of the headline split) -> params` that are kept as the best: those of
      a grid's best one.
    learning_rates: of the members of a grid, see `training.grid`; () is a single run.
    recurrence: `(params, num_steps, key) -> Recurrence` on held-out data of T = num_steps; None:
      the model cannot be analysed. Raises InputError where the data have no sequence of that
      length.
  """

  init: Callable
  initial_carry: Callable
  loss: Callable | None
  train_data: Callable[[], TrainData]
  evaluate: Mapping[str, Callable]
  final_evaluate: Mapping[str, Callable]
  headline: tuple[str, str, str]
  assets: Mapping[str, Any]
  show: Callable | None
  report: Callable
  commands: Mapping[str, Callable[..., None]]
  engine: str
  unit: str = 'examples'
  select: Callable = lambda params, metrics: params
  learning_rates: tuple[float, ...] = ()
  recurrence: Callable[..., Recurrence] | None = None


def study(report: Callable[[str, str], Mapping[str, Mapping[str, Any]]]) -> Experiment:
  """Returns an experiment without training, whose report is the run.

  Its config has no blocks `train` and `optimizer`, and its module no `COMMANDS`. The launcher
  leaves devices alone.

  Args:
    report: `(workdir, out_dir) -> group -> {metric: number}`: writes figures and tables for people
      and returns what belongs into result.json.
  """
  return Experiment(
    init=None,
    initial_carry=None,
    loss=None,
    train_data=None,
    evaluate={},
    final_evaluate={},
    headline=None,
    assets={},
    show=None,
    report=lambda params, workdir, out_dir: report(workdir, out_dir),
    commands={},
    engine='',
  )
