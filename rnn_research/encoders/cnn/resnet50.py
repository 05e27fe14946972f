"""ResNet-50.

Source: He et al. 2016 (arXiv 1512.03385), table 1. Deviates from the paper: a block's stride is
that of its 3 x 3 convolution, as torchvision and timm have it.
"""

import itertools

from flax import linen as nn

from rnn_research.encoders.cnn.cnn import IMAGENET, cnn
from rnn_research.encoders.cnn.forms import TRANSPOSED, WeightForm, torch_normed, torch_place
from rnn_research.encoders.cnn.layers import (
  Convolution,
  PooledClassifier,
  linear,
  max_pool,
  symmetric,
)

NAME = 'resnet50'
# (inner width, blocks); all stages but the first have stride 2
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


class Bottleneck(nn.Module):
  """Three convolutions, of which the middle one is thin, around a shortcut."""

  width: int
  stride: int
  projected: bool  # the shortcut is a convolution: the first block of a stage

  @nn.compact
  def __call__(self, x):
    y = Convolution(self.width, 1, name='conv1')(x)
    y = Convolution(self.width, 3, self.stride, symmetric, name='conv2')(y)
    y = Convolution(4 * self.width, 1, activation=linear, name='conv3')(y)
    if self.projected:
      x = Convolution(4 * self.width, 1, self.stride, activation=linear, name='downsample')(x)
    return nn.relu(x + y)


def _stage(number, width, count):
  stride = 1 if number == 1 else 2
  return tuple(
    Bottleneck(width, 1 if i else stride, not i, name=f'layer{number}_{i}') for i in range(count)
  )


def _network():
  stages = [_stage(i, width, count) for i, (width, count) in enumerate(STAGES, 1)]
  stem = Convolution(64, 7, 2, symmetric, name='stem')
  lower = (stem, max_pool(3, before=1, after=1), *itertools.chain(*stages[:-1]))
  classifier = PooledClassifier(1000, name='classifier')
  return cnn(NAME, 'torchvision', IMAGENET, lower, stages[-1], classifier)


def _places():
  places = {'stem': torch_normed('conv1', 'bn1')}
  for number, (_, count) in enumerate(STAGES, 1):
    for i in range(count):
      ours, theirs = f'layer{number}_{i}', f'layer{number}.{i}'
      for j in (1, 2, 3):
        places[f'{ours}/conv{j}'] = torch_normed(f'{theirs}.conv{j}', f'{theirs}.bn{j}')
      if not i:
        shortcut = f'{theirs}.downsample'
        places[f'{ours}/downsample'] = torch_normed(f'{shortcut}.0', f'{shortcut}.1')
  return places | {'classifier/fc': torch_place('fc', TRANSPOSED)}


# timm's resnet50 has the same arrays.
FORMS = (WeightForm(_network(), "torchvision's or timm's resnet50", _places(), eps=1e-5),)
