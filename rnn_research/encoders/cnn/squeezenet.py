"""SqueezeNet 1.0: small weights, large maps (27 x 27 and 13 x 13).

Source: Iandola et al. 2016 (arXiv 1602.07360), table 1. Deviates from the paper: 'Caffe' is its
own model, whose last convolution pads; torchvision's does not.
"""

import jax.numpy as jnp
from flax import linen as nn

from rnn_research.encoders.cnn.cnn import IMAGENET, Cnn, Layer, Pixels, cnn
from rnn_research.encoders.cnn.forms import OIHW, LayerPlace, Layout, WeightForm, torch_place
from rnn_research.encoders.cnn.layers import Convolution, Padding, max_pool, padded

NAME = 'squeezenet'
# name, width of the squeezed map, width of each of the two expanded ones
FIRES = (
  ('fire2', 16, 64),
  ('fire3', 16, 64),
  ('fire4', 32, 128),
  ('fire5', 32, 128),
  ('fire6', 48, 192),
  ('fire7', 48, 192),
  ('fire8', 64, 256),
  ('fire9', 64, 256),
)
_LAYERS = ('squeeze', 'expand1x1', 'expand3x3')


class Fire(nn.Module):
  """A map is made thin, and expanded by 1 x 1 and by 3 x 3 kernels side by side."""

  squeezed: int
  expanded: int

  @nn.compact
  def __call__(self, x):
    squeeze, small, large = _LAYERS
    x = Convolution(self.squeezed, 1, name=squeeze)(x)
    ways = (
      Convolution(self.expanded, 1, name=small)(x),
      Convolution(self.expanded, 3, name=large)(x),
    )
    return jnp.concatenate(ways, -1)


class Classifier(nn.Module):
  """Reads every cell of a map and takes the mean: returns that of the map [B, C], and logits."""

  padding: Padding

  @nn.compact
  def __call__(self, deep):
    logits = Convolution(1000, 1, padding=self.padding, name='conv')(deep)
    return deep.mean((1, 2)), logits.mean((1, 2))


def _network(form: str, pixels: Pixels, last: Padding) -> Cnn:
  fires = [Fire(squeezed, expanded, name=name) for name, squeezed, expanded in FIRES]
  stem = Convolution(96, 7, 2, padded(0), name='stem')
  pool = max_pool(3, after=1)  # rounds up
  lower: tuple[Layer, ...] = (stem, pool, *fires[:3], pool, *fires[3:7])
  return cnn(NAME, form, pixels, lower, (pool, fires[7]), Classifier(last, name='classifier'))


def _places(stem, fires, layers, classifier, place):
  """Returns where a file keeps the layers, from its names for them; `place` is that of a name."""
  places = {'stem': place(stem)}
  for (fire, _, _), theirs in zip(FIRES, fires, strict=True):
    for ours, layer in zip(_LAYERS, layers, strict=True):
      places[f'{fire}/{ours}'] = place(f'{theirs}{layer}')
  return places | {'classifier/conv': place(classifier)}


def _caffe_places():
  names = [name for name, _, _ in FIRES]
  layers = ('/conv1x1_1', '/conv1x1_2', '/conv3x3_2')
  places = _places('conv1', names, layers, 'conv_final', lambda n: LayerPlace(f'{n}/w', f'{n}/b'))
  # Caffe's pictures are BGR: its first kernels are turned around, so that ours may be RGB.
  turned = Layout(OIHW.shape, lambda a: OIHW.read(a)[:, :, ::-1])
  return places | {'stem': places['stem']._replace(layout=turned)}


FORMS = (
  WeightForm(
    _network('torchvision', IMAGENET, padded(0)),
    "torchvision's squeezenet1_0",
    _places(
      'features.0',
      [f'features.{i}' for i in (3, 4, 5, 7, 8, 9, 10, 12)],
      [f'.{layer}' for layer in _LAYERS],
      'classifier.1',
      torch_place,
    ),
  ),
  WeightForm(
    _network('caffe', Pixels(227, (123.0, 117.0, 104.0), (1.0, 1.0, 1.0)), padded(1)),
    "Caffe's SqueezeNet 1.0",
    _caffe_places(),
  ),
)
