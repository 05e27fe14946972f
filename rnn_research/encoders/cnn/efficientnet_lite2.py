"""EfficientNet-Lite2: 77.5 % of ImageNet's pictures right, as published at 260 x 260.

Source: Tan and Le 2019 (arXiv 1905.11946), without squeeze and excitation and with ReLU6, as in
TensorFlow's EfficientNet-Lite. Deviates from the paper: pictures of 224 x 224, which give maps of
14 x 14 and 7 x 7.
"""

from rnn_research.encoders.cnn.cnn import Pixels
from rnn_research.encoders.cnn.forms import PLAIN, LayerPlace, WeightForm
from rnn_research.encoders.cnn.layers import same
from rnn_research.encoders.cnn.mobile import Stage, convolutions, mobile, timm_places

NAME = 'efficientnet_lite2'
STAGES = (
  Stage(expansion=1, size=3, stride=1, features=16, repeats=1),
  Stage(expansion=6, size=3, stride=2, features=24, repeats=3),
  Stage(expansion=6, size=5, stride=2, features=48, repeats=3),
  Stage(expansion=6, size=3, stride=2, features=88, repeats=4),
  Stage(expansion=6, size=5, stride=1, features=120, repeats=4),
  Stage(expansion=6, size=5, stride=2, features=208, repeats=5),
  Stage(expansion=6, size=3, stride=1, features=352, repeats=1),
)


def _folded_places():
  places = {
    layer: LayerPlace(f'{layer}/kernel', f'{layer}/bias', layout=PLAIN)
    for layer in convolutions(STAGES)
  }
  places['classifier/fc'] = LayerPlace('classifier/kernel', 'classifier/bias', layout=PLAIN)
  return places


FORMS = (
  WeightForm(
    mobile(NAME, 'folded', Pixels(224, (127.0,) * 3, (128.0,) * 3), STAGES, same),
    'EfficientNet-Lite2 with batch norms folded',
    _folded_places(),
  ),
  WeightForm(
    mobile(NAME, 'timm', Pixels(224, (127.5,) * 3, (127.5,) * 3), STAGES, same),
    "timm's tf_efficientnet_lite2",
    timm_places(STAGES),
    eps=1e-3,
  ),
)
