"""The n-gram model against a slow one of dictionaries, the laws of probability, and real prose."""

import collections

import numpy as np
import pytest

from rnn_research.analysis.measures import kneser_ney
from rnn_research.data import text
from rnn_research.errors import InputError

V = 7  # the last symbol is in no text


def words(seed, length):
  """Returns a text that repeats itself now and then, [length] ids below V - 1."""
  rng = np.random.default_rng(seed)
  lexicon = [rng.integers(0, V - 1, rng.integers(1, 6)) for _ in range(8)]
  chosen = rng.choice(len(lexicon), length, p=np.arange(8, 0, -1) / 36)
  return np.concatenate([lexicon[i] for i in chosen])[:length]


def slow_model(ids, order):
  """Returns `(context, symbol) -> p`, of dictionaries and sets, one n-gram at a time."""
  padded = ['start', *map(int, ids)]
  tables = []
  for n in range(1, order + 1):
    counts, before = collections.Counter(), collections.defaultdict(set)
    for i in range(1, len(padded) - n + 1):
      gram = tuple(padded[i : i + n])
      counts[gram] += 1
      before[gram].add(padded[i - 1])
    tables.append(counts if n == order else {gram: len(left) for gram, left in before.items()})

  def discount(table, count):
    ns = [sum(c == k for c in table.values()) for k in (1, 2, 3, 4)]
    fallback = [0.5, 1.0, 1.5]
    if 0 in ns:
      return fallback[min(count, 3) - 1]
    y = ns[0] / (ns[0] + 2 * ns[1])
    three = [1 - 2 * y * ns[1] / ns[0], 2 - 3 * y * ns[2] / ns[1], 3 - 4 * y * ns[3] / ns[2]]
    return (three if min(three) > 0 else fallback)[min(count, 3) - 1]

  def p(context, symbol, n):
    if n == 0:
      return 1 / V
    history = tuple(context[len(context) - n + 1 :])
    shorter = p(context, symbol, n - 1)
    if len(history) < n - 1:
      return shorter
    table = tables[n - 1]
    after = {gram: count for gram, count in table.items() if gram[:-1] == history}
    if not after:
      return shorter
    taken = {gram: discount(table, count) for gram, count in after.items()}
    gram = (*history, symbol)
    mine = after[gram] - taken[gram] if gram in after else 0.0
    return (mine + sum(taken.values()) * shorter) / sum(after.values())

  return lambda context, symbol: p(list(map(int, context)), int(symbol), order)


@pytest.mark.parametrize('order', range(1, 6))
@pytest.mark.parametrize('length', [6, 60, 400])
def test_it_is_what_dictionaries_say(order, length):
  train, held_out = words(0, length), np.append(words(1, 40), [V - 1, 0])
  slow = slow_model(train, order)
  expected = [np.log(slow(held_out[:t], held_out[t])) for t in range(len(held_out))]
  model = kneser_ney.train(train, order, V)
  np.testing.assert_allclose(
    kneser_ney.log_probs(model, held_out, held_out[:0]), expected, rtol=1e-10
  )


def test_discounts_are_estimated_where_they_can_be():
  """The 400 symbols above take both branches, or the test above would say less."""
  model = kneser_ney.train(words(0, 400), 5, V)
  ones = model.orders[-1].counted.rest
  assert len(np.unique(ones)) > 10
  assert kneser_ney._discounts(np.repeat([1, 2, 3, 4], [40, 12, 6, 4])) == pytest.approx(
    [0.625, 2 - 3 * 0.625 * 0.5, 3 - 4 * 0.625 * 4 / 6]
  )
  assert kneser_ney._discounts(np.array([1, 1, 2])) == (0.5, 1.0, 1.5)


def test_all_probabilities_sum_to_one():
  """After seen contexts, unseen ones, the end of the text, and the symbol that no text has."""
  train = words(0, 300)
  model = kneser_ney.train(train, 4, V)
  rng = np.random.default_rng(2)
  contexts = [*rng.integers(0, V, (40, 3)), train[-3:], train[:3], [V - 1] * 3, train[:1], []]
  for context in contexts:
    ids = np.array(context, np.int64)
    sums = sum(
      np.exp(kneser_ney.log_probs_by_order(model, np.array([w]), ids)[:, 0]) for w in range(V)
    )
    np.testing.assert_allclose(sums, 1.0, rtol=1e-12)


def test_order_one_is_discounted_frequencies():
  train = np.repeat([0, 1, 2, 3, 4, 5], [1, 1, 2, 3, 4, 9])
  n1, n2, n3, n4 = 2, 1, 1, 1
  y = n1 / (n1 + 2 * n2)
  d = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
  taken = d[[0, 0, 1, 2, 2, 2]]
  expected = (np.array([1, 1, 2, 3, 4, 9]) - taken + taken.sum() / V) / 20
  model = kneser_ney.train(train, 1, V)
  got = np.exp(kneser_ney.log_probs(model, np.arange(V), np.arange(0)))
  np.testing.assert_allclose(got, [*expected, taken.sum() / V / 20], rtol=1e-12)


def test_every_row_is_the_model_of_its_order():
  train, held_out = words(0, 500), words(1, 80)
  rows = kneser_ney.log_probs_by_order(kneser_ney.train(train, 5, V), held_out, train[-2:])
  for n, row in enumerate(rows, 1):
    model = kneser_ney.train(train, n, V)
    np.testing.assert_array_equal(row, kneser_ney.log_probs(model, held_out, train[-2:]))


def test_a_text_goes_on_from_its_context():
  model, held_out = kneser_ney.train(words(0, 500), 4, V), words(1, 80)
  whole = kneser_ney.log_probs(model, held_out, held_out[:0])
  np.testing.assert_array_equal(
    kneser_ney.log_probs(model, held_out[30:], held_out[:30]), whole[30:]
  )
  np.testing.assert_array_equal(
    kneser_ney.log_probs(model, held_out[30:], held_out[27:30]), whole[30:]
  )


def test_numbers_of_large_vocabularies_do_not_overflow():
  size = 2**31 - 1
  model = kneser_ney.train(np.array([size - 1, 5, size - 1, 5, 0], np.int32), 3, size)
  found = np.exp(kneser_ney.log_probs(model, np.array([5, 6]), np.array([size - 1])))
  assert found[0] > 0.3 and 0 < found[1] < 1e-6


@pytest.mark.parametrize(
  'ids, order, size, message',
  [
    ([0, 1], 3, V, 'the text has 2 symbols, expected 3 at least, the order'),
    ([0, V], 1, V, rf'a symbol is {V}, expected ids in \[0, {V}\)'),
    ([0, 1], 0, V, 'order is 0, expected an integer >= 1'),
  ],
)
def test_refusals(ids, order, size, message):
  with pytest.raises(InputError, match=message):
    kneser_ney.train(np.array(ids, np.int32), order, size)


def test_prose(data_dir):
  path = data_dir / 'warpeace' / 'warpeace_input.txt.gz'
  corpus = text.load_corpus(path=str(path), splits=(0.8, 0.1, 0.1))
  train, held_out = corpus.splits['train'], corpus.splits['test']
  model = kneser_ney.train(train, 4, len(corpus.codec.symbols))
  nats = -kneser_ney.log_probs_by_order(model, held_out, held_out[:0]).mean(1)
  np.testing.assert_allclose(nats, [3.10, 2.39, 1.93, 1.54], atol=0.01)
