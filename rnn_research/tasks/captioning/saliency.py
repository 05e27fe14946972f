"""Which places of a picture a word depends on, by gradients: also of a model that does not look."""

from typing import Any

import jax
import jax.numpy as jnp

from rnn_research.losses import cross_entropy
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.captioning.objective import Captioned, taught
from rnn_research.typing import Array, Params


def saliency(model: ConditionalModel, params: Params, batch: Captioned) -> Array:
  """Returns how much each word depends on each place, [T, B, h, w] float32, above 0.

    s_ti = sum_c |f_ic dlog p(y_t | y_<t, f) / df_ic|

  Of several maps f the largest gives h and w, and smaller ones are spread over it.

  Args:
    model: the model.
    params: its parameters.
    batch: B pictures, inputs [B, h, w, C], with one caption each.

  Source: gradient times input, Shrikumar et al. 2016 (arXiv 1605.01713). Deviates from the paper:
  of the maps of the encoder, not of pixels; sizes are summed over channels, since a place speaks
  for one word by speaking against others.
  """
  targets = jnp.asarray(batch.targets)
  maps = {name: a.astype(jnp.float32) for name, a in batch.inputs.items()}

  def of_word(step):
    def log_p(maps):
      logits, _, _ = taught(model, params, batch._replace(inputs=maps))
      return -cross_entropy(logits[step], targets[:, step]).sum()

    grads = jax.grad(log_p)(maps)
    return _joined({name: jnp.abs(maps[name] * grads[name]).sum(-1) for name in maps})

  # Even where nothing depends on anything.
  return jax.lax.map(of_word, jnp.arange(targets.shape[1])) + jnp.finfo(jnp.float32).tiny


def _joined(maps: dict[str, Any]) -> Array:
  height, width = max(a.shape[1:] for a in maps.values())

  def spread(a):
    share = a.shape[1] * a.shape[2] / (height * width)
    return share * jax.image.resize(a, (len(a), height, width), 'nearest')

  return sum(map(spread, maps.values()), jnp.float32(0.0))
