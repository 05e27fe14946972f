"""The engines for NVIDIA GPUs against stepping: on any machine as far as possible, and on a GPU where there is one.

`python -m pytest -m gpu tests/test_gpu_engines.py` on a GPU checks both engines.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import (
  assert_close,
  assert_same,
  gradients,
  inputs,
  loss_of,
  noisy,
  perturbed,
  stepped,
)

# Not exported by every version of JAX.
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams
from jax.experimental import rnn

from rnn_research import gru, lstm, unroll
from rnn_research.cells.lstm import LSTMState
from rnn_research.engines import dispatch
from rnn_research.engines.gpu import check, cudnn, pallas
from rnn_research.engines.gpu.device import compute_capability
from rnn_research.engines.gpu.elementwise import GRU, LSTM
from rnn_research.errors import InputError

MAKERS = {'lstm': (lstm, LSTM), 'gru': (gru, GRU)}
SIZES = ((64, 9, 3), (128, 1, 16), (128, 9, 40))  # H, T, B


@pytest.fixture
def cpu():
  """Runs on the CPU even where there is a GPU."""
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    yield


@pytest.fixture
def gpu():
  """Skips without an NVIDIA GPU, and asks for products without TF32."""
  if compute_capability() is None:
    pytest.skip('no NVIDIA GPU with the CUDA build of JAX')
  with jax.default_matmul_precision('highest'):
    yield


@pytest.fixture
def hopper(gpu):
  """Skips without a GPU that the Pallas kernels are for."""
  if compute_capability() != (9, 0):
    pytest.skip(
      f'the compute capability is {compute_capability()}, the Pallas kernels are for (9, 0)'
    )


def on_pallas(name, hidden_size, dtype, interpret=None):
  """Returns the cell with `pallas_scan` as its whole-sequence form."""
  factory, gates = MAKERS[name]
  cell = factory(hidden_size, dtype=dtype)

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    b_h = jnp.pad(params.b_hn, (2 * hidden_size, 0)) if name == 'gru' else None
    state, hs = pallas.pallas_scan(
      gates, cell.project(params, xs), params.w_h, state, b_h=b_h, dtype=dtype, interpret=interpret
    )
    return state, hs.astype(dtype)

  return cell._replace(scan=scan)


def on_cudnn(hidden_size, run=cudnn.cudnn_lstm):
  """Returns an LSTM with `cudnn_lstm` as its whole-sequence form."""

  def scan(params, state, xs, *, mask=None, reset=None, reset_state=None):
    (c, h), hs = run(xs, params.w_x, params.w_h, params.b, state.c, state.h)
    return LSTMState(c, h), hs

  return lstm(hidden_size)._replace(scan=scan)


def arguments(cell, num_steps, batch_size):
  """Returns parameters, inputs and a state."""
  params = perturbed(cell, scale=0.05)
  return params, inputs(num_steps, batch_size), noisy(cell.initial_state(params, batch_size), 3)


def both(cell, num_steps, batch_size):
  """Returns values and gradients of the cell, and those of stepping."""
  given = arguments(cell, num_steps, batch_size)
  return gradients(cell, *given), gradients(stepped(cell), *given)


def assert_within(got, expected, bound):
  """Asserts that every leaf differs by at most `bound` of its norm."""
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert np.linalg.norm(a - b) <= bound * np.linalg.norm(b)


def test_pallas_equals_stepping_in_the_interpreter_in_bfloat16(cpu):  # float32: the check's test
  assert_within(*both(on_pallas('lstm', 64, jnp.bfloat16, InterpretGPUParams()), 1, 16), 3e-3)


def test_pallas_without_a_recurrent_bias(cpu):
  cell = on_pallas('lstm', 64, jnp.float32, InterpretGPUParams())
  params = perturbed(cell, scale=0.05)
  xs, state = inputs(2), noisy(cell.initial_state(params, 3), 3)
  assert_within(
    jax.jit(loss_of(cell))(params, xs, state),
    jax.jit(loss_of(stepped(cell)))(params, xs, state),
    1e-5,
  )


def test_pallas_under_vmap(cpu):
  cell, xs = on_pallas('gru', 64, jnp.float32, InterpretGPUParams()), inputs(2)
  params = jax.vmap(lambda key: cell.init(key, xs[0]))(jax.random.split(jax.random.key(0)))
  of_all = lambda cell: jax.jit(
    jax.vmap(lambda p: gradients(cell, p, xs, cell.initial_state(p, 3)))
  )(params)
  assert_within(of_all(cell), of_all(stepped(cell)), 1e-5)


@pytest.mark.parametrize(
  'name, hidden_size, dtype',
  [
    ('lstm', 64, jnp.float16),
    ('lstm', 256, jnp.bfloat16),
    ('gru', 128, jnp.float32),
    ('gru', 256, jnp.bfloat16),
  ],
)
def test_pallas_is_lowered_for_cuda(name, hidden_size, dtype):
  cell = on_pallas(name, hidden_size, dtype)
  text = (
    gradients.trace(cell, *arguments(cell, 3, 17)).lower(lowering_platforms=('cuda',)).as_text()
  )
  assert text.count('@mosaic_gpu') == 2


@pytest.mark.parametrize(
  'gates, hidden_size, dtype, words',
  [
    (LSTM, 100, jnp.bfloat16, 'hidden_size is 100, the Pallas kernels need a multiple of 64'),
    (LSTM, 320, jnp.bfloat16, 'more than the 232448 of a Hopper processor'),
    (GRU, 384, jnp.bfloat16, 'more than the 232448 of a Hopper processor'),
    (LSTM, 192, jnp.float32, 'bytes of shared memory in float32'),
  ],
)
def test_pallas_names_a_size_that_does_not_fit(gates, hidden_size, dtype, words):
  with pytest.raises(ValueError, match=words):
    pallas.pallas_scan(
      gates, None, jnp.zeros((hidden_size, gates.num_gates * hidden_size)), None, dtype=dtype
    )


def test_reasons_not_to_use_pallas(monkeypatch):
  reason = functools.partial(pallas.unavailable, LSTM, 128, dtype=jnp.bfloat16)
  for capability in (None, (8, 0), (10, 0)):  # no GPU, and GPUs without Hopper's instructions
    monkeypatch.setattr(pallas, 'compute_capability', lambda found=capability: found)
    assert 'need an NVIDIA Hopper GPU' in reason()
  monkeypatch.setattr(pallas, 'compute_capability', lambda: (9, 0))
  assert reason() is None
  assert 'not in float64' in reason(dtype=jnp.float64)
  assert 'hidden_size is 130' in pallas.unavailable(LSTM, 130, dtype=jnp.bfloat16)


@pytest.fixture
def on_hopper(monkeypatch):
  """Makes this machine look like one with a Hopper GPU, up to the kernels themselves."""
  monkeypatch.setattr(pallas, 'compute_capability', lambda: (9, 0))
  for name in MAKERS:
    monkeypatch.setitem(dispatch.FASTEST, (jax.default_backend(), name), ('pallas', 'fused'))


@pytest.mark.parametrize('name', MAKERS)
def test_the_check_passes_kernels_that_are_right(cpu, strict_shapes, name):
  engine = on_pallas(name, 64, jnp.float32, InterpretGPUParams()).scan
  assert check.deviation(engine, MAKERS[name][0](64, engine='fused')) < 1e-5


def refuse(*args):
  raise RuntimeError('no ptxas\nand more')


@pytest.mark.parametrize(
  ('change', 'sentence'),
  [
    (lambda a: 1.001 * a, 'on this machine it differs from the fused scan, by 1.'),
    (lambda a: jnp.nan * a, 'on this machine it differs from the fused scan, by nan of the norm'),
    (refuse, 'its check fails on this machine (RuntimeError: no ptxas)'),
  ],
)
def test_the_check_finds_what_is_wrong(cpu, change, sentence):
  cell = lstm(8, engine='fused')
  wrong = lambda *args: jax.tree.map(change, cell.scan(*args))
  assert check.disagreement(object(), wrong, cell, 1e-4).startswith(sentence)
  assert check.disagreement(object(), cell.scan, cell, 1e-4) is None


def test_an_engine_that_is_wrong_does_not_run(cpu, on_hopper, monkeypatch):
  monkeypatch.setattr(check, 'disagreement', lambda *of: 'it is wrong')
  assert lstm(64).scan.name() == 'fused'
  cell = lstm(64, engine='pallas')
  with pytest.raises(InputError, match="engine 'pallas' cannot run: it is wrong"):
    unroll(cell, perturbed(cell), inputs())


def test_the_check_runs_once_and_while_a_function_is_traced(cpu):
  cell, key, calls = lstm(8, engine='fused'), object(), []
  engine = lambda *args: calls.append(0) or cell.scan(*args)
  for _ in range(2):
    jax.jit(lambda x: check.disagreement(key, engine, cell, 1e-4) or x)(1.0)
  assert len(calls) == 2  # with and without a backward pass


@pytest.mark.parametrize('shape', [(0, 3), (4, 0)])
@pytest.mark.parametrize('factory', [lstm, gru])
def test_what_the_kernels_do_not_know_goes_to_the_fused_scan(
  cpu, on_hopper, monkeypatch, factory, shape
):
  monkeypatch.setattr(check, 'disagreement', lambda *of: None)
  cell = factory(64)
  assert cell.scan.name() == 'pallas'
  params, xs = perturbed(cell), inputs(*shape)
  assert_same(unroll(cell, params, xs), unroll(factory(64, engine='fused'), params, xs))
  with jax.enable_x64(True):
    params, xs = jax.tree.map(lambda a: a.astype(jnp.float64), (params, inputs(2)))
    assert_same(unroll(cell, params, xs), unroll(factory(64, engine='fused'), params, xs))


@pytest.mark.parametrize(
  ('hidden_size', 'capability', 'expected'),
  [(128, (9, 0), 'pallas'), (256, (9, 0), 'fused'), (128, (8, 0), 'fused')],
)
@pytest.mark.parametrize('factory', [lstm, gru])
def test_auto_takes_pallas_where_it_fits(monkeypatch, factory, hidden_size, capability, expected):
  monkeypatch.setattr(pallas, 'compute_capability', lambda: capability)
  monkeypatch.setattr(check, 'disagreement', lambda *of: None)
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  cell = factory(hidden_size)
  assert cell.scan.name() == expected
  assert dispatch.explain(factory.__name__, 'auto', cell.scan) == (
    f'{dispatch.DESCRIPTIONS[expected]} (the fastest measured{" that runs here" if expected == "fused" else ""} for '
    f'{factory.__name__} on gpu)'
  )


def test_reasons_not_to_use_cudnn(monkeypatch):
  monkeypatch.setattr(cudnn, 'compute_capability', lambda: None)
  assert 'needs an NVIDIA GPU' in cudnn.unavailable()
  monkeypatch.setattr(cudnn, 'compute_capability', lambda: (7, 5))
  assert cudnn.unavailable() is None
  assert 'not in bfloat16' in cudnn.unavailable(dtype=jnp.bfloat16)


@pytest.mark.parametrize(
  ('factory', 'engine', 'reason'),
  [
    (lstm, 'cudnn', 'cuDNN needs an NVIDIA GPU'),
    (lstm, 'pallas', 'need an NVIDIA Hopper GPU'),
    (gru, 'pallas', 'need an NVIDIA Hopper GPU'),
  ],
)
def test_a_forced_engine_without_its_gpu_is_a_mistake_in_one_sentence(cpu, factory, engine, reason):
  if compute_capability() is not None:
    pytest.skip('there is a GPU')
  cell = factory(64, engine=engine)
  with pytest.raises(InputError, match=f'engine {engine!r} cannot run: .*{reason}'):
    unroll(cell, perturbed(cell), inputs())


def test_forced_engines_run_their_kernels_and_leave_masks_to_the_fused_scan(cpu, monkeypatch):
  monkeypatch.setattr(cudnn, 'compute_capability', lambda: (9, 0))
  monkeypatch.setattr(rnn, 'lstm', _reference)
  cell, mask = lstm(5, engine='cudnn'), np.ones((8, 3), bool)
  params = perturbed(cell)
  assert_close(unroll(cell, params, inputs()), unroll(lstm(5), params, inputs()))
  assert_same(
    unroll(cell, params, inputs(), mask=mask), unroll(lstm(5), params, inputs(), mask=mask)
  )
  with pytest.raises(InputError, match='float32, not in bfloat16'):
    unroll(lstm(5, engine='cudnn', dtype=jnp.bfloat16), params, inputs())


def _reference(x, h_0, c_0, weights, lengths, *sizes):
  """`rnn.lstm` by JAX's own reference of cuDNN's equations, which reads the same packed weights."""
  input_size, hidden_size, num_layers, dropout, bidirectional = sizes
  unpacked = rnn.unpack_lstm_weights(weights, input_size, hidden_size, num_layers, bidirectional)
  return rnn.lstm_ref(
    x, h_0, c_0, *unpacked, lengths, input_size, hidden_size, num_layers, dropout, bidirectional
  )


def test_cudnn_weights_are_packed_as_its_reference_reads_them(cpu, monkeypatch):
  monkeypatch.setattr(rnn, 'lstm', _reference)  # cuDNN itself cannot even be traced without a GPU
  assert_close(*both(on_cudnn(5), 8, 3))


def test_cudnn_sees_row_major_arrays_in_both_directions(cpu, monkeypatch):
  """The call states no layouts: without constraints XLA gave it the transposed arrays as they lie, on a GPU."""
  monkeypatch.setattr(rnn, 'lstm', _reference)
  run = lambda xs, c, h: cudnn.cudnn_lstm(
    xs, jnp.ones((4, 20)), jnp.ones((5, 20)), jnp.ones(20), c, h
  )
  given = jnp.ones((8, 3, 4)), jnp.ones((3, 5)), jnp.ones((3, 5))
  loss = lambda *given: sum(a.sum() for a in jax.tree.leaves(run(*given)))
  calls = lambda f: str(jax.make_jaxpr(f)(*given)).count('layout_constraint')
  assert calls(run) == 6  # xs, c, h and the three results
  assert calls(jax.grad(loss, (0, 1, 2))) == 12  # and the cotangents of all


def test_cudnn_weights_are_as_many_as_it_expects():
  weights = cudnn.pack(jnp.zeros((4, 20)), jnp.zeros((5, 20)), jnp.zeros(20))
  assert weights.shape == (rnn.get_num_params_in_lstm(4, 5, 1, False),)


@pytest.mark.gpu
@pytest.mark.parametrize('hidden_size, num_steps, batch_size', SIZES)
def test_cudnn_equals_stepping_on_a_gpu(gpu, hidden_size, num_steps, batch_size):
  assert_within(*both(on_cudnn(hidden_size), num_steps, batch_size), 1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(
  'hidden_size, dtype, num_steps, batch_size, bound',
  [
    (64, jnp.float32, 9, 3, 2e-5),
    (128, jnp.float32, 33, 40, 2e-5),
    (64, jnp.float16, 9, 40, 3e-3),
    (128, jnp.bfloat16, 1, 16, 2e-2),
    (256, jnp.bfloat16, 33, 40, 2e-2),
  ],
)
@pytest.mark.parametrize('name', MAKERS)
def test_pallas_equals_stepping_on_a_gpu(
  hopper, name, hidden_size, dtype, num_steps, batch_size, bound
):
  factory, _ = MAKERS[name]
  expected = gradients(
    stepped(factory(hidden_size)), *arguments(factory(hidden_size), num_steps, batch_size)
  )
  cell = factory(hidden_size, engine='pallas', dtype=dtype)
  assert_within(gradients(cell, *arguments(cell, num_steps, batch_size)), expected, bound)
