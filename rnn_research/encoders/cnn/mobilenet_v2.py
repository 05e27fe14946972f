"""MobileNetV2, 1.0.

Source: Sandler et al. 2018 (arXiv 1801.04381), table 2. Deviates from the paper: nothing.
"""

from rnn_research.encoders.cnn.cnn import IMAGENET, Pixels
from rnn_research.encoders.cnn.forms import (
  TRANSPOSED,
  LayerPlace,
  Layout,
  WeightForm,
  axes,
  torch_normed,
  torch_place,
)
from rnn_research.encoders.cnn.layers import same, symmetric
from rnn_research.encoders.cnn.mobile import (
  Stage,
  convolutions,
  enumerated,
  layers_of,
  mobile,
  timm_places,
)

NAME = 'mobilenet_v2'
STAGES = (
  Stage(expansion=1, size=3, stride=1, features=16, repeats=1),
  Stage(expansion=6, size=3, stride=2, features=24, repeats=2),
  Stage(expansion=6, size=3, stride=2, features=32, repeats=3),
  Stage(expansion=6, size=3, stride=2, features=64, repeats=4),
  Stage(expansion=6, size=3, stride=1, features=96, repeats=3),
  Stage(expansion=6, size=3, stride=2, features=160, repeats=3),
  Stage(expansion=6, size=3, stride=1, features=320, repeats=1),
)
_OHWI, _DEPTHWISE = axes(3, 0, 1, 2), axes(2, 0, 1, 3)
# TensorFlow's first class is the background, which the others do not have.
_CLASSIFIER = Layout(lambda shape: (shape[1] + 1, 1, 1, shape[0]), lambda a: a[1:, 0, 0].T)
_CLASSES = Layout(lambda shape: (shape[0] + 1,), lambda a: a[1:])


def _tflite_places():
  places = {
    layer: LayerPlace(
      f'op{i:02}/w', f'op{i:02}/b', layout=_DEPTHWISE if layer.endswith('/depthwise') else _OHWI
    )
    for i, layer in enumerate(convolutions(STAGES))
  }
  last = f'op{len(places)}'
  places['classifier/fc'] = LayerPlace(
    f'{last}/w', f'{last}/b', layout=_CLASSIFIER, bias_layout=_CLASSES
  )
  return places


def _torchvision_places():
  places = {'stem': torch_normed('features.0.0', 'features.0.1')}
  for number, (block, _, _, stage) in enumerate(enumerated(STAGES), 1):
    *activated, last = layers_of(stage)
    prefix = f'features.{number}.conv'
    for i, layer in enumerate(activated):
      places[f'{block}/{layer}'] = torch_normed(f'{prefix}.{i}.0', f'{prefix}.{i}.1')
    i = len(activated)
    places[f'{block}/{last}'] = torch_normed(f'{prefix}.{i}', f'{prefix}.{i + 1}')
  places['head'] = torch_normed('features.18.0', 'features.18.1')
  places['classifier/fc'] = torch_place('classifier.1', TRANSPOSED)
  return places


FORMS = (
  WeightForm(
    mobile(NAME, 'torchvision', IMAGENET, STAGES, symmetric),
    "torchvision's mobilenet_v2",
    _torchvision_places(),
    eps=1e-5,
  ),
  WeightForm(
    mobile(NAME, 'timm', IMAGENET, STAGES, symmetric),
    "timm's mobilenetv2_100",
    timm_places(STAGES),
    eps=1e-5,
  ),
  WeightForm(
    mobile(NAME, 'tflite', Pixels(224, (128.0,) * 3, (128.0,) * 3), STAGES, same),
    "TensorFlow Lite's MobileNetV2 1.0 224",
    _tflite_places(),
  ),
)
