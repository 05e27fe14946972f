"""Who is measured, on what. Nothing here imports a library that is measured: this is read by the
parent process."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from rnn_research.data.codec import BOS, EOS, PAD, UNK

NUM_SYMBOLS = 65  # of tiny Shakespeare
CLIP_NORM, LEARNING_RATE = 5.0, 2e-3
CELLS = ('lstm', 'gru', 'elman')
PARTS = ('forward', 'gradient', 'step')
RIVALS = (
  'scan',
  'linen',
  'nnx',
  'cudnn',
  'torch',
  'bfloat16',
)  # short names of those who are compared with ours
BATCHES_DRAWN = 100  # by one call of the data pipeline
SOURCE_LENGTH, VOCABULARY_SIZE = 14, 6000  # of a translation, the same size in both languages
NEVER_WRITTEN = (PAD, BOS, EOS, UNK)  # without an end every translation is as long as the others

_JAX, _FLAX, _TORCH = (
  f'rnn_research.benchmark.{name}_contenders' for name in ('jax', 'flax', 'torch')
)
_JAX_TRANSLATION, _TORCH_TRANSLATION = (
  f'rnn_research.benchmark.{name}_translation' for name in ('jax', 'torch')
)


class Setting(NamedTuple):
  """A model and its batch.

  Attributes:
    cell: lstm, gru or elman.
    hidden_size: H.
    num_layers: L.
    batch_size: B.
    unroll_length: T; the number of symbols where one is written after the other.
    seed: of data and parameters.
    engine: of our cells.
  """

  cell: str
  hidden_size: int
  num_layers: int
  batch_size: int
  unroll_length: int
  seed: int = 0
  engine: str = 'auto'

  def in_a_row(self) -> int:
    """Returns how many steps an accelerator takes before anybody waits for it, as in a training
    loop; few long ones."""
    return max(1, min(10, 2000 // (self.num_layers * self.unroll_length)))

  def __str__(self):
    return (
      f'{self.cell} {self.num_layers} x {self.hidden_size}, batch {self.batch_size}, '
      f'unroll {self.unroll_length}'
    )


class Contender(NamedTuple):
  """Attributes:
  module: imported by the worker alone.
  function: name in `module` of `(setting) -> part -> () -> Program`.
  against: whom it is compared with.
  name: its short name, of `RIVALS`; '' for ours, which nobody needs to ask for.
  """

  module: str
  function: str
  against: str = 'ours'
  name: str = ''


def comparison(cell: str, has_gpu: bool, names: Collection[str] = RIVALS) -> dict[str, Contender]:
  """Returns those who are compared in training: label -> contender, each after the one it is
  compared with.

  Args:
    cell: lstm, gru or elman.
    has_gpu: whether there is a GPU.
    names: who is wanted beside ours, of `RIVALS`.
  """
  found = {
    'ours': Contender(_JAX, 'ours'),
    'plain lax.scan': Contender(_JAX, 'plain_scan', name='scan'),
    'flax.linen.RNN': Contender(_FLAX, 'linen', name='linen'),
    'flax.nnx.RNN': Contender(_FLAX, 'nnx', name='nnx'),
    **(
      _on_gpu(cell)
      if has_gpu
      else {
        'PyTorch with oneDNN': Contender(_TORCH, 'onednn', name='torch'),
        'PyTorch without oneDNN': Contender(_TORCH, 'native', name='torch'),
      }
    ),
  }
  return {label: rival for label, rival in found.items() if rival.name in ('', *names)}


def _on_gpu(cell):
  cudnn = (
    {'jax.experimental.rnn': Contender(_FLAX, 'cudnn', name='cudnn')} if cell == 'lstm' else {}
  )
  return cudnn | {
    'PyTorch, float32': Contender(_TORCH, 'cuda', name='torch'),
    'ours, bfloat16': Contender(_JAX, 'ours_bfloat16', 'ours, bfloat16', 'bfloat16'),
    'PyTorch, bfloat16': Contender(_TORCH, 'cuda_bfloat16', 'ours, bfloat16', 'bfloat16'),
  }


def sampling(has_gpu: bool) -> dict[str, Contender]:
  """Returns those who are compared in writing symbols one after the other: label -> contender."""
  return {
    'ours': Contender(_JAX, 'sampling'),
    'PyTorch': Contender(_TORCH, 'sampling_cuda' if has_gpu else 'sampling'),
  }


def translation(has_gpu: bool) -> dict[str, Contender]:
  """Returns those who are compared in translating a batch of sentences: label -> contender."""
  return {
    'ours': Contender(_JAX_TRANSLATION, 'greedy'),
    'PyTorch': Contender(_TORCH_TRANSLATION, 'greedy_cuda' if has_gpu else 'greedy'),
  }


OURS = {'ours': Contender(_JAX, 'ours')}
# For one long sequence; the first is what the others are compared with.
ENGINES = {
  label: Contender('rnn_research.benchmark.parallel', function)
  for label, function in (
    ('plain lax.scan', 'scan'),
    ('fused', 'fused'),
    ('newton', 'newton'),
    ('shooting', 'shooting'),
  )
}
PIPELINE = {'pipeline': Contender('rnn_research.benchmark.pipeline', 'batches')}
MEMORY = Contender('rnn_research.benchmark.memory', 'gradient')
LIBRARIES = {'jax': Contender(_JAX, 'about'), 'torch': Contender(_TORCH, 'about')}
# What is shown in one row, that of the quicker.
EITHER = {'PyTorch': ('PyTorch with oneDNN', 'PyTorch without oneDNN')}


def symbols(setting: Setting) -> Mapping[str, np.ndarray]:
  """Returns the batch that all contenders train on: {'inputs', 'targets'}, [B, T] int32 each,
  uniform symbols."""
  shape = setting.batch_size, setting.unroll_length + 1
  ids = np.random.default_rng(setting.seed).integers(NUM_SYMBOLS, size=shape, dtype=np.int32)
  return {'inputs': ids[:, :-1], 'targets': ids[:, 1:]}


def sentences(setting: Setting) -> np.ndarray:
  """Returns the sources that all contenders translate: [B, `SOURCE_LENGTH`] int32, uniform
  symbols."""
  shape = setting.batch_size, SOURCE_LENGTH
  return np.random.default_rng(setting.seed).integers(
    len(NEVER_WRITTEN), VOCABULARY_SIZE, size=shape, dtype=np.int32
  )
