"""Parameters of a trained model as the first ones of another run, on other data."""

import filecmp
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rnn_research.data.files import expand
from rnn_research.errors import MisfitError
from rnn_research.experiment import Experiment, Vocabulary
from rnn_research.parameters import below, name_of
from rnn_research.typing import Array, Params, PyTree

# Fields of `model` that say how a model is drawn, regularised, computed or measured, not what its
# parameters mean, or where a file lies; how many there are is told by shapes.
_FREE = (
  *('dropout', 'weight_dropout', 'init_scale', 'forget_bias', 'chrono_steps', 'w_h_init'),
  *('std', 'engine', 'dtype', 'num_params', 'encoder_weights', 'importance_samples'),
)


def check_same_model(
  here: Experiment, config: ConfigDict, there: Experiment, trained: ConfigDict
) -> None:
  """Checks that parameters mean in one run what they mean in another, apart from the symbols.

  Args:
    here: the experiment of the new run.
    config: of the new run; its block `model` is read.
    there: that of the trained one.
    trained: the config of that.

  Raises:
    MisfitError: the models differ; it names the first field, unit, file or parameter that does.
  """
  fields, others = _meaning(config), _meaning(trained)
  for field in (field for field in fields if field in others):
    if fields[field] != others[field]:
      raise MisfitError(_differs(f'model.{field}', repr(others[field]), repr(fields[field])))
  for name, vocabulary in here.vocabularies.items():
    unit = there.vocabularies[name].unit
    if unit != vocabulary.unit:
      raise MisfitError(_differs('data.unit', repr(unit), repr(vocabulary.unit)))
  for name in there.pretrained:
    if name not in here.pretrained:
      raise MisfitError(
        f'its {name} was trained on, expected the same here: train.encoder_rate above 0'
      )
  for name, file in here.files.items():
    if name in there.files and not _same(file, there.files[name]):
      raise MisfitError(f'its {name} is no copy of {file}, expected files of one content')
  ours, theirs = shapes(here), shapes(there)
  for name in ours | theirs:
    found, expected = theirs.get(name, 'absent'), ours.get(name, 'absent')
    if found != expected and not (name not in theirs and below(name, here.pretrained)):
      raise MisfitError(_differs(f'the parameter {name}', found, expected))


def _same(one, other):
  return filecmp.cmp(expand(one), expand(other), shallow=False)


def _meaning(config):
  """Returns the fields of `model` that must agree; a hidden size of 0 is chosen by num_params."""
  model = config.get('model', {})
  return {
    field: value
    for field, value in model.items()
    if field not in _FREE and (field, value) != ('hidden_size', 0)
  }


def begin_with(here: Experiment, there: Experiment, params: Params) -> Experiment:
  """Returns the experiment whose first parameters are those of a trained model.

  Rows and columns of symbols that the trained model does not know are drawn as without it, and so
  are pretrained parameters that it lacks.

  Args:
    here: the experiment; see `check_same_model`.
    there: that of the trained model.
    params: of the trained model.
  """
  named = jax.tree_util.tree_leaves_with_path(params)
  kept = {name_of(path): np.asarray(a) for path, a in named}  # whose memory no step can take over

  def init(key):
    drawn = here.init(key)
    begun = jax.tree_util.tree_map_with_path(
      lambda path, new: jnp.array(kept.get(name_of(path), new)), drawn
    )
    for name, vocabulary in here.vocabularies.items():
      places = shared(there.vocabularies[name].symbols, vocabulary.symbols)
      begun = jax.tree.map(
        lambda old, new, axis, places=places: _moved(old, new, axis, *places),
        begun,
        drawn,
        _axes(vocabulary),
      )
    return begun

  return here._replace(init=init)


def shared(there: Sequence, here: Sequence) -> tuple[np.ndarray, np.ndarray]:
  """Returns the ids of the symbols that two vocabularies share, in the one and in the other, [N]
  int32 each."""
  ids = {symbol: i for i, symbol in enumerate(there)}
  pairs = [(ids[symbol], i) for i, symbol in enumerate(here) if symbol in ids]
  old, new = np.array(pairs, np.int32).reshape(-1, 2).T
  return old, new


def shapes(experiment: Experiment) -> dict[str, str]:
  """Returns parameter -> its shape, with the name of a vocabulary in the place of its size."""
  leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(experiment.init, jax.random.key(0)))
  sizes = [list(leaf.shape) for _, leaf in leaves]
  for name, vocabulary in experiment.vocabularies.items():
    for size, axis in zip(sizes, jax.tree.leaves(_axes(vocabulary)), strict=True):
      if axis >= 0:
        size[axis] = name
  texts = (f'[{", ".join(map(str, size))}]' for size in sizes)
  return {name_of(path): text for (path, _), text in zip(leaves, texts, strict=True)}


def _moved(old: Array, new: Array, axis: int, there: np.ndarray, here: np.ndarray) -> Array:
  """Returns `new` with what `old` has of the shared symbols along an axis; `old` where that is
  -1."""
  if axis < 0:
    return old
  rows = jnp.moveaxis(old, axis, 0)[there]
  return jnp.moveaxis(jnp.moveaxis(new, axis, 0).at[here].set(rows), 0, axis)


def _axes(vocabulary: Vocabulary) -> PyTree:
  """Returns for each parameter the axis that symbols index, -1 where none does."""
  size = len(vocabulary.symbols)
  one, more = (jax.eval_shape(vocabulary.init_of(n), jax.random.key(0)) for n in (size, size + 1))
  grown = lambda a, b: [i for i, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n]
  return jax.tree.map(lambda a, b: next(iter(grown(a, b)), -1), one, more)


def _differs(what, there, here):
  return f'{what} is {there} there and {here} here'
