"""What a captioner is trained on: cross-entropy, even attention, and where hard attention looks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research.encoders.encoder import Encoded
from rnn_research.losses import cross_entropy
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.stepping import repeat_rows
from rnn_research.typing import Array, Key, Params, PyTree
from rnn_research.unroll import length_mask

_BASELINE_DECAY = 0.9
_LEAST_WEIGHT = 1e-10  # whose logarithm is taken in the place of that of 0


class Options(NamedTuple):
  """Weights of what is added to the cross-entropy.

  Attributes:
    label_smoothing: of the uniform distribution in the targets (Szegedy et al. 2016).
    doubly_stochastic: lambda of `training_loss`.
    reinforce: lambda_r.
    entropy: lambda_e.
  """

  label_smoothing: float = 0.0
  doubly_stochastic: float = 0.0
  reinforce: float = 0.0
  entropy: float = 0.0


class Captioned(NamedTuple):
  """B pictures with K captions each, N = B * K, those of a picture side by side.

  Attributes:
    inputs: of the encoder, leaves [B, ...].
    ids: [N, T] int32, what the decoder reads: BOS and the caption.
    targets: [N, T] int32, what it is to write: the caption and EOS.
    lengths: [N] int32, of targets, 0 for no caption.
  """

  inputs: PyTree
  ids: Array
  targets: Array
  lengths: Array


def for_each(encoded: Encoded, copies: int) -> Encoded:
  """Returns what is known of B pictures for B * K captions, those of a picture side by side; the
  memory keeps its B rows, see `memory.attention.weigh`."""
  states, summary = repeat_rows((encoded.states, encoded.summary), copies)
  return encoded._replace(states=states, summary=summary)


def taught(
  model: ConditionalModel, params: Params, captioned: Captioned, key: Key | None = None
) -> tuple[Array, dict[str, Array], Array]:
  """Returns logits [T, N, V] of teacher forcing, extras [T, N, ...], and which symbols are real,
  [T, N] bool. A picture is encoded once for all of its captions."""
  key_e, key_d = (None, None) if key is None else jax.random.split(key)
  encoded = model.encode(params, captioned.inputs, None, key_e)
  copies = len(captioned.ids) // len(encoded.summary)
  logits, extras = model.teach(params, for_each(encoded, copies), captioned.ids.T, key_d)
  return logits, extras, length_mask(captioned.lengths, captioned.ids.shape[1])


def nats(model: ConditionalModel, params: Params, captioned: Captioned) -> Array:
  """Returns -log p(caption | picture), [N] float32, ends included."""
  logits, _, real = taught(model, params, captioned)
  return jnp.where(real, cross_entropy(logits, captioned.targets.T), 0.0).sum(0)


def training_loss(
  model: ConditionalModel,
  options: Options,
  params: Params,
  baseline: Array,
  captioned: Captioned,
  key: Key,
) -> tuple[Array, tuple[Array, Array, dict[str, Array]]]:
  """Returns sums over a batch.

    L = sum_n [ -log p(y_n) + lambda sum_i (1 - sum_t a_ti)^2 ]

  and for a decoder that chooses places s_t by a_t, one of `extras` 'chosen',

    - sum_n [ lambda_r (log p(y_n | s) - b) log p(s) + lambda_e sum_t H(a_t) ]

  where log p(y_n | s) - b is a constant, and b <- 0.9 b + 0.1 mean_n log p(y_n | s). Steps that
  looked softly have no such gradient.

  Args:
    model: the model.
    options: the lambdas.
    params: its parameters.
    baseline: [B] float32, b in every row: the carry.
    captioned: a batch.
    key: of dropout and of the choices.

  Returns:
    The loss, and (number of real symbols, the next baseline, sums that are logged: the
    cross-entropy in nats, and of a decoder that looks the entropy of its weights).

  Source: Xu et al. 2015 (arXiv 1502.03044), equations 10 to 14. Deviates from the paper: b is that
  of the rows of a device.
  """
  logits, extras, real = taught(model, params, captioned, key)
  losses = jnp.where(real, cross_entropy(logits, captioned.targets.T), 0.0)
  total, sums = losses.sum(), {'nats_per_symbol': losses.sum()}
  if options.label_smoothing:
    even = jnp.where(real, jax.nn.logsumexp(logits, -1) - logits.mean(-1), 0.0).sum()
    total = (1.0 - options.label_smoothing) * total + options.label_smoothing * even
  if 'weights' in extras:
    weights = jnp.where(real[:, :, None], extras['weights'], 0.0)
    logs = jnp.log(jnp.maximum(weights, _LEAST_WEIGHT))
    entropy = -(weights * logs).sum()
    sums['attention_entropy'] = entropy
    some = (captioned.lengths > 0)[:, None]
    total += options.doubly_stochastic * jnp.where(some, (1.0 - weights.sum(0)) ** 2, 0.0).sum()
    if 'chosen' in extras:
      gain, baseline = _advantage(-losses.sum(0), captioned.lengths > 0, baseline)
      chosen = jax.lax.stop_gradient(jnp.where(real[:, :, None], extras['chosen'], 0.0))
      total -= options.reinforce * (gain * (chosen * logs).sum((0, 2))).sum()
      total -= options.entropy * entropy
  return total, (real.sum(dtype=jnp.float32), baseline, sums)


def _advantage(rewards, some, baseline):
  """Returns by how much rewards [N] are above the baseline, and the next baseline."""
  rewards = jax.lax.stop_gradient(rewards)
  mean = jnp.where(some, rewards, 0.0).sum() / jnp.maximum(some.sum(), 1)
  gain = jnp.where(some, rewards - baseline.mean(), 0.0)
  return gain, _BASELINE_DECAY * baseline + (1.0 - _BASELINE_DECAY) * mean
