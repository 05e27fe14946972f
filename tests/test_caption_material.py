"""Pictures as a model sees them, beside the captions that are theirs, and figures of the same pairs."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from rnn_research.data.codec import SPECIALS, TextCodec
from rnn_research.data.pictures import Pictures
from rnn_research.tasks.captioning import evaluation, material
from rnn_research.tasks.captioning.describer import Caption
from rnn_research.tasks.captioning.material import Material
from rnn_research.tasks.captioning.scenes import draw_scenes
from rnn_research.tasks.captioning.sight import own_sight, see_all
from rnn_research.tasks.captioning.training import train_data

NAMES = [f'{i}.png' for i in range(6)]
DAMAGED = 2


def photo(number):
  """Returns the file of a picture that is its number on the left and one more on the right."""
  array = np.full((56, 56, 3), 10 * number, np.uint8)
  array[:, 28:] += 1
  file = io.BytesIO()
  Image.fromarray(array).save(file, 'PNG')
  return file.getvalue() if number != DAMAGED else b''


def seen(tmp_path, views):
  pictures = Pictures(NAMES, lambda name: photo(int(name[0])))
  rows = [(name, (f'a {name}',)) for name in NAMES]
  made = Material({'train': rows}, '', (), (), SimpleNamespace(pictures=pictures), {})
  return material.seen(made, 'train', own_sight(), views, str(tmp_path))


def test_pictures_stay_with_their_captions_where_one_is_damaged(tmp_path):
  found = seen(tmp_path, ('plain', 'flip'))
  assert found.names == [name for i, name in enumerate(NAMES) if i != DAMAGED]
  assert found.captions == [(f'a {name}',) for name in found.names]
  rows = np.array([4, 1, 2, 3, 0] * 20)
  numbers = 10 * np.array([int(found.names[row][0]) for row in rows])
  plain = found.inputs(rows)['pictures'][:, 0, :, 0]
  np.testing.assert_array_equal(plain[:, 0], numbers)
  np.testing.assert_array_equal(plain[:, -1], numbers + 1)
  drawn = found.inputs(rows, np.random.default_rng(0))['pictures'][:, 0, :, 0]
  flipped = drawn[:, 0] - numbers
  np.testing.assert_array_equal(drawn[:, -1], numbers + 1 - flipped)
  assert 30 < flipped.sum() < 70


def test_a_picture_is_compared_with_what_is_kept_once_for_all_views(tmp_path):
  read = []
  pictures = Pictures(NAMES, lambda name: read.append(name) or photo(int(name[0])))
  for _ in range(2):
    see_all(own_sight(), pictures, NAMES[:2], ('plain', 'flip'), str(tmp_path))
  # Once to know them, at each time, and once to compute each view.
  assert sorted(read) == sorted(NAMES[:2] * (1 + 2 + 1))


def material_of(tmp_path):
  """Returns a material of pictures, one of which is damaged, and the training ones as they are seen."""
  rows = [(name, (f'a {name}',)) for name in NAMES]
  corpus = SimpleNamespace(pictures=Pictures(NAMES, lambda name: photo(int(name[0]))))
  splits = {'train': rows, 'valid': rows[:1], 'test': rows[1:2]}
  made = Material(splits, 'abc', ('',), (), corpus, {})
  return made, material.seen(made, 'train', own_sight(), ('plain',), str(tmp_path))


def learned_from(made, trained, held_out=lambda split: None):
  data = {'boxes': '', 'max_length': 5, 'captions_per_picture': 1, 'buckets': 1}
  config = ConfigDict(
    {'data': data, 'train': {'batch_size': 2, 'objective': 'likelihood'}, 'seed': 0}
  )
  codec = TextCodec('sentences', 'word', (*SPECIALS, 'a'), True)
  return train_data(config, codec, lambda: made, lambda: trained, held_out)


def test_all_pictures_are_read_before_training(tmp_path):
  read = []
  learned_from(*material_of(tmp_path), held_out=read.append)
  assert read == ['valid', 'test']


def test_the_fingerprint_tells_which_pictures_were_read(tmp_path):
  made, trained = material_of(tmp_path)
  one, other = trained, trained._replace(names=[*trained.names[:-1], NAMES[DAMAGED]])
  found = [learned_from(made, pictures).fingerprint for pictures in (one, other, one)]
  assert found[0] == found[2] != found[1]
  assert all(one.endswith(' abc') for one in found)
  whole = made._replace(splits={'train': made.splits['train'][: len(trained.names)]})
  assert learned_from(whole, trained).fingerprint == 'abc'


def test_captions_that_were_learned_from_are_not_novel(tmp_path):
  made, _ = material_of(tmp_path)
  see = lambda split: material.seen(made, split, own_sight(), ('plain',), str(tmp_path))
  made.splits['test'] = made.splits['train'][:2]
  codec = TextCodec('sentences', 'word', (*SPECIALS, 'a'), True)
  trained = evaluation.training_captions(made)
  assert trained == {f'a {i} png' for i in range(6)}
  held_out = evaluation.HeldOut(codec, 5, lambda: made._replace(splits={}), see, lambda: trained)
  texts = ['a 0.png', 'a 9.png']
  describe = lambda *_, watch: [Caption(text, [], 0.0, np.zeros((0, 0, 0))) for text in texts]
  nats = lambda params, batch: np.ones(len(batch['lengths']))
  found = evaluation.measure(held_out, 'test', nats, {'': describe}, None)
  assert found['novel'] == 0.5


def test_captions_are_measured_against_those_of_their_picture():
  scenes = draw_scenes(6, 3)
  splits = {'valid': [(str(i), (scene.caption,)) for i, scene in enumerate(scenes)]}
  made = Material(splits, '', (), (), None, {'valid': scenes})
  words = sorted({word for scene in scenes for word in scene.caption.split()})
  codec = TextCodec('sentences', 'word', (*SPECIALS, *words), True)
  see = lambda split: material.seen(made, split, own_sight(), ('plain',), '')
  held_out = evaluation.HeldOut(codec, 12, lambda: made, see, set)

  def describe(params, inputs, watch):
    weights = np.full((8, 7, 7), 1 / 49)
    right = [scene.caption for scene in scenes]
    texts = [*right[:3], 'a nothing', *right[4:]]
    return [Caption(text, text.split(), 0.0, weights[: len(text.split())]) for text in texts]

  nats = lambda params, batch: np.where(batch['lengths'] > 0, 2.0, 0.0)
  figures = evaluation.measure(held_out, 'valid', nats, {'': describe, '_b': describe}, None)
  assert figures['exact'] == figures['exact_b'] == pytest.approx(5 / 6)
  lengths = [len(scene.caption.split()) + 1 for scene in scenes]
  assert figures['nats_per_symbol'] == pytest.approx(12 / sum(lengths))
  assert 0.03 < figures['mass'] < 0.3
  # No likelihood of captions that are all too long.
  short = evaluation.measure(held_out._replace(max_length=1), 'valid', nats, {'': describe}, None)
  assert 'exact' in short and not {'nats_per_symbol', 'perplexity'} & short.keys()
