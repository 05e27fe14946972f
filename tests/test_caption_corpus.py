"""Caption corpora in the layouts that people download: what is read, what is left out and said, what is refused."""

import io
import json
import shutil
import zipfile

import pytest
import tensorflow_datasets as tfds
from PIL import Image

from rnn_research.data import caption_builder
from rnn_research.errors import InputError
from rnn_research.tasks.captioning.corpus import check_places, load_captions
from rnn_research.tasks.captioning.layouts import FLICKR_FILES

NOTHING = {
  'path': '', 'images': '', 'valid': '', 'test': '', 'splits': (0.6, 0.2, 0.2), 'tfds': '', 'data_dir': ''
}  # fmt: skip


def photo(number):
  """Returns the file of a small picture."""
  file = io.BytesIO()
  Image.new('RGB', (4, 4), (number, 0, 0)).save(file, 'PNG')
  return file.getvalue()


def fill(folder, names):
  folder.mkdir(parents=True, exist_ok=True)
  for number, name in enumerate(names):
    (folder / name).write_bytes(photo(number))


def load(path, **data):
  return load_captions(NOTHING | {'path': str(path)} | {k: str(v) for k, v in data.items()})


def written(folder, name, value):
  """Writes a file of captions; returns where it is."""
  text = value if isinstance(value, str | bytes) else json.dumps(value)
  (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
  return folder / name


FLICKR = dict(
  zip(
    FLICKR_FILES,
    (
      'a.jpg#0\tA dog .\r\na.jpg#1\tTwo  dogs\nb.jpg#0\tcafé\nc.jpg#0\tA cat\nd.jpg#0\tunused\n'
      'e.jpg.1#0\tno photo\n',
      'a.jpg\nx.jpg\n',
      'b.jpg\n',
      'c.jpg\n',
    ),
    strict=True,
  )
)


@pytest.fixture
def flickr(tmp_path):
  """Returns a folder with the archives of a tiny Flickr8k."""
  with zipfile.ZipFile(tmp_path / 'Flickr8k_text.zip', 'w') as archive:
    for name, text in FLICKR.items():
      archive.writestr(name, text)
    archive.writestr('__MACOSX/._Flickr8k.token.txt', b'\0\1')
  with zipfile.ZipFile(tmp_path / 'Flickr8k_Dataset.zip', 'w') as archive:
    for number, name in enumerate('abcd'):
      archive.writestr(f'Flicker8k_Dataset/{name}.jpg', photo(number))
      archive.writestr(f'__MACOSX/Flicker8k_Dataset/._{name}.jpg', b'junk')
  return tmp_path


def test_archives_of_flickr8k(flickr):
  found = load(flickr)
  assert found.splits == {
    'train': [('a.jpg', ('A dog .', 'Two dogs'))],
    'valid': [('b.jpg', ('café',))],
    'test': [('c.jpg', ('A cat',))],
  }
  assert found.pictures.read('b.jpg') == photo(1)
  assert (found.drawn, found.skipped) == ((), {'captions': 1, 'empty': 0, 'pictures': 1})
  assert found.about == (
    'train 1 pictures with 2 captions, valid 1 pictures with 1 captions, test 1 pictures with 1 captions',
    '1 captions of 1 images are left out, since these are not there: e.jpg.1',
    '1 pictures are left out, without captions or in no split',
  )


@pytest.mark.parametrize('texts', ['', 'Flickr8k_text'])
@pytest.mark.parametrize('photos', ['Flicker8k_Dataset', 'Flickr8k_Dataset/Flicker8k_Dataset'])
def test_unpacked_flickr8k_is_the_same(flickr, tmp_path_factory, texts, photos):
  folder = tmp_path_factory.mktemp('unpacked')
  fill(folder / photos, [f'{name}.jpg' for name in 'abcd'])
  (folder / texts).mkdir(exist_ok=True)
  for name, text in FLICKR.items():
    (folder / texts / name).write_bytes(text.encode())
  packed, unpacked = load(flickr), load(folder)
  assert unpacked._replace(pictures=packed.pictures) == packed
  assert unpacked.pictures.names == packed.pictures.names
  assert unpacked.pictures.read('c.jpg') == packed.pictures.read('c.jpg')


def test_real_flickr8k(data_dir):
  if not (data_dir / 'flickr8k').is_dir():
    pytest.skip('no flickr8k')
  found = load(data_dir / 'flickr8k')
  assert {split: len(rows) for split, rows in found.splits.items()} == {
    'train': 6000, 'valid': 1000, 'test': 1000
  }  # fmt: skip
  assert {len(captions) for rows in found.splits.values() for _, captions in rows} == {5}
  assert found.skipped == {'captions': 5, 'empty': 0, 'pictures': 91}
  assert '2258277193_586949ec62.jpg' in found.about[1]
  name, captions = found.splits['train'][0]
  assert (
    name == '1000268201_693b08cb0e.jpg' and captions[1] == 'A girl going into a wooden building .'
  )
  assert found.pictures.read(name).startswith(b'\xff\xd8')


def coco(names, captions, first=0):
  images = [{'id': first + i, 'file_name': name} for i, name in enumerate(names)]
  annotations = [{'image_id': first + i, 'id': 7, 'caption': text} for i, text in captions]
  return {'info': {}, 'images': images, 'annotations': annotations}


def test_coco(tmp_path):
  fill(tmp_path / 'photos/train2014', ['a.jpg', 'b.jpg'])
  fill(tmp_path / 'photos/val2014', ['c.jpg', 'd.jpg'])
  train = written(
    tmp_path, 'train.json', coco(['b.jpg', 'a.jpg', 'z.jpg'], [(1, 'x\n y'), (0, ' '), (1, 'w'), (0, 'v'), (2, 'u')])
  )  # fmt: skip
  valid = written(tmp_path, 'valid.json', coco(['c.jpg'], [(0, 'c')]))
  test = written(tmp_path, 'test.json', coco(['d.jpg'], [(0, 'd')]))
  found = load(train, images=tmp_path / 'photos', valid=valid, test=test)
  assert found.splits == {
    'train': [('train2014/a.jpg', ('x y', 'w')), ('train2014/b.jpg', ('v',))],
    'valid': [('val2014/c.jpg', ('c',))],
    'test': [('val2014/d.jpg', ('d',))],
  }
  assert found.skipped == {'captions': 1, 'empty': 1, 'pictures': 0}
  assert found.about[2] == '1 captions are left out, since they are empty'
  shutil.copytree(tmp_path / 'photos/train2014', tmp_path / 'photos/val2014', dirs_exist_ok=True)
  with pytest.raises(InputError, match=r'split train has a caption, a\.jpg and 2 others are not'):
    load(train, images=tmp_path / 'photos', valid=valid)  # which of the two is meant?


def test_a_picture_has_no_captions_of_one_that_is_not_there(tmp_path):
  fill(tmp_path / 'cats', ['1.png'])
  fill(tmp_path / 'birds', ['2.png'])
  text = 'cats/1.png\ta cat\ndogs/1.png\ta dog\nelsewhere/2.png\ta bird\n'
  path = written(tmp_path, 'c.tsv', text)
  found = load_captions(NOTHING | {'path': str(path), 'splits': (1, 0, 0)})
  assert found.splits['train'] == [('birds/2.png', ('a bird',)), ('cats/1.png', ('a cat',))]
  assert found.skipped['captions'] == 1 and 'dogs/1.png' in found.about[1]


def test_one_json_with_splits(tmp_path):
  image = lambda name, split, **more: {
    'filename': name, 'split': split, 'sentences': [{'raw': f'on {name}', 'tokens': []}], **more
  }  # fmt: skip
  images = [
    image('c.jpg', 'restval', filepath='val2014'), image('a.jpg', 'train'), image('d.jpg', 'val'),
    image('e.jpg', 'test'), image('f.jpg', 'other'),
  ]  # fmt: skip
  path = written(tmp_path, 'dataset_coco.json', {'images': images, 'dataset': 'coco'})
  fill(tmp_path / 'images', [f'{name}.jpg' for name in 'acdef'])
  found = load(path)
  assert found.splits == {
    'train': [('a.jpg', ('on a.jpg',)), ('c.jpg', ('on c.jpg',))],
    'valid': [('d.jpg', ('on d.jpg',))],
    'test': [('e.jpg', ('on e.jpg',))],
  }
  with pytest.raises(InputError, match=r"data\.valid is .* expected '', since .* has such a split"):
    load(path, valid=path)


def table(names, header=''):
  return header + ''.join(f'{name}\tone {name}\n{name}\ttwo {name}\n' for name in names)


def test_a_table_is_divided_by_pictures(tmp_path):
  names = [f'{i}.png' for i in range(10)]
  fill(tmp_path, names)
  path = written(tmp_path, 'captions.tsv', table(names))
  found = load(path)
  sizes = {split: len(rows) for split, rows in found.splits.items()}
  assert (sizes, found.drawn) == ({'train': 6, 'valid': 2, 'test': 2}, ('valid', 'test'))
  assert sorted(name for rows in found.splits.values() for name, _ in rows) == names
  assert all(captions == (f'one {name}', f'two {name}') for name, captions in found.splits['test'])
  assert found.about[0].endswith(
    'valid 2 pictures with 4 captions (drawn), test 2 pictures with 4 captions (drawn)'
  )
  turned = written(tmp_path, 'turned.tsv', table(names[::-1]))
  assert load(turned).splits == found.splits
  assert load_captions(NOTHING | {'path': str(path), 'splits': (1, 0, 0)}).splits.keys() == {
    'train'
  }
  with pytest.raises(InputError, match=r'data\.splits gives valid 0 of 10 pictures, expected one'):
    load_captions(NOTHING | {'path': str(path), 'splits': (0.98, 0.02, 0)})


def test_names_of_columns_in_quotes(tmp_path):
  """As pandas' `QUOTE_ALL` and R write them."""
  fill(tmp_path, ['a.jpg', 'b.jpg'])
  path = written(tmp_path, 'c.csv', '"image","caption"\r\n"a.jpg","x, y"\r\n"b.jpg","z"\r\n')
  found = load_captions(NOTHING | {'path': str(path), 'splits': (1, 0, 0)})
  assert found.splits['train'] == [('a.jpg', ('x, y',)), ('b.jpg', ('z',))]


def test_the_table_of_kaggle(tmp_path):
  fill(tmp_path / 'Images', ['a.jpg', 'b.jpg', 'c.jpg'])
  text = '\ufeffimage,caption\r\na.jpg,"A dog, a ""cat"" ."\r\nb.jpg,two\u2028lines\r\na.jpg,more\r\nc.jpg,c\r\n'
  written(tmp_path, 'captions.txt', text)
  for path in (tmp_path, tmp_path / 'captions.txt'):
    found = load_captions(NOTHING | {'path': str(path), 'splits': (1, 0, 0)})
    assert found.splits['train'] == [
      ('a.jpg', ('A dog, a "cat" .', 'more')), ('b.jpg', ('two lines',)), ('c.jpg', ('c',))
    ]  # fmt: skip


def test_the_fingerprint_is_that_of_training_names_and_captions(tmp_path):
  fill(tmp_path / 'photos/in', ['a.jpg', 'b.jpg'])
  fill(tmp_path / 'photos/other', ['c.jpg'])
  whole = lambda text, **more: (
    load_captions(
      NOTHING | {'path': str(written(tmp_path, 'c.tsv', text)), 'splits': (1, 0, 0)} | more
    ).fingerprint
  )
  images = {'images': str(tmp_path / 'photos')}
  first = whole('a.jpg\tx\nb.jpg\ty\n', **images)
  assert first == whole('b.jpg\ty\na.jpg\tx\n', images=str(tmp_path / 'photos/in'))
  others = ['a.jpg\tx\nb.jpg\tz\n', 'a.jpg\tx\n', 'a.jpg\tx\na.jpg\ty\nb.jpg\ty\n']
  assert len({first, *(whole(text, **images) for text in others)}) == 4
  held_out = {'valid': str(written(tmp_path, 'v.tsv', 'b.jpg\ty\n'))}
  only = whole('a.jpg\tx\n', **images, **held_out)
  held_out = {'valid': str(written(tmp_path, 'v.tsv', 'b.jpg\tother\n'))}
  assert only == whole('a.jpg\tx\n', **images, **held_out)


@pytest.mark.parametrize(
  ('value', 'text'),
  [
    ('{"images": [', r'c is no JSON file \(Expecting value'),
    ('{"a":' * 100_000, r'c is no JSON file \(.*recursion'),
    ('{"a": ' + '1' * 5000 + '}', r'c is no JSON file \(Exceeds the limit'),
    ({'annotations': []}, "c has annotations, expected a list 'images'"),
    ({'images': {}}, "c has images, expected a list 'images'"),
    ({'images': [], 'annotations': 3}, "c has images, annotations, expected a list 'annotations'"),
    ({'images': [3], 'annotations': []}, r"images\[0\] has no object, expected a text 'file_name'"),
    ({'images': [{'id': 1}], 'annotations': []}, r"images\[0\] has id, expected a text 'file_name'"),
    (coco(['a.jpg'], [(0, 'x'), (5, 'y')]), r'annotations\[1\] has the image_id 5, expected the id of'),
    (
      {'images': [{'id': 7, 'file_name': f'{n}.jpg'} for n in 'aab'], 'annotations': []},
      r"c, images\[2\] is 'b\.jpg' with the id 7, expected another id than that of 'a\.jpg'",
    ),
    (coco(['a.jpg'], [(0, 7)]), r"annotations\[0\] has image_id, id, caption, expected a text 'caption'"),
    ({'images': [{'filename': 'a.jpg'}]}, r"images\[0\] has filename, expected a list 'sentences'"),
    ({'images': [{'filename': 'a.jpg', 'sentences': [{}], 'split': []}]}, r"sentences\[0\] has nothing, expected"),
    (b'a.jpg\t\xe9\n', r'c is not UTF-8 \(byte 0xe9 at offset 6\), expected UTF-8 text; convert it to UTF-8'),
    (b'a.jpg\t\0\n', 'c is binary'),
    ('a.jpg\tx\nb.jpg y\n', r'c has 1 columns in line 2, expected 2: image, tab, caption'),
    ('a.jpg\tx\ty\n', 'c has 3 columns in line 1, expected 2'),
    ('image,caption\na.jpg,x\n\na.jpg,x,y\n', "c has 3 columns in line 4, expected 2 as in the header"),
    ('image,caption\na.jpg,"x" y\n', 'c is no CSV file: line 2, '),
    ('image,caption\na.jpg,"x\n', 'c is no CSV file: line 2, unexpected end of data'),
    (f'{"x" * 200_000},caption\n', 'c has 1 columns in line 1, expected 2'),
    ({'images': []}, 'no picture of the split train has a caption'),
    ({'images': [{'filename': 'a.jpg', 'sentences': [{'raw': 'x'}], 'split': 'val'}]}, 'no picture of the split train'),
    ('\n\n', r'no picture of the split train has a caption; data\.images must be'),
    ('z.jpg\tx\n', r'no picture of the split train has a caption, z\.jpg and 0 others are not there'),
    ('../a.jpg\tx\n/b.jpg\ty\n../../etc/passwd\tz\n', 'data.splits gives valid 0 of 2'),
  ],
)  # fmt: skip
def test_damaged_files(tmp_path, value, text):
  fill(tmp_path / 'photos', ['a.jpg', 'b.jpg'])
  with pytest.raises(InputError, match=text) as raised:
    load(written(tmp_path, 'c', value))
  assert str(raised.value).startswith('data.')
  assert '\n' not in str(raised.value)


def test_what_is_not_there(tmp_path):
  with pytest.raises(InputError, match=r"data\.path is '', expected the folder of Flickr8k's"):
    load('')
  with pytest.raises(FileNotFoundError, match=r'data\.path: there is no file or folder'):
    load(tmp_path / 'no')
  with pytest.raises(
    InputError, match=r"has no captions, expected Flickr8k's Flickr8k\.token\.txt"
  ):
    load(tmp_path)
  path = written(tmp_path, 'c.tsv', 'a.jpg\tx\n')
  with pytest.raises(InputError, match=r'data\.images: .* has no picture'):
    load(path)
  with pytest.raises(FileNotFoundError, match=r'data\.images: there is no'):
    load(path, images=tmp_path / 'no')
  fill(tmp_path, ['a.jpg'])
  with pytest.raises(InputError, match=r'1 pictures are in two splits, such as a\.jpg'):
    load(path, valid=path)


@pytest.mark.parametrize(
  ('data', 'text'),
  [
    ({'tfds': 'x', 'images': 'y'}, r"data\.tfds is 'x' and data\.images is given too"),
    ({'valid': 'y'}, r"data\.valid is 'y', expected data\.path"),
    ({'splits': (1, 1)}, r'data\.splits is \(1, 1\)'),
  ],
)
def test_places(data, text):
  check_places(NOTHING | {'path': 'x'})
  with pytest.raises(InputError, match=text):
    check_places(NOTHING | data)


def test_a_prepared_data_set_is_the_same(flickr, tmp_path_factory):
  folder = str(tmp_path_factory.mktemp('tfds'))
  files = load(flickr)
  caption_builder.prepare_captions(files.splits, files.pictures, folder)
  found = load('', tfds='captioned_pictures', data_dir=folder)
  assert (found.splits, found.fingerprint) == (files.splits, files.fingerprint)
  assert {name: found.pictures.read(name) for name in found.pictures.names} == {
    'a.jpg': photo(0), 'b.jpg': photo(1), 'c.jpg': photo(2)
  }  # fmt: skip
  with pytest.raises(InputError, match=r'^data_dir: .*1\.0\.0 is there already, expected another'):
    caption_builder.prepare_captions(files.splits, files.pictures, folder)
  with pytest.raises(FileNotFoundError, match=r'there is no prepared'):
    load('', tfds='captioned_pictures', data_dir=flickr)


def test_other_data_sets_are_refused(tmp_path):
  class OtherTexts(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
      features = tfds.features.FeaturesDict({'text': tfds.features.Text()})
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
      return {'train': iter([(0, {'text': 'x'})])}

    def _generate_examples(self):
      raise NotImplementedError

  tfds.disable_progress_bar()
  OtherTexts(data_dir=str(tmp_path), file_format='array_record').download_and_prepare()
  with pytest.raises(InputError, match=r'has the features text, expected captions, name, picture'):
    load('', tfds='other_texts', data_dir=tmp_path)
