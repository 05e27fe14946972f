"""The bAbI tasks: what a file says, what an archive or a folder has, and what is held out."""

import io
import tarfile

import pytest

from rnn_research.data.babi import hold_out, load_babi, read_stories, read_tasks, words_of
from rnn_research.errors import InputError

STORY = b"""1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Mary got the milk.
5 What is Mary carrying?\tmilk,football\t4 2
1 Daniel went back to the Hallway.
2 Where is daniel?\thallway\t1
"""
TRAIN, TEST = 'qa1_single-supporting-fact_train.txt', 'qa1_single-supporting-fact_test.txt'


def stories(count):
  return ''.join(
    f'1 Mary went to the kitchen.\n2 Where is Mary?\tkitchen\t1\n3 Why?\tno{i}\t1\n'
    for i in range(count)
  ).encode()


def folder(tmp_path, files):
  for name, data in files.items():
    (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / name).write_bytes(data)
  return str(tmp_path)


def archive(path, members, compression='gz'):
  with tarfile.open(path, f'w:{compression}') as tar:
    for name, data in members.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      tar.addfile(member, io.BytesIO(data))
  return str(path)


def test_a_file():
  first, second, third = read_stories(STORY, 1, 'x')
  told = (('mary', 'moved', 'to', 'the', 'bathroom'), ('john', 'went', 'to', 'the', 'hallway'))
  assert first == (told, ('where', 'is', 'mary'), 'bathroom', (0,), 1, 0)
  # Questions are no sentences: line 4 is the third one.
  assert second.story == (*told, ('mary', 'got', 'the', 'milk'))
  assert second.supports == (2, 1) and second.answer == 'milk,football'
  assert third.number == 1 and third.question == ('where', 'is', 'daniel')
  assert third.story == (('daniel', 'went', 'back', 'to', 'the', 'hallway'),)


def test_words():
  assert words_of(' Where is  Mary ? ') == ('where', 'is', 'mary')
  assert words_of('.') == ()


@pytest.mark.parametrize('data', [b'2 Mary sat.\n', b'1\n', b'x y\n'])
def test_a_line_that_is_none_of_babi(data):
  with pytest.raises(InputError, match='x, line 1 is'):
    read_stories(data, 1, 'x')


@pytest.mark.parametrize('line', [b'Where is Mary?\t \t1', b'?\tkitchen\t1', b'.'])
def test_a_line_lacks_what_it_must_have(line):
  with pytest.raises(InputError, match=r'x, line 2 is .* expected a sentence, or a question with'):
    read_stories(b'1 Mary sat.\n2 ' + line + b'\n3 Who?\tmary\t1\n', 1, 'x')


def test_a_question_follows_a_sentence():
  with pytest.raises(InputError, match=r'x, line 1 is .* expected a sentence before'):
    read_stories(b'1 Where is Mary?\tkitchen\t1\n', 1, 'x')


def test_a_file_without_a_question():
  with pytest.raises(InputError, match='x has no question'):
    read_stories(b'1 Mary sat.\n', 1, 'x')


def test_a_tenth_of_the_stories_is_held_out_whole():
  questions = read_stories(stories(30), 1, 'x')
  train, valid = hold_out(questions, 'x')
  assert (len(train), len(valid)) == (54, 6)
  assert not {q.number for q in train} & {q.number for q in valid}
  assert hold_out(questions, 'x') == (train, valid)
  with pytest.raises(InputError, match='x has 1 story, expected 2 or more'):
    hold_out(questions[:2], 'x')


def test_folders_and_archives_are_read_alike(tmp_path):
  files = {f'en/{TRAIN}': stories(10), f'en/{TEST}': stories(2), 'en/LICENSE': b''}
  of_folder = load_babi(folder(tmp_path / 'tasks', files))
  assert of_folder == load_babi(archive(tmp_path / 'tasks.tar.gz', files))
  assert of_folder == load_babi(str(tmp_path / 'tasks' / 'en'))
  assert of_folder.tasks == (1,) and of_folder.missing == tuple(range(2, 21))
  assert {name: len(split) for name, split in of_folder.splits.items()} == {
    'train': 18,
    'valid': 2,
    'test': 4,
  }


def test_a_folder_in_an_archive(tmp_path):
  path = archive(
    tmp_path / 'tasks.tar.gz',
    {
      f'tasks/{name}/{file}': stories(count)
      for name, count in (('en', 10), ('en-10k', 20), ('shuffled', 30))
      for file in (TRAIN, TEST)
    },
  )
  for name in ('en-10k', 'tasks/en-10k', 'tasks/en-10k/'):
    assert len(load_babi(f'{path}/{name}').splits['test']) == 40
  named = f'{path}/tasks/en or {path}/tasks/en-10k or {path}/tasks/shuffled'
  with pytest.raises(
    InputError, match=rf'files of bAbI in 3 folders .*; name one of them, {named}$'
  ):
    load_babi(path)
  with pytest.raises(InputError, match=rf'/10k has no file of bAbI.*; name one of them, {named}$'):
    load_babi(f'{path}/10k')


def test_two_files_of_a_task_are_told(tmp_path):
  files = {TRAIN: stories(10), TEST: stories(2), 'qa1_x_train.txt': stories(3)}
  said = rf'has {TRAIN} and qa1_x_train.txt, expected one train file of task 1'
  for path in (folder(tmp_path / 'tasks', files), archive(tmp_path / 'tasks.tar.gz', files)):
    with pytest.raises(InputError, match=said):
      load_babi(path)


def test_an_archive_is_only_read(tmp_path):
  files = {f'../../{TRAIN}': stories(10), f'../../{TEST}': stories(2)}
  assert load_babi(archive(tmp_path / 'a.tar.gz', files)).tasks == (1,)
  assert [path.name for path in tmp_path.iterdir()] == ['a.tar.gz']


def test_what_cannot_be_read_is_said(tmp_path):
  path = folder(tmp_path, {TEST: stories(2), 'qa2_x_train.txt': b'', 'qa2_x_test.txt': b''})
  with pytest.raises(InputError, match=r'no training file of task 1, expected qa1_..._train'):
    load_babi(path, '1')
  with pytest.raises(InputError, match=r'no training file of task 3.*has those of tasks 2\)'):
    load_babi(path, '2,3')
  with pytest.raises(InputError, match='task 2, train has no question'):
    load_babi(path)
  with pytest.raises(FileNotFoundError, match='there is no file or folder'):
    load_babi(f'{path}/nowhere')
  (tmp_path / 'hn').mkdir()
  (tmp_path / 'hn' / TRAIN).write_bytes(b'')
  with pytest.raises(InputError, match=r'files of bAbI in 2 folders \(\., hn\)'):
    load_babi(path)
  with pytest.raises(InputError, match='has no file of bAbI'):
    load_babi(archive(tmp_path / 'empty.tar.gz', {'x': b''}))
  whole = (tmp_path / 'empty.tar.gz').read_bytes()
  (tmp_path / 'cut.tar.gz').write_bytes(whole[: len(whole) // 2])
  with pytest.raises(InputError, match='is not a whole tar archive'):
    load_babi(str(tmp_path / 'cut.tar.gz'))
  (tmp_path / 'none.tar.gz').write_bytes(b'no archive')
  with pytest.raises(InputError, match='is not a whole tar archive') as raised:
    load_babi(str(tmp_path / 'none.tar.gz'))
  assert '\n' not in str(raised.value)


@pytest.mark.parametrize('compression', ['gz', 'bz2', 'xz'])
def test_a_damaged_archive_is_told(compression, tmp_path):
  path = tmp_path / 'babi'
  archive(path, {TRAIN: stories(40), TEST: stories(40)}, compression)
  whole = path.read_bytes()
  # The first bytes of a gzip file hold its name and its time, which no checksum covers.
  for place in range(len(whole) // 4, len(whole), len(whole) // 25):
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
    with pytest.raises(InputError, match=r'babi is not a whole tar archive \(.+\)$'):
      load_babi(str(path))


def test_a_damaged_header_is_no_end(tmp_path):
  files = {TRAIN: stories(10), TEST: stories(2), 'qa2_x_train.txt': stories(2)}
  path = tmp_path / 'babi.tar'
  archive(path, files, '')
  path.write_bytes(path.read_bytes().replace(b'qa2', b'qa3'))
  with pytest.raises(InputError, match=r'is not a whole tar archive \(bad header\)'):
    load_babi(str(path))


def test_a_folder_of_archives_is_told_from_one_of_files(tmp_path):
  archive(tmp_path / 'en.tar.gz', {TRAIN: stories(2)})
  with pytest.raises(InputError, match=r'has no file of bAbI.*; or name its archive .*en\.tar\.gz'):
    load_babi(str(tmp_path))


@pytest.mark.parametrize('text', ['', '0', '21', '1,x', 'everything'])
def test_tasks_that_are_none(text):
  with pytest.raises(InputError, match=r'data\.tasks is'):
    read_tasks(text)


def test_tasks():
  assert read_tasks('3, 1,3') == (1, 3) and len(read_tasks('all')) == 20


def test_the_real_archives(data_dir):
  small = load_babi(str(data_dir / 'babi' / 'babi_v1.2_en.tar.gz'))
  assert small.tasks == tuple(range(1, 21)) and not small.missing
  assert len(small.splits['test']) == 20_000
  assert len(small.splits['train']) + len(small.splits['valid']) == 20_000
  large = str(data_dir / 'babi' / 'babi_v1.2_en-10k.tar.gz')
  with pytest.raises(InputError, match='no training file of task 3'):
    load_babi(large, '3')
