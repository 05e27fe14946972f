"""What a prediction costs."""

import optax

from rnn_research.typing import Array


def cross_entropy(logits: Array, targets: Array) -> Array:
  """Returns `-log softmax(logits)[target]`, [...] float32, in nats."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, targets)
