"""Convolutional networks with public weights: against activations that others computed, PyTorch, and NumPy in float64."""

import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from rnn_research.encoders.cnn import efficientnet_lite2, mobilenet_v2
from rnn_research.encoders.cnn.cnn import Pixels, cnn, maps
from rnn_research.encoders.cnn.forms import (
  TRANSPOSED,
  WeightForm,
  params_of,
  shapes,
  torch_normed,
  torch_place,
)
from rnn_research.encoders.cnn.layers import (
  Convolution,
  PooledClassifier,
  convolve,
  convolve_depthwise,
  max_pool,
  padded,
  same,
  symmetric,
)
from rnn_research.encoders.cnn.mobile import mobile
from rnn_research.encoders.cnn.weights import NETWORKS, load_weights, named, read_arrays
from rnn_research.errors import InputError
from rnn_research.parameters import num_parameters

pytestmark = pytest.mark.usefixtures('strict_shapes')
RNG = np.random.default_rng(0)
ALL_FORMS = [form for forms in NETWORKS.values() for form in forms]
title_of = lambda form: form.title.replace(' ', '-')


def relative(found, expected):
  """Returns the norm of the difference over the norm of what is expected."""
  found, expected = (np.asarray(a, np.float64) for a in (found, expected))
  assert found.shape == expected.shape
  return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def top5(logits):
  return np.argsort(-np.asarray(logits))[:5].tolist()


def truncated(stages, repeats, pixels):
  """Returns the lower part of a network whose fifth stage has so many blocks."""
  shorter = (*stages[:4], stages[4]._replace(repeats=repeats), stages[5])
  return mobile('', '', pixels, shorter, same).lower


@pytest.fixture
def reference(data_dir):
  """Returns `(name of a network, folder, file, name of the picture) -> (network, parameters, picture, Maps, activations)`."""
  pytest.importorskip('safetensors')

  def load(name, folder, file, picture):
    network, params = load_weights(name, str(data_dir / folder / file))
    arrays = np.load(data_dir / folder / 'reference_activations.npz', allow_pickle=False)
    pictures = arrays[picture][None]
    pictures = pictures[..., ::-1] if 'bgr' in picture else pictures
    found = jax.jit(lambda p, x: maps(network, p, x))(params, pictures)
    assert len(found.deep) == 1 and found.deep.dtype == jnp.float32
    return params, pictures, jax.tree.map(lambda a: a[0], found), arrays

  return load


def test_efficientnet_lite2_of_the_reference(reference):
  params, pictures, found, arrays = reference(
    'efficientnet_lite2',
    'cnn_efficientnet_lite2',
    'efficientnet_lite2.npz',
    'input_rgb_uint8_224',
  )
  assert relative(found.deep, arrays['head_7x7x1280']) < 1e-5
  assert relative(found.vector, arrays['pooled']) < 1e-5
  assert relative(found.logits, arrays['logits']) < 1e-5
  assert top5(found.logits) == [162, 166, 158, 227, 195]
  # The reference is the last block of the shallow map before its input is added.
  before = truncated(efficientnet_lite2.STAGES, 3, Pixels(224, (127.0,) * 3, (128.0,) * 3))
  added = jax.jit(before)(params, pictures)[0]
  assert relative(found.shallow - added, arrays['block14_project_14x14x120']) < 1e-5


def test_mobilenet_v2_of_the_reference(reference):
  params, pictures, found, arrays = reference(
    'mobilenet_v2', 'cnn_mobilenetv2', 'mobilenet_v2_1.0_224.npz', 'input_rgb_uint8_224'
  )
  assert relative(found.deep, arrays['op51_out_7x7x1280']) < 1e-5
  assert relative(found.logits, arrays['logits'][1:]) < 1e-5
  # The reference counts the background as class 0.
  assert top5(found.logits) == [n - 1 for n in (228, 159, 241, 254, 167)]
  before = truncated(mobilenet_v2.STAGES, 1, Pixels(224, (128.0,) * 3, (128.0,) * 3))
  # float16
  assert relative(jax.jit(before)(params, pictures)[0], arrays['op32_out']) < 1e-3


def test_squeezenet_of_the_reference(reference):
  _, _, found, arrays = reference(
    'squeezenet',
    'cnn_squeezenet',
    'squeezenet_v1.0_deepcompressed.npz',
    'input_bgr_uint8_227',
  )
  pooled = max_pool(3)(found.shallow[None])[0]
  assert relative(pooled, arrays['pool8'].transpose(1, 2, 0)) < 1e-3  # float16
  assert relative(found.deep, arrays['fire9__concat'].transpose(1, 2, 0)) < 1e-3  # float16
  assert relative(found.logits, arrays['pool_final'][:, 0, 0]) < 1e-5
  assert top5(found.logits) == [166, 241, 238, 240, 245]


def pooled_of(model, deep):
  return deep.mean((2, 3))


# network and form -> how to make the model, and its shallow map, deep map and vector of a picture
TORCH = {
  'efficientnet_lite2:timm': (
    lambda tv, timm: timm.create_model('tf_efficientnet_lite2', pretrained=False),
    lambda m, x: m.blocks[:5](m.bn1(m.conv_stem(x))),
    lambda m, x: m.forward_features(x),
    pooled_of,
  ),
  'mobilenet_v2:timm': (
    lambda tv, timm: timm.create_model('mobilenetv2_100', pretrained=False),
    lambda m, x: m.blocks[:5](m.bn1(m.conv_stem(x))),
    lambda m, x: m.forward_features(x),
    pooled_of,
  ),
  'mobilenet_v2:torchvision': (
    lambda tv, timm: tv.mobilenet_v2(weights=None),
    lambda m, x: m.features[:14](x),
    lambda m, x: m.features(x),
    pooled_of,
  ),
  'squeezenet:torchvision': (
    lambda tv, timm: tv.squeezenet1_0(weights=None),
    lambda m, x: m.features[:11](x),
    lambda m, x: m.features(x),
    pooled_of,
  ),
  'vgg16:torchvision': (
    lambda tv, timm: tv.vgg16(weights=None),
    lambda m, x: m.features[:30](x),
    lambda m, x: m.features(x),
    lambda m, deep: m.classifier[:5](deep.flatten(1)),
  ),
  'resnet50:torchvision': (
    lambda tv, timm: tv.resnet50(weights=None),
    lambda m, x: m.layer3(m.layer2(m.layer1(m.maxpool(m.relu(m.bn1(m.conv1(x))))))),
    lambda m, x: m.layer4(
      m.layer3(m.layer2(m.layer1(m.maxpool(m.relu(m.bn1(m.conv1(x)))))))
    ),
    pooled_of,
  ),
  'resnet50:timm': (
    lambda tv, timm: timm.create_model('resnet50', pretrained=False),
    lambda m, x: m.layer3(m.layer2(m.layer1(m.maxpool(m.act1(m.bn1(m.conv1(x))))))),
    lambda m, x: m.forward_features(x),
    pooled_of,
  ),
}  # fmt: skip
# (mean, standard deviation) of pixels in 0..1, where they are not those of ImageNet
HALF = ((0.5,) * 3, (0.5,) * 3)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize('kind', TORCH)
def test_a_model_of_pytorch(kind, tmp_path):
  torch = pytest.importorskip('torch')
  models = pytest.importorskip('torchvision').models
  timm = pytest.importorskip('timm')
  save_file = pytest.importorskip('safetensors.torch').save_file
  torch.manual_seed(0)
  make, shallow, deep, vector = TORCH[kind]
  model = make(models, timm).eval()
  for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
      for values, low in ((module.weight, 0.8), (module.running_var, 0.5)):
        torch.nn.init.uniform_(values, low, 1.5)
      for values in (module.bias, module.running_mean):
        torch.nn.init.normal_(values, 0.0, 0.3)
  file = tmp_path / 'weights.safetensors'
  save_file(model.state_dict(), file)
  name, _, form = kind.partition(':')
  network, params = load_weights(name, str(file))
  assert network.form == form or name == 'resnet50'
  size = network.size
  pictures = np.random.default_rng(1).integers(0, 256, (1, size, size, 3)).astype(np.uint8)
  found = jax.jit(lambda p, x: maps(network, p, x))(params, pictures)
  mean, deviation = HALF if name == 'efficientnet_lite2' else IMAGENET
  xs = ((pictures / 255 - mean) / deviation).transpose(0, 3, 1, 2)
  model.double()
  with torch.no_grad():
    x = torch.tensor(xs)
    theirs = (deep(model, x), shallow(model, x), vector(model, deep(model, x)), model(x))
  for field, ours, other in zip(found._fields, found, theirs, strict=True):
    other = other.numpy()
    error = relative(ours, other.transpose(0, 2, 3, 1) if other.ndim == 4 else other)
    # Random weights multiply what float32 rounds off: timm's own result is up to 5e-4 away from its
    # float64. With ours in float64 the distance was 2e-12 at most, with another eps 0.3 at least.
    print(f'{kind} {field} {error:.1e}')
    assert error < 1e-3, field


def convolved(x, kernel, stride, before, after):
  """Returns the cross-correlation of [h, w, C] with [k, k, C, C'], float64, one cell at a time."""
  k = len(kernel)
  x = np.pad(x.astype(np.float64), ((before, after), (before, after), (0, 0)))
  rows, columns = ((n - k) // stride + 1 for n in x.shape[:2])
  out = np.empty((rows, columns, kernel.shape[-1]))
  for i in range(rows):
    for j in range(columns):
      patch = x[i * stride : i * stride + k, j * stride : j * stride + k]
      out[i, j] = np.einsum('abc,abcd->d', patch, kernel.astype(np.float64))
  return out


# size of the map, of the kernel, stride, padding, and its zeros before and after, by hand
CASES = [
  (6, 3, 1, same, 1, 1),
  (6, 3, 2, same, 0, 1),
  (7, 3, 2, same, 1, 1),
  (6, 5, 2, same, 1, 2),
  (6, 5, 1, same, 2, 2),
  (6, 3, 2, symmetric, 1, 1),
  (8, 7, 2, symmetric, 3, 3),
  (6, 1, 2, symmetric, 0, 0),
  (5, 1, 1, padded(1), 1, 1),
  (9, 7, 2, padded(0), 0, 0),
]


AXES = ('length', 'size', 'stride', 'padding', 'before', 'after')


def assert_convolves(function, x, kernel, dense, case):
  """Checks a convolution of maps [B, h, w, C] against loops with a kernel [k, k, C, C']."""
  stride, padding, before, after = case
  found = jax.jit(lambda x, kernel: function(x, kernel, stride, padding))(x, kernel)
  for row, ours in zip(x, found, strict=True):
    assert relative(ours, convolved(row, dense, stride, before, after)) < 1e-6


@pytest.mark.parametrize(AXES, CASES)
def test_convolutions_against_loops(length, size, stride, padding, before, after):
  x = RNG.normal(size=(2, length, length, 3)).astype(np.float32)
  kernel = RNG.normal(size=(size, size, 3, 4)).astype(np.float32)
  assert_convolves(convolve, x, kernel, kernel, (stride, padding, before, after))


@pytest.mark.parametrize(AXES, CASES[:6])
def test_depthwise_convolutions_against_loops(length, size, stride, padding, before, after):
  x = RNG.normal(size=(2, length, length, 3)).astype(np.float32)
  kernel = RNG.normal(size=(size, size, 1, 3)).astype(np.float32)
  # A kernel for every channel is one for all of them that is zero elsewhere.
  dense = kernel * np.eye(3)
  assert_convolves(convolve_depthwise, x, kernel, dense, (stride, padding, before, after))


def tiny():
  """Returns a form of a network of two convolutions, and arrays for it."""
  lower = (Convolution(4, 3, 2, symmetric, name='one'), max_pool(2))
  upper = (Convolution(5, 3, name='two'),)
  network = cnn('tiny', 'form', Pixels(8, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), lower, upper,
                PooledClassifier(7, name='classifier'))  # fmt: skip
  places = {
    'one': torch_normed('conv', 'bn'),
    'two': torch_place('second'),
    'classifier/fc': torch_place('fc', TRANSPOSED),
  }
  form = WeightForm(network, 'a tiny model', places, eps=0.1)
  arrays = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes(form).items()}
  arrays['bn.running_var'] = np.abs(arrays['bn.running_var'])
  return form, arrays


def test_a_batch_norm_is_folded():
  form, a = tiny()
  params = params_of(form, a)
  pictures = RNG.integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
  found = jax.jit(lambda p, x: maps(form.cnn, p, x))(params, pictures)
  x = (pictures[0] - np.array([1, 2, 3])) / np.array([4, 5, 6])
  y = convolved(x, a['conv.weight'].transpose(2, 3, 1, 0), 2, 1, 1)
  y = (y - a['bn.running_mean']) / np.sqrt(np.float64(a['bn.running_var']) + 0.1)
  y = np.maximum(y * a['bn.weight'] + a['bn.bias'], 0)
  shallow = y.reshape(2, 2, 2, 2, 4).max((1, 3))
  y = convolved(shallow, a['second.weight'].transpose(2, 3, 1, 0), 1, 1, 1) + a['second.bias']
  deep = np.maximum(y, 0)
  vector = deep.mean((0, 1))
  logits = a['fc.weight'].astype(np.float64) @ vector + a['fc.bias']
  for ours, expected in zip(found, (deep, shallow, vector, logits), strict=True):
    assert relative(ours[0], expected) < 1e-5


def test_the_upper_part_is_trained_alone():
  form, a = tiny()
  network, params = form.cnn, params_of(form, a)
  lower, upper, classifier = network.split(params)
  assert (lower.keys(), upper.keys(), classifier.keys()) == ({'one'}, {'two'}, {'classifier'})
  drawn = jax.eval_shape(network.init, jax.random.key(0))
  assert jax.tree.structure(lower | upper | classifier) == jax.tree.structure(drawn)
  pictures = jnp.asarray(RNG.integers(0, 256, (2, 8, 8, 3)), jnp.uint8)
  shallow = jax.jit(network.lower)(lower, pictures)
  np.testing.assert_array_equal(shallow, jax.jit(network.lower)(params, pictures))
  loss = lambda upper: network.classify(classifier, network.upper(upper, shallow))[1].sum()
  gradient = jax.jit(jax.grad(loss))(upper)
  assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient))


def test_depthwise_convolutions_have_gradients():
  x, kernel = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((1, 6, 6, 2), (3, 3, 1, 2)))
  single = lambda kernel: (convolve_depthwise(x, kernel, 2, same) ** 2).sum()
  dense = lambda kernel: (convolve(x, kernel * jnp.eye(2)[None, None], 2, same) ** 2).sum()
  assert relative(*(jax.jit(jax.grad(loss))(kernel) for loss in (single, dense))) < 1e-6


# parameters, size of pictures, shapes of deep map, shallow map and vector
SIZES = {
  'efficientnet_lite2': (6_063_024, 224, (7, 7, 1280), (14, 14, 120), (1280,)),
  'mobilenet_v2': (3_487_816, 224, (7, 7, 1280), (14, 14, 96), (1280,)),
  'squeezenet': (1_248_424, 224, (13, 13, 512), (27, 27, 512), (512,)),
  'vgg16': (138_357_544, 224, (7, 7, 512), (14, 14, 512), (4096,)),
  'resnet50': (25_530_472, 224, (7, 7, 2048), (14, 14, 1024), (2048,)),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_the_shape_of_a_network(name):
  count, size, deep, shallow, vector = SIZES[name]
  network = named(name)
  params = jax.eval_shape(network.init, jax.random.key(0))
  assert (num_parameters(params), network.size) == (count, size)
  pictures = jax.ShapeDtypeStruct((2, size, size, 3), jnp.uint8)
  found = jax.eval_shape(lambda p, x: maps(network, p, x), params, pictures)
  assert [a.shape[1:] for a in found] == [deep, shallow, vector, (1000,)]
  lower, upper, classifier = network.split(params)
  assert lower and classifier and lower | upper | classifier == params
  assert bool(upper) == (name != 'vgg16')  # above whose shallow map is a pooling alone


@pytest.mark.parametrize('form', ALL_FORMS, ids=title_of)
def test_a_form_has_a_place_for_every_layer(form):
  layers = jax.eval_shape(form.cnn.init, jax.random.key(0))
  paths = {path.rpartition('/')[0] for path in flatten_dict(layers, sep='/')}
  assert form.places.keys() == paths
  arrays = sum(2 if place.bias else 5 for place in form.places.values())
  assert len(shapes(form)) == arrays  # none is named twice


# an array or two of each form, as in the state dicts of torchvision 0.28 and timm 1.0, and how many there are
NAMES = {
  "timm's tf_efficientnet_lite2": (320 + 2, {
    'blocks.0.0.conv_pw.weight': (16, 32, 1, 1), 'blocks.0.0.bn2.running_var': (16,),
    'blocks.6.0.conv_pwl.weight': (352, 1248, 1, 1), 'classifier.weight': (1000, 1280)}),
  "timm's mobilenetv2_100": (260 + 2, {
    'blocks.6.0.bn3.bias': (320,), 'bn2.weight': (1280,), 'conv_stem.weight': (32, 3, 3, 3)}),
  "torchvision's mobilenet_v2": (260 + 2, {
    'features.1.conv.1.weight': (16, 32, 1, 1), 'features.17.conv.3.running_var': (320,),
    'features.2.conv.1.0.weight': (96, 1, 3, 3), 'classifier.1.bias': (1000,)}),
  "torchvision's squeezenet1_0": (52, {
    'features.12.expand3x3.weight': (256, 64, 3, 3), 'classifier.1.weight': (1000, 512, 1, 1)}),
  "torchvision's vgg16": (32, {
    'features.28.weight': (512, 512, 3, 3), 'classifier.0.weight': (4096, 25088)}),
  "torchvision's or timm's resnet50": (265 + 2, {
    'layer2.0.downsample.1.running_mean': (512,), 'layer4.2.conv3.weight': (2048, 512, 1, 1)}),
}  # fmt: skip


@pytest.mark.parametrize('title', NAMES)
def test_names_are_those_of_state_dicts(title):
  (form,) = [form for form in ALL_FORMS if form.title == title]
  count, some = NAMES[title]
  expected = shapes(form)
  assert len(expected) == count
  assert {name: expected.get(name) for name in some} == some


def squeezenet_arrays():
  expected = shapes(NETWORKS['squeezenet'][0])
  return {name: RNG.normal(size=shape).astype(np.float16) for name, shape in expected.items()}


def test_files_of_both_kinds_hold_the_same(tmp_path):
  save_file = pytest.importorskip('safetensors.numpy').save_file
  arrays = squeezenet_arrays()
  arrays['features.0.num_batches_tracked'] = np.int64([7])
  np.savez(tmp_path / 'a.npz', **arrays)
  save_file(arrays, tmp_path / 'b.bin')
  bfloat = {name: array.astype(jnp.bfloat16) for name, array in arrays.items()}
  save_file(bfloat, tmp_path / 'c.safetensors')
  (one, first), (_, second), (_, third) = (
    load_weights('squeezenet', str(tmp_path / file)) for file in ('a.npz', 'b.bin', 'c.safetensors')
  )
  assert (one.name, one.form) == ('squeezenet', 'torchvision')
  kernel = first['fire9']['expand3x3']['kernel']
  assert kernel.dtype == jnp.float32
  weight = arrays['features.12.expand3x3.weight'].astype(np.float32)
  np.testing.assert_array_equal(kernel, weight.transpose(2, 3, 1, 0))
  jax.tree.map(np.testing.assert_array_equal, first, second)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2), first, third)


def without(arrays, name):
  return {key: array for key, array in arrays.items() if key != name}


MISFITS = {
  'missing': (
    lambda a: without(a, 'features.7.squeeze.weight'),
    r'lacks the array features\.7\.squeeze\.weight of \(32, 256, 1, 1\)',
  ),
  'renamed': (
    lambda a: without(a, 'features.0.bias') | {'features.0.biass': a['features.0.bias']},
    r'lacks the array features\.0\.bias .*did you mean features\.0\.biass\?',
  ),
  'unexpected': (
    lambda a: a | {'extra': np.zeros(3, np.float32)},
    'has the array extra, which .* lacks',
  ),
  'shape': (
    lambda a: a | {'classifier.1.bias': np.zeros(10, np.float32)},
    r'has classifier\.1\.bias of shape \(10,\), expected \(1000,\)',
  ),
  'nothing': (lambda a: {}, r'lacks the array features\.0\.weight'),
}


@pytest.mark.parametrize('kind', MISFITS)
def test_a_misfit_names_the_first_array_that_differs(kind, tmp_path):
  pytest.importorskip('safetensors')
  change, expected = MISFITS[kind]
  file = tmp_path / 'weights.npz'
  np.savez(file, **change(squeezenet_arrays()))
  with pytest.raises(InputError, match=expected) as error:
    load_weights('squeezenet', str(file))
  assert str(error.value).startswith(f'model.encoder_weights: {file} ')
  assert "torchvision's squeezenet1_0" in str(error.value)


def test_what_is_no_weights_file_is_refused(tmp_path):
  pytest.importorskip('safetensors')
  wrong = {}
  for name, content in (('text', b'hello, this is a text'), ('empty', b''),
                        ('old.pth', pickle.dumps({'a': 1}))):  # fmt: skip
    wrong[name] = tmp_path / name
    wrong[name].write_bytes(content)
  np.savez(tmp_path / 'new', **{'archive/data.pkl': np.zeros(1)})
  np.savez(tmp_path / 'objects.npz', a=np.array([{}], object))
  np.savez(tmp_path / 'cut.npz', a=np.zeros(9))
  (tmp_path / 'cut.npz').write_bytes((tmp_path / 'cut.npz').read_bytes()[:-9])
  for name in ('text', 'empty', 'objects.npz', 'cut.npz'):
    with pytest.raises(InputError, match=r'is not a whole \.npz or \.safetensors file') as error:
      load_weights('squeezenet', str(tmp_path / name))
    assert name in str(error.value)
  with pytest.raises(InputError, match=r'pickle.*save_file'):
    load_weights('squeezenet', str(tmp_path / 'old.pth'))
  with pytest.raises(FileNotFoundError, match=r'model\.encoder_weights: .*none'):
    load_weights('squeezenet', str(tmp_path / 'none'))
  with pytest.raises(InputError, match=re.escape(str(tmp_path))):
    load_weights('squeezenet', str(tmp_path))


def test_weights_with_any_byte_damaged_are_read_or_refused(tmp_path):
  pytest.importorskip('safetensors')
  np.savez(tmp_path / 'whole.npz', a=np.arange(9.0))
  whole, refused = (tmp_path / 'whole.npz').read_bytes(), 0
  for place in range(len(whole)):
    changed = bytes([*whole[:place], whole[place] ^ 0xFF, *whole[place + 1 :]])
    (tmp_path / 'damaged.npz').write_bytes(changed)
    try:
      read_arrays(str(tmp_path / 'damaged.npz'))
    except InputError:
      refused += 1
  assert refused > len(whole) / 3


def test_networks_and_forms_by_name():
  assert named('squeezenet', 'caffe').size == 227
  with pytest.raises(InputError, match=r'model\.encoder .*did you mean squeezenet\?'):
    named('squeezenett')
  with pytest.raises(InputError, match='expected one of torchvision, caffe for squeezenet'):
    named('squeezenet', 'timm')
