"""Search against enumeration of all sequences and against plain Python twins, over models that are tables."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_research.decoding.beam import Beam, beam_search, check_beam
from rnn_research.decoding.decode import decode as decode_by
from rnn_research.decoding.sampling import Sampling
from rnn_research.decoding.single import greedy, sampled
from rnn_research.decoding.step import Rules, Specials, hypotheses_of
from rnn_research.stepping import repeat_rows

PAD, BOS, EOS = Specials()
KEY = jax.random.key(0)
T, S = 4, 3
LIMITS = np.array([4, 1, 2, 3], np.int32)
MASK = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 1, 1]], bool)
ALL = 341  # sequences of 5 symbols that end, or have length 4


class Tables(NamedTuple):
  """A model of 4 rows: p(next | time, last two symbols, row) and attention by row and last symbol."""

  # [4, C, V, V] float32: row, `context` of time and symbol before the last, last, next.
  log_probs: np.ndarray
  weights: np.ndarray  # [4, V, S] float32


def context(t, before, tables):
  return (5 * before + t) % tables.log_probs.shape[1]


def tables(seed, size=5, contexts=17, ties=False):
  """Returns random tables; with `ties` log probabilities are multiples of 2, so sums are exact and often equal."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(scale=1.5, size=(4, contexts, size, size))
  logits[..., EOS] += np.log(size / 5) + rng.normal(size=logits.shape[:-1])
  log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  log_probs = np.minimum(np.round(log_probs / 2) * 2, -2.0) if ties else log_probs
  weights = rng.dirichlet(np.full(S, 0.3), (4, size)) * rng.integers(0, 2, (4, size, 1))
  return Tables(log_probs.astype(np.float32), weights.astype(np.float32))


def model(tables):
  def step(state, last):
    row, t, before = state
    return (
      (row, t + 1, last),
      tables.log_probs[row, context(t, before, tables), last],
      {'weights': tables.weights[row, last]},
    )

  return step


def start(rows):
  return jnp.asarray(rows), jnp.zeros(len(rows), int), jnp.full(len(rows), BOS)


@functools.cache
def compiled(search, rules, options):
  def run(tables, rows, limits, *rest):
    first = jnp.full(len(rows), BOS, jnp.int32)
    return search(model(tables), start(rows), first, limits, rules, *options, *rest)

  return jax.jit(run)


def decode(
  search, tables, *rest, rows=np.arange(4), limits=LIMITS, max_length=T, forbidden=(), how=()
):
  run = compiled(search, Rules(max_length, forbidden), how)
  return jax.tree.map(np.asarray, run(tables, rows, limits, *rest))


def decode_beam(
  tables, beam_size, length_penalty=0.0, coverage_penalty=0.0, source_mask=None, **options
):
  how = (Beam(beam_size, length_penalty, coverage_penalty),)
  rest = () if source_mask is None else (source_mask,)
  return decode(beam_search, tables, *rest, how=how, **options)


def decode_sampled(tables, seed, sampling, **options):
  return decode(sampled, tables, jax.random.key(seed), how=(sampling,), **options)


def rescore(tables, row, ids, penalties=(0.0, 0.0), mask=(True,) * S):
  """Returns log p, the score and the attention of one sequence, in float64."""
  alpha, beta = penalties
  before, last, log_prob, weights = BOS, BOS, 0.0, []
  for t, symbol in enumerate(ids):
    log_prob += float(tables.log_probs[row, context(t, before, tables), last, symbol])
    weights.append(tables.weights[row, last].astype(np.float64))
    before, last = last, symbol
  coverage = np.log(np.clip(np.sum(weights, 0), 1e-6, 1.0))[np.array(mask)].sum()
  return log_prob, log_prob / ((5 + len(ids)) / 6) ** alpha + beta * coverage, np.array(weights)


def sequences(size, limit, forbidden):
  """Yields all sequences that end with EOS within the limit or reach it."""
  symbols = [symbol for symbol in range(size) if symbol not in forbidden]
  for length in range(1, limit + 1):
    for ids in itertools.product(symbols, repeat=length):
      if EOS not in ids[:-1] and (ids[-1] == EOS or length == limit):
        yield ids


def texts(found, row):
  """Returns the sequences found for a row, best first, and checks what surrounds them."""
  lengths = found.lengths[row]
  for ids, weights, length in zip(
    found.ids[row], found.extras['weights'][row], lengths, strict=True
  ):
    assert (ids[length:] == PAD).all() and (weights[length:] == 0).all()
  return [
    tuple(ids[:length].tolist())
    for ids, length in zip(found.ids[row], lengths, strict=True)
    if length
  ]


def assert_consistent(tables, found, penalties=(0.0, 0.0), mask=np.ones((4, S), bool)):
  """Checks the order, and every number of what was found against its symbols."""
  assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()
  for row in range(4):
    for k, ids in enumerate(texts(found, row)):
      log_prob, score, weights = rescore(tables, row, ids, penalties, mask[row])
      np.testing.assert_allclose(
        [found.log_probs[row, k], found.scores[row, k]], [log_prob, score], rtol=1e-5
      )
      np.testing.assert_array_equal(found.extras['weights'][row, k, : len(ids)], weights)


@pytest.mark.parametrize(
  ('penalties', 'forbidden'),
  [
    ((0.0, 0.0), ()),
    ((0.7, 0.0), (PAD, BOS)),
    ((0.0, 0.4), ()),
    ((1.2, 0.2), ()),
  ],
)
def test_a_wide_beam_finds_all_sequences_in_order(penalties, forbidden):
  for seed in range(3):
    toy = tables(seed)
    found = decode_beam(toy, ALL, *penalties, source_mask=MASK, forbidden=forbidden)
    assert_consistent(toy, found, penalties, MASK)
    for row, limit in enumerate(LIMITS):
      every = list(sequences(5, limit, forbidden))
      every.sort(key=lambda ids, row=row: -rescore(toy, row, ids, penalties, MASK[row])[1])
      assert texts(found, row) == every
      assert (found.lengths[row, len(every) :] == 0).all() and (
        found.ids[row, len(every) :] == PAD
      ).all()
      for numbers in (found.scores, found.log_probs):
        assert (
          np.isfinite(numbers[row, : len(every)]).all()
          and (numbers[row, len(every) :] == -np.inf).all()
        )


def beam_by_lists(tables, row, limit, beam_size, penalties, mask, forbidden):
  """Returns what the beam finds, (score, ids) best first, from sorted lists and with no early end."""
  alive, finished = [(0.0, ())], []
  for t in range(limit):
    candidates = []
    for log_prob, ids in alive:
      before, last = (BOS, BOS, *ids)[-2:]
      gains = tables.log_probs[row, context(t, before, tables), last]
      candidates += [
        (log_prob + float(gain), (*ids, symbol))
        for symbol, gain in enumerate(gains)
        if symbol not in forbidden
      ]
    candidates.sort(key=lambda candidate: -candidate[0])
    ends = lambda ids: ids[-1] == EOS or len(ids) == limit
    finished += [
      (rescore(tables, row, ids, penalties, mask)[1], ids)
      for _, ids in candidates[:beam_size]
      if ends(ids)
    ]
    finished = sorted(finished, key=lambda hypothesis: -hypothesis[0])[:beam_size]
    alive = [candidate for candidate in candidates[: 2 * beam_size] if not ends(candidate[1])][
      :beam_size
    ]
  return finished


LONG = np.array([12, 7, 1, 12], np.int32)


@pytest.mark.parametrize(('size', 'contexts', 'beam_size'), [(5, 17, 2), (5, 17, 7), (403, 2, 3)])
@pytest.mark.parametrize(
  ('penalties', 'ties'), [((0.0, 0.0), False), ((0.0, 0.0), True), ((1.2, 0.2), False)]
)
def test_a_narrow_beam_equals_sorted_lists_with_no_early_end(
  size, contexts, beam_size, penalties, ties
):
  for seed in range(3):
    toy = tables(seed, size, contexts, ties)
    found = decode_beam(
      toy, beam_size, *penalties, limits=LONG, max_length=12, source_mask=MASK, forbidden=(PAD,)
    )
    assert_consistent(toy, found, penalties, MASK)
    for row, limit in enumerate(LONG):
      wanted = beam_by_lists(toy, row, limit, beam_size, penalties, MASK[row], (PAD,))
      assert texts(found, row) == [ids for _, ids in wanted]


def greedy_by_lists(tables, row, limit, forbidden):
  ids = [BOS, BOS]
  for t in range(limit):
    log_probs = tables.log_probs[row, context(t, ids[-2], tables), ids[-1]].copy()
    log_probs[list(forbidden)] = -np.inf
    ids.append(int(log_probs.argmax()))
    if ids[-1] == EOS:
      break
  return tuple(ids[2:])


@pytest.mark.parametrize(('size', 'contexts'), [(5, 17), (403, 2)])
@pytest.mark.parametrize('ties', [False, True])
def test_a_beam_of_one_and_temperature_zero_are_greedy(size, contexts, ties):
  lengths = set()
  for seed in range(10):
    toy = tables(seed, size, contexts, ties)
    settings = dict(limits=LONG, max_length=12, forbidden=(PAD,))
    line = decode(greedy, toy, **settings)
    assert_consistent(toy, line)
    assert [texts(line, row) for row in range(4)] == [
      [greedy_by_lists(toy, row, limit, (PAD,))] for row, limit in enumerate(LONG)
    ]
    cold = decode_sampled(toy, seed, Sampling(0.0), **settings)
    for other in (decode_beam(toy, 1, **settings), cold):
      jax.tree.map(np.testing.assert_array_equal, other, line)
    lengths |= set(line.lengths[0].tolist())
  assert len(lengths) > 3


NARROW = {'how': (Beam(2, 1.2, 0.2),)}


@pytest.mark.parametrize(('search', 'options'), [(greedy, {}), (beam_search, NARROW)])
def test_rows_do_not_see_each_other(search, options):
  toy = tables(3)
  find = functools.partial(decode, search, toy, max_length=12, forbidden=(PAD,), **options)
  together = find(limits=LONG)
  for row in range(4):
    alone = find(rows=np.array([row]), limits=LONG[row : row + 1])
    jax.tree.map(lambda a, b, row=row: np.testing.assert_array_equal(a[0], b[row]), alone, together)


@pytest.mark.parametrize(('search', 'options'), [(greedy, {}), (beam_search, NARROW)])
def test_limits_out_of_range_are_the_nearest_in_range(search, options):
  toy = tables(4)
  toy.log_probs[..., EOS] = -20.0
  find = functools.partial(decode, search, toy, max_length=12, forbidden=(PAD,), **options)
  jax.tree.map(
    np.testing.assert_array_equal,
    find(limits=LONG + np.array([9, 0, -1, 1], np.int32)),
    find(limits=LONG),
  )


@pytest.mark.parametrize(('search', 'options'), [(greedy, {}), (beam_search, NARROW)])
def test_the_loop_ends_when_all_rows_have_ended_and_needs_no_jit(search, options):
  toy, steps = tables(2), []
  toy.log_probs[...] -= 3.0
  toy.log_probs[..., EOS] = -0.1
  step = model(jax.tree.map(jnp.asarray, toy))

  def counted(state, last):
    jax.debug.callback(lambda: steps.append(1))
    return step(state, last)

  first = jnp.full(4, BOS, jnp.int32)
  how = options.get('how', ())
  found = search(counted, start(np.arange(4)), first, LONG, Rules(12, (PAD,)), *how)
  jax.effects_barrier()
  assert len(steps) < 12
  jitted = decode(search, toy, limits=LONG, max_length=12, forbidden=(PAD,), **options)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, jitted)


@pytest.mark.parametrize(
  'search',
  [
    functools.partial(decode, greedy),
    functools.partial(decode_beam, beam_size=2),
    lambda toy, **options: decode_sampled(toy, 1, Sampling(3.0), **options),
  ],
  ids=['greedy', 'beam', 'sampled'],
)
def test_forbidden_symbols_are_never_written(search):
  toy = tables(0)
  toy.log_probs[..., 4] = -0.01
  for forbidden in ((PAD,), (PAD, BOS, 4)):
    found = search(toy, limits=LONG, max_length=12, forbidden=forbidden)
    written = {symbol for row in range(4) for ids in texts(found, row) for symbol in ids}
    assert (4 in written) != (4 in forbidden) and not written & set(forbidden)


def test_draws_follow_the_model():
  toy, count = tables(5), 40_000
  found = decode_sampled(toy, 0, Sampling(), rows=np.full(count, 2), limits=np.full(count, 2))
  drawn, counts = np.unique(found.ids[:, 0, :2], axis=0, return_counts=True)
  frequencies = dict(zip(map(tuple, drawn.tolist()), counts / count, strict=True))
  for ids in sequences(5, 2, ()):
    assert abs(frequencies.pop((*ids, PAD)[:2], 0.0) - np.exp(rescore(toy, 2, ids)[0])) < 0.01
  assert not frequencies


def test_draws_are_scored_by_the_model_itself():
  toy = tables(1)
  one, same, other = (
    decode_sampled(toy, seed, Sampling(0.5, 4), limits=LONG, max_length=12) for seed in (0, 0, 1)
  )
  assert_consistent(toy, one)
  np.testing.assert_array_equal(one.ids, same.ids)
  assert (one.ids != other.ids).any()


@pytest.mark.parametrize('size', [600, 607])
def test_of_equals_the_lowest_ids_come_first(size):
  costs = np.tile(np.minimum(np.arange(size, dtype=np.float32), 2), (3, 1))
  costs = np.random.default_rng(0).permuted(costs, axis=1)
  step = lambda state, ids: (state, -state, {})
  first = jnp.zeros(3, jnp.int32)
  found = beam_search(step, costs, first, jnp.ones(3, int), Rules(1), Beam(4, 0.0))
  np.testing.assert_array_equal(found.ids[:, :, 0], np.argsort(costs, 1, stable=True)[:, :4])


def test_a_model_without_attention_or_state():
  log_probs = np.log([0.1, 0.1, 0.2, 0.6]).astype(np.float32)
  step = lambda state, ids: (state, jnp.tile(log_probs, (len(ids), 1)), {})
  given = step, None, jnp.full(2, BOS), jnp.array([3, 2]), Rules(3)
  found = beam_search(*given, Beam(2, 0.0))
  np.testing.assert_array_equal(found.ids, [[[3, 3, 3], [2, 0, 0]], [[3, 3, 0], [2, 0, 0]]])
  assert found.extras == {}
  masked = beam_search(*given, Beam(2, 0.0), np.ones((2, 7), bool))  # of a memory, not looked at
  jax.tree.map(np.testing.assert_array_equal, found, masked)
  with pytest.raises(
    ValueError, match=r'coverage_penalty is 0\.2, expected 0 for a model without attention'
  ):
    beam_search(*given, Beam(2, 0.0, 0.2))


def test_other_ids_of_special_symbols():
  log_probs = np.log([0.1, 0.2, 0.2, 0.5]).astype(np.float32)
  step = lambda state, ids: (
    state,
    jnp.where(ids[:, None] == 2, log_probs, log_probs[::-1]),
    {},
  )
  rules = Rules(4, specials=Specials(pad=1, bos=2, eos=0))
  given = step, None, jnp.array([2]), jnp.array([4]), rules
  for found in (greedy(*given), beam_search(*given, Beam(1, 0.0))):
    np.testing.assert_array_equal(found.ids, [[[3, 0, 1, 1]]])


def test_extras_of_any_shape_follow_their_hypothesis():
  """A step that records what it read: along a hypothesis, everything written but the last."""
  log_probs = jnp.log(np.random.default_rng(0).dirichlet(np.ones(6), 6).astype(np.float32))

  def step(state, ids):
    return state, log_probs[ids], {'read': jnp.stack([ids, 10 * ids], -1)[:, :, None]}

  given = step, None, jnp.array([3, 5]), jnp.array([6, 4]), Rules(6, (PAD,))
  for found in (greedy(*given), beam_search(*given, Beam(3, 0.0))):
    found = jax.device_get(found)
    assert found.extras['read'].shape == (2, found.ids.shape[1], 6, 2, 1)
    for row, first in enumerate((3, 5)):
      for one in hypotheses_of(found, row):
        read = [first, *one.ids[:-1]]
        np.testing.assert_array_equal(one.extras['read'][:, 0, 0], read)
        np.testing.assert_array_equal(one.extras['read'][:, 1, 0], 10 * np.array(read))


def test_hypotheses_of_a_row_are_those_that_there_are():
  found = decode_beam(tables(0), ALL, limits=np.array([1, 1, 1, 1]))
  several = hypotheses_of(found, 1)
  assert len(several) == 5 and [one.score for one in several] == sorted(
    (one.score for one in several), reverse=True
  )
  assert all(len(one.ids) == 1 and one.extras['weights'].shape == (1, S) for one in several)


@pytest.mark.parametrize(
  ('how', 'direct'),
  [
    (Beam(), lambda step, *given: greedy(step(1), *given)),
    (Beam(3, 0.7), lambda step, *given: beam_search(step(3), *given, Beam(3, 0.7))),
    (Sampling(2.0), lambda step, *given: sampled(step(1), *given, Sampling(2.0), KEY)),
  ],
  ids=['greedy', 'beam', 'drawn'],
)
def test_decoding_by_any_way_is_that_way(how, direct):
  toy = jax.tree.map(jnp.asarray, tables(6))
  given = start(np.arange(4)), jnp.full(4, BOS, jnp.int32), LONG, Rules(12, (PAD,))
  stepper = lambda copies: model(toy)
  found = decode_by(stepper, *given, how, key=KEY)
  jax.tree.map(np.testing.assert_array_equal, found, direct(stepper, *given))


def test_rows_are_repeated_next_to_each_other():
  tree = repeat_rows({'h': jnp.array([[1.0], [2.0]]), 'n': jnp.array([3, 4])}, 2)
  assert tree['h'].tolist() == [[1.0], [1.0], [2.0], [2.0]] and tree['n'].tolist() == [3, 3, 4, 4]


@pytest.mark.parametrize(
  ('numbers', 'text'),
  [
    ((0, 0.0, 0.0), 'beam_size is 0, expected an integer >= 1'),
    ((1, -0.1, 0.0), r'length_penalty is -0\.1'),
    ((1, float('nan'), 0.0), 'length_penalty is nan'),
    ((1, 0.0, float('inf')), 'coverage_penalty is inf'),
  ],
)
def test_numbers_out_of_range(numbers, text):
  with pytest.raises(ValueError, match=text):
    check_beam(Beam(*numbers))
