"""Traces of states and gates: the cell's own state, rebuilt from the gates; a trained model's, from its workdir."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import BATCH, CASES, HIDDEN, NUM_INPUTS, inputs, make, noisy, perturbed

from rnn_research import CELLS, elman, gru, layer_norm, lstm, unroll
from rnn_research import workdir as workdir_lib
from rnn_research.analysis import trace, trace_layers
from rnn_research.analysis.measures.traces import saturation
from rnn_research.cells import lstm_variant, lstm_variants, mut, mut1
from rnn_research.cells.gates import GATES, gates_of, require_gates
from rnn_research.cells.gru import GRUParams
from rnn_research.cells.layer_norm_lstm import LayerNormLSTMParams
from rnn_research.cells.lstm import LSTMParams
from rnn_research.cells.lstm_variants import LSTMVariantParams
from rnn_research.cells.mgu import MGUParams
from rnn_research.cells.min_gru import MinGRUParams
from rnn_research.cells.min_lstm import MinLSTMParams
from rnn_research.cells.mlstm import MLSTMParams
from rnn_research.cells.mut import MUTParams
from rnn_research.cells.rhn import RHNParams, recurrent_highway
from rnn_research.data.text import load_corpus
from rnn_research.errors import InputError

pytestmark = pytest.mark.usefixtures('strict_shapes', 'quick_compilation')


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
  h = g.get('o', 1.0) * (c if isinstance(p, lstm_variants.PARAMS['noaf']) else np.tanh(c))
  return {'c': c, 'h': h} | (
    {'gates': np.concatenate([g[name] for name in 'ifo'], -1)} if 'gates' in before else {}
  )


def rebuild_mut(p, before, g, xs):
  """Rebuilds the candidate too, which alone depends on r."""
  h, size = before['h'], len(p.w_h)
  bare = xs if p.w_x_bare is None else xs @ p.w_x_bare
  x_n = np.tanh(bare) if isinstance(p, mut.PARAMS['mut1']) else (xs @ p.w_x)[..., -size:]
  n = np.tanh(x_n + p.b[-size:] + (g['r'] * h) @ p.w_hn)
  np.testing.assert_allclose(g['n'], n, rtol=1e-5, atol=2e-6)
  return {'h': g['z'] * n + (1 - g['z']) * h}


def rebuild_rhn(p, before, g, xs):
  s = before['h']
  for layer in range(1, len(p.b) + 1):
    s = g[f't{layer}'] * g[f'n{layer}'] + (1 - g[f't{layer}']) * s
  return {'h': s}


REBUILD = {
  LSTMParams: rebuild_lstm,
  LSTMVariantParams: rebuild_variant,
  LayerNormLSTMParams: rebuild_layer_norm_lstm,
  MLSTMParams: rebuild_lstm,
  MGUParams: lambda p, before, g, xs: {'h': (1 - g['f']) * before['h'] + g['f'] * g['n']},
  MUTParams: rebuild_mut,
  GRUParams: lambda p, before, g, xs: {'h': g['z'] * before['h'] + (1 - g['z']) * g['n']},
  MinGRUParams: lambda p, before, g, xs: {'h': (1 - g['z']) * before['h'] + g['z'] * g['n']},
  MinLSTMParams: lambda p, before, g, xs: {
    'h': (g['f'] * before['h'] + g['i'] * g['g']) / (g['f'] + g['i'])
  },
  RHNParams: rebuild_rhn,
}
CANDIDATES = ('g', 'n', 'n1', 'n2', 'n3')
HAS_GATES = [
  name for name in CASES if gates_of(jax.eval_shape(functools.partial(perturbed, make(name))))
]
# Zoneout mixes the state that its cell computes with the one before.
GATED = {name: make(name) for name in HAS_GATES if name != 'zoneout'} | {
  'lstm_variant': lstm_variant(HIDDEN),
  'mut1_bare': mut1(NUM_INPUTS),
  'rhn_layer_norm': layer_norm(recurrent_highway(HIDDEN, depth=2)),
}


def as_float64(tree):
  return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def rebuild_of(params):
  return next(rebuild for kind, rebuild in REBUILD.items() if isinstance(params, kind))


def test_every_kind_of_gates_is_tested():
  params = [perturbed(cell) for cell in GATED.values()]
  assert {type(p) for p in params if not isinstance(p, RHNParams)} == set(GATES)
  assert {rebuild_of(p) for p in params} == set(REBUILD.values())


@pytest.mark.parametrize('name', GATED)
def test_gates_rebuild_the_states(name):
  cell = GATED[name]
  params, xs = perturbed(cell), inputs()
  start = noisy(cell.initial_state(params, BATCH), 7)
  found = as_float64(trace(cell, params, xs, start))
  before = {
    field: np.concatenate([np.asarray(getattr(start, field))[None], states[:-1]])
    for field, states in found.states.items()
  }
  rebuilt = rebuild_of(params)(as_float64(params), before, found.gates, as_float64(xs))
  assert rebuilt.keys() == found.states.keys()
  for field, states in rebuilt.items():
    np.testing.assert_allclose(found.states[field], states, rtol=1e-5, atol=2e-6)
  sigmoids = gates_of(params).sigmoids
  assert set(sigmoids) == found.gates.keys() - set(CANDIDATES)
  for gate in sigmoids:
    assert 0.0 < found.gates[gate].min() < found.gates[gate].max() < 1.0


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
  found, (end, ys) = trace(cell, params, xs), unroll(cell, params, xs)
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


def test_a_cell_without_gates():
  assert require_gates('gru', perturbed(gru(3))) is GATES[GRUParams]
  shapes = jax.eval_shape(
    lambda key: recurrent_highway(3, depth=2).init(key, inputs()[0]), jax.random.key(0)
  )
  assert require_gates('rhn', shapes).sigmoids == ('t1', 't2')
  with pytest.raises(
    InputError, match=r'^elman has no gates that cells/gates\.py knows, so there are no gate'
  ):
    require_gates('elman', perturbed(elman(3)))
  assert {name for name in CELLS if gates_of(perturbed(make(name))) is None} == {
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
  params, ids = run.params, load_corpus(**run.config.data).splits['valid']
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
