"""Search against enumeration of all sequences and against plain Python twins, over models that are tables."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_research.decoding.beam import beam_search, check_beam, repeat_rows
from rnn_research.decoding.sampling import Sampling
from rnn_research.decoding.search import Specials, greedy, sampled

pytestmark = pytest.mark.usefixtures('quick_compilation')

PAD, BOS, EOS = Specials()
T, S = 4, 3
LIMITS = np.array([4, 1, 2, 3], np.int32)
MASK = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 1, 1]], bool)
ALL = 341  # sequences of 5 symbols that end, or have length 4


class Tables(NamedTuple):
  """A model of 4 rows: p(next | time, last two symbols, row) and attention by row and last symbol."""

  log_probs: (
    np.ndarray
  )  # [4, C, V, V] float32: row, `context` of time and symbol before the last, last, next
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
      tables.weights[row, last],
    )

  return step


def start(rows):
  return jnp.asarray(rows), jnp.zeros(len(rows), int), jnp.full(len(rows), BOS)


@functools.cache
def compiled(search, **options):
  def run(tables, rows, limits, *key, source_mask=None):
    mask = {} if source_mask is None else {'source_mask': source_mask}
    return search(model(tables), start(rows), *key, len(rows), limits, **options, **mask)

  return jax.jit(run)


def decode(
  search, tables, *key, rows=np.arange(4), limits=LIMITS, max_length=T, source_mask=None, **options
):
  run = compiled(search, max_length=max_length, **options)
  found = run(tables, rows, limits, *key, source_mask=source_mask)
  return jax.tree.map(np.asarray, found)


def decode_beam(tables, beam_size, length_penalty=0.0, coverage_penalty=0.0, **options):
  return decode(
    beam_search,
    tables,
    beam_size=beam_size,
    length_penalty=length_penalty,
    coverage_penalty=coverage_penalty,
    **options,
  )


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
  for ids, weights, length in zip(found.ids[row], found.weights[row], lengths, strict=True):
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
      np.testing.assert_array_equal(found.weights[row, k, : len(ids)], weights)


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
    cold = decode(sampled, toy, jax.random.key(seed), sampling=Sampling(0.0), **settings)
    for other in (decode_beam(toy, 1, **settings), cold):
      jax.tree.map(np.testing.assert_array_equal, other, line)
    lengths |= set(line.lengths[0].tolist())
  assert len(lengths) > 3


NARROW = dict(beam_size=2, length_penalty=1.2, coverage_penalty=0.2)


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

  found = search(counted, start(np.arange(4)), 4, LONG, 12, forbidden=(PAD,), **options)
  jax.effects_barrier()
  assert len(steps) < 12
  jitted = decode(search, toy, limits=LONG, max_length=12, forbidden=(PAD,), **options)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, jitted)


@pytest.mark.parametrize(
  'search',
  [
    functools.partial(decode, greedy),
    functools.partial(decode_beam, beam_size=2),
    lambda toy, **options: decode(
      sampled, toy, jax.random.key(1), sampling=Sampling(3.0), **options
    ),
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
  found = decode(
    sampled,
    toy,
    jax.random.key(0),
    rows=np.full(count, 2),
    limits=np.full(count, 2),
    sampling=Sampling(),
  )
  drawn, counts = np.unique(found.ids[:, 0, :2], axis=0, return_counts=True)
  frequencies = dict(zip(map(tuple, drawn.tolist()), counts / count, strict=True))
  for ids in sequences(5, 2, ()):
    assert abs(frequencies.pop((*ids, PAD)[:2], 0.0) - np.exp(rescore(toy, 2, ids)[0])) < 0.01
  assert not frequencies


def test_draws_are_scored_by_the_model_itself():
  toy = tables(1)
  settings = dict(limits=LONG, max_length=12, sampling=Sampling(0.5, 4))
  one, same, other = (decode(sampled, toy, jax.random.key(seed), **settings) for seed in (0, 0, 1))
  assert_consistent(toy, one)
  np.testing.assert_array_equal(one.ids, same.ids)
  assert (one.ids != other.ids).any()


@pytest.mark.parametrize('size', [600, 607])
def test_of_equals_the_lowest_ids_come_first(size):
  costs = np.tile(np.minimum(np.arange(size, dtype=np.float32), 2), (3, 1))
  costs = np.random.default_rng(0).permuted(costs, axis=1)
  step = lambda state, ids: (state, -state, jnp.zeros((len(ids), 0)))
  found = beam_search(
    step, costs, 3, jnp.ones(3, int), 1, beam_size=4, length_penalty=0.0, coverage_penalty=0.0
  )
  np.testing.assert_array_equal(found.ids[:, :, 0], np.argsort(costs, 1, stable=True)[:, :4])


def test_a_model_without_attention_or_state():
  log_probs = np.log([0.1, 0.1, 0.2, 0.6]).astype(np.float32)
  step = lambda state, ids: (state, jnp.tile(log_probs, (len(ids), 1)), jnp.zeros((len(ids), 0)))
  options = dict(beam_size=2, length_penalty=0.0)
  found = beam_search(step, None, 2, jnp.array([3, 2]), 3, coverage_penalty=0.0, **options)
  np.testing.assert_array_equal(found.ids, [[[3, 3, 3], [2, 0, 0]], [[3, 3, 0], [2, 0, 0]]])
  assert found.weights.shape == (2, 2, 3, 0)
  with pytest.raises(
    ValueError, match=r'coverage_penalty is 0\.2, expected 0 for a model without attention'
  ):
    beam_search(step, None, 2, jnp.array([3, 2]), 3, coverage_penalty=0.2, **options)


def test_other_ids_of_special_symbols():
  log_probs = np.log([0.1, 0.2, 0.2, 0.5]).astype(np.float32)
  step = lambda state, ids: (
    state,
    jnp.where(ids[:, None] == 2, log_probs, log_probs[::-1]),
    jnp.zeros((len(ids), 0)),
  )
  options = dict(
    batch_size=1, limits=jnp.array([4]), max_length=4, specials=Specials(pad=1, bos=2, eos=0)
  )
  by_beam = functools.partial(beam_search, beam_size=1, length_penalty=0.0, coverage_penalty=0.0)
  for search in (greedy, by_beam):
    np.testing.assert_array_equal(search(step, None, **options).ids, [[[3, 0, 1, 1]]])


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
    check_beam(*numbers)
