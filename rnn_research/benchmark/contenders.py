"""Who is measured, on what. Nothing here imports a library that is measured: this is read by the
parent process."""

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from rnn_research.benchmark.serve import Setting
from rnn_research.data.codec import BOS, EOS, PAD, UNK

NUM_SYMBOLS = 65  # of tiny Shakespeare
CLIP_NORM, LEARNING_RATE = 5.0, 2e-3
CELLS = ('lstm', 'gru', 'elman')  # which other libraries have, too
PARTS = ('forward', 'gradient', 'step')
# Short names of those who are compared with ours.
RIVALS = ('scan', 'linen', 'nnx', 'cudnn', 'torch', 'bfloat16')
BATCHES_DRAWN = 100  # by one call of the data pipeline
SOURCE_LENGTH, VOCABULARY_SIZE = 14, 6000  # of a translation, the same size in both languages
TRANSLATION_DROPOUT, TRANSLATION_CLIP_NORM = 0.3, 1.0
NEVER_WRITTEN = (PAD, BOS, EOS, UNK)  # without an end every translation is as long as the others
# Of the long sequence, and the bytes beyond what the process held before.
LONG_HIDDEN, LONG_BATCH, LONG_LIMIT = 64, 4, 512 * 2**20

# Of captioning: the maps of EfficientNet-Lite2, five captions of a picture, words of Flickr8k.
CHANNELS, GRID, COPIES, CAPTION_SYMBOLS = 1280, 7, 5, 2541
STEPS, WRITTEN = 10, 64  # of training in a call, and captions that are written at once
DROPOUT, CAPTION_CLIP_NORM = 0.5, 1.0

# Of a machine that copies: rows of its memory and numbers in each, bits of a symbol.
MEMORY, COPIED_BITS = (128, 20), 8

_MODULE = 'rnn_research.benchmark.{}'.format
_JAX, _FLAX, _TORCH, _WORK, _LOOPS = map(
  _MODULE, ('jax_contenders', 'flax_contenders', 'torch_contenders', 'workloads', 'loops')
)
_TRANSLATIONS, _CAPTIONS, _MACHINES = map(_MODULE, ('translators', 'captioners', 'machines'))
_TORCH_TRANSLATIONS, _TORCH_CAPTIONS, _TORCH_MACHINES = map(
  _MODULE, ('torch_translators', 'torch_captioners', 'torch_machines')
)


class Contender(NamedTuple):
  """One who is measured."""

  module: str  # imported by the worker alone
  function: str  # name in `module` of `(setting, **options) -> part -> () -> Program`
  options: Mapping[str, Any] = MappingProxyType({})
  against: str = 'ours'  # whom it is compared with
  name: str = ''  # its short name, of `RIVALS`; '' for ours, which nobody needs to ask for
  parts: Sequence[str] = ()  # what is measured, memory and compilation of the first


Rivals = Mapping[str, Contender]  # label -> contender


class Present(NamedTuple):
  """What there is on this machine."""

  gpu: bool
  torch: bool  # for the device that JAX uses
  bfloat16: bool  # whether it multiplies such numbers, without taking them to float32 first


def comparison(
  cell: str, present: Present, parts: Sequence[str] = PARTS, names: Collection[str] = RIVALS
) -> Rivals:
  """Returns those who are compared in training, each after the one it is compared with; `names` are
  those wanted beside ours."""
  cuda, half = {'device': 'cuda'}, {'dtype': 'bfloat16'}
  reduced = 'ours, bfloat16', 'bfloat16'  # whom they are compared with, and their short name
  on_cpu = {
    'PyTorch with oneDNN': Contender(_TORCH, 'training', {'onednn': True}, name='torch'),
    'PyTorch without oneDNN': Contender(_TORCH, 'training', {'onednn': False}, name='torch'),
  }
  cudnn = {'jax.experimental.rnn': Contender(_FLAX, 'cudnn', name='cudnn')}
  on_gpu = (cudnn if cell == 'lstm' else {}) | {
    'PyTorch, float32': Contender(_TORCH, 'training', cuda, name='torch')
  }
  in_half = {
    'ours, bfloat16': Contender(_JAX, 'ours', half, *reduced),
    'PyTorch, bfloat16': Contender(_TORCH, 'training', _device(present) | half, *reduced),
  }
  found = {
    'ours': Contender(_JAX, 'ours'),
    'plain lax.scan': Contender(_JAX, 'ours', {'engine': 'scan'}, name='scan'),
  }
  if cell in CELLS:
    found |= {
      'flax.linen.RNN': Contender(_FLAX, 'linen', name='linen'),
      'flax.nnx.RNN': Contender(_FLAX, 'nnx', name='nnx'),
      **(on_gpu if present.gpu else on_cpu),
      **(in_half if present.bfloat16 else {}),
    }
  return {
    label: one._replace(parts=parts)
    for label, one in _runnable(found, present).items()
    if one.name in ('', *names)
  }


# What is shown in one row, that of the quicker.
EITHER = {'PyTorch': ('PyTorch with oneDNN', 'PyTorch without oneDNN')}


def sampling(present: Present) -> Rivals:
  """Returns those who write symbols one after the other."""
  theirs = Contender(_TORCH, 'sampling', _device(present), parts=('LSTMCell', 'nn.LSTM'))
  ours = _in_two_precisions(_WORK, 'sampling', 'sampler', present)
  return _runnable(ours | {'PyTorch': theirs}, present)


def translation(present: Present) -> Mapping[str, Rivals]:
  """Returns those who learn to translate, and those who translate: part -> rivals."""
  return {
    'epoch': _both('training', 'epoch', _TRANSLATIONS, _TORCH_TRANSLATIONS, present),
    'greedy': _in_two_precisions(_TRANSLATIONS, 'translation', 'greedy', present)
    | _both('translation', 'greedy', _TRANSLATIONS, _TORCH_TRANSLATIONS, present),
  }


def captioning(present: Present) -> Mapping[str, Rivals]:
  """Returns those who learn to caption pictures, and those who write captions: part -> rivals."""
  learner = functools.partial(Contender, function='training', parts=('step',))
  loop = lambda by_length: learner(
    _TORCH_CAPTIONS, options=_device(present) | {'by_length': by_length}
  )
  learn = {
    'ours': learner(_CAPTIONS),
    'PyTorch, padded': loop(False),
    'PyTorch, sorted by length': loop(True),
  }
  return {
    'step': _runnable(learn, present),
    'greedy': _both('writing', 'greedy', _CAPTIONS, _TORCH_CAPTIONS, present),
  }


def machines(present: Present) -> Rivals:
  """Returns those whose neural Turing machine learns to copy."""
  return _both('training', 'step', _MACHINES, _TORCH_MACHINES, present)


def _in_two_precisions(module, function, part, present):
  """Returns ours with products in float32 and, where there are such, in bfloat16."""
  found = {'ours': Contender(module, function, parts=(part,))}
  if not present.bfloat16:
    return found
  options = {'dtype': 'bfloat16'}
  return found | {'ours, bfloat16': Contender(module, function, options, parts=(part,))}


def _both(function, part, ours, theirs, present):
  """Returns two modules with a function of one name."""
  found = {
    'ours': Contender(ours, function, parts=(part,)),
    'PyTorch': Contender(theirs, function, _device(present), parts=(part,)),
  }
  return _runnable(found, present)


def _device(present):
  return {'device': 'cuda' if present.gpu else 'cpu'}


def _runnable(found, present):
  torch = _TORCH, _TORCH_TRANSLATIONS, _TORCH_CAPTIONS, _TORCH_MACHINES
  return {label: one for label, one in found.items() if present.torch or one.module not in torch}


STEP = {'ours': Contender(_JAX, 'ours', parts=('step',))}
LAUNCH = {'ours': Contender(_LOOPS, 'launched', parts=('loop', 'step'))}
# For one long sequence.
_ENGINES = {'plain lax.scan': 'scan', 'fused': 'fused', 'newton': 'newton', 'shooting': 'shooting'}
ENGINES = {
  label: Contender(_JAX, 'long', {'engine': engine}, 'plain lax.scan', parts=PARTS[:2])
  for label, engine in _ENGINES.items()
}
PIPELINE = {'pipeline': Contender(_WORK, 'batches', parts=('batches',))}
LIBRARIES = {'jax': Contender(_JAX, 'about'), 'torch': Contender(_TORCH, 'about')}


def long_gradients(num_steps: int) -> Rivals:
  """Returns the gradient of one long sequence, with every state stored and with few."""
  every = math.isqrt(num_steps)
  ways = {'every state stored': None, f'remat_every={every}': every}
  return {
    label: Contender(_WORK, 'long_gradient', {'num_steps': num_steps, 'every': way})
    for label, way in ways.items()
  }


def symbols(setting: Setting) -> dict[str, np.ndarray]:
  """Returns the batch that all contenders train on: {'inputs', 'targets'}, [B, T] int32 each,
  uniform symbols."""
  ids = _uniform(setting, 0, NUM_SYMBOLS, setting.unroll_length + 1)
  return {'inputs': ids[:, :-1], 'targets': ids[:, 1:]}


def sentences(setting: Setting) -> np.ndarray:
  """Returns the sources that all contenders translate: [B, `SOURCE_LENGTH`] int32, uniform
  symbols."""
  return _uniform(setting, len(NEVER_WRITTEN), VOCABULARY_SIZE, SOURCE_LENGTH)


def pairs(setting: Setting) -> tuple[list[np.ndarray], list[np.ndarray]]:
  """Returns what all contenders learn to translate: B sources and targets, [length] int32 each, of
  lengths as in Multi30k."""
  rng, count = np.random.default_rng(setting.seed), setting.batch_size
  lengths = np.clip(rng.normal(12.0, 4.0, count), 3, 40)
  others = np.clip(lengths + rng.normal(0.0, 2.0, count), 3, 40)
  draw = lambda length: rng.integers(len(NEVER_WRITTEN), VOCABULARY_SIZE, int(length), np.int32)
  return [draw(length) for length in lengths], [draw(length) for length in others]


def pictures(setting: Setting) -> Mapping[str, np.ndarray]:
  """Returns what all contenders learn to caption, `STEPS` batches of B pictures: 'features', [N, 7,
  7, `CHANNELS`] float16 as a cache has them; 'targets', [N, `COPIES`, T + 1] int32, words of the
  lengths that captions have, an end and PAD; and 'lengths', [N, `COPIES`] int32, ends included."""
  rng, longest = np.random.default_rng(setting.seed), setting.unroll_length
  count = STEPS * setting.batch_size
  shares = np.clip(rng.normal(0.53, 0.18, (count, COPIES)), 0.15, 1.0)  # as Flickr8k's
  lengths = np.maximum(np.rint(shares * longest), 1).astype(np.int32)[..., None]
  shape, places = (count, COPIES, longest + 1), np.arange(longest + 1)
  words = rng.integers(len(NEVER_WRITTEN), CAPTION_SYMBOLS, shape, np.int32)
  ended = np.where(places == lengths, EOS, PAD)
  features = rng.random((count, GRID, GRID, CHANNELS), np.float32).astype(np.float16)
  targets = np.where(places < lengths, words, ended).astype(np.int32)
  return {'features': features, 'targets': targets, 'lengths': lengths[..., 0] + 1}


def copies(setting: Setting) -> Mapping[str, np.ndarray]:
  """Returns what all contenders learn to copy: 'targets', [B, T, V] float32 random bits, and
  'inputs', [B, 2 T + 1, V + 1], the same, an end in a column of its own, and zeros."""
  rng, length = np.random.default_rng(setting.seed), setting.unroll_length
  targets = rng.integers(0, 2, (setting.batch_size, length, COPIED_BITS)).astype(np.float32)
  inputs = np.zeros((setting.batch_size, 2 * length + 1, COPIED_BITS + 1), np.float32)
  inputs[:, :length, :-1], inputs[:, length, -1] = targets, 1.0
  return {'inputs': inputs, 'targets': targets}


def _uniform(setting, low, high, length):
  shape = setting.batch_size, length
  return np.random.default_rng(setting.seed).integers(low, high, size=shape, dtype=np.int32)
