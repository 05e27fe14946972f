"""The fused engine over sequences long enough to be cut into chunks, and the choice of an engine."""

import inspect
import re

import jax
import numpy as np
import pytest
from cells_under_test import (
  BATCH,
  assert_close,
  assert_near,
  assert_same,
  gradients,
  inputs,
  loss_of,
  noisy,
  perturbed,
  run,
  stepped,
)

from rnn_research import CELLS, gru, lstm, unroll
from rnn_research.cells import make_cell
from rnn_research.cells.elman import elman
from rnn_research.engines import dispatch, fused
from rnn_research.engines.parallel.newton import newton_scan
from rnn_research.engines.parallel.shooting import shooting_scan
from rnn_research.errors import InputError


def forms_of(name):
  """Returns the names of a cell's whole-sequence forms, the first of which runs everywhere."""
  scan = make_cell(name, 4).scan
  return [] if scan is None else [form.name for form in scan.forms]


FUSED = [name for name in CELLS if 'fused' in forms_of(name)]
CHUNK, LONG = 40, 89  # steps: two chunks and a rest


@pytest.fixture(params=FUSED)
def long(request, monkeypatch):
  """Returns a cell, parameters that keep its states bounded, inputs of LONG steps and a state."""
  cell, xs = CELLS[request.param](5), inputs(LONG)
  params = jax.tree.map(lambda a: 0.5 * a, perturbed(cell, scale=0.1))
  gates = jax.tree.leaves(jax.eval_shape(cell.project, params, xs[:CHUNK]))
  monkeypatch.setattr(fused, '_CACHE_BYTES', sum(4 * u.size for u in gates))
  return cell, params, xs, noisy(cell.initial_state(params, 3), 3)


def test_chunks_equal_stepping_in_values_and_gradients(long):
  cell, params, xs, state = long
  rng = np.random.default_rng(5)
  loops = {}, {'mask': rng.random((LONG, 3)) < 0.8, 'reset': rng.random((LONG, 3)) < 0.05}
  for loop in loops:
    got, expected = (gradients(c, params, xs, state, **loop) for c in (cell, stepped(cell)))
    assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(abs(expected[0][0])))


def test_chunks_under_rematerialisation_equal_stepping(long):
  cell, params, xs, state = long
  # Three chunks of 28, and a rest of 5 steps.
  got = gradients(cell, params, xs, state, remat_every=84)
  expected = gradients(stepped(cell), params, xs, state)
  assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(abs(expected[0][0])))


@pytest.mark.parametrize(('num_steps', 'batch_size'), [(0, 3), (4, 0), (0, 0)])
@pytest.mark.parametrize('name', FUSED)
def test_no_steps_or_no_rows(name, num_steps, batch_size):
  cell = CELLS[name](5)
  params, xs = perturbed(cell), inputs(num_steps, batch_size)
  state = noisy(cell.initial_state(params, batch_size), 3)
  assert_same(
    jax.tree.map(np.asarray, unroll(cell, params, xs, state)),
    unroll(stepped(cell), params, xs, state),
  )
  assert unroll(cell, params, xs, state)[1].shape == (num_steps, batch_size, 5)


def test_a_batch_larger_than_a_chunk_is_taken_step_by_step(monkeypatch):
  # Of 12 bytes of a matrix and 36 of three rows of gates.
  monkeypatch.setattr(fused, '_CACHE_BYTES', 20)
  cell = gru(1)
  params, state = perturbed(cell), noisy(cell.initial_state(perturbed(cell), 3), 3)
  got, expected = (gradients(c, params, inputs(), state) for c in (cell, stepped(cell)))
  assert_close(got, expected, rtol=1e-4, atol=2e-5)
  assert outer_loops(cell, params, inputs(), state) == [len(inputs())]


def test_the_input_is_cut_into_chunks(long):
  cell, params, xs, state = long
  assert outer_loops(cell, params, xs, state) == [2]
  assert outer_loops(cell, params, xs[:84], state) == [3]


def test_a_state_without_h_is_refused():
  with pytest.raises(ValueError, match='tuple has no field h, which a fused scan gives'):
    fused.fused_scan(None, None, inputs(), ())


def outer_loops(cell, *args):
  """Returns the number of chunks of every loop over chunks, each around a loop over steps."""
  equations = jax.make_jaxpr(loss_of(cell))(*args).eqns
  return [e.params['length'] for e in equations if e.primitive.name == 'scan']


@pytest.mark.parametrize(
  'hidden_size, num_steps, batch_size, expected',
  [
    (128, 50, 25, 10),
    (128, 47, 25, 20),
    (128, 100, 50, 10),
    (128, 10, 25, 10),
    (128, 3, 5000, 1),
    (512, 50, 25, 50),
    (512, 1024, 25, 256),
  ],
)
def test_a_chunk_of_gates_fits_the_cache_or_is_large_beside_the_matrix(
  hidden_size, num_steps, batch_size, expected
):
  w_h = [np.zeros((hidden_size, 4 * hidden_size))]
  assert fused._chunk_length(num_steps, batch_size, w_h) == expected


@pytest.mark.parametrize(
  'name, lengths',
  [*((name, None) for name in FUSED), ('gru_reset_before', (9, 0, 3)), ('lstm', ())],
)
def test_the_form_for_accelerators_equals_that_for_cpus(monkeypatch, name, lengths):
  cell = CELLS[name](5, engine='fused')
  params, xs = perturbed(cell), inputs(0 if lengths == () else 9)
  mask = np.arange(9)[:, None] < np.array(lengths) if lengths else None
  loss = lambda params, xs: sum(
    a.sum() for a in jax.tree.leaves(unroll(cell, params, xs, mask=mask))
  )
  differentiate = lambda: jax.jit(jax.value_and_grad(lambda *args: loss(*args), (0, 1)))(params, xs)
  expected = differentiate()
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert_near(differentiate(), expected, 3e-6)


@pytest.mark.parametrize('factory', [elman, gru, lstm])
def test_an_engine_can_be_forced(factory):
  assert factory(4, engine='scan').scan is None
  auto = factory(4)
  params, xs = perturbed(auto), inputs()
  state = auto.initial_state(params, BATCH)
  expected = run(auto, params, xs, state)
  for engine in ('fused', 'newton', 'shooting'):
    forced = factory(4, engine=engine)
    assert_close(run(forced, params, xs, state), expected, rtol=1e-4, atol=1e-5)
  with pytest.raises(ValueError, match="engine is 'warp', expected one of auto, scan, fused"):
    factory(4, engine='warp')


def test_the_choice_is_explained():
  assert dispatch.explain('lstm', 'auto', lstm(5).scan) == (
    f'fused scan with a hand-written backward pass (the fastest measured for lstm on {jax.default_backend()})'
  )
  assert dispatch.explain('gru', 'scan', None) == 'step by step under lax.scan (asked for)'
  own = dispatch.explain('gru', 'auto', lambda params, state, xs: None)
  assert own == 'the form for whole sequences of gru itself'
  assert dispatch.explain('lstm_peephole', 'auto', None) == (
    'step by step under lax.scan (lstm_peephole has no form of its own for whole sequences)'
  )


PLAIN = 'step by step under lax.scan'


@pytest.mark.parametrize('name', CELLS)
def test_what_is_explained_of_auto_is_what_runs(name):
  if jax.default_backend() != 'cpu':
    pytest.skip('on a CPU every form that was measured can run')
  cell, measured = make_cell(name, 4), dispatch.FASTEST.get(('cpu', name), ())
  said = dispatch.explain(name, 'auto', cell.scan)
  if cell.scan is None:
    assert not measured
    assert said == f'{PLAIN} ({name} has no form of its own for whole sequences)'
    return
  engine = (*measured, *forms_of(name))[0]
  why = 'the fastest measured' if measured else 'the default, nothing was measured'
  assert cell.scan.cell == name and cell.scan.name() == engine
  assert said == f'{dispatch.DESCRIPTIONS[engine]} ({why} for {name} on cpu)'


def test_every_row_of_the_table_belongs_to_a_cell_and_its_forms():
  for (_, name), engines in dispatch.FASTEST.items():
    scan = make_cell(name, 4).scan
    assert scan.cell == name and set(engines) <= {form.name for form in scan.forms}


def test_names_of_forms_are_explained():
  scans = [make_cell(name, 4).scan for name in CELLS]
  names = {form.name for scan in scans if scan is not None for form in scan.forms}
  assert names | {'scan', 'newton', 'shooting'} == set(dispatch.DESCRIPTIONS)


# One of each kind of state and of recurrence: the others are one code with one of these.
KINDS = ['elman', 'gru', 'layer_norm_lstm', 'lru', 'lstm', 'lstm_fgr', 'mgu', 'min_lstm', 'mlstm']
KINDS += ['mut1', 'nas', 'rhn']


@pytest.mark.parametrize('name', CELLS)
def test_every_cell_takes_the_engines_that_need_no_form(name):
  assert make_cell(name, 3, engine='scan').scan is None
  scans = [make_cell(name, 3, engine=engine).scan for engine in ('newton', 'shooting')]
  runs = [inspect.getclosurevars(scan).nonlocals['run'] for scan in scans]
  assert runs == [newton_scan, shooting_scan]


@pytest.mark.parametrize(
  ('name', 'values_of'), [*((name, run) for name in KINDS), ('mut1', gradients)]
)
def test_the_engines_that_need_no_form_equal_stepping(name, values_of):
  plain = make_cell(name, 3, engine='scan')
  params, xs = perturbed(plain, scale=0.1), inputs(5)
  state = noisy(plain.initial_state(params, 3), 3)
  loop = {
    'mask': np.array([[1, 1, 1, 0, 1], [0] * 5, [1] * 5], bool).T,
    'reset': np.array([[0, 0, 1, 0, 0], [0] * 5, [0, 0, 0, 0, 1]], bool).T,
  }
  expected = values_of(plain, params, xs, state, **loop)
  for engine in ('newton', 'shooting'):
    cell = make_cell(name, 3, engine=engine)
    assert_near(values_of(cell, params, xs, state, **loop), expected, 2e-4)


@pytest.mark.parametrize('name', ['gru', 'lru', 'min_gru', 'min_lstm'])
def test_a_cell_that_steps_has_forward_mode(name):
  cell = make_cell(name, 3, engine='scan')
  params, xs = perturbed(cell), inputs(3)
  state = cell.initial_state(params, 3)
  ys, tangents = jax.jvp(lambda s: unroll(cell, params, xs, s)[1], (state,), (state,))
  assert tangents.shape == ys.shape


def test_a_hessian_passes_the_fused_form():
  params, xs = perturbed(elman(2)), inputs(2, 1)
  loss = lambda cell: lambda b: unroll(cell, params._replace(b=b), xs)[1].sum()
  got, expected = (
    jax.jit(jax.hessian(loss(elman(2, engine=engine))))(params.b) for engine in ('auto', 'scan')
  )
  assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ('name', 'options', 'sentence'),
  [
    ('lstm', {'forget_bais': 3.0}, "lstm has no option 'forget_bais', did you mean forget_bias?"),
    (
      'gru',
      {'forget_bias': 3.0},
      "gru has no option 'forget_bias' (options: chrono_steps, dtype, ",
    ),
    ('gru_reset_before', {'reset': 'after'}, "gru_reset_before has no option 'reset'"),
    ('lstm_peephole', {'change': 'np'}, "lstm_peephole has no option 'change'"),
    ('lru', {'hidden_sise': 3}, "lru has no option 'hidden_sise'"),
  ],
)
def test_an_option_that_a_cell_lacks_is_refused(name, options, sentence):
  with pytest.raises(InputError, match=re.escape(sentence)):
    make_cell(name, 4, **options)
