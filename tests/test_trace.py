"""Traces of states and gates: the cell's own state, rebuilt from the gates; a trained model's, from its workdir."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import BATCH, CASES, HIDDEN, NUM_INPUTS, inputs, make, noisy, perturbed, run

from rnn_research import CELLS, elman, gru, highway, layer_norm, lstm, residual, unroll
from rnn_research import workdir as workdir_lib
from rnn_research.analysis import trace, trace_layers
from rnn_research.analysis.measures.traces import saturation, without_candidates
from rnn_research.cells import lstm_variant, mut1, recurrent_highway
from rnn_research.data.codec import RULES
from rnn_research.errors import InputError
from rnn_research.stepping import project_one
from rnn_research.tasks.language import text_store

pytestmark = pytest.mark.usefixtures('strict_shapes')


def rebuild_lstm(p, before, g, xs):
  c = g['f'] * before['c'] + g['i'] * g['g']
  h = g['o'] * np.tanh(c)
  return {'c': c, 'h': h if getattr(p, 'w_p', None) is None else h @ p.w_p}


def rebuild_layer_norm_lstm(p, before, g, xs):
  c = g['f'] * before['c'] + g['i'] * g['g']
  norm = (c - c.mean(-1, keepdims=True)) / np.sqrt(c.var(-1, keepdims=True) + 1e-5)
  return {'c': c, 'h': g['o'] * np.tanh(p.c_scale * norm + p.c_offset)}


def rebuild_variant(p, before, g, xs):
  c = g.get('f', 1.0) * before['c'] + g.get('i', 1.0) * g['g']
  return {'c': c, 'h': g.get('o', 1.0) * np.tanh(c)}


def rebuild_noaf(p, before, g, xs):
  c = g['f'] * before['c'] + g['i'] * g['g']
  return {'c': c, 'h': g['o'] * c}


def rebuild_fgr(p, before, g, xs):
  gates = np.concatenate([g[name] for name in 'ifo'], -1)
  return rebuild_variant(p, before, g, xs) | {'gates': gates}


def rebuild_gru(p, before, g, xs):
  return {'h': g['z'] * before['h'] + (1 - g['z']) * g['n']}


def rebuild_mut(p, before, g, x_n):
  """Rebuilds the candidate too, which alone depends on r."""
  n = np.tanh(x_n + p.b[-len(p.w_h) :] + (g['r'] * before['h']) @ p.w_hn)
  np.testing.assert_allclose(g['n'], n, rtol=1e-5, atol=2e-6)
  return {'h': g['z'] * n + (1 - g['z']) * before['h']}


def rebuild_mut1(p, before, g, xs):
  return rebuild_mut(p, before, g, np.tanh(xs if p.w_x_bare is None else xs @ p.w_x_bare))


def rebuild_last_block_mut(p, before, g, xs):
  return rebuild_mut(p, before, g, (xs @ p.w_x)[..., -len(p.w_h) :])


def rebuild_rhn(p, before, g, xs):
  s = before['h']
  for layer in range(1, len(p.b) + 1):
    s = g[f't{layer}'] * g[f'n{layer}'] + (1 - g[f't{layer}']) * s
  return {'h': s}


def rebuild_zoneout(p, before, g, xs):
  new, kept = rebuild_lstm(p, before, g, xs), {'c': 0.5, 'h': 0.25}
  return {name: kept[name] * before[name] + (1 - kept[name]) * new[name] for name in new}


def inside(rebuild):
  """Returns the rebuilding of a cell whose parameters are a field of others."""
  return lambda p, before, g, xs: rebuild(p.cell, before, g, xs)


MORE = {
  'lstm_variant': lstm_variant(HIDDEN),
  'mut1_bare': mut1(NUM_INPUTS),
  'rhn_layer_norm': layer_norm(recurrent_highway(HIDDEN, depth=2)),
  'residual_lstm': residual(lstm(NUM_INPUTS)),
  'highway_gru': highway(gru(NUM_INPUTS)),
}
REBUILD = {
  **dict.fromkeys(('lstm', 'lstm_projection', 'layer_norm', 'mlstm'), rebuild_lstm),
  **dict.fromkeys(('variational_dropout', 'residual_lstm'), rebuild_lstm),
  **{
    name: rebuild_variant
    for name in ('lstm_variant', *CASES)
    if name.startswith(('lstm_n', 'lstm_c', 'lstm_p', 'lstm_v')) and name != 'lstm_projection'
  },
  'lstm_noaf': rebuild_noaf,
  'lstm_fgr': rebuild_fgr,
  'layer_norm_lstm': rebuild_layer_norm_lstm,
  **dict.fromkeys(('gru', 'gru_reset_before', 'layer_norm_before', 'residual'), rebuild_gru),
  'weight_dropout': rebuild_gru,
  'highway_gru': rebuild_gru,
  'learned_initial_state': inside(rebuild_lstm),
  'mgu': lambda p, before, g, xs: {'h': (1 - g['f']) * before['h'] + g['f'] * g['n']},
  'mut1': rebuild_mut1,
  'mut1_bare': rebuild_mut1,
  'mut2': rebuild_last_block_mut,
  'mut3': rebuild_last_block_mut,
  'min_gru': lambda p, before, g, xs: {'h': (1 - g['z']) * before['h'] + g['z'] * g['n']},
  'min_lstm': lambda p, before, g, xs: {
    'h': (g['f'] * before['h'] + g['i'] * g['g']) / (g['f'] + g['i'])
  },
  'rhn': rebuild_rhn,
  'rhn_layer_norm': rebuild_rhn,
  'zoneout': rebuild_zoneout,
}


def as_float64(tree):
  return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def of_name(name):
  return MORE[name] if name in MORE else make(name)


def test_every_cell_with_gates_is_rebuilt():
  assert {name for name in (*CASES, *MORE) if of_name(name).gates is not None} == set(REBUILD)


@pytest.mark.parametrize('name', REBUILD)
def test_gates_rebuild_the_states(name):
  cell = of_name(name)
  params, xs = perturbed(cell), inputs()
  start = noisy(cell.initial_state(params, BATCH), 7)
  found = as_float64(trace(cell, params, xs, start))
  before = {
    field: np.concatenate([np.asarray(getattr(start, field))[None], states[:-1]])
    for field, states in found.states.items()
  }
  rebuilt = REBUILD[name](as_float64(params), before, found.gates, as_float64(xs))
  assert rebuilt.keys() == found.states.keys()
  for field, states in rebuilt.items():
    np.testing.assert_allclose(found.states[field], states, rtol=1e-5, atol=2e-6)
  sigmoids = without_candidates(found.gates)
  assert sigmoids.keys() == found.gates.keys() - {'g', 'n', 'n1', 'n2', 'n3'}
  for gate in sigmoids.values():
    assert 0.0 < gate.min() < gate.max() < 1.0


@pytest.mark.parametrize('name', ['variational_dropout', 'weight_dropout'])
def test_gates_read_the_parameters_that_a_step_reads(name):
  """With a key these are dropped weights, of which the state is made."""
  cell, x = make(name), inputs()[0]
  plain = perturbed(cell)
  params, _ = cell.prepare(plain, None, BATCH, key=jax.random.key(3))
  state = noisy(cell.initial_state(params, BATCH), 7)
  u = project_one(cell, params, x)
  gates = jax.jit(cell.gates)
  found, (new, _) = gates(params, state, u), jax.jit(cell.step)(params, state, u)
  rebuilt = REBUILD[name](None, state._asdict(), found, None)
  for field, value in rebuilt.items():
    np.testing.assert_allclose(getattr(new, field), value, rtol=1e-5, atol=2e-6)
  before = gates(plain, state, project_one(cell, plain, x))
  assert all(np.abs(found[gate] - before[gate]).max() > 1e-3 for gate in found)


@pytest.mark.parametrize(
  ('change', 'names'), [('nig', 'fgo'), ('nfg', 'igo'), ('nog', 'ifg'), ('cifg', 'ifgo')]
)
def test_a_gate_that_is_always_one_is_absent(change, names):
  assert set(
    trace(make(f'lstm_{change}'), perturbed(make(f'lstm_{change}')), inputs()).gates
  ) == set(names)


@pytest.mark.parametrize('name', CASES)
def test_a_trace_is_an_unroll(name):
  cell = make(name)
  params, xs = perturbed(cell), inputs()
  start = cell.initial_state(params, BATCH)
  found, (end, ys) = trace(cell, params, xs, start), run(cell, params, xs, start)
  np.testing.assert_allclose(found.ys, ys, rtol=2e-5, atol=2e-6)
  last = {
    jax.tree_util.keystr(path, simple=True, separator='.'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(end)
  }
  assert found.states.keys() == last.keys()
  for name, states in found.states.items():
    np.testing.assert_allclose(states[-1], last[name], rtol=2e-5, atol=2e-6)


def test_layers_read_one_another():
  cells = (lstm(5), elman(3))
  params = (perturbed(cells[0]), perturbed(cells[1], 5))
  first, second = trace_layers(cells, params, inputs())
  assert (set(first.states), set(first.gates)) == ({'c', 'h'}, {'i', 'f', 'g', 'o'})
  assert (set(second.states), second.gates) == ({'h'}, {})
  np.testing.assert_allclose(
    second.ys, unroll(cells[1], params[1], first.ys)[1], rtol=1e-5, atol=1e-6
  )


def test_saturated_fractions():
  gate = jnp.asarray(
    [[[0.05, 0.5, 0.95], [0.05, 0.1, 0.9]], [[0.05, 0.05, 0.95], [0.95, 0.5, 0.95]]]
  )
  left, right = saturation(gate)
  np.testing.assert_allclose(left, [0.75, 0.25, 0.0])
  np.testing.assert_allclose(right, [0.25, 0.0, 0.75])


def test_cells_without_gates():
  assert {name for name in CELLS if make(name).gates is None} == {
    'elman',
    'irnn',
    'lru',
    'nas',
    'rin',
  }


def test_the_trace_of_a_workdir(trained):
  """The debug model is a GRU of 8 units, trained with batches of 4."""
  (found,) = workdir_lib.load(trained).trace(num_steps=20)
  assert {name: gate.shape for name, gate in found.gates.items()} == dict.fromkeys(
    'rzn', (20, 4, 8)
  )
  run = workdir_lib.load(trained)
  recurrence = run.recurrence(20)
  ys = unroll(recurrence.cells[0], recurrence.params[0], recurrence.xs)[1]
  np.testing.assert_allclose(found.states['h'], ys, rtol=1e-5, atol=1e-6)
  losses = recurrence.loss(ys[-1])
  assert losses.shape == (4,)
  np.testing.assert_array_equal(recurrence.xs, run.recurrence(20).xs)
  assert not np.array_equal(recurrence.xs, run.recurrence(20, seed=1).xs)


def test_the_loss_of_a_recurrence_is_that_of_the_next_symbol(trained):
  run = workdir_lib.load(trained)
  params, ids = run.params, text_store.load_corpus(run.config.data, RULES).splits['valid']
  ys = jax.random.normal(jax.random.key(0), (4, 8))
  nats = -jax.nn.log_softmax(ys @ params['head']['w'] + params['head']['b'].reshape(1, -1))
  found = run.recurrence(9, seed=3)
  windows = np.argmax(found.xs, -1).T
  for row, (window, loss) in enumerate(zip(windows, found.loss(ys), strict=True)):
    followers = {
      int(ids[i + 9]) for i in range(len(ids) - 9) if np.array_equal(ids[i : i + 9], window)
    }
    assert any(np.isclose(loss, nats[row, follower], rtol=1e-5) for follower in followers)


def test_workdirs_without_a_model(trained, workdir, tmp_path):
  with pytest.raises(InputError, match=r'holds no run: it has no config\.json'):
    workdir_lib.load(tmp_path)
  with pytest.raises(
    InputError, match=r'the text to analyse has \d+ symbols, expected 100001 at least'
  ):
    workdir_lib.load(trained).recurrence(100_000)
  (workdir / 'config.json').write_text(json.dumps({'experiment': 'speed:debug', 'config': {}}))
  with pytest.raises(InputError, match='holds a run of speed:debug, which trains no model to open'):
    workdir_lib.load(workdir)
