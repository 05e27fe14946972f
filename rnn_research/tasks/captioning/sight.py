"""How a captioner sees pictures: through a network with public weights, whose maps are computed
once and kept on disk, or with layers of its own."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.data.files import existing_file
from rnn_research.data.pictures import Pictures
from rnn_research.encoders.cnn import weights
from rnn_research.encoders.cnn.cnn import Cnn
from rnn_research.encoders.grid import Reader, maps_reader, patch_reader
from rnn_research.errors import InputError
from rnn_research.tasks.captioning.features import Features, cached_features, digests_of, take
from rnn_research.tasks.captioning.scenes import SIZE

OWN = 'own'  # the encoder that is trained from scratch
GRIDS: Mapping[str, tuple[str, ...]] = {
  'deep': ('deep',),
  'shallow': ('shallow',),
  'both': ('deep', 'shallow'),
}
_PATCH, _CHANNELS = 8, 128


class Sight(NamedTuple):
  """How pictures become what a model reads.

  Attributes:
    size: S, pixels of a picture's side.
    shape: (h, w) of the grid that the model looks at.
    inputs: name -> [1, ...], what the model reads, as shapes.
    reader: of `encoders.grid`, part of the model.
    extract: `([B, S, S, 3] uint8) -> name -> [B, ...]`, the inputs of pictures.
    key: of the cache, tells what `extract` depends on.
    file: of the weights, which the workdir keeps; '' without.
  """

  size: int
  shape: tuple[int, int]
  inputs: Any
  reader: Reader
  extract: Callable[[np.ndarray], Mapping[str, np.ndarray]]
  key: Callable[[], str]
  file: str


def own_sight() -> Sight:
  """Returns how pictures are seen by two layers that are trained with the model."""
  reader = patch_reader(_PATCH, _CHANNELS)
  side = SIZE // _PATCH
  return Sight(
    SIZE,
    (side, side),
    {'pictures': jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), np.uint8)},
    Reader(
      lambda key, inputs: reader.init(key, inputs['pictures']),
      lambda params, inputs: reader.read(params, inputs['pictures']),
    ),
    lambda pictures: {'pictures': pictures},
    lambda: OWN,
    '',
  )


def network_sight(name: str, form: str, grid: str, file: str) -> Sight:
  """Returns how pictures are seen by a network with public weights, which are not trained.

  Args:
    name: of `encoders.cnn.weights.NETWORKS`.
    form: of its weights.
    grid: of `GRIDS`, the maps that the model looks at.
    file: of the weights, read when a picture is.
  """
  return _sight(name, form, grid, file, lambda: weights.load_weights(name, file)[1])


def _sight(name, form, grid, file, load):
  network, names = weights.named(name, form), GRIDS[grid]
  see = functools.partial(_maps, network, names)

  @functools.cache
  def used():
    lower, upper, _ = network.split(load())
    return jax.device_put(lower | upper if 'deep' in names else lower)

  pictures = jax.ShapeDtypeStruct((1, network.size, network.size, 3), np.uint8)
  inputs = jax.eval_shape(see, jax.eval_shape(network.init, jax.random.key(0)), pictures)
  return Sight(
    network.size,
    max(a.shape[1:3] for a in inputs.values()),
    inputs,
    maps_reader(),
    functools.partial(_call, jax.jit(see), used),
    lambda: f'{name} {form} {" ".join(names)} {_digest(file)}',
    file,
  )


def tuned_sight(name: str, form: str, grid: str, file: str) -> Sight:
  """Returns how pictures are seen by a network whose last blocks are trained with the model, from
  their public weights on; what lies below them is computed once. Args as of `network_sight`.

  Raises:
    InputError: the network has no weights there.
  """
  network, names = weights.named(name, form), GRIDS[grid]

  @functools.cache
  def load():
    with jax.ensure_compile_time_eval():  # numbers are to be kept, also where init is traced
      return weights.load_weights(name, file)[1]

  below, joined = _sight(name, form, 'shallow', file, load), maps_reader()
  drawn = network.split(jax.eval_shape(network.init, jax.random.key(0)))[1]
  if not drawn:
    raise InputError(
      f'model.encoder is {name!r}, which has no weights above its shallow map, expected another '
      'one where train.encoder_rate is above 0'
    )

  def init(key, inputs):
    return jax.tree.map(jnp.array, network.split(load())[1])  # copies, that a step may take over

  def read(params, inputs):
    shallow = inputs['shallow'].astype(jnp.float32)
    found = {'deep': network.upper(params, shallow), 'shallow': shallow}
    return joined.read((), {name: found[name] for name in names})

  shape = jax.eval_shape(read, drawn, below.inputs).shape[1:3]
  return below._replace(shape=shape, reader=Reader(init, read))


def form_of(name: str, file: str) -> str:
  """Returns the form of the weights in a file; raises as `weights.load_weights`."""
  if not file:
    raise InputError(
      f"model.encoder_weights is '', expected a file of the weights of {name}: docs/reference/"
      'encoders.md names those that fit'
    )
  return weights.load_weights(name, file)[0].form


def see_all(
  sight: Sight, pictures: Pictures, names: Sequence[str], looks: Sequence[str], cache_dir: str
) -> list[Features]:
  """Returns what pictures are seen as by each look, see `features.cached_features`."""
  key, files = sight.key(), digests_of(pictures, names)
  shapes = {name: a.shape[1:] for name, a in sight.inputs.items()}
  return [
    cached_features(
      *(pictures, names, sight.size, sight.extract, shapes, key),
      look=look,
      files=files,
      cache_dir=cache_dir,
    )
    for look in looks
  ]


def inputs_of(features: Features, rows: np.ndarray) -> dict[str, np.ndarray]:
  """Returns what a model reads of some of the pictures: name -> [B, ...]."""
  return {name: take(features, name, rows) for name in features.arrays}


def _maps(network: Cnn, names, params, pictures):
  found = {'shallow': network.lower(params, pictures)}
  if 'deep' in names:
    found['deep'] = network.upper(params, found['shallow'])
  return {name: found[name].astype(np.float16) for name in names}


def _call(see, used, pictures):
  return see(used(), pictures)


def _digest(file):
  return hashlib.sha256(Path(existing_file(file, weights.FIELD)).read_bytes()).hexdigest()
