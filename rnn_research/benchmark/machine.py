"""What a measurement must say about the machine it was made on, and what that lacks."""

import os
import platform
from pathlib import Path
from typing import Any

from rnn_research.benchmark import contenders, workers
from rnn_research.benchmark.contenders import Present
from rnn_research.errors import InputError
from rnn_research.training.backend import num_cores
from rnn_research.training.result import git_hash, versions

_CACHES = {'Data': 'd', 'Unified': ''}  # that hold weights
_INSTRUCTIONS = {  # that products are made of
  *('sse4_2', 'avx', 'fma', 'avx2', 'avx512f', 'avx_vnni', 'avx512_vnni'),
  *('avx512_bf16', 'avx512_fp16', 'amx_tile', 'amx_bf16', 'amx_int8', 'asimd', 'sve', 'bf16'),
}


def examine() -> tuple[dict[str, Any], Present, list[str]]:
  """Returns a description of the machine and its libraries, what of it can be used, and sentences
  about what cannot; starts no backend in this process.

  Raises:
    InputError: JAX does not start.
  """
  libraries = workers.ask_each(contenders.LIBRARIES)
  found, torch = libraries['jax'], libraries['torch']
  if 'failed' in found:
    raise InputError(f'JAX does not start in a process of its own: {found["failed"]}')
  gpu, notes = found['platform'] == 'gpu', []
  if not gpu:
    notes.append('No GPU: not run are cuDNN through jax.experimental.rnn and PyTorch on CUDA.')
  if 'failed' in torch:
    missing = torch['failed'].startswith('ModuleNotFoundError')
    why = 'is not installed' if missing else f'cannot be imported ({torch["failed"]})'
    notes.append(f'PyTorch {why}: its rows were not run.')
  elif gpu and not torch['cuda']:
    notes.append('PyTorch finds no CUDA device: its rows were not run.')
  machine = _describe() | found | {'torch': torch.get('version'), 'git_hash': git_hash()}
  bfloat16 = gpu or any('bf16' in name for name in machine['instructions'])
  if not bfloat16:
    notes.append('The processor has no products of bfloat16 numbers: its rows were not run.')
  present = Present(gpu, 'failed' not in torch and (torch['cuda'] or not gpu), bfloat16)
  return machine, present, notes


def _describe():
  lines = _text('/proc/cpuinfo').splitlines()
  field = lambda *names: next(
    (line.partition(':')[2].strip() for line in lines if line.startswith(names)), ''
  )
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
  return {
    'processor': field('model name') or platform.processor() or platform.machine(),
    'cores': num_cores(),
    'memory_gib': round(memory, 1),
    'caches': _caches(Path('/sys/devices/system/cpu/cpu0/cache')),
    'instructions': [name for name in field('flags', 'Features').split() if name in _INSTRUCTIONS],
    'system': platform.platform(terse=True),
    **versions(),
  }


def _caches(folder):
  """Returns the caches of a core, from the nearest: 'L1d 48K', 'L2 1024K', 'L3 32768K shared by
  2'."""
  found = []
  for index in sorted(folder.glob('index*')):
    level, kind, size, cores = (
      _text(index / name).strip() for name in ('level', 'type', 'size', 'shared_cpu_list')
    )
    if kind in _CACHES:
      sharing = sum(map(_width, cores.split(',')))
      shared = f' shared by {sharing}' if sharing > 1 else ''
      found.append(f'L{level}{_CACHES[kind]} {size}{shared}')
  return found


def _width(cores):
  """Returns how many cores '3' or '0-7' names."""
  first, _, last = cores.partition('-')
  return int(last or first) - int(first) + 1


def _text(path):
  """Returns what the system tells, '' where it tells nothing."""
  try:
    return Path(path).read_text('utf-8', 'replace')
  except OSError:
    return ''
