"""A network that looks around: what it computes, what is learned from which loss, and what it is compared with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import drawn, noisy
from jax import lax

from rnn_research import lstm
from rnn_research.cells import elman
from rnn_research.errors import InputError
from rnn_research.models import eyes, glimpse_start
from rnn_research.models.classifier import conv_classifier
from rnn_research.models.glimpse_classifier import glimpse_classifier
from rnn_research.models.glimpse_network import JOINS, glimpse_cell
from rnn_research.parameters import num_parameters
from rnn_research.unroll import length_mask, unroll

SIDE, SIZE, CLASSES, H, STD = 12, 4, 3, 6, 0.3
SHAPE = SIDE, SIDE, 1


def images(count=5, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def crop_eye(choice=None, scales=2):
  return eyes.crop_eye(SHAPE, SIZE, scales, choice or eyes.learned(STD))


def relu():
  return elman(H, activation='relu')


def make(eye, *, layers=1, join='sum', seek=0, glimpses=3, answers=1, context=False, reinforce=1.0):
  cells = (lstm(H) if layers == 2 else relu(),) * layers
  cell = glimpse_cell(eye, cells, 5, units=7, seek_units=seek, join=JOINS[join])
  start = (
    glimpse_start.context(eye, cell, cells[-1], 4, 1, 7)
    if context
    else glimpse_start.anywhere(eye, cell)
  )
  return compiled(glimpse_classifier(eye, cell, start, H, glimpses, answers, CLASSES, reinforce))


def compiled(model):
  return model._replace(
    **{name: jax.jit(getattr(model, name)) for name in ('logits', 'loss', 'look')}
  )


def begun(model, seed=1):
  """Returns parameters without zeros, which could hide a path of the gradient."""
  return noisy(drawn(model.init, seed=seed), seed + 1, 0.1)


def gradient_of(loss):
  return jax.jit(jax.grad(loss))


def dense(params, x):
  return np.asarray(x, np.float64) @ np.float64(params['w']) + np.float64(params['b'])


def two(params, x):
  return dense(params[1], np.maximum(dense(params[0], x), 0))


def patches(image, place, scales):
  """Returns what is seen of one image [H, W], by loops over pixels."""
  found = []
  for scale in range(scales):
    width = 2**scale
    middle = (np.float32(place) + 1) / 2 * SIDE - SIZE * width / 2
    left, top = (int(np.round(a)) for a in middle)
    for i in range(SIZE):
      for j in range(SIZE):
        total = 0.0
        for y in range(top + i * width, top + (i + 1) * width):
          for x in range(left + j * width, left + (j + 1) * width):
            total += image[y, x] if 0 <= y < SIDE and 0 <= x < SIDE else 0.0
        found.append(total / width**2)
  return np.array(found)


JOINED = {
  'sum': lambda what, where: np.maximum(what + where, 0),
  'product': lambda what, where: np.maximum(what, 0) * np.maximum(where, 0),
}


BOUNDED = {'tanh': np.tanh, 'softsign': lambda raw: raw / (1 + np.abs(raw))}


def by_hand(params, image, chance, join, bound='tanh'):
  """Returns logits, places, means and gazes of one image in float64."""
  own, cell = params['cell'], params['cell'].cells[0]
  h = np.zeros(H)
  place = np.asarray(jax.scipy.special.erf(chance[0] / np.sqrt(2.0)), np.float64)
  places, means, gazes = [place], [place], [h]
  for noise in chance[1:]:
    seen = patches(image, place, 2)
    g = JOINED[join](two(own.what, seen), two(own.where, place))
    h = np.maximum(g @ np.float64(cell.w_x) + h @ np.float64(cell.w_h) + cell.b, 0)
    seek = two(own.seek[0], seen) + two(own.seek[1], place) if own.seek else 0.0
    gaze = np.maximum(h + seek, 0)
    mean = BOUNDED[bound](two(own.aim, gaze))
    place = mean + STD * noise
    places.append(place)
    means.append(mean)
    gazes.append(gaze)
  answer = dense(params['answer'], h)
  return answer, np.array(places[:-1]), np.array(means[:-1]), np.array(gazes[:-1])


@pytest.mark.parametrize(
  'join, bound, seek', [('sum', 'tanh', 0), ('product', 'softsign', 0), ('sum', 'softsign', 4)]
)
def test_the_network_is_that_of_the_paper(join, bound, seek):
  model = make(crop_eye(eyes.learned(STD, bound)), join=join, seek=seek)
  params, pictures, key = begun(model), images(), jax.random.key(3)
  chance = np.asarray(jax.random.normal(key, (4, 5, 2)))
  path = model.look(params, pictures, key)
  logits = model.logits(params, pictures, key)
  np.testing.assert_array_equal(path.logits, logits)
  for i, image in enumerate(pictures[..., 0] / 255.0):
    answer, places, _, _ = by_hand(params, image, chance[:, i], join, bound)
    np.testing.assert_allclose(logits[i, 0], answer, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(
      path.boxes[i, :, 0, :2], (places + 1) / 2 * SIDE, rtol=1e-4, atol=1e-4
    )
    seen = [patches(image, place, 2) for place in places]
    np.testing.assert_allclose(path.patches[i].reshape(3, -1), seen, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('count, seek', [(5, 0), (1, 0), (5, 4)])
def test_what_chooses_places_is_trained_by_reinforce_and_what_answers_by_its_loss(count, seek):
  model, silent = make(crop_eye(), seek=seek), make(crop_eye(), seek=seek, reinforce=0.0)
  params, pictures, key = begun(model), images(count), jax.random.key(3)
  targets = np.array([[0], [1], [2], [0], [1]])[:count]
  gradient = lambda model: gradient_of(lambda p: model.loss(p, pictures, targets, key)[0].sum())(
    params
  )
  whole, answers = gradient(model), gradient(silent)
  # The loss of answers alone does not reach the locator: exactly.
  locator = lambda gradient: jax.tree.leaves((gradient['cell'].aim, gradient['cell'].seek))
  assert not any(a.any() for a in locator(answers))
  assert all(a.any() for a in locator(whole))
  # And what is learned by trial reaches nothing else.
  for name in ('answer', 'baseline', 'start'):
    jax.tree.map(np.testing.assert_array_equal, whole[name], answers[name])
  for name in ('what', 'where', 'cells'):
    jax.tree.map(
      np.testing.assert_array_equal, getattr(whole['cell'], name), getattr(answers['cell'], name)
    )
  chance = np.asarray(jax.random.normal(key, (4, count, 2)))
  found = [
    by_hand(params, image, noise, 'sum')
    for image, noise in zip(pictures[..., 0] / 255.0, chance.swapaxes(0, 1), strict=True)
  ]
  rewards = [
    np.exp(one[0])[y] / np.exp(one[0]).sum() for one, (y,) in zip(found, targets, strict=True)
  ]
  below, above = own = params['cell'].aim
  expected = jax.tree.map(lambda a: np.zeros(a.shape), own)
  for t in (1, 2):  # the first place is not learned
    surprise = np.array(rewards) - [dense(params['baseline'], one[3][t])[0] for one in found]
    others = [np.delete(surprise, i).sum() / max(1, count - 1) for i in range(count)]
    for better, (_, places, means, gazes) in zip(surprise - others, found, strict=True):
      z = np.maximum(dense(below, gazes[t]), 0)
      slope = -better * (places[t] - means[t]) / STD**2 * (1 - means[t] ** 2)
      inner = (slope @ np.float64(above['w']).T) * (z > 0)
      for layer, x, a in zip(expected, (gazes[t], z), (inner, slope), strict=True):
        layer['w'] += np.outer(x, a)
        layer['b'] += a
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
  jax.tree.map(close, whole['cell'].aim, expected)


def test_what_it_sees_for_itself_changes_nothing_before_it_is_trained():
  pictures, key = images(), jax.random.key(3)
  without, seeking = (make(crop_eye(), seek=seek) for seek in (0, 4))
  params = seeking.init(jax.random.key(0))
  assert any(a.any() for a in jax.tree.leaves(params['cell'].seek))
  looked = [m.look(m.init(jax.random.key(0)), pictures, key).boxes for m in (without, seeking)]
  np.testing.assert_array_equal(*looked)


def test_the_baseline_learns_what_may_still_come():
  """A glimpse is rewarded by the answer after it and by all later ones, not by those before it."""
  model = make(crop_eye(), layers=2, glimpses=2, answers=2)
  params, pictures, key = begun(model), images(), jax.random.key(3)
  params['baseline'] = jax.tree.map(jnp.zeros_like, params['baseline'])
  targets = np.array([[0, 1], [1, 1], [2, 0], [0, 2], [1, 0]])
  _, metrics = model.loss(params, pictures, targets, key)
  p = np.asarray(jax.nn.softmax(model.logits(params, pictures, key)))
  right = np.take_along_axis(p, targets[..., None], -1)[..., 0]
  rewards = np.stack([right.sum(1), right.sum(1), right[:, 1], right[:, 1]])
  np.testing.assert_allclose(metrics['baseline_error'], np.square(rewards).mean(0), rtol=1e-5)
  np.testing.assert_allclose(metrics['nats'], -np.log(right).sum(1), rtol=1e-5)
  np.testing.assert_array_equal(metrics['error'], (p.argmax(-1) != targets).any(-1))


def test_a_context_steers_and_does_not_answer():
  model = make(crop_eye(eyes.centre()), layers=2, context=True, answers=2)
  params, pictures, key = begun(model), images(), jax.random.key(3)
  of_answers = gradient_of(lambda p: jnp.square(model.logits(p, pictures, key)).sum())(params)
  for silent in (of_answers['start'], of_answers['cell'].cells[1], of_answers['cell'].aim):
    assert not any(a.any() for a in jax.tree.leaves(silent))
  moved = make(crop_eye(), layers=2, context=True, answers=2)
  targets = np.array([[0, 1]] * 5)
  gradient = gradient_of(lambda p: moved.loss(p, pictures, targets, key)[0].sum())(params)
  for learned in (gradient['start'], gradient['cell'].cells[1], gradient['cell'].aim):
    assert all(np.isfinite(a).all() and a.any() for a in jax.tree.leaves(learned))
  darker = moved.look(params, pictures // 2, key).boxes[:, 0]
  assert (np.abs(darker - moved.look(params, pictures, key).boxes[:, 0]) > 1e-6).any(-1).all()


def test_a_gaussian_window_is_learned_by_the_gradient_of_the_answer():
  model = make(eyes.gaussian_eye(SHAPE, SIZE))
  params, pictures, key = begun(model), images(), jax.random.key(3)
  gradient = gradient_of(lambda p: jnp.square(model.logits(p, pictures, key)).sum())(params)
  assert all(np.isfinite(a).all() and a.any() for a in jax.tree.leaves(gradient['cell'].aim))
  np.testing.assert_array_equal(
    model.logits(params, pictures, key), model.logits(params, pictures, jax.random.key(4))
  )
  first = model.look(params, pictures, key).boxes[0, 0, 0]
  np.testing.assert_allclose(first[:2], SIDE / 2)  # the middle, and about all of the image
  assert SIDE <= first[2] < 2 * SIDE


def test_nothing_is_left_to_chance_without_a_key():
  model = make(crop_eye())
  params, pictures = begun(model), images()
  one, other = (model.look(params, pictures, None).boxes for _ in range(2))
  np.testing.assert_array_equal(one, other)
  np.testing.assert_array_equal(one[:, 0, 0, :2], SIDE / 2)
  drawn = [model.look(params, pictures, jax.random.key(seed)).boxes for seed in (0, 0, 1)]
  np.testing.assert_array_equal(drawn[0], drawn[1])
  assert (drawn[0] != drawn[2]).any()


def test_baselines_look_anywhere_or_at_the_middle():
  pictures = images(400)
  for choice, name in ((eyes.random(), 'random'), (eyes.centre(), 'centre')):
    model = make(crop_eye(choice))
    params = begun(model)
    middles = model.look(params, pictures, jax.random.key(0)).boxes[:, :, 0, :2] / SIDE
    if name == 'centre':
      np.testing.assert_array_equal(middles, 0.5)
    else:
      shares, _ = np.histogram(middles, 4, (0.0, 1.0))
      assert np.abs(shares / middles.size - 0.25).max() < 0.03
    targets = np.zeros((400, 1), int)
    gradient = gradient_of(
      lambda p, m=model, t=targets: m.loss(p, pictures, t, jax.random.key(0))[0].sum()
    )
    assert not any(a.any() for a in jax.tree.leaves(gradient(params)['cell'].aim))


def test_an_unroll_in_two_parts_is_the_same_and_padding_changes_nothing():
  eye = crop_eye()
  cell = glimpse_cell(eye, (lstm(H), lstm(H)), 5)
  chance = jax.random.normal(jax.random.key(0), (6, 3, 2))
  params = cell.init(jax.random.key(1), chance[0])
  ctx = jnp.asarray(images(3) / 255.0, jnp.float32)
  state, whole = unroll(cell, params, chance, ctx=ctx)
  middle, first = unroll(cell, params, chance[:2], ctx=ctx)
  last, second = unroll(cell, params, chance[2:], middle, ctx=ctx)
  both = jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole, both)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state, last)
  mask = length_mask(np.array([2, 2, 2]), 6)
  padded, ys = unroll(cell, params, chance.at[2:].set(jnp.nan), mask=mask, ctx=ctx)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), padded, middle)
  jax.tree.map(lambda a: np.testing.assert_array_equal(a[2:], 0.0), ys)


def products(jaxpr, times=1):
  """Returns the multiply-adds of all products of a program."""
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive is lax.dot_general_p:
      (contracted, _), _ = equation.params['dimension_numbers']
      depth = np.prod([equation.invars[0].aval.shape[axis] for axis in contracted])
      total += times * equation.outvars[0].aval.size * depth
    if equation.primitive is lax.conv_general_dilated_p:
      total += times * equation.outvars[0].aval.size * np.prod(equation.invars[1].aval.shape[:3])
    repeated = equation.params.get('length', 1) if equation.primitive is lax.scan_p else 1
    for inner in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda a: hasattr(a, 'eqns') or hasattr(a, 'jaxpr')
    ):
      inner = getattr(inner, 'jaxpr', inner)
      if hasattr(inner, 'eqns'):
        total += products(inner, times * repeated)
  return int(total)


def test_multiply_adds_are_those_of_the_program():
  fixed = crop_eye()._replace(  # an eye without products, since what an eye computes is not counted
    see=lambda x, place: x[:, :2, :8, :].reshape(len(x), -1) * 1.0, patches=(1, 4, 4, 1)
  )
  models = [
    conv_classifier((20, 20, 1), 16, 2, CLASSES),
    make(fixed, answers=2),
    make(fixed, layers=2, answers=2),
  ]
  for model, side in zip(models, (20, SIDE, SIDE), strict=True):
    params = model.init(jax.random.key(0))
    one = np.zeros((1, side, side, 1), np.uint8)
    program = jax.make_jaxpr(lambda p, x, m=model: m.logits(p, x, jax.random.key(0)))(params, one)
    found = products(program.jaxpr)
    # The program chooses a place after the last glimpse, too, and so does the count.
    assert model.multiply_adds(params) == found


def test_a_convolutional_network_answers_and_learns():
  model = conv_classifier(SHAPE, 16, 2, CLASSES)
  params, pictures = model.init(jax.random.key(0)), images()
  targets = np.array([[0, 1], [1, 1], [2, 0], [0, 2], [1, 0]])
  logits = model.logits(params, pictures, None)
  assert logits.shape == (5, 2, CLASSES) and num_parameters(params) > 0
  losses, metrics = model.loss(params, pictures, targets, jax.random.key(0))
  p = np.asarray(jax.nn.softmax(logits))
  nats = -np.log(np.take_along_axis(p, targets[..., None], -1)).sum((1, 2))
  np.testing.assert_allclose(losses, nats, rtol=1e-5)
  np.testing.assert_array_equal(metrics['error'], (p.argmax(-1) != targets).any(-1))
  gradient = gradient_of(lambda p: model.loss(p, pictures, targets, None)[0].sum())(params)
  assert all(a.any() for a in jax.tree.leaves(gradient))


def test_a_glimpse_larger_than_the_image_is_refused():
  with pytest.raises(InputError, match='a glimpse has 13 x 13 pixels, expected 1 to 12'):
    eyes.crop_eye(SHAPE, 13, 1, eyes.centre())
  with pytest.raises(InputError, match='a glimpse has 1 x 1 pixels, expected 2 to 12'):
    eyes.gaussian_eye(SHAPE, 1)
