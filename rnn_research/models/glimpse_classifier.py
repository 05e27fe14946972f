"""A glimpse network that answers: with one class, or with several one after the other."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research import layers
from rnn_research.cell import Cell
from rnn_research.losses import cross_entropy
from rnn_research.models.classifier import Classifier, floats, wrong
from rnn_research.models.eyes import Eye
from rnn_research.models.glimpse_start import GlimpseStart
from rnn_research.typing import Array
from rnn_research.unroll import unroll


class Path(NamedTuple):
  """Where a network looked, and what it answered.

  Attributes:
    logits: [B, A, O] float32.
    boxes: [B, T, K, 3] float32, pixels: see `Eye.boxes`.
    patches: [B, T, K, S, S, C] float32, what the eye saw.
  """

  logits: Array
  boxes: Array
  patches: Array


class _Unrolled(NamedTuple):
  """A pass over images.

  Attributes:
    logits: [B, A, O] float32.
    places: [T, B, P] float32, of the glimpses.
    means: [T, B, P] float32, of the distributions that these were drawn from.
    gazes: [T, B, H] float32, what they depended on.
  """

  logits: Array
  places: Array
  means: Array
  gazes: Array


def glimpse_classifier(
  eye: Eye,
  cell: Cell,
  start: GlimpseStart,
  hidden_size: int,
  num_glimpses: int,
  num_answers: int,
  num_classes: int,
  reinforce: float = 1.0,
) -> Classifier:
  """Makes the model: N glimpses, an answer, and so on until all are given.

    p(y_a) = softmax(Lin(h_{aN})),    b_t = Lin(sg(gaze_{t-1})), what l_t was chosen by
    R_t    = sum of p(y_a) over the answers y_a that come after glimpse t
    A_t    = R_t - b_t - (the mean of R_t - b_t over the other images; 0 of a single image)
    loss   = -sum_a log p(y_a) - reinforce sum_t log p(l_t) sg(A_t) + mean_t (R_t - b_t)^2

  Args:
    eye: of the cell.
    cell: of `glimpse_cell`.
    start: what it begins with.
    hidden_size: H, of all cells.
    num_glimpses: N, before each answer.
    num_answers: A.
    num_classes: O.
    reinforce: weight of the gradient of where it looked.

  Source: Mnih et al. 2014 (arXiv 1406.6247), section 3.2, for A = 1. Deviates from the paper: the
  reward is the probability of the right answer, not whether the likeliest is right: what an answer
  that is drawn would be worth on average, which varies less; the mean over the other images, of
  those that a device takes at once.
  """
  num_steps = num_glimpses * num_answers
  # Glimpse t can help the answer that follows it and all later ones.
  helps = jnp.arange(num_answers)[None] >= jnp.arange(num_steps)[:, None] // num_glimpses

  def init(key):
    keys = jax.random.split(key, 4)
    own = cell.init(keys[0], jax.ShapeDtypeStruct((1, eye.num_numbers), jnp.float32))
    return {
      'cell': own,
      'start': start.init(keys[3]),
      'answer': layers.init_dense(keys[1], hidden_size, num_classes),
      'baseline': layers.init_dense(keys[2], hidden_size, 1),
    }

  def run(params, images, key):
    shape = (num_steps + 1, len(images), eye.num_numbers)
    chance = jnp.zeros(shape) if key is None else jax.random.normal(key, shape)
    own, images = params['cell'], floats(images)
    begun = start.begin(params['start'], own, images, chance[0])
    _, ys = unroll(cell, own, chance[1:], begun.state, ctx=images)
    answers = layers.dense(params['answer'], ys.h[num_glimpses - 1 :: num_glimpses])
    return _Unrolled(
      logits=jnp.moveaxis(answers, 0, 1),
      places=ys.place,
      means=_before(begun.mean, ys.mean),
      gazes=_before(begun.gaze, ys.gaze),
    )

  def loss(params, images, targets, key):
    passed = run(params, images, key)
    losses = cross_entropy(passed.logits, targets)
    rewards = (jnp.exp(-losses)[None] * helps[:, None]).sum(-1)  # [T, B]
    guessed = layers.dense(params['baseline'], jax.lax.stop_gradient(passed.gazes))[..., 0]
    log_probs = eye.log_prob(passed.means, passed.places)
    surprise = jax.lax.stop_gradient(rewards) - guessed
    missed = jnp.square(surprise).mean(0)
    # Around the mean of the others: until the baseline knows how large rewards are, whatever was
    # chosen would seem good, and places drift into a corner. With its own in the mean a row would
    # learn less the fewer there are, and nothing alone.
    others = (surprise.sum(1, keepdims=True) - surprise) / max(1, len(images) - 1)
    better = jax.lax.stop_gradient(surprise - others)
    total = losses.sum(-1) - reinforce * (log_probs * better).sum(0) + missed
    return total, {
      'nats': losses.sum(-1),
      'error': wrong(passed.logits, targets),
      'baseline_error': missed,
    }

  def look(params, images, key):
    passed = run(params, images, key)
    seen = jax.lax.map(functools.partial(eye.see, floats(images)), passed.places)

    def by_image(a, *shape):
      return jnp.moveaxis(a.reshape(num_steps, len(images), *shape), 0, 1)

    boxes = eye.boxes(passed.places.reshape(-1, eye.num_numbers))
    return Path(passed.logits, by_image(boxes, *boxes.shape[1:]), by_image(seen, *eye.patches))

  def multiply_adds(params):
    once, per_glimpse = _products(params['start']), _products(params['cell'])
    return once + num_steps * per_glimpse + num_answers * _products(params['answer'])

  return Classifier(
    init, lambda params, images, key: run(params, images, key).logits, loss, multiply_adds, look
  )


def _products(params):
  """Returns the multiply-adds of one use of all matrices; what an eye computes is not counted."""
  return sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 2)


def _before(first, later):
  return jnp.concatenate([first[None], later[:-1]])
