"""Where the heads of a memory machine look while it works."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_research.errors import InputError
from rnn_research.memory.addressing import MemoryOutput
from rnn_research.models.sequence_model import SequenceModel, features
from rnn_research.typing import Params
from rnn_research.unroll import unroll_layers


class Addresses(NamedTuple):
  """What a model answered, and where it read and wrote meanwhile.

  Attributes:
    answers: [B, T, O] float32, probabilities of ones.
    read_weights: [B, T, R, N] float32, of R heads over N rows; R = 0 of a cell without memory.
    write_weights: [B, T, K, N] float32.
  """

  answers: np.ndarray
  read_weights: np.ndarray
  write_weights: np.ndarray


def addresses(
  model: SequenceModel, input_size: int, params: Params, inputs: np.ndarray
) -> Addresses:
  """Runs the model over sequences of bits.

  From Python, of a trained run:

    from rnn_research.tasks.algorithmic.sequences import copy

    asked = copy(np.random.default_rng(0), 1, (40, 40))
    found = workdir.load('runs/my_ntm').addresses(asked.inputs)

  Args:
    inputs: [B, T, F] float32.

  Raises:
    InputError: inputs of another shape, none, or not all finite numbers.
  """
  sequences = jnp.moveaxis(jnp.asarray(_checked(inputs, input_size)), 1, 0)
  _, ys = unroll_layers(model.cells, params['cells'], sequences)
  answers = jax.nn.sigmoid(model.head(params, features(ys)))
  nowhere = jnp.zeros((*answers.shape[:2], 0, 0), jnp.float32)
  weights = ys[1:] if isinstance(ys, MemoryOutput) else (nowhere, nowhere)
  return Addresses(*(np.moveaxis(np.asarray(a), 0, 1) for a in (answers, *weights)))


def _checked(inputs, input_size: int) -> np.ndarray:
  expected = f'expected finite numbers [B, T, {input_size}]'
  try:
    array = np.asarray(inputs)
  except ValueError as error:
    raise InputError(f'inputs are rows of different lengths, {expected}') from error
  if array.ndim != 3 or array.shape[-1] != input_size or not array.size:
    raise InputError(f'inputs have shape {array.shape}, {expected}')
  if not np.can_cast(array.dtype, np.float32, 'same_kind'):
    raise InputError(f'inputs are {array.dtype}, {expected}')
  array = array.astype(np.float32)
  if not np.isfinite(array).all():
    raise InputError(f'inputs have {array[~np.isfinite(array)][0]}, {expected}')
  return array
