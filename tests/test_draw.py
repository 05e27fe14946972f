"""DRAW: against loops in float64, its bounds, and `launch.py --experiment=draw` end to end."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import drawn, noisy
from launching import read_json, run
from oracles import sigmoid
from PIL import Image

import experiments
from rnn_research import workdir as workdir_lib
from rnn_research.cells import make_cell
from rnn_research.data.canvases import scatter
from rnn_research.data.image_set import load_images
from rnn_research.encoders.glimpse import Place
from rnn_research.errors import InputError
from rnn_research.models.draw import Drawn, bounds, draw
from rnn_research.models.draw_sight import attentive, whole
from rnn_research.tasks.draw import drawing
from rnn_research.tasks.draw.drawing import half
from rnn_research.tasks.draw.images import make_images
from rnn_research.tasks.draw.pixels import PIXELS
from rnn_research.tasks.draw.report import nearest_rows

SIZE, CHANNELS, LATENT, STEPS, ROWS = 6, 2, 3, 4, 2
SHAPE = SIZE, SIZE, CHANNELS
SIGHTS = {'whole': whole(SIZE, CHANNELS), 'attentive': attentive(SIZE, CHANNELS, 3, 2)}


@functools.cache
def model_of(sight, cell='elman'):
  return draw(make_cell(cell, 5), make_cell(cell, 4), SIGHTS[sight], SHAPE, LATENT)


def random_params(model, seed=0):
  """Returns parameters none of which is zero."""
  return noisy(drawn(model.init, seed=seed), seed + 1)


@functools.cache
def read_by(model):
  return jax.jit(model.read)


def inputs(seed=0):
  rng = np.random.default_rng(seed)
  images = (rng.random((ROWS, *SHAPE)) < 0.4).astype(np.float32)
  return images, rng.normal(size=(STEPS, ROWS, LATENT)).astype(np.float32)


def dense(params, x):
  return x @ params['w'] + params['b']


def filters(where, count):
  """Returns F_X, F_Y and gamma of one image, of five numbers, with pixels counted from 1."""
  g_x, g_y, log_variance, log_stride, log_gamma = where
  stride = (SIZE - 1) / (count - 1) * np.exp(log_stride)
  banks = []
  for g in ((SIZE + 1) / 2 * (g_x + 1), (SIZE + 1) / 2 * (g_y + 1)):
    bank = np.zeros((count, SIZE))
    for i, a in np.ndindex(count, SIZE):
      mu = g + (i + 1 - count / 2 - 0.5) * stride
      bank[i, a] = np.exp(-((a + 1 - mu) ** 2) / (2 * np.exp(log_variance)))
    banks.append(bank / bank.sum(-1, keepdims=True))
  return *banks, np.exp(log_gamma)


def read(sight, params, image, error, h):
  if sight == 'whole':
    return np.concatenate([image.ravel(), error.ravel()])
  f_x, f_y, gamma = filters(dense(params['read'], h), 3)
  both = np.concatenate([image, error], -1)
  return gamma * np.einsum('ih,hwc,jw->ijc', f_y, both, f_x).ravel()


def write(sight, params, h):
  added = dense(params['write'], h)
  if sight == 'whole':
    return added.reshape(SHAPE)
  f_x, f_y, gamma = filters(dense(params['where'], h), 2)
  return np.einsum('ih,ijc,jw->hwc', f_y, added.reshape(2, 2, CHANNELS), f_x) / gamma


def elman(params, h, x):
  return np.tanh(x @ params.w_x + h @ params.w_h + params.b)


@pytest.mark.parametrize('sight', SIGHTS)
def test_reading_equals_the_equations(sight):
  model = model_of(sight)
  params, (images, noise) = random_params(model), inputs()
  state, found = read_by(model)(params, images, noise)
  np.testing.assert_array_equal(state.canvas, found.canvas[-1])
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  for row, image in enumerate(images.astype(np.float64)):
    canvas, encoder, decoder = p.canvas[0], np.zeros(5), np.zeros(4)
    for t, e in enumerate(noise[:, row].astype(np.float64)):
      seen = read(sight, p.sight, image, image - sigmoid(canvas), decoder)
      encoder = elman(p.encoder, encoder, np.concatenate([seen, decoder]))
      mu, log_sigma = np.split(dense(p.latent, encoder), 2)
      z, variance = mu + np.exp(log_sigma) * e, np.exp(2 * log_sigma)
      decoder = elman(p.decoder, decoder, z)
      canvas = canvas + write(sight, p.sight, decoder)
      np.testing.assert_allclose(found.canvas[t, row], canvas, rtol=2e-4, atol=2e-5)
      kl = 0.5 * (mu**2 + variance - np.log(variance) - 1).sum()
      np.testing.assert_allclose(found.kl[t, row], kl, rtol=1e-4)
      densities = 0.5 * ((z - mu) ** 2 / variance + np.log(variance) - z**2).sum()
      np.testing.assert_allclose(found.log_ratio[t, row], densities, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('sight', SIGHTS)
def test_imagining_is_reading_without_an_encoder(sight):
  model = model_of(sight)
  params, (images, noise) = random_params(model), inputs()
  blind = params._replace(latent=jax.tree.map(jnp.zeros_like, params.latent))
  read, imagined = read_by(model)(blind, images, noise)[1], jax.jit(model.imagine)(params, noise)[1]
  np.testing.assert_allclose(read.canvas, imagined.canvas, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(read.kl, 0)


@pytest.mark.parametrize('cell', ['lstm', 'gru', 'rhn'])
def test_any_cell_draws_and_gradients_are_finite(cell):
  model, (images, _) = model_of('attentive', cell), inputs()

  @jax.jit
  def total(params):
    found = bounds(model, params, images, jax.random.key(1), STEPS)
    return found.reconstruction.sum() + found.kl.sum(), found.kl

  (_, kl), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(drawn(model.init))
  assert kl.shape == (STEPS, ROWS) and bool((kl >= 0).all())
  for path, grad in jax.tree.leaves_with_path(grads):
    assert bool(jnp.isfinite(grad).all()), path
    assert float(jnp.abs(grad).max()) > 0, path


def test_both_bounds_lie_below_the_likelihood_and_more_draws_come_nearer():
  """One pixel and one latent number: the likelihood is an integral over z."""
  model = draw(make_cell('elman', 2), make_cell('elman', 2), whole(1, 1), (1, 1, 1), 1)
  params, image = random_params(model, 3), jnp.ones((1, 1, 1, 1))
  # As wide as the prior: a narrow q would need more draws than there are.
  latent = {'w': jnp.zeros((2, 2)), 'b': jnp.asarray([0.6, 0.3])}
  params = params._replace(latent=latent)
  draws = 20_000
  found = jax.jit(functools.partial(bounds, model, steps=1))(
    params, jnp.repeat(image, draws, 0), key=jax.random.key(0)
  )
  grid = jnp.linspace(-8, 8, 4001)
  logits = jax.jit(model.imagine)(params, grid[None, :, None])[0].canvas[:, 0, 0, 0]
  prior = np.exp(-0.5 * np.asarray(grid, np.float64) ** 2) / np.sqrt(2 * np.pi)
  likelihood = np.log((prior * sigmoid(np.asarray(logits, np.float64))).sum() * 16 / 4000)
  weights = np.asarray(found.log_weight, np.float64)
  mean_of = lambda k: np.log(np.exp(weights.reshape(-1, k)).mean(1)).mean()
  elbo = -float(found.reconstruction.mean() + found.kl.sum(0).mean())
  assert elbo == pytest.approx(mean_of(1), abs=0.02)  # its KL is exact, not sampled
  assert elbo < mean_of(10) - 0.01
  assert mean_of(10) < mean_of(draws)
  assert mean_of(draws) == pytest.approx(likelihood, abs=0.01)


def test_pixels():
  levels = np.full((50, 10, 10, 1), 51, np.uint8)  # 0.2
  keys = jax.random.split(jax.random.key(0))
  seen = {
    name: [np.asarray(one.seen(one.kept(levels, 1), key)) for key in keys]
    for name, one in PIXELS.items()
  }
  np.testing.assert_allclose(seen['levels'][0], 0.2, rtol=1e-6)
  for name in ('stochastic', 'fixed'):
    assert set(np.unique(seen[name][0])) == {0, 1}
    assert seen[name][0].mean() == pytest.approx(0.2, abs=0.02)
    assert (seen[name][0] == seen[name][1]).all() == (name == 'fixed')
  fixed = PIXELS['fixed'].kept
  assert (fixed(levels, 1) != fixed(levels, 2)).any()
  for name, one in PIXELS.items():
    again = np.asarray(one.again(jnp.full((1, 100, 100, 1), 0.2), keys[0]))
    assert set(np.unique(again)) == ({np.float32(0.2)} if name == 'levels' else {0, 1})
    assert again.mean() == pytest.approx(0.2, abs=0.02)


def test_the_nearest_training_images_are_found():
  rng = np.random.default_rng(0)
  images, among = rng.random((3, 4, 4, 1)), rng.integers(0, 256, (30, 4, 4, 1)).astype(np.uint8)
  distances = np.square(images[:, None] - among[None] / 255).sum((2, 3, 4))
  np.testing.assert_array_equal(nearest_rows(images, among), distances.argmin(1))


def test_scattered_pictures_lie_anywhere_and_add_up():
  rng = np.random.default_rng(0)
  pictures = np.full((200, 2, 3, 3, 1), 200, np.uint8)
  images = scatter(rng, pictures, 7)
  assert images.shape == (200, 7, 7, 1)
  assert set(np.unique(images)) == {0, 200, 255}
  covered = (images > 0).sum((1, 2, 3)) + (images == 255).sum((1, 2, 3))
  np.testing.assert_array_equal(covered, 18)
  seen = (images > 0).mean(0)[..., 0]
  assert seen.min() > 0.02 and seen[3, 3] > seen[0, 0]


def test_training_moves_pictures_and_what_is_held_out_lies_still():
  of = lambda seed: make_images('', 8, 20, 2, PIXELS['stochastic'], seed)
  images = of(0)
  assert images.shape == (20, 20, 1)
  np.testing.assert_array_equal(images.parts['test'](), of(0).parts['test']())
  assert (images.parts['test']() != of(1).parts['test']()).any()
  data = images.train_data(500)
  first = [next(data.iterator)['image'] for _ in range(data.steps_per_epoch + 1)]
  assert (first[0] != first[-1]).any()
  assert {image.shape for image in first} == {(500, 20, 20, 1)}


def test_every_split_has_pictures_of_its_own():
  found = load_images('', 8).splits
  images = make_images('', 8, 0, 1, PIXELS['stochastic'], 0)
  for split, part in found.items():
    np.testing.assert_array_equal(images.parts[split](), part.images)


def test_windows_are_framed_from_their_outermost_filters():
  where = Place(*(jnp.full((1, 1), value) for value in (5.0, 7.0, 1.5, np.log(4.0), 0.0)))
  drawn = Drawn(None, None, jnp.zeros((1, 1, 9, 9, 1)), None, where)
  box = drawing._drawing(drawn, (2, 4)).wrote
  assert [float(side[0, 0]) for side in box] == pytest.approx([2.75, 4.75, 7.25, 9.25, 2.0])


def test_the_importance_weighted_bound_is_the_log_of_a_mean():
  config = experiments.get_config('draw:debug')
  built = experiments.build('draw:debug', config)
  params, key = built.init(jax.random.key(0)), jax.random.key(1)
  found = built.final_evaluate['test'](params, key)
  model = draw(make_cell('lstm', 16), make_cell('lstm', 16), whole(28, 1), (28, 28, 1), 4)
  images = load_images('', 28).splits['test'].images
  key_pixels, key_noise = jax.random.split(jax.random.fold_in(key, 0))
  taken = PIXELS['stochastic'].seen(images, key_pixels)
  weights = [
    np.asarray(jax.jit(functools.partial(bounds, model, steps=3))(params, taken, key=k).log_weight)
    for k in jax.random.split(key_noise, 2)
  ]
  expected = -np.log(np.exp(np.float64(weights) - np.max(weights)).mean(0)) - np.max(weights)
  assert found['importance_nats'] == pytest.approx(expected.mean(), rel=1e-5)


def test_numbers_of_another_type_are_refused():
  able = drawing.commands_of(model_of('whole'), STEPS, PIXELS['levels'], None)
  for call, said in (
    (lambda: able['draw'](None, count='3'), "count is '3', expected an integer >= 1"),
    (
      lambda: able['draw'](None, count=10**12),
      r'count is 1000000000000, expected at most [\d,]+, wh',
    ),
    (lambda: able['draw'](None, seed=1.5), 'seed is 1.5, expected an integer in'),
    (lambda: able['complete'](None, [], rounds=2.0), 'rounds is 2.0, expected an integer >= 1'),
  ):
    with pytest.raises(InputError, match=said):
      call()


@pytest.fixture(scope='module')
def drawer(make_once):
  """Returns a workdir with a DRAW that has windows, trained for 20 steps; not to be changed."""
  flags = ['--experiment=draw:debug', '--config.model.sight=attentive']
  return make_once('drawer', lambda folder: run(*flags, f'--workdir={folder}'))


def test_a_run_measures_both_bounds_and_shows_its_steps(drawer):
  metrics = read_json(drawer, 'result.json')['metrics']
  for split in ('valid', 'test'):
    found = metrics[split]
    assert found['nats'] == pytest.approx(found['kl'] + found['reconstruction'])
    assert found['kl'] > 0 and found['importance_nats'] < found['nats'] < 28 * 28 * np.log(2)
  text = (drawer / 'report' / 'README.md').read_text()
  for stem in ('nearest', 'steps', 'redrawn', 'completed', 'bound', 'curves'):
    assert (drawer / 'report' / f'{stem}.png').stat().st_size > 3_000
    assert f'{stem}.png' in text
  assert num_frames(drawer / 'report' / 'drawings.gif') == 3 + 1


def num_frames(path):
  with Image.open(path) as image:
    return getattr(image, 'n_frames', 1)


def test_drawing_from_python(drawer):
  opened = workdir_lib.load(drawer)
  drawing = opened.draw(count=3, seed=1)
  assert drawing.canvases.shape == (3, 3, 28, 28, 1)
  assert drawing.read is None and drawing.wrote.left.shape == (3, 3)
  np.testing.assert_array_equal(drawing.canvases, opened.draw(count=3, seed=1).canvases)
  assert (drawing.canvases != opened.draw(count=3, seed=2).canvases).any()
  images = np.random.default_rng(0).integers(0, 2, (2, 28, 28, 1)).astype(np.uint8) * 255
  given, redrawn = opened.redraw([*images])
  np.testing.assert_array_equal(given, images / 255)
  assert redrawn.read.blur.shape == (3, 2)
  for seen in ('top', 'left'):
    kept = half(28, seen)
    completed = opened.complete(images, seen=seen, rounds=2)
    np.testing.assert_array_equal(np.where(kept, completed, 0), np.where(kept, images / 255, 0))
    assert ((completed > 0) & (completed < 1))[np.broadcast_to(~kept, images.shape)].all()
    other = np.where(kept, images, 255 - images)  # of what is not seen
    np.testing.assert_array_equal(completed, opened.complete(other, seen=seen, rounds=2))
  for command in (opened.complete, opened.redraw):
    with pytest.raises(
      InputError, match=r'images have shape \(2, 8, 8, 1\), expected \[N, 28, 28, 1\]'
    ):
      command(images[:, :8, :8])
    with pytest.raises(InputError, match='images are float32, expected uint8'):
      command(drawing.canvases[-1])
    with pytest.raises(InputError, match='the number of images is 0, expected an integer >= 1'):
      command(images[:0])
  assert half(28, 'top')[0, 13, 0, 0] and not half(28, 'top')[0, 14, 27, 0]
  assert half(28, 'right')[0, 0, 14, 0] and not half(28, 'right')[0, 27, 13, 0]


def test_the_tighter_bound_may_be_measured_with_other_draws(drawer, main, tmp_path):
  workdir = shutil.copytree(drawer, tmp_path / 'run')
  flags = f'--workdir={workdir}', '--config.model.importance_samples=3'
  assert main(*flags, '--mode=evaluate')[0] == 0
  found, before = (
    read_json(workdir, name)['metrics']['test'] for name in ('result-evaluate.json', 'result.json')
  )
  assert found['importance_nats'] < before['importance_nats']
  code, _, err = main(*flags)  # training would go on as another run
  assert (code, 'holds a run with another model.importance_samples (2 in' in err) == (1, True)


def test_modes(drawer, tmp_path, main):
  for name, frames in (('sheet.png', 1), ('sheet.gif', 4)):
    code, _, err = main(
      f'--workdir={drawer}', '--mode=draw', '--count=2', f'--output={tmp_path / name}'
    )
    assert (code, 'written' in err) == (0, True)
    assert num_frames(tmp_path / name) == frames
  picture, red, out = (tmp_path / name for name in ('a.png', 'red.png', 'out.png'))
  Image.new('L', (20, 20), 200).save(picture)
  Image.new('RGB', (20, 20), (200, 0, 0)).save(red)
  flags = f'--workdir={drawer}', '--mode=complete', f'--output={out}', '--rounds=1'
  assert main(*flags, f'--input={picture}', '--seen=bottom')[0] == 0
  assert out.exists()
  folder = tmp_path / 'folder'
  folder.mkdir()
  Image.new('L', (20, 20), 200).save(folder / 'a.png')
  (folder / 'b.HEIC').touch()
  code, _, err = main(*flags, f'--input={folder}')
  assert (code, 'warning: 1 other file(s) not read (b.HEIC), expected' in err) == (0, True)
  for more, sentence in (
    ([], "input is '', expected a picture or a folder of pictures"),
    ([f'--input={red}'], 'red.png is a picture in colour, expected grey as in training'),
    ([f'--input={picture}', '--seen=middle'], "seen is 'middle', expected one of top"),
    ([f'--input={red}', f'--output={"a" * 300}.png'], 'output: cannot write'),
    ([f'--input={red}', '--output=.png'], "output is '.png', expected a file that ends with .png"),
    ([f'--input={picture}', f'--output={picture}'], 'a.png, expected another file than that of in'),
    # Before pictures are read.
    ([f'--input={red}', f'--output={red}/a.png'], 'output: cannot write'),
  ):
    code, _, err = main(*flags, *more)
    assert code == 1 and sentence in err and 'Traceback' not in err
  code, _, err = main(f'--workdir={drawer}', '--mode=draw', '--output=a.jpg')
  assert code == 1 and "output is 'a.jpg', expected a file that ends with .png or .gif" in err
  code, _, err = main(f'--workdir={drawer}', '--mode=draw', f'--output={red}/a.gif', '--count=0')
  assert code == 1 and 'output: cannot write' in err


def test_pictures_in_colour_from_a_folder(drawer, tmp_path, main):
  rng = np.random.default_rng(0)
  folder = tmp_path / 'set'
  folder.mkdir()
  for number in range(30):
    picture = Image.fromarray(rng.integers(0, 256, (9, 7, 3)).astype(np.uint8))
    picture.save(folder / f'{number}.png')
  workdir = tmp_path / 'run'
  flags = ['--config.data.size=8', '--config.data.pixels=levels', '--config.train.steps=2']
  flags += ['--experiment=draw:debug', f'--config.data.path={folder}', f'--workdir={workdir}']
  assert main(*flags)[0] == 0
  shutil.rmtree(folder)
  for mode, value in (('L', 90), ('RGB', (9, 200, 9))):
    (tmp_path / mode).mkdir()
    for number in range(3):
      Image.new(mode, (8, 8), value).save(tmp_path / mode / f'{number}.png')
  measured = lambda run, mode: main(
    f'--workdir={run}', '--mode=evaluate', f'--config.data.path={tmp_path / mode}'
  )
  assert measured(workdir, 'L')[0] == 0  # read in three channels
  code, _, err = measured(drawer, 'RGB')
  assert code == 1 and 'data.path has pictures in colour, expected grey ones as in training' in err
  assert workdir_lib.load(workdir).draw(count=2).canvases.shape == (3, 2, 8, 8, 3)


@pytest.mark.parametrize(
  ('block', 'sentence'),
  [
    ({'model.sight': 'half'}, "model.sight is 'half', expected one of whole, attentive"),
    ({'model.steps': 0}, 'model.steps is 0, expected an integer >= 1'),
    ({'data.pixels': 'binary'}, "data.pixels is 'binary', expected one of stochastic"),
    ({'data.size': 1}, 'data.size is 1, expected an integer >= 2'),
    ({'data.canvas': 20}, 'data.canvas is 20, expected 0 or at least data.size, 28'),
    ({'data.objects': 2}, 'data.objects is 2, expected 1 without data.canvas'),
    (
      {'model.sight': 'attentive', 'model.read_size': 30},
      'model.read_size is 30, expected an integer from 2 to 28, the pixels of a side of the images',
    ),
    (
      {'model.sight': 'attentive', 'model.write_size': 1},
      'model.write_size is 1, expected an integer from 2 to 28',
    ),
  ],
)
def test_bad_input_is_refused_in_one_sentence(block, sentence):
  config = experiments.get_config('draw:debug')
  config.update_from_flattened_dict(block)
  with pytest.raises(InputError) as error:
    experiments.build('draw:debug', config)
  assert sentence in str(error.value)
