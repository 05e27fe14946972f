"""The algorithmic tasks: what they ask, what the best answer costs, and a machine that is trained on them."""

import math

import jax
import numpy as np
import pytest
from launching import log_of, read_json, run

import experiments
from experiments import algorithmic
from rnn_research import unroll, workdir
from rnn_research.analysis.reports.by_length import Errors, compare_errors, errors_figure
from rnn_research.cells import CELLS
from rnn_research.errors import InputError
from rnn_research.models.entity_network import entity_network
from rnn_research.parameters import num_parameters
from rnn_research.tasks.algorithmic import ngrams, report, sequences, tasks, world
from rnn_research.tasks.algorithmic.address_figure import address_figure, used_rows
from rnn_research.tasks.algorithmic.addresses import Addresses, addresses
from rnn_research.training import config


def rng(seed=0):
  return np.random.default_rng(seed)


def answered(examples, row):
  """Returns the targets of a row that are asked for, and the step of the first."""
  asked = np.flatnonzero(examples.weights[row])
  np.testing.assert_array_equal(np.diff(asked), 1)  # without a gap
  assert examples.targets[row][examples.weights[row] == 0].sum() == 0
  assert examples.inputs[row, asked[0] :].sum() == 0 or examples.inputs.shape[-1] == 1
  return examples.targets[row, asked], asked[0]


def shown(inputs):
  """Returns the vectors between the delimiters of one row, and the step of the end delimiter."""
  assert inputs[0, sequences.START] == 1 and inputs[:, sequences.START].sum() == 1
  (end,) = np.flatnonzero(inputs[:, sequences.END])
  assert inputs[[0, end], : sequences.NUM_BITS].sum() == 0
  return inputs[1:end, : sequences.NUM_BITS], end


def test_copies_are_what_was_shown_right_after_the_end_delimiter():
  examples, lengths = sequences.copy(rng(), 200, (2, 5)), set()
  assert examples.inputs.shape == (200, 12, 10) and examples.targets.shape == (200, 12, 8)
  for row in range(200):
    vectors, end = shown(examples.inputs[row])
    answers, first = answered(examples, row)
    np.testing.assert_array_equal(answers, vectors)
    assert first == end + 1
    lengths.add(len(vectors))
  assert lengths == {2, 3, 4, 5}
  assert set(np.unique(examples.inputs)) == {0.0, 1.0}
  assert abs(examples.targets.sum() / examples.weights.sum() / 8 - 0.5) < 0.03


def test_repeated_copies_end_with_a_marker():
  examples, seen = sequences.repeat_copy(rng(), 300, (1, 3), (1, 10)), set()
  assert examples.inputs.shape == (300, 36, 11) and examples.targets.shape == (300, 36, 9)
  for row in range(300):
    vectors, end = shown(examples.inputs[row])
    times = round(5.5 + math.sqrt(8.25) * float(examples.inputs[row, end, sequences.SCALAR]))
    answers, first = answered(examples, row)
    assert first == end + 1
    np.testing.assert_array_equal(answers[:-1, :8], np.tile(vectors, (times, 1)))
    np.testing.assert_array_equal(answers[:, 8], [0.0] * len(vectors) * times + [1.0])
    assert not answers[-1, :8].any()
    seen.add((len(vectors), times))
  assert len(seen) == 30


def test_the_scalar_of_repeats_has_mean_zero_and_variance_one():
  examples = sequences.repeat_copy(rng(), 20_000, (1, 1), (1, 10))
  scalars = examples.inputs[:, 2, sequences.SCALAR]
  assert abs(scalars.mean()) < 0.03 and abs(scalars.std() - 1.0) < 0.02


def test_recall_asks_for_the_item_after_the_one_that_is_shown_again():
  examples, seen = sequences.associative_recall(rng(), 300, (2, 4)), set()
  assert examples.inputs.shape == (300, 24, 8) and examples.targets.shape == (300, 24, 6)
  for row in range(300):
    inputs, (begin, end) = (
      examples.inputs[row],
      np.flatnonzero(examples.inputs[row, :, sequences.QUERY]),
    )
    items = [
      inputs[start + 1 : start + 4, :6] for start in np.flatnonzero(inputs[:, sequences.ITEM])
    ]
    assert (begin, end) == (4 * len(items), 4 * len(items) + 4)
    (found,) = [
      i for i, item in enumerate(items) if (item == inputs[begin + 1 : begin + 4, :6]).all()
    ]
    answers, first = answered(examples, row)
    assert first == end + 1
    np.testing.assert_array_equal(answers, items[found + 1])
    seen.add((len(items), found))
  assert seen == {(2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)}


def test_sorting_gives_the_sixteen_of_twenty_with_the_highest_priority():
  examples = sequences.priority_sort(rng(), 50, (20, 20))
  assert examples.inputs.shape == (50, 38, 11)
  for row in range(50):
    vectors, end = shown(examples.inputs[row])
    priorities = examples.inputs[row, 1:end, sequences.SCALAR]
    by_hand = sorted(zip(priorities, vectors, strict=True), key=lambda pair: -pair[0])
    answers, first = answered(examples, row)
    assert first == end + 1
    np.testing.assert_array_equal(answers, [vector for _, vector in by_hand[:16]])
  priorities = examples.inputs[..., sequences.SCALAR]
  assert -1.0 <= priorities.min() < -0.9 and 0.9 < priorities.max() <= 1.0
  fewer = sequences.priority_sort(rng(), 50, (5, 10))
  assert set(fewer.weights.sum(1)) == {4, 5, 6, 7, 8}  # padding has no priority


def test_ngrams_depend_on_the_last_five_bits_and_the_optimal_estimator_counts_them():
  examples = ngrams.dynamic_ngrams(rng(), 3, (60, 80))
  assert examples.inputs.shape == (3, 79, 1)
  for row, found in enumerate(ngrams.optimal_bits(examples)):
    bits = [int(bit) for bit in examples.inputs[row, :, 0]]
    bits.append(int(examples.targets[row, -1, 0]))
    length = 5 + int(examples.weights[row].sum())
    seen, paid = {}, 0.0
    for t in range(5, length):
      assert examples.weights[row, t - 1] == 1 and examples.targets[row, t - 1, 0] == bits[t]
      counts = seen.setdefault(tuple(bits[t - 5 : t]), [0, 0])
      paid -= math.log2((counts[bits[t]] + 0.5) / (sum(counts) + 1.0))
      counts[bits[t]] += 1
    assert found == pytest.approx(paid)


def test_a_context_repeats_its_first_bit_three_times_in_four():
  examples, same = ngrams.dynamic_ngrams(rng(), 500, (100, 100)), []
  for bits, targets in zip(examples.inputs[..., 0], examples.targets[..., 0], strict=True):
    seen = {}
    for t in range(5, 100):
      seen.setdefault(tuple(bits[t - 5 : t]), []).append(targets[t - 1])
    same += [first == second for first, second, *_ in (v for v in seen.values() if len(v) > 1)]
  # Of Beta(1/2, 1/2); an even prior would give 2/3.
  assert np.mean(same) == pytest.approx(0.75, abs=0.02)


def test_the_last_positions_in_the_world():
  examples, moves, padded = world.world(rng(), 300, (4, 12)), [], 0
  assert examples.inputs.shape == (300, 13, world.NUM_CHANNELS)
  for inputs, target in zip(examples.inputs, examples.targets, strict=True):
    at, faces, told = {}, {}, []
    for event in inputs:
      agent, y, x, heading, steps, asked = (
        np.flatnonzero(part).tolist() for part in np.split(event, np.cumsum((2, 10, 10, 4, 5)))
      )
      if not agent:
        assert not event.any() and not told
        padded += 1
        continue
      (who,) = agent
      told.append((who, 'at' if x else 'faces' if heading else 'moves' if steps else 'asked'))
      assert bool(asked) == (told[-1][1] == 'asked')
      assert len(x) == len(y) == (told[-1][1] == 'at')
      if x:
        at[who] = (x[0], y[0])
      elif heading:
        faces[who] = 'NESW'[heading[0]]
      elif steps:
        dx, dy = {'N': (0, 1), 'E': (1, 0), 'S': (0, -1), 'W': (-1, 0)}[faces[who]]
        at[who] = at[who][0] + dx * (steps[0] + 1), at[who][1] + dy * (steps[0] + 1)
        assert min(at[who]) >= 0 and max(at[who]) <= 9
        moves.append(steps[0] + 1)
    assert told[:4] == [(0, 'at'), (0, 'faces'), (1, 'at'), (1, 'faces')]
    assert told[-1][1] == 'asked' and 4 <= len(told) - 1 <= 12
    assert tuple(target) == at[told[-1][0]]
  assert set(moves) == {1, 2, 3, 4, 5} and padded > 100
  assert 0.35 < len(moves) / (300 * 4) < 0.5  # of the events after the fourth


def test_an_entity_network_reads_events_as_words_and_answers_with_a_place():
  examples = world.world(rng(), 4, (4, 6))
  model = world.entity_world(5, 3)
  params = model.init(jax.random.key(0))
  got = model.outputs(params, examples.inputs)
  words = np.zeros((4, 7, 3), np.int32)
  for place in np.ndindex(4, 7):
    channels = np.flatnonzero(examples.inputs[place])
    words[place][: len(channels)] = 1 + channels  # the masks are all ones at first: in any order
  same = entity_network(33, 5, num_slots=3, longest=3)
  expected, _ = same.outputs(params, words[:, :-1], words[:, -1])
  np.testing.assert_allclose(got, np.c_[expected[:, 13:23], expected[:, 3:13]], rtol=1e-5)


def data(**changes):
  fields = {**experiments.get_config('algorithmic').data.to_dict(), 'batch_size': 8, **changes}
  fields.pop('task')
  return tasks.Data(**fields)


def test_rows_of_a_batch_have_neighbouring_lengths_and_all_lengths_are_as_likely():
  stream = tasks.train_data('copy', data())
  assert [batch['inputs'].shape[1] for batch in stream.shapes] == [12, 22, 32, 42]
  batches = [next(stream.iterator) for _ in range(200)]
  lengths = [batch['weights'].sum(1) for batch in batches]
  assert all(found.max() - found.min() <= 4 for found in lengths)
  counts = np.bincount(np.concatenate(lengths).astype(int), minlength=21)[1:]
  assert counts.min() > 0.4 * counts.mean() and counts.max() < 1.8 * counts.mean()
  again = tasks.train_data('copy', data()).iterator
  np.testing.assert_array_equal(next(again)['inputs'], batches[0]['inputs'])
  assert (batches[0]['inputs'].shape != batches[1]['inputs'].shape) or (
    batches[0]['inputs'] != batches[1]['inputs']
  ).any()


def test_splits_have_their_lengths():
  splits = tasks.held_out('repeat_copy', data(max_length=4, test_lengths=(4, 6)))
  assert list(splits) == ['valid', 'test', 'length_4', 'length_6', 'repeats_20']
  drawn = {split: draw() for split, draw in splits.items()}
  assert set(drawn['length_6'].weights.sum(1)) == {61.0}
  assert set(drawn['repeats_20'].weights.sum(1)) == {81.0}
  assert len(drawn['test'].inputs) == 1_000
  assert splits['valid']() is drawn['valid']  # drawn once


def test_no_examples_are_in_two_splits_or_drawn_in_training():
  settings = data(min_length=8, max_length=8, test_lengths=(8,))
  rows = [draw().inputs for draw in tasks.held_out('copy', settings).values()]
  stream = tasks.train_data('copy', settings).iterator
  rows += [next(stream)['inputs'] for _ in range(20)]
  # Of 64 bits each.
  assert len({row.tobytes() for part in rows for row in part}) == 200 + 1_000 + 200 + 20 * 8


def test_a_split_is_the_same_beside_any_others():
  few, many = (tasks.held_out('copy', data(test_lengths=n))['length_6']() for n in ((6,), (9, 6)))
  np.testing.assert_array_equal(few.inputs, many.inputs)


@pytest.mark.parametrize('name', tasks.TASKS)
def test_numbers_of_steps_are_known_without_drawing(name):
  task = tasks.TASKS[name]
  ranges = tasks.ranges(name, data(min_length=6, max_length=9))
  drawn = task.draw(rng(), 1, *ranges).inputs
  assert drawn.shape[1] == task.num_steps(*(high for _, high in ranges))


def changed(variant='debug', **blocks):
  values = experiments.get_config(f'algorithmic:{variant}').unlock()
  for block, changes in blocks.items():
    values[block].update(changes)
  return values.lock()


@pytest.mark.parametrize('cell', ['ntm', 'dnc', 'lstm', 'gru'])
def test_models_of_all_kinds_have_as_many_parameters(cell):
  built = experiments.build('algorithmic', changed('copy', model={'cell': cell}))
  assert 61_500 < num_parameters(jax.eval_shape(built.init, jax.random.key(0))) <= 63_000


def test_the_loss_is_the_mean_over_the_bits_that_are_asked_for():
  values = changed(model={'cell': 'gru'})
  built = experiments.build('algorithmic:debug', values)
  params = built.init(jax.random.key(0))
  batch = next(built.train_data().iterator)
  total, (weight, _, _) = built.loss(params, (), batch, None, 0)
  cell = CELLS['gru'](8)
  _, ys = unroll(cell, params['cells'][0], batch['inputs'].swapaxes(0, 1))
  logits = np.asarray(ys.swapaxes(0, 1) @ params['head']['w'] + params['head']['b'], np.float64)
  signs = np.where(batch['targets'] > 0, 1.0, -1.0)
  nats = np.log1p(np.exp(-signs * logits)).sum(-1)
  asked = batch['weights'] > 0
  assert float(weight) == 8 * asked.sum()
  assert float(total) == pytest.approx(nats[asked].sum(), rel=1e-5)
  measured = built.evaluate['valid'](params, None)
  assert measured['bits_per_sequence_without_memory'] == pytest.approx(8 * 2, rel=0.1)


@pytest.fixture(scope='module')
def machine(make_once):
  """Returns a workdir with a grid of two NTMs, trained for 20 steps; not to be changed."""
  flags = ['--experiment=algorithmic:debug', '--config.grid.seeds=2']
  return make_once('machine', lambda folder: run(*flags, f'--workdir={folder}'))


def test_a_grid_of_machines_reports_its_members_and_where_they_look(machine):
  figures, rows = read_json(machine, 'result.json'), log_of(machine)
  last = [row for row in rows if 'length_6/bit_errors_members' in row][-1]
  assert len(last['length_6/bit_errors_members']) == 2
  assert {'valid', 'test', 'length_3', 'length_6'} == figures['metrics'].keys()
  (of_grid,) = figures['grid'].values()
  assert of_grid['bits_per_sequence_median'] == pytest.approx(
    np.median([row['bits_per_sequence'] for row in figures['members']])
  )
  text = (machine / 'report' / 'README.md').read_text()
  errors = [f'{value:.4g}' for value in last['length_6/bit_errors_members']]
  assert all(f'| {value} |' in text for value in errors)
  assert '| median | 0.01 |' in text
  assert '| seed | learning rate |' in text and 'learned (0.01 bits per sequence)' in text
  for stem in ('addresses_length_3', 'addresses_length_6', 'errors_by_length', 'curves'):
    assert (machine / 'report' / f'{stem}.png').stat().st_size > 5_000
    assert f'{stem}.png' in text


def test_members_have_a_median_at_each_learning_rate_and_learn_where_that_can_be():
  grid = {'seeds': 2, 'learning_rates': [0.1, 0.2]}
  about = {
    'config': {'grid': grid, 'optimizer': {'learning_rate': 1.0}},
    'headline': ['valid', 'error', 'min'],
  }
  rows = [{'step': 5, 'valid/error': 0.0, 'valid/error_members': [0.0, 0.5, 0.2, 0.4]}]
  for name in ('world', 'ngrams', 'copy'):
    lines = [line.strip('| ') for line in report._members(rows, name, about).before.splitlines()]
    assert ('learned' in lines[0]) == (name == 'copy')
    assert lines[4].split(' | ')[:3] == ['0', '0.2', '0.2']
    assert [line.split(' | ')[:3] for line in lines[6:8]] == [
      ['median', '0.1', '0.25'],
      ['median', '0.2', '0.3'],
    ]


def test_a_median_of_members_that_diverged_is_none():
  grid = {'seeds': 3, 'learning_rates': [0.1, 0.2]}
  about = {
    'config': {'grid': grid, 'optimizer': {'learning_rate': 1.0}},
    'headline': ['valid', 'error', 'min'],
  }
  rows = [{'step': 5, 'valid/error': 0.1, 'valid/error_members': [0.1, None, 0.5, None, None, 0.2]}]
  lines = [line.strip('| ') for line in report._members(rows, 'ngrams', about).before.splitlines()]
  assert [line.split(' | ') for line in lines[2:4]] == [
    ['0', '0.1', '0.1'],
    ['1', '0.1', 'diverged'],
  ]
  assert [line.split(' | ') for line in lines[8:10]] == [
    ['median', '0.1', '0.5'],
    ['median', '0.2', 'diverged'],
  ]


def test_addresses_of_a_trained_run(machine):
  asked = sequences.copy(rng(), 2, (5, 5))
  found = workdir.load(machine).addresses(asked.inputs)
  assert found.answers.shape == (2, 12, 8)
  for weights in (found.read_weights, found.write_weights):
    assert weights.shape == (2, 12, 1, 8)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
  ('inputs', 'said'),
  [
    (np.zeros((12, 10)), r'have shape \(12, 10\)'),
    (np.zeros((2, 12, 9)), r'have shape \(2, 12, 9\)'),
    (np.zeros((0, 12, 10)), r'have shape \(0, 12, 10\)'),
    (np.zeros((2, 0, 10)), r'have shape \(2, 0, 10\)'),
    (None, r'have shape \(\)'),
    ([[[1.0] * 10], [[1.0] * 9]], 'are rows of different lengths'),
    (np.full((1, 4, 10), 'a'), 'are <U1'),
    (np.zeros((1, 4, 10), np.complex64), 'are complex64'),
    (np.full((1, 4, 10), np.nan), 'have nan'),
  ],
)
def test_addresses_say_what_inputs_they_need(inputs, said):
  with pytest.raises(InputError, match=rf'inputs {said}, expected finite numbers \[B, T, 10\]$'):
    addresses(None, 10, {}, inputs)


def test_the_world_has_no_addresses_and_names_its_engine():
  values = changed('world', model={'cell': 'entnet'})
  built = experiments.build('algorithmic:world', values)
  assert not built.commands
  assert built.engine == 'the form for whole sequences of entnet itself'


def test_the_longest_run_of_unused_rows_of_the_ring_is_left_out():
  weights = np.zeros((2, 3, 40))
  weights[0, 1, 38] = weights[1, 2, 3] = weights[0, 0, 9] = 0.9
  np.testing.assert_array_equal(used_rows(weights), [38, 39, *range(10)])
  few = np.zeros((1, 1, 40))
  few[..., 35] = 1.0
  np.testing.assert_array_equal(used_rows(few), [35, 36, 37, 38, 39, 0, 1, 2])
  np.testing.assert_array_equal(used_rows(np.zeros((1, 1, 5))), np.arange(5))


def test_the_caption_says_which_rows_are_left_out():
  asked = sequences.copy(rng(), 1, (3, 3))
  weights = np.zeros((1, 8, 1, 40))
  weights[..., 38] = 1.0
  text = address_figure(
    asked, Addresses(asked.targets, weights, weights), ''
  ).figure.get_supxlabel()
  assert 'Left out: the 32 of 40 rows after row 6,' in text.replace('\n', ' ')
  weights[:] = 1.0
  text = address_figure(
    asked, Addresses(asked.targets, weights, weights), ''
  ).figure.get_supxlabel()
  assert 'Left out' not in text


def test_wrong_bits_are_marked():
  asked = sequences.copy(rng(), 1, (3, 3))
  answers = np.abs(asked.targets - 0.1)
  answers[0, 5, 2] = 1.0 - answers[0, 5, 2]
  nowhere = np.zeros((1, 8, 0, 0))
  channels = tasks.TASKS['copy'].channels
  plot = address_figure(asked, Addresses(answers, nowhere, nowhere), 'A cell.', channels)
  (marks,) = plot.figure.axes[1].collections
  np.testing.assert_array_equal(marks.get_offsets(), [[6, 2]])  # steps are counted from 1
  assert [axes.get_ylabel() for axes in plot.figure.axes[:3]] == ['inputs', 'answers', 'targets']
  ticks = [label.get_text() for label in plot.figure.axes[0].get_yticklabels()]
  assert ticks == ['1', '8', 'start', 'end']
  inputs = [
    place
    for place in zip(*(plot.table[name] for name in ('panel', 'row', 'step')), strict=True)
    if place[1] == 'end'
  ]
  assert inputs == [('inputs', 'end', 5)]


def test_errors_over_length_of_several_runs(tmp_path):
  for name, shares in (('ntm', {20: 0.0, 40: 0.01}), ('lstm', {20: 0.2, 40: 0.45})):
    (tmp_path / name / 'report').mkdir(parents=True)
    plot = errors_figure({name: Errors('vectors', 20, shares, 'wrong bits')}, 'Errors.')
    from rnn_research.analysis.reports import plots

    plots.save(plot, tmp_path / name / 'report' / 'errors_by_length.png')
  both = compare_errors({name: tmp_path / name for name in ('ntm', 'lstm')})
  assert list(both.table['errors']) == [0.0, 0.01, 0.2, 0.45]
  assert list(both.table['label']) == ['ntm', 'ntm', 'lstm', 'lstm']
  assert compare_errors({'ntm': tmp_path / 'ntm', 'other': tmp_path}) is None


def test_rows_of_the_world_begin_as_late_in_training_as_where_they_are_measured():
  """Nothing tells a recurrence that nothing has happened yet: it must have seen it."""
  data = algorithmic._data(experiments.get_config('algorithmic:world'))
  data = data._replace(batch_size=50)
  batches = tasks.train_data('world', data).iterator
  measured = tasks.held_out('world', data)['valid']()
  late = lambda xs: int(xs.any(-1).argmax(1).max())
  assert max(late(next(batches)['inputs']) for _ in range(8)) == late(measured.inputs) == 16


def test_moves_are_of_an_ntm_alone():
  config.check_ranges(changed(model={'cell': 'dnc', 'num_rows': 2}))
  experiments.build('algorithmic:debug', changed(model={'cell': 'gru'}))


@pytest.mark.parametrize(
  ('blocks', 'said'),
  [
    ({'data': {'task': 'copi'}}, 'data.task is .copi., .* did you mean copy'),
    ({'data': {'min_length': 0}}, 'data.min_length is 0, expected an integer >= 1'),
    ({'data': {'max_length': 0}}, 'data.max_length is 0, expected an integer >= data.min_length'),
    ({'data': {'task': 'recall'}}, 'data.min_length is 1, expected an integer >= 2'),
    (
      {'data': {'task': 'ngrams', 'min_length': 5}},
      'data.min_length is 5, expected an integer >= 6',
    ),
    ({'data': {'min_repeats': 0}}, 'data.min_repeats is 0, expected an integer >= 1'),
    (
      {'data': {'test_lengths': (4, 4)}},
      'data.test_lengths is .4, 4., expected different integers',
    ),
    ({'model': {'cell': 'ntn'}}, "model.cell is 'ntn', .* did you mean ntm"),
    ({'model': {'cell': 'entnet'}}, "model.cell is 'entnet', expected one of .* for copy"),
    ({'model': {'controller': 'ntm'}}, "model.controller is 'ntm', expected one of elman"),
    ({'model': {'num_heads': 0}}, 'model.num_heads is 0, expected an integer >= 1'),
    ({'model': {'num_rows': 0}}, 'model.num_rows is 0, expected an integer >= 1'),
    ({'model': {'shift_range': 4}}, r'model.shift_range is 4, expected an integer in \[0, 3\]'),
    (
      {'data': {'max_length': 10**9}},
      'data.max_length is too large: sequences of 2,000,000,002 steps, expected 5,000 at most',
    ),
    (
      {'data': {'test_lengths': (3, 10**8)}},
      '100000000 in data.test_lengths is too large: sequences of 200,000,002 steps',
    ),
    (
      {'data': {'task': 'repeat_copy', 'test_repeats': (10**8,)}},
      '100000000 in data.test_repeats is too large: sequences of 300,000,006 steps',
    ),
    (
      {'data': {'task': 'repeat_copy', 'max_repeats': 10**8}},
      'data.max_length or data.max_repeats is too large',
    ),
    (
      {
        'data': {'task': 'world', 'min_length': 4, 'max_length': 5, 'test_lengths': (4,)},
        'model': {'cell': 'entnet', 'num_layers': 2},
      },
      'model.num_layers is 2, expected 1 for entnet',
    ),
    ({'model': {'hidden_size': 0, 'num_params': 99}}, 'model.num_params is 99, expected at least'),
  ],
)
def test_what_is_refused(blocks, said):
  with pytest.raises(InputError, match=said):
    config.check_ranges(changed(**blocks))
    experiments.build('algorithmic:debug', changed(**blocks))
