"""Runs of `launch.py` as people start it, in tiny sizes; trained workdirs are made once and shared by all tests."""

import atexit
import functools
import json
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from fork_server import ForkServer

ROOT = Path(__file__).resolve().parent.parent
WORDS = (
  'the',
  'quick',
  'brown',
  'fox',
  'jumps',
  'over',
  'a',
  'lazy',
  'dog',
  'and',
  'naïve',
  '漢字',
  'café',
  'sleep\n',
)
TINY = [
  '--config.model.hidden_size=8',
  '--config.train.batch_size=4',
  '--config.train.unroll_length=8',
  '--config.train.eval_every=4',
  '--config.train.log_every=3',
  '--config.train.show_steps=()',
]
TIMES = ('units_per_second',)
# Programs repeat from test to test and from process to process: even short ones are compiled once.
COMPILED_ONCE = {
  'jax_persistent_cache_min_compile_time_secs': 0,
  'jax_persistent_cache_min_entry_size_bytes': -1,
}
# Compilation is nearly all the time of tests on tiny arrays: XLA's older emitters take a fifth of it, and one piece of
# code less than 32. XLA ends a process over a flag that it does not know: later versions have no older emitters.
QUICK_XLA = '--xla_cpu_parallel_codegen_split_count=1'
if jax.__version_info__ < (0, 11):
  QUICK_XLA += ' --xla_cpu_use_fusion_emitters=false'


def prose(num_words=1500, seed=0):
  """Returns words in a random order: a text that is easy to make and not trivial to predict."""
  return ' '.join(random.Random(seed).choices(WORDS, k=num_words))


def environment(quick=True, **changes):
  """Returns the environment of a child: CPU, no JAX settings of ours but a cache of compiled programs and, if `quick`,
  what saves time in compiling them."""
  keep = {k: v for k, v in os.environ.items() if not k.startswith(('JAX_', 'XLA_'))}
  quick_compilation = {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1', 'XLA_FLAGS': QUICK_XLA}
  return (
    keep
    | {name.upper(): str(value) for name, value in COMPILED_ONCE.items()}
    | {
      'JAX_PLATFORMS': 'cpu',
      'PYTHONPATH': str(ROOT),
      'PYTHONIOENCODING': 'utf-8',
      'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    }
    | (quick_compilation if quick else {})
    | changes
  )


@functools.cache
def fork_server():
  """Returns the process that forks the runs of this one."""
  server = ForkServer(environment())
  atexit.register(server.close)
  return server


def start(*args, code=None, cwd=None, fresh=False, **env):
  """Starts `launch.py`, or `code` in its place.

  It is a forked process, unless `env` changes what is read before the imports or `fresh` asks for what people start: a
  process of its own, whose programs are optimised.
  """
  program = [str(ROOT / 'launch.py')] if code is None else ['-c', code]
  argv = [*program, *map(str, args)]
  forked = not fresh and all(name.startswith(('JAX_', 'XLA_')) for name in env)
  env = environment(quick=not fresh, **env)
  if forked and sys.platform.startswith('linux'):
    return fork_server().start(argv, str(cwd or Path.cwd()), env)
  return subprocess.Popen(
    [sys.executable, *argv],
    cwd=cwd,
    env=env,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    encoding='utf-8',
  )


def run(*args, rc=0, **options):
  """Runs `launch.py` to its end and returns (stdout, stderr)."""
  process = start(*args, **options)
  out, err = process.communicate(timeout=600)
  assert process.returncode == rc, f'exit {process.returncode}\n{out}\n{err}'
  assert 'Traceback' not in err, err
  return out, err


def log_of(workdir):
  """Returns the lines of metrics.jsonl without the times."""
  lines = (Path(workdir) / 'metrics.jsonl').read_text('utf-8').splitlines()
  return [
    {name: value for name, value in json.loads(line).items() if name not in TIMES} for line in lines
  ]


def read_json(workdir, name):
  return json.loads((Path(workdir) / name).read_text('utf-8'))


def arrays(workdir, step):
  """Returns every array of a checkpoint's train state: name -> NumPy array."""
  path = Path(workdir).absolute() / 'checkpoints' / str(step) / 'state'
  checkpointer = ocp.PyTreeCheckpointer()
  tree = checkpointer.metadata(path).item_metadata.tree
  as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
  restored = checkpointer.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
  return {
    jax.tree_util.keystr(name): leaf for name, leaf in jax.tree_util.tree_leaves_with_path(restored)
  }


def assert_same_run(one, other, step):
  """Asserts that two workdirs hold the same train state bit for bit, and the same metrics apart from times."""
  a, b = arrays(one, step), arrays(other, step)
  assert a.keys() == b.keys()
  assert [name for name in a if a[name].tobytes() != b[name].tobytes()] == []
  assert log_of(one) == log_of(other)


def at_once(function):
  """Returns what two calls of a function return that begin together, each in a thread."""
  together = threading.Barrier(2)

  def call(_):
    together.wait()
    return function()

  with ThreadPoolExecutor(2) as threads:
    return list(threads.map(call, range(2)))


def files_of(folder):
  """Returns the content of every file under a folder: path -> bytes."""
  return {str(path): path.read_bytes() for path in Path(folder).rglob('*') if path.is_file()}
