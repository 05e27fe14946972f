"""Sampling against NumPy twins and step-by-step runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_research.cells import gru, lstm, min_gru
from rnn_research.combinators.depth import residual, stack
from rnn_research.combinators.weights import variational_dropout, zoneout
from rnn_research.decoding import language
from rnn_research.decoding.beam import Beam
from rnn_research.decoding.decode import decode
from rnn_research.decoding.language import sampler
from rnn_research.decoding.sampling import Sampling, check_sampling, sample
from rnn_research.decoding.step import NO_SPECIALS, Rules
from rnn_research.layers import ONE_HOT_LIMIT
from rnn_research.models.language_model import language_model

V = 7
LOGITS = np.array(
  [[0.3, 2.0, -1.0, 0.9, 2.0, -3.0, 0.0], [1.0, 0.0, 0.5, -0.5, 0.2, 3.0, -2.0]], np.float32
)


@pytest.fixture(scope='module')
def model():
  """Returns (model, params) whose most probable symbols vary, over an embedding and two layers."""
  model = language_model(
    (gru(6), lstm(5)), V, embedding_size=4, w_init=jax.nn.initializers.normal(2.0)
  )
  return model, jax.tree.map(lambda a: a * 1.5, model.init(jax.random.key(4)))


def draw(logits, sampling):
  return sample(jax.random.gumbel(jax.random.key(0), logits.shape), logits, sampling)


def frequencies(sampling, num_draws=40_000):
  """Returns how often each symbol is drawn from each row of LOGITS."""
  logits = jnp.repeat(LOGITS, num_draws, 0)
  drawn = np.asarray(draw(logits, sampling)).reshape(2, num_draws)
  return np.stack([np.bincount(row, minlength=V) / num_draws for row in drawn])


def expected(sampling):
  """Returns the probabilities that `sample` should follow, one row and one symbol at a time."""
  rows = []
  for row in LOGITS.astype(np.float64):
    probabilities = np.exp(row / sampling.temperature)
    probabilities /= probabilities.sum()
    order = sorted(range(V), key=lambda i: (-probabilities[i], i))
    order = order[: sampling.top_k] if sampling.top_k else order
    total, kept, reached = sum(probabilities[i] for i in order), [], 0.0
    for i in order:
      if reached < sampling.top_p:
        kept.append(i)
      reached += probabilities[i] / total
    rows.append([probabilities[i] if i in kept else 0.0 for i in range(V)])
  return np.array(rows) / np.sum(rows, 1, keepdims=True)


@pytest.mark.parametrize(
  'sampling',
  [
    Sampling(),
    Sampling(0.5),
    Sampling(2.0),
    Sampling(1.0, 3),
    Sampling(1.0, 1),
    Sampling(1.0, 2),
    Sampling(0.7, 100),
    Sampling(1.0, 0, 0.6),
    Sampling(1.0, 0, 0.95),
    Sampling(1.0, 0, 1e-6),
    Sampling(1.3, 4, 0.8),
  ],
  ids=str,
)
def test_draws_follow_the_distribution(sampling):
  found, wanted = frequencies(sampling), expected(sampling)
  assert ((found > 0) <= (wanted > 0)).all()
  np.testing.assert_allclose(found, wanted, atol=0.01)


def test_of_equal_logits_exactly_k_stay():
  logits = jnp.zeros((500, V))
  drawn = draw(logits, Sampling(1.0, 2))
  assert set(drawn.tolist()) == {0, 1}
  assert set(draw(logits, Sampling(1.0, 1)).tolist()) == {0}


def test_temperature_zero_takes_the_most_probable():
  assert draw(jnp.asarray(LOGITS), Sampling(0.0)).tolist() == [1, 5]


@pytest.mark.parametrize(
  ('sampling', 'text'),
  [
    (Sampling(-0.1), 'temperature is -0.1'),
    (Sampling(float('nan')), 'temperature is nan'),
    (Sampling(float('inf')), 'temperature is inf'),
    (Sampling(1.0, -1), 'top_k is -1'),
    (Sampling(1.0, 0, 0.0), 'top_p is 0.0'),
    (Sampling(1.0, 0, 1.1), 'top_p is 1.1'),
  ],
)
def test_numbers_out_of_range(sampling, text):
  with pytest.raises(ValueError, match=text):
    check_sampling(sampling)


compiled = functools.cache(sampler)


def run(model, sampling, prompt, length, seed=0, forbidden=()):
  model, params = model
  pieces = list(compiled(model, forbidden)(params, prompt, length, jax.random.key(seed), sampling))
  assert all(len(piece) <= 64 and piece.dtype == np.int32 for piece in pieces)
  return np.concatenate(pieces)


def greedy_by_steps(model, prompt, length):
  """Returns the most probable continuation, one jitted step of the stacked cells at a time."""
  model, params = model
  cell = stack(*model.cells)

  @jax.jit
  def advance(states, ids):
    u = jax.tree.map(lambda a: a[0], cell.project(params['cells'], model.embed(params, ids)[None]))
    states, hs = cell.step(params['cells'], states, u)
    return states, jnp.argmax(model.logits(params, hs), -1)

  states, written = model.initial_state(params, prompt.shape[1]), []
  for ids in prompt:
    states, ids = advance(states, jnp.asarray(ids))
  for _ in range(length):
    written.append(np.asarray(ids))
    states, ids = advance(states, ids)
  return np.stack(written)


PROMPT = np.array([[1, 2], [3, 3], [5, 0]], np.int32)


@pytest.mark.parametrize('length', [1, 2, 64, 65, 66, 200])
def test_chunks_equal_one_step_at_a_time(model, length):
  written = run(model, Sampling(0.0), PROMPT, length)
  assert written.shape == (length, 2)
  np.testing.assert_array_equal(written, greedy_by_steps(model, PROMPT, length))


@pytest.mark.parametrize(
  ('num_symbols', 'embedding_size', 'cell'),
  [
    (V, 0, gru(6)),
    (ONE_HOT_LIMIT + 1, 4, gru(6)),
    (V, 4, min_gru(6)),
    (V, 4, residual(gru(4))),
    (V, 4, variational_dropout(gru(6), input_rate=0.3, state_rate=0.3)),
  ],
)
def test_symbols_in_a_table_equal_symbols_projected(num_symbols, embedding_size, cell):
  wide = language_model(
    (cell, lstm(5)),
    num_symbols,
    embedding_size=embedding_size,
    w_init=jax.nn.initializers.normal(2.0),
  )
  params = jax.tree.map(lambda a: a * 1.5, wide.init(jax.random.key(4)))
  written = run((wide, params), Sampling(0.0), PROMPT, 70)
  np.testing.assert_array_equal(written, greedy_by_steps((wide, params), PROMPT, 70))
  assert len(set(written.ravel().tolist())) > 2


def test_the_greedy_run_is_no_constant(model):
  written = run(model, Sampling(0.0), PROMPT, 50)
  assert len(set(written[:, 0].tolist())) > 1
  assert (written[:, 0] != written[:, 1]).any()


def test_a_batch_of_prompts_equals_one_by_one(model):
  together = run(model, Sampling(0.0), PROMPT, 80)
  for lane in range(2):
    np.testing.assert_array_equal(
      run(model, Sampling(0.0), PROMPT[:, lane : lane + 1], 80), together[:, lane : lane + 1]
    )


def test_seeds(model):
  one = run(model, Sampling(1.0), PROMPT, 130)
  np.testing.assert_array_equal(one, run(model, Sampling(1.0), PROMPT, 130))
  np.testing.assert_array_equal(one[:70], run(model, Sampling(1.0), PROMPT, 70))
  assert (one != run(model, Sampling(1.0), PROMPT, 130, seed=1)).any()


def test_no_two_chunks_and_no_two_rows_share_random_numbers(model):
  model, params = model
  even = params | {'head': jax.tree.map(jnp.zeros_like, params['head'])}
  drawn = run((model, even), Sampling(1.0), PROMPT, 193)
  for one, other in (
    (drawn[1:65], drawn[65:129]),
    (drawn[65:129], drawn[129:]),
    (drawn[:, 0], drawn[:, 1]),
  ):
    assert 0.6 < (one != other).mean() < 1


def test_forbidden_symbols_are_never_drawn(model):
  model, params = model
  params = params | {'head': {'w': params['head']['w'], 'b': jnp.zeros(V).at[4].set(20.0)}}
  free = run((model, params), Sampling(1.0), PROMPT, 100)
  assert (free == 4).mean() > 0.9
  for how in (Sampling(0.0), Sampling(1.0), Sampling(5.0, 2), Sampling(5.0, 0, 0.9)):
    assert not np.isin(run((model, params), how, PROMPT, 200, forbidden=(4, 0)), (0, 4)).any()


def test_a_sampler_writes_at_the_temperature_that_it_is_given(model):
  greedy, hot = run(model, Sampling(0.0), PROMPT, 100), run(model, Sampling(1e4), PROMPT, 100)
  np.testing.assert_array_equal(run(model, Sampling(1e-4), PROMPT, 100), greedy)
  assert np.bincount(hot.ravel(), minlength=V).min() > hot.size / V / 2


def test_one_compilation_for_all_lengths_keys_and_temperatures(model, monkeypatch):
  draws = []
  monkeypatch.setattr(language, 'sample', lambda *args: draws.append(1) or sample(*args))
  generate = sampler(model[0])
  for seed, length in enumerate((300, 1, 65, 1000)):
    pieces = generate(model[1], PROMPT, length, jax.random.key(seed), Sampling(0.5 + seed))
    assert sum(map(len, pieces)) == length
  assert len(draws) == 2  # traced once after the prompt and once in the loop


@pytest.mark.parametrize(
  'cell', [zoneout(gru(6), 0.4), variational_dropout(gru(6), input_rate=0.3, state_rate=0.3)]
)
def test_the_network_itself_is_deterministic_while_it_writes(cell):
  noisy = language_model((cell,), V, embedding_size=4)
  params = noisy.init(jax.random.key(0))
  generate = sampler(noisy)
  first, second = (
    np.concatenate(list(generate(params, PROMPT, 80, jax.random.key(seed), Sampling(0.0))))
    for seed in (0, 1)
  )
  np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
  'cell', [zoneout(gru(6), 0.4), variational_dropout(gru(6), input_rate=0.3, state_rate=0.3)]
)
def test_the_noise_of_cells_needs_no_dropout_of_the_model(cell):
  noisy = language_model((cell,), V, dropout=0.0)
  params = noisy.init(jax.random.key(0))
  run = lambda key: noisy.unroll(
    params, noisy.initial_state(params, PROMPT.shape[1]), PROMPT, key=key
  )[1]
  assert (np.asarray(run(jax.random.key(1))) != np.asarray(run(jax.random.key(2)))).any()


@pytest.mark.parametrize('how', [Sampling(0.7), Sampling(1.0, 0, 0.9)])
def test_top_k_of_all_symbols_draws_what_no_top_k_draws(how):
  logits = jnp.repeat(LOGITS, 300, 0)
  for top_k in (V, V + 1, 1000):
    np.testing.assert_array_equal(draw(logits, how._replace(top_k=top_k)), draw(logits, how))


@pytest.mark.parametrize('temperature', [1e-39, 1e-45, 1e-7])
def test_a_temperature_too_low_to_divide_by_is_zero(temperature):
  assert draw(jnp.asarray(LOGITS), Sampling(temperature)).tolist() == [1, 5]
  logits = jnp.float32([[1e3, 2e3, 5.0]])
  assert draw(logits, Sampling(temperature)).tolist() == [1]


NO_ENDS = Rules(20, (0,), NO_SPECIALS)


@pytest.mark.parametrize('how', [Beam(), Beam(4, 0.0), Sampling(0.9)])
def test_a_language_model_is_decoded_like_any_other(model, how):
  """Greedy, by beam search and drawn: what is written has the probability that it says."""
  model, params = model
  states, _ = model.read(params, PROMPT[:-1])
  prepared = model.prepare(params, 2)
  first, limits = jnp.asarray(PROMPT[-1]), jnp.full(2, 20)
  found = decode(
    lambda copies: model.stepper(prepared),
    states,
    first,
    limits,
    NO_ENDS,
    how,
    key=jax.random.key(0),
  )
  assert found.ids.shape == (2, how.size if isinstance(how, Beam) else 1, 20)
  for row in range(2):
    for ids, log_prob in zip(found.ids[row], found.log_probs[row], strict=True):
      whole = np.concatenate([PROMPT[:, row], ids])[:, None]
      _, hs = model.unroll(params, model.initial_state(params, 1), whole[:-1])
      log_p = jax.nn.log_softmax(model.logits(params, hs)[:, 0], -1)
      expected = log_p[np.arange(len(whole) - 1), whole[1:, 0]][-20:].sum()
      np.testing.assert_allclose(log_prob, expected, rtol=1e-4)
  if how == Beam():
    np.testing.assert_array_equal(
      found.ids[:, 0].T, run((model, params), Sampling(0.0), PROMPT, 20, forbidden=(0,))
    )
  if how == Beam(4, 0.0):
    greedily = decode(
      lambda copies: model.stepper(prepared), states, first, limits, NO_ENDS, Beam()
    )
    assert (found.log_probs[:, 0] >= greedily.log_probs[:, 0] - 1e-5).all()


def test_draws_need_a_key(model):
  model, params = model
  stepper = lambda copies: model.stepper(model.prepare(params, copies))
  states, first = model.initial_state(params, 2), jnp.asarray(PROMPT[-1])
  with pytest.raises(ValueError, match='there is no key'):
    decode(stepper, states, first, jnp.full(2, 20), NO_ENDS, Sampling(0.9))
