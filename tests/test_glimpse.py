"""Digits on canvases, and the experiment that looks at them by glimpses, as people start it."""

import shutil

import jax
import numpy as np
import pytest
from launching import read_json, run
from PIL import Image
from test_bad_input import assert_refused
from test_image_set import make_folder

import experiments
from experiments.glimpse import _make_model, _measure
from rnn_research import workdir
from rnn_research.data import examples
from rnn_research.data.canvases import Asked, Canvas, arrange
from rnn_research.data.image_set import Part, load_images
from rnn_research.errors import InputError
from rnn_research.tasks.draw import images as draw_images
from rnn_research.tasks.draw.pixels import PIXELS
from rnn_research.tasks.glimpse import looking
from rnn_research.tasks.glimpse.images import make_images
from rnn_research.tasks.glimpse.looking import Look, known
from rnn_research.tasks.glimpse.path_figure import path_figure
from rnn_research.training import config as training_config

SIDE = 8
PLAIN = Canvas(size=0, clutter=0, clutter_size=4, objects=1, fewest=1, shift=0)


def part(count=30):
  """Returns pictures without a black pixel, no two of them alike."""
  rng = np.random.default_rng(0)
  images = rng.integers(1, 256, (count, SIDE, SIDE, 1), np.uint8)
  return Part(images, rng.integers(0, 10, count).astype(np.int32))


def rng(seed=0):
  return np.random.default_rng(seed)


def place_of(image, picture):
  """Returns where a picture lies in an image, (left, top); fails unless it does once."""
  windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], (SIDE, SIDE))
  ((top, left),) = np.argwhere((windows == picture[..., 0]).all((2, 3)))
  return int(left), int(top)


def test_a_picture_lies_anywhere_on_its_canvas_and_nothing_else_does():
  pictures, rows = part(), np.arange(30).repeat(20)
  asked = arrange(rng(), pictures, rows, PLAIN._replace(size=12), 10)
  assert asked.images.shape == (600, 12, 12, 1) and asked.images.dtype == np.uint8
  np.testing.assert_array_equal(asked.targets, pictures.labels[rows, None])
  places = [
    place_of(image, pictures.images[row]) for image, row in zip(asked.images, rows, strict=True)
  ]
  assert set(places) == {(x, y) for x in range(5) for y in range(5)}
  np.testing.assert_array_equal((asked.images > 0).sum((1, 2, 3)), SIDE**2)


def test_clutter_is_made_of_pieces_of_other_pictures_behind_nothing_darker():
  pictures, rows, canvas = part(), np.arange(30), PLAIN._replace(size=24, clutter=3)
  plain = arrange(rng(), pictures, rows, canvas._replace(clutter=0), 10).images
  cluttered = arrange(rng(), pictures, rows, canvas, 10).images
  assert (cluttered >= plain).all()
  added = (cluttered > plain).sum((1, 2, 3))
  assert added.min() > 0 and added.max() <= 3 * 4**2
  pieces = np.lib.stride_tricks.sliding_window_view(pictures.images[..., 0], (4, 4), (1, 2))
  known_pieces = {piece.tobytes() for piece in pieces.reshape(-1, 4, 4)}
  one = cluttered[int(added.argmax())][..., 0]  # that with the fewest overlaps
  windows = np.lib.stride_tricks.sliding_window_view(one, (4, 4)).reshape(-1, 4, 4)
  inside = (SIDE - 3) ** 2  # pieces that the picture itself has
  assert sum(window.tobytes() in known_pieces for window in windows) == inside + 3


def test_pairs_are_named_from_left_to_right_and_end():
  pictures, rows, canvas = (
    part(),
    np.arange(30).repeat(10),
    PLAIN._replace(size=20, objects=2, fewest=2),
  )
  asked = arrange(rng(), pictures, rows, canvas, 10)
  assert asked.targets.shape == (300, 3) and (asked.targets[:, 2] == 10).all()
  lefts = set()
  for image, row, target in zip(asked.images, rows, asked.targets, strict=True):
    assert (image > 0).sum() == 2 * SIDE**2  # without an overlap
    columns = np.flatnonzero((image > 0).any((0, 2)))
    found = []
    for left in (columns[0], columns[columns >= columns[0] + SIDE][0]):
      top = np.flatnonzero(image[:, left, 0])[0]
      cut = image[top : top + SIDE, left : left + SIDE]
      found.append(next(i for i, one in enumerate(pictures.images) if (one == cut).all()))
    np.testing.assert_array_equal(pictures.labels[found], target[:2])
    assert found[0] == row
    lefts.add(int(columns[0]))
  assert lefts == set(range(5))


def test_where_the_number_of_objects_varies_the_end_comes_early():
  pictures, rows = part(), np.arange(30).repeat(20)
  canvas = PLAIN._replace(size=30, objects=3, fewest=1)
  asked = arrange(rng(), pictures, rows, canvas, 10)
  counts = (asked.targets < 10).sum(1)
  np.testing.assert_array_equal((asked.images > 0).sum((1, 2, 3)), counts * SIDE**2)
  # 600 draws of three equal chances: 200, standard deviation 11.5.
  assert np.abs(np.bincount(counts, minlength=4)[1:] - 200).max() < 50
  for image, row, target, count in zip(asked.images, rows, asked.targets, counts, strict=True):
    assert (target[count:] == 10).all() and len(target) == 4
    columns = np.flatnonzero((image > 0).any((0, 2)))
    found = []
    while len(columns):
      left = columns[0]
      top = np.flatnonzero(image[:, left, 0])[0]
      cut = image[top : top + SIDE, left : left + SIDE]
      found.append(next(i for i, one in enumerate(pictures.images) if (one == cut).all()))
      columns = columns[columns >= left + SIDE]
    np.testing.assert_array_equal(pictures.labels[found], target[:count])
    assert found[0] == row
  without = [arrange(rng(), pictures, rows, canvas._replace(fewest=n), 10) for n in (3, 1)]
  assert (without[0].images >= without[1].images).all()  # the same row, less what is left out


def test_pictures_without_a_canvas_are_moved_a_little_in_training_alone():
  pictures, rows = part(), np.arange(30).repeat(20)
  moved = arrange(rng(), pictures, rows, PLAIN._replace(shift=1), 10).images
  places = set()
  for image, row in zip(moved, rows, strict=True):
    wide = np.pad(pictures.images[row], ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(wide[..., 0], (SIDE, SIDE))
    ((top, left),) = np.argwhere((windows == image[..., 0]).all((2, 3)))
    places.add((int(left), int(top)))
  assert places == {(x, y) for x in range(3) for y in range(3)}
  images = make_images('', SIDE, PLAIN._replace(shift=1), 0)
  still = make_images('', SIDE, PLAIN, 0)
  for split in ('valid', 'test'):
    np.testing.assert_array_equal(images.held_out[split]().images, still.held_out[split]().images)


def test_held_out_canvases_are_the_same_in_every_run_and_training_never_repeats_them():
  canvas = PLAIN._replace(size=12, clutter=1)
  one, other = (make_images('', SIDE, canvas, 0) for _ in range(2))
  moved = make_images('', SIDE, canvas, 1)
  for split in ('valid', 'test'):
    np.testing.assert_array_equal(one.held_out[split]().images, other.held_out[split]().images)
    assert (one.held_out[split]().images != moved.held_out[split]().images).any()
  data, again = one.train_data(100), other.train_data(100)
  batches = [next(data.iterator)['images'] for _ in range(2 * data.steps_per_epoch)]
  np.testing.assert_array_equal(batches[0], next(again.iterator)['images'])
  assert len({image.tobytes() for batch in batches for image in batch}) > 3_500  # of 4,000
  assert data.fingerprint == again.fingerprint != moved.train_data(100).fingerprint


def test_what_a_batch_becomes_depends_on_its_number_alone():
  change = lambda rng, batch: batch | {'drawn': rng.random(len(batch['x']))}
  make = lambda: examples.shuffled({'x': np.arange(6)}, 3, 0, 'abc', change)
  data, resumed = make(), make()
  batches = [next(data.iterator) for _ in range(4)]
  assert len({float(batch['drawn'][0]) for batch in batches}) == 4
  next(resumed.iterator)
  state, third = resumed.iterator.get_state(), make()
  third.iterator.set_state(state)
  np.testing.assert_array_equal(next(third.iterator)['drawn'], batches[1]['drawn'])


def test_a_picture_of_one_class_is_refused(tmp_path):
  make_folder(tmp_path / 'set', [(9, 9, 9)], count=20)
  with pytest.raises(InputError, match='are of one class, expected a folder for each of two'):
    make_images(str(tmp_path / 'set'), SIDE, PLAIN, 0)


def _classified(path, known=None):
  return make_images(path, 12, PLAIN, 0, known)


def _drawn(path, known=None):
  return draw_images.make_images(path, 12, 0, 1, PIXELS['levels'], 0, known)


@pytest.mark.parametrize('make', [_classified, _drawn])
def test_other_pictures_than_were_trained_on_are_told(make, tmp_path, capsys):
  folder = make_folder(tmp_path / 'set')
  trained = {'classes': ('class 0', 'class 1'), 'channels': 3}
  told = 'warning: data.path has other pictures than the model was trained on'
  data = make(str(folder)).train_data(4)
  make(str(folder), trained | {'fingerprint': data.fingerprint})
  assert 'warning' not in capsys.readouterr().err
  Image.new('RGB', (12, 12), 'red').save(folder / 'class 0' / 'another.png')
  make(str(folder), trained | {'fingerprint': data.fingerprint})
  assert told in capsys.readouterr().err
  make_folder(tmp_path / 'rare', [(1, 2, 99)], count=2)
  (tmp_path / 'rare' / 'class 0').rename(folder / 'class 9')
  make(str(folder))
  assert 'one or two pictures of class 9: none of them is held out' in capsys.readouterr().err


def test_images_are_looked_at_in_blocks(monkeypatch):
  model = _make_model(changed(), (28, 28, 1), 10)
  params = model.init(jax.random.key(0))
  images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
  follow = looking.commands_of(model.look, '0123456789', (28, 28, 1), False)['follow']
  monkeypatch.setattr(looking, '_ROWS', 2)
  looks = follow(params, images)
  assert len(looks) == 5 and follow(params, images[:0]) == []
  for look, image in zip(looks, images, strict=True):
    levels = known(look, 4)
    seen = np.abs(levels - 0.35) > 1e-3
    np.testing.assert_allclose(levels[seen], (image / 255)[seen], rtol=1e-5)
  assert (looks[0].boxes[0] != looks[2].boxes[0]).any()


TINY = [
  '--config.model.hidden_size=8',
  '--config.model.units=8',
  '--config.train.steps=4',
  '--config.train.eval_every=2',
  '--config.train.log_every=2',
]


@pytest.fixture(scope='module')
def digits(make_once):
  """Returns a workdir of a tiny network that saw grey digits; not to be changed."""
  flags = '--experiment=glimpse:debug', *TINY
  return make_once('glimpsed', lambda folder: run(*flags, f'--workdir={folder}'))


def frames_of(path):
  """Returns how many frames a picture has that is not small."""
  with Image.open(path) as picture:
    assert picture.width > 400
    return getattr(picture, 'n_frames', 1)


def test_a_run_reports_one_pass_several_and_where_it_looked(digits):
  metrics = read_json(digits, 'result.json')['metrics']
  assert set(metrics) == {'valid', 'test'}
  for split in metrics.values():
    assert set(split) == {'error', 'error_10_passes', 'nats'}
    assert 0.0 <= split['error'] <= 1.0
  report = digits / 'report'
  text = (report / 'README.md').read_text('utf-8')
  assert 'multiply-adds' in text and 'glimpses.gif' in text
  names = {'glimpses.gif', 'paths_wrong.png', 'paths_wrong.csv', 'places.png', 'places.csv'}
  assert names <= {path.name for path in report.iterdir()}
  assert frames_of(report / 'glimpses.gif') == 4


def test_it_looks_at_a_picture(digits, main, tmp_path):
  Image.fromarray(np.full((40, 30), 90, np.uint8)).save(tmp_path / 'a.png')
  outcome = main(
    f'--workdir={digits}',
    '--mode=look',
    f'--input={tmp_path / "a.png"}',
    f'--output={tmp_path}/b.png',
  )
  assert outcome[0] == 0
  name, answer, chance = outcome[1].strip().split('\t')
  assert name == 'a.png' and answer in '0123456789' and 0.1 < float(chance) <= 1.0
  assert frames_of(tmp_path / 'b.png') == 1
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'a.png').rename(tmp_path / 'folder' / 'a.png')
  (tmp_path / 'folder' / 'b.HEIC').touch()
  code, _, err = main(
    f'--workdir={digits}',
    '--mode=look',
    f'--input={tmp_path / "folder"}',
    f'--output={tmp_path}/b.gif',
  )
  assert code == 0 and frames_of(tmp_path / 'b.gif') == 4
  assert err.startswith('warning: 1 other file(s) not read (b.HEIC), expected files that end in')


def test_it_looks_from_python(digits, tmp_path):
  opened = workdir.load(digits)
  rows = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), np.uint8)
  one, other = opened.follow(rows), opened.follow(rows)
  assert [look.name for look in one] == ['image 1', 'image 2']
  np.testing.assert_array_equal(one[1].boxes, other[1].boxes)
  assert one[0].boxes.shape == (4, 1, 3) and one[0].patches.shape == (4, 1, 8, 8, 1)
  assert (opened.follow(rows, seed=1)[0].boxes != one[0].boxes).any()
  np.testing.assert_allclose(one[0].probabilities.sum(), 1.0, rtol=1e-5)
  with pytest.raises(
    InputError, match=r'images have shape \(2, 9, 9, 1\), expected \[N, 28, 28, 1\]'
  ):
    opened.follow(rows[:, :9, :9])


def test_what_was_seen_lies_where_it_was_seen(digits):
  """What is pasted together of patches is the image itself: boxes and patches agree."""
  rows = np.random.default_rng(1).integers(200, 256, (3, 28, 28, 1), np.uint8)
  for look in workdir.load(digits).follow(rows):
    for count in (1, 4):
      levels = known(look, count)
      seen = np.abs(levels - 0.35) > 1e-3
      np.testing.assert_allclose(levels[seen], (look.image / 255)[seen], rtol=1e-5)
      assert 0 < seen.sum() <= count * 64
  path_figure([look], ['a'], 'text')


def test_answers_stop_at_the_end():
  from rnn_research.tasks.glimpse.looking import _names, answered

  assert _names('ab', [1, 2, 0]) == ['b'] and _names('ab', [1, 0]) == ['b', 'a']
  blank = Look('x', np.zeros((4, 4, 1)), [], np.ones((1, 2)), np.zeros((1, 1, 3)), np.zeros(0))
  assert answered(blank) == 'nothing'


@pytest.fixture(scope='module')
def colours(make_once):
  """Returns a folder that holds pictures in colour, in 'set', and a run on them, in 'run'."""

  def make(folder):
    make_folder(folder / 'set', count=30)
    run(
      '--experiment=glimpse:debug',
      f'--config.data.path={folder / "set"}',
      f'--workdir={folder / "run"}',
      '--config.data.size=10',
      '--config.model.glimpse=4',
      '--config.train.batch_size=8',
      *TINY,
    )

  return make_once('glimpsed_colours', make)


def test_pictures_in_colour_are_classified_by_the_names_of_their_folders(colours):
  opened = workdir.load(colours / 'run')
  looks = opened.look(str(colours / 'set' / 'class 0'))
  assert len(looks) == 30 and {*looks[0].answers} <= {'class 0', 'class 1'}
  assert looks[0].image.shape == (10, 10, 3) and looks[0].patches.shape == (4, 1, 4, 4, 3)
  assert looks[1].name == '1.png'


def test_a_trained_network_needs_no_data(colours, tmp_path):
  shutil.copytree(colours / 'run', tmp_path / 'run')
  shutil.copy(colours / 'set' / 'class 0' / '0.png', tmp_path / '0.png')
  opened = workdir.load(tmp_path / 'run', {'data.path': '/nowhere'})
  assert opened.look(str(tmp_path / '0.png'))[0].name == '0.png'


def test_what_look_refuses(digits, colours, main, tmp_path):
  start = f'--workdir={digits}', '--mode=look'
  red = f'--input={colours / "set" / "class 0" / "0.png"}'
  assert_refused(main(*start, red), '0.png is a picture in colour, expected grey as in training')
  assert_refused(main(*start), "input is '', expected a picture or a folder of pictures")
  assert_refused(main(*start, red, '--output=a.jpg'), 'expected a file that ends with .png or .gif')
  photo, kept = tmp_path / 'photo.png', 'expected another file than that of input'
  Image.new('L', (28, 28), 90).save(photo)
  before = photo.read_bytes()
  for input in (photo, tmp_path):
    assert_refused(main(*start, f'--input={input}', f'--output={photo}'), f'{photo}, {kept}')
  assert photo.read_bytes() == before
  (tmp_path / 'file').touch()
  # Before pictures are read, whose colour is refused.
  assert_refused(
    main(*start, red, f'--output={tmp_path / "file" / "a.gif"}'), 'output: cannot write'
  )
  (tmp_path / 'empty').mkdir()
  assert_refused(main(*start, f'--input={tmp_path / "empty"}'), 'has no picture')
  assert_refused(main(*start, f'--input={tmp_path / "none.png"}'), 'none.png')


def changed(**blocks):
  made = experiments.get_config('glimpse:debug').unlock()
  for block, values in blocks.items():
    made[block].update(values)
  return made.lock()


@pytest.mark.parametrize(
  ('blocks', 'said'),
  [
    ({'model': {'glimpse': 29}}, 'model.glimpse is 29, expected an integer from 1 to 28'),
    ({'model': {'glimpse': 0}}, 'model.glimpse is 0, expected an integer from 1 to 28'),
    (
      {'model': {'glimpse': 1, 'reader': 'gaussian'}},
      'model.glimpse is 1, expected an integer from 2 to 28',
    ),
    ({'model': {'scales': 4}}, 'model.scales is 4, expected an integer from 1 to 3, so that'),
    ({'model': {'glimpses': 0}}, 'model.glimpses is 0, expected an integer >= 1'),
    ({'model': {'reader': 'crob'}}, 'model.reader is .crob., .* did you mean crop'),
    ({'model': {'looks': 'anywhere'}}, 'model.looks is .anywhere., expected one of learned'),
    ({'model': {'kind': 'conv'}}, 'model.kind is .conv., expected one of glimpses'),
    ({'model': {'cell': 'rely'}}, 'model.cell is .rely., .* did you mean relu'),
    ({'model': {'std': 0.0}}, 'model.std is 0.0, expected a number > 0'),
    ({'model': {'std': float('inf')}}, 'model.std is inf, expected a finite number'),
    ({'model': {'seek_units': -1}}, 'model.seek_units is -1, expected an integer >= 0'),
    ({'model': {'bound': 'relu'}}, "model.bound is 'relu', expected one of tanh, softsign"),
    ({'model': {'num_layers': 3}}, 'model.num_layers is 3, expected 1 or 2'),
    ({'model': {'context': 8}}, 'model.context is 8, expected 0 where model.num_layers is 1'),
    (
      {'model': {'context': 99, 'num_layers': 2}},
      'model.context is 99, expected an integer from 0 to 28',
    ),
    (
      {'model': {'reader': 'gaussian', 'scales': 2}},
      'model.scales is 2, expected 1 for gaussian',
    ),
    (
      {'model': {'reader': 'gaussian', 'seek_units': 4}},
      'model.seek_units is 4, expected 0 for gaussian',
    ),
    ({'data': {'canvas': 20}}, 'data.canvas is 20, expected 0 or at least data.size, 28'),
    ({'data': {'canvas': 40, 'objects': 2}}, 'data.canvas is 40, expected at least 56'),
    (
      {'data': {'canvas': 60, 'objects': 2, 'fewest_objects': 3}},
      'data.fewest_objects is 3, expected an integer from 0 to data.objects, 2',
    ),
    ({'data': {'shift': 28}}, 'data.shift is 28, expected an integer from 0 to 27'),
    ({'data': {'shift': 1, 'canvas': 40}}, 'data.shift is 1, expected 0 on a canvas'),
    ({'data': {'clutter': 1}}, 'data.clutter is 1, expected 0 without a canvas'),
    (
      {'data': {'canvas': 40, 'clutter': 1, 'clutter_size': 29}},
      'data.clutter_size is 29, expected at most data.size, 28',
    ),
    ({'train': {'reinforce': -1.0}}, 'train.reinforce is -1.0, expected a number >= 0'),
    (
      {'train': {'batch_size': 3_000}},
      'train.batch_size is 3000, expected at most 2000, as many as there',
    ),
  ],
)
def test_what_is_refused(blocks, said):
  made = changed(**blocks)
  with pytest.raises(InputError, match=said):
    training_config.check_ranges(made)
    experiments.build('glimpse:debug', made).train_data()


@pytest.mark.parametrize('variant', ['cluttered', 'cluttered_100'])
def test_digits_among_clutter_are_learned_as_those_alone(variant):
  among, alone = (experiments.get_config(f'glimpse:{name}') for name in (variant, 'translated'))
  assert (among.optimizer, among.train) == (alone.optimizer, alone.train)
  assert among.model.seek_units == alone.model.seek_units > 0


def test_pictures_may_be_smaller_than_pieces_of_a_clutter_that_there_is_not():
  experiments.check('glimpse:debug', changed(data={'size': 6}, model={'glimpse': 3}))


def test_an_empty_folder_is_refused(main, tmp_path):
  (tmp_path / 'empty').mkdir()
  outcome = main(
    '--experiment=glimpse:debug',
    f'--config.data.path={tmp_path / "empty"}',
    f'--workdir={tmp_path / "run"}',
  )
  assert_refused(outcome, 'has no picture')


@pytest.mark.parametrize('kind', ['conv_of_equal_size', 'conv_of_equal_work'])
def test_a_convolutional_network_has_the_size_or_the_work_of_the_glimpse_network(kind):
  from experiments.glimpse import _glimpses
  from rnn_research.models.classifier import conv_classifier
  from rnn_research.parameters import num_parameters

  made = changed(model={'kind': kind, 'hidden_size': 64})
  shapes = lambda model: jax.eval_shape(model.init, jax.random.key(0))
  cost = {
    'conv_of_equal_size': lambda model: num_parameters(shapes(model)),
    'conv_of_equal_work': lambda model: model.multiply_adds(shapes(model)),
  }[kind]
  budget = cost(_glimpses(made, (28, 28, 1), 1, 10))
  chosen = _make_model(made, (28, 28, 1), 10)
  units = shapes(chosen)['hidden']['b'].size
  assert cost(chosen) <= budget < cost(conv_classifier((28, 28, 1), units + 1, 1, 10))
  assert chosen.look is None


@pytest.mark.parametrize(
  'flags',
  [
    ('--config.model.reader=gaussian', '--config.model.glimpse=3'),
    ('--config.model.kind=conv_of_equal_size',),
    (
      '--config.data.size=10',
      '--config.data.canvas=24',
      '--config.data.objects=2',
      '--config.data.fewest_objects=1',
      '--config.model.num_layers=2',
      '--config.model.context=6',
      '--config.model.cell=gru',
      '--config.model.scales=2',
      '--config.model.glimpses=2',
    ),
  ],
  ids=['gaussian', 'conv', 'pairs'],
)
def test_other_networks_train_and_report(flags, main, tmp_path):
  few = '--config.train.steps=2'  # measured once
  code, out, _ = main(
    '--experiment=glimpse:debug', *TINY, few, *flags, f'--workdir={tmp_path / "run"}'
  )
  looks = 'kind' not in flags[0]
  assert code == 0 and ('error_10_passes' in out) == looks == ('--mode=look' in out)
  text = (tmp_path / 'run' / 'report' / 'README.md').read_text()
  assert ('sees all at once' in text, 'cuts glimpses' in text) == (not looks, looks)
  if not looks:
    refused = main(f'--workdir={tmp_path / "run"}', '--mode=look', '--input=a.png')
    assert_refused(refused, "model.kind is 'conv_of_equal_size', expected glimpses")


def test_a_convolutional_network_that_cannot_be_so_cheap_is_refused():
  made = changed(data={'canvas': 60}, model={'kind': 'conv_of_equal_work'})
  with pytest.raises(InputError, match=r'smallest convolutional network costs 43,025, expected'):
    experiments.build('glimpse:debug', made)


def test_a_cell_without_h_cannot_be_told_where_to_begin():
  values = {'num_layers': 2, 'context': 6, 'cell': 'lru'}
  with pytest.raises(
    InputError, match=r"model\.cell is 'lru', expected a cell whose state has an h"
  ):
    experiments.build('glimpse:debug', changed(model=values))


def test_held_out_images_are_those_of_their_own_split():
  found = load_images('', 28).splits
  images = make_images('', 28, PLAIN, 0)
  for split in ('valid', 'test'):
    np.testing.assert_array_equal(images.held_out[split]().images, found[split].images)


def test_several_passes_are_the_mean_of_their_probabilities():
  asked = Asked(np.zeros((3, 4, 4, 1), np.uint8), np.array([[0], [1], [1]]))
  passes = {}

  def answer(params, images, key):
    number = len(passes)
    passes[number] = np.log(np.random.default_rng(number).dirichlet((1, 1, 1), (3, 1)))
    return passes[number]

  found = _measure(answer, asked, 4, None, jax.random.key(0))
  wrong = lambda p: float((p.argmax(-1) != asked.targets).any(-1).mean())
  assert found['error'] == pytest.approx(wrong(passes[0]))
  assert found['error_4_passes'] == pytest.approx(wrong(np.exp(list(passes.values())).mean(0)))


def test_other_classes_than_those_of_training_are_refused(colours, main, tmp_path):
  for name in ('a', 'class 1'):
    (tmp_path / 'set' / name).mkdir(parents=True)
    for number in range(3):
      Image.new('RGB', (9, 9), (9 * number, 99, 0)).save(tmp_path / 'set' / name / f'{number}.png')
  place = f'--config.data.path={tmp_path / "set"}'
  outcome = main(f'--workdir={colours / "run"}', '--mode=evaluate', place)
  assert_refused(
    outcome, 'has the classes a, class 1, expected those of training: class 0, class 1'
  )
