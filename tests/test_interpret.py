"""Looking inside of a trained language model: its modes, from the command line and from Python."""

import csv
import json
import re

import numpy as np
import pytest
from launching import prose

from rnn_research import workdir as workdirs
from rnn_research.analysis.measures.recording import Unit
from rnn_research.analysis.measures.unit_search import FEWEST
from rnn_research.analysis.reports import interpretation
from rnn_research.analysis.reports.activation_page import TOP
from rnn_research.data.codec import TextCodec
from rnn_research.data.running_text import UNKNOWN, UNKNOWN_BYTE
from rnn_research.errors import InputError
from rnn_research.tasks.language import verify as verify_lib
from rnn_research.tasks.language.clamps import read_clamps
from rnn_research.tasks.language.labelled_text import read_labelled_text

OWN = '''
def after_the_fox(text):
  """Whether the last word of an animal is fox."""
  import numpy as np
  animal, found = False, []
  for i in range(len(text)):
    if text[: i + 1].endswith(('fox', 'dog')):
      animal = text[i] == 'x'
    found.append(animal)
  return np.array(found)


ENDS = {'after_the_fox': 'dog'}
'''


@pytest.fixture(autouse=True)
def short_figures(monkeypatch):
  """Most of the time of a figure is that of its symbols."""
  monkeypatch.setattr(interpretation, '_STRETCH', 100)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Returns a text that is long enough, and a file of one concept."""
  folder = tmp_path_factory.mktemp('texts')
  (folder / 'long.txt').write_text(prose(6000, seed=3)[:FEWEST], 'utf-8')
  (folder / 'own.py').write_text(OWN, 'utf-8')
  return folder / 'long.txt', folder / 'own.py'


def test_the_mode_prints_a_table_and_writes_pages(workdir, files, main):
  text, own = files
  code, out, err = main(
    f'--workdir={workdir}', '--mode=interpret', f'--text={text}', f'--concepts={own}'
  )
  assert code == 0
  head, *lines = out.strip().splitlines()
  assert re.split('  +', head)[:5] == ['concept', 'unit', 'score', 'untrained', 'q']
  names = [re.split('  +', line)[0] for line in lines]
  assert {'after the fox', 'position in word', 'start of a word'} <= set(names)
  assert f'8 units were tried for {len(names)} concepts' in err
  assert f'nats per symbol on the {FEWEST:,} symbols' in err
  assert 'read as prose' in err and 'Not searched, too rare' in err and 'inside quotes' in err
  folder = workdir / 'report' / 'units'
  assert f'in colour: {folder}/units.html' in err
  assert '<html' in (folder / 'units.html').read_text('utf-8')
  rows = list(csv.DictReader((folder / 'units.csv').read_text('utf-8').splitlines()))
  assert [row['concept'] for row in rows] == names
  page = (folder / 'README.md').read_text('utf-8')
  assert all(f'| {name} |' in page for name in names)
  for figure in re.findall(r'\]\((\w+\.png)\)', page):
    assert (folder / figure).read_bytes().startswith(b'\x89PNG')


def test_a_text_starts_where_the_training_text_is_read(trained, files):
  run, text = workdirs.load(trained), files[0].read_text('utf-8')
  made = run.interpret(str(files[0]))
  assert made.labelled.text == text
  word = made.labelled.labels[[c.name for c in made.labelled.concepts].index('start of a word')]
  np.testing.assert_array_equal(word, [symbol.isspace() for symbol in text])
  log_probs = run.score(text)
  np.testing.assert_allclose(made.recording.log_probs[:-1], log_probs, atol=1e-4)
  assert made.recording.values.shape == (len(text), 8)


@pytest.fixture
def quick(monkeypatch):
  for name, value in (
    ('PEERS', 2),
    ('ABLATED', 600),
    ('WINDOW', 30),
    ('PAIRS', 4),
    ('TEXTS', 2),
    ('LENGTH', 40),
  ):
    monkeypatch.setattr(verify_lib, name, value)


def test_what_was_found_is_verified(workdir, files, main, quick):
  text, own = files
  code, out, err = main(
    f'--workdir={workdir}', '--mode=verify', f'--text={text}', f'--concepts={own}'
  )
  assert code == 0
  head, *lines = out.strip().splitlines()
  assert head.startswith('concept') and lines
  table = (workdir / 'report' / 'units' / 'verified.md').read_text('utf-8')
  assert table.startswith('# char_lm:debug\n\n| concept |')
  assert table.count('\n| ') == len(lines) + 2 and 'written to' in err
  run = workdirs.load(workdir)
  made = run.interpret(str(text), concepts=str(own))
  for one in run.verify(made):
    assert np.isfinite(one.ablation[1:]).all() and one.ablation.relevant > 0
    assert one.patching is None or 0 <= one.patching.unit <= 1
    if one.found.concept == 'after the fox':
      assert one.holding is not None


def test_a_text_of_ones_own_is_coloured_by_a_unit(trained, files):
  run = workdirs.load(trained)
  made = run.interpret(str(files[0]))
  shown = run.activations(made.labelled.text[:40], '1:h3')
  assert f'{shown!r}'.startswith('activations of 1:h3 over 40 symbols')
  titles = re.findall(r'title="[^"]*: (-?[.0-9]+)"', shown._repr_html_())
  expected = made.recording.values[:40, made.recording.units.index(Unit(1, 'h', 3))]
  np.testing.assert_allclose(np.array(titles, float), expected, atol=0.006)
  assert shown._repr_html_().count('%">') == 40 * TOP  # what is expected next


@pytest.mark.parametrize(
  ('read', 'unit', 'said'),
  [
    ('', '1:h3', "the text is '', expected a symbol at least"),
    ('fox', 'h3', "the unit is 'h3', expected 'layer:unit' such as '1:c23'"),
    ('fox', '1:h8', 'the unit of h is 8, expected 0 to 7'),
    ('fox', '2:h3', 'the layer of a unit is 2, expected 1 to 1'),
  ],
)
def test_a_text_or_unit_that_cannot_be_shown_is_refused(read, unit, said, trained):
  with pytest.raises(InputError, match=f'^{re.escape(said)}'):
    workdirs.load(trained).activations(read, unit)


def test_a_unit_that_the_model_reads_costs_loss_and_a_dead_one_nothing(trained, files, quick):
  run = workdirs.load(trained)
  made = run.interpret(str(files[0]))
  params = {**run.params, 'head': {**run.params['head']}}
  found = made.found[0]
  cells = run.params['cells'][0]
  dead = cells._replace(w_h=np.array(cells.w_h))
  dead.w_h[found.unit.place] = 0.0
  params['cells'] = (dead,)
  params['head']['w'] = np.array(run.params['head']['w'])
  params['head']['w'][found.unit.place] = 0.0
  only = made._replace(found=(found._replace(q=0.0, untrained=0.0),))
  (alive,) = run.verify(only)
  (silent,) = run.experiment.commands['verify'](params, only)
  assert abs(alive.ablation.everywhere) > 1e-3
  # A held GRU unit is read by nothing but itself.
  assert abs(silent.ablation.everywhere) < 1e-5


def test_errors_are_compared_with_ngrams(workdir, main):
  code, out, err = main(f'--workdir={workdir}', '--mode=errors', '--order=3')
  assert code == 0
  lines = dict(re.split('  +', line.strip(), maxsplit=1) for line in out.strip().splitlines())
  assert {'nats per symbol', 'of 3-grams', '3-gram oracle', 'the rest'} <= lines.keys()
  shares = [float(value.rstrip('%')) for value in lines.values() if value.endswith('%')]
  assert sum(shares) == pytest.approx(100, abs=1)
  assert (workdir / 'report' / 'errors' / 'README.md').exists() and 'written to' in err


def test_a_clamped_unit_changes_what_is_written(trained):
  run = workdirs.load(trained)
  plain = run.sample('the ', length=60, seed=1)
  assert run.sample('the ', length=60, seed=1, clamp='1:h3=5,1:h4=-5') != plain
  state = run.trace(num_steps=10)[0].states['h']
  assert np.abs(state).max() <= 1  # which none of these values is


def test_a_clamp_from_the_command_line(workdir, main):
  flags = (f'--workdir={workdir}', '--mode=sample', '--prompt=the ', '--length=50')
  code, out, _ = main(*flags, '--clamp=1:h3=5')
  assert code == 0 and out != main(*flags)[1]


def test_clamps_are_read():
  assert read_clamps('1:c23=2.5, 2:0.h4=-1e-1, 1:h3=+1e+1') == (
    [Unit(1, 'c', 23), Unit(2, '0.h', 4), Unit(1, 'h', 3)],
    [2.5, -0.1, 10.0],
  )


@pytest.mark.parametrize(
  'clamp',
  ['h3=1', '1:h=1', '1:h3', '1:h3=x', ' ', '1:h3=1,2', '1:h3=nan', '1:h3=1e400', '1:h3=1,1:h3=2'],
)
def test_what_is_no_clamp_is_refused(clamp):
  with pytest.raises(InputError, match=r"^clamp is .*, expected 'layer:unit=value'"):
    read_clamps(clamp)


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    (['--mode=sample', '--clamp=1:c3=1'], "1:c3: the state of the layer has no 'c'"),
    (['--mode=sample', '--clamp=2:h3=1'], 'the layer of a unit is 2, expected 1 to 1'),
    (['--mode=sample', '--clamp=1:h99=1'], 'the unit of h is 99, expected 0 to 7'),
    (['--mode=interpret'], f'symbols, expected {FEWEST:,} at least'),
    (['--mode=interpret', '--length=9'], f'length is 9, expected an integer >= {FEWEST}'),
    (['--mode=interpret', '--text=no.txt'], 'text: '),
    (['--mode=interpret', '--text=LATIN'], 'name.txt is not UTF-8 (byte 0xe9'),
    (['--mode=interpret', '--text=LINES'], 'has no concept often enough'),
    (['--mode=verify', '--text=LONG', '--language=perl'], "language is 'perl', expected one of"),
    (['--mode=interpret', '--text=LONG', '--concepts=no.py'], 'no.py'),
    (['--mode=errors', '--order=21'], 'order is 21, expected an integer in [1, 20]'),
    (['--mode=errors', '--length=1'], 'length is 1, expected an integer >= 2'),
  ],
)
def test_mistakes_are_refused_in_one_sentence(flags, said, workdir, files, main, tmp_path):
  (tmp_path / 'name.txt').write_bytes('café'.encode('latin-1'))
  (tmp_path / 'lines.txt').write_text('\n' * FEWEST)
  places = {'LONG': files[0], 'LATIN': tmp_path / 'name.txt', 'LINES': tmp_path / 'lines.txt'}
  for name, place in places.items():
    flags = [flag.replace(name, str(place)) for flag in flags]
  code, out, err = main(f'--workdir={workdir}', *flags)
  assert code == 1 and not out
  assert err.strip().splitlines()[-1].startswith('error: ') and said in err.splitlines()[-1]


@pytest.mark.parametrize(
  ('body', 'said'),
  [
    ('def short(text): return [True]', 'a label for each character'),
    ('def never(text):\n  return [False] * len(text)', 'never occurs'),
    (
      'def once(text):\n  return [300 < i < 600 for i in range(len(text))]',
      'is too rare in this text',
    ),
    ('x = 1', 'no'),
    ('raise SystemExit(3)', 'SystemExit: 3'),
    ('def ends(text):\n  return [c == "a" for c in text]\nENDS = {"ends": b"x"}', "ENDS['ends']"),
    (
      'def ends(text):\n  return [c == "a" for c in text]\nENDS = {"ends": "a*"}',
      'matches a symbol',
    ),
    ('def start_of_a_word(text):\n  return [c == "a" for c in text]', 'is there already'),
  ],
)
def test_concepts_of_ones_own_that_do_not_fit_are_refused(
  body, said, workdir, files, main, tmp_path
):
  (tmp_path / 'mine.py').write_text(body)
  code, _, err = main(
    *(f'--workdir={workdir}', '--mode=interpret'),
    *(f'--text={files[0]}', f'--concepts={tmp_path}/mine.py'),
  )
  assert code == 1 and said in err.splitlines()[-1]


def test_words_are_refused():
  codec = TextCodec('text', 'word', ('a', 'b', UNKNOWN))
  with pytest.raises(InputError, match=r"^data\.unit is 'word', expected char or byte"):
    read_labelled_text(codec, dict, '', FEWEST, '', 'auto')


def test_bytes_are_characters_of_their_number():
  codec = TextCodec('text', 'byte', (*range(256), UNKNOWN_BYTE))
  ids = np.frombuffer('"né" so\n'.encode() * FEWEST, np.uint8).astype(np.int32)
  made = read_labelled_text(codec, lambda: {'test': ids}, '', FEWEST, '', 'prose')
  assert made.text[:5] == '"n\u00c3\u00a9"' and len(made.text) == FEWEST
  inside = made.labels[[c.name for c in made.concepts].index('inside quotes')]
  assert inside[:9].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_a_unit_without_peers_is_compared_with_none():
  np.testing.assert_array_equal(verify_lib._of_peers(np.array([3.0])), [np.nan])
  np.testing.assert_array_equal(verify_lib._of_peers(np.array([3.0, 1.0, 2.0])), [1.0, 2.0])


def test_what_ends_a_concept_counts_where_it_holds():
  text = 'a. (b) c) (d) e)'
  inside = np.array([c == '1' for c in '0001100000111110'], np.float32)
  ended = verify_lib._ended(text, r'\)|(?=b)', inside)
  assert np.flatnonzero(ended).tolist() == [5, 15]  # at 12 it goes on to hold
  place = np.array([0, 1, 2, 3, 0, 1], np.float32)  # falls after what ends it
  assert np.flatnonzero(verify_lib._ended('ab. cd', r'\.', place)).tolist() == []
  assert np.flatnonzero(verify_lib._ended('abc. d', r'\.', place)).tolist() == [3]


@pytest.mark.parametrize(
  ('labels', 'expected'),
  [
    ([0] * 95 + [1, 2, 1, 2, 2], (5, 0)),  # nine of ten are 0
    ([3] * 95 + [1, 2, 1, 2, 2], (0, 5)),
    (list(range(100)), None),
  ],
)
def test_levels_are_those_of_great_and_small_numbers(labels, expected):
  labels = np.array(labels, np.float32)
  values = np.array([0.0] * 95 + [5.0] * 5) if expected else labels
  found = verify_lib._levels(values, labels, False)
  assert found == (expected or (94.5, 4.5))


def test_lines_that_do_not_parse_are_counted():
  symbols = sorted(set(map(chr, range(32, 127))) | {'\n'})
  codec = TextCodec('text', 'char', (*symbols, UNKNOWN))
  text = 'def f(a):\n  return (a)  # it\nprint "no"\n' * FEWEST
  made = read_labelled_text(codec, lambda: {'test': codec.encode(text)}, '', FEWEST, '', 'python')
  assert made.unparsed == made.text.count('print') and json.dumps(made.skipped)
