"""Device setup. Each test runs its code in a fresh process, since a JAX backend starts once."""

import socket

import launching
import numpy as np
import pytest

from rnn_research.training import backend, checkpoint

HEADER = """
import os
import jax, numpy as np
from rnn_research.training import backend
P = jax.sharding.PartitionSpec
"""


def run(code, **env):
  """Returns what `code` prints."""
  return launching.run(code=HEADER + code, **{'XLA_FLAGS': ''} | env)[0].strip()


def test_default_is_the_largest_divisor_within_the_cores():
  code = """
backend.num_cores = lambda: 4
backend.configure(9)
print(len(jax.devices()), os.environ['XLA_FLAGS'])
print(backend.data_mesh(9).size, backend.data_mesh(8).size, backend.data_mesh(7).size, backend.data_mesh(9, 1).size)
"""
  out = run(code, XLA_FLAGS='--xla_cpu_prefer_vector_width=256').splitlines()
  assert out == ['3 --xla_cpu_prefer_vector_width=512 --xla_cpu_prefer_vector_width=256', '3 2 1 1']


def test_one_device_is_set_up_like_several():
  out = run("backend.configure(7, 1); print(len(jax.devices()), os.environ['XLA_FLAGS'])")
  assert out == '1 --xla_cpu_prefer_vector_width=512'


def test_a_backend_that_has_started_is_an_error():
  code = """
jax.devices()
for num_devices in (2, 1):
  try:
    backend.configure(8, num_devices)
  except RuntimeError as e:
    print(f"{e}{os.environ['XLA_FLAGS']}")
"""
  assert run(code).splitlines() == 2 * [
    'the JAX backend has already started, call configure before any other use of JAX'
  ]


def test_the_same_settings_again_do_nothing():
  code = """
for started in (False, True):
  for batch_size in (64, 64, 32):
    backend.configure(batch_size=batch_size, num_devices=2)
  print(*[len(jax.devices())] * started, os.environ['XLA_FLAGS'])
  jax.devices()
for other in ({'num_devices': 4}, {'num_devices': 2, 'kept_bytes': 2**30}):
  try:
    backend.configure(64, **other)
  except RuntimeError as e:
    print(e)
backend.configure(64, 2)
"""
  assert run(code).splitlines() == [
    '--xla_cpu_prefer_vector_width=512',
    '2 --xla_cpu_prefer_vector_width=512',
    *2 * ['the JAX backend has already started, call configure before any other use of JAX'],
  ]


def test_device_counts_that_cannot_be():
  code = """
for call in (lambda: backend.configure(9, 2), lambda: backend.configure(9, -3), lambda: backend.configure(9, 3),
             lambda: backend.data_mesh(9, 2), lambda: backend.data_mesh(8, 4)):
  try:
    call()
  except ValueError as e:
    print(e)
"""
  assert run(code).splitlines() == [
    'num_devices is 2, which does not divide the batch of 9',
    'num_devices is -3, which does not divide the batch of 9',
    'num_devices is 2, which does not divide the batch of 9',
    'num_devices is 4, but there are 3 cpu devices',
  ]


def test_arrays_on_the_mesh():
  code = """
backend.configure(8, 8)
mesh = backend.data_mesh(8)
x = np.arange(24.0, dtype=np.float32).reshape(8, 3)
batch = backend.shard_batch(mesh, {'x': x})['x']
params = backend.replicate(mesh, {'w': x})['w']
assert batch.sharding.spec == P('data') and params.sharding.spec == P()
assert [s.data.shape for s in batch.addressable_shards] == [(1, 3)] * 8
np.testing.assert_array_equal(batch, x)
one = backend.local_copy({'w': params})['w']
assert one.sharding == jax.sharding.SingleDeviceSharding(mesh.devices[0])
np.testing.assert_array_equal(one, x)
total = jax.jit(jax.shard_map(lambda b, w: jax.lax.psum(b.sum() + w.sum() / 8, 'data'), mesh=mesh,
                              in_specs=(P('data'), P()), out_specs=P()))(batch, params)
print(float(total))
"""
  assert run(code) == '552.0'


TWO_PROCESSES = """
backend.configure(4)
backend.initialize_distributed()
mesh = backend.data_mesh(4)
x = np.arange(4.0, dtype=np.float32)
batch, state = backend.shard_batch(mesh, {'x': x})['x'], backend.replicate(mesh, {'params': {'w': x}})
f = jax.shard_map(lambda b: jax.lax.psum((b * b).sum(), 'data'), mesh=mesh, in_specs=P('data'), out_specs=P())
print(jax.process_count(), mesh.size, float(backend.local_copy(jax.jit(f)(batch))))

from rnn_research.training import checkpoint, metrics_log, progress
workdir = WORKDIR
for step in (1, 2):
  with checkpoint.open_manager(workdir) as manager:
    restored = checkpoint.restore_latest(manager, state)
    print(restored and (restored.step, restored.state['params']['w'].is_fully_replicated, restored.data_state,
                        np.asarray(backend.local_copy(restored.state['params']['w'])).tolist()))
    checkpoint.save(manager, step, state, {'i': step}, {})
  checkpoint.save_best(workdir, step, backend.local_copy(state['params']), 1.0)
log = metrics_log.open_log(workdir, 0)
log.write(1, {'loss': 1.0})
log.close()
progress.open_display(1, 'characters').show('shown once')
"""


def test_two_processes(tmp_path):
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{s.getsockname()[1]}'
  code = TWO_PROCESSES.replace('WORKDIR', repr(str(tmp_path)))
  processes = [
    launching.start(
      code=HEADER + code,
      JAX_COORDINATOR_ADDRESS=address,
      JAX_NUM_PROCESSES='2',
      JAX_PROCESS_ID=str(i),
    )
    for i in range(2)
  ]
  outputs = [p.communicate(timeout=100) for p in processes]
  assert [p.returncode for p in processes] == [0, 0], outputs
  # Threads of Gloo write their lines piece by piece between those of others.
  gloo = ('[Gloo]', 'peer ranks')
  lines = [
    [line for line in out.splitlines() if not any(word in line for word in gloo)]
    for out, _ in outputs
  ]
  size = 2 * backend.largest_divisor(2, backend.num_cores())
  common = [f'2 {size} 14.0', 'None', "(1, True, {'i': 1}, [0.0, 1.0, 2.0, 3.0])"]
  assert lines == [[*common, 'shown once'], common]
  step, params = checkpoint.restore_params(tmp_path, {'w': np.zeros(4, np.float32)})
  assert (step, params['w'].tolist()) == (2, [0.0, 1.0, 2.0, 3.0])
  assert (tmp_path / 'metrics.jsonl').read_text() == '{"step": 1, "loss": 1.0}\n'


@pytest.mark.parametrize(
  ('n', 'limit', 'expected'), [(100, 8, 5), (7, 4, 1), (6, 100, 6), (1, 1, 1)]
)
def test_largest_divisor(n, limit, expected):
  assert backend.largest_divisor(n, limit) == expected
