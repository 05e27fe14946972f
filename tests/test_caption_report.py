"""What the report of a captioner shows: pictures, where it looked, what hiding places costs, and pointing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import drawn, noisy

from rnn_research import lstm
from rnn_research.data.codec import SPECIALS, TextCodec
from rnn_research.decoding.beam import Beam
from rnn_research.decoding.sampling import Sampling
from rnn_research.encoders.grid import grid_encoder, maps_reader
from rnn_research.errors import InputError
from rnn_research.losses import cross_entropy
from rnn_research.memory.attention import additive
from rnn_research.models.captioners import CAPTIONERS
from rnn_research.models.conditional_model import conditional_model
from rnn_research.tasks.captioning import faithfulness, report
from rnn_research.tasks.captioning.attention_figure import Looked, attention_figure, lit
from rnn_research.tasks.captioning.batches import EVALUATED, Seen, encode, some
from rnn_research.tasks.captioning.contact_sheet import Judged, contact_sheet
from rnn_research.tasks.captioning.describer import Caption, describer
from rnn_research.tasks.captioning.evaluation import HeldOut
from rnn_research.tasks.captioning.material import Material
from rnn_research.tasks.captioning.objective import Captioned, taught
from rnn_research.tasks.captioning.pointing_section import pointing_section
from rnn_research.tasks.captioning.saliency import saliency

pytestmark = pytest.mark.usefixtures('strict_shapes')
WORDS = ['a', 'dog', 'cat', 'sits', 'on', 'the', 'grass']
CODEC = TextCodec('sentences', 'word', (*SPECIALS, *WORDS), True)
TEXTS = (('a dog sits', 'the dog on the grass'), ('a cat', 'the cat sits'), ('grass', 'a cat sits'))
GRID = np.random.default_rng(0).normal(size=(3, 2, 3, 5)).astype(np.float32)


def seen(captions=TEXTS):
  inputs = lambda rows, rng=None: {'deep': GRID[rows]}
  picture = lambda number: np.full((6, 6, 3), 50 * number, np.uint8)
  return Seen(['p0.jpg', 'p1.jpg', 'p2.jpg'], captions, inputs, picture)


def looking():
  """Returns a captioner that looks, and parameters without zeros."""
  return made('soft_attention')


@functools.cache
def made(decoder, **maps):
  """Returns a captioner of the map of `GRID` and of others, name -> (h, w, C)."""
  decoder = CAPTIONERS[decoder]((lstm(4),), additive(3), dropout=0.0)
  model = conditional_model(grid_encoder(maps_reader(), 4, 3), decoder, len(CODEC.symbols), 3)
  sizes = {'deep': GRID.shape[1:], **maps}
  shapes = {name: jax.ShapeDtypeStruct((1, *size), jnp.float32) for name, size in sizes.items()}
  return model, noisy(drawn(model.init, shapes), 1, 0.5)


def caption(text, weights):
  return Caption(text, [*text.split(), '<eos>'], 0.0, np.asarray(weights, np.float32))


def test_pictures_are_lit_where_the_weights_are():
  weights = np.zeros((7, 7))
  weights[1, 5] = 0.5
  picture = np.full((56, 56, 3), 200, np.uint8)
  shown = lit(picture, weights)
  assert np.unravel_index(shown[..., 0].argmax(), (56, 56)) in {
    (row, column) for row in range(8, 16) for column in range(40, 48)
  }
  assert shown.max() == 200
  assert (shown[30:, :30] == int(0.15 * 200)).all()
  np.testing.assert_array_equal(lit(picture, np.full((7, 7), 1 / 49)), picture)


def test_a_panel_for_every_word_but_the_end():
  one = caption('a dog sits on the grass', np.random.default_rng(0).random((7, 2, 3)))
  plot = attention_figure([Looked(np.zeros((6, 6, 3), np.uint8), one, 'the best')], 'text')
  titles = [axes.get_title() for axes in plot.figure.axes if axes.images]
  assert titles == ['the best', 'a', 'dog', 'sits', 'on', 'the', 'grass']
  assert len(plot.table['weight']) == 6 * 2 * 3
  first = {name: column[1] for name, column in plot.table.items()}
  assert (first['picture'], first['t'], first['word'], first['column']) == (1, 1, 'a', 1)
  assert first['weight'] == one.weights[0, 0, 1]


def test_a_caption_without_words_has_its_picture():
  plot = attention_figure(
    [Looked(np.zeros((6, 6, 3), np.uint8), caption('', np.ones((1, 2, 3))))], ''
  )
  assert sum(bool(axes.images) for axes in plot.figure.axes) == 1
  assert set(map(len, plot.table.values())) == {0}


def test_a_contact_sheet_has_captions_and_references():
  one = Judged(np.zeros((6, 6, 3), np.uint8), 'p.jpg', 'a $dog sits', 'the dog', 1.5)
  plot = contact_sheet([('good', [one] * 5), ('bad', [one])], 'text')
  labels = [axes.get_xlabel() for axes in plot.figure.axes if axes.images]
  assert labels == ['a $dog sits\n(the dog)'] * 6
  assert plot.table['group'] == ('good',) * 5 + ('bad',)
  plot.figure.draw_without_rendering()


EVEN = (('a dog sits',), ('the cat sits',), ('a cat sits',))  # of one length: one program


def cost_without(model, params, row, hidden):
  """Returns the nats of one picture's caption, of a memory that lacks places."""
  encoded = model.encode(params, {'deep': GRID[row : row + 1]})
  left = np.setdiff1d(np.arange(6), hidden)
  memory = encoded.memory
  memory = memory._replace(values=memory.values[:, left], mask=memory.mask[:, left])
  ids = CODEC.encode(EVEN[row][0])
  logits, extras = model.teach(params, encoded._replace(memory=memory), np.r_[1, ids][:, None])
  cost = float(cross_entropy(logits, np.r_[ids, 2][:, None]).sum())
  return cost, np.asarray(extras['weights']).sum((0, 1))


def test_hiding_places_costs_what_a_memory_without_them_costs():
  model, params = looking()
  found = faithfulness.hide(model, params, seen(EVEN), encode(CODEC, EVEN, 6), [4])
  words = 12  # with the ends
  whole = [cost_without(model, params, row, []) for row in range(3)]
  assert found.whole == pytest.approx(sum(cost for cost, _ in whole) / words, rel=1e-4)
  for count, value in zip(found.places, found.looked, strict=True):
    most = [np.argsort(-weights)[:count] for _, weights in whole]
    costs = [cost_without(model, params, row, hidden)[0] for row, hidden in enumerate(most)]
    assert value == pytest.approx(sum(costs) / words, rel=1e-4)
  assert not np.allclose(found.looked, found.others)


@pytest.mark.parametrize(
  ('how', 'rows'), [(Beam(2), 1), (Beam(1), 1), (Sampling(), EVALUATED)], ids=repr
)
def test_a_single_picture_is_searched_alone(how, rows):
  model, params = looking()
  shapes, key = [], jax.random.key(0)
  encode = lambda params, inputs: shapes.append(len(inputs['deep'])) or model.encode(params, inputs)
  describe = describer(model._replace(encode=encode), CODEC, how, 4, (2, 3))
  (alone,), among = (describe(params, {'deep': maps}, key) for maps in (GRID[:1], GRID))
  assert shapes == list(dict.fromkeys([rows, EVALUATED]))
  assert alone.words == among[0].words
  np.testing.assert_allclose(alone.weights, among[0].weights, rtol=1e-5)


HEADER = 'image\tphrase\tx1\ty1\tx2\ty2\twidth\theight\n'


def section_of(boxes, written, others=None, more=()):
  """Returns name -> the other columns of each row of the section, and what it says of them."""
  model, params = looking()
  names = [*seen().names, *(others.names if others else more)]
  section = pointing_section(str(boxes), names, seen(), 6, CODEC, model, params, written, others)
  lines = section.before.splitlines()
  rows = [line.strip('|').split(' | ') for line in lines if line.startswith('| ')]
  return {row[0].strip(): row[1:] for row in rows[2:]}, lines[-1]


def corner(words, column):
  """Returns weights that all lie in one place of the upper row."""
  weights = np.zeros((len(words.split()) + 1, 2, 3))
  weights[:, 0, column] = 1.0
  return caption(words, weights)


def test_pointing_is_scored_for_what_is_written_and_for_references(tmp_path):
  boxes = tmp_path / 'boxes.tsv'
  boxes.write_text(
    f'{HEADER}p0.jpg\ta dog\t1\t1\t33\t50\t99\t100\np1.jpg\tcats\t1\t1\t9\t9\t\t\n'
    'p2.jpg\ta cat\t67\t1\t99\t50\t99\t100\n',
    'utf-8',
  )
  written = [corner('a dog sits', 0), corner('a cat', 0), corner('the cat', 2)]
  rows, _ = section_of(boxes, written)
  assert list(rows) == ['weights, written', 'weights, in references', 'gradients, written']
  # Two nouns, their weights all in boxes that the middle of the photo is not in; p1 has none.
  assert rows['weights, written'][:4] == ['2', '2', '100.0%', '0.0%']
  assert rows['weights, written'][6] == '100.0%'
  # Two references name the dog, one the cat.
  assert rows['weights, in references'][:2] == ['3', '2']
  assert rows['gradients, written'][:2] == ['2', '2']


def test_boxes_are_those_of_the_only_photo_that_is_called_so(tmp_path):
  boxes = tmp_path / 'boxes.tsv'
  row = '{}\ta dog\t1\t1\t33\t50\t99\t100\n'
  boxes.write_text(HEADER + row.format('x/p0.jpg') + row.format('x/p1.jpg'), 'utf-8')
  rows, _ = section_of(boxes, [corner('a dog sits', 0)] * 3, more=['y/p0.jpg'])
  assert rows['weights, written'][:2] == ['1', '1']


def test_some_of_the_pictures_are_those():
  own = some(seen(), [0, 2])
  np.testing.assert_array_equal(own.inputs(np.array([1, 0]))['deep'], GRID[[2, 0]])
  np.testing.assert_array_equal(own.picture(1), seen().picture(2))
  assert (own.names, own.captions) == (['p0.jpg', 'p2.jpg'], [TEXTS[0], TEXTS[2]])


@pytest.mark.parametrize('named', ['p0.jpg', 'none.jpg'])
def test_how_far_to_smooth_is_chosen_on_another_split(tmp_path, named):
  """Of a photo the middle third is a dog: weights that are nearly even hit it once smoothed."""
  boxes = tmp_path / 'boxes.tsv'
  rows = ''.join(f'{name}\ta dog\t34\t1\t66\t100\t99\t100\n' for name in ('v0.jpg', named))
  boxes.write_text(HEADER + rows, 'utf-8')
  valid = seen()._replace(names=['v0.jpg', 'v1.jpg', 'v2.jpg'])
  written = [corner('a dog', 0)] * 3
  alone, about = section_of(boxes, written)
  chosen, said = section_of(boxes, written, valid)
  smooth = {name for name in chosen if name.endswith(', smoothed')}
  assert smooth == {'weights, written, smoothed', 'weights, in references, smoothed'}
  assert {name: row for name, row in chosen.items() if name not in smooth} == alone
  assert said.startswith(about) and 'Gaussian of 0.' in said
  if named == 'p0.jpg':
    assert chosen['weights, written'][6] == '0.0%' != chosen['weights, written, smoothed'][6]


@pytest.mark.parametrize(
  'split, valid, smooth',
  [
    ('test', 'known', True),
    ('test', 'unknown', False),
    ('test', 'none', False),
    ('valid', 'known', False),
  ],
)
def test_the_report_smooths_where_there_is_another_split(tmp_path, split, valid, smooth):
  boxes = tmp_path / 'boxes.tsv'
  boxes.write_text(f'{HEADER}p0.jpg\ta dog\t1\t1\t33\t50\t99\t100\n', 'utf-8')

  def seen_of(split):
    if split == 'valid' and valid == 'unknown':
      raise InputError('not the captions that the model was trained on')
    return seen()

  names = 'train', 'test', *(('valid',) if valid != 'none' else ())
  splits = {name: [('p0.jpg', ())] for name in names}
  held_out = HeldOut(CODEC, 6, lambda: Material(splits, '', (), (), None, {}), seen_of, set)
  given = seen(), *looking(), [corner('a dog', 0)] * 3
  (section,) = report._pointing(held_out, split, str(boxes), *given)
  assert ('weights, written, smoothed' in section.before) == smooth
  assert list(report._pointing(held_out, split, '', *given)) == []


def test_pointing_of_a_model_that_does_not_look(tmp_path):
  model, params = made('merge')
  boxes = tmp_path / 'boxes.tsv'
  boxes.write_text(f'{HEADER}p0.jpg\ta dog\t1\t1\t99\t100\t99\t100\n', 'utf-8')
  written = [caption('a dog sits', np.zeros(0))] * 3
  section = pointing_section(str(boxes), seen().names, seen(), 6, CODEC, model, params, written)
  rows = [line.split(' | ') for line in section.before.splitlines() if line.startswith('| ')]
  # The box is the photo.
  assert rows[-1][:5] == ['| gradients, written', '1', '1', '100.0%', '100.0%']
  assert not any('weights' in row[0] for row in rows)


@pytest.mark.parametrize('decoder', ['soft_attention', 'merge'])
def test_saliency_is_what_a_small_change_of_the_maps_does(decoder):
  model, params = made(decoder)
  targets = np.array([[5, 6, 2], [7, 2, 0], [4, 8, 2]], np.int32)
  ids = np.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=1)
  batch = lambda maps: Captioned({'deep': maps}, ids, targets, np.array([3, 2, 3]))

  @jax.jit
  def log_p(maps):
    logits, _, _ = taught(model, params, batch(maps))
    return -cross_entropy(logits, targets.T)  # [T, B]

  found, expected = saliency(model, params, batch(GRID)), np.zeros((3, *GRID.shape[:3]))
  step = 1e-3
  for y, x, c in np.ndindex(GRID.shape[1:]):
    change = np.zeros_like(GRID)
    change[:, y, x, c] = step
    slope = np.asarray(log_p(GRID + change) - log_p(GRID - change)) / (2 * step)
    expected[..., y, x] += np.abs(slope * GRID[:, y, x, c])
  np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-3)


def test_saliency_of_two_maps_lies_on_the_larger_grid():
  model, params = made('merge', shallow=(4, 6, 2))
  maps = {'deep': GRID, 'shallow': np.ones((3, 4, 6, 2), np.float32)}
  targets = np.full((3, 2), 5, np.int32)
  found = saliency(model, params, Captioned(maps, targets, targets, np.full(3, 2)))
  assert found.shape == (2, 3, 4, 6) and (np.asarray(found) > 0).all()
