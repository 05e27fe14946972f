"""The files of numbers a run leaves, and what a person sees of it."""

import json
import math
import pty
import subprocess
import sys

import numpy as np
import pytest

from rnn_research.training import metrics_log, progress, result


def write_steps(workdir, steps, start=0, **options):
  log = metrics_log.open_log(workdir, start, **options)
  for step in steps:
    log.write(step, {'train/loss': 1 / step})
  log.close()


def test_lines(tmp_path):
  write_steps(tmp_path, [1, 3])
  assert metrics_log.read_log(tmp_path) == [
    {'step': 1, 'train/loss': 1.0},
    {'step': 3, 'train/loss': 1 / 3},
  ]


def test_a_line_is_on_disk_when_write_returns(tmp_path):
  log = metrics_log.open_log(tmp_path, 0)
  log.write(1, {'loss': np.float32(0.5), 'bad': math.nan})
  assert (tmp_path / 'metrics.jsonl').read_text() == '{"step": 1, "loss": 0.5, "bad": null}\n'


def test_a_resumed_run_has_the_lines_of_an_uninterrupted_one(tmp_path):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  whole.mkdir()
  parts.mkdir()
  write_steps(whole, range(1, 9))
  write_steps(parts, range(1, 7))
  with open(parts / 'metrics.jsonl', 'a') as f:
    f.write('{"step": 7, "train/lo')
  write_steps(parts, range(5, 9), start=4)
  assert (whole / 'metrics.jsonl').read_bytes() == (parts / 'metrics.jsonl').read_bytes()


DAMAGE = [
  b'',
  b'  ',
  b'{"step": 2, "train/lo',
  b'null',
  b'[1, 2]',
  b'{"loss": 1.0}',
  b'{"step": "2"}',
  b'\x00\x00\x00',
  b'{"step": 2, "sample": "\xff"}',
  b'{"step": 2}{"step": 3}',
]


@pytest.mark.parametrize('damage', DAMAGE)
def test_a_damaged_line_is_dropped_with_a_warning(tmp_path, damage, capsys):
  write_steps(tmp_path, [1, 3])
  path = tmp_path / 'metrics.jsonl'
  first, last = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(first + damage + b'\n' + last)
  said = f'warning: {path} is damaged and read without line 2\n'
  assert [row['step'] for row in metrics_log.read_log(tmp_path)] == [1, 3]
  assert capsys.readouterr().err == said
  write_steps(tmp_path, [4], start=3)
  assert capsys.readouterr().err == said
  assert [row['step'] for row in metrics_log.read_log(tmp_path)] == [1, 3, 4]
  assert path.read_bytes().startswith(first + last)
  assert capsys.readouterr().err == ''


@pytest.mark.parametrize('name', ['train/finite/0', 'valid/mse/0'])
def test_a_grid_of_an_earlier_version_is_refused(tmp_path, name):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(json.dumps({'step': 1, name: 1.0}) + '\n')
  before = path.read_bytes()
  for read in (metrics_log.read_log, lambda folder: metrics_log.open_log(folder, 1)):
    with pytest.raises(ValueError, match=r'metrics.jsonl is of a grid of an earlier version'):
      read(tmp_path)
  assert path.read_bytes() == before


def test_any_text_comes_back(tmp_path):
  log = metrics_log.open_log(tmp_path, 0)
  log.write(1, {'sample': 'a\u2028b\x0cc\r\nd\x85'})
  before = metrics_log.read_log(tmp_path)
  assert before[0]['sample'] == 'a\u2028b\x0cc\r\nd\x85'
  metrics_log.open_log(tmp_path, 1)
  assert metrics_log.read_log(tmp_path) == before


def test_tensorboard(tmp_path):
  pytest.importorskip('tensorboardX')
  log = metrics_log.open_log(tmp_path, 0, tensorboard=True)
  log.write(1, {'train/loss': 0.5, 'sample': 'to be or', 'valid/mse_members': [0.5, math.nan]})
  log.close()
  written = b''.join(p.read_bytes() for p in (tmp_path / 'tensorboard').iterdir())
  assert b'train/loss' in written
  assert b'valid/mse_members/0' in written
  assert b'valid/mse_members/1' in written
  assert b'to be or' in written


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
  write_steps(tmp_path, [1, 2])
  before = (tmp_path / 'metrics.jsonl').read_bytes()
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with pytest.raises(ValueError, match='need tensorboardX: pip install'):
    metrics_log.open_log(tmp_path, 1, tensorboard=True)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == before


def test_no_log_yet(tmp_path):
  assert metrics_log.read_log(tmp_path) == []


def test_plain_lines(capsys, monkeypatch):
  now = [100.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  display = progress.open_display(100, 'characters')
  for step in range(1, 13):
    display.update(step, 2.5, 12345.6)
    now[0] += 1
  display.show('valid 1.25')
  display.close()
  assert capsys.readouterr().out.splitlines() == [
    'step 1/100  loss 2.5000  12,346 characters/s',
    'step 6/100  loss 2.5000  12,346 characters/s  0:01:34 left',
    'step 11/100  loss 2.5000  12,346 characters/s  0:01:29 left',
    'valid 1.25',
  ]


@pytest.mark.parametrize(('total', 'said'), [(400, False), (4000, True)])
def test_what_takes_long_is_said_once_its_pace_is_known(total, said, capsys, monkeypatch):
  now = [100.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  display = progress.open_if_long(total, 'predictions')
  for done in range(100, 500, 100):
    display.update(done)
    now[0] += 10 if done < 400 else 0
  display.close()
  out, err = capsys.readouterr()
  expected = [
    '4,000 predictions take about 0:06:40',
    'predictions 200/4000  10.0 predictions/s  0:06:20 left',
  ]
  assert (out, err.splitlines()[:2]) == ('', expected if said else [])


def test_batches_that_take_long_are_said(capsys, monkeypatch):
  now = [100.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  batches = [(range(start, start + 2), start) for start in range(0, 8, 2)]
  for (places, batch), expected in zip(
    progress.watched(iter(batches), 8, 'sentences'), batches, strict=True
  ):
    assert (places, batch) == expected
    now[0] += 60
  out, err = capsys.readouterr()
  assert (out, err.splitlines()[0]) == ('', '8 sentences take about 0:04:00')


ON_TERMINAL = """
from rnn_research.training import progress
display = progress.open_display(10, 'characters')
for step in range(1, 11):
  display.update(step, 2.5, 1000.0)
  if step == 5:
    display.show('a [bold] sample\\nin two lines')
display.close()
"""


STOPPED = """
from rnn_research.training import progress
progress._LONG = -1.0
try:
  for _, number in progress.watched(((range(5), n) for n in range(4)), 20, 'pairs'):
    if number == 2:
      raise KeyboardInterrupt
except KeyboardInterrupt:
  print('interrupted')
"""


WITHIN = """
import contextlib
from rnn_research.training import progress
with contextlib.closing(progress.open_display(10, 'characters')) as display:
  for step in range(1, 11):
    display.update(step, 2.5, 1000.0)
    if step == 5:
      with contextlib.closing(progress.open_counter(7, 'pairs')) as counter:
        for done in range(1, 8):
          counter.update(done)
with contextlib.closing(progress.open_counter(3, 'photos')) as counter:
  counter.update(3)
"""


def on_terminal(code):
  """Returns what a program writes to a terminal."""
  ours, theirs = pty.openpty()
  env = {
    'TERM': 'xterm',
    'COLUMNS': '120',
    'PYTHONPATH': ':'.join(sys.path),
    'JAX_PLATFORMS': 'cpu',
  }
  with subprocess.Popen(
    [sys.executable, '-c', code], stdout=theirs, stderr=theirs, env=env
  ) as process:
    process.wait(60)
  with open(theirs, 'wb') as end:
    end.write(b'\nEND')
  with open(ours, 'rb', buffering=0) as f:
    out = b''
    while not out.endswith(b'END'):
      out += f.read(4096)
  return out.decode()


def test_a_bar_on_a_terminal():
  text = on_terminal(ON_TERMINAL)
  assert 'a [bold] sample\r\nin two lines' in text
  assert '10/10' in text
  assert '0:00:00 left' in text


def test_a_bar_within_the_time_of_another_has_a_line_of_its_own():
  text = on_terminal(WITHIN)
  # One display for both, and one for what comes when it has ended.
  assert text.count('\x1b[?25l') == text.count('\x1b[?25h') == 2
  end_of_first = text.index('\x1b[?25h')
  last = text[:end_of_first].rindex('10/10')
  assert '/7' in text[:last]
  assert '/7' not in text[last:]
  assert '3/3' in text[end_of_first:]


def test_a_bar_that_is_left_gives_the_cursor_back():
  text = on_terminal(STOPPED)
  assert '20 pairs take about' in text
  assert text.count('\x1b[?25l') == 1
  assert '\x1b[?25h' in text[: text.index('interrupted')]


def test_an_output_that_knows_ascii_only():
  env = {'PYTHONPATH': ':'.join(sys.path), 'PYTHONIOENCODING': 'ascii'}
  code = "from rnn_research.training.progress import show; show('caf\\u00e9')"
  assert (
    subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, check=True).stdout
    == b'caf?\n'
  )


def test_json_is_replaced_as_a_whole_and_strict(tmp_path):
  path = tmp_path / 'result.json'
  value = {
    'loss': np.float32(0.5),
    'seeds': np.arange(2),
    'inf': -math.inf,
    'by': {'valid': (1, None)},
  }
  result.write_json(path, value)
  assert json.loads(path.read_text()) == {
    'loss': 0.5,
    'seeds': [0, 1],
    'inf': None,
    'by': {'valid': [1, None]},
  }
  with pytest.raises(TypeError):
    result.write_json(path, {'bad': object()})
  (tmp_path / 'link').hardlink_to(path)
  result.write_json(path, {'loss': 0.25})
  assert json.loads((tmp_path / 'link').read_text())['loss'] == 0.5, 'the old file was written over'
  (tmp_path / 'link').unlink()
  assert [p.name for p in tmp_path.iterdir()] == ['result.json']


def test_versions_and_hash():
  assert set(result.versions()) >= {
    'python',
    'jax',
    'jaxlib',
    'flax',
    'optax',
    'orbax-checkpoint',
    'numpy',
  }
  assert result.git_hash() is None or len(result.git_hash().removesuffix('-dirty')) == 40
