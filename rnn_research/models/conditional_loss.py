"""What a translator is trained on: cross-entropy per real target symbol, label smoothing, scheduled
sampling."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research.losses import cross_entropy
from rnn_research.models.conditional_model import EncoderDecoder
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


def nats(model: EncoderDecoder, params: Params, batch: Mapping[str, Array]) -> Array:
  """Returns -log p(target | source) of every row of a batch (see `data.buckets`), [B] float32, ends
  included."""
  encoded = model.encode(params, batch['sources'], batch['source_lengths'])
  logits, _ = model.teach(params, encoded, batch['inputs'].T)
  return jnp.where(_real(batch), cross_entropy(logits, batch['targets'].T), 0.0).sum(0)


def training_loss(
  model: EncoderDecoder,
  options: LossOptions,
  params: Params,
  carry: PyTree,
  batch: Mapping[str, Array],
  key: Key,
  step: Array,
) -> tuple:
  """The loss of `Experiment`: the sum over real target symbols, and their number.

  loss_i = (1 - e) * -log p(y_i) + e * mean_v -log p(v)
  """
  encode_key, decode_key = jax.random.split(key)
  encoded = model.encode(params, batch['sources'], batch['source_lengths'], encode_key)
  if options.sampling_rate:
    rate = options.sampling_rate * jnp.minimum(1.0, (step + 1) / max(options.sampling_steps, 1))
    logits = model.student(params, encoded, batch['inputs'].T, rate, decode_key)
  else:
    logits, _ = model.teach(params, encoded, batch['inputs'].T, decode_key)
  real = _real(batch)
  losses = jnp.where(real, cross_entropy(logits, batch['targets'].T), 0.0)
  total = losses.sum()
  if options.label_smoothing:
    uniform = jax.nn.logsumexp(logits, -1) - logits.mean(-1)
    smoothed = jnp.where(real, uniform, 0.0).sum()
    total = (1.0 - options.label_smoothing) * total + options.label_smoothing * smoothed
  return total, (real.sum(dtype=jnp.float32), carry, {'nats_per_symbol': losses.sum()})


def _real(batch):
  return length_mask(batch['target_lengths'], batch['targets'].shape[1])
