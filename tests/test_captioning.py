"""`captioning` through the launcher: scenes or photos in, a captioner out; its modes and what it refuses."""

import functools
import io
import os
import shutil
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import arrays, assert_same_run, files_of, log_of, read_json, run
from PIL import Image
from test_bad_input import assert_refused

import launch
from experiments import captioning
from rnn_research import workdir as workdir_lib
from rnn_research.data.codec import SPECIALS, TextCodec
from rnn_research.encoders.cnn import weights
from rnn_research.encoders.cnn.weights import load_weights
from rnn_research.errors import InputError
from rnn_research.launching import runs
from rnn_research.models.captioners import CAPTIONERS
from rnn_research.tasks.captioning import (
  batches,
  commands,
  describer,
  features,
  material,
  sight,
)
from rnn_research.tasks.captioning.commands import Described
from rnn_research.tasks.captioning.describer import Caption
from rnn_research.tasks.captioning.scenes import draw_scenes
from rnn_research.training import backend, progress

DEBUG = [
  '--experiment=captioning:debug',
  '--config.data.scenes=40',
  '--config.data.max_length=8',
  '--config.train.show_steps=()',
]
TINY = [
  '--config.optimizer.warmup_steps=0',
  '--config.model.hidden_size=8',
  '--config.model.embedding_size=6',
  '--config.model.annotation_size=6',
  '--config.model.attention_size=4',
  '--config.model.readout_size=0',
  '--config.train.batch_size=2',
  '--config.train.eval_every=2',
  '--config.train.log_every=1',
  '--config.train.show_steps=()',
  '--config.data.min_frequency=1',
  '--config.data.max_length=8',
]


def train(*flags, final=lambda run: {}):
  """Runs the launcher in this process, without the report and, unless `final` evaluates, without what comes before it."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(backend, 'configure', lambda *args: None)
    patch.setattr(runs, 'write_report', lambda *args: None)
    patch.setattr(workdir_lib.Run, 'evaluate', final)
    patch.setattr(material, '_HELD_OUT_SCENES', 20)
    patch.setattr(sys, 'argv', ['launch.py', *map(str, flags)])
    patch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO(), 'utf-8'))
    assert not launch.main(None)
    sys.stdout.seek(0)
    return sys.stdout.read()


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch):
  """Makes few held-out scenes, and lets a network see few pictures at once: batches are filled up."""
  monkeypatch.setattr(material, '_HELD_OUT_SCENES', 20)
  few = functools.partial(features.cached_features, batch_size=4)
  monkeypatch.setattr(sight, 'cached_features', few)


@pytest.fixture(scope='module')
def shapes(make_once):
  """Returns a workdir in which scenes were learned for 30 steps; not to be changed."""

  def make(folder):
    flags = [
      '--config.train.eval_every=30',
      '--config.train.log_every=1',
      '--config.train.ema_decay=0.0',
      '--config.optimizer.learning_rate=0.02',
      '--config.optimizer.warmup_steps=5',
    ]
    out = train(*DEBUG, f'--workdir={folder}', *flags, final=workdir_lib.Run.evaluate)
    (folder / 'stdout.txt').write_text(out, 'utf-8')

  return make_once('captioned_shapes', make)


@pytest.fixture(scope='module')
def merged(make_once):
  """Returns the workdir of a captioner without attention; not to be changed."""
  tiny = [flag for flag in TINY if 'attention_size' not in flag]
  flags = *tiny, '--config.model.decoder=merge', '--config.train.steps=2'
  return make_once('captioned_merge', lambda folder: train(*DEBUG, *flags, f'--workdir={folder}'))


SCORES = {'bleu_1', 'bleu_2', 'bleu_3', 'bleu_4', 'rouge_l', 'cider'}


def metrics_of(*of_search):
  names = SCORES | set(of_search)
  return {'nats_per_symbol', 'perplexity', *names, *(f'{name}_beam3' for name in names)}


def test_scenes_are_learned(shapes):
  losses = [line['train/nats_per_symbol'] for line in log_of(shapes) if 'train/loss' in line]
  assert len(losses) == 30
  assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.8
  assert all('train/attention_entropy' in line for line in log_of(shapes) if 'train/loss' in line)
  out = (shapes / 'stdout.txt').read_text('utf-8')
  assert 'train 40 scenes, valid 20 scenes, test 20 scenes' in out
  result = read_json(shapes, 'result.json')
  assert result['headline'] == ['valid', 'cider', 'max']
  assert result['metrics'].keys() == {'valid', 'test'}
  for split in result['metrics'].values():
    # Attention is measured where a caption names a shape rightly.
    assert metrics_of('exact') <= split.keys() <= metrics_of('exact', 'mass')
    assert split['perplexity'] == pytest.approx(np.exp(split['nats_per_symbol']))
    assert split['nats_per_symbol'] < np.log(17)


def test_evaluates_again_and_says_if_that_takes_long(main, shapes, tmp_path, monkeypatch):
  monkeypatch.setattr(progress, '_LONG', -1.0)
  for module in (batches, describer):
    monkeypatch.setattr(module, 'EVALUATED', 5)
  folder = shutil.copytree(shapes, tmp_path / 'run')
  code, _, err = main('--mode=evaluate', f'--workdir={folder}')
  assert code == 0, err
  again, saved = (
    read_json(folder, name)['metrics'] for name in ('result-evaluate.json', 'result.json')
  )
  assert again == {split: pytest.approx(figures) for split, figures in saved.items()}
  for unit in ('pictures', 'captions'):
    assert f' {unit} take about 0:00:0' in err


def test_a_run_without_held_out_pictures_is_evaluated_on_a_file_of_them():
  config = captioning.get_config('debug')
  config.data.test = 'test.json'
  codec = TextCodec('sentences', 'word', (*SPECIALS, 'a'), True).to_json()
  made = captioning.build(config, {'codec': codec, 'encoder': '', 'splits': []})
  assert (made.evaluate, list(made.final_evaluate)) == ({}, ['test'])


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
  """Where it looks is drawn, and what it was rewarded with before is carried on."""
  flags = [
    *DEBUG,
    *TINY,
    '--config.model.decoder=hard_attention',
    '--config.model.dropout=0.3',
    '--config.optimizer.schedule=constant',
    '--config.train.reinforce=1.0',
    '--config.train.steps=4',
  ]
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  train(*flags, f'--workdir={whole}')
  shutil.copytree(whole, parts)
  # As if it had been killed after step 2.
  shutil.rmtree(parts / 'checkpoints' / '4')
  (parts / 'result.json').unlink()
  out = train(*flags, f'--workdir={parts}')
  assert 'step 3/4' in out and 'step 1/4' not in out
  assert_same_run(whole, parts, 4)
  carried = [a for name, a in arrays(whole, 4).items() if 'carry' in name]
  assert carried and carried[0].all()


@pytest.fixture(scope='module')
def photos(make_once):
  """Returns a folder of photos, one of them damaged, and a text."""

  def make(folder):
    for i, scene in enumerate(draw_scenes(3, 9)):
      Image.fromarray(scene.picture).resize((80, 60)).save(folder / f'{i}.png')
    (folder / '1b.png').write_bytes((folder / '1.png').read_bytes()[:200])
    (folder / 'note.txt').write_text('not a photo')

  return make_once('photos', make)


def test_captions_of_a_folder(main, shapes, photos, tmp_path):
  out = tmp_path / 'captions.tsv'
  code, said, err = main(
    '--mode=caption', f'--workdir={shapes}', f'--input={photos}', f'--output={out}'
  )
  assert (code, said) == (0, '')
  rows = [line.split('\t') for line in out.read_text('utf-8').splitlines()]
  assert [name for name, _ in rows] == ['0.png', '1.png', '2.png']
  assert err.startswith('warning: skipped: 1b.png is damaged (')
  _, others, last = err.splitlines()
  assert others.startswith('warning: 1 other file(s) not read (note.txt), expected files that end')
  assert last == '3 photos captioned'
  assert [caption for _, caption in rows] == workdir_lib.load(shapes).caption(str(photos))


def test_captions_of_photos_with_odd_names(photos, tmp_path):
  folder, out = tmp_path / 'odd', tmp_path / 'captions.tsv'
  folder.mkdir()
  names = [b'a\tb\nc.png', b'caf\xe9.png']
  for name in names:
    shutil.copy(photos / '0.png', os.path.join(os.fsencode(folder), name))
  described = [
    Described(os.fsdecode(name), None, Caption('a dog', [], 0.0, None)) for name in names
  ]
  run = SimpleNamespace(captions=lambda path: iter(described))
  commands.caption_files(run, str(folder), str(out), '')
  assert out.read_bytes() == b'a\\tb\\nc.png\ta dog\ncaf\xe9.png\ta dog\n'


def test_captions_of_an_archive_have_names(main, shapes, photos, tmp_path):
  archive = shutil.make_archive(tmp_path / 'photos', 'zip', photos)
  _, folder, _ = main('--mode=caption', f'--workdir={shapes}', f'--input={photos}')
  code, out, _ = main('--mode=caption', f'--workdir={shapes}', f'--input={archive}')
  assert (code, out) == (0, folder)


def test_a_caption_of_one_photo(main, shapes, photos):
  photo = photos / '2.png'
  code, out, err = main('--mode=caption', f'--workdir={shapes}', f'--input={photo}')
  assert (code, err, out.count('\n'), out.count('\t')) == (0, '', 1, 0)
  loaded = workdir_lib.load(shapes)
  (described,) = loaded.captions(str(photo))
  assert described.caption.text == out.strip() == loaded.caption(str(photos))[2]
  assert (described.name, described.picture.shape) == ('2.png', (56, 56, 3))
  words, weights = described.caption.words, described.caption.weights
  assert weights.shape == (len(words), 7, 7)
  np.testing.assert_allclose(weights.sum((1, 2)), 1.0, rtol=1e-5)
  assert ' '.join(word for word in words if word != '<eos>') == described.caption.text


def test_a_photo_in_memory_is_captioned_as_its_file_is(shapes, photos):
  loaded = workdir_lib.load(shapes)
  (expected,) = loaded.captions(photos / '2.png')
  with Image.open(photos / '2.png') as photo:
    for image in (photo, np.asarray(photo.convert('RGB'))):
      (described,) = loaded.captions(image)
      assert (described.name, described.caption.text) == ('image', expected.caption.text)
      np.testing.assert_array_equal(described.picture, expected.picture)
  for wrong in (np.zeros((9, 9, 3)), [str(photos / '2.png')], np.zeros((2, 9, 9, 3), np.uint8)):
    with pytest.raises(
      InputError, match=r'the picture is a (ndarray|list) .*, expected a path, an'
    ):
      loaded.caption(wrong)


def test_attention_is_saved_from_python(shapes, merged, photos, tmp_path):
  file = tmp_path / 'new' / 'one.png'
  (described,) = workdir_lib.load(shapes).captions(photos / '0.png')
  described.save_attention(file)
  with Image.open(file) as drawn:
    assert drawn.width > 100
  with pytest.raises(
    InputError, match=r'path is .*one\.jpg.*, expected a file that ends with \.png'
  ):
    described.save_attention(tmp_path / 'one.jpg')
  (described,) = workdir_lib.load(merged).captions(photos / '0.png')
  with pytest.raises(InputError, match='the model has no attention'):
    described.save_attention(file)


def test_attention_is_drawn(main, shapes, photos, tmp_path):
  one, many, twins = tmp_path / 'new' / 'one.png', tmp_path / 'many', tmp_path / 'twins'
  (twins / 'b').mkdir(parents=True)
  for name in ('0.png', '0.bmp', '0.bmp.png', 'b/0.png', 'b-0.png'):
    with Image.open(photos / '0.png') as photo:
      photo.save(twins / name)
  archive = shutil.make_archive(tmp_path / 'twins', 'zip', twins)
  flags = ['--mode=caption', f'--workdir={shapes}']
  code, _, err = main(*flags, f'--input={photos}/0.png', f'--attention_map={one}')
  assert (code, err) == (0, f'attention: {one}\n')
  assert main(*flags, f'--input={archive}', f'--attention_map={many}')[0] == 0
  made = ['0.bmp.png', '0.bmp.png.png', '0.png.png', 'b%2F0.png.png', 'b-0.png.png']
  assert sorted(path.name for path in many.iterdir()) == made
  with Image.open(one) as drawn, Image.open(many / '0.png.png') as again:
    assert drawn.size == again.size


def test_the_report_shows_captions_and_where_it_looked(main, shapes, merged, tmp_path):
  for source, attends in ((shapes, True), (merged, False)):
    folder = shutil.copytree(source, tmp_path / source.name)
    assert main('--mode=report', f'--workdir={folder}')[0] == 0
    page = (folder / 'report' / 'README.md').read_text('utf-8')
    assert '![Pictures and captions](captions.png)' in page
    assert ('\n| greedy | ' in page) == attends  # the other run was not evaluated
    drawn = {'attention.png', 'entropy.png', 'faithfulness.png'}
    files = {path.name for path in (folder / 'report').iterdir()}
    assert files & drawn == (drawn if attends else set())
    assert ('The decoder has no attention' in page) != attends


def test_captions_are_drawn_from_a_seed(main, shapes, photos):
  drawn = [
    main(
      '--mode=caption',
      f'--workdir={shapes}',
      f'--input={photos}',
      '--temperature=1.0',
      f'--seed={seed}',
    )[1]
    for seed in (0, 0, 1)
  ]
  assert drawn[0] == drawn[1] != drawn[2]


def test_a_caption_without_attention_has_no_weights(merged, photos):
  (described,) = workdir_lib.load(merged).captions(str(photos / '0.png'))
  assert described.caption.weights.shape == (len(described.caption.words), 0, 0)
  assert not any('mass' in name or 'entropy' in name for line in log_of(merged) for name in line)


MISUSED = {
  'no input': ([], ["input is '', expected a photo or a folder of photos"]),
  'missing input': (['--input=gone.png'], ['input: there is no file or folder', 'gone.png']),
  'text': (['--input={photos}/note.txt'], ['input: ', 'no photo that can be read: note.txt is no']),
  'damaged': (['--input={photos}/1b.png'], ['no photo that can be read: 1b.png is damaged']),
  'no photos': (['--input={empty}'], ['has no picture, expected files that end in']),
  'damaged photos': (['--input={bad}'], ['has no photo that can be read: a.png is empty']),
  'beam': (['--input={photos}', '--beam_size=0'], ['beam_size is 0']),
  'temperature': (['--input={photos}', '--temperature=-1'], ['temperature is -1']),
  'seed': (['--input={photos}', '--seed=-1'], ['seed is -1']),
  'output': (['--input={photos}', '--output=no/such/file'], ['output: no/such/file cannot be']),
  'map of a folder': (
    ['--input={photos}', '--attention_map=out.png'],
    ["attention_map is 'out.png', expected a folder, since there may be several photos"],
  ),
  'map of a photo': (
    ['--input={photos}/0.png', '--attention_map=maps'],
    ["attention_map is 'maps', expected a file that ends with .png"],
  ),
  'maps that cannot be written': (
    ['--input={photos}', '--attention_map={photos}/note.txt'],
    ['attention_map: cannot write ', 'note.txt'],
  ),
  'map that cannot be written': (
    ['--input={photos}/0.png', '--attention_map={photos}/note.txt/map.png'],
    ['attention_map: cannot write ', 'note.txt'],
  ),
}


@pytest.mark.parametrize('case', MISUSED)
def test_a_trained_captioner_refuses(main, shapes, photos, tmp_path, monkeypatch, case):
  monkeypatch.chdir(tmp_path)
  for folder in ('empty', 'bad'):
    (tmp_path / folder).mkdir()
  (tmp_path / 'bad' / 'a.png').touch()
  (tmp_path / 'bad' / 'b.png').touch()
  flags, said = MISUSED[case]
  places = {'photos': photos, 'empty': tmp_path / 'empty', 'bad': tmp_path / 'bad'}
  flags = [flag.format(**places) for flag in flags]
  before = files_of(tmp_path)
  if not any(flag.startswith('--output') for flag in flags) and case in ('missing input', 'beam'):
    flags.append('--output=made.txt')
  outcome = main('--mode=caption', f'--workdir={shapes}', *flags)
  assert_refused(outcome, *said)
  assert outcome[:2] == (1, '')
  assert files_of(tmp_path) == before


def test_a_map_needs_attention(main, merged, photos):
  outcome = main(
    '--mode=caption', f'--workdir={merged}', f'--input={photos}/0.png', '--attention_map=a.png'
  )
  assert_refused(
    outcome, "attention_map is 'a.png', expected '' for a run of merge, which has no attention"
  )


@pytest.mark.parametrize(
  ('input', 'flag', 'place', 'photo'),
  [
    ('0.png', 'attention_map', 'link.png', 'link.png'),
    ('.', 'attention_map', 'maps/', 'b.jpg.png'),
    ('0.png', 'output', 'link.png', 'link.png'),
    ('.', 'output', '../photos/b.jpg', 'b.jpg'),
  ],
)
def test_photos_are_kept(main, shapes, photos, tmp_path, monkeypatch, input, flag, place, photo):
  folder = tmp_path / 'photos'
  folder.mkdir()
  for name in ('0.png', 'b.jpg', 'b.jpg.png'):
    shutil.copy(photos / '0.png', folder / name)
  (folder / 'link.png').symlink_to('0.png')
  (folder / 'maps').mkdir()
  (folder / 'maps' / 'b.jpg.png').symlink_to('../0.png')
  monkeypatch.chdir(folder)
  before = files_of(folder)
  outcome = main('--mode=caption', f'--workdir={shapes}', f'--input={input}', f'--{flag}={place}')
  file = f'{place.removesuffix(photo)}{photo}'
  assert_refused(outcome, f'{flag} is {file}, expected another file than that of input')
  assert files_of(folder) == before


@pytest.mark.parametrize(
  ('input', 'output', 'place', 'said'),
  [
    ('0.png', 'new.png', '../photos/new.png', "output is 'new.png', expected another file than"),
    ('.', 'maps/1.png.png', 'maps', "output is 'maps/1.png.png', expected another file than that"),
    ('.', 'maps', 'maps', "output is 'maps', expected another file than that of attention_map"),
    ('.', '-', '../photos', "attention_map is '../photos', expected another folder than that of"),
  ],
)
def test_maps_are_apart_from_captions_and_photos(
  main, shapes, photos, tmp_path, monkeypatch, input, output, place, said
):
  folder = shutil.copytree(photos, tmp_path / 'photos')
  monkeypatch.chdir(folder)
  before = files_of(folder)
  flags = [f'--input={input}', f'--output={output}', f'--attention_map={place}']
  assert_refused(main('--mode=caption', f'--workdir={shapes}', *flags), said)
  assert files_of(folder) == before and not (folder / 'maps').exists()


WEIGHTS = 'cnn_squeezenet/squeezenet_v1.0_deepcompressed.npz'


def write_photos(folder):
  """Writes 12 pictures and a damaged one, with two captions each in a file of two columns."""
  (folder / 'pictures').mkdir()
  lines = []
  for i, scene in enumerate(draw_scenes(12, 4)):
    Image.fromarray(scene.picture).save(folder / 'pictures' / f'p{i:02}.png')
    lines += [
      f'p{i:02}.png\t{caption.capitalize()}.'
      for caption in (scene.caption, f'there is {scene.caption}')
    ]
  (folder / 'pictures' / 'p00b.png').write_bytes(b'\x89PNG\r\n\x1a\n')
  (folder / 'captions.tsv').write_text('\n'.join([*lines, 'p00b.png\tA hole.']) + '\n', 'utf-8')


@pytest.fixture
def places(tmp_path):
  write_photos(tmp_path)
  return [
    f'--config.data.path={tmp_path / "captions.tsv"}',
    f'--config.data.images={tmp_path / "pictures"}',
    f'--config.data.cache_dir={tmp_path / "cache"}',
  ]


FROZEN = [
  '--experiment=captioning:soft_attention',
  '--config.model.encoder=squeezenet',
  '--config.data.splits=(0.5,0.25,0.25)',
  '--config.train.steps=2',
  '--config.train.epochs=0',
  *TINY,
]


def test_photos_through_a_network_with_public_weights(
  main, data_dir, places, photos, tmp_path, monkeypatch, capsys
):
  weights, folder = tmp_path / 'weights.npz', tmp_path / 'run'
  shutil.copy(data_dir / WEIGHTS, weights)
  # Those of a run that was given up before its first checkpoint.
  folder.mkdir()
  (folder / 'encoder.weights').write_text('other weights')
  flags = [f'--config.model.encoder_weights={weights}', '--config.data.views=("plain","flip")']
  out = train(*FROZEN, *places, *flags, f'--workdir={folder}')
  assert 'train 7 pictures with ' in out and 'valid 3 pictures with ' in out
  assert (folder / 'encoder.weights').read_bytes() == weights.read_bytes()
  assert '1 of ' in capsys.readouterr().err  # the damaged picture
  assert read_json(folder, 'result.json')['headline'] == ['valid', 'cider', 'max']
  valid = {n[6:]: v for n, v in log_of(folder)[-1].items() if n.startswith('valid/')}
  assert valid.keys() > {'nats_per_symbol', 'perplexity', *SCORES}
  assert not valid.keys() & {'mass', 'exact'}
  # Without the weights and from what is kept of the pictures all of it comes out the same.
  weights.unlink()
  with monkeypatch.context() as patch:
    patch.setattr(features, '_extracted', lambda *args: pytest.fail('a picture was seen again'))
    loaded = workdir_lib.load(folder)
    assert loaded.experiment.evaluate['valid'](loaded.params, None) == pytest.approx(valid)
  text = (tmp_path / 'captions.tsv').read_text('utf-8')
  (tmp_path / 'captions.tsv').write_text(text.replace('red', 'pink'), 'utf-8')
  with pytest.raises(InputError, match='are not the captions that the model was trained on'):
    workdir_lib.load(folder).evaluate()
  # Captions need the workdir alone.
  (tmp_path / 'captions.tsv').unlink()
  for kept in ('cache', 'pictures'):
    shutil.rmtree(tmp_path / kept)
  code, out, err = main('--mode=caption', f'--workdir={folder}', f'--input={photos}/0.png')
  assert (code, err, out.count('\n')) == (0, '', 1)
  assert not (tmp_path / 'cache').exists()


def test_the_last_blocks_are_trained_on(main, data_dir, places, photos, tmp_path):
  folder, weights = tmp_path / 'run', str(data_dir / WEIGHTS)
  flags = [
    f'--config.model.encoder_weights={weights}',
    '--config.model.grid=both',
    '--config.train.encoder_rate=0.05',
    '--config.train.ema_decay=0.0',
    '--config.optimizer.learning_rate=0.02',
  ]
  train(*FROZEN, *places, *flags, f'--workdir={folder}')
  blocks = workdir_lib.load(folder).params['encoder']['reader']
  _, public = load_weights('squeezenet', weights)
  assert blocks and blocks.keys() < public.keys() and 'classifier' not in blocks
  # Adam moves a number by about the rate at each of two steps.
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), blocks, {n: public[n] for n in blocks})
  assert 1e-3 < max(jax.tree.leaves(moved)) < 3e-3
  code, out, err = main('--mode=caption', f'--workdir={folder}', f'--input={photos}/0.png')
  assert (code, err, out.count('\n')) == (0, '', 1)


def test_a_network_without_weights_above_its_shallow_map_is_not_trained_on():
  with pytest.raises(InputError, match="'vgg16', which has no weights above its shallow map"):
    sight.tuned_sight('vgg16', '', 'deep', 'no file')


def test_weights_are_read_once_and_those_that_no_map_needs_are_not_kept(monkeypatch):
  network, read = weights.named('squeezenet'), []
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  made = lambda: jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
  monkeypatch.setattr(weights, 'load_weights', lambda *at: read.append(at) or (network, made()))
  lower, upper, _ = network.split(shapes)
  tuned = sight.tuned_sight('squeezenet', '', 'both', 'file')
  for call in (lambda init: jax.eval_shape(init, jax.random.key(0)), lambda init: init(None)):
    assert call(lambda key: tuned.reader.init(key, None)).keys() == upper.keys()
    assert tuned.extract.args[1]().keys() == lower.keys()
  assert len(read) == 1
  plain = sight.network_sight('squeezenet', '', 'deep', 'file')
  assert plain.extract.args[1]().keys() == lower.keys() | upper.keys()


OWN = '--config.model.encoder=own'
REFUSED = {
  'no weights': ([], ["model.encoder_weights is '', expected a file of the weights of squeezenet"]),
  'missing weights': (
    ['--config.model.encoder_weights=gone.npz'],
    ['model.encoder_weights: gone.npz does not exist'],
  ),
  'no data': (['--config.data.path='], ["data.images is '", 'expected data.path']),
  'missing data': (
    ['--config.data.path=gone.tsv'],
    ['data.path: there is no file or folder', 'gone.tsv'],
  ),
  'other pictures': (
    ['--config.data.images={photos}'],
    ['no picture of the split train has a caption, p00.png and 12 others are not there'],
  ),
  'views without plain': (
    ['--config.data.views=("flip",)'],
    ["data.views is ('flip',), expected 'plain' in the first place"],
  ),
  'no views': (['--config.data.views=()'], ["data.views is (), expected 'plain'"]),
  'unknown view': (
    ['--config.data.views=("plain","flop")'],
    ["data.views is 'flop'", 'did you mean flip?'],
  ),
  'decoder': (
    ['--config.model.decoder=soft_atention'],
    [f'expected one of {", ".join(CAPTIONERS)}, did you mean soft_attention?'],
  ),
  'encoder': (['--config.model.encoder=vgg61'], ["model.encoder is 'vgg61'", 'mean vgg16?']),
  'own encoder': ([OWN], ["model.encoder is 'own', expected one of efficientnet_lite2, "]),
  'grid': (['--config.model.grid=deeep'], ['expected one of deep, shallow, both, did you mean']),
  'missing boxes': (
    ['--config.model.encoder_weights={weights}', '--config.data.boxes=gone.tsv'],
    ['data.boxes: there is no file or folder', 'gone.tsv'],
  ),
  'scenes and files': (
    ['--config.data.scenes=100', OWN],
    ['data.scenes is 100 and data.path is given too, expected one of them'],
  ),
  'cell': (
    ['--config.model.encoder_weights={weights}', '--config.model.cell=lru'],
    ["model.cell is 'lru', expected a cell whose state has an h"],
  ),
  'tied': (['--config.model.tied=true'], ['model.readout_size is 0, expected model.embedding_size']),
  'smoothing': (['--config.train.label_smoothing=1.0'], ['expected a number in [0, 1)']),
  'lambda': (['--config.train.reinforce=-1.0'], ['train.reinforce is -1.0, expected a number >= 0']),
  'objective': (['--config.train.objective=bleu'], ['expected one of likelihood, cider']),
  'self-critical from nothing': (
    ['--config.train.objective=cider'],
    ["init_from is '', expected the workdir of a trained captioner, since train.objective is cider"],
  ),
  'encoder rate': (['--config.train.encoder_rate=-1.0'], ['train.encoder_rate is -1.0, expected']),
  'encoder rate of a shallow map': (
    ['--config.train.encoder_rate=0.1', '--config.model.grid=shallow'],
    ['train.encoder_rate is 0.1, expected 0 where model.grid is shallow'],
  ),
  'one sample': (['--config.train.samples=1'], ['train.samples is 1, expected an integer >= 2']),
}  # fmt: skip


@pytest.mark.parametrize('case', REFUSED)
def test_what_cannot_be_trained_is_one_sentence(
  main, request, places, photos, tmp_path, monkeypatch, case
):
  monkeypatch.chdir(tmp_path)
  flags, said = REFUSED[case]
  named = {'photos': photos}
  if any('{weights}' in flag for flag in flags):
    named['weights'] = request.getfixturevalue('data_dir') / WEIGHTS
  flags = [flag if '(' in flag else flag.format(**named) for flag in flags]
  outcome = main(*FROZEN, *places, *flags, f'--workdir={tmp_path / "run"}')
  code, _, err = outcome
  assert code == 1
  assert 'Traceback' not in err
  (line,) = [line for line in err.splitlines() if line.startswith('error: ')]
  assert err.endswith(f'{line}\n')
  for part in said:
    assert part in line
  assert not (tmp_path / 'run').exists()


def test_weights_of_another_network(main, data_dir, places, tmp_path):
  outcome = main(
    *FROZEN,
    *places,
    '--config.model.encoder=efficientnet_lite2',
    f'--config.model.encoder_weights={data_dir / WEIGHTS}',
    f'--workdir={tmp_path / "run"}',
  )
  assert_refused(
    outcome, f'model.encoder_weights: {data_dir / WEIGHTS} lacks the array ', 'EfficientNet'
  )


def test_few_scenes_make_no_batch(main, tmp_path):
  outcome = main(*DEBUG, '--config.train.batch_size=90', f'--workdir={tmp_path / "run"}')
  assert_refused(outcome, 'there are 40 training pictures', 'expected a batch of 90 at least')


@pytest.mark.parametrize(
  ('flag', 'said'),
  [
    ('data.views=("plain","flip")', "expected ('plain',), since data.scenes is above 0"),
    ('data.boxes=boxes.tsv', 'data.scenes is 40 and data.boxes is given too'),
    (
      'train.encoder_rate=0.1',
      'train.encoder_rate is 0.1, expected 0 where data.scenes is above 0',
    ),
    ('model.encoder_weights=w.npz', "model.encoder_weights is 'w.npz', expected '' where"),
  ],
)
def test_scenes_are_seen_plainly_and_by_an_encoder_of_their_own(main, tmp_path, flag, said):
  outcome = main(*DEBUG, f'--config.{flag}', f'--workdir={tmp_path / "run"}')
  assert_refused(outcome, said)


def test_a_mistake_of_a_person_in_a_process_of_its_own(tmp_path):
  _, err = run(
    '--experiment=captioning:soft_attention',
    '--config.data.path=gone',
    f'--workdir={tmp_path / "run"}',
    rc=1,
  )
  assert err.startswith('error: data.path: there is no file or folder')
  assert err.count('\n') == 1
  assert not list(tmp_path.iterdir())
