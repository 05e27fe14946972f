"""The neural Turing machine and the differentiable neural computer against whole unrolls by hand in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import noisy
from oracles import norm, sigmoid
from test_addressing import (
  allocation_np,
  content_np,
  linked_np,
  sharpen_np,
  shift_np,
  softmax,
  write_np,
)

from rnn_research import elman, gru, lstm, stack, unroll
from rnn_research.cells.dnc import DNCMemory, dnc
from rnn_research.cells.memory_machine import MachineState
from rnn_research.cells.ntm import NTMMemory, ntm
from rnn_research.errors import InputError
from rnn_research.stepping import last_h

pytestmark = pytest.mark.usefixtures('strict_shapes')
T, B, F, H, N, W, HEADS = 6, 2, 3, 5, 7, 4, 2
MACHINES = {
  'ntm': functools.partial(ntm, num_rows=N, row_size=W, num_heads=HEADS, shift_range=2),
  'dnc': functools.partial(dnc, num_rows=N, row_size=W, num_reads=HEADS),
}


def softplus(a):
  return np.log1p(np.exp(a))


def cut(numbers, *shapes):
  numbers, parts = np.clip(numbers, -20.0, 20.0), []
  for shape in shapes:
    parts.append(numbers[: np.prod(shape)].reshape(shape))
    numbers = numbers[np.prod(shape) :]
  assert not len(numbers)
  return parts


def ntm_np(p, memory, h):
  heads = 2 * HEADS
  keys, scalars, moves, erase, add = cut(
    h @ p.w_i + p.b_i, (heads, W), (heads, 3), (heads, 5), (HEADS, W), (HEADS, W)
  )
  weights = []
  for k, (strength, gate, exponent), s, old in zip(
    keys, scalars, moves, memory.weights, strict=True
  ):
    found = content_np(memory.content, k, softplus(strength))
    mixed = sigmoid(gate) * found + (1.0 - sigmoid(gate)) * old
    weights.append(sharpen_np(shift_np(mixed, softmax(s)), 1.0 + softplus(exponent)))
  reading, writing = weights[:HEADS], weights[HEADS:]
  reads = np.array([memory.content @ w for w in reading])
  content = write_np(memory.content, writing, sigmoid(erase), add)
  return NTMMemory(content, np.array(weights)), reads, reading, writing


def dnc_np(p, m, h):
  keys, scalars, modes, key, (strength, allocate, write), erase, add = cut(
    norm(h @ p.w, p), (HEADS, W), (HEADS, 2), (HEADS, 3), W, 3, (1, W), (1, W)
  )
  kept = np.prod(
    [1.0 - sigmoid(f) * w for (_, f), w in zip(scalars, m.read_weights, strict=True)], 0
  )
  used = (m.used + m.write_weights - m.used * m.write_weights) * kept
  alike = content_np(m.content, key, 1.0 + softplus(strength))
  g = sigmoid(allocate)
  w = sigmoid(write) * (g * allocation_np(used) + (1.0 - g) * alike)
  links = linked_np(m.links, m.precedence, w)
  content = write_np(m.content, [w], sigmoid(erase), add)
  reading = []
  for k, (strength, _), mode, old in zip(keys, scalars, modes, m.read_weights, strict=True):
    found = content_np(content, k, 1.0 + softplus(strength))
    reading.append(softmax(mode) @ np.array([links.T @ old, found, links @ old]))
  precedence = (1.0 - w.sum()) * m.precedence + w
  reads = np.array([content @ w for w in reading])
  return DNCMemory(content, used, links, precedence, np.array(reading), w), reads, reading, [w]


def by_hand(access, params, state, xs):
  """Returns the memory after the last step and [T] outputs of one row, of an Elman controller."""
  memory, reads, h = state.memory, state.reads, state.cell.h
  p, outs = params.cell, []
  for x in xs:
    h = np.tanh(np.concatenate([x, reads.ravel()]) @ p.w_x + h @ p.w_h + p.b)
    memory, reads, reading, writing = access(params.access, memory, h)
    outs.append((np.concatenate([h, reads.ravel()]), reading, writing))
  return memory, [np.array(column) for column in zip(*outs, strict=True)]


def some_state(name, rng):
  """Returns a state as a machine may be in, every number of it different."""
  content, links = rng.normal(size=(B, W, N)), rng.uniform(size=(B, N, N)) / N
  weights = rng.dirichlet(np.ones(N), (B, 2 * HEADS))
  used, (precedence, writing) = rng.uniform(size=(B, N)), rng.dirichlet(np.ones(N), (2, B))
  memory = {
    'ntm': lambda: NTMMemory(content, weights),
    'dnc': lambda: DNCMemory(content, used, links, precedence, weights[:, :HEADS], writing),
  }[name]()
  return memory, rng.normal(size=(B, HEADS, W))


@pytest.mark.parametrize('name', MACHINES)
def test_a_whole_unroll_equals_one_by_hand(name):
  rng = np.random.default_rng(1)
  with jax.enable_x64(True):
    cell = MACHINES[name](elman(H, dtype=jnp.float64), dtype=jnp.float64)
    params = jax.eval_shape(cell.init, jax.random.key(0), jax.ShapeDtypeStruct((B, F), jnp.float64))
    # Large enough that the clip of the interface matters.
    params = jax.tree.map(lambda a: rng.normal(size=a.shape) * (4.0 if a.ndim > 1 else 1.0), params)
    controller = jax.tree.map(
      lambda a: rng.normal(size=a.shape), cell.initial_state(params, B).cell
    )
    state = MachineState(*some_state(name, rng), controller)
    xs = rng.normal(size=(T, B, F))
    end, ys = jax.jit(functools.partial(unroll, cell))(params, xs, state)
  for row in range(B):
    memory, outs = by_hand(
      {'ntm': ntm_np, 'dnc': dnc_np}[name],
      params,
      jax.tree.map(lambda a, row=row: a[row], state),
      xs[:, row],
    )
    for got, expected in zip((*end.memory, *ys), (*memory, *outs), strict=True):
      got = got[row] if got.shape[0] == B else got[:, row]
      np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('name', MACHINES)
def test_any_cell_may_control_and_outputs_say_where_heads_were(name):
  cell = MACHINES[name](stack(lstm(6), gru(H)))
  xs = jnp.asarray(np.random.default_rng(2).normal(size=(T, B, F)), jnp.float32)
  params = cell.init(jax.random.key(0), xs[0])
  loss = lambda params: jnp.sum(jnp.sin(unroll(cell, params, xs)[1].h))
  end, ys = jax.jit(functools.partial(unroll, cell))(params, xs)
  num_writes = {'ntm': HEADS, 'dnc': 1}[name]
  assert ys.h.shape == (T, B, H + HEADS * W)
  assert (ys.read_weights.shape, ys.write_weights.shape) == (
    (T, B, HEADS, N),
    (T, B, num_writes, N),
  )
  np.testing.assert_array_equal(ys.h[-1, :, H:].reshape(B, HEADS, W), end.reads)
  np.testing.assert_array_equal(ys.h[-1, :, :H], last_h(end))
  sums = np.asarray(jnp.concatenate([ys.read_weights, ys.write_weights], 2).sum(-1))
  assert (sums <= 1.0 + 1e-5).all()
  if name == 'ntm':
    np.testing.assert_allclose(sums, 1.0, rtol=1e-5)
  gradients = jax.jit(jax.grad(loss))(params)
  assert all(np.isfinite(a).all() and np.asarray(a).any() for a in jax.tree.leaves(gradients))


@pytest.mark.parametrize('name', MACHINES)
def test_gradients_are_finite_with_a_saturated_interface(name):
  cell = MACHINES[name](elman(H))
  xs = jnp.asarray(np.random.default_rng(3).normal(size=(50, B, F)), jnp.float32)
  params = cell.init(jax.random.key(0), xs[0])
  # Weights a hundred times as large press every gate and strength against the clip.
  params = params._replace(access=jax.tree.map(lambda a: 100.0 * a, noisy(params.access, 4)))
  loss = lambda params: jnp.sum(jnp.sin(unroll(cell, params, xs)[1].h))
  value, gradients = jax.jit(jax.value_and_grad(loss))(params)
  assert all(np.isfinite(a).all() for a in jax.tree.leaves((value, gradients)))


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: ntm(lstm(4), num_heads=0), 'num_heads is 0, expected an integer >= 1'),
    (lambda: ntm(lstm(4), num_rows=0), 'num_rows is 0, expected an integer >= 1'),
    (
      lambda: ntm(lstm(4), num_rows=4, shift_range=2),
      r'shift_range is 2, expected an integer >= 0 with 2 shift_range \+ 1 <= num_rows = 4',
    ),
    (
      lambda: ntm(lstm(4), shift_range=1.5),
      r'shift_range is 1.5, expected an integer >= 0 .* = 128',
    ),
    (lambda: dnc(lstm(4), num_reads=0), 'num_reads is 0, expected an integer >= 1'),
    (lambda: dnc(lstm(4), num_rows=0), 'num_rows is 0, expected an integer >= 1'),
  ],
)
def test_sizes_that_no_memory_has(make, message):
  with pytest.raises(InputError, match=f'^{message}$'):
    make()


def test_inputs_have_three_axes():
  cell = ntm(elman(H), num_rows=4)
  params = cell.init(jax.random.key(0), jnp.zeros((B, F)))
  with pytest.raises(InputError, match=r'xs has shape \(6, 3\), expected \[T, B, F\]'):
    unroll(cell, params, jnp.zeros((T, F)))


def test_a_machine_does_not_control_another():
  cell = ntm(ntm(elman(H), num_rows=4), num_rows=4)
  with pytest.raises(InputError, match='a memory machine needs a cell whose output is an array'):
    cell.init(jax.random.key(0), jnp.zeros((B, F)))
