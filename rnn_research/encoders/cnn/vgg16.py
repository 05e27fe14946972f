"""VGG-16, whose maps the first captioners with attention looked at.

Source: Simonyan and Zisserman 2015 (arXiv 1409.1556), configuration D. Deviates from the paper:
nothing; no dropout, since this is a network that has been trained.
"""

from flax import linen as nn

from rnn_research.encoders.cnn.cnn import IMAGENET, cnn
from rnn_research.encoders.cnn.forms import TRANSPOSED, Layout, WeightForm, torch_place
from rnn_research.encoders.cnn.layers import Convolution, Dense, max_pool

NAME = 'vgg16'
# (width, convolutions) between poolings
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class Classifier(nn.Module):
  """Three layers: returns fc7 [B, 4096] after its ReLU, and logits [B, 1000]."""

  @nn.compact
  def __call__(self, deep):
    x = nn.relu(Dense(4096, name='fc6')(deep.reshape(len(deep), -1)))
    vector = nn.relu(Dense(4096, name='fc7')(x))
    return vector, Dense(1000, name='fc8')(vector)


def _network():
  layers = [
    layer
    for stage, (width, count) in enumerate(STAGES, 1)
    for layer in (
      *(Convolution(width, 3, name=f'conv{stage}_{i}') for i in range(1, count + 1)),
      max_pool(2),
    )
  ]
  *lower, last = layers
  return cnn(NAME, 'torchvision', IMAGENET, tuple(lower), (last,), Classifier(name='classifier'))


def _places():
  places, number = {}, 0
  for stage, (_, count) in enumerate(STAGES, 1):
    for i in range(1, count + 1):
      places[f'conv{stage}_{i}'] = torch_place(f'features.{number}')
      number += 2  # its ReLU
    number += 1  # the pooling
  # PyTorch's map is [C, h, w] where it is flattened, ours [h, w, C].
  flattened = Layout(
    TRANSPOSED.shape,
    lambda a: a.reshape(len(a), 512, 7, 7).transpose(2, 3, 1, 0).reshape(-1, len(a)),
  )
  places['classifier/fc6'] = torch_place('classifier.0', flattened)
  places['classifier/fc7'] = torch_place('classifier.3', TRANSPOSED)
  places['classifier/fc8'] = torch_place('classifier.6', TRANSPOSED)
  return places


FORMS = (WeightForm(_network(), "torchvision's vgg16", _places()),)
