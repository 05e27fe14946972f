"""Files of public weights, and the networks that take them."""

import os
import zipfile
from pathlib import Path

import numpy as np

from rnn_research.data.files import expand
from rnn_research.encoders.cnn import (
  efficientnet_lite2,
  mobilenet_v2,
  resnet50,
  squeezenet,
  vgg16,
)
from rnn_research.encoders.cnn.cnn import Cnn
from rnn_research.encoders.cnn.forms import WeightForm, names_of, params_of, require_fit
from rnn_research.errors import InputError, require_one_of
from rnn_research.typing import Params

FIELD = 'model.encoder_weights'
# name of a network -> the forms in which its weights are found
NETWORKS: dict[str, tuple[WeightForm, ...]] = {
  network.NAME: network.FORMS
  for network in (efficientnet_lite2, mobilenet_v2, squeezenet, vgg16, resnet50)
}


def named(name: str, form: str = '') -> Cnn:
  """Returns a network as one form of its weights has it, its first form where none is named.

  Raises:
    InputError: there is no such network, or it has no such form.
  """
  require_one_of('model.encoder', name, NETWORKS)
  forms = {form.cnn.form: form.cnn for form in NETWORKS[name]}
  require_one_of('the form of its weights', form or next(iter(forms)), forms, f' for {name}')
  return forms[form or next(iter(forms))]


def load_weights(name: str, path: str) -> tuple[Cnn, Params]:
  """Returns a network, as the weights in a file have it, and its parameters.

  The names of the arrays tell the form; `num_batches_tracked` of PyTorch is left out.

  Args:
    name: of the network, one of `NETWORKS`.
    path: of a `.npz` or a `.safetensors` file; nothing in it is unpickled.

  Raises:
    FileNotFoundError: there is no such file.
    InputError: there is no such network, or the file does not hold its weights.
  """
  require_one_of('model.encoder', name, NETWORKS)
  arrays = {
    key: array
    for key, array in read_arrays(path).items()
    if not key.endswith('.num_batches_tracked')
  }
  known = lambda form: sum(n in arrays for place in form.places.values() for n in names_of(place))
  form = max(NETWORKS[name], key=known)
  require_fit(form, arrays, f'{FIELD}: {path}')
  return form.cnn, params_of(form, arrays)


def read_arrays(path: str) -> dict[str, np.ndarray]:
  """Returns the arrays of a `.npz` or `.safetensors` file as float32; its content says which it is,
  not its name.

  Raises:
    FileNotFoundError: there is no such file.
    InputError: it is neither, or a pickle.
  """
  from safetensors.numpy import load_file

  file = expand(path)
  if not os.path.exists(file):
    raise FileNotFoundError(f'{FIELD}: {path} does not exist')
  try:
    if not _is_pickle(file):
      arrays = np.load(file, allow_pickle=False) if zipfile.is_zipfile(file) else load_file(file)
      return {name: np.asarray(arrays[name]).astype(np.float32) for name in arrays}
  except OSError as error:
    raise InputError(f'{FIELD}: {path} cannot be read ({error.strerror or error})') from error
  except Exception as error:  # damaged files raise errors of many kinds
    raise InputError(
      f'{FIELD}: {path} is not a whole .npz or .safetensors file of numbers ({error})'
    ) from error
  raise InputError(
    f'{FIELD}: {path} is a pickle, which could run any program and is not read; make a '
    ".safetensors file of it with safetensors.torch.save_file(torch.load('weights.pth', "
    "weights_only=True), 'weights.safetensors')"
  )


def _is_pickle(file: Path) -> bool:
  """Returns whether a file is one of `torch.save` or of `pickle`."""
  if zipfile.is_zipfile(file):
    with zipfile.ZipFile(file) as archive:
      return any(name.endswith('data.pkl') for name in archive.namelist())
  with open(file, 'rb') as opened:
    start = opened.read(9)
  # A .safetensors file begins with the length of its header, which may have any first byte.
  return start.startswith(b'\x80') and not start.endswith(b'{')
