"""Who is measured, on what. Nothing here imports a library that is measured: this is read by the
parent process."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from rnn_research.benchmark.serve import Setting
from rnn_research.data.codec import BOS, EOS, PAD, UNK

NUM_SYMBOLS = 65  # of tiny Shakespeare
CLIP_NORM, LEARNING_RATE = 5.0, 2e-3
CELLS = ('lstm', 'gru', 'elman')
PARTS = ('forward', 'gradient', 'step')
# Short names of those who are compared with ours.
RIVALS = ('scan', 'linen', 'nnx', 'cudnn', 'torch', 'bfloat16')
BATCHES_DRAWN = 100  # by one call of the data pipeline
SOURCE_LENGTH, VOCABULARY_SIZE = 14, 6000  # of a translation, the same size in both languages
NEVER_WRITTEN = (PAD, BOS, EOS, UNK)  # without an end every translation is as long as the others

_JAX, _FLAX, _TORCH, _PARALLEL, _WORK = (
  f'rnn_research.benchmark.{name}'
  for name in ('jax_contenders', 'flax_contenders', 'torch_contenders', 'parallel', 'workloads')
)


class Contender(NamedTuple):
  """One who is measured.

  Attributes:
    module: imported by the worker alone.
    function: name in `module` of `(setting, **options) -> part -> () -> Program`.
    options: of the function.
    against: whom it is compared with.
    name: its short name, of `RIVALS`; '' for ours, which nobody needs to ask for.
  """

  module: str
  function: str
  options: Mapping[str, Any] = MappingProxyType({})
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
    'plain lax.scan': Contender(_JAX, 'ours', {'engine': 'scan'}, name='scan'),
    'flax.linen.RNN': Contender(_FLAX, 'linen', name='linen'),
    'flax.nnx.RNN': Contender(_FLAX, 'nnx', name='nnx'),
    **(_on_gpu(cell) if has_gpu else _on_cpu()),
  }
  return {label: rival for label, rival in found.items() if rival.name in ('', *names)}


def _on_cpu():
  return {
    f'PyTorch {word} oneDNN': Contender(_TORCH, 'training', {'onednn': onednn}, name='torch')
    for word, onednn in (('with', True), ('without', False))
  }


def _on_gpu(cell):
  cudnn = {'jax.experimental.rnn': Contender(_FLAX, 'cudnn', name='cudnn')}
  on_cuda, half = {'device': 'cuda'}, {'dtype': 'bfloat16'}
  reduced = ('ours, bfloat16', 'bfloat16')  # whom they are compared with, and their short name
  return (cudnn if cell == 'lstm' else {}) | {
    'PyTorch, float32': Contender(_TORCH, 'training', on_cuda, name='torch'),
    'ours, bfloat16': Contender(_JAX, 'ours', half, *reduced),
    'PyTorch, bfloat16': Contender(_TORCH, 'training', on_cuda | half, *reduced),
  }


def writing(work: str, has_gpu: bool) -> dict[str, Contender]:
  """Returns those who are compared in `work`, label -> contender: in 'sampling', symbols one after
  the other, or in 'translation' of a batch of sentences."""
  device = {'device': 'cuda' if has_gpu else 'cpu'}
  return {'ours': Contender(_WORK, work), 'PyTorch': Contender(_TORCH, work, device)}


OURS = {'ours': Contender(_JAX, 'ours')}
# For one long sequence; the first is what the others are compared with.
ENGINES = {'plain lax.scan': Contender(_PARALLEL, 'long', {'engine': 'scan'})} | {
  engine: Contender(_PARALLEL, 'long', {'engine': engine})
  for engine in ('fused', 'newton', 'shooting')
}
PIPELINE = {'pipeline': Contender(_WORK, 'batches')}
MEMORY = Contender(_WORK, 'long_gradient')
LIBRARIES = {'jax': Contender(_JAX, 'about'), 'torch': Contender(_TORCH, 'about')}
# What is shown in one row, that of the quicker.
EITHER = {'PyTorch': ('PyTorch with oneDNN', 'PyTorch without oneDNN')}


def symbols(setting: Setting) -> Mapping[str, np.ndarray]:
  """Returns the batch that all contenders train on: {'inputs', 'targets'}, [B, T] int32 each,
  uniform symbols."""
  ids = _uniform(setting, 0, NUM_SYMBOLS, setting.unroll_length + 1)
  return {'inputs': ids[:, :-1], 'targets': ids[:, 1:]}


def sentences(setting: Setting) -> np.ndarray:
  """Returns the sources that all contenders translate: [B, `SOURCE_LENGTH`] int32, uniform
  symbols."""
  return _uniform(setting, len(NEVER_WRITTEN), VOCABULARY_SIZE, SOURCE_LENGTH)


def _uniform(setting, low, high, length):
  shape = setting.batch_size, length
  return np.random.default_rng(setting.seed).integers(low, high, size=shape, dtype=np.int32)
