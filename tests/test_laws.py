"""The laws of a cell, each tested over the whole table of cells and combinators."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  BATCH,
  CASES,
  FUSED,
  HALF,
  HIDDEN,
  LENGTHS,
  NUM_INPUTS,
  NUM_STEPS,
  STOCHASTIC,
  assert_close,
  assert_same,
  gradients,
  inputs,
  loss_from,
  loss_of,
  make,
  noisy,
  perturbed,
  run,
  stepped,
)

from rnn_research import (
  CELLS,
  gru,
  learned_initial_state,
  length_mask,
  lstm,
  stack,
  unroll,
  unroll_layers,
)
from rnn_research import cell as contract
from rnn_research.cells.lstm_variants import VARIANTS
from rnn_research.layers import OneHot

pytestmark = pytest.mark.usefixtures('strict_shapes')
every_cell = pytest.mark.parametrize('name', CASES)
# Where a gate is left out, nothing else than in `lstm_peephole`, whose step they share, can happen behind a mask.
every_step = pytest.mark.parametrize(
  'name', [name for name in CASES if name.removeprefix('lstm_') not in VARIANTS]
)
# Nor can anything else pass from row to row or be rounded, but where gates are fed back.
every_form = pytest.mark.parametrize(
  'name', [name for name in CASES if name.removeprefix('lstm_') not in {*VARIANTS} - {'fgr'}]
)
# What `unroll` decides: every registered cell, and of the combinators, which step in one loop, those that draw and one.
every_loop = pytest.mark.parametrize(
  'name',
  sorted(
    {name for name in CELLS if name.removeprefix('lstm_') not in VARIANTS}
    | {*FUSED, *STOCHASTIC, 'lstm_projection', 'layer_norm'}
  ),
)
fused_cell = pytest.mark.parametrize('name', FUSED)
fused_registered_cell = pytest.mark.parametrize('name', [name for name in FUSED if name in CELLS])

MASK = np.asarray(length_mask(np.array(LENGTHS), NUM_STEPS))
HOLES = np.array([[1, 0, 1, 1, 0, 1, 1, 1], [0] * 8, [1, 1, 1, 0, 0, 0, 0, 0]], bool).T
RESET = np.array([[0, 0, 1, 0, 0, 1, 0, 0], [1] + [0] * 7, [0, 1, 1, 0, 0, 0, 1, 0]], bool).T
LOOPS = {
  'plain': {},
  'mask': {'mask': HOLES},
  'reset': {'reset': RESET},
  'both': {'mask': HOLES, 'reset': RESET},
}
TRIVIAL = {'mask': np.ones_like(HOLES), 'reset': np.zeros_like(RESET)}


@functools.cache
def setup(name, dtype=jnp.float32):
  """Returns a cell, generic parameters, inputs and a state that is not the initial one."""
  cell = make(name, dtype)
  params = perturbed(cell)
  return cell, params, inputs(), noisy(cell.initial_state(params, BATCH), 3)


def rows(tree, keep, axis):
  return jax.tree.map(lambda a: np.take(a, keep, axis), tree)


@every_cell
def test_projecting_a_sequence_equals_projecting_its_steps(name):
  cell, params, xs, _ = setup(name)

  @jax.jit
  def both(params, xs):
    steps = [cell.project(params, xs[t : t + 1]) for t in range(NUM_STEPS)]
    return cell.project(params, xs), jax.tree.map(lambda *us: jnp.concatenate(us), *steps)

  assert_close(*both(params, xs))


@every_loop
def test_two_chunks_equal_one_unroll(name):
  cell, params, xs, state = setup(name)
  whole = run(cell, params, xs, state, **LOOPS['both'])
  middle, first = run(cell, params, xs[:HALF], state, mask=HOLES[:HALF], reset=RESET[:HALF])
  end, second = run(cell, params, xs[HALF:], middle, mask=HOLES[HALF:], reset=RESET[HALF:])
  assert_close((end, np.concatenate([first, second])), whole)


@every_loop
def test_padding_changes_neither_state_nor_earlier_outputs(name):
  cell, params, xs, state = setup(name)
  end, ys = run(cell, params, np.where(MASK[..., None], xs, np.float32('nan')), state, mask=MASK)
  full_end, full_ys = run(cell, params, xs, state)
  short_end, _ = run(cell, params, xs[:HALF], state)
  assert_close(ys, np.where(MASK[..., None], full_ys, np.float32(0)))
  assert not np.asarray(ys)[~MASK].any()
  assert_close(rows(end, [0], 0), rows(full_end, [0], 0))
  assert_same(rows(end, [1], 0), rows(state, [1], 0))
  assert_close(rows(end, [2], 0), rows(short_end, [2], 0))


@every_step
def test_padding_holds_the_state_bit_for_bit_and_has_no_gradient(name):
  cell, params, xs, state = setup(name)
  mask = HOLES & (np.arange(NUM_STEPS) < HALF)[:, None]
  xs = np.where(mask[..., None], xs, np.float32('nan'))
  expected = run(cell, params, xs[:HALF], state, mask=mask[:HALF])
  end, ys = run(cell, params, xs, state, mask=mask)
  assert_close((end, ys[:HALF]), expected)
  assert_same(run(cell, params, np.nan_to_num(xs, nan=7.0), state, mask=mask), (end, ys))
  held, nothing = run(cell, params, xs, end, mask=np.zeros_like(mask))
  assert_same((held, nothing), (end, np.zeros_like(ys)))
  values, (dparams, dxs, dstate) = gradients(
    cell, params, xs, state, mask=mask, reset=np.zeros_like(mask)
  )
  assert all(np.isfinite(a).all() for a in jax.tree.leaves((values, dparams, dxs, dstate)))
  assert not np.asarray(dxs)[~mask].any()
  assert_same(rows(dstate, [1], 0), jax.tree.map(lambda a: 2 * a, rows(state, [1], 0)))


@every_form
def test_rows_are_independent(name):
  cell, params, xs, state = setup(name)
  others = [0, 2]
  broken = np.array(xs)
  broken[:, 1] = np.nan
  end, ys = run(cell, params, xs, state)
  broken_end, broken_ys = run(cell, params, broken, state)
  assert_same(rows((broken_end, broken_ys[-1]), others, 0), rows((end, ys[-1]), others, 0))
  assert_same(rows(broken_ys, others, 1), rows(ys, others, 1))
  _, (_, dxs, dstate) = gradients(cell, params, xs, state, **TRIVIAL)
  _, (_, broken_dxs, broken_dstate) = gradients(cell, params, broken, state, **TRIVIAL)
  assert_same(
    (rows(broken_dxs, others, 1), rows(broken_dstate, others, 0)),
    (rows(dxs, others, 1), rows(dstate, others, 0)),
  )


@pytest.mark.parametrize(
  'name', ['lstm', 'lstm_projection', 'gru_reset_before', 'stack_stochastic', 'learned_stack']
)
def test_a_stack_in_one_loop_equals_layer_by_layer(name):
  cells = make(name), gru(3)
  whole = stack(*cells)
  params = perturbed(whole)
  states = noisy(whole.initial_state(params, BATCH), 3)

  def layerwise(params, xs, states):
    ends, ys = unroll_layers(cells, params, xs, states, **LOOPS['both'])
    return loss_from(ends, ys), (ends, ys)

  one_loop = gradients(stepped(whole), params, inputs(), states, **LOOPS['both'])
  by_layer = jax.jit(jax.value_and_grad(layerwise, (0, 1, 2), has_aux=True))
  assert_close(one_loop, by_layer(params, inputs(), states), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ('name', 'loop'),
  # What a mask or a reset alone leaves out is left out by each of the two forms, whatever the cell.
  [
    (name, loop)
    for name in FUSED
    for loop in LOOPS
    if loop == 'both' or (name in CELLS and loop == 'plain') or name in ('lstm', 'lru')
  ],
)
def test_scan_equals_stepping_in_values_and_gradients(name, loop):
  cell, params, xs, state = setup(name)
  value, gradient = gradients(cell, params, xs, state, **LOOPS[loop])
  # One program for all loops: that a trivial mask and reset change nothing is a law of its own.
  expected_value, expected_gradient = gradients(
    stepped(cell), params, xs, state, **TRIVIAL | LOOPS[loop]
  )
  assert_close(value, expected_value)
  assert_close(gradient, expected_gradient, rtol=1e-4, atol=2e-5)


@every_loop
def test_a_trivial_mask_and_reset_change_nothing(name):
  cell, params, xs, state = setup(name)
  assert_close(
    jax.jit(lambda *args: unroll(cell, *args))(params, xs, state), run(cell, params, xs, state)
  )


@fused_cell
def test_scan_equals_stepping_where_everything_is_zero(name):
  cell, params, xs, state = setup(name)
  params, xs, state = jax.tree.map(jnp.zeros_like, (params, xs, state))
  got, expected = (gradients(c, params, xs, state, **TRIVIAL) for c in (cell, stepped(cell)))
  assert_close(got, expected)


# One for every form of the backward pass: of two states, of gates before and after the product, of none, of a product
# of matrices and of elements.
@pytest.mark.parametrize('name', ['lstm', 'gru', 'gru_reset_before', 'elman', 'lru', 'min_lstm'])
def test_second_derivatives_of_scan_equal_those_of_stepping(name):
  cell, params, xs, state = setup(name)

  def penalty(cell):
    gradient = jax.grad(loss_of(cell, **LOOPS['both']), (0, 1, 2), has_aux=True)
    squares = lambda *args: sum(jnp.sum(a * a) for a in jax.tree.leaves(gradient(*args)[0]))
    return jax.jit(jax.grad(squares, (0, 1, 2)))

  got, expected = (penalty(c)(params, xs, state) for c in (cell, stepped(cell)))
  scale = max(float(jnp.abs(a).max()) for a in jax.tree.leaves(expected))
  assert_close(got, expected, rtol=1e-3, atol=1e-5 * scale)


@fused_registered_cell
def test_forward_mode_goes_through_step_and_is_refused_by_scan(name):
  cell, params, xs, state = setup(name)

  def tangent(cell):
    ys = lambda state: unroll(cell, params, xs, state)[1]
    return jax.jit(lambda state: jax.jvp(ys, (state,), (state,)))(state)

  assert np.isfinite(tangent(stepped(cell))[1]).all()
  with pytest.raises(TypeError, match='forward-mode'):
    tangent(cell)


@fused_cell
def test_a_cell_with_scan_ignores_key_and_ctx_in_step(name):
  cell, params, xs, state = setup(name)

  @jax.jit
  def both(params, state, xs):
    u = jax.tree.map(lambda a: a[0], cell.project(params, xs))
    with_both = cell.step(params, state, u, key=jax.random.key(5), ctx=jnp.ones((BATCH, 2)))
    return with_both, cell.step(params, state, u)

  assert_same(*both(params, state, xs))


@every_cell
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_state_keeps_structure_shape_and_dtype(name, dtype):
  cell, params, xs, state = setup(name, dtype)
  signature = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
  end, ys = jax.eval_shape(lambda *args: unroll(cell, *args, **LOOPS['both']), params, xs, state)
  assert signature(end) == signature(state) == signature(cell.initial_state(params, BATCH))
  assert {a.dtype for a in jax.tree.leaves(end)} == {jnp.dtype(jnp.float32)}
  assert (ys.shape[:2], ys.dtype) == ((NUM_STEPS, BATCH), jnp.dtype(dtype))


@every_cell
def test_leaves_of_the_initial_state_are_arrays_of_their_own(name):
  cell, params, _, _ = setup(name)
  leaves = jax.tree.leaves(cell.initial_state(params, BATCH))
  # Else they cannot be donated.
  assert len({a.unsafe_buffer_pointer() for a in leaves}) == len(leaves)


# One for each way to run a chunk: fused, by prefix sums, with weights drawn once, and step by step.
@pytest.mark.parametrize(
  'name', ['lstm', 'lru', 'weight_dropout', 'learned_stack', 'stack_stochastic']
)
def test_rematerialisation_changes_no_gradient(name):
  cell, params, xs, state = setup(name)
  keywords = LOOPS['both'] | ({'key': jax.random.key(7)} if name in STOCHASTIC else {})
  expected = gradients(cell, params, xs, state, **keywords)
  assert all(np.isfinite(a).all() for a in jax.tree.leaves(expected))
  # 3 does not divide the number of steps.
  for every in (4, 3) if name == 'lstm' else (3,):
    assert_close(
      gradients(cell, params, xs, state, remat_every=every, **keywords), expected, 1e-4, 1e-5
    )


@pytest.mark.parametrize(
  'name',
  # Of the LSTM's variants, those whose cell state, output and input are not bounded by a gate or an activation.
  [n for n in CELLS if n.removeprefix('lstm_') not in VARIANTS or n[5:] in ('nfg', 'noaf', 'niaf')],
)
def test_gradients_are_finite_at_a_thousand_steps(name):
  cell = make(name)
  xs = inputs(1000)
  # As training starts: perturbed weights may well explode.
  params = cell.init(jax.random.key(0), xs[0])
  value, gradient = gradients(cell, params, xs, cell.initial_state(params, BATCH))
  assert all(np.isfinite(a).all() for a in jax.tree.leaves((value, gradient)))
  assert all(np.asarray(a).any() for a in jax.tree.leaves(gradient[0]))


# One for each way through `unroll`: it runs every operation as a program of its own.
@pytest.mark.parametrize(
  'name', ['lstm', 'lru', 'lstm_peephole', 'weight_dropout', 'learned_stack', 'stack_stochastic']
)
def test_jit_equals_no_jit_with_one_trace(name):
  cell, params, xs, state = setup(name)
  traces = []

  @jax.jit
  def jitted(params, xs, state, mask, key):
    traces.append(name)
    return unroll(cell, params, xs, state, mask=mask, key=key)

  key = jax.random.key(0)
  assert_close(
    jitted(params, xs, state, MASK, key), unroll(cell, params, xs, state, mask=MASK, key=key)
  )
  end, _ = jitted(params, xs + 1.0, state, MASK, key)
  jitted(params, xs, end, HOLES, jax.random.key(1))
  assert len(traces) == 1


SYMBOLS = jnp.asarray(
  np.random.default_rng(5).integers(0, NUM_INPUTS, (NUM_STEPS, BATCH)), jnp.int32
)
READ = OneHot(SYMBOLS, NUM_INPUTS), jax.nn.one_hot(SYMBOLS, NUM_INPUTS)


@every_form
def test_symbols_equal_one_hot_vectors(name):
  cell, params, _, state = setup(name)
  looked_up, multiplied = (run(cell, params, xs, state, mask=HOLES) for xs in READ)
  assert_close(looked_up, multiplied)


@fused_cell
def test_symbols_have_the_gradients_of_one_hot_vectors(name):
  cell, params, _, state = setup(name)
  loss = lambda params, xs: loss_of(cell, mask=HOLES)(params, xs, state)[0]
  gradient = jax.jit(jax.grad(loss))
  assert_close(*(gradient(params, xs) for xs in READ))


@every_loop
def test_outputs_depend_on_the_past_only(name):
  cell, params, xs, state = setup(name)
  _, ys = run(cell, params, xs, state)
  _, changed = run(cell, params, xs.at[HALF:].add(1.0), state)
  assert_same(changed[:HALF], ys[:HALF])
  assert (np.asarray(changed[HALF:]) != np.asarray(ys[HALF:])).any((0, 2)).all()


@every_loop
def test_reset_equals_starting_afresh(name):
  cell, params, xs, state = setup(name)
  reset = np.zeros((NUM_STEPS, BATCH), bool)
  reset[HALF, 1] = True
  end, ys = run(cell, params, xs, state, reset=reset)
  plain_end, plain_ys = run(cell, params, xs, state)
  fresh_end, fresh_ys = run(cell, params, xs[HALF:], cell.initial_state(params, BATCH))
  assert_close(ys[HALF:, 1], fresh_ys[:, 1])
  assert_close(rows(end, [1], 0), rows(fresh_end, [1], 0))
  assert_close((ys[:HALF, 1], rows(ys, [0, 2], 1)), (plain_ys[:HALF, 1], rows(plain_ys, [0, 2], 1)))
  assert_close(rows(end, [0, 2], 0), rows(plain_end, [0, 2], 0))
  assert np.abs(np.asarray(ys[HALF:, 1] - plain_ys[HALF:, 1])).max() > 1e-4


@pytest.mark.parametrize('change', [lambda cell: cell, stepped], ids=['scan', 'stepped'])
def test_reset_passes_gradient_to_a_learned_initial_state(change):
  cell = change(learned_initial_state(lstm(HIDDEN)))
  params, xs = perturbed(cell), inputs()
  reset = np.zeros((NUM_STEPS, BATCH), bool)
  reset[3] = True
  total = lambda params, xs, **keywords: jnp.sum(jnp.sin(unroll(cell, params, xs, **keywords)[1]))
  whole = jax.jit(jax.grad(lambda p: total(p, xs, reset=reset)))(params)
  parts = jax.jit(jax.grad(lambda p: total(p, xs[:3]) + total(p, xs[3:])))(params)
  assert_close(whole, parts)
  assert np.abs(np.asarray(whole.start.h)).min() > 0.0


@every_loop
def test_reverse_under_a_mask_equals_reversing_every_row(name):
  cell, params, xs, state = setup(name)
  end, ys = run(cell, params, xs, state, mask=MASK, reverse=True)
  order = np.stack([[*range(n - 1, -1, -1), *range(n, NUM_STEPS)] for n in LENGTHS], 1)
  turn = lambda a: np.take_along_axis(np.asarray(a), order[..., None], 0)
  expected_end, expected = run(cell, params, turn(xs), state, mask=MASK)
  assert_close((end, ys), (expected_end, jnp.asarray(turn(expected))))


@every_form
def test_bfloat16_compute_stays_near_float32(name):
  cell, params, xs, state = setup(name, jnp.bfloat16)
  assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
  end, ys = run(cell, params, xs, state)
  _, expected = run(make(name), params, xs, state)
  difference = np.abs(np.asarray(ys, np.float32) - np.asarray(expected))
  assert 0.0 < difference.max() < 0.05 * np.abs(expected).max()
  rounded = jax.tree.map(lambda a: a.astype(jnp.bfloat16).astype(jnp.float32), end)
  assert any(
    (np.asarray(a) != np.asarray(b)).any()
    for a, b in zip(*map(jax.tree.leaves, (end, rounded)), strict=True)
  )


@fused_registered_cell
def test_scan_equals_stepping_in_bfloat16(name):
  cell, params, xs, state = setup(name, jnp.bfloat16)
  got, expected = gradients(cell, params, xs, state), gradients(stepped(cell), params, xs, state)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, b, atol=0.03 * np.abs(b).max())


PROTOCOLS = {
  'init': contract.InitFn,
  'initial_state': contract.InitialStateFn,
  'project': contract.ProjectFn,
  'step': contract.StepFn,
  'scan': contract.ScanFn,
  'prepare': contract.PrepareFn,
  'gates': contract.GatesFn,
}


@every_cell
def test_signatures_are_those_of_the_protocols(name):
  for field, function in make(name)._asdict().items():
    if callable(function):
      expected = list(inspect.signature(PROTOCOLS[field].__call__).parameters.values())[1:]
      got = inspect.signature(function).parameters.values()
      describe = lambda parameters: [(p.name, p.kind, p.default) for p in parameters]
      assert describe(got) == describe(expected), (name, field)


@every_cell
def test_initialisation_needs_only_the_shape_and_repeats_with_its_key(name):
  cell = make(name)
  x = jnp.ones((BATCH, NUM_INPUTS))
  params = cell.init(jax.random.key(0), x)
  assert_same(cell.init(jax.random.key(0), jax.ShapeDtypeStruct(x.shape, x.dtype)), params)
  different = cell.init(jax.random.key(1), x)
  assert any(
    (np.asarray(a) != b).any()
    for a, b in zip(*map(jax.tree.leaves, (params, different)), strict=True)
  )
