"""Forms of weights: where a file of a certain origin keeps the arrays of a network."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rnn_research.encoders.cnn.cnn import Cnn
from rnn_research.errors import InputError, did_you_mean
from rnn_research.typing import Params

Shape = tuple[int, ...]


class Layout(NamedTuple):
  """How a file lays out an array.

  Attributes:
    shape: of ours -> of the file's.
    read: the file's array -> ours.
  """

  shape: Callable[[Shape], Shape]
  read: Callable[[np.ndarray], np.ndarray]


def axes(*order: int) -> Layout:
  """Makes the layout whose axis i is our axis `order[i]`."""
  back = [order.index(axis) for axis in range(len(order))]
  return Layout(lambda shape: tuple(shape[axis] for axis in order), lambda a: a.transpose(back))


PLAIN = Layout(lambda shape: shape, lambda a: a)
OIHW = axes(3, 2, 0, 1)  # kernels of PyTorch and Caffe
TRANSPOSED = axes(1, 0)  # matrices of PyTorch


class LayerPlace(NamedTuple):
  """Where a file keeps a layer.

  Attributes:
    kernel: name of the array.
    bias: name of the array; '' where a batch norm follows instead.
    norm: what names of the batch norm's arrays begin with.
    layout: of the kernel.
    bias_layout: of the bias.
  """

  kernel: str
  bias: str = ''
  norm: str = ''
  layout: Layout = OIHW
  bias_layout: Layout = PLAIN


def names_of(place: LayerPlace) -> tuple[str, ...]:
  """Returns the names of the kernel and of the bias, or else of the batch norm's gamma, beta, mean
  and variance."""
  norm = ('weight', 'bias', 'running_mean', 'running_var')
  return place.kernel, *([place.bias] if place.bias else [f'{place.norm}.{part}' for part in norm])


def torch_place(module: str, layout: Layout = OIHW) -> LayerPlace:
  """Returns the place of a module of PyTorch that has a bias."""
  return LayerPlace(f'{module}.weight', f'{module}.bias', layout=layout)


def torch_normed(module: str, norm: str) -> LayerPlace:
  """Returns the place of a convolution of PyTorch that a batch norm follows."""
  return LayerPlace(f'{module}.weight', norm=norm)


class WeightForm(NamedTuple):
  """Weights of one origin.

  Attributes:
    cnn: the network as this origin has it.
    title: of the origin's model, for people.
    places: path of a layer, such as 'block01/expand' -> where it is.
    eps: of batch norms, added to the variance.
  """

  cnn: Cnn
  title: str
  places: Mapping[str, LayerPlace]
  eps: float = 0.0


def shapes(form: WeightForm) -> dict[str, Shape]:
  """Returns name -> shape of every array that a file of this form has, from the first layer on."""
  ours, found = _our_shapes(form.cnn), {}
  for layer, place in form.places.items():
    kernel, bias = (ours[f'{layer}/{part}'].shape for part in ('kernel', 'bias'))
    name, *others = names_of(place)
    found[name] = place.layout.shape(kernel)
    found |= dict.fromkeys(others, place.bias_layout.shape(bias))
  return found


def require_fit(form: WeightForm, arrays: Mapping[str, np.ndarray], source: str) -> None:
  """Raises InputError, which names the first array that differs, unless these are the arrays of a
  form; `source` names where they were found."""
  expected = shapes(form)
  extra = [name for name in arrays if name not in expected]
  for name, shape in expected.items():
    if name not in arrays:
      hint = did_you_mean(name, extra)
      raise InputError(f'{source} lacks the array {name} of {shape}, as in {form.title}{hint}')
    if arrays[name].shape != shape:
      raise InputError(
        f'{source} has {name} of shape {arrays[name].shape}, expected {shape} as in {form.title}'
      )
  if extra:
    raise InputError(f'{source} has the array {extra[0]}, which {form.title} lacks')


def params_of(form: WeightForm, arrays: Mapping[str, np.ndarray]) -> Params:
  """Returns parameters of a form's network, batch norms folded, from arrays that fit it.

    y = gamma (W * x - mean) / sqrt(var + eps) + beta
      = (a W) * x + (beta - a mean),    a = gamma / sqrt(var + eps), in float64

  Source: Ioffe and Szegedy 2015 (arXiv 1502.03167), algorithm 2. Deviates from the paper: nothing.
  """
  params: dict[str, np.ndarray] = {}
  for layer, place in form.places.items():
    weight, *others = (arrays[name] for name in names_of(place))
    kernel = place.layout.read(weight)
    if place.bias:
      bias = place.bias_layout.read(*others)
    else:
      gamma, beta, mean, var = (array.astype(np.float64) for array in others)
      scale = gamma / np.sqrt(var + form.eps)
      # Every kernel's last axis is that of its outputs.
      kernel, bias = kernel * scale, beta - scale * mean
    params |= {f'{layer}/kernel': kernel, f'{layer}/bias': bias}
  arranged = {name: jnp.asarray(a.astype(np.float32)) for name, a in params.items()}
  return unflatten_dict(arranged, sep='/')


def _our_shapes(cnn):
  return flatten_dict(jax.eval_shape(cnn.init, jax.random.key(0)), sep='/')
