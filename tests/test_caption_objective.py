"""What a captioner is trained on, against float64 loops in NumPy, gradients of where it looked included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import assert_close, assert_near, assert_same, drawn, noisy

from rnn_research import elman
from rnn_research.encoders.encoder import Encoded, Encoder
from rnn_research.memory.attention import Memory, additive
from rnn_research.models.captioners import CAPTIONERS
from rnn_research.models.conditional_model import ConditionalModel, conditional_model
from rnn_research.tasks.captioning.objective import Captioned, Options, nats, training_loss
from rnn_research.unroll import length_mask

pytestmark = pytest.mark.usefixtures('strict_shapes')
B, K, T, V, S, M = 2, 3, 5, 7, 4, 3
LENGTHS = np.int32([5, 3, 0, 1, 4, 0])
RNG = np.random.default_rng(0)
IDS, TARGETS = RNG.integers(1, V, (2, B * K, T)).astype(np.int32)
GRIDS = RNG.normal(size=(B, S, M)).astype(np.float32)
BATCH = Captioned(GRIDS, IDS, TARGETS, LENGTHS)
ALL = Options(0.1, 0.7, 0.3, 0.05)


def places(inputs):
  return Encoded(None, Memory(inputs, jnp.ones(inputs.shape[:2], bool)), inputs.mean(1))


@functools.cache
def make(name):
  """Returns a captioner of grids that are there already, and parameters without zeros."""
  encoder = Encoder(
    lambda key, inputs: (), lambda params, inputs, mask=None, *, key=None: places(inputs)
  )
  decoder = CAPTIONERS[name]((elman(6),), additive(5), dropout=0.0)
  model = conditional_model(encoder, decoder, V, M)
  return model, noisy(drawn(model.init, GRIDS), 1, 0.3)


@functools.cache
def told(softly=False):
  """Returns a model whose logits [T, N, V] and scores of places [T, N, S] are its parameters; it
  saw a place of `CHOSEN` in each step, or all of them softly."""

  def encode(params, inputs, mask=None, key=None):
    return places(inputs)._replace(states=())

  def teach(params, encoded, ids, key=None):
    weights = jax.nn.softmax(params['scores'], -1)
    chosen = weights if softly else params['chosen']
    return params['logits'], {'weights': weights, 'chosen': chosen}

  return ConditionalModel(None, encode, teach, None, None)


CHOSEN = np.eye(S, dtype=np.float32)[RNG.integers(0, S, (T, B * K))]
TOLD = {
  'chosen': jnp.asarray(CHOSEN),
  'logits': jnp.asarray(RNG.normal(size=(T, B * K, V)), jnp.float32),
  'scores': jnp.asarray(RNG.normal(size=(T, B * K, S)), jnp.float32),
}
BASELINE = jnp.full(B, -2.5, jnp.float32)


def softmax(a):
  e = np.exp(a - a.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def loss_of(model, options, params, batch=BATCH, baseline=BASELINE, key=None):
  """Returns the loss, its other results, and gradients."""
  (total, rest), grads = differentiated(model, options)(params, baseline, batch, key)
  return total, rest, grads


@functools.cache
def differentiated(model, options):
  loss = functools.partial(training_loss, model, options)
  return jax.jit(jax.value_and_grad(loss, has_aux=True))


def loss_np(options, baseline, chosen):
  """Returns total, symbols, the next baseline, nats, entropy; gradients of logits and scores."""
  logits, scores = (np.asarray(TOLD[name], np.float64) for name in ('logits', 'scores'))
  p, a = softmax(logits), softmax(scores)
  nats, entropy = np.zeros(B * K), np.zeros(B * K)
  to_logits, to_scores = np.zeros_like(p), np.zeros_like(a)
  total, smooth = 0.0, options.label_smoothing
  for n, length in enumerate(LENGTHS):
    for t in range(length):
      target = (1 - smooth) * np.eye(V)[TARGETS[n, t]] + smooth / V
      total -= target @ np.log(p[t, n])
      to_logits[t, n] = p[t, n] - target
      nats[n] -= np.log(p[t, n, TARGETS[n, t]])
      entropy[n] -= a[t, n] @ np.log(a[t, n])
  rewards = -nats[LENGTHS > 0]
  for n, length in enumerate(LENGTHS):
    if not length:
      continue
    looked = a[:length, n].sum(0)
    total += options.doubly_stochastic * ((1 - looked) ** 2).sum()
    gain = -nats[n] - baseline
    for t in range(length):
      w, jacobian = a[t, n], np.diag(a[t, n]) - np.outer(a[t, n], a[t, n])
      to_w = -2 * options.doubly_stochastic * (1 - looked)
      to_w += options.entropy * (np.log(w) + 1)
      # Of log a at the place that was seen: 1 - a there, -a elsewhere.
      if chosen is not None:
        total -= options.reinforce * gain * np.log(w[np.argmax(chosen[t, n])])
        to_scores[t, n] -= options.reinforce * gain * (chosen[t, n] - w)
      else:
        total -= options.reinforce * gain * (w @ np.log(w))
      to_scores[t, n] += to_w @ jacobian
  total -= options.entropy * entropy.sum()
  sums = {'nats_per_symbol': nats.sum(), 'attention_entropy': entropy.sum()}
  after = np.full(B, 0.9 * baseline + 0.1 * rewards.mean())
  grads = {'chosen': np.zeros_like(a), 'logits': to_logits, 'scores': to_scores}
  return total, (float(LENGTHS.sum()), after, sums), grads


OPTIONS = [
  Options(),
  Options(label_smoothing=0.2),
  Options(doubly_stochastic=0.7),
  Options(reinforce=0.3),
  Options(entropy=0.05),
  ALL,
]


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('looks', ['at a place', 'softly'])
def test_loss_and_gradients_in_float64(options, looks):
  """Of soft rows the gradient has no part by REINFORCE, whatever the loss itself is."""
  chosen = CHOSEN if looks == 'at a place' else None
  total, rest, grads = loss_of(told(looks == 'softly'), options, TOLD)
  expected = loss_np(options, -2.5, chosen)
  assert_close((total, rest), expected[:2], 2e-5, 1e-6)
  assert_close(grads, expected[2], 2e-5, 5e-6)


def test_only_the_place_itself_is_made_more_probable_by_a_better_caption():
  """The sign: a reward above the baseline makes the place that was seen more probable."""
  options = Options(reinforce=1.0)
  for baseline, sign in ((-1e3, -1.0), (1e3, 1.0)):
    _, _, grads = loss_of(told(), options, TOLD, baseline=jnp.full(B, baseline))
    real = np.asarray(length_mask(LENGTHS, T))[:, :, None] & (CHOSEN > 0)
    assert (np.sign(np.asarray(grads['scores'])[real]) == sign).all()


def test_no_gradient_passes_the_advantage():
  """That of the logits is the cross-entropy's alone, and of what was chosen there is none."""
  plain = loss_of(told(), Options(), TOLD)[2]
  reinforced = loss_of(told(), Options(reinforce=5.0), TOLD)[2]
  assert_close(reinforced['logits'], plain['logits'], 1e-6, 1e-7)
  assert not np.asarray(reinforced['chosen']).any()


def test_the_baseline_of_rows_is_their_mean_and_passes_no_gradient():
  rows = jnp.asarray([-4.0, -1.0])
  mixed = loss_of(told(), ALL, TOLD, baseline=rows)
  even = loss_of(told(), ALL, TOLD, baseline=jnp.full(B, -2.5))
  assert_close(mixed[::2], even[::2], 1e-6, 1e-6)

  @jax.grad
  def of_baseline(params):
    return training_loss(told(), ALL, params, BASELINE, BATCH, None)[1][1].sum()

  assert not any(np.asarray(g).any() for g in jax.tree.leaves(of_baseline(TOLD)))


def test_without_any_caption_nothing_is_learned():
  empty = BATCH._replace(lengths=np.zeros(B * K, np.int32))
  total, (weight, _, sums), grads = loss_of(told(), ALL, TOLD, empty)
  assert (total, weight, *sums.values()) == (0.0, 0.0, 0.0, 0.0)
  assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads))


def test_weights_of_0_are_finite():
  scores = TOLD['scores'].at[:, :, 0].set(-300.0)
  total, _, grads = loss_of(told(), ALL, TOLD | {'scores': scores})
  assert all(np.isfinite(a).all() for a in jax.tree.leaves((total, grads)))


@pytest.mark.parametrize('name', ['merge', 'soft_attention', 'hard_attention'])
def test_padding_and_empty_rows_change_nothing(name):
  model, params = make(name)
  expected = loss_of(model, ALL, params)
  hidden = np.arange(T) >= LENGTHS[:, None]
  ids = np.where(np.arange(T) > LENGTHS[:, None] - 1, 3, IDS)
  found = loss_of(model, ALL, params, BATCH._replace(ids=ids, targets=np.where(hidden, 2, TARGETS)))
  assert_close(found[:2], expected[:2], 1e-6, 1e-6)
  assert_near(found[2], expected[2], 1e-5)
  names = {'nats_per_symbol'} | ({'attention_entropy'} if name != 'merge' else set())
  assert expected[1][2].keys() == names
  # The third caption of both pictures is none.
  keep = np.array([0, 1, 3, 4])
  short = Captioned(GRIDS, IDS[keep], TARGETS[keep], LENGTHS[keep])
  found = loss_of(model, ALL, params, short)
  assert_close(found[:2], expected[:2], 1e-5, 1e-5)
  assert_near(found[2], expected[2], 1e-5)


@pytest.mark.parametrize('name', ['soft_attention', 'hard_attention'])
def test_sums_over_devices_equal_one_device(name):
  """Each has its share of the pictures and of the carry."""
  model, params = make(name)
  whole, (weight, baseline, sums), grads = loss_of(model, ALL, params)
  parts = [
    loss_of(
      model, ALL, params, Captioned(GRIDS[i : i + 1], *(a[i * K : (i + 1) * K] for a in BATCH[1:])),
      BASELINE[i : i + 1],
    )
    for i in range(B)
  ]  # fmt: skip
  add = lambda *trees: jax.tree.map(lambda *a: sum(a), *trees)
  total, others, more = add(*((t, (r[0], r[2]), g) for t, r, g in parts))
  assert_close((total, others), (whole, (weight, sums)), 1e-5, 1e-5)
  assert_near(more, grads, 1e-5)
  assert [r[1].shape for _, r, _ in parts] == [(1,)] * B
  assert baseline.shape == (B,)


def test_a_picture_is_encoded_once_for_all_of_its_captions():
  model, params = make('soft_attention')
  expected = loss_of(model, ALL, params)
  copied = BATCH._replace(inputs=np.repeat(GRIDS, K, 0))
  found = loss_of(model, ALL, params, copied, jnp.full(B * K, -2.5))
  assert_close(found[0], expected[0], 1e-5, 1e-5)
  assert_near(found[2], expected[2], 1e-5)


def test_nats_are_those_of_the_loss():
  model, params = make('hard_attention')
  found = np.asarray(nats(model, params, BATCH))
  _, (_, _, sums), _ = loss_of(model, ALL, params)
  np.testing.assert_allclose(found.sum(), sums['nats_per_symbol'], rtol=1e-5)
  assert_same(found == 0.0, LENGTHS == 0)


def test_a_key_draws_places_of_its_own_for_the_model_that_chooses():
  model, params = make('hard_attention')
  totals = {float(loss_of(model, ALL, params, key=jax.random.key(i))[0]) for i in (0, 0, 1)}
  assert len(totals) == 2
