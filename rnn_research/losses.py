"""What a prediction costs."""

import optax

from rnn_research.typing import Array


def cross_entropy(logits: Array, targets: Array) -> Array:
  """Returns `-log softmax(logits)[target]`, [...] float32, in nats."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def binary_cross_entropy(logits: Array, bits: Array) -> Array:
  """Returns `-log p` of bits, p = sigmoid(logit) of a one, [...] float32, in nats."""
  return optax.sigmoid_binary_cross_entropy(logits, bits)
