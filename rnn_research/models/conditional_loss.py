"""What a conditional model is trained on: cross-entropy per real target symbol, label smoothing,
scheduled sampling."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research.losses import cross_entropy
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.typing import Array, Key, Params, PyTree
from rnn_research.unroll import length_mask


class LossOptions(NamedTuple):
  """How training differs from plain teacher forcing.

  Attributes:
    label_smoothing: weight of the uniform distribution in the targets (Szegedy et al. 2016).
    sampling_rate: chance that the decoder reads a symbol it drew itself (Bengio et al. 2015), 0 is
      teacher forcing ..
    sampling_steps: .. reached after so many steps, linearly from 0.
  """

  label_smoothing: float = 0.0
  sampling_rate: float = 0.0
  sampling_steps: int = 0


class Example(NamedTuple):
  """What is read and what is to be written.

  Attributes:
    inputs: of the encoder, leaves [B, ...].
    mask: [B, S] bool of the encoder, False is padding; None is none.
    ids: [B, T] int32, what the decoder reads: BOS and the target.
    targets: [B, T] int32, what it is to write: the target and EOS.
    lengths: [B] int32, of targets, 0 for an empty row.
  """

  inputs: PyTree
  mask: Array | None
  ids: Array
  targets: Array
  lengths: Array


def nats(model: ConditionalModel, params: Params, examples: Example) -> Array:
  """Returns -log p(target | input) of every row, [B] float32, ends included."""
  encoded = model.encode(params, examples.inputs, examples.mask)
  logits, _ = model.teach(params, encoded, examples.ids.T)
  losses = cross_entropy(logits, examples.targets.T)
  return jnp.where(_real(examples), losses, 0.0).sum(0)


def training_loss(
  model: ConditionalModel,
  options: LossOptions,
  params: Params,
  examples: Example,
  key: Key,
  step: Array,
) -> tuple[Array, Array, dict[str, Array]]:
  """Returns sums over real target symbols: the loss, their number, and the cross-entropy in nats.

    loss_i = (1 - e) * -log p(y_i) + e * mean_v -log p(v)

  Args:
    model: the model.
    options: e, and how often it reads its own symbols.
    params: its parameters.
    examples: a batch.
    key: of dropout and of the symbols it draws.
    step: [] int32, updates done.
  """
  encode_key, decode_key = jax.random.split(key)
  encoded = model.encode(params, examples.inputs, examples.mask, encode_key)
  if options.sampling_rate:
    rate = options.sampling_rate * jnp.minimum(1.0, (step + 1) / max(options.sampling_steps, 1))
    logits = model.student(params, encoded, examples.ids.T, rate, decode_key)
  else:
    logits, _ = model.teach(params, encoded, examples.ids.T, decode_key)
  real = _real(examples)
  losses = jnp.where(real, cross_entropy(logits, examples.targets.T), 0.0)
  total = losses.sum()
  if options.label_smoothing:
    uniform = jax.nn.logsumexp(logits, -1) - logits.mean(-1)
    smoothed = jnp.where(real, uniform, 0.0).sum()
    total = (1.0 - options.label_smoothing) * total + options.label_smoothing * smoothed
  return total, real.sum(dtype=jnp.float32), {'nats_per_symbol': losses.sum()}


def _real(examples):
  return length_mask(examples.lengths, examples.targets.shape[1])
