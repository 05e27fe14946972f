"""Comparisons with n-grams against loops and sentences read by hand, and their figures."""

import csv

import numpy as np
import pytest

from rnn_research.analysis.measures import kneser_ney, text_errors
from rnn_research.analysis.reports import error_figures, sections
from rnn_research.data.codec import train_text_codec
from rnn_research.errors import InputError

PROSE = '"Well, (as he said) Mary went."\r\nMary saw Mary, and [no one] saw "the Mary." '


def random_log_probs(*shape):
  return np.log(np.random.default_rng(0).uniform(0.05, 1.0, shape))


def test_an_error_is_less_than_one_half():
  log_probs = np.log(np.array([0.49999, 0.5, 0.50001, 1.0]))
  np.testing.assert_array_equal(text_errors.errors(log_probs), [True, False, False, False])


def test_gains_are_means_per_label_in_order():
  labels, log_probs = np.array([*'abcabcaab']), random_log_probs(2, 9)
  found = text_errors.gains(labels, log_probs)
  assert sorted(found.labels) == ['a', 'b', 'c']
  for label, count, probs, logs in zip(
    found.labels, found.counts, found.probs.T, found.log_probs.T, strict=True
  ):
    chosen = [i for i in range(9) if labels[i] == label]
    assert count == len(chosen)
    np.testing.assert_allclose(probs, np.mean([np.exp(log_probs[:, i]) for i in chosen], 0))
    np.testing.assert_allclose(logs, np.mean([log_probs[:, i] for i in chosen], 0))
  assert np.all(np.diff(found.probs[0] - found.probs[1]) < 0)


@pytest.mark.parametrize(
  'characters, name',
  [
    ('\r\n', 'line end'),
    (' \t', 'space'),
    ('"\'\u201d', 'quote'),
    ('()[]{}', 'bracket'),
    ('07', 'digit'),
    ('A\u00c9', 'capital'),
    ('a\u00e9\u4e2d', 'letter'),
    ('.,;<-\ufffd', 'other sign'),
  ],
)
def test_classes(characters, name):
  assert {text_errors.character_class(c) for c in characters} == {name}


def test_an_error_is_counted_under_its_first_cause():
  errors = np.array([1, 1, 1, 1, 0, 1], bool)
  causes = {
    'first': np.array([1, 0, 0, 0, 1, 0], bool),
    'second': np.array([1, 1, 1, 0, 1, 0], bool),
  }
  assert text_errors.breakdown(errors, causes) == {'first': 1, 'second': 2, 'the rest': 2}


def test_words_are_found_again_from_their_second_letter_on():
  since = text_errors.since_same_word('Mary saw mary, Mary_ (saw) Mary a a')
  expected = np.full(35, np.inf)
  expected[10:13] = np.inf  # mary is not Mary, nor is Mary_
  expected[23:25] = 22 - 5  # saw
  expected[28:31] = 27 - 0  # Mary
  np.testing.assert_array_equal(since, expected)


def test_words_are_counted_in_the_training_text():
  counts = text_errors.word_counts('on a bit, xy', 'a bit of a bitter on-on a')
  expected = [2, 2, np.inf, 3, np.inf, 1, 1, 1, np.inf, np.inf, 0, 0]
  np.testing.assert_array_equal(counts, expected)


def test_causes_touch_what_they_name():
  text, train = 'ab "cd." ab', 6 * 'ab ' + 5 * 'cd '
  causes = text_errors.causes_of(text, train)
  places = lambda cause: np.flatnonzero(causes[cause]).tolist()
  assert places('word repeated within 100') == places('word repeated within 5,000') == [10]
  assert places('word seen 5 times or less') == [4, 5]
  assert places('after a space, quote or line end') == [0, 3, 4, 8, 9]
  assert places('punctuation') == [3, 6, 7]


@pytest.mark.parametrize(
  'text, expected',
  [
    ('a(b[c]d)', {5: 2, 7: 6}),
    ('((x) y)', {3: 2, 6: 6}),
    (') [x) ]', {6: 4}),  # nothing to close
    ('"a" "b"', {2: 2, 6: 2}),
    ('"a (\n b\r\n\r\n"c")', {13: 2}),  # an empty line closes all
    ('\u201cx \u201cy\u201d\u201d \u00abz\u00bb', {5: 2, 6: 6, 10: 2}),
    ('{x\n}', {3: 3}),
    ('', {}),
  ],
)
def test_openers(text, expected):
  since = text_errors.since_opener(text)
  assert {i: since[i] for i in np.flatnonzero(since)} == expected and len(since) == len(text)


def test_bins_of_distance():
  rng = np.random.default_rng(1)
  targets, distances = rng.choice([*')"x'], 300), rng.integers(0, 40, 300)
  log_probs, edges = random_log_probs(2, 300), (1, 2, 5, 30, 35)
  found = text_errors.by_distance(log_probs, targets, distances, edges)
  assert [*found] == ['"', ')', 'x']
  for closer, bins in found.items():
    for k in range(4):
      chosen = [
        i for i in range(300) if targets[i] == closer and edges[k] <= distances[i] < edges[k + 1]
      ]
      assert bins.counts[k] == len(chosen)
      np.testing.assert_allclose(
        bins.log_probs[:, k], [np.mean(row[chosen]) if chosen else np.nan for row in log_probs]
      )


def test_empty_bins_are_no_numbers():
  bins = text_errors.by_distance(random_log_probs(2, 1), np.array(['"']), np.array([7]), (1, 5, 9))
  np.testing.assert_array_equal(bins['"'].counts, [0, 1])
  assert np.isnan(bins['"'].log_probs[:, 0]).all()


@pytest.fixture(scope='module')
def comparison():
  """Returns a 4-gram in the place of a recurrent model, compared with n-grams up to order 5."""
  codec = train_text_codec(PROSE * 20, 'char')
  train, held_out = codec.encode(PROSE * 20), codec.encode(PROSE + 'Zebra (' + PROSE)
  model = kneser_ney.train(train, 4, len(codec.symbols))
  mine = kneser_ney.log_probs(model, held_out[1:], held_out[:1])
  return mine, text_errors.compare(held_out, mine, train, codec, 5)


def test_a_model_is_compared_with_itself(comparison):
  mine, found = comparison
  assert found.predictions == len(mine) == found.symbols.counts.sum() == found.classes.counts.sum()
  assert found.nats == pytest.approx(-mine.mean()) == pytest.approx(found.ngram_nats[3])
  assert len(found.ngram_nats) == 5
  ours, _ = found.errors
  assert ours == sum(found.causes.values()) == np.sum(mine < np.log(0.5))
  assert 0 < found.causes['5-gram oracle'] < ours
  counts = dict(zip(found.symbols.labels, found.symbols.counts, strict=True))
  assert counts['\ufffd'] == 2 and 'Z' not in counts  # Z and b, which the codec does not know
  assert found.distances[']'].counts[2] == 2  # [no one]


def test_the_causes_of_a_comparison_are_those_of_what_is_predicted(comparison):
  mine, found = comparison
  codec = train_text_codec(PROSE * 20, 'char')
  held_out = codec.encode(PROSE + 'Zebra (' + PROSE)
  model = kneser_ney.train(codec.encode(PROSE * 20), 5, len(codec.symbols))
  text = codec.characters(held_out)
  expected, causes = dict.fromkeys(found.causes, 0), text_errors.causes_of(text, PROSE * 20)
  for t in range(1, len(text)):
    if np.exp(mine[t - 1]) >= 0.5:
      continue
    rows = kneser_ney.log_probs_by_order(model, held_out[t : t + 1], held_out[:t])
    if np.exp(rows.max()) >= 0.5:
      cause = '5-gram oracle'
    else:
      cause = next((cause for cause, mask in causes.items() if mask[t]), 'the rest')
    expected[cause] += 1
  assert found.causes == expected


def test_bytes_have_a_character_each():
  codec = train_text_codec('\u00e9a"'.encode() * 9, 'byte')
  assert codec.characters(codec.encode('a"\u00e9z')) == 'a"\u00c3\u00a9\ufffd'


def test_words_are_refused():
  codec = train_text_codec(['a', 'b', 'a'], 'word')
  with pytest.raises(InputError, match=r"^data\.unit is 'word', expected char or byte"):
    text_errors.compare(np.arange(3), np.zeros(2), np.arange(3), codec)


def test_the_report(comparison, tmp_path):
  _, found = comparison
  metrics = sections.write(tmp_path, 'Errors', error_figures.sections(found))
  assert metrics['nats per symbol']['recurrent model'] == pytest.approx(found.nats)
  assert metrics['errors'] == found.causes
  page = (tmp_path / 'README.md').read_text('utf-8')
  assert '| 5-gram |' in page and f'{found.errors[0]:,} errors of the recurrent model' in page
  assert '| quote |' in page
  for stem, length in (('gains', len(found.symbols.counts)), ('errors', len(found.causes))):
    assert (tmp_path / f'{stem}.png').stat().st_size > 1000
    with open(tmp_path / f'{stem}.csv', newline='', encoding='utf-8') as f:
      assert len([*csv.DictReader(f)]) == length
  assert 'distances' not in page  # too few closers


def test_the_figure_of_distances_is_drawn_where_there_are_enough(comparison, tmp_path):
  _, found = comparison
  more = {
    closer: bins._replace(counts=10 * bins.counts) for closer, bins in found.distances.items()
  }
  sections.write(tmp_path, 'Errors', error_figures.sections(found._replace(distances=more)))
  with open(tmp_path / 'distances.csv', newline='', encoding='utf-8') as f:
    rows = [*csv.DictReader(f)]
  assert {row['closer'] for row in rows} == {'"', ')', ']'}
  assert [row['count'] for row in rows if row['closer'] == ']' and row['from'] == '5'] == ['20']


@pytest.mark.parametrize(
  'character, name', [(' ', 'space'), ('\r', '\\r'), ('\t', '\\t'), ('x', 'x'), ('\0', '\\x00')]
)
def test_what_cannot_be_seen_has_a_name(character, name):
  assert error_figures._name(character) == name
