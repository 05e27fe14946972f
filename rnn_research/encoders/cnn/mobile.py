"""Networks of inverted residuals: MobileNetV2 and what is made like it."""

from collections.abc import Iterator
from typing import NamedTuple

from flax import linen as nn

from rnn_research.encoders.cnn.cnn import Cnn, Pixels, cnn
from rnn_research.encoders.cnn.forms import TRANSPOSED, LayerPlace, torch_normed, torch_place
from rnn_research.encoders.cnn.layers import (
  Convolution,
  Depthwise,
  Padding,
  PooledClassifier,
  linear,
)


class Stage(NamedTuple):
  """Blocks of one width, the first of which has the stride."""

  expansion: int
  size: int
  stride: int
  features: int
  repeats: int


class InvertedResidual(nn.Module):
  """A thin map is widened, convolved channel by channel, and made thin again without an activation.

    y = P(relu6(D(relu6(E(x)))));  x + y where both have one shape

  Source: Sandler et al. 2018 (arXiv 1801.04381), section 3.3. Deviates from the paper: nothing.
  """

  expansion: int
  size: int
  stride: int
  features: int
  padding: Padding

  @nn.compact
  def __call__(self, x):
    y = x
    if self.expansion > 1:
      width = x.shape[-1] * self.expansion
      y = Convolution(width, 1, activation=nn.relu6, name='expand')(y)
    y = Depthwise(self.size, self.stride, self.padding, name='depthwise')(y)
    y = Convolution(self.features, 1, activation=linear, name='project')(y)
    return x + y if x.shape == y.shape else y


def mobile(
  name: str, form: str, pixels: Pixels, stages: tuple[Stage, ...], padding: Padding
) -> Cnn:
  """Makes a network of inverted residuals between a stem of 32 maps at stride 2 and a head of 1280.

  The last stage with a stride, and what follows it, are the upper part.
  """
  blocks = tuple(
    InvertedResidual(
      stage.expansion,
      stage.size,
      1 if repeat else stage.stride,
      stage.features,
      padding,
      name=block,
    )
    for block, _, repeat, stage in enumerated(stages)
  )
  stem = Convolution(32, 3, 2, padding, nn.relu6, name='stem')
  head = Convolution(1280, 1, activation=nn.relu6, name='head')
  cut = max(i for i, block in enumerate(blocks) if block.stride > 1)
  classifier = PooledClassifier(1000, name='classifier')
  return cnn(name, form, pixels, (stem, *blocks[:cut]), (*blocks[cut:], head), classifier)


def enumerated(stages: tuple[Stage, ...]) -> Iterator[tuple[str, int, int, Stage]]:
  """Yields every block's name, the number of its stage and its own in it, and the stage."""
  pairs = [(i, j, stage) for i, stage in enumerate(stages) for j in range(stage.repeats)]
  for number, (i, j, stage) in enumerate(pairs):
    yield f'block{number:02}', i, j, stage


def layers_of(stage: Stage) -> tuple[str, ...]:
  """Returns the names of the layers of a stage's blocks."""
  return ('expand', 'depthwise', 'project') if stage.expansion > 1 else ('depthwise', 'project')


def convolutions(stages: tuple[Stage, ...]) -> tuple[str, ...]:
  """Returns the paths of all convolutions, first to last."""
  blocks = [f'{block}/{layer}' for block, _, _, s in enumerated(stages) for layer in layers_of(s)]
  return ('stem', *blocks, 'head')


def timm_places(stages: tuple[Stage, ...]) -> dict[str, LayerPlace]:
  """Returns where timm's state dicts keep the layers."""
  places = {'stem': torch_normed('conv_stem', 'bn1')}
  for block, i, j, stage in enumerated(stages):
    layers = layers_of(stage)
    names = ('conv_pw', 'conv_dw', 'conv_pwl') if len(layers) == 3 else ('conv_dw', 'conv_pw')
    for number, (layer, conv) in enumerate(zip(layers, names, strict=True), 1):
      prefix = f'blocks.{i}.{j}'
      places[f'{block}/{layer}'] = torch_normed(f'{prefix}.{conv}', f'{prefix}.bn{number}')
  places['head'] = torch_normed('conv_head', 'bn2')
  places['classifier/fc'] = torch_place('classifier', TRANSPOSED)
  return places
